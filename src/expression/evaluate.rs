//! Evaluating a compiled expression for one user.
//!
//! Values are borrowed from the user or from the expression until a function changes them: most mappings just copy an
//! attribute, and there can be hundreds of thousands of users.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::attribute::{AttributePart, UnavailableValue};
pub(super) use super::attribute::{boolean, null};
use super::compile::{Expression, IgnoreFlow};
use super::constant::ArgumentType;
use super::dates::UtcDateTime;
use super::functions::Function;
use super::inspect::READ_CLOCK;
pub(super) use super::pattern::MAX_PRODUCED;
use super::pattern::{LimitExceeded, TOO_LONG};
use super::steps::Steps;
use super::syntax::ComparisonOperator;
use crate::model::{User, Value, home_name};

/// Why an evaluation ends without a value. `?` carries it through every function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EvaluationStop {
    /// The attribute does not flow: the learner keeps its value.
    IgnoreAttribute,
    /// The user is ignored altogether.
    IgnoreUser,
    Invalid {
        /// The broken rule. It is logged, so it contains no value of the user.
        rule: Cow<'static, str>,
        /// The character at which the failing function starts, if a function failed.
        position: Option<usize>,
    },
}

impl EvaluationStop {
    pub(crate) const TOO_LONG: Self = Self::invalid(TOO_LONG.0);

    pub(crate) const fn invalid(rule: &'static str) -> Self {
        Self::Invalid { rule: Cow::Borrowed(rule), position: None }
    }

    pub(crate) fn broken(rule: String) -> Self {
        Self::Invalid { rule: Cow::Owned(rule), position: None }
    }

    /// Adds the position of the innermost function.
    fn at(self, position: usize) -> Self {
        match self {
            Self::Invalid { rule, position: None } => Self::Invalid { rule, position: Some(position) },
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
            // A missing value must not clear the attribute.
            UnavailableValue::Missing => Self::IgnoreAttribute,
            UnavailableValue::NotComplex => Self::invalid("the attribute is not complex in the directory"),
        }
    }
}

pub(crate) type Evaluated<'a> = Result<Cow<'a, Value>, EvaluationStop>;

/// The context of an evaluation for one user.
#[derive(Clone, Copy)]
pub(crate) struct EvaluationContext<'a> {
    pub(crate) user: &'a User,
    pub(crate) now: jiff::Timestamp,
    /// Shared by everything that is evaluated for the user: a limit of each part would grow with their number.
    pub(crate) steps: &'a Steps,
}

/// A call in progress. Arguments are evaluated on demand, so that `Switch` and `IIF` evaluate only the branch they take.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    function: &'static Function,
    pub(super) arguments: &'a [Expression],
    pub(super) context: EvaluationContext<'a>,
}

impl<'a> Call<'a> {
    /// Argument `index`; null when it is omitted.
    pub(super) fn value(self, index: usize) -> Evaluated<'a> {
        self.arguments.get(index).map_or(Ok(null()), |argument| argument.operand(self.context))
    }

    /// The time of the cycle.
    pub(super) fn now(self) -> jiff::Timestamp {
        debug_assert!(READ_CLOCK.contains(&self.function.name), "{} reads the clock", self.function.name);
        self.context.now
    }

    /// Argument `index` as text, unless it is null.
    pub(super) fn text(self, index: usize) -> Result<Option<Cow<'a, str>>, EvaluationStop> {
        text(self.value(index)?)
    }

    /// Argument `index` as a `T`, unless it is null or empty.
    pub(super) fn argument<T: ArgumentType>(self, index: usize) -> Result<Option<Cow<'a, T>>, EvaluationStop> {
        if let Some(Expression::Prepared { constant, .. }) = self.arguments.get(index)
            && let Some(read) = T::from_constant(constant)
        {
            return Ok(Some(Cow::Borrowed(read)));
        }
        let Some(text) = self.text(index)?.filter(|text| !text.is_empty()) else { return Ok(None) };
        match T::parse_argument(&text) {
            Ok(read) => Ok(Some(Cow::Owned(read))),
            Err(_) => Err(self.wrong_type::<T>(index)),
        }
    }

    /// Like [`Self::argument`], but an argument without a value is an error.
    pub(super) fn required_argument<T: ArgumentType>(self, index: usize) -> Result<Cow<'a, T>, EvaluationStop> {
        self.argument(index)?.ok_or_else(|| self.wrong(index, "has no value; it must be", T::EXPECTED))
    }

    /// Argument `index` has a value that is not a `T`.
    pub(super) fn wrong_type<T: ArgumentType>(self, index: usize) -> EvaluationStop {
        self.wrong(index, "is not", T::EXPECTED)
    }

    fn wrong(self, index: usize, how: &str, expected: &str) -> EvaluationStop {
        EvaluationStop::broken(format!("argument {} of {} {how} {expected}", index + 1, self.function.name))
    }
}

impl Expression {
    /// The value as a mapping entry gives it. As in Entra's own provisioning, `[userPrincipalName]` alone is the name of
    /// a guest in the home tenant.
    pub(crate) fn evaluate_entry<'a>(&'a self, context: EvaluationContext<'a>) -> Evaluated<'a> {
        let value = self.evaluate(context)?;
        let home = match (self, value.as_ref()) {
            (Self::Attribute { attribute, .. }, Value::Text(stored))
                if attribute.part == AttributePart::Whole
                    && attribute.property.eq_ignore_ascii_case("userPrincipalName") =>
            {
                home_name(stored)
            }
            _ => None,
        };
        Ok(home.map_or(value, |home| Cow::Owned(Value::Text(home))))
    }

    pub(crate) fn evaluate<'a>(&'a self, context: EvaluationContext<'a>) -> Evaluated<'a> {
        match self {
            Self::Literal(value) | Self::Prepared { literal: value, .. } => Ok(Cow::Borrowed(value)),
            Self::Attribute { attribute, slot } => Ok(attribute.value_of(*slot, context.user)?),
            Self::Call { function, arguments, position } => {
                (function.evaluate)(Call { function, arguments, context }).map_err(|stop| stop.at(*position))
            }
            Self::Comparison(left, operator, right) => {
                let dates = left.returns_date() || right.returns_date();
                compare(left.operand(context)?, *operator, right.operand(context)?, dates).map(boolean)
            }
            Self::Concatenation(operands) => {
                let mut joined = String::new();
                for operand in operands {
                    joined.push_str(&text(operand.operand(context)?)?.unwrap_or_default());
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

    /// The value for the function or the operator that reads it.
    fn operand<'a>(&'a self, context: EvaluationContext<'a>) -> Evaluated<'a> {
        let value = self.evaluate(context)?;
        context.steps.take_operand(&value)?;
        Ok(value)
    }
}

/// A produced text, unless it is too long.
pub(super) fn produced<'a>(text: String) -> Evaluated<'a> {
    if text.len() > MAX_PRODUCED { Err(EvaluationStop::TOO_LONG) } else { Ok(Cow::Owned(Value::Text(text))) }
}

pub(super) fn number<'a>(number: impl ToString) -> Evaluated<'a> {
    Ok(Cow::Owned(Value::Number(number.to_string())))
}

/// `value` as a single text, unless it is null. Booleans are spelled as Entra spells them.
pub(crate) fn text(value: Cow<'_, Value>) -> Result<Option<Cow<'_, str>>, EvaluationStop> {
    const SEVERAL: EvaluationStop = EvaluationStop::invalid("expected one value, found several");
    const COMPLEX: EvaluationStop = EvaluationStop::invalid("expected a text, found a complex value");
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

/// Whether `left operator right` holds. Null counts as the empty text; `dates` says that a date function made one side.
fn compare(
    left: Cow<'_, Value>,
    operator: ComparisonOperator,
    right: Cow<'_, Value>,
    dates: bool,
) -> Result<bool, EvaluationStop> {
    let is_number = matches!(*left, Value::Number(_)) || matches!(*right, Value::Number(_));
    let is_order = !matches!(operator, ComparisonOperator::Equal | ComparisonOperator::NotEqual);
    let (left, right) = (text(left)?.unwrap_or_default(), text(right)?.unwrap_or_default());
    // "007" and "7" are different employee numbers as texts, but equal when one side is a number. An order is numeric
    // where possible: "10" is greater than "9".
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

/// Compares two dates; in their printed form October would come before February.
fn compare_dates(left: &str, right: &str) -> Option<Ordering> {
    Some(UtcDateTime::parse(left).ok()?.civil.cmp(&UtcDateTime::parse(right).ok()?.civil))
}

/// Compares two numbers.
fn compare_numbers(left: &str, right: &str) -> Option<Ordering> {
    // Integers first: a file time has more digits than a floating-point number can hold.
    if let (Ok(left), Ok(right)) = (left.parse::<i128>(), right.parse::<i128>()) {
        return Some(left.cmp(&right));
    }
    // Rust would also parse `inf` and `NaN`.
    let decimal = |text: &str| {
        if text.contains(char::is_alphabetic) { None } else { text.parse::<f64>().ok() }
    };
    decimal(left)?.partial_cmp(&decimal(right)?)
}
