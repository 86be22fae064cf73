//! Reads rows of a PostgreSQL database in the text format of SQLite.

use jiff::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Column as _, PgConnection, Row as _, TypeInfo as _, ValueRef as _};

/// The rows of a query, each column as text, `NULL` for null; booleans as 0 and 1, times to the second, JSON without
/// spaces.
pub(crate) async fn rows(connection: &mut PgConnection, sql: &str) -> Vec<Vec<String>> {
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
    rows.iter().map(|row| (0..row.len()).map(|index| text(row, index)).collect()).collect()
}

fn text(row: &PgRow, index: usize) -> String {
    let value = row.try_get_raw(index).unwrap();
    if value.is_null() {
        return "NULL".to_owned();
    }
    match row.column(index).type_info().name() {
        "BOOL" => u8::from(row.get::<bool, _>(index)).to_string(),
        "INT2" | "INT4" | "INT8" => row.get_unchecked::<i64, _>(index).to_string(),
        "UUID" => row.get::<uuid::Uuid, _>(index).to_string(),
        "DATE" => {
            let days = i32::from_be_bytes(value.as_bytes().unwrap().try_into().unwrap());
            (jiff::civil::date(2000, 1, 1) + jiff::Span::new().days(days)).to_string()
        }
        "TIMESTAMPTZ" | "TIMESTAMP" => {
            let microseconds = i64::from_be_bytes(value.as_bytes().unwrap().try_into().unwrap());
            // PostgreSQL counts from 2000-01-01.
            if microseconds == i64::MAX {
                return "infinity".to_owned();
            }
            let at = Timestamp::from_second(microseconds / 1_000_000 + 946_684_800).unwrap();
            format!("{at:.0}")
        }
        // The first byte is a version.
        "JSONB" => serde_json::from_slice::<serde_json::Value>(&value.as_bytes().unwrap()[1..]).unwrap().to_string(),
        _ => row.get_unchecked::<String, _>(index),
    }
}
