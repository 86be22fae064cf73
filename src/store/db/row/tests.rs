//! Rows as text, for tests of the store.

use sqlx::{Column as _, TypeInfo as _};

use super::*;
use crate::store::db::sqlite::time_text;

impl SqlRow {
    /// Every column as text, as SQLite stores it: booleans as 0 and 1, JSON without spaces and with sorted keys.
    pub(crate) fn texts(&self) -> Vec<Option<String>> {
        let texts: Vec<Option<String>> = match self {
            Self::Sqlite(row) => (0..row.len()).map(|index| row.try_get_unchecked(index).unwrap()).collect(),
            Self::Postgres(row) => (0..row.len()).map(|index| postgres_text(row, index)).collect(),
        };
        texts.into_iter().map(|text| text.map(normalized_json)).collect()
    }
}

fn postgres_text(row: &PgRow, index: usize) -> Option<String> {
    match row.column(index).type_info().name() {
        "BOOL" => row.try_get::<Option<bool>, _>(index).unwrap().map(|value| u8::from(value).to_string()),
        "INT8" | "INT4" => row.try_get_unchecked::<Option<i64>, _>(index).unwrap().map(|number| number.to_string()),
        "TIMESTAMPTZ" => {
            let at = row.try_get_unchecked::<Option<Timestamptz>, _>(index).unwrap();
            at.map(|Timestamptz(at)| time_text(at))
        }
        "JSONB" => row.try_get_unchecked::<Option<Jsonb<'_>>, _>(index).unwrap().map(|Jsonb(text)| text.to_owned()),
        _ => row.try_get(index).unwrap(),
    }
}

fn normalized_json(text: String) -> String {
    let json = text.starts_with(['[', '{']).then(|| serde_json::from_str::<serde_json::Value>(&text).ok()).flatten();
    json.map_or(text, |json| json.to_string())
}
