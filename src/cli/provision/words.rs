//! The wording of `provision`, in its text and its JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::cli::output::counted;
use crate::cycle::{Explanation, Rules, count_roles};
use crate::directory::AccountRead;
use crate::mapping::{ApplyMode, DescribedEntry, MappedValue};
use crate::model::{self, APP_ROLE_ASSIGNMENTS, Attribute, EntraId, Route, Verdict};
use crate::plan::{Assessment, AssignedUser, REDACTED};

/// The account in Graph, in one word and in a sentence.
pub(super) fn account(explanation: &Explanation, rules: &Rules) -> (&'static str, String) {
    let state = |word, sentence: &str| (word, sentence.to_owned());
    match (&explanation.account, &explanation.verdict) {
        (AccountRead::User(user), _) if rules.scope.excludes_agent(user) => {
            state("agent-user", "the account of an agent, which does not count (scope.agent_users)")
        }
        (AccountRead::User(user), _) if user.enabled => state("enabled", "the account exists and is enabled"),
        (AccountRead::User(_), _) => state("disabled", "the account is disabled"),
        (AccountRead::Unreadable { detail, .. }, _) => ("unreadable", format!("the account cannot be read: {detail}")),
        (AccountRead::NotFound(_), Some(Verdict::Deleted)) => state("deleted", "the account is deleted"),
        (AccountRead::NotFound(_), _) => state("not-found", "the account does not exist"),
    }
}

/// The selected properties of the account. Properties of redacted mapping entries are redacted as well.
pub(super) fn attributes(explanation: &Explanation, rules: &Rules) -> Vec<(String, Value)> {
    let AccountRead::User(user) = &explanation.account else { return Vec::new() };
    let hidden: BTreeSet<String> =
        rules.mapping.describe().filter(|line| line.redacted).flat_map(|line| line.properties).collect();
    let properties = rules.selection.properties().iter().zip(&user.values);
    properties
        .map(|(property, value)| {
            let value = if hidden.contains(property) { json!(REDACTED) } else { as_value(value) };
            (property.clone(), value)
        })
        .collect()
}

fn as_value(value: &model::Value) -> Value {
    match value {
        model::Value::Null => Value::Null,
        model::Value::Text(text) | model::Value::Number(text) => json!(text),
        model::Value::Boolean(boolean) => json!(boolean),
        model::Value::List(elements) => elements.iter().map(as_value).collect(),
        model::Value::Complex(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), as_value(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

pub(super) fn scope(explanation: &Explanation) -> String {
    let Explanation { assigned, nested_in, groups, other_role, other_assignments, .. } = explanation;
    let Some(AssignedUser { assessment, routes, request_id: _ }) = assigned else {
        return if *other_role {
            "assigned with none of the app roles that scope.app_roles names".to_owned()
        } else if !nested_in.is_empty() {
            let groups: Vec<String> = nested_in.iter().map(|group| named(*group, groups)).collect();
            format!(
                "not assigned: only a member of groups nested in {}, and nested groups do not count (scope.group_members)",
                groups.join(", ")
            )
        } else if *other_assignments > 0 {
            format!(
                "not assigned with an app role that scope.app_roles names; not read: {} of users and groups with \
                 other roles",
                counted(*other_assignments, "assignment")
            )
        } else {
            "not assigned to the application, neither directly nor by an assigned group".to_owned()
        };
    };
    let descriptions = routes.as_slice().iter().map(|route| match route {
        Route::Direct => "directly".to_owned(),
        Route::Group(group) => format!("through {}", named(*group, groups)),
    });
    let assigned = format!("assigned {}", descriptions.collect::<Vec<_>>().join(", "));
    match assessment {
        Assessment::Unchanged | Assessment::Wanted(_) | Assessment::NotFound => assigned,
        Assessment::Leaving(reason) => format!("{assigned}, but {reason}"),
        Assessment::Rejected(rejection) => format!("{assigned}, but {}: {}", rejection.reason, rejection.detail),
    }
}

fn named(group: EntraId, names: &BTreeMap<EntraId, String>) -> String {
    match names.get(&group) {
        Some(name) if !name.is_empty() => format!("group {name:?} ({group})"),
        _ => format!("group {group}"),
    }
}

/// One entry of the mapping, and its result for the user.
pub(super) struct Mapped<'a> {
    pub(super) line: DescribedEntry<'a>,
    pub(super) value: Option<String>,
    /// The present value of the learner.
    pub(super) old: Option<String>,
    /// Why there is no value, or what that means.
    pub(super) note: Option<String>,
}

pub(super) fn mapped<'a>(explanation: &'a Explanation, rules: &'a Rules) -> Vec<Mapped<'a>> {
    let lines = rules.mapping.describe().zip(&explanation.mapped);
    lines
        .map(|(line, mapped)| {
            let old = match (&explanation.row, line.attribute) {
                (Some(row), Attribute::Active) => Some(row.active.to_string()),
                (Some(row), attribute) => row.values.text(attribute).map(str::to_owned),
                (None, _) => None,
            };
            let without = || match (line.default, line.required) {
                (Some(default), _) => format!("nothing; a new learner gets the default {default:?}"),
                (None, true) => "nothing, but required".to_owned(),
                (None, false) => "nothing".to_owned(),
            };
            let (value, note) = match mapped {
                MappedValue::Value(Some(value)) if line.apply == ApplyMode::OnCreate => {
                    (Some(value.clone()), Some("for a new learner only".to_owned()))
                }
                MappedValue::Value(Some(value)) => (Some(value.clone()), None),
                MappedValue::Value(None) => (None, Some(without())),
                MappedValue::NoFlow => (None, Some(format!("{}, not written", without()))),
                MappedValue::NoFlowForUser => (None, Some("the mapping skips the user".to_owned())),
                MappedValue::Invalid(rule) => (None, Some(format!("invalid: {rule}"))),
            };
            let roles = rules.selection.position(APP_ROLE_ASSIGNMENTS).zip(match &explanation.account {
                AccountRead::User(user) => Some(user),
                _ => None,
            });
            let roles = roles.and_then(|(slot, user)| user.values.get(slot)).map_or(0, count_roles);
            let note = match note {
                None if line.picks_one_role && roles > 1 => {
                    Some(format!("warning: the user has {roles} app roles; this is the first by name"))
                }
                note => note,
            };
            let shown = |value: Option<String>| if line.redacted { value.map(|_| REDACTED.to_owned()) } else { value };
            Mapped { value: shown(value), old: shown(old), note, line }
        })
        .collect()
}
