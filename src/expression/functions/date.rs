//! Date functions. `Now()` is the time of the cycle: no function reads a clock.
//!
//! Converting a missing or empty date gives no value. `DateDiff` of a missing date is an error: a comparison with no
//! value would decide silently, for example who is active.

use std::borrow::Cow;

use crate::model::Value;

use crate::expression::compile::Expression;
use crate::expression::constant::{ConstantKind, Integer, Parameter, accepts};
use crate::expression::dates::{DateFormat, DateInterval, DateTimeStyles, UtcDateTime};
use crate::expression::evaluate::{Call, Evaluated, EvaluationStop, null, number, produced};
use crate::expression::syntax::{Node, Syntax};

const BEYOND: EvaluationStop = EvaluationStop::invalid("the date is outside the calendar");

/// `Now()`: the time of the cycle in UTC.
pub(super) fn now(call: Call<'_>) -> Evaluated<'_> {
    printed(UtcDateTime::from_timestamp(call.now()))
}

/// `CDate(expression)`.
pub(super) fn c_date(call: Call<'_>) -> Evaluated<'_> {
    date_argument(call, 0)?.map_or_else(|| Ok(null()), |date| printed(Some(date)))
}

/// `DateAdd(interval, value, dateTime)`.
pub(super) fn add(call: Call<'_>) -> Evaluated<'_> {
    let (interval, count) = (call.required_argument::<DateInterval>(0)?, call.required_argument::<Integer>(1)?);
    match date_argument(call, 2)? {
        Some(date) => printed(date.add(*interval, count.0)),
        None => Ok(null()),
    }
}

/// `DateDiff(interval, date1, date2)`: positive when the second date is later.
pub(super) fn difference(call: Call<'_>) -> Evaluated<'_> {
    let interval = call.required_argument::<DateInterval>(0)?;
    let (from, to) = (call.required_argument::<UtcDateTime>(1)?, call.required_argument::<UtcDateTime>(2)?);
    number(from.until(*to, *interval))
}

/// `DateFromNum(value)`: converts a file time of Active Directory.
pub(super) fn from_number(call: Call<'_>) -> Evaluated<'_> {
    match call.argument::<Integer>(0)? {
        Some(ticks) => printed(UtcDateTime::from_file_time(ticks.0)),
        None => Ok(null()),
    }
}

/// `NumFromDate(value)`: converts to a file time of Active Directory.
pub(super) fn to_number(call: Call<'_>) -> Evaluated<'_> {
    match date_argument(call, 0)? {
        Some(date) => number(date.file_time().ok_or(EvaluationStop::invalid("dates before 1601 have no file time"))?),
        None => Ok(null()),
    }
}

pub(super) const FORMAT_PARAMETERS: &[Parameter] = &[
    accepts(1, ConstantKind::DateTimeStyles),
    accepts(2, ConstantKind::DateFormat),
    accepts(3, ConstantKind::DateFormat),
];

/// The older form of `FormatDateTime` has no styles: `(source, inputFormat, outputFormat)`.
pub(super) fn arrange_format(nodes: &mut Vec<Node>) {
    while nodes.len() > 3 && nodes.pop_if(|node| node.syntax == Syntax::Empty).is_some() {}
    if let [_, Node { position, syntax }, _] = nodes.as_slice() {
        let left_out = Node { position: *position, syntax: Syntax::Empty };
        // `(source, , inputFormat)` is the current form without its last argument.
        let at = if *syntax == Syntax::Empty { 3 } else { 1 };
        nodes.insert(at, left_out);
    }
}

/// `FormatDateTime(source, dateTimeStyles, inputFormat, outputFormat)`: a missing format means the service's own
/// notation. The result of a date function ignores the input format.
pub(super) fn format(call: Call<'_>) -> Evaluated<'_> {
    let Some(text) = call.text(0)?.filter(|text| !text.is_empty()) else { return Ok(null()) };
    let now = UtcDateTime::from_timestamp(call.now()).ok_or(BEYOND)?;
    let styles = call.argument::<DateTimeStyles>(1)?.map_or_else(DateTimeStyles::service_default, Cow::into_owned);
    let from_function = if call.arguments.first().is_some_and(Expression::returns_date) {
        UtcDateTime::from_printed(&text)
    } else {
        None
    };
    let date = match (from_function, call.argument::<DateFormat>(2)?) {
        (Some(date), _) => Some(date),
        (None, Some(format)) => UtcDateTime::read_exactly(&text, &format, styles, now),
        (None, None) => UtcDateTime::parse(&text).ok(),
    };
    let date = date.ok_or(EvaluationStop::invalid("the text does not match the expected date format"))?;
    match call.argument::<DateFormat>(3)? {
        Some(format) => produced(date.write(&format)),
        None => printed(Some(date)),
    }
}

/// Argument `index` as a date, unless it is null or empty.
fn date_argument(call: Call<'_>, index: usize) -> Result<Option<UtcDateTime>, EvaluationStop> {
    Ok(call.argument::<UtcDateTime>(index)?.map(Cow::into_owned))
}

fn printed<'a>(date: Option<UtcDateTime>) -> Evaluated<'a> {
    Ok(Cow::Owned(Value::Text(date.ok_or(BEYOND)?.printed())))
}

#[cfg(test)]
mod tests {
    use crate::expression::tests::{check, problems};

    const ADA: &[(&str, &str)] = &[
        ("employeeHireDate", "2029-07-04T22:30:00-03:00"),
        ("state", "04.07.2029"),
        ("city", "Kiruna"),
        ("mailNickname", ""),
    ];

    #[test]
    fn date_functions() {
        check(
            ADA,
            &[
                ("Now()", "3/4/2026 5:06:09 PM"),
                ("CDate([employeeHireDate])", "7/5/2029 1:30:00 AM"),
                ("CDate(\"7/5/2029\")", "7/5/2029 12:00:00 AM"),
                ("CDate([country])", "null"),
                ("CDate([mailNickname])", "null"),
                ("NumFromDate([mailNickname])", "null"),
                ("DateAdd(\"d\", 1, [mailNickname])", "null"),
                ("Coalesce(CDate([mailNickname]), [city])", "Kiruna"),
                ("CDate([city])", "invalid: argument 1 of CDate is not a date"),
                ("DateAdd(\"M\", \"-1\", \"2029-03-31\")", "2/28/2029 12:00:00 AM"),
                ("DateAdd(\"h\", 1.9, CDate([employeeHireDate]))", "7/5/2029 2:30:00 AM"),
                ("DateAdd(\"d\", [city], Now())", "invalid: argument 2 of DateAdd is not a whole number"),
                ("DateAdd([city], 1, Now())", "invalid: argument 1 of DateAdd is not an interval such as \"d\""),
                (
                    "DateAdd(\"d\", [country], Now())",
                    "invalid: argument 2 of DateAdd has no value; it must be a whole number",
                ),
                ("DateAdd(\"d\", 1, [country])", "null"),
                ("DateAdd(\"yyyy\", 8000, Now())", "invalid: the date is outside the calendar"),
                ("DateDiff(\"d\", Now(), CDate([employeeHireDate]))", "1218"),
                (
                    "DateDiff(\"d\", CDate([country]), Now())",
                    "invalid: argument 2 of DateDiff has no value; it must be a date",
                ),
                ("DateDiff(\"n\", \"2029-07-04\", \"2029-07-03\") < 0", "True"),
                ("CDate(\"2029-10-01\") > CDate(\"2029-02-01\")", "True"),
                ("CDate(\"2029-10-01\") = \"2029-10-01\"", "True"),
                ("DateFromNum(\"133000000000000000\")", "6/18/2022 4:26:40 AM"),
                ("DateFromNum(9223372036854775807)", "invalid: the date is outside the calendar"),
                ("DateFromNum([country])", "null"),
                ("NumFromDate(\"2022-06-18T06:26:40+02:00\")", "133000000000000000"),
                ("NumFromDate(\"1600-12-31\")", "invalid: dates before 1601 have no file time"),
                ("NumFromDate([country])", "null"),
            ],
        );
    }

    #[test]
    fn format_date_time() {
        check(
            ADA,
            &[
                ("FormatDateTime([state], , \"dd.MM.yyyy\", \"yyyyMMdd\")", "20290704"),
                ("FormatDateTime([state], \"dd.MM.yyyy\", \"ddd d MMM\")", "Wed 4 Jul"),
                ("FormatDateTime([state], \"dd.MM.yyyy\", \"%d\", )", "4"),
                ("FormatDateTime([state], , \"dd.MM.yyyy\", )", "7/4/2029 12:00:00 AM"),
                ("FormatDateTime([state], , \"dd.MM.yyyy\")", "7/4/2029 12:00:00 AM"),
                ("FormatDateTime([employeeHireDate], , , \"yyyy-MM-dd\")", "2029-07-05"),
                ("FormatDateTime(\" 7:05 PM\", \"AllowLeadingWhite\", \"h:mm tt\", \"MM-dd HH:mm\")", "03-04 19:05"),
                ("FormatDateTime(CDate([employeeHireDate]), , \"yyyy\", \"HH:mm\")", "01:30"),
                ("FormatDateTime(IIF(\"1\", Now(), ), , \"d.M.yyyy\", \"d.M.yyyy\")", "4.3.2026"),
                ("FormatDateTime([country], , \"yyyy\", \"yy\")", "null"),
                ("FormatDateTime([mailNickname], , \"yyyy\", \"yy\")", "null"),
                (
                    "FormatDateTime([city], , \"yyyy\", \"yy\")",
                    "invalid: the text does not match the expected date format",
                ),
                (
                    "FormatDateTime([state], [city], \"yyyy\", \"yy\")",
                    "invalid: argument 2 of FormatDateTime is not the name of a DateTimeStyles value",
                ),
            ],
        );
    }

    #[test]
    fn constants_are_checked_when_compiling() {
        for (expression, position, words) in [
            ("DateAdd(\"days\", 1, Now())", 9, "`days` is not an interval"),
            ("DateAdd(\"d\", \"one\", Now())", 14, "`one` is not a whole number"),
            ("DateAdd(\"d\", , Now())", 14, "must be a whole number"),
            ("CDate(\"soon\")", 7, "`soon` is not a date"),
            ("CDate(\"\")", 7, "must be a date"),
            ("DateDiff(\"d\", Now(), \"2029-02-30\")", 22, "not a date"),
            ("FormatDateTime([state], \"Roundtrip\", \"yyyy\", \"yy\")", 25, "DateTimeStyles"),
            ("FormatDateTime([state], , \"yyyy'\", \"yy\")", 27, "closing quote"),
            ("FormatDateTime([state], \"dd.MM.yyyy\", \"Q\")", 39, "standard format"),
        ] {
            let found = problems(expression);
            assert!(found.len() == 1 && found[0].position == position, "{expression}: {found:?}");
            assert!(found[0].message.contains(words), "{expression}: {found:?}");
        }
    }
}
