//! Probable mistakes in a mapping that compiles, found at the start, before it rejects or deactivates users.

use std::borrow::Cow;

use super::entries::CompiledEntry;
use super::fit::fit;
use super::{ApplyMode, Mapping};
use crate::expression::foresee::too_many_steps;
use crate::expression::{EvaluationStop, TimeDependence};
use crate::model::{Attribute, AttributeKind, Value};

impl Mapping {
    /// The attributes whose mapping is probably a mistake, and why. `match_attribute` finds existing learners.
    pub fn warnings(&self, match_attribute: Attribute) -> Vec<(Attribute, String)> {
        let entries = self.entries_in_order();
        entries
            .flat_map(|entry| warnings_of(entry, match_attribute).into_iter().map(|warning| (entry.attribute, warning)))
            .collect()
    }

    /// The entries whose regular expressions are too slow for ordinary values.
    pub fn slow_patterns(&self) -> impl Iterator<Item = String> {
        self.entries().filter_map(|entry| {
            let sample = entry.expression.exhausting_sample()?;
            Some(format!("{}: {}", entry.attribute.path(), too_many_steps(sample)))
        })
    }

    /// Whether the result for a user can differ from one cycle to the next although the user has not changed.
    pub fn reads_clock(&self) -> bool {
        self.entries().any(|entry| entry.expression.reads_clock())
    }

    /// Whether an entry uses only one of several app roles.
    pub fn picks_one_role(&self) -> bool {
        self.entries().any(|entry| entry.expression.calls(ONE_ROLE))
    }
}

pub(super) const ONE_ROLE: &str = "SingleAppRoleAssignment";

fn warnings_of(entry: &CompiledEntry, match_attribute: Attribute) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    let mut warn = |warning: &str| warnings.push(warning.to_owned());
    check_time(entry, &mut warn);
    check_several_values(entry, &mut warn);
    check_steps(entry, &mut warn);
    check_options(entry, match_attribute, &mut warn);
    match entry.expression.for_every_user() {
        Some(result) => {
            let fitted =
                result.and_then(|value| fit(entry.attribute, Cow::Owned(value)).map(|text| text.map(Cow::into_owned)));
            check_one_result(entry, match_attribute, fitted, &mut warn);
        }
        None => check_results(entry, match_attribute, &mut warn),
    }
    warnings
}

fn check_time(entry: &CompiledEntry, warn: &mut impl FnMut(&str)) {
    match entry.expression.time_dependence() {
        TimeDependence::Never => {}
        TimeDependence::Sometimes => warn("depends on Now(): learners can change although nothing changes in Entra ID"),
        TimeDependence::Always => {
            warn("contains Now(), which is different in every cycle: every cycle updates every learner");
        }
    }
}

fn check_several_values(entry: &CompiledEntry, warn: &mut impl FnMut(&str)) {
    if entry.expression.calls(ONE_ROLE) {
        warn("a user with several app roles gets the first of their names in alphabetical order");
    }
    for list in entry.expression.lists_as_one_value() {
        let instead = if list == "[appRoleAssignments]" { ONE_ROLE } else { "Item, Join or Coalesce(Item(...), ...)" };
        warn(&format!("{list} can have several values, and users with several are rejected; use {instead}"));
    }
}

fn check_steps(entry: &CompiledEntry, warn: &mut impl FnMut(&str)) {
    if let Some(sample) = entry.expression.exhausting_sample() {
        warn(&too_many_steps(sample));
    }
}

/// Warns of a constant, a default or an option that does not go with its attribute.
fn check_options(entry: &CompiledEntry, match_attribute: Attribute, warn: &mut impl FnMut(&str)) {
    let CompiledEntry { attribute, expression, constant: _, default, apply, required } = entry;
    let is_null = |value: &Value| matches!(value, Value::Text(text) if text.eq_ignore_ascii_case("null"));
    if expression.constant_outcomes().any(is_null) {
        warn("writes the text \"NULL\"; for no value leave the argument empty");
    }
    let is_unique = Attribute::UNIQUE.contains(attribute);
    if *required && default.is_some() && !is_unique && *attribute != Attribute::Active {
        warn("has a default, so `required` skips nobody; an existing learner keeps its value when Entra has none");
    }
    if attribute == &match_attribute && *apply == ApplyMode::OnCreate {
        warn("finds existing learners, but applies on creation only: a later change in Entra does not reach them");
    }
    if is_unique && default.is_some() {
        warn("must be unique, but its default is the same for all: two users without a value are in conflict");
    }
}

/// Warns of a result that is the same for every user.
fn check_one_result(
    entry: &CompiledEntry,
    match_attribute: Attribute,
    result: Result<Option<String>, EvaluationStop>,
    warn: &mut impl FnMut(&str),
) {
    let CompiledEntry { attribute, expression, constant: _, default, apply: _, required } = entry;
    match result {
        Ok(Some(value)) => match (attribute, value.as_str()) {
            (Attribute::Active, "true") if expression.properties().is_empty() => {
                warn(
                    "is always true: learners are still deactivated when their account is disabled or deleted, or \
                      when they leave the scope",
                );
            }
            (Attribute::Active, "false") => warn("is always false: every learner would be deactivated"),
            _ if Attribute::UNIQUE.contains(attribute) => {
                warn("must be unique, but is the same for all users: they are in conflict");
            }
            _ if attribute == &match_attribute => {
                warn("finds existing learners, but is the same for all users: no learner can be found");
            }
            _ => {}
        },
        Ok(None) | Err(EvaluationStop::IgnoreAttribute) => match (attribute, default.as_deref()) {
            (Attribute::Active, None) => warn("never has a value: every user is rejected"),
            (Attribute::Active, Some("false")) => warn("is always false: every learner would be deactivated"),
            (_, None) if *required => warn("never has a value: every user is skipped"),
            (_, None) => warn("never has a value"),
            (_, Some(_)) => {}
        },
        Err(EvaluationStop::IgnoreUser) => warn("ignores every user"),
        Err(EvaluationStop::Invalid { rule, .. }) => warn(&format!("rejects every user: {rule}")),
    }
}

/// Warns of results that differ between users.
fn check_results(entry: &CompiledEntry, match_attribute: Attribute, warn: &mut impl FnMut(&str)) {
    let CompiledEntry { attribute, expression, constant: _, default, apply: _, required } = entry;
    if expression.leaves_out_users() && default.is_none() {
        match attribute {
            Attribute::Active => warn("has no value for some users, who are rejected: give Switch a default"),
            _ if *required => warn("has no value for some users, who are skipped: give Switch a default"),
            _ => {}
        }
    }
    if attribute.kind() == AttributeKind::Boolean {
        if let Some(source) = expression.text_outcome() {
            warn(&format!("must be true or false: if [{source}] is neither, the user is rejected"));
        }
        if expression.constant_outcomes().any(|value| fit(*attribute, Cow::Borrowed(value)).is_err()) {
            warn("must be true or false, but a constant in it is neither: these users are rejected");
        }
    }
    let is_unique = Attribute::UNIQUE.contains(attribute);
    if (is_unique || attribute == &match_attribute)
        && let Some(source) = expression.shared_outcome()
    {
        let what = if is_unique { "must be unique" } else { "finds existing learners" };
        warn(&format!("{what}, but many users have the same [{source}]"));
    }
}
