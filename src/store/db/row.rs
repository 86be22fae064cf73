//! A row that a statement returned, and what its columns contain.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Decode, Postgres, Row as _, Sqlite, Type};
use uuid::Uuid;

use super::error::DbError;
use super::value::{Jsonb, Timestamptz};

/// A row that a statement returned.
#[derive(Debug)]
pub(crate) enum SqlRow {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl SqlRow {
    /// The value of a column.
    pub(crate) fn get<'r, T, I>(&'r self, index: I) -> Result<T, DbError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(index),
            Self::Postgres(row) => row.try_get(index),
        }
        .map_err(DbError::from_driver)
    }

    /// The value of a column of any type: SQLite converts between text and numbers, and PostgreSQL has several types of
    /// each.
    pub(crate) fn get_unchecked<'r, T, I>(&'r self, index: I) -> Result<T, DbError>
    where
        T: Decode<'r, Sqlite> + Decode<'r, Postgres>,
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        match self {
            Self::Sqlite(row) => row.try_get_unchecked(index),
            Self::Postgres(row) => row.try_get_unchecked(index),
        }
        .map_err(DbError::from_driver)
    }

    /// The UUID in a column; SQLite stores it as text.
    pub(crate) fn uuid(&self, index: usize, column: &'static str) -> Result<Option<Uuid>, DbError> {
        match self {
            Self::Sqlite(_) => {
                let text: Option<&str> = self.get_unchecked(index)?;
                text.map(|text| parse_column(text, column)).transpose()
            }
            Self::Postgres(_) => self.get(index),
        }
    }

    /// The text in a column.
    pub(crate) fn text<I>(&self, index: I, column: &'static str) -> Result<&str, DbError>
    where
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        self.get(index).map_err(|_| DbError::Unreadable { column })
    }

    /// Like [`Self::text`], for a nullable column.
    pub(crate) fn optional_text<I>(&self, index: I, column: &'static str) -> Result<Option<&str>, DbError>
    where
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        self.get(index).map_err(|_| DbError::Unreadable { column })
    }

    /// The word or id in a column.
    pub(crate) fn parsed<T: FromStr, I>(&self, index: I, column: &'static str) -> Result<T, DbError>
    where
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        parse_column(self.text(index, column)?, column)
    }

    /// The value in a column that contains exactly its canonical text: no statement finds another.
    pub(crate) fn canonical<T: FromStr + Display, I>(&self, index: I, column: &'static str) -> Result<T, DbError>
    where
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        let text = self.text(index, column)?;
        let value: T = parse_column(text, column)?;
        if value.to_string() == text { Ok(value) } else { Err(DbError::Unreadable { column }) }
    }

    /// The count in a column.
    pub(crate) fn count<I>(&self, index: I, column: &'static str) -> Result<u64, DbError>
    where
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        let number: i64 = self.get(index).map_err(|_| DbError::Unreadable { column })?;
        u64::try_from(number).map_err(|_| DbError::Unreadable { column })
    }

    /// A text of the platform's own, which may be of any type and not even UTF-8.
    pub(crate) fn foreign_text(&self, index: usize) -> Result<Option<Cow<'_, str>>, DbError> {
        Ok(self.get_unchecked::<Option<&[u8]>, _>(index)?.map(String::from_utf8_lossy))
    }

    /// The time in a column.
    pub(crate) fn time<I>(&self, index: I, column: &'static str) -> Result<Timestamp, DbError>
    where
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        self.optional_time(index, column)?.ok_or(DbError::Unreadable { column })
    }

    /// Like [`Self::time`], for a nullable column.
    pub(crate) fn optional_time<I>(&self, index: I, column: &'static str) -> Result<Option<Timestamp>, DbError>
    where
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        match self {
            Self::Sqlite(_) => {
                let text = self.optional_text(index, column)?;
                text.map(|text| parse_column(text, column)).transpose()
            }
            Self::Postgres(row) => {
                let at = row.try_get_unchecked::<Option<Timestamptz>, _>(index);
                Ok(at.map_err(|_| DbError::Unreadable { column })?.map(|Timestamptz(at)| at))
            }
        }
    }

    /// The text of a JSON column.
    pub(crate) fn json<I>(&self, index: I, column: &'static str) -> Result<&str, DbError>
    where
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        match self {
            Self::Sqlite(row) => row.try_get_unchecked(index),
            Self::Postgres(row) => row.try_get_unchecked(index).map(|Jsonb(text)| text),
        }
        .map_err(|_| DbError::Unreadable { column })
    }
}

/// Parses the text of `column`.
pub(crate) fn parse_column<T: FromStr>(text: &str, column: &'static str) -> Result<T, DbError> {
    text.parse().map_err(|_| DbError::Unreadable { column })
}

/// Parses the JSON text of `column`.
pub(crate) fn parse_json_column<T: DeserializeOwned>(text: &str, column: &'static str) -> Result<T, DbError> {
    serde_json::from_str(text).map_err(|_| DbError::Unreadable { column })
}

#[cfg(test)]
mod tests;
