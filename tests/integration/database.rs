//! The learner database of a scenario: an SQLite file, or a database on a PostgreSQL server. Queries return the same
//! text from both.
//!
//! A scenario runs on both when the database can make a difference: transactions, types, uniqueness, letter case,
//! locks, rights, triggers, external tables. Scenarios about Graph, scope, mapping and decisions run on SQLite alone.

mod backup;

use std::path::{Path, PathBuf};

pub(crate) use macro_rules_attribute::apply;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection};

pub(crate) use self::backup::Backup;
use crate::postgres::{self, OWNER, Server};
use crate::program::eventually;

/// Makes two tests of one scenario: on an SQLite file, and on the shared PostgreSQL server.
macro_rules! on_both {
    ($(#[$about:meta])* async fn $name:ident() $scenario:block) => {
        $(#[$about])*
        async fn $name() $scenario

        mod $name {
            #[tokio::test]
            async fn on_sqlite() {
                super::$name().await;
            }

            #[tokio::test]
            async fn on_postgres() {
                $crate::database::on_postgres(super::$name()).await;
            }
        }
    };
}

pub(crate) use on_both;

tokio::task_local! {
    /// The server on which the worlds of this scenario are.
    static SERVER: &'static Server;
}

/// Plays a scenario whose worlds are on the shared server; does nothing where PostgreSQL is not installed.
pub(crate) async fn on_postgres(scenario: impl Future<Output = ()>) {
    if let Some(server) = postgres::shared() {
        // On the heap: more of them lie within one another than the stack of a test takes.
        SERVER.scope(server, Box::pin(scenario)).await;
    }
}

/// Whether this scenario is played on a server.
pub(crate) fn is_on_postgres() -> bool {
    SERVER.try_with(|_| ()).is_ok()
}

/// How many rounds a long suite of random ones has: on a server fewer. All but a few lines of what is tried is the same,
/// and each round takes several times as long there.
pub(crate) fn fewer_on_postgres<N: From<u8> + std::ops::Div<Output = N>>(rounds: N) -> N {
    if is_on_postgres() { rounds / N::from(8) } else { rounds }
}

/// Where the learners of a world are.
#[derive(Debug)]
pub(crate) enum Database {
    File(PathBuf),
    Server(&'static Server, String),
}

impl Database {
    /// The one of this scenario: a file at `path`, or a new database.
    pub(crate) async fn of_the_scenario(path: PathBuf) -> Self {
        match SERVER.try_with(|server| *server) {
            Ok(server) => Self::on(server).await,
            Err(_) => Self::File(path),
        }
    }

    /// A new one on `server`.
    pub(crate) async fn on(server: &'static Server) -> Self {
        Self::Server(server, server.database().await)
    }

    /// Nobody needs it any more. A file goes with its directory.
    pub(crate) fn leave(&self) {
        if let Self::Server(server, name) = self {
            server.drop_later(name);
        }
    }

    /// As a configuration names it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::File(path) => format!("sqlite://{}", path.display()),
            Self::Server(server, name) => server.url(OWNER, name),
        }
    }

    /// Its name on the server.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::File(path) => panic!("{} is on no server", path.display()),
            Self::Server(_, name) => name,
        }
    }

    /// The rows of a query, each column as text: `NULL` for null, booleans as 0 and 1, times to the second, JSON
    /// without spaces.
    pub(crate) async fn query(&self, sql: &str) -> Vec<Vec<String>> {
        let [rows] = self.query_all([sql]).await;
        rows
    }

    /// The rows of each of these queries.
    pub(crate) async fn query_all<const N: usize>(&self, queries: [&str; N]) -> [Vec<Vec<String>>; N] {
        let mut all = queries.map(|_| Vec::new());
        match self {
            Self::File(path) => {
                let mut connection = connect(path).await;
                for (answer, sql) in all.iter_mut().zip(queries) {
                    *answer = rows(&mut connection, sql).await;
                }
                connection.close().await.unwrap();
            }
            Self::Server(server, name) => {
                let mut connection = server.connect(name).await;
                for (answer, sql) in all.iter_mut().zip(queries) {
                    *answer = postgres::rows(&mut connection, sql).await;
                }
                connection.close().await.unwrap();
            }
        }
        all
    }

    /// Runs statements.
    pub(crate) async fn execute(&self, sql: &str) {
        match self {
            Self::File(path) => {
                let mut connection = connect(path).await;
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
            Self::Server(server, name) => server.execute(name, sql).await,
        }
    }

    /// The names of its tables.
    pub(crate) async fn tables(&self) -> Vec<String> {
        let sql = match self {
            Self::File(path) if !path.exists() => return Vec::new(),
            Self::File(_) => {
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
            }
            Self::Server(..) => "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename",
        };
        self.query(sql).await.concat()
    }

    /// Waits until nobody is at work on it whose connection was dropped.
    pub(crate) async fn comes_to_rest(&self) {
        match self {
            // Whoever writes holds this lock.
            Self::File(_) => self.execute("BEGIN IMMEDIATE; ROLLBACK").await,
            Self::Server(server, name) => {
                let mut connection = server.connect(name).await;
                let others = "SELECT 1 FROM pg_stat_activity
                              WHERE datname = current_database() AND pid <> pg_backend_pid()";
                eventually("nobody is at work any more", async || {
                    postgres::rows(&mut connection, others).await.is_empty().then_some(())
                })
                .await;
                connection.close().await.unwrap();
            }
        }
    }

    /// Keeps everybody else from writing to it, until what comes back is dropped.
    pub(crate) async fn lock(&self) -> Writer {
        match self {
            Self::File(path) => {
                let mut connection = connect(path).await;
                connection.execute("BEGIN IMMEDIATE").await.unwrap();
                Writer::ToFile { _connection: connection }
            }
            Self::Server(server, name) => {
                let sql = format!("LOCK TABLE {} IN EXCLUSIVE MODE", self.tables().await.join(", "));
                let mut connection = server.connect(name).await;
                connection.execute("BEGIN").await.unwrap();
                connection.execute(AssertSqlSafe(sql)).await.unwrap();
                Writer::ToServer { _connection: connection }
            }
        }
    }

    /// Keeps everybody else even from reading it, until what comes back is dropped.
    pub(crate) async fn shut(&self) -> Writer {
        match self {
            Self::File(path) => {
                let mut connection = connect(path).await;
                connection.execute("PRAGMA locking_mode = EXCLUSIVE").await.unwrap();
                connection.execute("BEGIN EXCLUSIVE").await.unwrap();
                Writer::ToFile { _connection: connection }
            }
            Self::Server(server, name) => {
                let sql = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", self.tables().await.join(", "));
                let mut connection = server.connect(name).await;
                connection.execute("BEGIN").await.unwrap();
                connection.execute(AssertSqlSafe(sql)).await.unwrap();
                Writer::ToServer { _connection: connection }
            }
        }
    }

    /// What belongs together in the file is together. A server looks after that itself.
    pub(crate) async fn is_whole(&self) {
        if let Self::File(path) = self {
            assert_eq!(query(path, "PRAGMA integrity_check").await, [["ok"]]);
            assert_eq!(query(path, "PRAGMA foreign_key_check").await, [[""; 0]; 0]);
        }
    }

    /// Has it refuse every row of learners that this condition is true of, at `INSERT` or `UPDATE`, in words that are
    /// not fit for a log.
    pub(crate) async fn refuse(&self, event: &str, condition: &str) {
        let trigger = format!("CREATE TRIGGER refuse_{event} BEFORE {event} ON learners");
        let sql = match self {
            Self::File(_) => format!("{trigger} WHEN {condition} BEGIN SELECT RAISE(ABORT, 'no ' || NEW.email); END"),
            Self::Server(..) => format!(
                "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                     'BEGIN RAISE EXCEPTION ''no %'', NEW.email; END';
                 {trigger} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()"
            ),
        };
        self.execute(&sql).await;
    }

    /// Has it refuse them no more.
    pub(crate) async fn refuse_no_more(&self, event: &str) {
        let of = if matches!(self, Self::File(_)) { "" } else { " ON learners" };
        self.execute(&format!("DROP TRIGGER refuse_{event}{of}")).await;
    }
}

/// Somebody who writes to a database, and does not come to an end.
#[derive(Debug)]
pub(crate) enum Writer {
    ToFile { _connection: SqliteConnection },
    ToServer { _connection: PgConnection },
}

/// A connection to an SQLite file.
pub(crate) async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap()
}

/// The rows of a query on an SQLite file.
pub(crate) async fn query(path: &Path, sql: &str) -> Vec<Vec<String>> {
    let mut connection = connect(path).await;
    let rows = rows(&mut connection, sql).await;
    connection.close().await.unwrap();
    rows
}

/// The same over a connection that is there.
pub(crate) async fn rows(connection: &mut SqliteConnection, sql: &str) -> Vec<Vec<String>> {
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
    let text = |row: &sqlx::sqlite::SqliteRow, index: usize| {
        row.try_get_unchecked::<Option<String>, _>(index).unwrap().unwrap_or_else(|| "NULL".to_owned())
    };
    rows.iter().map(|row| (0..row.len()).map(|index| text(row, index)).collect()).collect()
}
