//! The synchronization schema of Microsoft Graph, as far as it is taken.
//!
//! <https://learn.microsoft.com/graph/api/resources/synchronization-synchronizationschema>

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Schema {
    synchronization_rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    object_mappings: Vec<ObjectMapping>,
}

/// How one kind of object becomes one of the other directory.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectMapping {
    #[serde(default)]
    pub(super) attribute_mappings: Vec<AttributeMapping>,
    #[serde(default = "yes")]
    pub(super) enabled: bool,
    name: Option<String>,
    pub(super) scope: Option<Scope>,
    source_object_name: Option<String>,
    target_object_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AttributeMapping {
    pub(super) default_value: Option<String>,
    pub(super) flow_type: Option<String>,
    /// From 1 on for attributes by which existing objects are found.
    #[serde(default)]
    pub(super) matching_priority: i64,
    pub(super) source: Option<Source>,
    pub(super) target_attribute_name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Source {
    #[serde(default)]
    pub(super) expression: String,
}

/// Which objects are in scope: of each set that is not empty, one group must hold.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Scope {
    pub(super) groups: Option<Vec<Group>>,
    pub(super) input_filter_groups: Option<Vec<Group>>,
    pub(super) category_filter_groups: Option<Vec<Group>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Group {
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) clauses: Vec<Clause>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Clause {
    pub(super) operator_name: String,
    pub(super) source_operand_name: String,
    pub(super) target_operand: Option<Operand>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Operand {
    #[serde(default)]
    pub(super) values: Vec<String>,
}

/// Why a document has no object mappings.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is another document altogether.
    Other,
    /// It looks like a schema, and something in it is not as it should be.
    Malformed(String),
}

fn yes() -> bool {
    true
}

/// The object mappings of a whole schema, or the only one that the document is.
pub(super) fn object_mappings(document: Value) -> Result<Vec<ObjectMapping>, Fault> {
    let malformed = |error: serde_json::Error| Fault::Malformed(format!("the schema cannot be read: {error}"));
    if document.get("synchronizationRules").is_some() {
        let Schema { synchronization_rules } = serde_json::from_value(document).map_err(malformed)?;
        Ok(synchronization_rules.into_iter().flat_map(|rule| rule.object_mappings).collect())
    } else if document.get("objectMappings").is_some() {
        let Rule { object_mappings } = serde_json::from_value(document).map_err(malformed)?;
        Ok(object_mappings)
    } else if document.get("attributeMappings").is_some() {
        Ok(vec![serde_json::from_value(document).map_err(malformed)?])
    } else {
        Err(Fault::Other)
    }
}

impl ObjectMapping {
    /// Without names it is the one that somebody cut out, and meant.
    pub(super) fn is_of_users(&self) -> bool {
        let is_user = |name: &Option<String>| name.as_deref().is_none_or(|name| name.eq_ignore_ascii_case("user"));
        let target = self.target_object_name.as_deref().unwrap_or_default().to_ascii_lowercase();
        is_user(&self.source_object_name) && !target.contains("group")
    }

    pub(super) fn title(&self) -> &str {
        self.name.as_deref().or(self.source_object_name.as_deref()).unwrap_or("without a name")
    }
}
