//! Converts a mapped value for its column: text unchanged, booleans as `true` or `false`.

use std::borrow::Cow;

use crate::model::{Attribute, AttributeKind, Value};

use crate::expression::{EvaluationStop, text};

/// Converts `value` for the column of `attribute`. An empty text becomes null; nothing is trimmed or shortened.
pub(super) fn fit(attribute: Attribute, value: Cow<'_, Value>) -> Result<Option<String>, EvaluationStop> {
    let Some(text) = text(value)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    match attribute.kind() {
        // PostgreSQL cannot store NUL; both databases behave alike.
        AttributeKind::Text if text.contains('\0') => Err(EvaluationStop::invalid("the text contains a NUL character")),
        AttributeKind::Text => Ok(Some(text.into_owned())),
        AttributeKind::Boolean if text == "1" || text.eq_ignore_ascii_case("true") => Ok(Some("true".to_owned())),
        AttributeKind::Boolean if text == "0" || text.eq_ignore_ascii_case("false") => Ok(Some("false".to_owned())),
        AttributeKind::Boolean => Err(EvaluationStop::invalid("the value is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::tests::value;

    #[test]
    fn texts_stay_unchanged_and_booleans_are_normalized() {
        let fitted = |attribute, value| fit(attribute, Cow::Owned(value)).ok();
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
