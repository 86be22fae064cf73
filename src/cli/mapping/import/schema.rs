//! The synchronization schema of Microsoft Graph, as far as it is imported.
//!
//! <https://learn.microsoft.com/graph/api/resources/synchronization-synchronizationschema>

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::document::{CUT, names_types, normalize};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a schema")]
struct ExportedSchema {
    synchronization_rules: Vec<SchemaRule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a synchronization rule")]
struct SchemaRule {
    object_mappings: Option<Vec<ObjectMapping>>,
}

/// The mapping of one kind of object. Its attribute mappings are parsed one by one, so that a malformed one does not
/// affect the others.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object mapping")]
pub(super) struct ObjectMapping {
    attribute_mappings: Option<Vec<Value>>,
    #[serde(default = "yes")]
    pub(super) enabled: bool,
    flow_types: Option<Value>,
    name: Option<String>,
    scope: Option<Value>,
    source_object_name: Option<String>,
    target_object_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an attribute mapping")]
pub(super) struct AttributeMapping {
    pub(super) default_value: Option<String>,
    pub(super) flow_type: Option<String>,
    /// Positive for attributes that match existing objects.
    #[serde(default)]
    pub(super) matching_priority: i64,
    pub(super) source: Option<SchemaSource>,
    pub(super) target_attribute_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "a source")]
pub(super) struct SchemaSource {
    #[serde(default)]
    pub(super) expression: String,
}

/// The scope of an object mapping: one group of each set must hold, empty sets excepted.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "the sets of filter groups")]
pub(super) struct SchemaScope {
    /// The scoping filters of the portal.
    pub(super) groups: Option<Vec<SchemaGroup>>,
    /// The sets that a template brings along, by name. The portal does not show them.
    #[serde(flatten)]
    pub(super) others: BTreeMap<String, Value>,
}

impl SchemaScope {
    /// The names of the sets of a template that exclude users.
    pub(super) fn hidden_sets(&self) -> impl Iterator<Item = &str> {
        let holds_for_all = |set: &Value| match set {
            Value::Null | Value::String(_) => true,
            Value::Array(groups) => {
                groups.is_empty() || groups.iter().any(|group| group.get("clauses").is_none_or(is_empty))
            }
            _ => false,
        };
        self.others.iter().filter(move |(_, set)| !holds_for_all(set)).map(|(name, _)| name.as_str())
    }
}

fn is_empty(list: &Value) -> bool {
    list.is_null() || list.as_array().is_some_and(Vec::is_empty)
}

#[derive(Clone, Debug, Deserialize)]
#[serde(expecting = "a filter group")]
pub(super) struct SchemaGroup {
    pub(super) name: Option<String>,
    pub(super) clauses: Option<Vec<SchemaClause>>,
}

impl SchemaGroup {
    pub(super) fn holds_for_all(&self) -> bool {
        self.clauses.as_ref().is_none_or(Vec::is_empty)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a clause")]
pub(super) struct SchemaClause {
    pub(super) operator_name: String,
    pub(super) source_operand_name: String,
    pub(super) target_operand: Option<SchemaOperand>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(expecting = "an operand")]
pub(super) struct SchemaOperand {
    pub(super) values: Option<Vec<String>>,
}

fn yes() -> bool {
    true
}

/// The object mappings of a schema, a rule or a job, or of several of them, wherever they stand in the document.
///
/// # Errors
/// Why the document cannot be imported.
pub(super) fn object_mappings(document: Value) -> Result<Vec<ObjectMapping>, String> {
    let (is_job, is_cut) = (has_key(&document, "templateId"), names_types(&document));
    let mut found = Vec::new();
    if collect(normalize(document)?, &mut found).map_err(|error| format!("malformed schema: {error}"))? {
        Ok(found)
    } else if is_cut {
        Err(CUT.to_owned())
    } else if is_job {
        Err("a synchronization job without its schema; export .../synchronization/jobs/JOB/schema".to_owned())
    } else {
        Err("not a synchronization schema: it has neither `synchronizationRules` nor `attributeMappings`".to_owned())
    }
}

/// Adds the object mappings of `document`. The result is whether it has a place for them.
fn collect(document: Value, found: &mut Vec<ObjectMapping>) -> serde_json::Result<bool> {
    let members: Vec<Value> = match document {
        Value::Array(items) => items,
        Value::Object(members) if members.contains_key("synchronizationRules") => {
            let ExportedSchema { synchronization_rules } = serde_json::from_value(Value::Object(members))?;
            found.extend(synchronization_rules.into_iter().filter_map(|rule| rule.object_mappings).flatten());
            return Ok(true);
        }
        Value::Object(members) if members.contains_key("objectMappings") => {
            let SchemaRule { object_mappings } = serde_json::from_value(Value::Object(members))?;
            found.extend(object_mappings.into_iter().flatten());
            return Ok(true);
        }
        Value::Object(members) if members.contains_key("attributeMappings") => {
            found.push(serde_json::from_value(Value::Object(members))?);
            return Ok(true);
        }
        Value::Object(members) => members.into_iter().map(|(_, member)| member).collect(),
        _ => return Ok(false),
    };
    members.into_iter().try_fold(false, |before, member| Ok(collect(member, found)? || before))
}

/// Whether a setting of the document keeps users who leave the scope.
pub(super) fn skips_deletions(document: &Value) -> bool {
    match document {
        Value::Array(items) => items.iter().any(skips_deletions),
        Value::Object(members) => {
            let is_named = |value: &Value| value.as_str() == Some("SkipOutOfScopeDeletions");
            let is_true = |value: &Value| value.to_string().trim_matches('"').eq_ignore_ascii_case("true");
            (members.values().any(is_named) && members.values().any(is_true)) || members.values().any(skips_deletions)
        }
        _ => false,
    }
}

/// Whether `document` has this key anywhere, letter case ignored.
fn has_key(document: &Value, wanted: &str) -> bool {
    match document {
        Value::Array(items) => items.iter().any(|item| has_key(item, wanted)),
        Value::Object(members) => {
            members.iter().any(|(key, member)| key.eq_ignore_ascii_case(wanted) || has_key(member, wanted))
        }
        _ => false,
    }
}

impl ObjectMapping {
    /// An object mapping without names is a fragment and counts as one for users.
    pub(super) fn is_of_users(&self) -> bool {
        let is_user = |name: &Option<String>| name.as_deref().is_none_or(|name| name.eq_ignore_ascii_case("user"));
        let target = self.target_object_name.as_deref().unwrap_or_default().to_ascii_lowercase();
        is_user(&self.source_object_name) && !target.contains("group")
    }

    /// The attribute mappings. The error is the target of a malformed one, if known, and the reason.
    pub(super) fn attribute_mappings(&self) -> impl Iterator<Item = Result<AttributeMapping, (String, String)>> {
        self.attribute_mappings.iter().flatten().map(|mapping| {
            AttributeMapping::deserialize(mapping).map_err(|error| {
                let target = mapping.get("targetAttributeName").and_then(Value::as_str).unwrap_or("attribute mapping");
                (target.to_owned(), format!("malformed: {error}"))
            })
        })
    }

    pub(super) fn scope(&self) -> Result<SchemaScope, String> {
        let scope = self.scope.as_ref().map(SchemaScope::deserialize).transpose();
        Ok(scope.map_err(|error| format!("malformed scope: {error}"))?.unwrap_or_default())
    }

    /// The actions that are disabled in the portal.
    pub(super) fn disabled_actions(&self) -> Vec<&'static str> {
        let flow_types = match &self.flow_types {
            Some(Value::String(names)) => names.split(',').map(str::trim).collect(),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>(),
            _ => return Vec::new(),
        };
        let is_on = |name: &str| flow_types.iter().any(|flow_type| flow_type.eq_ignore_ascii_case(name));
        ["Add", "Update", "Delete"].into_iter().filter(|name| !is_on(name)).collect()
    }

    pub(super) fn title(&self) -> &str {
        self.name.as_deref().or(self.source_object_name.as_deref()).unwrap_or("without a name")
    }
}
