//! How the learners table is laid out: what it and its columns are called, and what stands in them.
//!
//! Every statement about learners takes its names from here. `table` makes one of a table that somebody else has made;
//! that of the design is [`Layout::of_design`].

use std::collections::BTreeMap;

use super::StoreError;
use super::connection::Record;
use super::value::Value;
use crate::model::{Attribute, AttributeKind, Column, LearnerId, StateLabels};

/// What the key of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Number,
    Uuid,
}

/// How true and false stand in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BooleanEncoding {
    Boolean,
    /// 1 and 0; any other number is true.
    Number,
    StateLabels(StateLabels),
}

/// A column in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ColumnBinding {
    /// Its name.
    pub(super) plain: String,
    /// The same, in quotes where it needs them.
    pub(super) name: String,
    /// The type of a value for it, where a text does not become one by itself.
    pub(super) cast: Option<String>,
}

impl ColumnBinding {
    fn of(plain: &str, name: String) -> Self {
        Self { plain: plain.to_owned(), name, cast: None }
    }

    pub(super) fn quoted(plain: &str) -> Self {
        Self::of(plain, quoted(plain))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The name of the table, with its schema, in quotes where it needs them.
    pub(super) table: String,
    /// The name alone.
    name: String,
    pub(super) key: Key,
    cells: BTreeMap<Column, ColumnBinding>,
    truths: BTreeMap<Attribute, BooleanEncoding>,
    /// The names of other columns of a new row, with an expression for each.
    pub(super) constants: Vec<(String, String)>,
    /// The column of a copy that says who is in a state of the platform's own.
    copied_barred: Option<&'static str>,
}

impl Layout {
    /// The table that we make when there is none.
    pub(super) fn of_design() -> Self {
        let cells = Column::all().map(|column| (column, ColumnBinding::of(column.name(), column.name().to_owned())));
        let name = "learners".to_owned();
        Self::new((name.clone(), name), Key::Number, cells.collect(), BTreeMap::new(), Vec::new())
    }

    /// `table` is its name in a statement, and its name alone.
    pub(super) fn new(
        (table, name): (String, String),
        key: Key,
        cells: BTreeMap<Column, ColumnBinding>,
        truths: BTreeMap<Attribute, BooleanEncoding>,
        constants: Vec<(String, String)>,
    ) -> Self {
        Self { table, name, key, cells, truths, constants, copied_barred: None }
    }

    /// What a cycle has to be allowed to do, with the columns for each: no others than it names in a statement, whatever
    /// else the table has a column for.
    pub(super) fn rights(&self, mapped: &[Attribute]) -> [(&'static str, Vec<String>); 3] {
        let is_named = |column: &Column| match column {
            Column::Attribute(attribute) => {
                mapped.contains(attribute) || *attribute == Attribute::Active || Attribute::UNIQUE.contains(attribute)
            }
            _ => true,
        };
        let all = |but: &[Column]| {
            let cells = self.cells.iter().filter(|(column, _)| is_named(column) && !but.contains(column));
            cells.map(|(_, cell)| cell.plain.clone()).collect::<Vec<_>>()
        };
        let mut inserted = all(&[Column::Id, Column::DeactivatedAt]);
        inserted.extend(self.constants.iter().map(|(name, _)| name.clone()));
        [
            ("SELECT", all(&[Column::CreatedAt, Column::UpdatedAt])),
            ("INSERT", inserted),
            ("UPDATE", all(&[Column::Id, Column::CreatedAt])),
        ]
    }

    /// The same columns under the design's own names: a copy of the table in our form, with one column more.
    pub(super) fn copied(&self) -> Self {
        Self { key: self.key, copied_barred: Some(Self::OTHER_STATE), ..Self::of_design() }
    }

    /// What a copy calls that column.
    pub(super) const OTHER_STATE: &str = "barred";

    pub(super) fn name_of_table(&self) -> &str {
        &self.name
    }

    /// The name of a column; none when the table goes without it.
    pub(super) fn name(&self, column: Column) -> Option<&str> {
        self.cells.get(&column).map(|cell| cell.name.as_str())
    }

    /// The name of the column of the ids, without quotes.
    pub(super) fn plain_id(&self) -> &str {
        self.cells.get(&Column::Id).map_or(Column::Id.name(), |cell| &cell.plain)
    }

    pub(super) fn id(&self) -> &str {
        self.name(Column::Id).unwrap_or(Column::Id.name())
    }

    /// The column of an attribute. The comparison at the start has seen to it that the mapped ones have one.
    pub(super) fn attribute(&self, attribute: Attribute) -> &str {
        self.name(Column::Attribute(attribute)).unwrap_or(attribute.column())
    }

    /// `value` as it can be assigned to a column.
    pub(super) fn cast_of(&self, column: Column, value: &str) -> String {
        match self.cells.get(&column).and_then(|cell| cell.cast.as_ref()) {
            Some(cast) => format!("{value}::{cast}"),
            None => value.to_owned(),
        }
    }

    /// An expression for the Entra id that a row names, as text; none when the table goes without it.
    pub(super) fn external_id(&self, alias: &str) -> Option<String> {
        let cell = self.cells.get(&Column::ExternalId)?;
        let text = if cell.cast.is_some() { "::text" } else { "" };
        Some(format!("{alias}{}{text}", cell.name))
    }

    /// An expression for the value of an attribute in the row that is called `alias`: a text, or a boolean.
    pub(super) fn value(&self, alias: &str, attribute: Attribute) -> String {
        let column = format!("{alias}.{}", self.attribute(attribute));
        match self.truths.get(&attribute) {
            None | Some(BooleanEncoding::Boolean) => column,
            Some(BooleanEncoding::Number) => format!("({column} <> 0)"),
            Some(BooleanEncoding::StateLabels(StateLabels { on, off: _ })) => format!("({column} = {})", literal(on)),
        }
    }

    /// Whether the learner in the row called `alias` is switched on. What is neither on nor off is not on.
    pub(super) fn active(&self, alias: &str) -> String {
        match self.truths.get(&Attribute::Active) {
            None => self.value(alias, Attribute::Active),
            Some(_) => format!("coalesce({}, false)", self.value(alias, Attribute::Active)),
        }
    }

    /// The links, called `l`, with the rows of their learners, called `r`.
    pub(super) fn links_with_rows(&self) -> String {
        format!(" FROM sync_links l JOIN {} r ON r.{} = l.learner_id", self.table, self.id())
    }

    /// The rows of all learners, called `r`, with their links where they have one, called `l`.
    pub(super) fn rows_with_links(&self) -> String {
        format!(" FROM {} r LEFT JOIN sync_links l ON l.learner_id = r.{}", self.table, self.id())
    }

    /// An expression that tells whether we have switched the learner off: in its row called `row`, or, when that has no
    /// column for it, in its link called `link`.
    pub(super) fn deactivated(&self, row: &str, link: &str) -> String {
        match self.name(Column::DeactivatedAt) {
            Some(column) => format!("{row}.{column} IS NOT NULL"),
            None => format!("{link}.switched_off_at IS NOT NULL"),
        }
    }

    /// Whether the platform has the learner in the row called `alias` in a state that is neither on nor off.
    pub(super) fn other_state(&self, alias: &str) -> String {
        if let Some(column) = self.copied_barred {
            return format!("{alias}.{column}");
        }
        match self.truths.get(&Attribute::Active) {
            Some(BooleanEncoding::StateLabels(StateLabels { on, off })) => {
                let column = self.attribute(Attribute::Active);
                format!("coalesce({alias}.{column} NOT IN ({}, {}), false)", literal(on), literal(off))
            }
            _ => "false".to_owned(),
        }
    }

    /// How `value` of `attribute` is stored. A value for a boolean that is none stays text, which the column refuses.
    pub(super) fn stored<'v>(&'v self, attribute: Attribute, value: Option<&'v str>) -> Value<'v> {
        let truth = match (attribute.kind(), value) {
            (AttributeKind::Boolean, None) => None,
            (AttributeKind::Boolean, Some("true")) => Some(true),
            (AttributeKind::Boolean, Some("false")) => Some(false),
            (AttributeKind::Text | AttributeKind::Boolean, value) => return value.into(),
        };
        match self.truths.get(&attribute) {
            None | Some(BooleanEncoding::Boolean) => Value::Boolean(truth),
            Some(BooleanEncoding::Number) => Value::Number(truth.map(i64::from)),
            Some(BooleanEncoding::StateLabels(StateLabels { on, off })) => {
                truth.map(|truth| if truth { on } else { off }.as_str()).into()
            }
        }
    }

    /// An id of a learner, as our own tables and theirs have it. One of the other kind is nobody's.
    pub(super) fn learner(&self, learner: Option<LearnerId>) -> Value<'static> {
        match (self.key, learner) {
            (Key::Number, Some(LearnerId::Number(number))) => Value::Number(Some(number)),
            (Key::Uuid, Some(LearnerId::Uuid(uuid))) => Value::Uuid(Some(uuid)),
            (Key::Number, _) => Value::Number(None),
            (Key::Uuid, _) => Value::Uuid(None),
        }
    }

    /// The id of a learner in a row that came back.
    pub(super) fn learner_at(&self, row: &Record, index: usize) -> Result<LearnerId, StoreError> {
        self.optional_learner_at(row, index)?.ok_or(StoreError::Unreadable { column: "learners.id" })
    }

    /// The same, where there may be none.
    pub(super) fn optional_learner_at(&self, row: &Record, index: usize) -> Result<Option<LearnerId>, StoreError> {
        Ok(match self.key {
            Key::Number => row.number(index)?.map(LearnerId::Number),
            Key::Uuid => row.uuid(index, "learners.id")?.map(LearnerId::Uuid),
        })
    }
}

/// `name` as an identifier that means exactly that.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a literal.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
