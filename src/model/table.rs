//! An existing learners table of a training platform: its name and its columns.

use std::collections::{BTreeMap, BTreeSet};

use super::Attribute;

/// A column of the learners table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// The key: a number, a UUID or a text.
    Id,
    /// The Entra object id.
    ExternalId,
    /// A mapped attribute.
    Attribute(Attribute),
    /// The time of the creation.
    CreatedAt,
    /// The time of the last change.
    UpdatedAt,
    /// The time of the deactivation; null while the learner is active.
    DeactivatedAt,
}

impl Column {
    /// The columns that are not attributes.
    pub const UNMAPPED: [Self; 5] = [Self::Id, Self::ExternalId, Self::CreatedAt, Self::UpdatedAt, Self::DeactivatedAt];

    /// Every column, in no particular order.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::UNMAPPED.into_iter().chain(Attribute::ALL.iter().copied().map(Self::Attribute))
    }

    /// The name in the default table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::ExternalId => "external_id",
            Self::Attribute(attribute) => attribute.column(),
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
            Self::DeactivatedAt => "deactivated_at",
        }
    }

    /// Whether an external table may lack this column. It is then used only if the configuration names it, or names no
    /// column at all.
    pub fn is_optional(self) -> bool {
        matches!(self, Self::ExternalId | Self::CreatedAt | Self::UpdatedAt | Self::DeactivatedAt)
    }
}

/// An external learners table, as configured. Columns without a name here never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The schema; `None` uses the search path of the database.
    pub schema: Option<String>,
    /// The table name.
    pub name: String,
    /// Column names that differ from the default table.
    pub columns: BTreeMap<Column, String>,
    /// The mapped attributes, each of which needs a column.
    pub mapped: Vec<Attribute>,
    /// The texts for active and inactive learners; `None` for a column of booleans or numbers.
    pub state_labels: Option<StateLabels>,
    /// How the ids of new rows are generated; `None` leaves it to the default of the table.
    pub generate: Option<IdGenerator>,
    /// Values for other columns of a new row, by column name.
    pub constants: BTreeMap<String, ColumnConstant>,
    /// The names of the constants that limit the table: rows without them are not learners.
    pub limits: BTreeSet<String>,
    /// The position of each key in the configuration, such as `learner-sync.toml:12:9`.
    pub positions: BTreeMap<String, String>,
}

super::words! {
    /// How the id of a new row is generated when the table has no default for it.
    IdGenerator {
        /// A random UUID (version 4).
        Uuid = "uuid",
        /// A UUID that sorts by time (version 7).
        Uuid7 = "uuid7",
    }
}

/// The texts for `active` in a text column. Any other text is a state of the platform and counts as inactive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateLabels {
    /// The text of an active learner.
    pub on: String,
    /// The text of an inactive learner.
    pub off: String,
}

/// A configured value for a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnConstant {
    /// A text, which the database converts to the type of the column.
    Text(String),
    /// A whole number.
    Number(i64),
    /// True or false.
    Boolean(bool),
}

impl Table {
    /// The name of `column` in this table.
    pub fn column(&self, column: Column) -> &str {
        self.columns.get(&column).map_or(column.name(), String::as_str)
    }

    /// The configuration key that names `column`.
    pub fn key(&self, column: Column) -> String {
        format!("learners.columns.{}", column.name())
    }

    /// The position of `key` in the configuration, or else of the key that names the table.
    pub fn position_of(&self, key: &str) -> Option<&str> {
        let position = [key, "learners.table", "learners.columns"].iter().find_map(|key| self.positions.get(*key));
        position.map(String::as_str)
    }
}
