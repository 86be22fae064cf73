//! Reads `learners.table`, `[learners.columns]` and `[learners.constants]`: a learners table that is there already.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::DeValue;

use super::reader::{FreeEntry, Reader, kind_of};
use crate::model::{Attribute, Column, ColumnConstant, StateLabels, Table};
use crate::nearest::{did_you_mean, nearest};

const TABLE: &str = "learners.table";
const COLUMNS: &str = "learners.columns";
const CONSTANTS: &str = "learners.constants";

/// The table, when the configuration says anything about one; `mapped` is not known of a faulty mapping.
pub(super) fn read(reader: &mut Reader<'_>, path: &Path, mapped: Option<&[Attribute]>) -> Option<Table> {
    let described = [TABLE, COLUMNS, CONSTANTS].map(|key| reader.present(key));
    let (schema, name) = reader.text(TABLE, table_name).unwrap_or_else(|| (None, "learners".to_owned()));
    let mut found = TableReader {
        table: Table {
            schema,
            name,
            columns: BTreeMap::new(),
            mapped: mapped.unwrap_or_default().to_vec(),
            state_labels: None,
            constants: BTreeMap::new(),
            positions: BTreeMap::new(),
        },
        owners: BTreeMap::new(),
    };
    let position = reader.position(TABLE).display_in(path);
    found.table.positions.insert(TABLE.to_owned(), position);
    for entry in reader.free_table(COLUMNS).unwrap_or_default() {
        found.column(reader, path, entry);
    }
    found.not_twice(reader);
    for entry in reader.free_table(CONSTANTS).unwrap_or_default() {
        found.constant(reader, path, entry);
    }
    described.contains(&true).then_some(found.table)
}

struct TableReader {
    table: Table,
    /// The key that says what a column of the table is used for, by its name.
    owners: BTreeMap<String, String>,
}

impl TableReader {
    fn column(&mut self, reader: &mut Reader<'_>, path: &Path, entry: FreeEntry<'_>) {
        let FreeEntry { name, value, position } = entry;
        let key = format!("{COLUMNS}.{name}");
        let Some(column) = Column::all().find(|column| column.name() == name) else {
            return reader.refuse_at(position, key, unknown(&name));
        };
        let named = match (column, value) {
            (_, DeValue::String(text)) => Ok((text.into_owned(), None)),
            (Column::Attribute(Attribute::Active), DeValue::Table(table)) => state_labels(reader.entries(table)),
            (Column::Attribute(Attribute::Active), other) => Err(format!(
                "must be the name of a column, or {{ column = \"…\", true = \"…\", false = \"…\" }}, not {}",
                kind_of(&other)
            )),
            (_, other) => Err(format!("must be the name of a column in quotes, not {}", kind_of(&other))),
        };
        let named = named.and_then(|(text, state_labels)| Ok((identifier(&text)?, state_labels)));
        let (text, state_labels) = match named {
            Ok(named) => named,
            Err(message) => return reader.refuse_at(position, key, message),
        };
        if let Some(other) = self.owners.get(&text) {
            return reader.refuse_at(position, key, format!("the column {text:?} is that of {other} already"));
        }
        self.owners.insert(text.clone(), key.clone());
        self.table.positions.insert(key, position.display_in(path));
        self.table.columns.insert(column, text);
        self.table.state_labels = state_labels.or(self.table.state_labels.take());
    }

    fn constant(&mut self, reader: &mut Reader<'_>, path: &Path, entry: FreeEntry<'_>) {
        let FreeEntry { name, value, position } = entry;
        let key = format!("{CONSTANTS}.{name}");
        let constant = match value {
            DeValue::String(text) if text.contains('\0') => Err("must have no NUL in it".to_owned()),
            DeValue::String(text) => Ok(ColumnConstant::Text(text.into_owned())),
            DeValue::Boolean(value) => Ok(ColumnConstant::Boolean(value)),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map(ColumnConstant::Number)
                .map_err(|_| "is too large a number".to_owned()),
            DeValue::Float(_) => Err("must stand in quotes: it is no whole number".to_owned()),
            other => Err(format!("must be a text in quotes, a whole number, true or false, not {}", kind_of(&other))),
        };
        let constant = constant.and_then(|constant| {
            identifier(&name)?;
            match self.used_by(&name) {
                Some(owner) => Err(format!("the column {name:?} is that of {owner} already")),
                None => Ok(constant),
            }
        });
        match constant {
            Ok(constant) => {
                self.table.positions.insert(key, position.display_in(path));
                self.table.constants.insert(name, constant);
            }
            Err(message) => reader.refuse_at(position, key, message),
        }
    }

    /// The columns that are called as in the design, because nothing else is said and they are needed.
    fn unnamed(&self) -> impl Iterator<Item = Column> {
        Column::all().filter(|column| {
            let needed = match column {
                Column::Attribute(attribute) => self.table.mapped.contains(attribute),
                ours => !ours.is_optional(),
            };
            needed && !self.table.columns.contains_key(column)
        })
    }

    /// Refuses a column that was named for one thing and is called like another.
    fn not_twice(&self, reader: &mut Reader<'_>) {
        for column in self.unnamed() {
            if let Some(owner) = self.owners.get(column.name()) {
                let (name, position) = (column.name(), reader.position(owner));
                let message = format!("the column {name:?} is that of {name} already, for which no other is named");
                reader.refuse_at(position, owner.clone(), message);
            }
        }
    }

    /// What the column called `name` is used for already.
    fn used_by(&self, name: &str) -> Option<String> {
        let unnamed = || self.unnamed().find(|column| column.name() == name).map(|column| column.name().to_owned());
        self.owners.get(name).cloned().or_else(unnamed)
    }
}

fn unknown(name: &str) -> String {
    let names = Column::all().map(Column::name);
    let meant = did_you_mean(nearest(name, Column::all().map(Column::name)));
    format!("is none of {}{meant}", names.collect::<Vec<_>>().join(", "))
}

fn state_labels(entries: Vec<FreeEntry<'_>>) -> Result<(String, Option<StateLabels>), String> {
    let (mut column, mut on, mut off) = (None, None, None);
    for FreeEntry { name, value, position: _ } in entries {
        let target = match name.as_str() {
            "column" => &mut column,
            "true" => &mut on,
            "false" => &mut off,
            unknown => return Err(format!("{unknown} is not a key of it, which has column, true and false")),
        };
        match value {
            DeValue::String(text) if text.contains('\0') => return Err(format!("{name} must have no NUL in it")),
            DeValue::String(text) => *target = Some(text.into_owned()),
            other => return Err(format!("{name} must be a text in quotes, not {}", kind_of(&other))),
        }
    }
    match (column, on, off) {
        (Some(_), Some(on), Some(off)) if on == off => Err("true and false must be different texts".to_owned()),
        (Some(column), Some(on), Some(off)) => Ok((column, Some(StateLabels { on, off }))),
        (Some(column), None, None) => Ok((column, None)),
        (None, ..) => Err("needs a column".to_owned()),
        (Some(_), ..) => Err("needs both true and false, or neither for a column of booleans or numbers".to_owned()),
    }
}

/// A table's name, perhaps behind that of its schema: `accounts`, `app.accounts`, `app."user accounts"`.
fn table_name(text: &str) -> Result<(Option<String>, String), String> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_part(quoted).ok_or("has a quotation mark that is never closed")?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        parts.push(identifier(&part)?);
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None if after.is_empty() => break,
            None => return Err("has something behind a quotation mark; write schema.\"name\"".to_owned()),
        }
    }
    match <[String; 2]>::try_from(parts) {
        Ok([schema, name]) => Ok((Some(schema), name)),
        Err(mut parts) if parts.len() == 1 => Ok((None, parts.remove(0))),
        Err(_) => Err("must be a name, or schema.name; a name with a dot in it stands in quotation marks".to_owned()),
    }
}

/// What stands in quotation marks, two of which mean one; and what follows.
fn quoted_part(text: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        part.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                part.push('"');
                rest = more;
            }
            None => return Some((part, after)),
        }
    }
}

/// A name that a database can have: letter case counts.
fn identifier(text: &str) -> Result<String, String> {
    // PostgreSQL cuts a longer one.
    const LONGEST: usize = 63;
    match text {
        "" => Err("must not be empty".to_owned()),
        _ if text.contains('\0') => Err("must have no NUL in it".to_owned()),
        _ if text.len() > LONGEST => Err(format!("must be at most {LONGEST} bytes long")),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_named_with_its_schema_and_with_any_letters() {
        for (text, schema, name) in [
            ("accounts", None, "accounts"),
            ("app.accounts", Some("app"), "accounts"),
            ("App.Accounts", Some("App"), "Accounts"),
            ("app.\"user.accounts\"", Some("app"), "user.accounts"),
            ("\"a \"\"b\"\"\".c", Some("a \"b\""), "c"),
            ("user accounts; --", None, "user accounts; --"),
        ] {
            assert_eq!(table_name(text), Ok((schema.map(str::to_owned), name.to_owned())), "{text}");
        }
        for (wrong, state_labels) in [
            ("", "empty"),
            ("app.", "empty"),
            (".accounts", "empty"),
            ("db.app.accounts", "schema.name"),
            ("\"accounts", "never closed"),
            ("\"app\"accounts", "behind a quotation mark"),
            ("a\0b", "NUL"),
            (&"x".repeat(64), "63 bytes"),
        ] {
            let told = table_name(wrong).unwrap_err();
            assert!(told.contains(state_labels), "{wrong:?}: {told}");
        }
    }
}
