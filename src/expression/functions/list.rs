//! Functions of multi-valued attributes. A single value is a list of one; null is an empty list.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::model::Value;

use super::Checked;
use super::substring::find_text;
use crate::expression::attribute::is_empty;
use crate::expression::compile::Expression;
use crate::expression::constant::Integer;
use crate::expression::evaluate::{Call, Evaluated, EvaluationStop, MAX_PRODUCED, null, number, text};
use crate::expression::keyword::CompareType;

/// `Contains(attribute, value)`: the position of the first element that contains the text, counted from 1; else 0.
pub(super) fn contains(call: Call<'_>) -> Evaluated<'_> {
    let source = call.value(0)?;
    let wanted = call.text(1)?.unwrap_or_default();
    let compare = call.argument::<CompareType>(2)?.map_or_else(CompareType::default, Cow::into_owned);
    for (index, element) in elements(&source).iter().enumerate() {
        let element = text(Cow::Borrowed(element))?.unwrap_or_default();
        if find_text(&element, &wanted, 0, compare).is_some() {
            return number(index + 1);
        }
    }
    number(0)
}

/// `Count(attribute)`.
pub(super) fn count(call: Call<'_>) -> Evaluated<'_> {
    let source = call.value(0)?;
    number(elements(&source).len())
}

/// `Item(attribute, index)`, counted from 1; null when there are fewer elements, so that `Coalesce` goes on.
pub(super) fn item(call: Call<'_>) -> Evaluated<'_> {
    let source = call.value(0)?;
    let index = call.required_argument::<Integer>(1)?.0;
    let found = usize::try_from(index - 1).ok().and_then(|index| elements(&source).get(index).cloned());
    Ok(found.map_or_else(null, Cow::Owned))
}

/// `RemoveDuplicates(attribute)`: keeps the first of equal elements.
pub(super) fn remove_duplicates(call: Call<'_>) -> Evaluated<'_> {
    let source = call.value(0)?;
    let Value::List(elements) = source.as_ref() else { return Ok(source) };
    let mut seen = BTreeSet::new();
    let mut unique = Vec::new();
    for element in elements {
        if seen.insert(text(Cow::Borrowed(element))?) {
            unique.push(element.clone());
        }
    }
    Ok(Cow::Owned(Value::List(unique)))
}

/// `Split(source, delimiter)`: as in the documented example, each part is trimmed.
pub(super) fn split(call: Call<'_>) -> Evaluated<'_> {
    let Some(source) = call.text(0)? else { return Ok(null()) };
    let delimiter = call.text(1)?.unwrap_or_default();
    if source.len() > MAX_PRODUCED {
        return Err(EvaluationStop::TOO_LONG);
    }
    let part = |part: &str| Value::Text(part.trim().to_owned());
    let parts =
        if delimiter.is_empty() { vec![part(&source)] } else { source.split(delimiter.as_ref()).map(part).collect() };
    Ok(Cow::Owned(Value::List(parts)))
}

/// An empty delimiter splits nothing.
pub(super) fn check_split(arguments: &[Expression]) -> Checked {
    match arguments {
        [_, Expression::Literal(delimiter)] if is_empty(delimiter) => Err((1, "the delimiter is empty".to_owned())),
        _ => Ok(()),
    }
}

/// `SingleAppRoleAssignment([appRoleAssignments])`: the name of the role. Graph promises no order, so it is the first
/// name in alphabetical order: the value must not change from cycle to cycle.
pub(super) fn single_app_role_assignment(call: Call<'_>) -> Evaluated<'_> {
    let source = call.value(0)?;
    let mut names = BTreeSet::new();
    for assignment in elements(&source) {
        let name = match assignment {
            Value::Complex(members) => {
                let known = ["displayName", "value"].iter().find_map(|member| members.get(*member));
                known.ok_or(EvaluationStop::invalid("an app role assignment has no name"))?
            }
            name => name,
        };
        names.extend(text(Cow::Borrowed(name))?.map(Cow::into_owned));
    }
    Ok(names.pop_first().map_or_else(null, |name| Cow::Owned(Value::Text(name))))
}

fn elements(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        Value::List(elements) => elements,
        single => std::slice::from_ref(single),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::expression::tests::{check, evaluated, problems, value};

    fn list(elements: &[&str]) -> Value {
        Value::List(elements.iter().map(|text| value(text)).collect())
    }

    #[test]
    fn elements() {
        let inputs = [
            ("otherMails", list(&["b@x.example", "A@x.example", "b@x.example"])),
            ("proxyAddresses", list(&[])),
            ("city", value("Kiruna")),
        ];
        for (expression, expected) in [
            ("Count([otherMails])", "3"),
            ("Count([city])", "1"),
            ("Count([country])", "0"),
            ("Item([otherMails], 2)", "A@x.example"),
            ("Item([city], \"1\")", "Kiruna"),
            ("Item([otherMails], 4)", "null"),
            ("Item([otherMails], 0)", "null"),
            ("Item([country], 1)", "null"),
            ("Contains([otherMails], \"A@\")", "2"),
            ("Contains([otherMails], \"a@\")", "0"),
            ("Contains([otherMails], \"a@\", CaseInsensitive)", "2"),
            ("Contains([country], \"a\")", "0"),
            ("Item([otherMails], Contains([otherMails], \"A\"))", "A@x.example"),
            ("Coalesce([mail], Item([proxyAddresses], 1), [city])", "Kiruna"),
            ("Coalesce(Item([otherMails], 9), Item(Split([country], \",\"), 2), [city])", "Kiruna"),
            ("Coalesce(Item([proxyAddresses], Contains([proxyAddresses], \"SMTP:\")), [city])", "Kiruna"),
            ("IIF(IsPresent(Item([otherMails], 4)), \"four\", \"fewer\")", "fewer"),
            ("ToLower(Item([proxyAddresses], 1))", "null"),
            ("RemoveDuplicates([otherMails])", r#"List([Text("b@x.example"), Text("A@x.example")])"#),
            ("RemoveDuplicates([city])", "Kiruna"),
            ("RemoveDuplicates([country])", "null"),
        ] {
            assert_eq!(evaluated(expression, &inputs), expected, "{expression}");
        }
    }

    #[test]
    fn split_into_parts() {
        check(
            &[("city", "Kiruna; Malmö;"), ("mailNickname", "")],
            &[
                ("Split([city], \";\")", r#"List([Text("Kiruna"), Text("Malmö"), Text("")])"#),
                ("Split(\"a--b\", \"--\")", r#"List([Text("a"), Text("b")])"#),
                ("Join(\"/\", Split([city], \";\"))", "Kiruna/Malmö"),
                ("Split([mailNickname], \";\")", ""),
                ("Split(\"ab\", [mailNickname])", "ab"),
                ("Split([country], \";\")", "null"),
            ],
        );
        assert_eq!(problems("Split([city], )")[0].message, "the delimiter is empty");
        assert_eq!(problems("Split([city], \"\")")[0].position, 15);
    }

    #[test]
    fn many_elements_and_a_long_text_take_linear_time() {
        let (many, long) = (",".repeat(200_000), "x".repeat(200_000));
        let inputs = [("city", value(&many)), ("state", value(&long))];
        for (expression, expected) in [
            ("Contains(Split([city], \",\"), [state])", "0"),
            ("Contains(Split([city], \",\"), [state], CaseInsensitive)", "0"),
            ("Count(RemoveDuplicates(Split([city], \",\")))", "1"),
            ("Join(, Replace(Split([city], \",\"), [state], , , \"\", , ))", ""),
            ("Word([state], 2, [city])", ""),
            ("Count(PCase(Split([city], \",\"), [state]))", "200001"),
            ("Join([state], Split([city], \",\"), \"a\", \"b\", \"c\")", "invalid: a text exceeds 256 KiB"),
        ] {
            assert_eq!(evaluated(expression, &inputs), expected, "{expression}");
        }
    }

    #[test]
    fn the_first_role_by_name_is_used() {
        let role = |member: &str, name: &str| Value::Complex(BTreeMap::from([(member.to_owned(), value(name))]));
        for (assignments, expected) in [
            (list(&["Trainer"]), "Trainer"),
            (value("Trainer"), "Trainer"),
            (Value::List(vec![role("displayName", "Tutor"), role("value", "Coach")]), "Coach"),
            (Value::List(vec![role("id", "1")]), "invalid: an app role assignment has no name"),
            (Value::List(Vec::new()), "null"),
        ] {
            let inputs = [("otherMails", assignments)];
            assert_eq!(evaluated("SingleAppRoleAssignment([otherMails])", &inputs), expected);
        }
    }
}
