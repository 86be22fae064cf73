//! A connection to either engine.
//!
//! An enum, because code generic over `sqlx::Database` needs its bounds at every function; and not sqlx's `Any`, which
//! knows neither times nor JSON.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::future::join;
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Either, Executor as _, PgConnection, SqliteConnection};

use super::error::DbError;
use super::row::SqlRow;
use super::statement::{self, Statement, quote_literal};
use super::{postgres, sqlite};

/// A connection to a database.
#[derive(Debug)]
pub(crate) enum Connection {
    Sqlite(SqliteFile),
    Postgres(PostgresSession),
}

/// A connection to an SQLite database.
#[derive(Debug)]
pub(crate) struct SqliteFile {
    pub(super) connection: SqliteConnection,
    /// The file; none in memory.
    pub(super) path: Option<PathBuf>,
}

/// A connection to a PostgreSQL server.
#[derive(Debug)]
pub(crate) struct PostgresSession {
    pub(super) connection: PgConnection,
    /// How long the server may be silent. Its own timeouts hold only while it is alive.
    pub(super) response_timeout: Duration,
    /// `database at host:port as user`
    pub(super) name: String,
    /// Whether the connection is lost; then no statement is sent any more.
    pub(super) lost: bool,
    pub(super) encoding: postgres::Encoding,
    /// How transactions begin behind a pooler in transaction mode; `None` in a session of our own.
    pub(super) shared: Option<postgres::SharedSessions>,
}

/// Which engine a connection is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// A statement with its values, as the driver of the engine takes it.
#[derive(Clone)]
enum Rendered {
    Sqlite(String, SqliteArguments),
    Postgres(String, PgArguments),
}

impl Rendered {
    fn new(dialect: Dialect, statement: Statement<'_>) -> Result<Self, DbError> {
        let rendered = match dialect {
            Dialect::Sqlite => statement::sqlite::render(statement).map(|(text, values)| Self::Sqlite(text, values)),
            Dialect::Postgres => {
                statement::postgres::render(statement).map(|(text, values)| Self::Postgres(text, values))
            }
        };
        rendered.map_err(DbError::from_driver)
    }
}

impl Connection {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The name of a database on a server; empty for a file.
    pub(crate) fn server_name(&self) -> &str {
        match self {
            Self::Sqlite(_) => "",
            Self::Postgres(session) => &session.name,
        }
    }

    /// Runs a statement; returns the number of rows written.
    pub(crate) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, DbError> {
        self.run(statement, |_| Ok(())).await
    }

    /// The rows that a statement returns.
    pub(crate) async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<SqlRow>, DbError> {
        let mut rows = Vec::new();
        self.run(statement, |row| {
            rows.push(row);
            Ok::<_, DbError>(())
        })
        .await?;
        Ok(rows)
    }

    /// The first row that a statement returns, if any.
    pub(crate) async fn optional_row(&mut self, statement: Statement<'_>) -> Result<Option<SqlRow>, DbError> {
        Ok(self.rows(statement).await?.into_iter().next())
    }

    /// The first row that a statement returns.
    pub(crate) async fn row(&mut self, statement: Statement<'_>) -> Result<SqlRow, DbError> {
        self.optional_row(statement).await?.ok_or_else(|| DbError::from_driver(sqlx::Error::RowNotFound))
    }

    /// The name of the database's encoding, when it lacks characters.
    pub(crate) fn limited_encoding(&self) -> Option<&str> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(session) => session.encoding.limited(),
        }
    }

    /// The statement with values that the encoding of the database can store.
    async fn fit_encoding<'v>(&mut self, mut statement: Statement<'v>) -> Result<Statement<'v>, DbError> {
        let Self::Postgres(session) = self else { return Ok(statement) };
        let mut unknown = BTreeSet::new();
        statement.each_text(|text| session.encoding.add_unknown(text, &mut unknown));
        if !unknown.is_empty() {
            // Boxed, because the answer is read by a statement as well.
            Box::pin(self.ask_encoding(unknown)).await?;
        }
        if let Self::Postgres(session) = self {
            statement.fit(&session.encoding);
        }
        Ok(statement)
    }

    async fn ask_encoding(&mut self, unknown: BTreeSet<char>) -> Result<(), DbError> {
        // The answer is in the session of the question.
        let implicitly = self.begin_implicitly().await?;
        self.script(&postgres::question(&unknown)).await?;
        let row = self.row(Statement::new(postgres::ANSWER)).await?;
        if implicitly {
            self.end_implicitly(true).await?;
        }
        if let Self::Postgres(session) = self {
            session.encoding.learn(unknown, row.get(0)?);
        }
        Ok(())
    }

    /// Runs a statement and passes each row to `each` when it arrives; returns the number of rows written.
    pub(crate) async fn run<E: From<DbError>>(
        &mut self,
        statement: Statement<'_>,
        each: impl FnMut(SqlRow) -> Result<(), E>,
    ) -> Result<u64, E> {
        let statement = self.fit_encoding(statement).await?;
        self.run_in_transaction(Rendered::new(self.dialect(), statement)?, each).await
    }

    /// Runs a statement: behind a pooler in transaction mode in a transaction of its own, unless one is open.
    async fn run_in_transaction<E: From<DbError>>(
        &mut self,
        statement: Rendered,
        mut each: impl FnMut(SqlRow) -> Result<(), E>,
    ) -> Result<u64, E> {
        if !self.shares_sessions() || !self.begin_implicitly().await? {
            return self.run_rendered(statement, each).await;
        }
        let mut done = self.run_rendered(statement.clone(), &mut each).await;
        if done.is_err() && self.forgot_statement() {
            self.end_implicitly(false).await?;
            self.begin_implicitly().await?;
            done = self.run_rendered(statement, each).await;
        }
        let ended = self.end_implicitly(done.is_ok()).await;
        let written = done?;
        ended?;
        Ok(written)
    }

    /// Like [`Connection::run`] for one statement after the other. The next one is made while the database works.
    pub(crate) async fn run_each<'v, E: From<DbError>>(
        &mut self,
        mut statements: impl Iterator<Item = Statement<'v>>,
        mut each: impl FnMut(SqlRow) -> Result<(), E>,
    ) -> Result<u64, E> {
        let (dialect, mut written) = (self.dialect(), 0);
        if self.limited_encoding().is_some() {
            // Whether a statement fits may be a question to the database.
            for statement in statements {
                written += self.run(statement, &mut each).await?;
            }
            return Ok(written);
        }
        let mut render_next = || statements.next().map(|next| Rendered::new(dialect, next)).transpose();
        let mut next = render_next()?;
        while let Some(statement) = next {
            // The first to be polled sends the statement.
            let (done, rendered) = join(self.run_in_transaction(statement, &mut each), async { render_next() }).await;
            written += done?;
            next = rendered?;
        }
        Ok(written)
    }

    /// Like [`Connection::run_each`] for statements that return no rows.
    pub(crate) async fn execute_each<'v>(
        &mut self,
        statements: impl Iterator<Item = Statement<'v>>,
    ) -> Result<u64, DbError> {
        self.run_each(statements, |_| Ok(())).await
    }

    async fn run_rendered<E: From<DbError>>(
        &mut self,
        statement: Rendered,
        mut each: impl FnMut(SqlRow) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut written = 0;
        match (self, statement) {
            (Self::Sqlite(SqliteFile { connection, path }), Rendered::Sqlite(text, arguments)) => {
                let mut results = connection.fetch_many(sqlx::query_with(AssertSqlSafe(text), arguments));
                let classify = |error| sqlite::classify(path.as_deref(), error);
                while let Some(result) = results.try_next().await.map_err(classify)? {
                    match result {
                        Either::Left(done) => written += done.rows_affected(),
                        Either::Right(row) => each(SqlRow::Sqlite(row))?,
                    }
                }
            }
            (
                Self::Postgres(PostgresSession { connection, response_timeout, lost, name, encoding: _, shared }),
                Rendered::Postgres(text, arguments),
            ) => {
                // In a shared session the names of others would be met.
                let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(shared.is_none());
                let mut results = connection.fetch_many(query);
                let mut classify = |error| {
                    if let Some(shared) = shared {
                        shared.forgot_statement = postgres::is_forgotten_statement(&error);
                    }
                    postgres::classify(name, error)
                };
                while let Some(result) =
                    unless_lost(lost, within(*response_timeout, results.try_next())).await.map_err(&mut classify)?
                {
                    match result {
                        Either::Left(done) => written += done.rows_affected(),
                        Either::Right(row) => each(SqlRow::Postgres(row))?,
                    }
                }
            }
            (Self::Sqlite(_), Rendered::Postgres(..)) | (Self::Postgres(_), Rendered::Sqlite(..)) => {
                let error = "the statement was rendered for another engine";
                return Err(DbError::from_driver(sqlx::Error::InvalidArgument(error.to_owned())).into());
            }
        }
        Ok(written)
    }

    /// Runs statements without values, one after the other.
    pub(crate) async fn script(&mut self, sql: &str) -> Result<(), DbError> {
        let script = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(SqliteFile { connection, path }) => {
                script.execute(connection).await.map(drop).map_err(|error| sqlite::classify(path.as_deref(), error))
            }
            Self::Postgres(PostgresSession { connection, response_timeout, lost, name, .. }) => {
                let done = unless_lost(lost, within(*response_timeout, script.execute(connection))).await;
                done.map(drop).map_err(|error| postgres::classify(name, error))
            }
        }
    }

    /// Cuts `rows` into slices of as many as one statement takes.
    pub(crate) fn row_chunks<'r, T>(&self, rows: &'r [T]) -> impl Iterator<Item = &'r [T]> + use<'r, T> {
        let length = match self {
            Self::Sqlite(_) => statement::sqlite::next_chunk,
            Self::Postgres(_) => statement::postgres::next_chunk,
        };
        statement::chunks(rows, length)
    }

    /// Cuts `values` into slices of as many as one `IN` list takes.
    pub(crate) fn list_chunks<'v, T>(&self, values: &'v [T]) -> impl Iterator<Item = &'v [T]> + use<'v, T> {
        values.chunks(match self {
            Self::Sqlite(_) => statement::sqlite::MAX_LIST,
            Self::Postgres(_) => statement::postgres::MAX_LIST,
        })
    }

    /// An expression for `column` that ignores ASCII letter case when it is compared with lower-case text.
    ///
    /// PostgreSQL folds nothing but ASCII in the collation C.
    pub(crate) fn folded(&self, column: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("{column} COLLATE NOCASE"),
            Self::Postgres(_) => format!(r#"lower({column} COLLATE "C")"#),
        }
    }

    /// A condition that holds for a text with a blank at either end, and for few others: those that begin or end with
    /// a character beyond ASCII. The characters themselves are not named, because an encoding may lack them.
    pub(crate) fn may_be_padded(&self, column: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("({column} GLOB '[^!-~]*' OR {column} GLOB '*[^!-~]')"),
            Self::Postgres(_) => format!(r#"{column} COLLATE "C" ~ '^[^!-~]|[^!-~]$'"#),
        }
    }

    /// An expression for the condition that finds the link in the row `alias` again.
    pub(crate) fn place_of_link(&self, alias: &str) -> String {
        format!("'learner_id = ' || {}", self.literal(&format!("{alias}.learner_id")))
    }

    /// An expression for the condition that finds the row `alias` of the bookkeeping again, by its source and the id in
    /// `column`. A text that is not an id may be an address, so the condition finds every such row instead of naming it.
    pub(crate) fn place_of_entry(&self, alias: &str, column: &str) -> String {
        let is_junk = |column: &str| match self {
            Self::Sqlite(_) => format!("(length({column}) <> 36 OR {column} GLOB '*[^0-9a-fA-F-]*')"),
            Self::Postgres(_) => format!("(length({column}) <> 36 OR {column} ~ '[^0-9a-fA-F-]')"),
        };
        let id = format!("{alias}.{column}");
        format!(
            "'source = ' || {} || ' AND ' || CASE WHEN {} THEN {} ELSE '{column} = ' || {} END",
            self.literal(&format!("{alias}.source")),
            is_junk(&id),
            quote_literal(&is_junk(column)),
            self.literal(&id),
        )
    }

    /// An expression for the value of `column` as it is written in a statement.
    fn literal(&self, column: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("quote({column})"),
            Self::Postgres(_) => format!("quote_literal({column})"),
        }
    }

    /// Closes the connection.
    pub(crate) async fn close(self) -> Result<(), DbError> {
        match self {
            Self::Sqlite(SqliteFile { connection, path }) => {
                let closed = sqlx::Connection::close(connection).await;
                closed.map_err(|error| sqlite::classify(path.as_deref(), error))
            }
            Self::Postgres(PostgresSession { connection, response_timeout, mut lost, name, .. }) => {
                let closed = unless_lost(&mut lost, within(response_timeout, sqlx::Connection::close(connection)));
                closed.await.map_err(|error| postgres::classify(&name, error))
            }
        }
    }
}

/// Gives up after `timeout`.
pub(super) async fn within<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(timeout, answer).await.unwrap_or_else(|_| Err(no_answer(timeout)))
}

/// The error of a server that has been silent for `timeout`.
pub(super) fn no_answer(timeout: Duration) -> sqlx::Error {
    let message = format!("the server has not answered for {} s", timeout.as_secs());
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, message))
}

/// Sends nothing over a connection that is lost, and records when it is.
async fn unless_lost<T>(
    lost: &mut bool,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    if *lost {
        return Err(sqlx::Error::Io(std::io::ErrorKind::NotConnected.into()));
    }
    let answer = answer.await;
    *lost = answer.as_ref().is_err_and(postgres::is_loss);
    answer
}
