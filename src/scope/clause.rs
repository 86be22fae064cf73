//! One clause of a filter: an attribute, an operator of the portal, a value.
//!
//! Null, an empty text and an empty list make every clause false except `IS NULL`. One of several values has to match; for
//! `NOT EQUALS` and `NOT REGEX MATCH` none may. Comparisons are case-sensitive, and a regular expression must match the
//! whole value: <https://learn.microsoft.com/entra/identity/app-provisioning/define-conditional-rules-for-provisioning-user-accounts>.

use std::fmt;

use crate::expression::Steps;
use crate::expression::attribute::{SourceAttribute, UnavailableValue, is_empty};
use crate::expression::foresee::samples;
use crate::expression::pattern::{LimitExceeded, Pattern};
use crate::model::{Reason, User, Value, words};

words! {
    /// The operator of a clause, by its name in the portal.
    ClauseOperator {
        /// The value equals the text.
        Equals = "EQUALS",
        /// The value differs from the text.
        NotEquals = "NOT EQUALS",
        /// The value is true.
        IsTrue = "IS TRUE",
        /// The value is false.
        IsFalse = "IS FALSE",
        /// The value is missing or empty.
        IsNull = "IS NULL",
        /// There is a value.
        IsNotNull = "IS NOT NULL",
        /// The regular expression matches the whole value.
        RegexMatch = "REGEX MATCH",
        /// The regular expression does not match the whole value.
        NotRegexMatch = "NOT REGEX MATCH",
        /// The value is a greater whole number.
        GreaterThan = "GREATER_THAN",
        /// The value is the same or a greater whole number.
        GreaterThanOrEquals = "GREATER_THAN_OR_EQUALS",
        /// The value contains the text.
        Includes = "INCLUDES",
        /// The value ends with the text.
        EndsWith = "ENDS_WITH",
    }
}

impl ClauseOperator {
    /// The operator with this name, ignoring case; spaces and underscores are the same.
    pub fn named(name: &str) -> Option<Self> {
        let plain = |name: &str| name.trim().to_ascii_uppercase().replace('_', " ");
        Self::ALL.iter().copied().find(|operator| plain(operator.as_str()) == plain(name))
    }

    /// Whether the operator needs a value to compare with.
    pub fn takes_value(self) -> bool {
        !matches!(self, Self::IsTrue | Self::IsFalse | Self::IsNull | Self::IsNotNull)
    }
}

/// A compiled clause.
#[derive(Debug)]
pub(super) struct Clause {
    pub(super) attribute: SourceAttribute,
    /// The index of its property in `User::values`.
    pub(super) slot: usize,
    pub(super) operator: ClauseOperator,
    pub(super) operand: ClauseOperand,
}

/// The value that a clause compares with.
#[derive(Debug)]
pub(super) enum ClauseOperand {
    None,
    Text(String),
    Number(i64),
    Pattern { text: String, pattern: Box<Pattern> },
}

impl Clause {
    /// # Errors
    /// The clause is neither true nor false; the rule contains no value of the user.
    pub(super) fn holds(&self, user: &User, steps: &Steps) -> Result<bool, (Reason, &'static str)> {
        let value = self.attribute.value_of(self.slot, user).map_err(|unavailable| match unavailable {
            UnavailableValue::Missing => (Reason::Unreadable, "missing from the answer of Graph"),
            UnavailableValue::NotComplex => (Reason::InvalidValue, "not a complex attribute"),
        })?;
        steps.take_operand(&value).map_err(exceeded)?;
        let values: Vec<&Value> = match value.as_ref() {
            Value::List(elements) => elements.iter().filter(|element| !is_empty(element)).collect(),
            single if is_empty(single) => Vec::new(),
            single => vec![single],
        };
        match (self.operator, values.is_empty()) {
            (ClauseOperator::IsNull, empty) => return Ok(empty),
            (_, true) => return Ok(false),
            (ClauseOperator::IsNotNull, false) => return Ok(true),
            (_, false) => {}
        }
        let negated = matches!(self.operator, ClauseOperator::NotEquals | ClauseOperator::NotRegexMatch);
        for value in values {
            if self.matches(value, steps)? {
                return Ok(!negated);
            }
        }
        Ok(negated)
    }

    /// A sample on which the pattern takes more steps than one user has.
    pub(super) fn exhausting_sample(&self) -> Option<&'static str> {
        let ClauseOperand::Pattern { pattern, .. } = &self.operand else { return None };
        let exhausts = |text: &str| {
            let steps = Steps::for_one_user();
            pattern.matches(text, &steps).is_err() && steps.are_exhausted()
        };
        samples().find_map(|(what, text)| exhausts(&text).then_some(what))
    }

    /// Whether one value matches, before `NOT`.
    fn matches(&self, value: &Value, steps: &Steps) -> Result<bool, (Reason, &'static str)> {
        let (text, is_boolean) = match value {
            Value::Text(text) | Value::Number(text) => (text.as_str(), false),
            Value::Boolean(true) => ("True", true),
            Value::Boolean(false) => ("False", true),
            Value::Null | Value::List(_) | Value::Complex(_) => return Ok(false),
        };
        Ok(match (self.operator, &self.operand) {
            (ClauseOperator::Equals | ClauseOperator::NotEquals, ClauseOperand::Text(wanted)) => {
                // Booleans of Graph have no spelling of their own.
                text == wanted || (is_boolean && text.eq_ignore_ascii_case(wanted))
            }
            (ClauseOperator::Includes, ClauseOperand::Text(part)) => text.contains(part.as_str()),
            (ClauseOperator::EndsWith, ClauseOperand::Text(end)) => text.ends_with(end.as_str()),
            (ClauseOperator::IsTrue, _) => text.eq_ignore_ascii_case("true"),
            (ClauseOperator::IsFalse, _) => text.eq_ignore_ascii_case("false"),
            (ClauseOperator::RegexMatch | ClauseOperator::NotRegexMatch, ClauseOperand::Pattern { pattern, .. }) => {
                pattern.matches(text, steps).map_err(exceeded)?
            }
            (ClauseOperator::GreaterThan, ClauseOperand::Number(bound)) => {
                text.parse::<i64>().is_ok_and(|number| number > *bound)
            }
            (ClauseOperator::GreaterThanOrEquals, ClauseOperand::Number(bound)) => {
                text.parse::<i64>().is_ok_and(|number| number >= *bound)
            }
            // `compile_filter` creates no other pairs.
            _ => false,
        })
    }
}

fn exceeded(LimitExceeded(rule): LimitExceeded) -> (Reason, &'static str) {
    (Reason::InvalidValue, rule)
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attribute, slot: _, operator, operand } = self;
        write!(f, "[{attribute}] {operator}")?;
        match operand {
            ClauseOperand::None => Ok(()),
            ClauseOperand::Text(text) | ClauseOperand::Pattern { text, .. } => write!(f, " {text:?}"),
            ClauseOperand::Number(number) => write!(f, " {number}"),
        }
    }
}
