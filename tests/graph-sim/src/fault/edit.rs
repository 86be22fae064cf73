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
    /// Set a key of the page itself.
    PageKey(String, Value),
    /// Add a row at the end.
    AddRow(Value),
    /// Set a key of the row with this id or principal id.
    SetKey(String, String, Value),
    /// Add a copy of the row with this id or principal id, with another value of a key.
    RepeatRow(String, String, Value),
    /// Replace a text in the finished answer, which need not stay JSON.
    Text(String, Vec<u8>),
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
                let is_hidden = |row: &Map<String, Value>| is_about(row, id);
                if is_hidden(object) {
                    return Err(GraphError::not_found(id));
                }
                set_rows(object, |rows| rows.retain(|row| !row.as_object().is_some_and(is_hidden)));
            }
            Self::PageKey(key, value) => drop(object.insert(key.clone(), value.clone())),
            Self::AddRow(row) => set_rows(object, |rows| rows.push(row.clone())),
            Self::SetKey(id, key, value) => each_row(object, |row| {
                if is_about(row, id) {
                    row.insert(key.clone(), value.clone());
                }
            }),
            Self::RepeatRow(id, key, value) => set_rows(object, |rows| {
                let about = rows.iter().filter(|row| row.as_object().is_some_and(|row| is_about(row, id)));
                let copies: Vec<Value> = about.cloned().collect();
                rows.extend(copies.into_iter().map(|mut row| {
                    row[key] = value.clone();
                    row
                }));
            }),
            Self::Text(..) => {}
        }
        Ok(())
    }
}

impl Edit {
    /// Edits the finished answer.
    pub(super) fn apply_to_text(&self, body: &mut Vec<u8>) {
        let Self::Text(old, new) = self else { return };
        let (mut edited, mut rest) = (Vec::with_capacity(body.len()), body.as_slice());
        while let Some(first) = rest.first() {
            match rest.strip_prefix(old.as_bytes()) {
                Some(after) if !old.is_empty() => {
                    edited.extend_from_slice(new);
                    rest = after;
                }
                _ => {
                    edited.push(*first);
                    rest = &rest[1..];
                }
            }
        }
        *body = edited;
    }
}

fn is_about(row: &Map<String, Value>, id: &str) -> bool {
    ["id", "principalId"].iter().any(|key| row.get(*key).and_then(Value::as_str) == Some(id))
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
