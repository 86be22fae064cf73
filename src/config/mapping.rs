//! Reads and compiles the `[mapping]` table, so that mistakes in expressions are found when the configuration is loaded.

use toml::de::{DeTable, DeValue};

use super::problem::ConfigPosition;
use super::reader::{FreeEntry, Reader, kind_of};
use crate::mapping::{self, ApplyMode, Mapping, MappingEntry};
use crate::model::{Attribute, AttributeKind, Selection};
use crate::nearest::nearest;

/// More entries than this are not read: each may have a suggestion, which takes time.
const MAX_ENTRIES: usize = 500;

/// The mapping of the file or the default mapping, and the mapped attributes if it has no problems.
pub(super) fn read(reader: &mut Reader<'_>) -> (Vec<MappingEntry>, Option<Vec<Attribute>>) {
    let (mut entries, mut places, mut whole) = (Vec::new(), Vec::new(), true);
    match reader.free_table("mapping") {
        None => entries = mapping::default_entries(),
        Some(mut rows) => {
            if rows.len() > MAX_ENTRIES {
                whole = false;
                let message =
                    format!("has {} entries, but there are only {} attributes", rows.len(), Attribute::ALL.len());
                reader.refuse("mapping", message);
                rows.truncate(MAX_ENTRIES);
            }
            for FreeEntry { name, value, position: place } in rows {
                match read_entry(reader, &name, &value, &place) {
                    Ok((entry, expression_place)) => {
                        entries.push(entry);
                        places.push(expression_place);
                    }
                    Err(message) => {
                        whole = false;
                        reader.refuse_at(place, key(&name), message);
                    }
                }
            }
        }
    }
    let attributes = match Mapping::compile(&entries, &mut Selection::default()) {
        Ok(mapping) => whole.then(|| mapping.attributes().collect()),
        Err(problems) => {
            for mapping::MappingProblem { entry, path, position, message } in problems {
                let message = match position {
                    Some(position) => format!("at character {position} of the expression: {message}"),
                    None => message,
                };
                match (places.get(entry), path) {
                    (Some(place), _) => reader.refuse_at(place.clone(), key(&entries[entry].path), message),
                    // A required entry may be missing only because it could not be read.
                    (None, _) if !whole => {}
                    (None, Some(path)) => reader.refuse("mapping", format!("{path} {message}")),
                    (None, None) => reader.refuse("mapping", message),
                }
            }
            None
        }
    };
    (entries, attributes)
}

/// The text attribute that the SCIM path `text` names.
pub(super) fn attribute(text: &str) -> Result<Attribute, String> {
    match mapping::find_target(text) {
        Ok(attribute) if attribute.kind() == AttributeKind::Text => Ok(attribute),
        Ok(_) => Err("must be a text attribute".to_owned()),
        Err(_) => Err("is not the SCIM path of an attribute, such as userName".to_owned()),
    }
}

/// One entry, and the place of its expression.
fn read_entry(
    reader: &mut Reader<'_>,
    path: &str,
    value: &DeValue<'_>,
    place: &ConfigPosition,
) -> Result<(MappingEntry, ConfigPosition), String> {
    match value {
        DeValue::String(expression) => Ok((MappingEntry::new(path, expression.as_ref()), place.clone())),
        DeValue::Table(table) => read_table(reader, table, MappingEntry::new(path, "")),
        other => Err(format!("must be an expression in quotes, not {}", kind_of(other))),
    }
}

/// An entry written as a table.
fn read_table(
    reader: &mut Reader<'_>,
    table: &DeTable<'_>,
    mut entry: MappingEntry,
) -> Result<(MappingEntry, ConfigPosition), String> {
    const KEYS: &str = "expression, default, apply and required";
    let Some(expression) = table.get("expression") else {
        let names = table.keys().map(|name| name.get_ref().as_ref());
        if let Some(meant) = nearest("expression", names) {
            return Err(format!("{meant} is not a key of a mapping, which has {KEYS}"));
        }
        return Err(format!(
            "is a table without an expression (it has {KEYS}); write an attribute path with dots in quotes"
        ));
    };
    let expression_place = reader.offset(expression);
    for (name, value) in table {
        match (name.get_ref().as_ref(), value.get_ref()) {
            ("expression", DeValue::String(text)) => entry.expression = text.to_string(),
            ("default", DeValue::String(text)) => entry.default = Some(text.to_string()),
            ("apply", DeValue::String(word)) if word == "always" => entry.apply = ApplyMode::Always,
            ("apply", DeValue::String(word)) if word == "on-create" => entry.apply = ApplyMode::OnCreate,
            ("required", DeValue::Boolean(required)) => entry.required = Some(*required),
            ("apply", _) => return Err("apply is one of \"always\", \"on-create\"".to_owned()),
            ("required", _) => return Err("required is true or false, without quotes".to_owned()),
            (text @ ("expression" | "default"), other) => {
                return Err(format!("{text} must be a text in quotes, not {}", kind_of(other)));
            }
            (unknown, _) => return Err(format!("{unknown} is not a key of a mapping, which has {KEYS}")),
        }
    }
    Ok((entry, expression_place))
}

fn key(path: &str) -> String {
    format!("mapping.{path:?}")
}
