//! The learners table that a training platform has already: what it is called, and which of its columns is which.

use std::collections::BTreeMap;

use super::Attribute;

/// A column of the design's learners table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// The key: a number or a UUID, by the table's own default.
    Id,
    /// The Entra object id.
    ExternalId,
    /// A mapped attribute.
    Attribute(Attribute),
    /// When the row was made.
    CreatedAt,
    /// When it was changed last.
    UpdatedAt,
    /// When it was switched off, while it is.
    DeactivatedAt,
}

impl Column {
    /// Those that no attribute is mapped to.
    pub const UNMAPPED: [Self; 5] = [Self::Id, Self::ExternalId, Self::CreatedAt, Self::UpdatedAt, Self::DeactivatedAt];

    /// Every column, in no particular order.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::UNMAPPED.into_iter().chain(Attribute::ALL.iter().copied().map(Self::Attribute))
    }

    /// What the design calls it.
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

    /// Whether a table of somebody else may go without it: it is used where the configuration names it,
    /// or says nothing of any column.
    pub fn is_optional(self) -> bool {
        matches!(self, Self::ExternalId | Self::CreatedAt | Self::UpdatedAt | Self::DeactivatedAt)
    }
}

/// A learners table that somebody else made. Its other columns are never touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its schema; without one, where the database finds the name.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// The columns that are called otherwise than in the design.
    pub columns: BTreeMap<Column, String>,
    /// The attributes that are mapped: those that the table needs a column for.
    pub mapped: Vec<Attribute>,
    /// The words for a learner who is switched on and off; without them the column has booleans or numbers.
    pub state_labels: Option<StateLabels>,
    /// What goes into other columns of a new row, by the name of the column.
    pub constants: BTreeMap<String, ColumnConstant>,
    /// Where each key of it stands in the configuration, such as `learner-sync.toml:12:9`.
    pub positions: BTreeMap<String, String>,
}

/// What stands in a text column for a learner who is switched on or off. Whoever has another word is taken for switched
/// off by somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateLabels {
    /// Switched on.
    pub on: String,
    /// Switched off.
    pub off: String,
}

/// A value from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnConstant {
    /// A text, a date or whatever else the column reads out of one.
    Text(String),
    /// A whole number.
    Number(i64),
    /// True or false.
    Boolean(bool),
}

impl Table {
    /// What the table calls `column`.
    pub fn column(&self, column: Column) -> &str {
        self.columns.get(&column).map_or(column.name(), String::as_str)
    }

    /// The key of the configuration that says which `column` it is.
    pub fn key(&self, column: Column) -> String {
        format!("learners.columns.{}", column.name())
    }

    /// Where `key` stands, or else the key that names the table.
    pub fn position_of(&self, key: &str) -> Option<&str> {
        let position_of = self.positions.get(key).or_else(|| self.positions.get("learners.table"));
        position_of.or_else(|| self.positions.get("learners.columns")).map(String::as_str)
    }
}
