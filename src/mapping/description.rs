//! A compiled mapping in words, for those who want to check what was understood.

use super::entries::Row;
use super::evaluate::{Context, Stop};
use super::expression::Expression;
use super::{Apply, Mapping};
use crate::entra::attribute::Part;
use crate::model::{Attribute, User};

/// One line of a mapping, as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described<'a> {
    /// The target.
    pub attribute: Attribute,
    /// The expression in its canonical form.
    pub expression: String,
    /// The Graph properties that it reads.
    pub properties: Vec<String>,
    /// What a new learner gets when the expression gives nothing.
    pub default: Option<&'a str>,
    /// When the value is written.
    pub apply: Apply,
    /// Whether a user without a value is rejected.
    pub required: bool,
    /// Whether the value depends on the time of the cycle.
    pub on_time: OnTime,
    /// Whether logs leave its value out.
    pub redacted: bool,
}

/// Whether a value depends on the time of the cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTime {
    /// It is the same as long as the user is.
    Never,
    /// The time decides between values.
    Sometimes,
    /// The time is in the value: it is another one in every cycle.
    Always,
}

/// What a line makes of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MappedValue {
    /// A value; none is null, which clears the attribute.
    Value(Option<String>),
    /// Nothing: the learner keeps what it has.
    NoFlow,
    /// Nothing, and the user is left alone altogether.
    NoFlowOfPerson,
    /// The rule that is broken, without any value in it.
    Broken(String),
}

impl Mapping {
    /// What each line makes of `user`, whatever the others make of it; in the order of [`Mapping::describe`].
    pub fn explain(&self, user: &User, now: jiff::Timestamp) -> impl Iterator<Item = MappedValue> {
        let rows = Attribute::ALL.iter().filter_map(|attribute| self.row(*attribute));
        rows.map(move |row| match row.value(Context { user, now }) {
            Ok(value) => MappedValue::Value(value),
            Err(Stop::Nothing) => MappedValue::NoFlow,
            Err(Stop::AssignedUser) => MappedValue::NoFlowOfPerson,
            Err(Stop::Invalid { rule, .. }) => MappedValue::Broken(rule.into_owned()),
        })
    }

    /// Every line, in the order of the design's table.
    pub fn describe(&self) -> impl Iterator<Item = Described<'_>> {
        let rows = Attribute::ALL.iter().filter_map(|attribute| self.row(*attribute));
        rows.map(|row| {
            let Row { attribute, expression, default, apply, required } = row;
            Described {
                attribute: *attribute,
                expression: expression.to_string(),
                properties: properties(expression),
                default: default.as_deref(),
                apply: *apply,
                required: *required,
                on_time: on_time(expression),
                redacted: self.redacted.contains(attribute),
            }
        })
    }
}

/// The Graph properties that an expression reads, each once. Every user has an id.
fn properties(expression: &Expression) -> Vec<String> {
    let mut properties = Vec::new();
    expression.visit(&mut |part| {
        if let Expression::Attribute { attribute, .. } = part
            && attribute.part != Part::Id
            && !properties.iter().any(|known| *known == attribute.property)
        {
            properties.push(attribute.property.to_string());
        }
    });
    properties
}

fn on_time(expression: &Expression) -> OnTime {
    match (expression.calls("Now"), carries_time(expression)) {
        (false, _) => OnTime::Never,
        (true, false) => OnTime::Sometimes,
        (true, true) => OnTime::Always,
    }
}

/// Whether the time of the cycle gets into the value itself, not just into a decision.
fn carries_time(expression: &Expression) -> bool {
    match expression {
        Expression::Call { function, arguments, .. } => match function.name {
            "Now" => true,
            // Days and more change rarely; what decides gives true or false.
            "DateDiff" | "CBool" | "Count" | "IsNothing" | "IsNull" | "IsNullOrEmpty" | "IsPresent" | "IsString" => {
                false
            }
            "IIF" => arguments.iter().skip(1).any(carries_time),
            _ => arguments.iter().any(carries_time),
        },
        Expression::Concatenation(operands) => operands.iter().any(carries_time),
        Expression::Literal(_)
        | Expression::Prepared { .. }
        | Expression::Attribute { .. }
        | Expression::Comparison(..)
        | Expression::Ignore(_) => false,
    }
}
