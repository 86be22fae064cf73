//! A compiled mapping in words, for those who want to check what was understood.

use super::entries::CompiledEntry;
use super::{ApplyMode, Mapping};
use crate::expression::{EvaluationContext, EvaluationStop, TimeDependence};
use crate::model::{Attribute, User};

/// One line of a mapping, as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedEntry<'a> {
    /// The target.
    pub attribute: Attribute,
    /// The expression in its canonical form.
    pub expression: String,
    /// The Graph properties that it reads.
    pub properties: Vec<String>,
    /// What a new learner gets when the expression gives nothing.
    pub default: Option<&'a str>,
    /// When the value is written.
    pub apply: ApplyMode,
    /// Whether a user without a value is rejected.
    pub required: bool,
    /// Whether the value depends on the time of the cycle.
    pub time_dependence: TimeDependence,
    /// Whether logs leave its value out.
    pub redacted: bool,
}

/// What a line makes of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MappedValue {
    /// A value; none is null, which clears the attribute.
    Value(Option<String>),
    /// Nothing: the learner keeps what it has.
    NoFlow,
    /// Nothing, and the user is left alone altogether.
    NoFlowForUser,
    /// The rule that is broken, without any value in it.
    Invalid(String),
}

impl Mapping {
    /// What each line makes of `user`, whatever the others make of it; in the order of [`Mapping::describe`].
    pub fn explain(&self, user: &User, now: jiff::Timestamp) -> impl Iterator<Item = MappedValue> {
        let rows = Attribute::ALL.iter().filter_map(|attribute| self.compiled_entry(*attribute));
        rows.map(move |compiled_entry| match compiled_entry.value(EvaluationContext { user, now }) {
            Ok(value) => MappedValue::Value(value),
            Err(EvaluationStop::IgnoreAttribute) => MappedValue::NoFlow,
            Err(EvaluationStop::IgnoreUser) => MappedValue::NoFlowForUser,
            Err(EvaluationStop::Invalid { rule, .. }) => MappedValue::Invalid(rule.into_owned()),
        })
    }

    /// Every line, in the order of the design's table.
    pub fn describe(&self) -> impl Iterator<Item = DescribedEntry<'_>> {
        let rows = Attribute::ALL.iter().filter_map(|attribute| self.compiled_entry(*attribute));
        rows.map(|compiled_entry| {
            let CompiledEntry { attribute, expression, default, apply, required } = compiled_entry;
            DescribedEntry {
                attribute: *attribute,
                expression: expression.to_string(),
                properties: expression.properties(),
                default: default.as_deref(),
                apply: *apply,
                required: *required,
                time_dependence: expression.time_dependence(),
                redacted: self.redacted.contains(attribute),
            }
        })
    }
}
