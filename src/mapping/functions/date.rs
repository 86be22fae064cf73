//! Functions of time. The time is the cycle's: no function reads a clock.

use std::borrow::Cow;

use crate::model::Value;

use super::super::evaluate::{Call, Outcome};

/// How the service prints a date.
const PRINTED: &str = "%-m/%-d/%Y %-I:%M:%S %p";

/// `Now()`: the time of the cycle in UTC.
pub(super) fn now(call: Call<'_>) -> Outcome<'_> {
    Ok(Cow::Owned(Value::Text(call.context.now.strftime(PRINTED).to_string())))
}

#[cfg(test)]
mod tests {
    use super::super::super::evaluate::tests::check;

    #[test]
    fn now_is_printed_as_the_service_does() {
        check(&[], &[("Now()", "3/4/2026 5:06:09 PM")]);
    }
}
