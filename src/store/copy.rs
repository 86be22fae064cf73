//! The learners that the training platform keeps already, as the first cycle would find them: copied into a database
//! in memory that has our tables.

use std::path::Path;

use super::StoreError;
use super::connection::{Connection, Record};
use super::schema::LEARNERS;
use super::sql::Statement;
use super::value::Value;

/// Copies the learners of the SQLite file at `path`, which has no other table of ours, if it has any.
pub(super) async fn from_file(copy: &mut Connection, path: &Path) -> Result<(), StoreError> {
    // As a URI, because a plain name would be taken for one more database in memory, like the connection's own.
    let name = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    copy.execute(Statement::new("ATTACH $1 AS platform").bind(format!("file:{name}?mode=ro"))).await?;
    let there = Statement::new("SELECT EXISTS (SELECT 1 FROM platform.sqlite_master WHERE lower(name) = 'learners')");
    if copy.row(there).await?.get(0)? {
        let columns = LEARNERS.join(", ");
        let insert = format!("INSERT INTO main.learners ({columns}) SELECT {columns} FROM platform.learners");
        copy.execute(Statement::new(insert)).await?;
    }
    copy.script("DETACH platform").await?;
    Ok(())
}

/// The same from a server.
pub(super) async fn from_server(copy: &mut Connection, server: &mut Connection) -> Result<(), StoreError> {
    let there: bool = server.row(Statement::new("SELECT to_regclass('learners') IS NOT NULL")).await?.get(0)?;
    if !there {
        return Ok(());
    }
    // As text, whatever types the platform has chosen. Of times a plan asks no more than whether they are there.
    let columns: Vec<String> = LEARNERS.iter().map(|column| format!("{column}::text")).collect();
    let rows = server.rows(Statement::new(format!("SELECT {} FROM learners", columns.join(", ")))).await?;
    copy.script("BEGIN").await?;
    for piece in copy.pieces(&rows) {
        let mut values = Vec::with_capacity(piece.len());
        for row in piece {
            values.push(values_of(row)?);
        }
        let mut insert = Statement::new(format!("INSERT INTO learners ({}) ", LEARNERS.join(", ")));
        insert.push_values(values, |tuple, values| {
            for value in values {
                tuple.push_bind(value);
            }
        });
        copy.execute(insert).await?;
    }
    copy.script("COMMIT").await?;
    Ok(())
}

fn values_of(row: &Record) -> Result<Vec<Value<'_>>, StoreError> {
    let value = |(index, column): (usize, &&str)| {
        let text: Option<&str> = row.get(index)?;
        Ok(match (*column, text) {
            ("active" | "security_champion", text) => Value::Boolean(text.map(|text| text == "true")),
            (_, text) => text.into(),
        })
    };
    LEARNERS.iter().enumerate().map(value).collect()
}
