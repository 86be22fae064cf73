//! Reading the mapped columns of a learner row.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::layout::Layout;
use crate::model::{Attribute, AttributeKind, EntraId, Values};
use crate::store::db::{DbError, SqlRow, SqlValue, Statement};

/// `attributes` without `Active`, which is read and compared separately.
pub(crate) fn without_active(attributes: &[Attribute]) -> BTreeSet<Attribute> {
    attributes.iter().copied().filter(|attribute| *attribute != Attribute::Active).collect()
}

/// `, r.user_name, r.email ...`
pub(crate) fn push_columns(statement: &mut Statement<'_>, layout: &Layout, attributes: &BTreeSet<Attribute>) {
    for attribute in attributes {
        statement.push(", ").push(layout.value("r", *attribute));
    }
}

/// Reads the columns that [`push_columns`] added, starting at `index`, into `values`, which may hold an earlier
/// row.
pub(crate) fn read_columns(
    row: &SqlRow,
    mut index: usize,
    attributes: &BTreeSet<Attribute>,
    values: &mut Values,
) -> Result<(), DbError> {
    values.clear();
    for attribute in attributes {
        // Unchecked, because any column of SQLite can hold any type, and text and numbers convert into each other.
        let text = match attribute.kind() {
            // Bytes, because another program may have written invalid UTF-8: this learner is repaired, and the others are
            // not affected.
            AttributeKind::Text => row.get_unchecked::<Option<&[u8]>, _>(index)?.map(String::from_utf8_lossy),
            AttributeKind::Boolean => {
                let value = row.get_unchecked::<Option<bool>, _>(index)?;
                value.map(|value| if value { "true" } else { "false" }.into())
            }
        };
        values.insert(*attribute, text.as_deref());
        index += 1;
    }
    Ok(())
}

/// Entra ids as their columns store them.
pub(crate) fn id_texts<'i>(users: impl IntoIterator<Item = &'i EntraId>) -> Vec<String> {
    users.into_iter().map(ToString::to_string).collect()
}

impl From<EntraId> for SqlValue<'_> {
    fn from(id: EntraId) -> Self {
        Self::UuidText(Uuid::from_bytes(*id.as_bytes()))
    }
}

impl From<&EntraId> for SqlValue<'_> {
    fn from(id: &EntraId) -> Self {
        (*id).into()
    }
}
