//! Conversions to text and numbers, and `Redact`.

use std::borrow::Cow;

use crate::model::Value;

use crate::expression::constant::Integer;
use crate::expression::evaluate::{Call, Evaluated, null, number, text};

/// `BitAnd(value1, value2)`.
pub(super) fn bit_and(call: Call<'_>) -> Evaluated<'_> {
    match (call.argument::<Integer>(0)?, call.argument::<Integer>(1)?) {
        (Some(left), Some(right)) => number(left.0 & right.0),
        _ => Ok(null()),
    }
}

/// `CStr(value)`.
pub(super) fn c_str(call: Call<'_>) -> Evaluated<'_> {
    Ok(match text(call.value(0)?)? {
        Some(text) => Cow::Owned(Value::Text(text.into_owned())),
        None => null(),
    })
}

/// `Redact(value)`: the value itself flows; the mapping keeps it out of the logs.
pub(super) fn redact(call: Call<'_>) -> Evaluated<'_> {
    call.value(0)
}

#[cfg(test)]
mod tests {
    use crate::expression::tests::check;

    #[test]
    fn conversions() {
        check(
            &[("employeeId", "514"), ("city", "Kiruna")],
            &[
                ("BitAnd(&HC, 10)", "8"),
                ("BitAnd(\"&H202\", [employeeId])", "514"),
                ("BitAnd(-1, &HFFFFFFFFFFFFFFFF)", "18446744073709551615"),
                ("BitAnd(1, [country])", "null"),
                ("BitAnd(1, [city])", "invalid: argument 2 of BitAnd is not a whole number"),
                ("CStr(12)", "12"),
                ("CStr([accountEnabled])", "True"),
                ("CStr([country])", "null"),
                ("Redact([city])", "Kiruna"),
            ],
        );
    }
}
