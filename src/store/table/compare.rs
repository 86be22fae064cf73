//! Whether a table is what the configuration says: every column that is missing, of the wrong type, too short, not unique.

use std::collections::BTreeMap;
use std::fmt;

use super::{Found, FoundColumn, TableFault, TypeClass, expression, fault, plain, shown, sql};
use crate::model::{Attribute, AttributeKind, Column, StateLabels, Table};
use crate::nearest::{did_you_mean, nearest};
use crate::store::connection::Dialect;
use crate::store::layout::{self, BooleanEncoding, ColumnBinding, Key, Layout, quoted};

/// The layout, when all columns are there, and everything that is wrong.
pub(super) fn compare(table: &Table, found: &Found) -> (Option<Layout>, Vec<TableFault>) {
    if let Some(other) = found.other {
        let message = format!("{} is a {other}; learners are kept in a table", shown(table));
        return (None, vec![fault(table, "learners.table".to_owned(), message, None)]);
    }
    let mut comparison = Comparison { table, found, faults: Vec::new() };
    let mut cells = BTreeMap::new();
    let mut truths = BTreeMap::new();
    for column in Column::all() {
        if let Some((cell, truth)) = comparison.column(column) {
            cells.insert(column, cell);
            if let (Column::Attribute(attribute), Some(truth)) = (column, truth) {
                truths.insert(attribute, truth);
            }
        }
    }
    comparison.uniqueness(&cells);
    let constants = comparison.constants(&cells);
    let faults = comparison.faults;
    let key = match found.columns.get(table.column(Column::Id)).map(|column| &column.family) {
        Some(TypeClass::Number) => Key::Number,
        Some(TypeClass::Uuid | TypeClass::Text) => Key::Uuid,
        _ => return (None, faults),
    };
    (Some(Layout::new((sql(table), table.name.clone()), key, cells, truths, constants)), faults)
}

struct Comparison<'c> {
    table: &'c Table,
    found: &'c Found,
    faults: Vec<TableFault>,
}

impl Comparison<'_> {
    fn refuse(&mut self, key: String, message: String, statement: Option<String>) {
        self.faults.push(fault(self.table, key, message, statement));
    }

    fn alter(&self, change: impl fmt::Display) -> Option<String> {
        Some(format!("ALTER TABLE {} {change}", sql(self.table)))
    }

    /// Whether the table has a column that it may go without, where nothing is said of any: then it is one of our form.
    fn is_of_our_form(&self, column: Column) -> bool {
        let name = column.name();
        let fits = |there: &FoundColumn| !there.generated && takes(column, there, self.found.dialect);
        self.table.columns.is_empty()
            && !self.table.constants.contains_key(name)
            && self.found.columns.get(name).is_some_and(fits)
    }

    /// A column that nothing else is said of, with nearly this name.
    fn meant(&self, name: &str) -> Option<&str> {
        let used = |other: &str| self.table.columns.values().any(|column| column == other);
        nearest(name, self.found.columns.keys().map(String::as_str).filter(|other| !used(other)))
    }

    fn no_column(&self, name: &str) -> String {
        format!("the table {} has no column {name:?}{}", shown(self.table), did_you_mean(self.meant(name)))
    }

    /// Refuses a column that has to be of another type.
    fn refuse_type(&mut self, key: String, message: String, name: &str, type_name: &str) {
        let statement = self.alter_type(name, type_name);
        let message = match statement {
            Some(_) => message,
            None => format!("{message}; SQLite changes no column: have the table made anew"),
        };
        self.refuse(key, message, statement);
    }

    /// SQLite has no statement for that.
    fn alter_type(&self, name: &str, type_name: &str) -> Option<String> {
        match self.found.dialect {
            Dialect::Postgres => self.alter(format_args!("ALTER COLUMN {} TYPE {type_name}", quoted(name))),
            Dialect::Sqlite => None,
        }
    }

    /// What is behind a column that is used.
    fn column(&mut self, column: Column) -> Option<(ColumnBinding, Option<BooleanEncoding>)> {
        let name = self.table.column(column);
        let named = self.table.columns.contains_key(&column);
        let needed = match column {
            Column::Attribute(attribute) => named || self.table.mapped.contains(&attribute),
            ours => named || !ours.is_optional() || self.is_of_our_form(ours),
        };
        let found = self.found;
        let key = self.table.key(column);
        // Whatever nobody has named is the platform's own, be it called as one of ours.
        if !needed {
            return None;
        }
        let Some(there) = found.columns.get(name) else {
            let meant = self.meant(name);
            let statement = match (column, meant) {
                (Column::Id, _) | (_, Some(_)) => None,
                _ => self.alter(format_args!("ADD COLUMN {} {}", quoted(name), wanted(column, found.dialect))),
            };
            self.refuse(key, self.no_column(name), statement);
            return None;
        };
        if there.generated {
            self.refuse(key, format!("the column {name:?} is computed by the database"), None);
            return None;
        }
        self.length(column, &key, there);
        match column {
            Column::Id => {
                if !there.default {
                    let message = format!("the column {name:?} has no default, so that no row can be made");
                    self.refuse(key.clone(), message, None);
                }
                if takes(column, there, found.dialect) {
                    return Some((ColumnBinding::quoted(name), None));
                }
                let message =
                    format!("the column {name:?} is of type {}, not a whole number or a UUID", there.type_name);
                self.refuse(key, message, None);
                None
            }
            Column::Attribute(attribute) if attribute.kind() == AttributeKind::Boolean => {
                self.truth(attribute, &key, there)
            }
            _ => {
                if !takes(column, there, found.dialect) {
                    let wanted = wanted(column, found.dialect);
                    let message = format!("the column {name:?} is of type {}, not {wanted}", there.type_name);
                    match column {
                        // Whatever it is, it can be written as text.
                        Column::Attribute(_) => self.refuse_type(key, message, name, wanted),
                        _ => self.refuse(key, message, None),
                    }
                }
                let cast = (there.family == TypeClass::Uuid).then(|| "uuid".to_owned());
                Some((ColumnBinding { cast, ..ColumnBinding::quoted(name) }, None))
            }
        }
    }

    /// A column of true and false.
    fn truth(
        &mut self,
        attribute: Attribute,
        key: &str,
        there: &FoundColumn,
    ) -> Option<(ColumnBinding, Option<BooleanEncoding>)> {
        let name = self.table.column(Column::Attribute(attribute));
        let words = self.table.state_labels.as_ref().filter(|_| attribute == Attribute::Active);
        let type_name = &there.type_name;
        let mut cast = None;
        let truth = match (words, &there.family) {
            (None, TypeClass::Boolean) => BooleanEncoding::Boolean,
            (None, TypeClass::Number | TypeClass::Any) => BooleanEncoding::Number,
            (None, _) => {
                let form = format!("{{ column = {name:?}, true = \"…\", false = \"…\" }}");
                let message = format!("the column {name:?} is of type {type_name}, not boolean or a whole number");
                if attribute == Attribute::Active && matches!(there.family, TypeClass::Text | TypeClass::Enum(_)) {
                    let message = format!("{message}; for a column of words write active = {form}");
                    self.refuse(key.to_owned(), message, None);
                } else if there.family == TypeClass::Text {
                    let wanted = format!("boolean USING {}::boolean", quoted(name));
                    self.refuse_type(key.to_owned(), message, name, &wanted);
                } else {
                    self.refuse(key.to_owned(), message, None);
                }
                return None;
            }
            (Some(words), TypeClass::Text | TypeClass::Any) => BooleanEncoding::StateLabels(words.clone()),
            (Some(words), TypeClass::Enum(labels)) => {
                let StateLabels { on, off } = words;
                for word in [on, off].into_iter().filter(|word| !labels.contains(*word)) {
                    let meant = nearest(word, labels.iter().map(String::as_str));
                    let statement = format!("ALTER TYPE {type_name} ADD VALUE {}", layout::literal(word));
                    let statement = Some(statement).filter(|_| meant.is_none());
                    let message = format!(
                        "the type {type_name} of the column {name:?} has no value {word:?}{}",
                        did_you_mean(meant)
                    );
                    self.refuse(key.to_owned(), message, statement);
                }
                cast = Some(type_name.clone());
                BooleanEncoding::StateLabels(words.clone())
            }
            (Some(_), _) => {
                let message = format!("the column {name:?} is of type {type_name}, which takes no words");
                self.refuse(key.to_owned(), message, None);
                return None;
            }
        };
        Some((ColumnBinding { cast, ..ColumnBinding::quoted(name) }, Some(truth)))
    }

    fn length(&mut self, column: Column, key: &str, there: &FoundColumn) {
        let (name, least) = (self.table.column(column), least(self.table, column));
        if let Some(length) = there.length.filter(|length| *length < least) {
            let message = format!("the column {name:?} takes {length} letters, and must take {least}");
            self.refuse_type(key.to_owned(), message, name, &format!("varchar({least})"));
        }
    }

    /// Nobody's row may be somebody else's, whoever else writes to the table.
    fn uniqueness(&mut self, cells: &BTreeMap<Column, ColumnBinding>) {
        let columns = [Column::Id, Column::ExternalId].into_iter();
        for column in columns.chain(Attribute::UNIQUE.map(Column::Attribute)) {
            let name = self.table.column(column);
            let is_unique = [quoted(name), format!("lower({})", quoted(name))]
                .iter()
                .any(|expression| self.found.unique.contains(&plain(expression, self.found.dialect)));
            if !cells.contains_key(&column) || is_unique {
                continue;
            }
            let is_uuid = cells.get(&column).is_some_and(|cell| cell.cast.is_some());
            let indexed = match (column, self.found.dialect) {
                (Column::Id, _) => quoted(name),
                _ if is_uuid => quoted(name),
                (_, Dialect::Postgres) => format!("lower({} COLLATE \"C\")", quoted(name)),
                (_, Dialect::Sqlite) => format!("{} COLLATE NOCASE", quoted(name)),
            };
            let index = quoted(&format!("{}_{name}_key", self.table.name).chars().take(63).collect::<String>());
            let statement = match (self.found.dialect, &self.table.schema) {
                (Dialect::Sqlite, Some(schema)) => {
                    let table = quoted(&self.table.name);
                    format!("CREATE UNIQUE INDEX {}.{index} ON {table} ({indexed})", quoted(schema))
                }
                _ => format!("CREATE UNIQUE INDEX {index} ON {} ({indexed})", sql(self.table)),
            };
            let message =
                format!("the column {name:?} has no unique index of its own, so that two learners could share one");
            let (message, statement) = match self.found.partitioned {
                false => (message, Some(statement)),
                true => (format!("{message}; a partitioned table can have none: keep learners in a plain table"), None),
            };
            self.refuse(self.table.key(column), message, statement);
        }
    }

    /// The constants of a new row; whatever else must have a value and gets none is refused.
    fn constants(&mut self, cells: &BTreeMap<Column, ColumnBinding>) -> Vec<(String, String)> {
        let mut constants = Vec::new();
        for (name, constant) in &self.table.constants {
            let key = format!("learners.constants.{name}");
            match self.found.columns.get(name) {
                None => self.refuse(key, self.no_column(name), None),
                Some(there) if there.generated => {
                    self.refuse(key, format!("the column {name:?} is computed by the database"), None);
                }
                Some(_) => constants.push((name.clone(), expression(constant))),
            }
        }
        let named = self.table.columns.values().map(String::as_str);
        let used: Vec<&str> = cells.keys().map(|column| self.table.column(*column)).chain(named).collect();
        for (name, there) in &self.found.columns {
            let given = used.contains(&name.as_str()) || self.table.constants.contains_key(name);
            if there.required && !there.default && !there.generated && !given {
                let message = match Column::UNMAPPED.iter().find(|ours| ours.is_optional() && ours.name() == name) {
                    Some(_) => format!(
                        "the column {name:?} must have a value and has no default: write {name} = {name:?} in \
                         [learners.columns], or give it a value in [learners.constants]"
                    ),
                    None => format!(
                        "the column {name:?} must have a value and has no default: give it one in [learners.constants], or \
                         map an attribute to it"
                    ),
                };
                self.refuse("learners.table".to_owned(), message, None);
            }
        }
        constants
    }
}

/// What a column is made as.
fn wanted(column: Column, dialect: Dialect) -> &'static str {
    match (column, dialect) {
        (Column::Attribute(attribute), _) if attribute.kind() == AttributeKind::Boolean => "boolean",
        (Column::CreatedAt | Column::UpdatedAt | Column::DeactivatedAt, Dialect::Postgres) => "timestamptz",
        _ => "text",
    }
}

/// Whether what we write goes into a column without a loss.
fn takes(column: Column, there: &FoundColumn, dialect: Dialect) -> bool {
    match column {
        Column::Id => matches!(there.family, TypeClass::Number | TypeClass::Uuid),
        Column::ExternalId => matches!(there.family, TypeClass::Text | TypeClass::Uuid | TypeClass::Any),
        Column::CreatedAt | Column::UpdatedAt | Column::DeactivatedAt => {
            let text = dialect == Dialect::Sqlite && there.family == TypeClass::Text;
            text || matches!(there.family, TypeClass::Time | TypeClass::Any)
        }
        Column::Attribute(attribute) => match attribute.kind() {
            AttributeKind::Text => matches!(there.family, TypeClass::Text | TypeClass::Any),
            AttributeKind::Boolean => matches!(there.family, TypeClass::Boolean | TypeClass::Number | TypeClass::Any),
        },
    }
}

/// How many letters a column must take: what nearly everybody has, and for what tells users apart all that Entra allows.
fn least(table: &Table, column: Column) -> u32 {
    let words = |StateLabels { on, off }: &StateLabels| on.chars().count().max(off.chars().count());
    match column {
        Column::ExternalId => 36,
        Column::Attribute(Attribute::UserName | Attribute::Email) => 113,
        Column::Attribute(Attribute::Active) => {
            table.state_labels.as_ref().map_or(0, |pair| u32::try_from(words(pair)).unwrap_or(u32::MAX))
        }
        Column::Attribute(Attribute::EmployeeNumber) => 16,
        Column::Attribute(attribute) if attribute.kind() == AttributeKind::Text => 32,
        _ => 0,
    }
}
