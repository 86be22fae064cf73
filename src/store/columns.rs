//! The columns of a learner row: which are read, and how a mapped value stands in one.

use std::borrow::Cow;
use std::collections::BTreeSet;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::sql::Statement;
use crate::model::{Attribute, Kind, Values};

/// `attributes` without `Active`, which is compared and read by itself.
pub(super) fn mapped(attributes: &[Attribute]) -> BTreeSet<Attribute> {
    attributes.iter().copied().filter(|attribute| *attribute != Attribute::Active).collect()
}

/// `, r.user_name, r.email ...`
pub(super) fn push_columns(statement: &mut Statement, attributes: &BTreeSet<Attribute>) {
    for attribute in attributes {
        statement.push(", r.").push(attribute.column());
    }
}

/// Reads the columns that [`push_columns`] added, from `index` on, over what `values` has of an earlier row.
pub(super) fn read(
    row: &SqliteRow,
    mut index: usize,
    attributes: &BTreeSet<Attribute>,
    values: &mut Values,
) -> Result<(), sqlx::Error> {
    for attribute in attributes {
        // Unchecked, because SQLite lets any column hold any type, and text and numbers turn into each other.
        let text = match attribute.kind() {
            // Bytes, because somebody else may have written what is no UTF-8: that learner is put right, and the
            // others go on.
            Kind::Text => row.try_get_unchecked::<Option<&[u8]>, _>(index)?.map(String::from_utf8_lossy),
            Kind::Boolean => {
                let value = row.try_get_unchecked::<Option<i64>, _>(index)?;
                value.map(|value| if value == 0 { "false" } else { "true" }.into())
            }
        };
        let value = values.entry(*attribute).or_default();
        match (text, value) {
            (Some(Cow::Borrowed(text)), Some(value)) => text.clone_into(value),
            (text, value) => *value = text.map(Cow::into_owned),
        }
        index += 1;
    }
    Ok(())
}

/// A mapped value as its column takes it.
pub(super) enum Stored<'v> {
    /// Text, or a value for a boolean column that is none: the check of the column refuses it.
    Text(Option<&'v str>),
    /// A boolean.
    Boolean(bool),
}

/// How `value` of `attribute` is stored.
pub(super) fn stored(attribute: Attribute, value: Option<&str>) -> Stored<'_> {
    match (attribute.kind(), value) {
        (Kind::Boolean, Some("true")) => Stored::Boolean(true),
        (Kind::Boolean, Some("false")) => Stored::Boolean(false),
        (Kind::Text | Kind::Boolean, value) => Stored::Text(value),
    }
}
