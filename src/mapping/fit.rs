//! Converts a mapped value for its column: user name and e-mail without blanks at their ends, other text unchanged,
//! booleans as `true` or `false`.

use std::borrow::Cow;

use crate::model::{Attribute, AttributeKind, Value, hides_something, is_visible, trim_blanks};

use crate::expression::{EvaluationStop, text};

/// Converts `value` for the column of `attribute`. A text of blanks alone becomes null; nothing is shortened.
///
/// # Errors
/// An invisible character inside a user name or an e-mail is invalid: it would make two of them that look the same.
pub(super) fn fit(attribute: Attribute, value: Cow<'_, Value>) -> Result<Option<Cow<'_, str>>, EvaluationStop> {
    let Some(text) = text(value)?.filter(|text| !trim_blanks(text).is_empty()) else { return Ok(None) };
    match attribute.kind() {
        // PostgreSQL cannot store NUL; both databases behave alike.
        AttributeKind::Text if text.contains('\0') => Err(EvaluationStop::invalid("the text contains a NUL character")),
        AttributeKind::Text if Attribute::UNIQUE.contains(&attribute) => {
            let trimmed = trim_blanks(&text);
            match trimmed.chars().find(|character| !is_visible(*character)).filter(|_| hides_something(trimmed)) {
                Some(invisible) => Err(EvaluationStop::broken(format!(
                    "the text contains an invisible character, U+{:04X}",
                    u32::from(invisible)
                ))),
                None => Ok(Some(match text {
                    Cow::Borrowed(text) => Cow::Borrowed(trim_blanks(text)),
                    Cow::Owned(_) => Cow::Owned(trimmed.to_owned()),
                })),
            }
        }
        AttributeKind::Text => Ok(Some(text)),
        AttributeKind::Boolean if text == "1" || text.eq_ignore_ascii_case("true") => Ok(Some(Cow::Borrowed("true"))),
        AttributeKind::Boolean if text == "0" || text.eq_ignore_ascii_case("false") => Ok(Some(Cow::Borrowed("false"))),
        AttributeKind::Boolean => Err(EvaluationStop::invalid("the value is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::tests::value;

    #[test]
    fn blanks_count_as_missing_and_are_trimmed_from_unique_attributes() {
        let fitted =
            |attribute, text| fit(attribute, Cow::Owned(value(text))).ok().map(|text| text.map(Cow::into_owned));
        let stored = |text: &str| Some(Some(text.to_owned()));
        for blank in [
            " ",
            "\t\r\n",
            "\u{A0}",
            "\u{3000}\u{200B}",
            "\u{200C}\u{200D}\u{2060}\u{FEFF}",
            "\u{AD}",
            "\u{202F}\u{200E}",
        ] {
            for attribute in [Attribute::UserName, Attribute::Email, Attribute::Title, Attribute::SecurityChampion] {
                assert_eq!(fitted(attribute, blank), Some(None), "{attribute:?} {blank:?}");
            }
        }
        for padded in [" Ada@x", "Ada@x\u{A0}", "\u{200B}Ada@x\t", "\u{FEFF}\u{202A}Ada@x\u{202C}\n"] {
            assert_eq!(fitted(Attribute::UserName, padded), stored("Ada@x"));
            assert_eq!(fitted(Attribute::Email, padded), stored("Ada@x"));
            assert_eq!(fitted(Attribute::Title, padded), stored(padded));
        }
        for inside in ["ada\u{200B}@x", "ada\u{AD}@x", "ada@x\u{200E}.example", "a\u{FEFF}da@x"] {
            assert_eq!(fitted(Attribute::Email, inside), None, "{inside:?}");
            assert_eq!(fitted(Attribute::Title, inside), stored(inside));
        }
        // White space that is seen is not invisible.
        assert_eq!(fitted(Attribute::UserName, "Ada\u{A0}King"), stored("Ada\u{A0}King"));
    }

    #[test]
    fn texts_stay_unchanged_and_booleans_are_normalized() {
        let fitted = |attribute, value| fit(attribute, Cow::Owned(value)).ok().map(|text| text.map(Cow::into_owned));
        let stored = |text: &str| Some(Some(text.to_owned()));
        let long = " x\n".repeat(100_000);
        assert_eq!(fitted(Attribute::Title, value(&long)), stored(&long));
        assert_eq!(fitted(Attribute::Title, value("")), Some(None));
        assert_eq!(fitted(Attribute::Title, value("a\0b")), None);
        assert_eq!(fitted(Attribute::Title, Value::Boolean(true)), stored("True"));
        assert_eq!(fitted(Attribute::Title, Value::Number("1.50".to_owned())), stored("1.50"));
        assert_eq!(fitted(Attribute::Title, Value::List(vec![value("one")])), stored("one"));
        assert_eq!(fitted(Attribute::Title, Value::List(vec![value("one"), value("two")])), None);
        assert_eq!(fitted(Attribute::Title, Value::List(Vec::new())), Some(None));
        for (word, expected) in [("TRUE", "true"), ("1", "true"), ("False", "false"), ("0", "false")] {
            assert_eq!(fitted(Attribute::SecurityChampion, value(word)), stored(expected));
        }
        assert_eq!(fitted(Attribute::SecurityChampion, Value::Boolean(false)), stored("false"));
        assert_eq!(fitted(Attribute::SecurityChampion, value("yes")), None);
        assert_eq!(fitted(Attribute::SecurityChampion, value(" true")), None);
    }
}
