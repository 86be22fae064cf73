//! A compiled mapping, described for the administrator.

use std::borrow::Cow;

use super::entries::CompiledEntry;
use super::warnings::ONE_ROLE;
use super::{ApplyMode, Mapping};
use crate::expression::{EvaluationContext, EvaluationStop, Steps, TimeDependence};
use crate::model::{Attribute, User};

/// One entry of a compiled mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedEntry<'a> {
    /// The target.
    pub attribute: Attribute,
    /// The canonical form of the expression.
    pub expression: String,
    /// The Graph properties that it reads.
    pub properties: Vec<String>,
    /// The value of a new learner when the expression gives none.
    pub default: Option<&'a str>,
    /// When the value is written.
    pub apply: ApplyMode,
    /// Whether a user without a value is rejected.
    pub required: bool,
    /// Whether the value depends on the time of the cycle.
    pub time_dependence: TimeDependence,
    /// Whether logs leave out the value.
    pub redacted: bool,
    /// Whether only one of several app roles is used.
    pub picks_one_role: bool,
}

/// The result of one entry for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MappedValue {
    /// A value; `None` clears the attribute.
    Value(Option<String>),
    /// The attribute does not flow: the learner keeps its value.
    NoFlow,
    /// The mapping ignores the user.
    NoFlowForUser,
    /// The broken rule; it contains no value of the user.
    Invalid(String),
}

impl Mapping {
    /// The result of each entry for `user`, in the order of [`Mapping::describe`]. As in [`Mapping::apply`], they share
    /// `steps`.
    pub fn explain(&self, user: &User, now: jiff::Timestamp, steps: &Steps) -> Vec<MappedValue> {
        let explained = |entry: &CompiledEntry| match entry.value(EvaluationContext { user, now, steps }) {
            Ok(value) => MappedValue::Value(value.map(Cow::into_owned)),
            Err(EvaluationStop::IgnoreAttribute) => MappedValue::NoFlow,
            Err(EvaluationStop::IgnoreUser) => MappedValue::NoFlowForUser,
            Err(EvaluationStop::Invalid { rule, .. }) => MappedValue::Invalid(rule.into_owned()),
        };
        let mut values: Vec<_> = self.entries().map(|entry| (entry.attribute, explained(entry))).collect();
        values.sort_by_key(|(attribute, _)| *attribute);
        values.into_iter().map(|(_, value)| value).collect()
    }

    /// Every entry, in the order of [`Attribute::ALL`].
    pub fn describe(&self) -> impl Iterator<Item = DescribedEntry<'_>> {
        let entries = self.entries_in_order();
        entries.map(|entry| {
            let CompiledEntry { attribute, expression, constant: _, default, apply, required } = entry;
            DescribedEntry {
                attribute: *attribute,
                expression: expression.to_string(),
                properties: expression.properties(),
                default: default.as_deref(),
                apply: *apply,
                required: *required,
                time_dependence: expression.time_dependence(),
                redacted: self.redacted.contains(attribute),
                picks_one_role: expression.calls(ONE_ROLE),
            }
        })
    }
}
