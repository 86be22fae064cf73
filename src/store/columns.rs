//! The mapped columns of a learner row: which are read, and how.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::connection::Record;
use super::layout::Layout;
use super::sql::Statement;
use crate::model::{Attribute, AttributeKind, Values};

/// `attributes` without `Active`, which is compared and read by itself.
pub(super) fn mapped(attributes: &[Attribute]) -> BTreeSet<Attribute> {
    attributes.iter().copied().filter(|attribute| *attribute != Attribute::Active).collect()
}

/// `, r.user_name, r.email ...`
pub(super) fn push_columns(statement: &mut Statement<'_>, layout: &Layout, attributes: &BTreeSet<Attribute>) {
    for attribute in attributes {
        statement.push(", ").push(layout.value("r", *attribute));
    }
}

/// Reads the columns that [`push_columns`] added, from `index` on, over what `values` has of an earlier row.
pub(super) fn read(
    row: &Record,
    mut index: usize,
    attributes: &BTreeSet<Attribute>,
    values: &mut Values,
) -> Result<(), sqlx::Error> {
    for attribute in attributes {
        // Unchecked, because SQLite lets any column hold any type, and text and numbers turn into each other.
        let text = match attribute.kind() {
            // Bytes, because somebody else may have written what is no UTF-8: that learner is put right, and the
            // others go on.
            AttributeKind::Text => row.get_unchecked::<Option<&[u8]>, _>(index)?.map(String::from_utf8_lossy),
            AttributeKind::Boolean => {
                let value = row.get_unchecked::<Option<bool>, _>(index)?;
                value.map(|value| if value { "true" } else { "false" }.into())
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
