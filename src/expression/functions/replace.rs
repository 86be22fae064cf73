//! `Replace(source, oldValue, regexPattern, regexGroupName, replacementValue, replacementAttributeName, template)`: five
//! functions in one. The arguments that are present decide which one, when the expression is compiled.

use std::borrow::Cow;

use crate::model::{User, Value};

use super::Checked;
use super::text::try_each;
use crate::expression::attribute::is_empty;
use crate::expression::compile::Expression;
use crate::expression::constant::ConstantArgument;
use crate::expression::evaluate::{
    Call, Evaluated, EvaluationContext, EvaluationStop, MAX_PRODUCED, null, produced, text as text_of,
};
use crate::expression::pattern::Pattern;
use crate::expression::steps::Steps;

const OLD: usize = 1;
const PATTERN: usize = 2;
const GROUP: usize = 3;
const REPLACEMENT: usize = 4;
const ATTRIBUTE: usize = 5;
const TEMPLATE: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Replaces each old value in the source.
    Old,
    /// Replaces each old value in the template by the source.
    Template,
    /// Replaces each match in the source.
    Matches,
    /// Replaces what a group captures in each match.
    Group,
    /// Gives a source without a value what the group captures in another attribute.
    Extract,
}

/// The mode that the arguments ask for, if they ask for one.
fn mode(arguments: &[Expression]) -> Option<Mode> {
    let has = |index: usize| match arguments.get(index) {
        None | Some(Expression::Literal(Value::Null)) => false,
        // An empty text is a replacement, but cannot be searched for.
        Some(Expression::Literal(Value::Text(text))) => index == REPLACEMENT || !text.is_empty(),
        Some(_) => true,
    };
    let has_group = has(PATTERN) && has(GROUP);
    if has(OLD) && has(TEMPLATE) {
        Some(Mode::Template)
    } else if has(OLD) {
        Some(Mode::Old)
    } else if has_group && has(ATTRIBUTE) {
        Some(Mode::Extract)
    } else if has_group && has(REPLACEMENT) {
        Some(Mode::Group)
    } else if has(PATTERN) && has(REPLACEMENT) {
        Some(Mode::Matches)
    } else {
        None
    }
}

/// The arguments must match one mode, and a constant group must exist in a constant pattern.
pub(super) fn check(arguments: &[Expression]) -> Checked {
    if mode(arguments).is_none() {
        let needed = "`Replace` needs an oldValue, or a regexPattern with a replacementValue, or a regexPattern with a \
                      regexGroupName and a replacementAttributeName";
        // No single argument is wrong: report the position of the call.
        return Err((usize::MAX, needed.to_owned()));
    }
    match (&arguments[PATTERN], &arguments[GROUP]) {
        (
            Expression::Prepared { constant: ConstantArgument::Pattern(pattern), .. },
            Expression::Literal(Value::Text(group)),
        ) if !group.is_empty() && !pattern.has_group(group) => {
            Err((GROUP, format!("the regular expression has no group `{group}`")))
        }
        _ => Ok(()),
    }
}

pub(super) fn replace(call: Call<'_>) -> Evaluated<'_> {
    let source = call.value(0)?;
    match mode(call.arguments) {
        Some(Mode::Old) => {
            let (old, new) = (text(call, OLD)?, text(call, REPLACEMENT)?);
            try_each(source, |text| substitute(text, &old, &new))
        }
        Some(Mode::Template) => {
            let (old, template) = (text(call, OLD)?, text(call, TEMPLATE)?);
            try_each(source, |text| substitute(&template, &old, text))
        }
        Some(Mode::Matches) => {
            let Some(pattern) = pattern(call)? else { return Ok(source) };
            let new = text(call, REPLACEMENT)?;
            try_each(source, |text| Ok(pattern.replace(text, &new, call.context.steps)?))
        }
        Some(Mode::Group) => {
            let Some(pattern) = pattern(call)? else { return Ok(source) };
            let (group, new) = (text(call, GROUP)?, text(call, REPLACEMENT)?);
            try_each(source, |text| Ok(pattern.replace_group(text, &group, &new, call.context.steps)?))
        }
        Some(Mode::Extract) if is_empty(&source) => {
            let (Some(pattern), Some(other)) = (pattern(call)?, call.text(ATTRIBUTE)?) else {
                return Ok(source);
            };
            pattern.extract(&other, &text(call, GROUP)?, call.context.steps)?.map_or_else(|| Ok(null()), produced)
        }
        Some(Mode::Extract) | None => Ok(source),
    }
}

/// Whether a constant pattern takes too many steps for `user`, in whatever branch of the expression it is.
pub(in crate::expression) fn exhausts_steps(arguments: &[Expression], user: &User) -> bool {
    let Some(Expression::Prepared { constant: ConstantArgument::Pattern(pattern), .. }) = arguments.get(PATTERN) else {
        return false;
    };
    let steps = Steps::for_one_user();
    let context = EvaluationContext { user, now: jiff::Timestamp::UNIX_EPOCH, steps: &steps };
    let extracts = mode(arguments) == Some(Mode::Extract);
    if let Ok(subject) = arguments[if extracts { ATTRIBUTE } else { 0 }].evaluate(context)
        && let Ok(Some(subject)) = text_of(subject)
    {
        let _ = if extracts {
            pattern.matches(&subject, &steps).map(drop)
        } else {
            pattern.replace(&subject, "", &steps).map(drop)
        };
    }
    steps.are_exhausted()
}

fn pattern(call: Call<'_>) -> Result<Option<Cow<'_, Pattern>>, EvaluationStop> {
    if let Some(Expression::Prepared { .. }) = call.arguments.get(PATTERN) {
        return call.argument(PATTERN);
    }
    let Some(text) = call.text(PATTERN)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    call.context.steps.take_compilation()?;
    match Pattern::parse_for_one_user(&text) {
        Ok(pattern) => Ok(Some(Cow::Owned(pattern))),
        Err(_) => Err(call.wrong_type::<Pattern>(PATTERN)),
    }
}

fn text(call: Call<'_>, index: usize) -> Result<Cow<'_, str>, EvaluationStop> {
    Ok(call.text(index)?.unwrap_or_default())
}

/// Replaces each `old` in `source` by `new`.
fn substitute(source: &str, old: &str, new: &str) -> Result<String, EvaluationStop> {
    // Preparing the search takes as long as `old`, for each element of a list.
    if old.is_empty() || old.len() > source.len() {
        return Ok(source.to_owned());
    }
    let mut replaced = String::new();
    let mut copied = 0;
    for (at, _) in source.match_indices(old) {
        replaced.push_str(&source[copied..at]);
        replaced.push_str(new);
        copied = at + old.len();
        if replaced.len() > MAX_PRODUCED {
            return Err(EvaluationStop::TOO_LONG);
        }
    }
    replaced.push_str(&source[copied..]);
    Ok(replaced)
}

#[cfg(test)]
mod tests {
    use crate::expression::tests::{check as check_values, evaluated, problems, value};

    const ADA: &[(&str, &str)] = &[
        ("mail", "ada.lovelace@x.example"),
        ("city", "Malmö Malmö"),
        ("mobilePhone", "+46 70 123"),
        ("mailNickname", ""),
        ("state", "("),
    ];

    #[test]
    fn all_modes() {
        check_values(
            ADA,
            &[
                ("Replace([city], \"Malmö\", , , \"Lund\", , )", "Lund Lund"),
                ("Replace([city], \"malmö\", , , \"Lund\", , )", "Malmö Malmö"),
                ("Replace([city], \" Malmö\", , , \"\", , )", "Malmö"),
                ("Replace([city], \" Malmö\", \"\", \"\", , , )", "Malmö"),
                ("Replace([city], [country], , , \"x\", , )", "Malmö Malmö"),
                ("Replace([city], \"{}\", , , , , \"{}, {}!\")", "Malmö Malmö, Malmö Malmö!"),
                ("Replace([country], \"{}\", , , , , \"{}!\")", "null"),
                ("Replace([mail], , \"@.*\", , \"\", , )", "ada.lovelace"),
                ("Replace([mail], , \"@.*\", , \"\")", "ada.lovelace"),
                (r#"Replace([mail], , "(?<a>\\w+)\\.(?<b>\\w+)@.*", , "${b}.$1", , )"#, "lovelace.ada"),
                (r#"Replace([mail], , "\d", , "x", , )"#, "ada.lovelace@x.example"),
                (r#"Replace([mail], , "@(?<host>[^.]+)", "host", "y", , )"#, "ada.lovelace@y.example"),
                (r#"Replace([country], , "\\+(?<cc>\\d+)", "cc", , [mobilePhone], )"#, "46"),
                (r#"Replace([mailNickname], , "\\+(?<cc>\\d+)", "cc", "", [mobilePhone], )"#, "46"),
                (r#"Replace([city], , "\\+(?<cc>\\d+)", "cc", , [mobilePhone], )"#, "Malmö Malmö"),
                (r#"Replace([country], , "(?<cc>x)", "cc", , [mobilePhone], )"#, "null"),
                ("Replace([country], , \"a\", , \"b\", , )", "null"),
                ("Replace([city], , [mailNickname], , \"b\", , )", "Malmö Malmö"),
                (
                    "Replace([city], , [state], , \"b\", , )",
                    "invalid: argument 3 of Replace is not a regular expression",
                ),
                (
                    "Replace([city], , \"(?<a>M)\", [mail], \"b\", , )",
                    "invalid: the regular expression has no group of this name",
                ),
            ],
        );
    }

    #[test]
    fn size_and_steps_are_limited() {
        let long = "a".repeat(5_000);
        let inputs = [("city", value(&long))];
        let grown = "Replace(Replace([city], \"a\", , , [city], , ), \"a\", , , [city], , )";
        assert_eq!(evaluated(grown, &inputs), "invalid: a text exceeds 256 KiB");
        let wild = r#"Replace([city], , "^((a|aa)+)(?=b)$", , "", , )"#;
        assert_eq!(evaluated(wild, &inputs), "invalid: the expressions take too many steps for this user");
    }

    #[test]
    fn all_calls_of_an_expression_share_one_budget() {
        let text = "a".repeat(2_000);
        let inputs = [("city", value(&text)), ("state", value("z"))];
        for (call, most) in [
            // A search that may backtrack, one that compiles its pattern, and one in linear time.
            (r#"Replace(@, , "(?=z)z", , "", , )"#, 5),
            ("Replace(@, , [state], , \"\", , )", 9),
            (r#"Replace(@, , "((b?){900}z)", , "", , )"#, 5),
        ] {
            let nested = |calls| (0..calls).fold("[city]".to_owned(), |inner, _| call.replace('@', &inner));
            let joined = |calls| vec![call.replace('@', "[city]"); calls].join(" & ");
            for (expression, expected) in [
                (joined(most), text.repeat(most)),
                (joined(most * 4), "invalid: the expressions take too many steps for this user".to_owned()),
                (nested(most.min(10)), text.clone()),
            ] {
                assert!(evaluated(&expression, &inputs) == expected, "{call}: {}", expression.len());
            }
        }
    }

    #[test]
    fn constants_are_checked_when_compiling() {
        for (expression, position, words) in [
            ("Replace([city], , \"(\", , \"\", , )", 19, "`(` is not a valid regular expression: a `)` is missing"),
            ("Replace([city], , \"(?<a>x)\", \"b\", \"\", , )", 30, "no group `b`"),
            ("Replace([city], , , , \"x\", , )", 1, "needs an oldValue"),
            ("Trim(Replace([city], , \"a\", , , , ))", 6, "needs an oldValue"),
        ] {
            let found = problems(expression);
            assert!(found.len() == 1 && found[0].position == position, "{expression}: {found:?}");
            assert!(found[0].message.contains(words), "{expression}: {found:?}");
        }
    }
}
