//! The learners that the training platform keeps already, as the first cycle would find them: copied into a database
//! in memory that has our tables.

use std::path::Path;

use super::connection::{Connection, Dialect, Record};
use super::layout::Layout;
use super::postgres::{self, Server};
use super::sql::Statement;
use super::value::Value;
use super::{StoreError, sqlite, table};
use crate::model::{Attribute, AttributeKind, Column, Table};

/// Copies the learners of the SQLite file at `path`, which has no other table of ours, if it has any.
pub(super) async fn of_file(path: &Path, external: Option<&Table>) -> Result<(Connection, Layout), StoreError> {
    let mut source = sqlite::connect_to_read(path).await?;
    let copied = of(&mut source, external).await;
    source.close().await?;
    copied
}

/// The same from a server.
pub(super) async fn of_server(server: &Server, external: Option<&Table>) -> Result<(Connection, Layout), StoreError> {
    let mut source = postgres::connect_to_read(server).await?;
    let copied = of(&mut source, external).await;
    source.close().await?;
    copied
}

async fn of(source: &mut Connection, external: Option<&Table>) -> Result<(Connection, Layout), StoreError> {
    let layout = match external {
        Some(table) => table::look(source, table).await?,
        None => Layout::of_design(),
    };
    let ours = layout.copied();
    let mut copy = sqlite::open_in_memory(&ours).await?;
    let other_state = Layout::OTHER_STATE;
    copy.script(&format!("ALTER TABLE learners ADD COLUMN {other_state} INTEGER NOT NULL DEFAULT 0")).await?;
    if external.is_some() {
        // Two names that differ in letter case alone may both be there.
        copy.script(DROP_INDEXES).await?;
    } else if !there_is_one(source).await? {
        return Ok((copy, ours));
    }
    // Nobody asks a copy when its rows were made or changed; ours must know, and the platform may not.
    let asked = |column: &Column| !matches!(column, Column::CreatedAt | Column::UpdatedAt);
    let columns: Vec<Column> = Column::all().filter(asked).filter(|column| layout.name(*column).is_some()).collect();
    let dialect = source.dialect();
    let expressions: Vec<String> = columns.iter().map(|column| as_text(dialect, &layout, *column)).collect();
    let select = format!("SELECT {}, {} FROM {} r", expressions.join(", "), layout.other_state("r"), layout.table);
    let names: Vec<&str> = columns.iter().map(|column| column.name()).chain([other_state]).collect();
    let rows = source.rows(Statement::new(select)).await?;
    copy.script("BEGIN").await?;
    for piece in copy.pieces(&rows) {
        let mut values = Vec::with_capacity(piece.len());
        for row in piece {
            let mut all = values_of(row, &ours, &columns)?;
            all.push(Value::Boolean(row.get_unchecked(columns.len())?));
            values.push(all);
        }
        let mut insert = Statement::new(format!("INSERT INTO learners ({}) ", names.join(", ")));
        insert.push_values(values, |tuple, values| {
            for value in values {
                tuple.push_bind(value);
            }
        });
        copy.execute(insert).await?;
    }
    copy.script("COMMIT").await?;
    Ok((copy, ours))
}

const DROP_INDEXES: &str = "DROP INDEX learners_external_id; DROP INDEX learners_user_name; DROP INDEX learners_email";

async fn there_is_one(source: &mut Connection) -> Result<bool, sqlx::Error> {
    let asked = match source.dialect() {
        Dialect::Sqlite => "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE lower(name) = 'learners')",
        Dialect::Postgres => "SELECT to_regclass('learners') IS NOT NULL",
    };
    source.row(Statement::new(asked)).await?.get(0)
}

/// The value of a column as text, whatever types the platform has chosen. Of times a plan asks no more than whether they
/// are there.
fn as_text(dialect: Dialect, layout: &Layout, column: Column) -> String {
    let truth = |value: &str| format!("CASE WHEN {value} THEN 'true' WHEN NOT {value} THEN 'false' END");
    let text = match column {
        Column::Attribute(Attribute::Active) => return truth(&format!("coalesce({}, false)", layout.active("r"))),
        Column::Attribute(attribute) if attribute.kind() == AttributeKind::Boolean => {
            return truth(&layout.value("r", attribute));
        }
        column => format!("r.{}", layout.name(column).unwrap_or(column.name())),
    };
    let text = match dialect {
        Dialect::Sqlite => format!("CAST({text} AS TEXT)"),
        Dialect::Postgres => format!("{text}::text"),
    };
    match column {
        // Ours must have one, and no two the same.
        Column::Attribute(Attribute::UserName) => format!("coalesce({text}, 'nameless ' || r.{})", layout.id()),
        _ => text,
    }
}

fn values_of<'r>(row: &'r Record, layout: &Layout, columns: &[Column]) -> Result<Vec<Value<'r>>, StoreError> {
    let value = |(index, column): (usize, &Column)| {
        // Bytes, because somebody may have written what is no UTF-8.
        let text = row.get_unchecked::<Option<&[u8]>, _>(index)?.map(String::from_utf8_lossy);
        Ok(match (column, text) {
            (Column::Id, Some(text)) => layout.learner(text.parse().ok()),
            (Column::Attribute(attribute), text) if attribute.kind() == AttributeKind::Boolean => {
                Value::Boolean(text.map(|text| text == "true"))
            }
            (_, text) => Value::Text(text),
        })
    };
    columns.iter().enumerate().map(value).collect()
}
