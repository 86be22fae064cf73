//! The rules of the mapping table as a whole: which targets there must be, once each, with options that fit.

use std::borrow::Cow;

use crate::model::{Attribute, AttributeKind, Reason, Selection, Value};

use super::fit::fit;
use super::{ApplyMode, Mapping, MappingEntry, MappingProblem, RejectedEntry, target};
use crate::expression::{self, EvaluationContext, EvaluationStop, Expression, attribute};

/// Read of every user, mapped or not: they tell a disabled account and an unreadable row.
pub(super) const ALWAYS_SELECTED: [&str; 3] = ["accountEnabled", "userPrincipalName", "displayName"];

const MUST_BE_MAPPED: [Attribute; 3] = [Attribute::UserName, Attribute::Email, Attribute::Active];

/// One line of the mapping, compiled.
#[derive(Debug)]
pub(super) struct CompiledEntry {
    pub(super) attribute: Attribute,
    pub(super) expression: Expression,
    /// As the column takes it.
    pub(super) default: Option<String>,
    pub(super) apply: ApplyMode,
    pub(super) required: bool,
}

impl CompiledEntry {
    /// The value as the column takes it.
    pub(super) fn value(&self, context: EvaluationContext<'_>) -> Result<Option<String>, EvaluationStop> {
        fit(self.attribute, self.expression.evaluate(context)?)
    }

    pub(super) fn rejection(&self, reason: Reason, rule: impl Into<Cow<'static, str>>) -> RejectedEntry {
        RejectedEntry { reason, attribute: self.attribute, rule: rule.into() }
    }

    /// The mapping itself leaves the user alone: somebody to skip, not a failure.
    pub(super) fn left_alone(&self) -> RejectedEntry {
        self.rejection(Reason::MissingRequired, "the mapping leaves this person alone (IgnoreObjectFlow)")
    }
}

/// See [`Mapping::compile`].
pub(super) fn compile(entries: &[MappingEntry], selection: &mut Selection) -> Result<Mapping, Vec<MappingProblem>> {
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
        let attribute = target::resolve(&entry.path);
        if let Ok(attribute) = attribute {
            match targets.iter().find(|(known, _)| *known == attribute) {
                Some((_, path)) => report(None, format!("mapped twice: `{path}` is the same attribute")),
                None => targets.push((attribute, &entry.path)),
            }
        }
        match (attribute, compiled) {
            (Ok(attribute), Ok(expression)) => match compiled_entry(attribute, expression, entry) {
                Ok(compiled_entry) => rows.push(compiled_entry),
                Err(messages) => messages.into_iter().for_each(|message| report(None, message)),
            },
            (attribute, compiled) => {
                attribute.err().into_iter().for_each(|message| report(None, message));
                let faults = compiled.err().into_iter().flatten();
                faults.for_each(|fault| report(Some(fault.position), fault.message));
            }
        }
    }
    for attribute in MUST_BE_MAPPED {
        if !targets.iter().any(|(known, _)| *known == attribute) {
            let (path, message) = (Some(attribute.path().to_owned()), "must be mapped".to_owned());
            problems.push(MappingProblem { entry: usize::MAX, path, position: None, message });
        }
    }
    rows.sort_by_key(|compiled_entry| compiled_entry.attribute);
    match rows.iter().position(|compiled_entry| compiled_entry.attribute == Attribute::Active) {
        Some(index) if problems.is_empty() => {
            *selection = wider;
            let redacted = rows
                .iter()
                .filter(|compiled_entry| compiled_entry.expression.calls("Redact"))
                .map(|compiled_entry| compiled_entry.attribute)
                .collect();
            Ok(Mapping { active: rows.remove(index), rows, redacted })
        }
        _ => Err(problems),
    }
}

/// See [`MappingEntry::attribute`].
pub(super) fn check(entry: &MappingEntry) -> Result<Attribute, Vec<String>> {
    let compiled = expression::compile(&entry.expression, attribute::resolve, &mut Selection::default());
    match (target::resolve(&entry.path), compiled) {
        (Ok(attribute), Ok(expression)) => {
            compiled_entry(attribute, expression, entry).map(|compiled_entry| compiled_entry.attribute)
        }
        (attribute, compiled) => {
            let faults = compiled.err().into_iter().flatten();
            let faults = faults.map(|fault| format!("{} (at character {})", fault.message, fault.position));
            Err(attribute.err().into_iter().chain(faults).collect())
        }
    }
}

/// The row of `entry`, or what does not fit together in it.
fn compiled_entry(
    attribute: Attribute,
    expression: Expression,
    entry: &MappingEntry,
) -> Result<CompiledEntry, Vec<String>> {
    let MappingEntry { path: _, expression: _, default, apply, required } = entry;
    let mut problems = Vec::new();
    let default = default.as_ref().and_then(|default| {
        let fitted = fit(attribute, Cow::Owned(Value::Text(default.clone())));
        fitted.unwrap_or_else(|stop| {
            problems.push(does_not_fit("default", attribute, stop));
            None
        })
    });
    let required = match (attribute, required) {
        (Attribute::UserName, Some(false)) => {
            problems.push("cannot be optional: every learner has one".to_owned());
            true
        }
        // A row for `active` without a value is refused whether or not it is called required.
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
                problems.push("a value is required, and the constant is empty".to_owned());
            }
            Ok(_) => {}
            Err(stop) => problems.push(does_not_fit("constant", attribute, stop)),
        }
    }
    if problems.is_empty() {
        Ok(CompiledEntry { attribute, expression, default, apply: *apply, required })
    } else {
        Err(problems)
    }
}

fn does_not_fit(what: &str, attribute: Attribute, stop: EvaluationStop) -> String {
    match (attribute.kind(), stop) {
        (AttributeKind::Boolean, _) => format!("the {what} must be \"true\" or \"false\""),
        (AttributeKind::Text, EvaluationStop::Invalid { rule, .. }) => format!("the {what} does not fit: {rule}"),
        (AttributeKind::Text, EvaluationStop::IgnoreAttribute | EvaluationStop::IgnoreUser) => {
            format!("the {what} does not fit")
        }
    }
}
