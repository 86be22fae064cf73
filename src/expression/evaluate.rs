//! Evaluating a compiled expression for one user.
//!
//! Values are borrowed from the user or from the expression as long as nothing changes them: most mappings
//! copy an attribute, and there are hundreds of thousands of users.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::attribute::UnavailableValue;
pub(super) use super::attribute::{boolean, null};
use super::compile::{Expression, IgnoreFlow};
use super::constant::ArgumentType;
use super::dates::UtcDateTime;
use super::functions::Function;
pub(super) use super::pattern::MAX_PRODUCED;
use super::pattern::{LimitExceeded, TOO_LONG};
use super::syntax::ComparisonOperator;
use crate::model::{User, Value};

/// Why an evaluation ends without a value. `?` carries it through every function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EvaluationStop {
    /// The attribute does not flow: the learner keeps what it has.
    IgnoreAttribute,
    /// The user is left alone altogether.
    IgnoreUser,
    Invalid {
        /// The rule that is broken, without any value in it: it is logged.
        rule: Cow<'static, str>,
        /// The character of the expression that the function stands at, when it was one.
        position: Option<usize>,
    },
}

impl EvaluationStop {
    /// Too much is made of too little.
    pub(crate) const TOO_LONG: Self = Self::invalid(TOO_LONG.0);

    pub(crate) const fn invalid(rule: &'static str) -> Self {
        Self::Invalid { rule: Cow::Borrowed(rule), position: None }
    }

    pub(super) fn broken(rule: String) -> Self {
        Self::Invalid { rule: Cow::Owned(rule), position: None }
    }

    /// The same, with the place of the innermost function.
    fn at(self, place: usize) -> Self {
        match self {
            Self::Invalid { rule, position: None } => Self::Invalid { rule, position: Some(place) },
            other => other,
        }
    }
}

impl From<LimitExceeded> for EvaluationStop {
    fn from(LimitExceeded(rule): LimitExceeded) -> Self {
        Self::invalid(rule)
    }
}

impl From<UnavailableValue> for EvaluationStop {
    fn from(unavailable: UnavailableValue) -> Self {
        match unavailable {
            // What is not told is not cleared.
            UnavailableValue::Missing => Self::IgnoreAttribute,
            UnavailableValue::NotComplex => Self::invalid("is no complex attribute in the directory"),
        }
    }
}

pub(crate) type Evaluated<'a> = Result<Cow<'a, Value>, EvaluationStop>;

/// Whom and when an evaluation is about.
#[derive(Clone, Copy)]
pub(crate) struct EvaluationContext<'a> {
    pub(crate) user: &'a User,
    pub(crate) now: jiff::Timestamp,
}

/// A call in progress: arguments are evaluated when the function asks for them, so that `Switch` and `IIF`
/// look at the branch that they take and at no other.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    function: &'static Function,
    arguments: &'a [Expression],
    pub(super) context: EvaluationContext<'a>,
}

impl<'a> Call<'a> {
    /// The value of argument `index`; null when it is left out.
    pub(super) fn value(self, index: usize) -> Evaluated<'a> {
        self.arguments.get(index).map_or(Ok(null()), |argument| argument.evaluate(self.context))
    }

    /// The text of argument `index`; nothing when it is null.
    pub(super) fn text(self, index: usize) -> Result<Option<Cow<'a, str>>, EvaluationStop> {
        text(self.value(index)?)
    }

    /// Argument `index` as something else than text; nothing when it is null or empty.
    pub(super) fn argument<T: ArgumentType>(self, index: usize) -> Result<Option<Cow<'a, T>>, EvaluationStop> {
        self.argument_unless(index, str::is_empty)
    }

    /// The same, where an empty text is wrong.
    pub(super) fn strict_argument<T: ArgumentType>(self, index: usize) -> Result<Option<Cow<'a, T>>, EvaluationStop> {
        self.argument_unless(index, |_| false)
    }

    fn argument_unless<T: ArgumentType>(
        self,
        index: usize,
        is_nothing: fn(&str) -> bool,
    ) -> Result<Option<Cow<'a, T>>, EvaluationStop> {
        if let Some(Expression::Prepared { constant, .. }) = self.arguments.get(index)
            && let Some(read) = T::from_constant(constant)
        {
            return Ok(Some(Cow::Borrowed(read)));
        }
        let Some(text) = self.text(index)?.filter(|text| !is_nothing(text)) else {
            return Ok(None);
        };
        match T::parse_argument(&text) {
            Ok(read) => Ok(Some(Cow::Owned(read))),
            Err(_) => Err(self.wrong(index, "is not", T::EXPECTED)),
        }
    }

    /// Argument `index` where the function is senseless without it.
    pub(super) fn required_argument<T: ArgumentType>(self, index: usize) -> Result<Cow<'a, T>, EvaluationStop> {
        self.argument(index)?.ok_or_else(|| self.wrong(index, "has no value; it must be", T::EXPECTED))
    }

    fn wrong(self, index: usize, how: &str, expected: &str) -> EvaluationStop {
        EvaluationStop::broken(format!("argument {} of {} {how} {expected}", index + 1, self.function.name))
    }

    /// Whether argument `index` may be a date that another function made.
    pub(super) fn is_date(self, index: usize) -> bool {
        self.arguments.get(index).is_some_and(Expression::returns_date)
    }

    pub(super) fn count(self) -> usize {
        self.arguments.len()
    }

    pub(super) fn arguments(self) -> &'a [Expression] {
        self.arguments
    }
}

impl Expression {
    pub(crate) fn evaluate<'a>(&'a self, context: EvaluationContext<'a>) -> Evaluated<'a> {
        match self {
            Self::Literal(value) | Self::Prepared { literal: value, .. } => Ok(Cow::Borrowed(value)),
            Self::Attribute { attribute, slot } => Ok(attribute.value_of(*slot, context.user)?),
            Self::Call { function, arguments, position } => {
                (function.evaluate)(Call { function, arguments, context }).map_err(|stop| stop.at(*position))
            }
            Self::Comparison(left, operator, right) => {
                let dates = left.returns_date() || right.returns_date();
                compare(left.evaluate(context)?, *operator, right.evaluate(context)?, dates).map(boolean)
            }
            Self::Concatenation(operands) => {
                let mut joined = String::new();
                for operand in operands {
                    joined.push_str(&text(operand.evaluate(context)?)?.unwrap_or_default());
                    if joined.len() > MAX_PRODUCED {
                        return Err(EvaluationStop::TOO_LONG);
                    }
                }
                Ok(Cow::Owned(Value::Text(joined)))
            }
            Self::Ignore(IgnoreFlow::Attribute) => Err(EvaluationStop::IgnoreAttribute),
            Self::Ignore(IgnoreFlow::User) => Err(EvaluationStop::IgnoreUser),
        }
    }
}

/// A text that was made, unless it is too long.
pub(super) fn produced<'a>(text: String) -> Evaluated<'a> {
    if text.len() > MAX_PRODUCED { Err(EvaluationStop::TOO_LONG) } else { Ok(Cow::Owned(Value::Text(text))) }
}

/// A number that was made.
pub(super) fn number<'a>(number: impl ToString) -> Evaluated<'a> {
    Ok(Cow::Owned(Value::Number(number.to_string())))
}

/// `value` as the one text that it is; nothing for null. Booleans are spelled as Entra spells them.
pub(crate) fn text(value: Cow<'_, Value>) -> Result<Option<Cow<'_, str>>, EvaluationStop> {
    const SEVERAL: EvaluationStop = EvaluationStop::invalid("there are several values where one is expected");
    const COMPLEX: EvaluationStop = EvaluationStop::invalid("there is a complex value where a text is expected");
    Ok(match value {
        Cow::Borrowed(Value::Null) | Cow::Owned(Value::Null) => None,
        Cow::Borrowed(Value::Text(text) | Value::Number(text)) => Some(Cow::Borrowed(text)),
        Cow::Owned(Value::Text(text) | Value::Number(text)) => Some(Cow::Owned(text)),
        Cow::Borrowed(Value::Boolean(value)) => Some(Cow::Borrowed(spelled(*value))),
        Cow::Owned(Value::Boolean(value)) => Some(Cow::Borrowed(spelled(value))),
        Cow::Borrowed(Value::List(elements)) => match elements.as_slice() {
            [] => None,
            [single] => return text(Cow::Borrowed(single)),
            _ => return Err(SEVERAL),
        },
        Cow::Owned(Value::List(mut elements)) => match (elements.pop(), elements.is_empty()) {
            (None, _) => None,
            (Some(single), true) => return text(Cow::Owned(single)),
            _ => return Err(SEVERAL),
        },
        Cow::Borrowed(Value::Complex(_)) | Cow::Owned(Value::Complex(_)) => return Err(COMPLEX),
    })
}

fn spelled(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// Whether `left operator right` holds. Null is the empty text. With `dates`, one of them was made by a date function.
fn compare(
    left: Cow<'_, Value>,
    operator: ComparisonOperator,
    right: Cow<'_, Value>,
    dates: bool,
) -> Result<bool, EvaluationStop> {
    let is_number = matches!(*left, Value::Number(_)) || matches!(*right, Value::Number(_));
    let is_order = !matches!(operator, ComparisonOperator::Equal | ComparisonOperator::NotEqual);
    let (left, right) = (text(left)?.unwrap_or_default(), text(right)?.unwrap_or_default());
    // "007" and "7" are two employee numbers, but the same when one of them is no text; and nobody who asks for
    // more than "9" wants "10" left out.
    let as_numbers = if is_number || is_order { compare_numbers(&left, &right) } else { None };
    if is_order && (left.is_empty() || right.is_empty()) {
        return Ok(false);
    }
    let as_dates = if dates { compare_dates(&left, &right) } else { None };
    let ordering = as_numbers.or(as_dates).unwrap_or_else(|| left.cmp(&right));
    Ok(match operator {
        ComparisonOperator::Equal => ordering == Ordering::Equal,
        ComparisonOperator::NotEqual => ordering != Ordering::Equal,
        ComparisonOperator::Less => ordering == Ordering::Less,
        ComparisonOperator::LessOrEqual => ordering != Ordering::Greater,
        ComparisonOperator::Greater => ordering == Ordering::Greater,
        ComparisonOperator::GreaterOrEqual => ordering != Ordering::Less,
    })
}

/// How two texts compare as dates, when both are dates: as they are printed, October comes before February.
fn compare_dates(left: &str, right: &str) -> Option<Ordering> {
    UtcDateTime::parse(left).ok()?.partial_cmp(&UtcDateTime::parse(right).ok()?)
}

/// How two texts compare as numbers, when both are numbers.
fn compare_numbers(left: &str, right: &str) -> Option<Ordering> {
    // Integers on their own: a file time has more digits than a floating-point number keeps.
    if let (Ok(left), Ok(right)) = (left.parse::<i128>(), right.parse::<i128>()) {
        return Some(left.cmp(&right));
    }
    // Rust would read `inf` and `NaN` as well.
    let decimal = |text: &str| {
        if text.contains(char::is_alphabetic) { None } else { text.parse::<f64>().ok() }
    };
    decimal(left)?.partial_cmp(&decimal(right)?)
}
