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
    /// The server of this scenario.
    static SERVER: &'static Server;
}

/// Runs a scenario on the shared server; does nothing where PostgreSQL is not installed.
pub(crate) async fn on_postgres(scenario: impl Future<Output = ()>) {
    if let Some(server) = postgres::shared() {
        // On the heap: the nested futures are larger than the stack of a test.
        SERVER.scope(server, Box::pin(scenario)).await;
    }
}

/// Whether this scenario runs on PostgreSQL.
pub(crate) fn is_on_postgres() -> bool {
    SERVER.try_with(|_| ()).is_ok()
}

/// The number of rounds of a random suite. A round on PostgreSQL takes several times as long.
pub(crate) fn fewer_on_postgres<N: From<u8> + std::ops::Div<Output = N>>(rounds: N) -> N {
    if is_on_postgres() { rounds / N::from(8) } else { rounds }
}

/// The learner database of a world.
#[derive(Debug)]
pub(crate) enum Database {
    File(PathBuf),
    Server(&'static Server, String),
}

impl Database {
    /// A file at `path`, or a new database on the server of the scenario.
    pub(crate) async fn for_scenario(path: PathBuf) -> Self {
        match SERVER.try_with(|server| *server) {
            Ok(server) => Self::on(server).await,
            Err(_) => Self::File(path),
        }
    }

    /// A new database on `server`.
    pub(crate) async fn on(server: &'static Server) -> Self {
        Self::Server(server, server.database().await)
    }

    /// Lets the server drop the database later. A file is deleted with its directory.
    pub(crate) fn leave(&self) {
        if let Self::Server(server, name) = self {
            server.drop_later(name);
        }
    }

    /// The `database_url` of the configuration.
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

    /// Like [`Self::query`], over one connection.
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

    /// Waits until dropped connections have ended.
    pub(crate) async fn wait_for_dropped_connections(&self) {
        match self {
            // A writer holds this lock.
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

    /// Locks the database against writers until the result is dropped.
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

    /// Locks the database against readers and writers until the result is dropped.
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

    /// Checks the integrity of a file.
    pub(crate) async fn is_whole(&self) {
        if let Self::File(path) = self {
            assert_eq!(query(path, "PRAGMA integrity_check").await, [["ok"]]);
            assert_eq!(query(path, "PRAGMA foreign_key_check").await, [[""; 0]; 0]);
        }
    }

    /// Makes `event`, `INSERT` or `UPDATE`, fail for learners that meet `condition`. The message contains personal data.
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

    /// Removes the trigger of [`Self::refuse`].
    pub(crate) async fn refuse_no_more(&self, event: &str) {
        let of = if matches!(self, Self::File(_)) { "" } else { " ON learners" };
        self.execute(&format!("DROP TRIGGER refuse_{event}{of}")).await;
    }
}

/// A connection with an open transaction that locks the database.
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

/// The rows of a query on an open connection.
pub(crate) async fn rows(connection: &mut SqliteConnection, sql: &str) -> Vec<Vec<String>> {
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
    let text = |row: &sqlx::sqlite::SqliteRow, index: usize| {
        row.try_get_unchecked::<Option<String>, _>(index).unwrap().unwrap_or_else(|| "NULL".to_owned())
    };
    rows.iter().map(|row| (0..row.len()).map(|index| text(row, index)).collect()).collect()
}
