//! Compares an external table with the configuration: every column that is missing, too short, not unique or of the wrong
//! type.

use std::collections::BTreeMap;
use std::fmt;

use super::external::{
    ExternalColumn, ExternalTable, TypeClass, constant_expression, display_name, fault, normalize_expression, sql_name,
    typed_constant,
};
use super::layout::{BooleanEncoding, ColumnBinding, Key, Layout};
use crate::model::{Attribute, AttributeKind, Column, StateLabels, Table};
use crate::nearest::{did_you_mean, nearest};
use crate::store::db::{Dialect, quote_identifier, quote_literal};
use crate::store::error::TableFault;

/// The layout, if the id is usable, and every problem.
pub(super) fn compare(table: &Table, found: &ExternalTable) -> (Option<Layout>, Vec<TableFault>) {
    if let Some(kind) = &found.other_kind {
        let message = format!("{} is a {kind}, not a table", display_name(table));
        return (None, vec![fault(table, "learners.table".to_owned(), message, None)]);
    }
    let mut comparison = Comparison { table, found, faults: Vec::new() };
    let mut bindings = BTreeMap::new();
    let mut encodings = BTreeMap::new();
    for column in Column::all() {
        if let Some((binding, encoding)) = comparison.column(column) {
            bindings.insert(column, binding);
            if let (Column::Attribute(attribute), Some(encoding)) = (column, encoding) {
                encodings.insert(attribute, encoding);
            }
        }
    }
    comparison.check_uniqueness(&bindings);
    let constants = comparison.constants(&bindings);
    let faults = comparison.faults;
    let key = match found.columns.get(table.column(Column::Id)) {
        Some(there) if !accepts(Column::Id, there, found.dialect) => return (None, faults),
        Some(ExternalColumn { type_class: TypeClass::Number, .. }) => Key::Number,
        Some(ExternalColumn { type_class: TypeClass::Uuid, .. }) => Key::Uuid,
        Some(there) => Key::Text(there.type_name.as_str().into()),
        None => return (None, faults),
    };
    let external = Some(table.clone());
    let limits = limits(table, found);
    let layout = Layout {
        table: sql_name(table),
        external,
        key,
        bindings,
        encodings,
        constants,
        limits,
        other_state_column: None,
    };
    (Some(layout), faults)
}

/// The limiting columns, each with its constant as an expression of its type.
fn limits(table: &Table, found: &ExternalTable) -> Vec<(String, String)> {
    let limit = |name: &String| {
        let expression = typed_constant(table.constants.get(name)?, found.columns.get(name)?, found.dialect);
        Some((name.clone(), expression))
    };
    table.limits.iter().filter_map(limit).collect()
}

struct Comparison<'c> {
    table: &'c Table,
    found: &'c ExternalTable,
    faults: Vec<TableFault>,
}

impl Comparison<'_> {
    fn refuse(&mut self, key: String, message: String, statement: Option<String>) {
        self.faults.push(fault(self.table, key, message, statement));
    }

    fn alter_table(&self, change: impl fmt::Display) -> Option<String> {
        Some(format!("ALTER TABLE {} {change}", sql_name(self.table)))
    }

    /// Whether the table has this optional column in our form, and the configuration names no columns at all.
    fn is_standard_column(&self, column: Column) -> bool {
        let name = column.name();
        let fits = |there: &ExternalColumn| !there.generated && accepts(column, there, self.found.dialect);
        self.table.columns.is_empty()
            && !self.table.constants.contains_key(name)
            && self.found.columns.get(name).is_some_and(fits)
    }

    /// A column with a similar name that the configuration does not use.
    fn similar_column(&self, name: &str) -> Option<&str> {
        let used = |other: &str| self.table.columns.values().any(|column| column == other);
        nearest(name, self.found.columns.keys().map(String::as_str).filter(|other| !used(other)))
    }

    fn no_column(&self, name: &str) -> String {
        format!(
            "the table {} has no column {name:?}{}",
            display_name(self.table),
            did_you_mean(self.similar_column(name))
        )
    }

    /// Refuses a column of the wrong type.
    fn refuse_type(&mut self, key: String, message: String, name: &str, type_name: &str) {
        let (message, statement) = match self.found.dialect {
            Dialect::Postgres => {
                let change = format_args!("ALTER COLUMN {} TYPE {type_name}", quote_identifier(name));
                (message, self.alter_table(change))
            }
            Dialect::Sqlite => (format!("{message}; SQLite cannot change a column: create the table again"), None),
        };
        self.refuse(key, message, statement);
    }

    /// Checks a column, and binds it if learner-sync uses it.
    fn column(&mut self, column: Column) -> Option<(ColumnBinding, Option<BooleanEncoding>)> {
        let name = self.table.column(column);
        let named = self.table.columns.contains_key(&column);
        let needed = match column {
            Column::Attribute(attribute) => named || self.table.mapped.contains(&attribute),
            ours => named || !ours.is_optional() || self.is_standard_column(ours),
        };
        let found = self.found;
        let key = self.table.key(column);
        // A column that the configuration does not name is the platform's own, even if it has the name of one of ours.
        if !needed {
            return None;
        }
        let Some(there) = found.columns.get(name) else {
            let similar = self.similar_column(name);
            let statement = match (column, similar) {
                (Column::Id, _) | (_, Some(_)) => None,
                _ => self.alter_table(format_args!(
                    "ADD COLUMN {} {}",
                    quote_identifier(name),
                    type_for(column, found.dialect)
                )),
            };
            self.refuse(key, self.no_column(name), statement);
            return None;
        };
        if there.generated {
            self.refuse(key, format!("the column {name:?} is computed by the database"), None);
            return None;
        }
        self.check_length(column, &key, there);
        match column {
            Column::Id => {
                self.check_generation(&key, there);
                if accepts(column, there, found.dialect) {
                    return Some((ColumnBinding::quoted(name), None));
                }
                let message =
                    format!("the column {name:?} is of type {}, not a whole number, a UUID or a text", there.type_name);
                self.refuse(key, message, None);
                None
            }
            Column::Attribute(attribute) if attribute.kind() == AttributeKind::Boolean => {
                self.boolean_column(attribute, &key, there)
            }
            _ => {
                if !accepts(column, there, found.dialect) {
                    let type_name = type_for(column, found.dialect);
                    let message = format!("the column {name:?} is of type {}, not {type_name}", there.type_name);
                    match column {
                        // Any type converts to text.
                        Column::Attribute(_) => self.refuse_type(key, message, name, type_name),
                        _ => self.refuse(key, message, None),
                    }
                }
                let cast = (there.type_class == TypeClass::Uuid).then(|| "uuid".to_owned());
                Some((ColumnBinding { cast, ..ColumnBinding::quoted(name) }, None))
            }
        }
    }

    /// Checks that exactly one side generates the ids, or one column would contain ids of two forms.
    fn check_generation(&mut self, key: &str, there: &ExternalColumn) {
        let name = self.table.column(Column::Id);
        let is_number = there.type_class == TypeClass::Number;
        let message = match (self.table.generate, there.has_default) {
            (None, true) => return,
            (Some(_), false) if !is_number => return,
            (None, false) if is_number => format!("the column {name:?} has no default, so no row can be created"),
            (None, false) => format!(
                "the column {name:?} has no default, so no row can be created: give it one, or write id = {{ column = \
                 {name:?}, generate = \"uuid\" }}"
            ),
            (Some(_), true) => {
                format!("the column {name:?} has a default, so the database generates the ids: remove generate")
            }
            (Some(generator), false) => format!("generate = \"{generator}\" does not fit a column of numbers"),
        };
        self.refuse(key.to_owned(), message, None);
    }

    /// Checks a boolean column.
    fn boolean_column(
        &mut self,
        attribute: Attribute,
        key: &str,
        there: &ExternalColumn,
    ) -> Option<(ColumnBinding, Option<BooleanEncoding>)> {
        let name = self.table.column(Column::Attribute(attribute));
        let words = self.table.state_labels.as_ref().filter(|_| attribute == Attribute::Active);
        let type_name = &there.type_name;
        let mut cast = None;
        let encoding = match (words, &there.type_class) {
            (None, TypeClass::Boolean) => BooleanEncoding::Boolean,
            (None, TypeClass::Number | TypeClass::Any) => BooleanEncoding::Number,
            (None, _) => {
                let form = format!("{{ column = {name:?}, true = \"…\", false = \"…\" }}");
                let message = format!("the column {name:?} is of type {type_name}, not boolean or a whole number");
                if attribute == Attribute::Active && matches!(there.type_class, TypeClass::Text | TypeClass::Enum(_)) {
                    let message = format!("{message}; for a text column write active = {form}");
                    self.refuse(key.to_owned(), message, None);
                } else if there.type_class == TypeClass::Text {
                    let type_name = format!("boolean USING {}::boolean", quote_identifier(name));
                    self.refuse_type(key.to_owned(), message, name, &type_name);
                } else {
                    self.refuse(key.to_owned(), message, None);
                }
                return None;
            }
            (Some(words), TypeClass::Text | TypeClass::Any) => BooleanEncoding::StateLabels(words.clone()),
            (Some(words), TypeClass::Enum(labels)) => {
                let StateLabels { on, off } = words;
                for word in [on, off].into_iter().filter(|word| !labels.contains(*word)) {
                    let similar = nearest(word, labels.iter().map(String::as_str));
                    let statement = format!("ALTER TYPE {type_name} ADD VALUE {}", quote_literal(word));
                    let statement = Some(statement).filter(|_| similar.is_none());
                    let message = format!(
                        "the type {type_name} of the column {name:?} has no value {word:?}{}",
                        did_you_mean(similar)
                    );
                    self.refuse(key.to_owned(), message, statement);
                }
                cast = Some(type_name.clone());
                BooleanEncoding::StateLabels(words.clone())
            }
            (Some(_), _) => {
                let message = format!("the column {name:?} is of type {type_name}, which cannot hold state labels");
                self.refuse(key.to_owned(), message, None);
                return None;
            }
        };
        Some((ColumnBinding { cast, ..ColumnBinding::quoted(name) }, Some(encoding)))
    }

    fn check_length(&mut self, column: Column, key: &str, there: &ExternalColumn) {
        let (name, minimum) = (self.table.column(column), minimum_length(self.table, column));
        if let Some(length) = there.length.filter(|length| *length < minimum) {
            let message = format!("the column {name:?} holds {length} characters, but needs {minimum}");
            self.refuse_type(key.to_owned(), message, name, &format!("varchar({minimum})"));
        }
    }

    /// Ids and identifying values must be unique even if another program writes to the table.
    fn check_uniqueness(&mut self, bindings: &BTreeMap<Column, ColumnBinding>) {
        let columns = [Column::Id, Column::ExternalId].into_iter();
        for column in columns.chain(Attribute::UNIQUE.map(Column::Attribute)) {
            let name = self.table.column(column);
            let is_unique = [quote_identifier(name), format!("lower({})", quote_identifier(name))]
                .map(|expression| normalize_expression(&expression, self.found.dialect))
                .iter()
                .any(|expression| {
                    let alone = self.found.unique.contains(expression);
                    alone || (column != Column::Id && self.found.unique_within_limits.contains(expression))
                });
            if !bindings.contains_key(&column) || is_unique {
                continue;
            }
            let is_uuid = bindings.get(&column).is_some_and(|binding| binding.cast.is_some());
            let indexed = match (column, self.found.dialect) {
                (Column::Id, _) => quote_identifier(name),
                _ if is_uuid => quote_identifier(name),
                (_, Dialect::Postgres) => format!("lower({} COLLATE \"C\")", quote_identifier(name)),
                (_, Dialect::Sqlite) => format!("{} COLLATE NOCASE", quote_identifier(name)),
            };
            let limits = self.table.limits.iter().filter(|_| column != Column::Id);
            let indexed = limits.map(|name| quote_identifier(name)).chain([indexed]).collect::<Vec<_>>().join(", ");
            let index =
                quote_identifier(&format!("{}_{name}_key", self.table.name).chars().take(63).collect::<String>());
            let statement = match (self.found.dialect, &self.table.schema) {
                (Dialect::Sqlite, Some(schema)) => {
                    let table = quote_identifier(&self.table.name);
                    format!("CREATE UNIQUE INDEX {}.{index} ON {table} ({indexed})", quote_identifier(schema))
                }
                _ => format!("CREATE UNIQUE INDEX {index} ON {} ({indexed})", sql_name(self.table)),
            };
            let message = format!(
                "the column {name:?} has no unique index of its own{}, so two learners could have the same value",
                if self.table.limits.is_empty() || column == Column::Id {
                    ""
                } else {
                    ", or with the limiting constants"
                }
            );
            let (message, statement) = match self.found.partitioned {
                false => (message, Some(statement)),
                true => {
                    (format!("{message}; a partitioned table cannot have one: use a plain table for learners"), None)
                }
            };
            self.refuse(self.table.key(column), message, statement);
        }
    }

    /// The constants of a new row. Refuses other columns that require a value and get none.
    fn constants(&mut self, bindings: &BTreeMap<Column, ColumnBinding>) -> Vec<(String, String)> {
        let mut constants = Vec::new();
        for (name, constant) in &self.table.constants {
            let key = format!("learners.constants.{name}");
            match self.found.columns.get(name) {
                None => self.refuse(key, self.no_column(name), None),
                Some(there) if there.generated => {
                    self.refuse(key, format!("the column {name:?} is computed by the database"), None);
                }
                Some(_) => {
                    // SQLite ignores the letter case of names; the configuration compares them exactly.
                    let is_same = |(column, _): &(&Column, &ColumnBinding)| {
                        self.found.dialect == Dialect::Sqlite && self.table.column(**column).eq_ignore_ascii_case(name)
                    };
                    match bindings.iter().find(is_same) {
                        Some((column, _)) => {
                            let message = format!("the column {name:?} is already used by {}", self.table.key(*column));
                            self.refuse(key, message, None);
                        }
                        None => constants.push((name.clone(), constant_expression(constant))),
                    }
                }
            }
        }
        if self.found.limits_are_unique {
            let names: Vec<String> = self.table.limits.iter().map(|name| format!("{name:?}")).collect();
            let message = format!(
                "a unique index covers nothing but {}: only one row could carry the constants",
                names.join(", ")
            );
            self.refuse("learners.constants".to_owned(), message, None);
        }
        let named = self.table.columns.values().map(String::as_str);
        let used: Vec<&str> = bindings.keys().map(|column| self.table.column(*column)).chain(named).collect();
        for (name, there) in &self.found.columns {
            let given = used.contains(&name.as_str()) || self.table.constants.contains_key(name);
            if there.required && !there.has_default && !there.generated && !given {
                let message = match Column::UNMAPPED.iter().find(|ours| ours.is_optional() && ours.name() == name) {
                    Some(_) => format!(
                        "the column {name:?} requires a value and has no default: write {name} = {name:?} in \
                         [learners.columns], or give it a value in [learners.constants]"
                    ),
                    None => format!(
                        "the column {name:?} requires a value and has no default: give it one in [learners.constants], or \
                         map an attribute to it"
                    ),
                };
                self.refuse("learners.table".to_owned(), message, None);
            }
        }
        constants
    }
}

/// The type of a new column.
fn type_for(column: Column, dialect: Dialect) -> &'static str {
    match (column, dialect) {
        (Column::Attribute(attribute), _) if attribute.kind() == AttributeKind::Boolean => "boolean",
        (Column::CreatedAt | Column::UpdatedAt | Column::DeactivatedAt, Dialect::Postgres) => "timestamptz",
        _ => "text",
    }
}

/// Whether a column accepts our values without loss.
fn accepts(column: Column, there: &ExternalColumn, dialect: Dialect) -> bool {
    match column {
        Column::Id => {
            matches!(there.type_class, TypeClass::Number | TypeClass::Uuid | TypeClass::Text)
                || there.type_name.starts_with("character(")
        }
        Column::ExternalId => matches!(there.type_class, TypeClass::Text | TypeClass::Uuid | TypeClass::Any),
        Column::CreatedAt | Column::UpdatedAt | Column::DeactivatedAt => {
            let text = dialect == Dialect::Sqlite && there.type_class == TypeClass::Text;
            text || matches!(there.type_class, TypeClass::Time | TypeClass::Any)
        }
        Column::Attribute(attribute) => match attribute.kind() {
            AttributeKind::Text => matches!(there.type_class, TypeClass::Text | TypeClass::Any),
            AttributeKind::Boolean => {
                matches!(there.type_class, TypeClass::Boolean | TypeClass::Number | TypeClass::Any)
            }
        },
    }
}

/// The minimum length of a column in characters: enough for nearly every user, and for identifying values everything that
/// Entra allows.
fn minimum_length(table: &Table, column: Column) -> u32 {
    let words = |StateLabels { on, off }: &StateLabels| on.chars().count().max(off.chars().count());
    match column {
        Column::Id if table.generate.is_some() => 36,
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
