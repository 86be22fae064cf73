//! Brings an exported document into the shape of Graph's schema: PowerShell writes keys in capitals, lists of one as
//! objects, and text in place of what is nested too deeply.

use serde_json::{Map, Value};

/// The keys that are imported, in Graph's spelling.
const KEYS: &[&str] = &[
    "attributeMappings",
    "categoryFilterGroups",
    "clauses",
    "defaultValue",
    "enabled",
    "expression",
    "flowType",
    "flowTypes",
    "groups",
    "inputFilterGroups",
    "matchingPriority",
    "name",
    "objectMappings",
    "operatorName",
    "schema",
    "scope",
    "source",
    "sourceObjectName",
    "sourceOperandName",
    "synchronizationRules",
    "targetAttributeName",
    "targetObjectName",
    "targetOperand",
    "values",
];

/// Keys with a list.
const LISTS: &[&str] = &[
    "attributeMappings",
    "categoryFilterGroups",
    "clauses",
    "groups",
    "inputFilterGroups",
    "objectMappings",
    "synchronizationRules",
    "values",
];

/// Keys with an object.
const OBJECTS: &[&str] = &["schema", "scope", "source", "targetOperand"];

/// Nothing in them is imported, and their keys have other meanings.
const SKIPPED: &[&str] = &["directories", "parameters"];

/// The document was cut.
pub(super) const CUT: &str = "the file is cut: ConvertTo-Json wrote text in place of nested values; export it again with: \
                              ConvertTo-Json -Depth 20";

/// The document with Graph's keys, lists and objects.
///
/// # Errors
/// [`CUT`].
pub(super) fn normalize(document: Value) -> Result<Value, &'static str> {
    match document {
        Value::Array(items) => Ok(Value::Array(items.into_iter().map(normalize).collect::<Result<_, _>>()?)),
        Value::Object(members) => {
            let mut normalized = Map::new();
            for (key, member) in members {
                let key =
                    KEYS.iter().find(|known| known.eq_ignore_ascii_case(&key)).map_or(key, |&known| known.to_owned());
                let is_one_of = |keys: &[&str]| keys.iter().any(|known| known.eq_ignore_ascii_case(&key));
                let member = if is_one_of(SKIPPED) {
                    continue;
                } else if is_one_of(LISTS) {
                    list(&key, member)?
                } else if is_one_of(OBJECTS) {
                    object(member)?
                } else {
                    normalize(member)?
                };
                normalized.insert(key, member);
            }
            Ok(Value::Object(normalized))
        }
        scalar => Ok(scalar),
    }
}

fn list(key: &str, member: Value) -> Result<Value, &'static str> {
    match member {
        Value::Array(items) if items.iter().any(|item| key != "values" && is_cut(item)) => Err(CUT),
        Value::Array(items) => normalize(Value::Array(items)),
        // PowerShell 5 writes some lists as an object with a count.
        Value::Object(members) => {
            let items = members.iter().find(|(key, items)| key.eq_ignore_ascii_case("value") && items.is_array());
            match items {
                Some((_, items)) => list(key, items.clone()),
                None if members.is_empty() => Ok(Value::Array(Vec::new())),
                None => Ok(Value::Array(vec![normalize(Value::Object(members))?])),
            }
        }
        text if is_cut(&text) => Err(CUT),
        single @ Value::String(_) if key == "values" => Ok(Value::Array(vec![single])),
        other => Ok(other),
    }
}

fn object(member: Value) -> Result<Value, &'static str> {
    match member {
        Value::Array(mut items) if items.len() == 1 => object(items.remove(0)),
        Value::String(text) if text.trim_start().starts_with('{') => match serde_json::from_str(&text) {
            Ok(document) => normalize(document),
            Err(_) => Ok(Value::String(text)),
        },
        text if is_cut(&text) => Err(CUT),
        other => normalize(other),
    }
}

/// Whether PowerShell wrote the type or the members of a value anywhere.
pub(super) fn names_types(document: &Value) -> bool {
    match document {
        Value::Array(items) => items.iter().any(names_types),
        Value::Object(members) => members.values().any(names_types),
        Value::String(text) => !text.trim().is_empty() && is_cut(document),
        _ => false,
    }
}

/// Whether this is the text that PowerShell writes for a value it does not follow: the type of a value, its members, or
/// nothing for an empty list.
fn is_cut(value: &Value) -> bool {
    let Value::String(text) = value else { return false };
    let text = text.trim_start();
    text.trim().is_empty() || ["System.", "@{", "Microsoft.Graph."].iter().any(|start| text.starts_with(start))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_of_powershell_are_brought_into_shape() {
        let expected = json!({ "synchronizationRules": [{ "objectMappings": [{ "attributeMappings": [
            { "targetAttributeName": "title", "source": { "expression": "[jobTitle]" } },
        ] }] }] });
        let line = json!({ "TargetAttributeName": "title", "source": { "EXPRESSION": "[jobTitle]" } });
        for document in [
            expected.clone(),
            json!({ "SynchronizationRules": { "objectmappings": { "AttributeMappings": line } } }),
            json!({ "SynchronizationRules": { "value": [{ "objectMappings": [{ "attributeMappings": [line] }] }], "Count": 1 } }),
            json!({ "synchronizationRules": [{ "objectMappings": [{ "attributeMappings": [
                { "targetAttributeName": "title", "source": [{ "expression": "[jobTitle]", "parameters": "System.Object[]" }] },
            ] }] }], "directories": "System.Object[]" }),
        ] {
            assert_eq!(normalize(document), Ok(expected.clone()));
        }
    }

    #[test]
    fn cut_documents_are_recognized() {
        for document in [
            json!({ "synchronizationRules": "System.Object[]" }),
            json!({ "synchronizationRules": "" }),
            json!({ "synchronizationRules": "  " }),
            json!({ "schema": "@{id=x; version=v1.0; synchronizationRules=System.Object[]}" }),
            json!({ "objectMappings": ["System.Collections.Hashtable"] }),
            json!({ "objectMappings": ["@{enabled=True}", "@{enabled=False}"] }),
            json!({ "attributeMappings": [{ "source": "System.Collections.Hashtable" }] }),
            json!({ "attributeMappings": [{ "Source": "" }] }),
            json!({ "Scope": { "Groups": "Microsoft.Graph.PowerShell.Models.MicrosoftGraphFilterGroup" } }),
            json!({ "scope": { "groups": [{ "clauses": "System.Collections.Hashtable System.Collections.Hashtable" }] } }),
            json!({ "value": [{ "schema": "System.Collections.Hashtable" }] }),
            json!({ "targetOperand": { "values": "System.String[]" } }),
        ] {
            assert_eq!(normalize(document.clone()), Err(CUT), "{document}");
        }
        for document in [json!({ "source": null, "groups": null }), json!({ "values": ["", "System.Object"] })] {
            assert_eq!(normalize(document.clone()), Ok(document));
        }
    }
}
