//! Reads `learners.table`, `[learners.columns]` and `[learners.constants]`: an external learners table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::de::DeValue;

use super::reader::{FreeEntry, Reader, kind_of};
use crate::model::{Attribute, Column, ColumnConstant, IdGenerator, StateLabels, Table};
use crate::nearest::{did_you_mean, nearest};

const TABLE: &str = "learners.table";
const COLUMNS: &str = "learners.columns";
const CONSTANTS: &str = "learners.constants";

/// The external table, if the configuration has any of these keys. `mapped` is `None` if the mapping is invalid.
pub(super) fn read_external_table(reader: &mut Reader<'_>, path: &Path, mapped: Option<&[Attribute]>) -> Option<Table> {
    let described = [TABLE, COLUMNS, CONSTANTS].map(|key| reader.present(key));
    let (schema, name) = reader.text(TABLE, table_name).unwrap_or_else(|| (None, "learners".to_owned()));
    let mut builder = TableBuilder {
        table: Table {
            schema,
            name,
            columns: BTreeMap::new(),
            mapped: mapped.unwrap_or_default().to_vec(),
            state_labels: None,
            generate: None,
            constants: BTreeMap::new(),
            limits: BTreeSet::new(),
            positions: BTreeMap::new(),
        },
        owners: BTreeMap::new(),
    };
    let position = reader.position(TABLE).display_in(path);
    builder.table.positions.insert(TABLE.to_owned(), position);
    for entry in entries(reader, COLUMNS) {
        builder.add_column(reader, path, entry);
    }
    builder.refuse_duplicates(reader);
    for entry in entries(reader, CONSTANTS) {
        builder.add_constant(reader, path, entry);
    }
    described.contains(&true).then_some(builder.table)
}

/// The entries of a table with free keys, each of which names a column.
fn entries<'a>(reader: &mut Reader<'a>, key: &'static str) -> Vec<FreeEntry<'a>> {
    // PostgreSQL allows 1600.
    const MAX_COLUMNS: usize = 2000;
    let mut entries = reader.free_table(key).unwrap_or_default();
    if entries.len() > MAX_COLUMNS {
        reader.refuse(key, format!("has {} entries; a table has at most {MAX_COLUMNS} columns", entries.len()));
        entries.truncate(MAX_COLUMNS);
    }
    entries
}

struct TableBuilder {
    table: Table,
    /// The configuration key that uses a column, by column name.
    owners: BTreeMap<String, String>,
}

impl TableBuilder {
    fn add_column(&mut self, reader: &mut Reader<'_>, path: &Path, entry: FreeEntry<'_>) {
        let FreeEntry { name, value, position } = entry;
        let key = format!("{COLUMNS}.{name}");
        let Some(column) = Column::all().find(|column| column.name() == name) else {
            return reader.refuse_at(position, key, unknown_column(&name));
        };
        let named = match (column, value) {
            (_, DeValue::String(text)) => Ok((text.into_owned(), None)),
            (Column::Attribute(Attribute::Active), DeValue::Table(table)) => active_column(reader.entries(table)),
            (Column::Id, DeValue::Table(table)) => id_column(reader.entries(table)).map(|(text, generate)| {
                self.table.generate = generate;
                (text, None)
            }),
            (Column::Id, other) => Err(format!(
                "must be the name of a column, or {{ column = \"…\", generate = \"uuid\" }}, not {}",
                kind_of(&other)
            )),
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
            return reader.refuse_at(position, key, format!("the column {text:?} is already used by {other}"));
        }
        self.owners.insert(text.clone(), key.clone());
        self.table.positions.insert(key, position.display_in(path));
        self.table.columns.insert(column, text);
        self.table.state_labels = state_labels.or(self.table.state_labels.take());
    }

    fn add_constant(&mut self, reader: &mut Reader<'_>, path: &Path, entry: FreeEntry<'_>) {
        let FreeEntry { name, value, position } = entry;
        let key = format!("{CONSTANTS}.{name}");
        let constant = match value {
            DeValue::Table(table) => limiting_constant(reader.entries(table)),
            value => constant(value).map(|constant| (constant, false)),
        };
        let constant = constant.and_then(|constant| {
            identifier(&name)?;
            match self.used_by(&name) {
                Some(owner) => Err(format!("the column {name:?} is already used by {owner}")),
                None => Ok(constant),
            }
        });
        match constant {
            Ok((constant, limit)) => {
                self.table.positions.insert(key, position.display_in(path));
                if limit {
                    self.table.limits.insert(name.clone());
                }
                self.table.constants.insert(name, constant);
            }
            Err(message) => reader.refuse_at(position, key, message),
        }
    }

    /// The needed columns that keep their default name.
    fn default_columns(&self) -> impl Iterator<Item = Column> {
        Column::all().filter(|column| {
            let needed = match column {
                Column::Attribute(attribute) => self.table.mapped.contains(attribute),
                other => !other.is_optional(),
            };
            needed && !self.table.columns.contains_key(column)
        })
    }

    /// Refuses a configured column name that is also the default name of another needed column.
    fn refuse_duplicates(&self, reader: &mut Reader<'_>) {
        for column in self.default_columns() {
            if let Some(owner) = self.owners.get(column.name()) {
                let (name, position) = (column.name(), reader.position(owner));
                let message = format!("the column {name:?} is already used by {name}; set {COLUMNS}.{name} as well");
                reader.refuse_at(position, owner.clone(), message);
            }
        }
    }

    /// The current use of the column `name`.
    fn used_by(&self, name: &str) -> Option<String> {
        let by_default = || self.default_columns().map(Column::name).find(|column| *column == name).map(str::to_owned);
        self.owners.get(name).cloned().or_else(by_default)
    }
}

fn constant(value: DeValue<'_>) -> Result<ColumnConstant, String> {
    match value {
        DeValue::String(text) if text.contains('\0') => Err("must not contain NUL".to_owned()),
        DeValue::String(text) => Ok(ColumnConstant::Text(text.into_owned())),
        DeValue::Boolean(value) => Ok(ColumnConstant::Boolean(value)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(ColumnConstant::Number)
            .map_err(|_| "the number is too large".to_owned()),
        DeValue::Float(_) => Err("write a decimal number in quotes".to_owned()),
        other => Err(format!(
            "must be a text in quotes, a whole number, true or false, or {{ value = …, limit = true }}, not {}",
            kind_of(&other)
        )),
    }
}

/// A constant, and whether it limits the table.
fn limiting_constant(entries: Vec<FreeEntry<'_>>) -> Result<(ColumnConstant, bool), String> {
    let (mut found, mut limit) = (None, false);
    for FreeEntry { name, value, position: _ } in entries {
        match (name.as_str(), value) {
            ("value", DeValue::Table(_)) => {
                return Err("value must be a text, a whole number, true or false".to_owned());
            }
            ("value", value) => found = Some(constant(value).map_err(|message| format!("value: {message}"))?),
            ("limit", DeValue::Boolean(value)) => limit = value,
            ("limit", other) => return Err(format!("limit must be true or false, not {}", kind_of(&other))),
            (unknown, _) => return Err(format!("unknown key {unknown}; the keys are value and limit")),
        }
    }
    found.map(|constant| (constant, limit)).ok_or_else(|| "the key value is missing".to_owned())
}

fn unknown_column(name: &str) -> String {
    let names: Vec<_> = Column::all().map(Column::name).collect();
    let suggestion = did_you_mean(nearest(name, names.iter().copied()));
    format!("unknown column, not one of {}{suggestion}", names.join(", "))
}

/// The column of `active`, with its labels if it is a text column.
fn active_column(entries: Vec<FreeEntry<'_>>) -> Result<(String, Option<StateLabels>), String> {
    let (mut column, mut on, mut off) = (None, None, None);
    for FreeEntry { name, value, position: _ } in entries {
        let target = match name.as_str() {
            "column" => &mut column,
            "true" => &mut on,
            "false" => &mut off,
            unknown => return Err(format!("unknown key {unknown}; the keys are column, true and false")),
        };
        match value {
            DeValue::String(text) if text.contains('\0') => return Err(format!("{name} must not contain NUL")),
            DeValue::String(text) => *target = Some(text.into_owned()),
            other => return Err(format!("{name} must be a text in quotes, not {}", kind_of(&other))),
        }
    }
    match (column, on, off) {
        (Some(_), Some(on), Some(off)) if on == off => Err("true and false must be different texts".to_owned()),
        (Some(column), Some(on), Some(off)) => Ok((column, Some(StateLabels { on, off }))),
        (Some(column), None, None) => Ok((column, None)),
        (None, ..) => Err("the key column is missing".to_owned()),
        (Some(_), ..) => Err("set both true and false, or neither for a column of booleans or numbers".to_owned()),
    }
}

/// The column of the id, and how its values are generated.
fn id_column(entries: Vec<FreeEntry<'_>>) -> Result<(String, Option<IdGenerator>), String> {
    let (mut column, mut generate) = (None, None);
    for FreeEntry { name, value, position: _ } in entries {
        let DeValue::String(text) = value else {
            return Err(format!("{name} must be a text in quotes, not {}", kind_of(&value)));
        };
        match name.as_str() {
            "column" => column = Some(text.into_owned()),
            "generate" => generate = Some(text.parse().map_err(|error| format!("generate is {error}"))?),
            unknown => return Err(format!("unknown key {unknown}; the keys are column and generate")),
        }
    }
    column.map(|column| (column, generate)).ok_or_else(|| "the key column is missing".to_owned())
}

/// A table name with an optional schema: `accounts`, `app.accounts`, `app."user accounts"`.
fn table_name(text: &str) -> Result<(Option<String>, String), String> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_part(quoted).ok_or("the closing quotation mark is missing")?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        parts.push(identifier(&part)?);
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None if after.is_empty() => break,
            None => return Err("has text after a quotation mark; write schema.\"name\"".to_owned()),
        }
    }
    match <[String; 2]>::try_from(parts) {
        Ok([schema, name]) => Ok((Some(schema), name)),
        Err(mut parts) if parts.len() == 1 => Ok((None, parts.remove(0))),
        Err(_) => Err("must be a name or schema.name; write a name with a dot in quotation marks".to_owned()),
    }
}

/// The text up to the closing quotation mark, where two marks stand for one, and the rest.
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

/// A case-sensitive identifier.
fn identifier(text: &str) -> Result<String, String> {
    // PostgreSQL truncates longer identifiers.
    const MAX_LENGTH: usize = 63;
    match text {
        "" => Err("must not be empty".to_owned()),
        _ if text.contains('\0') => Err("must not contain NUL".to_owned()),
        _ if text.len() > MAX_LENGTH => Err(format!("must be at most {MAX_LENGTH} bytes long")),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_can_have_a_schema_and_quotation_marks() {
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
        for (wrong, expected) in [
            ("", "empty"),
            ("app.", "empty"),
            (".accounts", "empty"),
            ("db.app.accounts", "schema.name"),
            ("\"accounts", "closing quotation mark"),
            ("\"app\"accounts", "after a quotation mark"),
            ("a\0b", "NUL"),
            (&"x".repeat(64), "63 bytes"),
        ] {
            let message = table_name(wrong).unwrap_err();
            assert!(message.contains(expected), "{wrong:?}: {message}");
        }
    }
}
