//! Functions that choose between values, and the conditions that they use.

use crate::model::Value;

use super::Checked;
use crate::expression::attribute::is_empty;
use crate::expression::compile::Expression;
use crate::expression::evaluate::{Call, Evaluated, EvaluationStop, boolean, null, text};

/// `Switch(source, default, key1, value1, ...)`: keys are case-sensitive; the key `""` matches a missing value.
pub(super) fn switch(call: Call<'_>) -> Evaluated<'_> {
    let source = call.text(0)?.unwrap_or_default();
    for key in (2..call.arguments.len()).step_by(2) {
        if call.text(key)?.unwrap_or_default() == source {
            return call.value(key + 1);
        }
    }
    call.value(1)
}

/// `IIF(condition, then, else)`.
pub(super) fn iif(call: Call<'_>) -> Evaluated<'_> {
    const UNDECIDED: EvaluationStop = EvaluationStop::invalid("the condition of an IIF is neither true nor false");
    let condition = text(call.value(0)?)?.unwrap_or_default();
    let holds = truth(&condition).ok_or(UNDECIDED)?;
    call.value(if holds { 1 } else { 2 })
}

/// `CBool(expression)`.
pub(super) fn c_bool(call: Call<'_>) -> Evaluated<'_> {
    let text = call.text(0)?.unwrap_or_default();
    truth(&text).map(boolean).ok_or(EvaluationStop::invalid("the value is neither true nor false nor a number"))
}

/// Reads a text as a condition: a number is true unless it is zero; an empty text is false.
fn truth(text: &str) -> Option<bool> {
    match text {
        "" => Some(false),
        word if word.eq_ignore_ascii_case("true") => Some(true),
        word if word.eq_ignore_ascii_case("false") => Some(false),
        // Rust would also parse `inf` and `NaN`.
        number if number.contains(char::is_alphabetic) => None,
        number => number.trim().parse::<f64>().ok().map(|number| number != 0.0),
    }
}

/// `Error(message)`: rejects the user.
pub(super) fn error(call: Call<'_>) -> Evaluated<'_> {
    let message = call.text(0)?.unwrap_or_default().into_owned();
    Err(EvaluationStop::broken(message))
}

/// The message is logged, so it must not contain values of a user.
pub(super) fn check_error(arguments: &[Expression]) -> Checked {
    let mut is_personal = false;
    for argument in arguments {
        argument.visit(&mut |part| is_personal |= matches!(part, Expression::Attribute { .. }));
    }
    if is_personal {
        return Err((0, "the message of an `Error` is logged and must not contain attributes".to_owned()));
    }
    Ok(())
}

/// `Coalesce(source1, source2, ...)`: the first source with a value.
///
/// The documentation skips only null, but one of its examples also skips an empty text. So an empty text is used only
/// when no other source has a value.
pub(super) fn coalesce(call: Call<'_>) -> Evaluated<'_> {
    let mut empty = null();
    for index in 0..call.arguments.len() {
        let value = call.value(index)?;
        if !is_empty(&value) {
            return Ok(value);
        }
        if *empty == Value::Null {
            empty = value;
        }
    }
    Ok(empty)
}

/// `IgnoreFlowIfNullOrEmpty(source)`: without a value, the learner keeps its own.
pub(super) fn ignore_flow_if_null_or_empty(call: Call<'_>) -> Evaluated<'_> {
    let value = call.value(0)?;
    if is_empty(&value) { Err(EvaluationStop::IgnoreAttribute) } else { Ok(value) }
}

/// `IsNull(source)`.
pub(super) fn is_null(call: Call<'_>) -> Evaluated<'_> {
    Ok(boolean(match call.value(0)?.as_ref() {
        Value::Null => true,
        Value::List(elements) => elements.is_empty(),
        _ => false,
    }))
}

/// `IsNullOrEmpty(source)`.
pub(super) fn is_null_or_empty(call: Call<'_>) -> Evaluated<'_> {
    Ok(boolean(is_empty(call.value(0)?.as_ref())))
}

/// `IsPresent(source)`: the opposite of `IsNullOrEmpty`.
pub(super) fn is_present(call: Call<'_>) -> Evaluated<'_> {
    Ok(boolean(!is_empty(call.value(0)?.as_ref())))
}

/// `IsString(source)`: whether there is a single value that can be written as text.
pub(super) fn is_string(call: Call<'_>) -> Evaluated<'_> {
    Ok(boolean(matches!(text(call.value(0)?), Ok(Some(_)))))
}

/// `Not(source)`: false for true, true for everything else.
pub(super) fn not(call: Call<'_>) -> Evaluated<'_> {
    let is_true = call.text(0)?.is_some_and(|word| word.eq_ignore_ascii_case("true"));
    Ok(boolean(!is_true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::tests::{check, evaluated, problems};

    const ADA: &[(&str, &str)] = &[("city", "Kiruna"), ("mailNickname", ""), ("state", "1")];
    const FAILS: &str = "IIF(\"perhaps\", , )";

    #[test]
    fn switch_evaluates_one_branch() {
        let lazy = format!("Switch([city], {FAILS}, \"Kiruna\", \"north\", {FAILS}, {FAILS})");
        check(
            ADA,
            &[
                ("Switch([city], \"south\", \"Kiruna\", \"north\", \"Malmö\", \"bridge\")", "north"),
                ("Switch([city], \"south\", \"kiruna\", \"north\")", "south"),
                ("Switch([city], , \"Malmö\", \"bridge\")", "null"),
                ("Switch([city], [state], \"Kiruna\", , )", "null"),
                ("Switch([mailNickname], \"named\", \"\", \"unnamed\")", "unnamed"),
                ("Switch([country], \"somewhere\", \"\", \"nowhere\")", "nowhere"),
                ("Switch([state], \"no\", 1, \"yes\")", "yes"),
                ("Switch([IsSoftDeleted], , \"False\", \"kept\", \"True\", \"gone\")", "kept"),
                ("Switch(IsPresent([city]), \"d\", \"True\", [city])", "Kiruna"),
                ("switch([city], \"a\", \"Kiruna\", \"b\", \"Kiruna\", \"c\")", "b"),
                (&lazy, "north"),
            ],
        );
    }

    #[test]
    fn iif_evaluates_one_branch() {
        let lazy = format!("IIF([city] = \"Kiruna\", \"yes\", {FAILS})");
        check(
            ADA,
            &[
                ("IIF([city] <> \"Malmö\", [city], \"bridge\")", "Kiruna"),
                ("IIF([country] = \"\", \"Other\", [country])", "Other"),
                ("IIF(IsNullOrEmpty([mailNickname]), \"none\", [mailNickname])", "none"),
                ("IIF([accountEnabled], \"on\", \"off\")", "on"),
                ("IIF([country], \"a\", \"b\")", "b"),
                ("IIF([state], \"a\", \"b\")", "a"),
                ("IIF(\"FALSE\", \"a\", )", "null"),
                ("IIF(2, \"a\", \"b\")", "a"),
                ("IIF(InStr([city], \"x\"), \"a\", \"b\")", "b"),
                ("CBool(-1)", "True"),
                ("CBool(\"0.0\")", "False"),
                ("CBool(\"tRue\")", "True"),
                ("CBool([country])", "False"),
                ("CBool([city] = \"Kiruna\")", "True"),
                ("CBool([city])", "invalid: the value is neither true nor false nor a number"),
                (&lazy, "yes"),
                (FAILS, "invalid: the condition of an IIF is neither true nor false"),
            ],
        );
    }

    #[test]
    fn coalesce_returns_the_first_value() {
        check(
            ADA,
            &[
                ("Coalesce([country], [mailNickname], [city], \"x\")", "Kiruna"),
                ("Coalesce([country], [mailNickname], \"Default\")", "Default"),
                ("Coalesce([country], [companyName])", "null"),
                ("Coalesce([country], [mailNickname], [companyName])", ""),
                ("Coalesce([mailNickname], [country], , )", ""),
                ("Coalesce([city])", "Kiruna"),
            ],
        );
    }

    #[test]
    fn conditions() {
        check(
            ADA,
            &[
                ("IsNull([country])", "True"),
                ("IsNull([mailNickname])", "False"),
                ("IsNullOrEmpty([mailNickname])", "True"),
                ("IsNullOrEmpty([city])", "False"),
                ("IsPresent([mailNickname])", "False"),
                ("IsPresent([city])", "True"),
                ("Not([IsSoftDeleted])", "True"),
                ("Not([accountEnabled])", "False"),
                ("Not(\"True\")", "False"),
                ("Not([city])", "True"),
                ("Not([country])", "True"),
                ("IsNothing([country])", "True"),
                ("IsString([city])", "True"),
                ("IsString(7)", "True"),
                ("IsString([country])", "False"),
            ],
        );
        let disabled = [("accountEnabled", Value::Boolean(false))];
        assert_eq!(evaluated("[IsSoftDeleted]", &disabled), "True");
    }

    #[test]
    fn an_attribute_can_stop_flowing() {
        check(
            ADA,
            &[
                ("IgnoreFlowIfNullOrEmpty([city])", "Kiruna"),
                ("IgnoreFlowIfNullOrEmpty([country])", "no flow"),
                ("IgnoreFlowIfNullOrEmpty(\"\")", "no flow"),
                ("ToUpper(IgnoreFlowIfNullOrEmpty([country]))", "no flow"),
                ("IIF([state] = 2, \"two\", IgnoreFlowIfNullOrEmpty([country]))", "no flow"),
                ("IIF([state] = 1, \"one\", IgnoreFlowIfNullOrEmpty([country]))", "one"),
                ("IIF([state] = 2, \"two\", IgnoreAttributeFlow)", "no flow"),
                ("Switch([city], ignoreattributeflow, \"Kiruna\", \"north\")", "north"),
                ("Switch([city], \"south\", \"Kiruna\", IgnoreObjectFlow)", "no flow for the user"),
            ],
        );
    }

    #[test]
    fn error_rejects_the_user() {
        assert!(problems("Error(\"not \" & [city])")[0].message.contains("is logged"));
        check(
            ADA,
            &[
                ("IIF(IsPresent([city]), [city], Error(\"where?\"))", "Kiruna"),
                ("IIF(IsPresent([country]), [country], Error(\"no \" & \"country\"))", "invalid: no country"),
            ],
        );
    }
}
