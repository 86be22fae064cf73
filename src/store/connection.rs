//! One connection, and what comes back over it, whichever database it is to.
//!
//! The only place where the two databases are told apart while statements run. An enum, not code generic over
//! `sqlx::Database`, whose bounds would have to stand at every function of this module; and not sqlx's `Any`, which
//! knows neither times nor JSON.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{
    AssertSqlSafe, ColumnIndex, Decode, Either, Executor as _, PgConnection, Postgres, Row as _, Sqlite,
    SqliteConnection, Type,
};
use uuid::Uuid;

use super::sql::{self, Statement};
use super::value::{Document, Moment};
use super::{StoreError, postgres, sqlite};

/// A connection to a learner database.
#[derive(Debug)]
pub(super) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(Session),
}

/// A connection to a server.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: PgConnection,
    /// How long the server may be silent: the limits it was given hold only while it is alive.
    pub(super) patience: Duration,
    /// Which database on which server, in words.
    pub(super) name: String,
    /// Whether it is gone; then nothing waits for it any more.
    lost: bool,
}

impl Session {
    pub(super) fn new(connection: PgConnection, patience: Duration, name: String) -> Self {
        Self { connection, patience, name, lost: false }
    }
}

/// What kind of database it is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Connection {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement; answers how many rows it wrote.
    pub(super) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, sqlx::Error> {
        self.run(statement, |_| Ok(())).await
    }

    /// The rows a statement answers.
    pub(super) async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<Record>, sqlx::Error> {
        let mut rows = Vec::new();
        self.run(statement, |row| {
            rows.push(row);
            Ok::<_, sqlx::Error>(())
        })
        .await?;
        Ok(rows)
    }

    /// The row a statement answers, if it does.
    pub(super) async fn optional_row(&mut self, statement: Statement<'_>) -> Result<Option<Record>, sqlx::Error> {
        Ok(self.rows(statement).await?.into_iter().next())
    }

    /// The row a statement answers.
    pub(super) async fn row(&mut self, statement: Statement<'_>) -> Result<Record, sqlx::Error> {
        self.optional_row(statement).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Runs a statement and hands over each row as it comes; answers how many rows it wrote.
    pub(super) async fn run<E: From<sqlx::Error>>(
        &mut self,
        statement: Statement<'_>,
        mut each: impl FnMut(Record) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut written = 0;
        match self {
            Self::Sqlite(connection) => {
                let (text, arguments) = sql::sqlite::write(statement)?;
                let mut answers = connection.fetch_many(sqlx::query_with(AssertSqlSafe(text), arguments));
                while let Some(answer) = answers.try_next().await? {
                    match answer {
                        Either::Left(done) => written += done.rows_affected(),
                        Either::Right(row) => each(Record::Sqlite(row))?,
                    }
                }
            }
            Self::Postgres(Session { connection, patience, lost, name: _ }) => {
                let (text, arguments) = sql::postgres::write(statement)?;
                let mut answers = connection.fetch_many(sqlx::query_with(AssertSqlSafe(text), arguments));
                while let Some(answer) = unless(lost, within(*patience, answers.try_next())).await? {
                    match answer {
                        Either::Left(done) => written += done.rows_affected(),
                        Either::Right(row) => each(Record::Postgres(row))?,
                    }
                }
            }
        }
        Ok(written)
    }

    /// Runs statements without values, one after the other.
    pub(super) async fn script(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let script = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(connection) => script.execute(connection).await.map(drop),
            Self::Postgres(Session { connection, patience, lost, name: _ }) => {
                unless(lost, within(*patience, script.execute(connection))).await.map(drop)
            }
        }
    }

    /// Cuts `rows` into pieces of as many as one statement takes.
    pub(super) fn pieces<'r, T>(&self, rows: &'r [T]) -> impl Iterator<Item = &'r [T]> + use<'r, T> {
        let length = match self {
            Self::Sqlite(_) => sql::sqlite::rows,
            Self::Postgres(_) => sql::postgres::rows,
        };
        sql::pieces(rows, length)
    }

    /// Cuts `values` into pieces of as many as one list takes.
    pub(super) fn lists<'v, T>(&self, values: &'v [T]) -> impl Iterator<Item = &'v [T]> + use<'v, T> {
        values.chunks(match self {
            Self::Sqlite(_) => sql::sqlite::LIST,
            Self::Postgres(_) => sql::postgres::MANY,
        })
    }

    /// `column` with ASCII letter case ignored, to be compared with what is in lower case.
    ///
    /// In SQLite our own columns are declared so; a learners table made by somebody else may not be. PostgreSQL folds
    /// nothing but ASCII in the collation of C.
    pub(super) fn folded(&self, column: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("{column} COLLATE NOCASE"),
            Self::Postgres(_) => format!(r#"lower({column} COLLATE "C")"#),
        }
    }

    /// Ends the connection.
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection) => sqlx::Connection::close(connection).await,
            Self::Postgres(Session { connection, patience, mut lost, name: _ }) => {
                unless(&mut lost, within(patience, sqlx::Connection::close(connection))).await
            }
        }
    }
}

/// What a server answers in time.
pub(super) async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| {
        let silence = format!("the server has not answered for {} s", patience.as_secs());
        Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, silence)))
    })
}

/// Asks nothing of a connection that is lost, and notices when it is.
async fn unless<T>(lost: &mut bool, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    if *lost {
        return Err(sqlx::Error::Io(std::io::ErrorKind::NotConnected.into()));
    }
    let answer = answer.await;
    *lost = answer.as_ref().is_err_and(postgres::is_loss);
    answer
}

/// A row that came back.
#[derive(Debug)]
pub(super) enum Record {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Record {
    /// The value of a column.
    pub(super) fn get<'r, T, I>(&'r self, index: I) -> Result<T, sqlx::Error>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(index),
            Self::Postgres(row) => row.try_get(index),
        }
    }

    /// The value of a column, whatever type the column has: SQLite turns text and numbers into each other, and
    /// PostgreSQL has several kinds of each.
    pub(super) fn get_unchecked<'r, T, I>(&'r self, index: I) -> Result<T, sqlx::Error>
    where
        T: Decode<'r, Sqlite> + Decode<'r, Postgres>,
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        match self {
            Self::Sqlite(row) => row.try_get_unchecked(index),
            Self::Postgres(row) => row.try_get_unchecked(index),
        }
    }

    /// The whole number in a column of whatever size.
    pub(super) fn number(&self, index: usize) -> Result<Option<i64>, sqlx::Error> {
        self.get_unchecked(index)
    }

    /// The UUID in a column: SQLite keeps it as text.
    pub(super) fn uuid(&self, index: usize, column: &'static str) -> Result<Option<Uuid>, StoreError> {
        match self {
            Self::Sqlite(row) => row
                .try_get_unchecked::<Option<&str>, _>(index)?
                .map(|text| text.parse().map_err(|_| StoreError::Unreadable { column }))
                .transpose(),
            Self::Postgres(row) => Ok(row.try_get(index)?),
        }
    }

    /// The time in a column.
    pub(super) fn time<I>(&self, index: I, column: &'static str) -> Result<Timestamp, StoreError>
    where
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        self.optional_time(index, column)?.ok_or(StoreError::Unreadable { column })
    }

    /// The time in a column that may be null.
    pub(super) fn optional_time<I>(&self, index: I, column: &'static str) -> Result<Option<Timestamp>, StoreError>
    where
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        match self {
            Self::Sqlite(row) => {
                row.try_get::<Option<&str>, _>(index)?.map(|text| sqlite::time(text, column)).transpose()
            }
            Self::Postgres(row) => {
                let at = row.try_get_unchecked::<Option<Moment>, _>(index);
                Ok(at.map_err(|_| StoreError::Unreadable { column })?.map(|Moment(at)| at))
            }
        }
    }

    /// The document in a column of JSON.
    pub(super) fn json<I>(&self, index: I) -> Result<&str, sqlx::Error>
    where
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        match self {
            Self::Sqlite(row) => row.try_get_unchecked(index),
            Self::Postgres(row) => row.try_get_unchecked(index).map(|Document(text)| text),
        }
    }
}
