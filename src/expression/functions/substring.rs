//! Functions that find or take a part of a text. Positions are characters, counted from 1.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::model::Value;

use super::text::{each, single};
use crate::expression::constant::Integer;
use crate::expression::evaluate::{Call, Evaluated, EvaluationStop, null, number};
use crate::expression::keyword::CompareType;

/// `Left(string, numChars)`: a negative number takes the whole text; null gives an empty text.
pub(super) fn left(call: Call<'_>) -> Evaluated<'_> {
    let source = call.value(0)?;
    let count = call.required_argument::<Integer>(1)?.0;
    each(or_empty(source), |text| taken(text, 0, Some(count)))
}

/// `Mid(source, start, length)`: to the end without a length or with a negative one.
pub(super) fn mid(call: Call<'_>) -> Evaluated<'_> {
    let source = call.value(0)?;
    let (start, length) = (call.required_argument::<Integer>(1)?.0, call.argument::<Integer>(2)?);
    let length = length.map(|length| length.0);
    if start < 1 {
        return Err(EvaluationStop::invalid("positions start at 1"));
    }
    each(source, |text| taken(text, start - 1, length))
}

/// `Word(string, wordNumber, delimiters)`: each character of `delimiters` ends a word.
pub(super) fn word(call: Call<'_>) -> Evaluated<'_> {
    let source = call.value(0)?;
    let wanted = call.required_argument::<Integer>(1)?.0;
    let delimiters: BTreeSet<char> = call.text(2)?.unwrap_or_default().chars().collect();
    each(or_empty(source), |text| {
        let mut words = text.split(|letter| delimiters.contains(&letter)).filter(|word| !word.is_empty());
        let found = usize::try_from(wanted - 1).ok().and_then(|index| words.nth(index));
        found.unwrap_or_default().to_owned()
    })
}

/// `InStr(value1, value2, start, compareType)`: the position of the second text in the first, else 0.
pub(super) fn in_str(call: Call<'_>) -> Evaluated<'_> {
    let source = call.text(0)?.unwrap_or_default();
    let wanted = call.text(1)?.unwrap_or_default();
    let start = call.argument::<Integer>(2)?.map_or(1, |start| start.0);
    let compare = call.argument::<CompareType>(3)?.map_or_else(CompareType::default, Cow::into_owned);
    let skipped = usize::try_from(start - 1).map_err(|_| EvaluationStop::invalid("positions start at 1"))?;
    // As in Visual Basic, nothing is found after the last character, not even an empty text.
    let found = if skipped < source.chars().count() { find_text(&source, &wanted, skipped, compare) } else { None };
    number(found.map_or(0, |position| position + 1))
}

/// The number of characters before `wanted`, searched after the first `skipped` characters.
pub(super) fn find_text(source: &str, wanted: &str, skipped: usize, compare: CompareType) -> Option<usize> {
    let from = source.char_indices().map(|(at, _)| at).chain([source.len()]).nth(skipped)?;
    // Preparing the search takes as long as `wanted`, for each element of a list. A character has at most four bytes.
    if wanted.len() > 4 * (source.len() - from) {
        return None;
    }
    let found = match compare {
        CompareType::Binary => source[from..].find(wanted).map(|at| source[from..from + at].chars().count()),
        CompareType::Text => {
            // Folded character by character, to keep positions.
            let fold =
                |text: &str| text.chars().map(|letter| single(letter.to_lowercase(), letter)).collect::<String>();
            let (folded, wanted) = (fold(&source[from..]), fold(wanted));
            folded.find(&wanted).map(|at| folded[..at].chars().count())
        }
    };
    found.map(|position| position + skipped)
}

/// At most `length` characters after the first `skipped` ones.
fn taken(text: &str, skipped: i128, length: Option<i128>) -> String {
    let count = |number: i128| usize::try_from(number).unwrap_or(usize::MAX);
    let length = length.filter(|length| *length >= 0).map_or(usize::MAX, count);
    text.chars().skip(count(skipped)).take(length).collect()
}

/// For `Left` and `Word`, the documentation says that null becomes an empty text.
fn or_empty(value: Cow<'_, Value>) -> Cow<'_, Value> {
    if value == null() { Cow::Owned(Value::Text(String::new())) } else { value }
}

#[cfg(test)]
mod tests {
    use crate::expression::tests::{check, problems};

    const ADA: &[(&str, &str)] = &[("city", "Örebro"), ("mail", "ada.LOVELACE@x.example"), ("mailNickname", "")];

    #[test]
    fn parts() {
        check(
            ADA,
            &[
                ("Left([city], 2)", "Ör"),
                ("Left([city], \"20\")", "Örebro"),
                ("Left([city], 0)", ""),
                ("Left([city], -1)", "Örebro"),
                ("Left([country], 3)", ""),
                ("Mid([city], 2, 3)", "reb"),
                ("Mid([city], 5, 64)", "ro"),
                ("Mid([city], 3)", "ebro"),
                ("Mid([city], 3, )", "ebro"),
                ("Mid([city], 3, -1)", "ebro"),
                ("Mid([city], 7, 1)", ""),
                ("Mid([city], 1, 0)", ""),
                ("Mid([city], Count([country]), 1)", "invalid: positions start at 1"),
                ("Mid([country], 1, 2)", "null"),
                ("Word(\"one, two;three\", 2, \",; \")", "two"),
                ("Word(\"one, two;three\", 4, \",; \")", ""),
                ("Word([mail], 1, \"@\")", "ada.LOVELACE"),
                ("Word([mail], 0, \"@\")", ""),
                ("Word([mail], 2, \"\")", ""),
                ("Word([country], 1, \"@\")", ""),
            ],
        );
    }

    #[test]
    fn positions() {
        check(
            ADA,
            &[
                ("InStr([mail], \"a\")", "1"),
                ("InStr([mail], \"a\", 2)", "3"),
                ("InStr([mail], \"love\")", "0"),
                ("InStr([mail], \"love\", , vbTextCompare)", "5"),
                ("InStr([mail], \"love\", 6, VBTEXTCOMPARE)", "0"),
                ("InStr([mail], \"A\", 3, \"vbBinaryCompare\")", "10"),
                ("InStr([city], \"b\")", "4"),
                ("InStr([city], \"ö\", 1, vbTextCompare)", "1"),
                ("InStr([city], \"b\", 99)", "0"),
                ("InStr([city], \"\")", "1"),
                ("InStr([city], \"\", 6)", "6"),
                ("InStr([city], \"\", 7)", "0"),
                ("InStr([mailNickname], \"\")", "0"),
                ("InStr([mailNickname], [country])", "0"),
                ("InStr([country], \"b\")", "0"),
                ("InStr([city], \"b\", -1)", "invalid: positions start at 1"),
            ],
        );
    }

    #[test]
    fn constants_are_checked_when_compiling() {
        for (expression, position) in [
            ("Left([city], \"two\")", 14),
            ("Mid([city], , 2)", 13),
            ("Word([city], \"\", \",\")", 14),
            ("InStr([city], \"a\", 1, fuzzy)", 23),
            ("InStr([city], \"a\", vbTextCompare)", 20),
        ] {
            let found = problems(expression);
            assert!(found.len() == 1 && found[0].position == position, "{expression}: {found:?}");
        }
    }
}
