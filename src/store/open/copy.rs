//! A copy in memory of a database without our tables, as the first cycle would find it.

use super::file::create_in_memory;
use crate::model::{Attribute, AttributeKind, Column, Table};
use crate::store::db::{Connection, DbError, Dialect, SqlRow, SqlValue, Statement};
use crate::store::error::StoreError;
use crate::store::schema::read_layout;
use crate::store::table::Layout;

/// Copies the learners of `source`, if there are any, into a new database in memory.
pub(super) async fn copy_learners(
    source: &mut Connection,
    external: Option<&Table>,
) -> Result<(Connection, Layout), StoreError> {
    let layout = read_layout(source, external).await?;
    let ours = layout.copied();
    let mut copy = create_in_memory(&ours).await?;
    let other_state = Layout::OTHER_STATE;
    copy.script(&format!("ALTER TABLE learners ADD COLUMN {other_state} INTEGER NOT NULL DEFAULT 0")).await?;
    if external.is_some() {
        // Names that differ only in letter case may both exist.
        copy.script(DROP_INDEXES).await?;
    } else if !has_learners_table(source).await? {
        return Ok((copy, ours));
    }
    // A plan does not need these times, and the external table may lack them.
    let is_copied = |column: &Column| !matches!(column, Column::CreatedAt | Column::UpdatedAt);
    let columns: Vec<Column> =
        Column::all().filter(is_copied).filter(|column| layout.name(*column).is_some()).collect();
    let dialect = source.dialect();
    let expressions: Vec<String> = columns.iter().map(|column| as_text(dialect, &layout, *column)).collect();
    let (expressions, state) = (expressions.join(", "), layout.other_state("r"));
    let unreadable = layout.unreadable_state("r", dialect);
    let select =
        format!("SELECT {expressions}, {state} OR {unreadable} FROM {} r WHERE {}", layout.table, layout.within("r"));
    let names: Vec<&str> = columns.iter().map(|column| column.name()).chain([other_state]).collect();
    let rows = source.rows(Statement::new(select)).await?;
    copy.script("BEGIN").await?;
    for chunk in copy.row_chunks(&rows) {
        let mut values = Vec::with_capacity(chunk.len());
        for row in chunk {
            let mut all = values_of(row, &ours, &columns)?;
            all.push(SqlValue::Boolean(row.get_unchecked(columns.len())?));
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

async fn has_learners_table(source: &mut Connection) -> Result<bool, DbError> {
    let exists = match source.dialect() {
        Dialect::Sqlite => "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE lower(name) = 'learners')",
        Dialect::Postgres => "SELECT to_regclass('learners') IS NOT NULL",
    };
    source.row(Statement::new(exists)).await?.get(0)
}

/// An expression for a column as text, whatever its type. Of a time, a plan needs only whether there is one.
fn as_text(dialect: Dialect, layout: &Layout, column: Column) -> String {
    let boolean = |value: &str| format!("CASE WHEN {value} THEN 'true' WHEN NOT {value} THEN 'false' END");
    let text = match column {
        Column::Attribute(Attribute::Active) => return boolean(&format!("coalesce({}, false)", layout.active("r"))),
        Column::Attribute(attribute) if attribute.kind() == AttributeKind::Boolean => {
            return boolean(&layout.value("r", attribute));
        }
        column => format!("r.{}", layout.name(column).unwrap_or(column.name())),
    };
    let text = match dialect {
        Dialect::Sqlite => format!("CAST({text} AS TEXT)"),
        Dialect::Postgres => format!("{text}::text"),
    };
    match column {
        // The copy requires a unique user name.
        Column::Attribute(Attribute::UserName) => format!("coalesce({text}, 'nameless ' || r.{})", layout.id()),
        _ => text,
    }
}

fn values_of<'r>(row: &'r SqlRow, layout: &Layout, columns: &[Column]) -> Result<Vec<SqlValue<'r>>, StoreError> {
    let value = |(index, column): (usize, &Column)| {
        // Bytes, because another program may have written invalid UTF-8.
        let text = row.get_unchecked::<Option<&[u8]>, _>(index)?.map(String::from_utf8_lossy);
        Ok(match (column, text) {
            (Column::Id, Some(text)) => layout.learner_value(layout.parse_learner(&text).as_ref()),
            (Column::Attribute(attribute), text) if attribute.kind() == AttributeKind::Boolean => {
                SqlValue::Boolean(text.map(|text| text == "true"))
            }
            (_, text) => SqlValue::Text(text),
        })
    };
    columns.iter().enumerate().map(value).collect()
}
