//! The layout of the learners table: its name, its columns, and the form of their values.
//!
//! Every statement about learners takes its names from here.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::model::{
    Attribute, AttributeKind, Column, EntraId, IdGenerator, LearnerId, RowSubject, StateLabels, Table, UnreadableRow,
};
use crate::store::db::{DbError, Dialect, SqlRow, SqlValue, quote_identifier, quote_literal};

/// The type of the ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Number,
    Uuid,
    /// A text of this type.
    Text(Arc<str>),
}

/// How a column stores a boolean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BooleanEncoding {
    Boolean,
    /// 1 and 0; any other number means true.
    Number,
    StateLabels(StateLabels),
}

/// A column of the table that holds one of our columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnBinding {
    /// The name.
    pub(crate) plain: String,
    /// The name as an SQL identifier.
    pub(crate) name: String,
    /// The type to cast a text to, where PostgreSQL does not convert it implicitly.
    pub(crate) cast: Option<String>,
}

impl ColumnBinding {
    pub(crate) fn quoted(plain: &str) -> Self {
        Self { plain: plain.to_owned(), name: quote_identifier(plain), cast: None }
    }

    fn unquoted(plain: &str) -> Self {
        Self { plain: plain.to_owned(), name: plain.to_owned(), cast: None }
    }
}

/// Where the learners are: the table, its columns and the form of their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The table as an SQL identifier, with its schema.
    pub(crate) table: String,
    /// The configuration of an external table.
    pub(crate) external: Option<Table>,
    pub(crate) key: Key,
    pub(super) bindings: BTreeMap<Column, ColumnBinding>,
    pub(super) encodings: BTreeMap<Attribute, BooleanEncoding>,
    /// Other columns of a new row, with an expression for each.
    pub(crate) constants: Vec<(String, String)>,
    /// The columns that limit the table, with the expression that each equals in a learner's row.
    pub(crate) limits: Vec<(String, String)>,
    /// The column of a copy in memory that marks learners in another state.
    pub(super) other_state_column: Option<&'static str>,
}

impl Layout {
    /// The table that learner-sync creates.
    pub(crate) fn standard() -> Self {
        Self {
            table: "learners".to_owned(),
            external: None,
            key: Key::Number,
            bindings: Column::all().map(|column| (column, ColumnBinding::unquoted(column.name()))).collect(),
            encodings: BTreeMap::new(),
            constants: Vec::new(),
            limits: Vec::new(),
            other_state_column: None,
        }
    }

    /// The rights that a cycle needs, with the columns for each: only columns that its statements name.
    pub(crate) fn rights(&self, mapped: &[Attribute]) -> [(&'static str, Vec<String>); 3] {
        let is_named = |column: &Column| match column {
            Column::Attribute(attribute) => {
                mapped.contains(attribute) || *attribute == Attribute::Active || Attribute::UNIQUE.contains(attribute)
            }
            _ => true,
        };
        let all_but = |but: &[Column]| {
            let bindings = self.bindings.iter().filter(|(column, _)| is_named(column) && !but.contains(column));
            bindings.map(|(_, binding)| binding.plain.clone()).collect::<Vec<_>>()
        };
        let generated = self.generator().is_none().then_some(Column::Id);
        let not_inserted: Vec<Column> = generated.into_iter().chain([Column::DeactivatedAt]).collect();
        let mut inserted = all_but(&not_inserted);
        inserted.extend(self.constants.iter().map(|(name, _)| name.clone()));
        let mut selected = all_but(&[Column::CreatedAt, Column::UpdatedAt]);
        selected.extend(self.limits.iter().map(|(name, _)| name.clone()));
        [("SELECT", selected), ("INSERT", inserted), ("UPDATE", all_but(&[Column::Id, Column::CreatedAt]))]
    }

    /// The layout of a copy in memory: the standard table with [`Self::OTHER_STATE`] as an additional column.
    pub(crate) fn copied(&self) -> Self {
        Self { key: self.key.clone(), other_state_column: Some(Self::OTHER_STATE), ..Self::standard() }
    }

    /// The additional column of a copy in memory.
    pub(crate) const OTHER_STATE: &str = "barred";

    /// The table without its schema.
    pub(crate) fn name_of_table(&self) -> &str {
        self.external.as_ref().map_or(&self.table, |table| &table.name)
    }

    /// The name of a column; none when the table lacks it.
    pub(crate) fn name(&self, column: Column) -> Option<&str> {
        self.bindings.get(&column).map(|binding| binding.name.as_str())
    }

    /// The name of the id column, without quotes.
    pub(crate) fn plain_id(&self) -> &str {
        self.bindings.get(&Column::Id).map_or(Column::Id.name(), |binding| &binding.plain)
    }

    /// How ids of new rows are generated; none when the table has a default.
    pub(crate) fn generator(&self) -> Option<IdGenerator> {
        self.external.as_ref().and_then(|table| table.generate)
    }

    /// A generated id for a new row.
    pub(crate) fn generate_learner(&self, generator: IdGenerator, at: Timestamp) -> LearnerId {
        let random: u128 = rand::random();
        let uuid = match generator {
            IdGenerator::Uuid => uuid::Builder::from_random_bytes(random.to_be_bytes()),
            IdGenerator::Uuid7 => {
                let [bytes @ .., _, _, _, _, _, _] = random.to_be_bytes();
                uuid::Builder::from_unix_timestamp_millis(at.as_millisecond().unsigned_abs(), &bytes)
            }
        }
        .into_uuid();
        match self.key {
            Key::Uuid => LearnerId::Uuid(uuid),
            Key::Number | Key::Text(_) => LearnerId::Text(uuid.to_string().into()),
        }
    }

    pub(crate) fn id(&self) -> &str {
        self.name(Column::Id).unwrap_or(Column::Id.name())
    }

    /// The column of an attribute. Mapped attributes have one: opening the database checks that.
    pub(crate) fn attribute(&self, attribute: Attribute) -> &str {
        self.name(Column::Attribute(attribute)).unwrap_or(attribute.column())
    }

    /// `value` as an expression that can be assigned to a column.
    pub(crate) fn cast_of(&self, column: Column, value: &str) -> String {
        match self.bindings.get(&column).and_then(|binding| binding.cast.as_ref()) {
            Some(cast) => format!("{value}::{cast}"),
            None => value.to_owned(),
        }
    }

    /// An expression for the Entra id in a row, as text; none when the table lacks the column.
    pub(crate) fn external_id(&self, alias: &str) -> Option<String> {
        let binding = self.bindings.get(&Column::ExternalId)?;
        let text = if binding.cast.is_some() { "::text" } else { "" };
        Some(format!("{alias}{}{text}", binding.name))
    }

    /// An expression for the value of an attribute in the row `alias`: a text or a boolean.
    pub(crate) fn value(&self, alias: &str, attribute: Attribute) -> String {
        let column = format!("{alias}.{}", self.attribute(attribute));
        match self.encodings.get(&attribute) {
            None | Some(BooleanEncoding::Boolean) => column,
            Some(BooleanEncoding::Number) => format!("({column} <> 0)"),
            Some(BooleanEncoding::StateLabels(StateLabels { on, off: _ })) => {
                format!("({column} = {})", quote_literal(on))
            }
        }
    }

    /// An expression for whether the learner in the row `alias` is active. A learner in another state is not.
    pub(crate) fn active(&self, alias: &str) -> String {
        format!("coalesce({}, false)", self.value(alias, Attribute::Active))
    }

    /// A condition: the row `alias` carries the limiting constants. Any other row is not a learner.
    pub(crate) fn within(&self, alias: &str) -> String {
        let equals = |(name, value): &(String, String)| format!("{alias}.{} = {value}", quote_identifier(name));
        let all: Vec<String> = self.limits.iter().map(equals).collect();
        if all.is_empty() { "true".to_owned() } else { all.join(" AND ") }
    }

    /// An expression for whether the row `alias` lacks a limiting constant, or has null there.
    pub(crate) fn outside(&self, alias: &str) -> String {
        format!("NOT coalesce({}, false)", self.within(alias))
    }

    /// The links `l`, joined with the rows `r` of their learners.
    pub(crate) fn links_with_rows(&self) -> String {
        format!(" FROM sync_links l JOIN {} r ON r.{} = l.learner_id", self.table, self.id())
    }

    /// The rows `r` of all learners, joined with their links `l` where they have one.
    pub(crate) fn rows_with_links(&self) -> String {
        format!(" FROM {} r LEFT JOIN sync_links l ON l.learner_id = r.{}", self.table, self.id())
    }

    /// An expression for whether learner-sync deactivated the learner: from the row `row`, or from the link `link` when the
    /// table lacks the column.
    pub(crate) fn deactivated(&self, row: &str, link: &str) -> String {
        match self.name(Column::DeactivatedAt) {
            Some(column) => format!("{row}.{column} IS NOT NULL"),
            None => format!("{link}.switched_off_at IS NOT NULL"),
        }
    }

    /// A condition: nobody can say whether the learner in the row `alias` is active. Only SQLite stores texts in a column
    /// of numbers.
    pub(crate) fn unreadable_state(&self, alias: &str, dialect: Dialect) -> String {
        match (dialect, self.encodings.get(&Attribute::Active)) {
            _ if self.other_state_column.is_some() => "false".to_owned(),
            (Dialect::Postgres, _) | (_, Some(BooleanEncoding::StateLabels(_))) => "false".to_owned(),
            (Dialect::Sqlite, _) => {
                format!("(typeof({alias}.{}) IN ('text', 'blob'))", self.attribute(Attribute::Active))
            }
        }
    }

    /// The row of a learner with such a state. Once it is active, the next cycle deactivates it if its user has left.
    pub(crate) fn row_of_unreadable_state(&self, user: EntraId, learner: &LearnerId) -> UnreadableRow {
        let id = match learner {
            LearnerId::Number(number) => number.to_string(),
            LearnerId::Uuid(_) | LearnerId::Text(_) => quote_literal(&learner.to_string()),
        };
        let place = format!("{} = {id}", self.id());
        let repair = format!("UPDATE {} SET {} = 1 WHERE {place}", self.table, self.attribute(Attribute::Active));
        UnreadableRow { subject: RowSubject::User(Some(user)), column: "learners.active", place, repair }
    }

    /// An expression for whether the learner in the row `alias` is in another state, neither active nor inactive.
    pub(crate) fn other_state(&self, alias: &str) -> String {
        if let Some(column) = self.other_state_column {
            return format!("{alias}.{column}");
        }
        match self.encodings.get(&Attribute::Active) {
            Some(BooleanEncoding::StateLabels(StateLabels { on, off })) => {
                let column = self.attribute(Attribute::Active);
                format!("coalesce({alias}.{column} NOT IN ({}, {}), false)", quote_literal(on), quote_literal(off))
            }
            _ => "false".to_owned(),
        }
    }

    /// The column value for `value` of `attribute`. A text that is not a boolean stays text, which the column refuses.
    pub(crate) fn encode<'v>(&'v self, attribute: Attribute, value: Option<&'v str>) -> SqlValue<'v> {
        let value = match (attribute.kind(), value) {
            (AttributeKind::Boolean, None) => None,
            (AttributeKind::Boolean, Some("true")) => Some(true),
            (AttributeKind::Boolean, Some("false")) => Some(false),
            (AttributeKind::Text | AttributeKind::Boolean, value) => return value.into(),
        };
        match self.encodings.get(&attribute) {
            None | Some(BooleanEncoding::Boolean) => SqlValue::Boolean(value),
            Some(BooleanEncoding::Number) => SqlValue::Number(value.map(i64::from)),
            Some(BooleanEncoding::StateLabels(StateLabels { on, off })) => {
                value.map(|value| if value { on } else { off }.as_str()).into()
            }
        }
    }

    /// The learner id that an administrator writes, as the column has it; none if it is of another kind.
    pub(crate) fn parse_learner(&self, text: &str) -> Option<LearnerId> {
        match self.key {
            Key::Number => text.parse().ok().map(LearnerId::Number),
            Key::Uuid => Uuid::try_parse(text).ok().filter(|_| text.len() == 36).map(LearnerId::Uuid),
            Key::Text(_) => Some(LearnerId::Text(text.into())),
        }
    }

    /// The column value for a learner id. An id of another kind becomes null, which no row has.
    pub(crate) fn learner_value(&self, learner: Option<&LearnerId>) -> SqlValue<'static> {
        match (&self.key, learner) {
            (Key::Number, Some(LearnerId::Number(number))) => SqlValue::Number(Some(*number)),
            (Key::Uuid, Some(LearnerId::Uuid(uuid))) => SqlValue::Uuid(Some(*uuid)),
            (Key::Text(kind), Some(LearnerId::Text(text))) => SqlValue::TextOf(kind.clone(), Some(text.clone())),
            (Key::Number, _) => SqlValue::Number(None),
            (Key::Uuid, _) => SqlValue::Uuid(None),
            (Key::Text(kind), _) => SqlValue::TextOf(kind.clone(), None),
        }
    }

    /// The learner id in a column.
    pub(crate) fn learner_at(&self, row: &SqlRow, index: usize) -> Result<LearnerId, DbError> {
        self.optional_learner_at(row, index)?.ok_or(DbError::Unreadable { column: "learners.id" })
    }

    /// Like [`Self::learner_at`], for a nullable column.
    pub(crate) fn optional_learner_at(&self, row: &SqlRow, index: usize) -> Result<Option<LearnerId>, DbError> {
        Ok(match self.key {
            Key::Number => row.get_unchecked::<Option<i64>, _>(index)?.map(LearnerId::Number),
            Key::Uuid => row.uuid(index, "learners.id")?.map(LearnerId::Uuid),
            // A `char` column pads its values with blanks that mean nothing.
            Key::Text(ref kind) => row.get_unchecked::<Option<&str>, _>(index)?.map(|text| {
                let padded = kind.starts_with("character(");
                LearnerId::Text(if padded { text.trim_end_matches(' ') } else { text }.into())
            }),
        })
    }
}
