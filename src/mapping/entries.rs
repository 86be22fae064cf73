//! Compiles the entries of a mapping and checks the table as a whole: required targets, duplicates, options.

use std::borrow::Cow;
use std::fmt::Display;

use crate::model::{Attribute, AttributeKind, Reason, Selection, Value};

use super::fit::fit;
use super::{ApplyMode, Mapping, MappingEntry, MappingProblem, target};
use crate::expression::{self, EvaluationContext, EvaluationStop, Expression, attribute};

/// Read for every user, mapped or not: they show whether the account is disabled or unreadable.
pub(super) const ALWAYS_SELECTED: [&str; 3] = ["accountEnabled", "userPrincipalName", "displayName"];

const REQUIRED_TARGETS: [Attribute; 3] = [Attribute::UserName, Attribute::Email, Attribute::Active];

/// A compiled entry.
#[derive(Debug)]
pub(super) struct CompiledEntry {
    pub(super) attribute: Attribute,
    pub(super) expression: Expression,
    /// The value for every user whose account is enabled, if it does not depend on the user.
    pub(super) constant: Option<Value>,
    /// Converted for the column.
    pub(super) default: Option<String>,
    pub(super) apply: ApplyMode,
    pub(super) required: bool,
}

impl CompiledEntry {
    /// The value, converted for the column.
    pub(super) fn value<'a>(&'a self, context: EvaluationContext<'a>) -> Result<Option<Cow<'a, str>>, EvaluationStop> {
        let value = match &self.constant {
            Some(constant) if context.user.enabled => Cow::Borrowed(constant),
            _ => self.expression.evaluate_entry(context)?,
        };
        fit(self.attribute, value)
    }

    /// The reason and the detail of a rejection.
    pub(super) fn rejection(&self, reason: Reason, rule: impl Display) -> (Reason, String) {
        (reason, format!("{}: {rule}", self.attribute.path()))
    }

    /// The mapping ignores the user: a skip, not a failure.
    pub(super) fn ignored_user(&self) -> (Reason, String) {
        self.rejection(Reason::MissingRequired, "the mapping ignores this user (IgnoreObjectFlow)")
    }
}

impl Mapping {
    /// Compiles `entries` and adds the properties that they read to `selection`.
    ///
    /// # Errors
    /// Every problem; `selection` is then unchanged.
    pub fn compile(entries: &[MappingEntry], selection: &mut Selection) -> Result<Self, Vec<MappingProblem>> {
        let mut wider = selection.clone();
        for property in ALWAYS_SELECTED {
            wider.slot(property);
        }
        let mut problems = Vec::new();
        let mut rows = Vec::new();
        let mut targets: Vec<(Attribute, &str)> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let mut report = |position, message| {
                problems.push(MappingProblem { entry: index, path: Some(entry.path.clone()), position, message });
            };
            let compiled = expression::compile(&entry.expression, attribute::resolve, &mut wider);
            let attribute = target::find_target(&entry.path);
            if let Ok(attribute) = attribute {
                match targets.iter().find(|(known, _)| *known == attribute) {
                    Some((_, path)) => report(None, format!("mapped twice: `{path}` is the same attribute")),
                    None => targets.push((attribute, &entry.path)),
                }
            }
            match (attribute, compiled) {
                (Ok(attribute), Ok(expression)) => match check_options(attribute, expression, entry) {
                    Ok(entry) => rows.push(entry),
                    Err(messages) => messages.into_iter().for_each(|message| report(None, message)),
                },
                (attribute, compiled) => {
                    attribute.err().into_iter().for_each(|message| report(None, message));
                    let found = compiled.err().into_iter().flatten();
                    found.for_each(|problem| report(Some(problem.position), problem.message));
                }
            }
        }
        for attribute in REQUIRED_TARGETS {
            if !targets.iter().any(|(known, _)| *known == attribute) {
                let (path, message) = (Some(attribute.path().to_owned()), "must be mapped".to_owned());
                problems.push(MappingProblem { entry: usize::MAX, path, position: None, message });
            }
        }
        rows.sort_by_key(|entry| entry.attribute);
        match rows.iter().position(|entry| entry.attribute == Attribute::Active) {
            Some(index) if problems.is_empty() => {
                *selection = wider;
                let redacted =
                    rows.iter().filter(|entry| entry.expression.calls("Redact")).map(|entry| entry.attribute).collect();
                Ok(Self { active: rows.remove(index), others: rows, redacted })
            }
            _ => Err(problems),
        }
    }
}

impl MappingEntry {
    /// Whether this entry of `active` makes every user active whose account is enabled.
    pub fn keeps_enabled_active(&self) -> bool {
        let Ok(expression) = expression::compile(&self.expression, attribute::resolve, &mut Selection::default())
        else {
            return false;
        };
        let Some(Ok(value)) = expression.for_every_user() else { return false };
        let default = || self.default.clone().map_or(Value::Null, Value::Text);
        let fitted = |value: Value| fit(Attribute::Active, Cow::Owned(value)).ok().flatten().map(|text| text == "true");
        fitted(value).or_else(|| fitted(default())) == Some(true)
    }

    /// Whether the expression depends on the state of the account.
    pub fn reads_account_state(&self) -> bool {
        let compiled = expression::compile(&self.expression, attribute::resolve, &mut Selection::default());
        compiled.is_ok_and(|expression| expression.properties().iter().any(|property| property == "accountEnabled"))
    }

    /// Checks this entry on its own and returns its target.
    ///
    /// # Errors
    /// Every problem.
    pub fn attribute(&self) -> Result<Attribute, Vec<String>> {
        let compiled = expression::compile(&self.expression, attribute::resolve, &mut Selection::default());
        match (target::find_target(&self.path), compiled) {
            (Ok(attribute), Ok(expression)) => check_options(attribute, expression, self).map(|entry| entry.attribute),
            (attribute, compiled) => {
                let found = compiled.err().into_iter().flatten();
                let found = found.map(|problem| format!("{} (at character {})", problem.message, problem.position));
                Err(attribute.err().into_iter().chain(found).collect())
            }
        }
    }
}

/// Checks the options of `entry` against its target and its expression.
fn check_options(
    attribute: Attribute,
    expression: Expression,
    entry: &MappingEntry,
) -> Result<CompiledEntry, Vec<String>> {
    let MappingEntry { path: _, expression: _, default, apply, required } = entry;
    let mut problems = Vec::new();
    let default = default.as_ref().and_then(|default| {
        let fitted = fit(attribute, Cow::Owned(Value::Text(default.clone())));
        fitted.map(|default| default.map(Cow::into_owned)).unwrap_or_else(|stop| {
            problems.push(misfit("default", attribute, stop));
            None
        })
    });
    let required = match (attribute, required) {
        (Attribute::UserName, Some(false)) => {
            problems.push("cannot be optional: every learner has one".to_owned());
            true
        }
        // A user without a value for `active` is always rejected.
        (Attribute::Active, _) => true,
        (_, Some(required)) => *required,
        (_, None) => Attribute::UNIQUE.contains(&attribute),
    };
    if attribute == Attribute::Active && *apply == ApplyMode::OnCreate {
        problems.push("cannot apply on creation only: every cycle decides who is active".to_owned());
    }
    if let Some(constant) = expression.constant() {
        match fit(attribute, Cow::Borrowed(constant)) {
            Ok(None) if required && default.is_none() => {
                problems.push("required, but the constant is empty".to_owned());
            }
            Ok(_) => {}
            Err(stop) => problems.push(misfit("constant", attribute, stop)),
        }
    }
    if problems.is_empty() {
        let constant = expression.for_every_user().and_then(Result::ok);
        Ok(CompiledEntry { attribute, expression, constant, default, apply: *apply, required })
    } else {
        Err(problems)
    }
}

fn misfit(what: &str, attribute: Attribute, stop: EvaluationStop) -> String {
    match (attribute.kind(), stop) {
        (AttributeKind::Boolean, _) => format!("the {what} must be \"true\" or \"false\""),
        (AttributeKind::Text, EvaluationStop::Invalid { rule, .. }) => format!("invalid {what}: {rule}"),
        (AttributeKind::Text, EvaluationStop::IgnoreAttribute | EvaluationStop::IgnoreUser) => {
            format!("invalid {what}")
        }
    }
}
