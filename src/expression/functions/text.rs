//! Functions from text to text. They change each element of a multi-valued attribute.

use std::borrow::Cow;

use crate::model::Value;

use crate::expression::evaluate::{Call, Evaluated, EvaluationStop, MAX_PRODUCED, null, produced, text};

/// `Append(source, suffix)`: null stays null, or users without a value would get the bare suffix.
pub(super) fn append(call: Call<'_>) -> Evaluated<'_> {
    let source = call.value(0)?;
    let suffix = call.text(1)?.unwrap_or_default();
    each(source, |text| format!("{text}{suffix}"))
}

/// `Prepend(prefix, source)`.
pub(super) fn prepend(call: Call<'_>) -> Evaluated<'_> {
    let prefix = call.text(0)?.unwrap_or_default();
    each(call.value(1)?, |text| format!("{prefix}{text}"))
}

/// `Join(separator, source1, source2, ...)`: skips sources without a value.
pub(super) fn join(call: Call<'_>) -> Evaluated<'_> {
    let separator = call.text(0)?.unwrap_or_default();
    let mut joined = String::new();
    for index in 1..call.arguments.len() {
        match call.value(index)?.as_ref() {
            Value::List(elements) => {
                for element in elements {
                    push(&mut joined, &separator, element)?;
                }
            }
            single => push(&mut joined, &separator, single)?,
        }
    }
    produced(joined)
}

fn push(joined: &mut String, separator: &str, value: &Value) -> Result<(), EvaluationStop> {
    let part = text(Cow::Borrowed(value))?.unwrap_or_default();
    if !part.is_empty() {
        joined.push_str(if joined.is_empty() { "" } else { separator });
        joined.push_str(&part);
    }
    if joined.len() > MAX_PRODUCED { Err(EvaluationStop::TOO_LONG) } else { Ok(()) }
}

/// `StripSpaces(source)`: removes spaces, but not other white space.
pub(super) fn strip_spaces(call: Call<'_>) -> Evaluated<'_> {
    each(call.value(0)?, |text| text.replace(' ', ""))
}

/// `ToLower(source, culture)`.
pub(super) fn to_lower(call: Call<'_>) -> Evaluated<'_> {
    let turkic = is_turkic(call)?;
    each(call.value(0)?, |text| {
        let lower = |character| match character {
            'I' if turkic => 'ı',
            'İ' if turkic => 'i',
            other => single(other.to_lowercase(), other),
        };
        text.chars().map(lower).collect()
    })
}

/// `ToUpper(source, culture)`.
pub(super) fn to_upper(call: Call<'_>) -> Evaluated<'_> {
    let turkic = is_turkic(call)?;
    each(call.value(0)?, |text| {
        let upper = |character| match character {
            'i' if turkic => 'İ',
            // Unicode would map it to `I`; the service does not, without a culture.
            'ı' if !turkic => 'ı',
            other => single(other.to_uppercase(), other),
        };
        text.chars().map(upper).collect()
    })
}

/// `Trim(source)`.
pub(super) fn trim(call: Call<'_>) -> Evaluated<'_> {
    each(call.value(0)?, |text| text.trim().to_owned())
}

/// Turkish and Azeri distinguish dotted and dotless i; all other cultures agree with the invariant culture.
fn is_turkic(call: Call<'_>) -> Result<bool, EvaluationStop> {
    let culture = call.text(1)?.unwrap_or_default();
    let language = culture.split('-').next().unwrap_or_default();
    Ok(language.eq_ignore_ascii_case("tr") || language.eq_ignore_ascii_case("az"))
}

/// The single character of a case mapping. The service maps character by character: `ß` stays `ß`, not `SS`.
pub(super) fn single(mut mapped: impl Iterator<Item = char>, otherwise: char) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(mapped), None) => mapped,
        _ => otherwise,
    }
}

/// Applies `change` to the text, or to each element of a list.
pub(super) fn each<'a>(source: Cow<'a, Value>, change: impl Fn(&str) -> String) -> Evaluated<'a> {
    try_each(source, |text| Ok(change(text)))
}

/// Like [`each`], for a change that can fail. The result as a whole is limited in size.
pub(super) fn try_each<'a>(
    source: Cow<'a, Value>,
    change: impl Fn(&str) -> Result<String, EvaluationStop>,
) -> Evaluated<'a> {
    let mut left = MAX_PRODUCED;
    let mut changed = |value| {
        let Some(text) = text(Cow::Borrowed(value))? else { return Ok(Value::Null) };
        let changed = change(&text)?;
        left = left.checked_sub(changed.len()).ok_or(EvaluationStop::TOO_LONG)?;
        Ok(Value::Text(changed))
    };
    Ok(match source.as_ref() {
        Value::Null => null(),
        Value::List(elements) => {
            let elements: Result<_, EvaluationStop> = elements.iter().map(changed).collect();
            Cow::Owned(Value::List(elements?))
        }
        single => Cow::Owned(changed(single)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::tests::{check, evaluated, value};

    const ADA: &[(&str, &str)] =
        &[("givenName", "Åsa"), ("surname", " Straße "), ("mailNickname", ""), ("city", "DIYARBAKIR İı")];

    #[test]
    fn texts() {
        check(
            ADA,
            &[
                ("Append([givenName], \"-1\")", "Åsa-1"),
                ("Append([givenName], [country])", "Åsa"),
                ("Append([country], \"-1\")", "null"),
                ("Append([mailNickname], \"-1\")", "-1"),
                ("Join(\"/\", [givenName], \"\", [country], \"x\")", "Åsa/x"),
                ("Join(, [givenName], 12, Not(\"\"))", "Åsa12True"),
                ("Join(\"-\", [country], \"\")", ""),
                ("ToLower([givenName], )", "åsa"),
                ("ToUpper([surname])", " STRAßE "),
                ("ToLower([city])", "diyarbakir İı"),
                ("ToLower([city], \"tr-TR\")", "dıyarbakır iı"),
                ("ToUpper(\"iı\")", "Iı"),
                ("ToUpper(\"iı\", \"az\")", "İI"),
                ("ToUpper(\"iı\", \"sv-SE\")", "Iı"),
                ("ToUpper([country])", "null"),
                ("Trim([surname])", "Straße"),
                ("Prepend(\"x-\", [givenName])", "x-Åsa"),
                ("Prepend(\"x-\", [country])", "null"),
                ("StripSpaces(\" a b\tc \")", "ab\tc"),
                ("StripSpaces([country])", "null"),
                ("\"dr.\" & [surname]&[country] & 1", "dr. Straße 1"),
            ],
        );
    }

    #[test]
    fn lists() {
        let phones = [("businessPhones", Value::List(vec![value(" a"), Value::Null, value("b ")]))];
        assert_eq!(evaluated("Trim([businessPhones])", &phones), r#"List([Text("a"), Null, Text("b")])"#);
        assert_eq!(evaluated("Join(\"|\", \"x\", [businessPhones])", &phones), "x| a|b ");
    }

    #[test]
    fn size_is_limited() {
        let long = "x".repeat(4_000);
        let doubled = |depth: usize, text: &str| {
            (0..depth).fold(text.to_owned(), |inner, _| format!("Join(\"\", {inner}, {inner})"))
        };
        let inputs = [("city", value(&long))];
        assert_eq!(evaluated(&doubled(7, "[city]"), &inputs), "invalid: a text exceeds 256 KiB");
        assert_eq!(evaluated(&doubled(6, "[city]"), &inputs), long.repeat(64));
        let many = [("city", value(&long)), ("mail", value(&",".repeat(4_000)))];
        let appended = "Append(Split([mail], \",\"), [city])";
        assert_eq!(evaluated(appended, &many), "invalid: a text exceeds 256 KiB");
    }
}
