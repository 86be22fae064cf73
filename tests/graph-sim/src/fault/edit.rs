//! Edits of a true answer.

use serde_json::{Map, Value};

use crate::reply::GraphError;

/// One edit of a true answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Remove the rows and the next-page link.
    EmptyList,
    /// Remove the rows and keep the next-page link.
    EmptyPage,
    /// Replace or add the next-page link.
    NextLink(String),
    /// Remove the next-page link.
    CutShort,
    /// Remove a key from the rows.
    DropKey(String),
    /// Set a key of the rows to null.
    NullKey(String),
    /// Set everything but id and type to null.
    NullRows,
    /// Remove the rows with this id or principal id; 404 when the answer is this object.
    HideRow(String),
}

const NEXT_LINK: &str = "@odata.nextLink";

impl Edit {
    /// Edits a body, or replaces it with an error.
    pub(super) fn apply(&self, body: &mut Value) -> Result<(), GraphError> {
        let Some(object) = body.as_object_mut() else { return Ok(()) };
        match self {
            Self::EmptyList => {
                object.remove(NEXT_LINK);
                set_rows(object, |rows| rows.clear());
            }
            Self::EmptyPage => set_rows(object, |rows| rows.clear()),
            Self::NextLink(url) => drop(object.insert(NEXT_LINK.to_owned(), url.as_str().into())),
            Self::CutShort => drop(object.remove(NEXT_LINK)),
            Self::DropKey(key) => each_row(object, |row| drop(row.remove(key))),
            Self::NullKey(key) => each_row(object, |row| {
                if let Some(value) = row.get_mut(key) {
                    *value = Value::Null;
                }
            }),
            Self::NullRows => each_row(object, |row| {
                let is_kept = |key: &str| key == "id" || key.starts_with('@');
                row.iter_mut().filter(|(key, _)| !is_kept(key)).for_each(|(_, value)| *value = Value::Null);
            }),
            Self::HideRow(id) => {
                let is_hidden = |row: &Map<String, Value>| {
                    ["id", "principalId"].iter().any(|key| row.get(*key).and_then(Value::as_str) == Some(id))
                };
                if is_hidden(object) {
                    return Err(GraphError::not_found(id));
                }
                set_rows(object, |rows| rows.retain(|row| !row.as_object().is_some_and(is_hidden)));
            }
        }
        Ok(())
    }
}

fn set_rows(object: &mut Map<String, Value>, change: impl FnOnce(&mut Vec<Value>)) {
    if let Some(rows) = object.get_mut("value").and_then(Value::as_array_mut) {
        change(rows);
    }
}

/// The rows of a list, or the object when the answer is a single one.
fn each_row(object: &mut Map<String, Value>, change: impl Fn(&mut Map<String, Value>)) {
    match object.get_mut("value").and_then(Value::as_array_mut) {
        Some(rows) => rows.iter_mut().filter_map(Value::as_object_mut).for_each(change),
        None => change(object),
    }
}
