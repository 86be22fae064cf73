//! Changes to a true answer.

use serde_json::{Map, Value};

use crate::reply::GraphError;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// No rows and no next page.
    EmptyList,
    /// No rows, though the next page is still linked.
    EmptyPage,
    /// Another link to the next page.
    NextLink(String),
    /// No link to the next page.
    CutShort,
    /// Rows without a key.
    DropKey(String),
    /// Rows with null for a key.
    NullKey(String),
    /// Rows with nothing but id and type.
    NullRows,
    /// No row with this id, or about the principal with this id; 404 where it is the whole answer.
    HideRow(String),
}

const NEXT_LINK: &str = "@odata.nextLink";

impl Edit {
    /// Changes a body, or turns it into an error.
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
                let told = |key: &str| key == "id" || key.starts_with('@');
                row.iter_mut().filter(|(key, _)| !told(key)).for_each(|(_, value)| *value = Value::Null);
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

/// The rows of a list, or the object itself where the answer is one.
fn each_row(object: &mut Map<String, Value>, change: impl Fn(&mut Map<String, Value>)) {
    match object.get_mut("value").and_then(Value::as_array_mut) {
        Some(rows) => rows.iter_mut().filter_map(Value::as_object_mut).for_each(change),
        None => change(object),
    }
}
