//! The synchronization schema of Microsoft Graph, as far as it is imported.
//!
//! <https://learn.microsoft.com/graph/api/resources/synchronization-synchronizationschema>

use serde::Deserialize;
use serde_json::Value;

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
    flow_types: Option<String>,
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
    pub(super) groups: Option<Vec<SchemaGroup>>,
    pub(super) input_filter_groups: Option<Vec<SchemaGroup>>,
    pub(super) category_filter_groups: Option<Vec<SchemaGroup>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(expecting = "a filter group")]
pub(super) struct SchemaGroup {
    pub(super) name: Option<String>,
    pub(super) clauses: Option<Vec<SchemaClause>>,
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

/// The object mappings of a schema, of one of its rules, or a single one.
///
/// # Errors
/// Why the document cannot be imported.
pub(super) fn object_mappings(document: Value) -> Result<Vec<ObjectMapping>, String> {
    let malformed = |error: serde_json::Error| format!("malformed schema: {error}");
    if document.get("synchronizationRules").is_some() {
        let ExportedSchema { synchronization_rules } = serde_json::from_value(document).map_err(malformed)?;
        Ok(synchronization_rules.into_iter().filter_map(|rule| rule.object_mappings).flatten().collect())
    } else if document.get("objectMappings").is_some() {
        let SchemaRule { object_mappings } = serde_json::from_value(document).map_err(malformed)?;
        Ok(object_mappings.unwrap_or_default())
    } else if document.get("attributeMappings").is_some() {
        Ok(vec![serde_json::from_value(document).map_err(malformed)?])
    } else {
        Err("not a synchronization schema: it has neither `synchronizationRules` nor `attributeMappings`".to_owned())
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
        let Some(flow_types) = &self.flow_types else { return Vec::new() };
        let is_on = |name: &str| flow_types.split(',').any(|flow_type| flow_type.trim().eq_ignore_ascii_case(name));
        ["Add", "Update", "Delete"].into_iter().filter(|name| !is_on(name)).collect()
    }

    pub(super) fn title(&self) -> &str {
        self.name.as_deref().or(self.source_object_name.as_deref()).unwrap_or("without a name")
    }
}
