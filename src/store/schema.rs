//! The tables, how they are made, and how a database that is not ours is told apart.

use std::collections::BTreeSet;
use std::path::Path;

use sqlx::SqliteConnection;

use super::{StoreError, sqlite};
use crate::model::Generation;

/// What brings a database from version `n` to `n + 1` is at index `n`. A migration that has been released is never
/// edited.
const MIGRATIONS: &[&str] = &[FIRST, SECOND];

/// The schema this program knows.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

// `AUTOINCREMENT`, because an id of a deleted row must not name somebody else later. `IF NOT EXISTS` on learners
// alone: the training platform may have made that table, with all its columns, before we came; for its sake the
// unique indexes and their letter case stand apart from the columns.
const FIRST: &str = r#"
CREATE TABLE IF NOT EXISTS learners (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    external_id       TEXT COLLATE NOCASE,
    user_name         TEXT NOT NULL COLLATE NOCASE,
    email             TEXT COLLATE NOCASE,
    first_name        TEXT,
    last_name         TEXT,
    title             TEXT,
    employee_number   TEXT,
    department        TEXT,
    country           TEXT,
    job_role          TEXT,
    company           TEXT,
    business_unit     TEXT,
    team_name         TEXT,
    security_champion INTEGER CHECK (security_champion IN (0, 1)),
    active            INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    created_at        TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    updated_at        TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    deactivated_at    TEXT
);
CREATE UNIQUE INDEX learners_external_id ON learners (external_id COLLATE NOCASE);
CREATE UNIQUE INDEX learners_user_name ON learners (user_name COLLATE NOCASE);
CREATE UNIQUE INDEX learners_email ON learners (email COLLATE NOCASE);

CREATE TABLE provisioning_log (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    cycle_id   INTEGER NOT NULL,
    at         TEXT NOT NULL,
    action     TEXT NOT NULL,
    status     TEXT NOT NULL,
    entra_id   TEXT NOT NULL,
    learner_id INTEGER,
    user_name  TEXT COLLATE NOCASE,
    reason     TEXT NOT NULL,
    detail     TEXT,
    changes    TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX provisioning_log_at ON provisioning_log (at);
CREATE INDEX provisioning_log_entra_id ON provisioning_log (entra_id);

CREATE TABLE sync_cycles (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    source      TEXT NOT NULL,
    "trigger"   TEXT NOT NULL,
    started_at  TEXT NOT NULL,
    finished_at TEXT,
    outcome     TEXT,
    in_scope    INTEGER NOT NULL DEFAULT 0,
    created     INTEGER NOT NULL DEFAULT 0,
    updated     INTEGER NOT NULL DEFAULT 0,
    deactivated INTEGER NOT NULL DEFAULT 0,
    reactivated INTEGER NOT NULL DEFAULT 0,
    unchanged   INTEGER NOT NULL DEFAULT 0,
    skipped     INTEGER NOT NULL DEFAULT 0,
    failed      INTEGER NOT NULL DEFAULT 0,
    held        INTEGER NOT NULL DEFAULT 0,
    requests    INTEGER NOT NULL DEFAULT 0,
    error       TEXT
);
CREATE INDEX sync_cycles_source ON sync_cycles (source, id);

CREATE TABLE sync_links (
    source     TEXT NOT NULL,
    entra_id   TEXT NOT NULL,
    learner_id INTEGER NOT NULL UNIQUE REFERENCES learners (id) ON DELETE CASCADE,
    via        TEXT NOT NULL,
    linked_at  TEXT NOT NULL,
    UNIQUE (source, entra_id)
);

CREATE TABLE sync_held (
    source      TEXT NOT NULL,
    entra_id    TEXT NOT NULL,
    action      TEXT NOT NULL,
    reason      TEXT NOT NULL,
    since       TEXT NOT NULL,
    approved_at TEXT,
    approved_by TEXT,
    PRIMARY KEY (source, entra_id)
);

CREATE TABLE sync_failures (
    source   TEXT NOT NULL,
    entra_id TEXT NOT NULL,
    reason   TEXT NOT NULL,
    detail   TEXT,
    first_at TEXT NOT NULL,
    last_at  TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    PRIMARY KEY (source, entra_id)
);

CREATE TABLE sync_groups (
    source       TEXT NOT NULL,
    group_id     TEXT NOT NULL,
    last_members INTEGER NOT NULL,
    PRIMARY KEY (source, group_id)
);

CREATE TABLE sync_state (
    only_row         INTEGER PRIMARY KEY CHECK (only_row = 1),
    schema_version   INTEGER NOT NULL,
    generation       TEXT NOT NULL,
    paused           INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    next_cycle_at    TEXT,
    admitted_sources TEXT NOT NULL DEFAULT '[]',
    applications     TEXT NOT NULL DEFAULT '{}'
);

CREATE TABLE audit_log (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     TEXT NOT NULL,
    actor  TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT
);
"#;

/// When the credential was looked at, and when it ends.
const SECOND: &str = "
ALTER TABLE sync_state ADD COLUMN credential_looked_at TEXT;
ALTER TABLE sync_state ADD COLUMN credential_ends_at TEXT;
";

/// The columns without which a learners table is not the one of the design.
const LEARNERS: &[&str] = &[
    "id",
    "external_id",
    "user_name",
    "email",
    "first_name",
    "last_name",
    "title",
    "employee_number",
    "department",
    "country",
    "job_role",
    "company",
    "business_unit",
    "team_name",
    "security_champion",
    "active",
    "created_at",
    "updated_at",
    "deactivated_at",
];

/// The tables of version 1 beside learners and sync_state.
const OTHERS: &[&str] =
    &["provisioning_log", "sync_cycles", "sync_links", "sync_held", "sync_failures", "sync_groups", "audit_log"];

/// Refuses a database that this program cannot read as it is.
pub(super) async fn check(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    match version(connection).await? {
        VERSION => Ok(()),
        found => Err(StoreError::Older { found, supported: VERSION }),
    }
}

/// Makes or completes the tables; refuses a database that is not ours, with nothing written.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    // The write lock even when there is nothing to migrate: a file that cannot be written shows itself now.
    sqlite::in_a_transaction(connection, sqlite::End::Commit, run).await
}

/// Copies the learners of the file at `path`, which has no other table of ours, if it has any.
pub(super) async fn copy_learners(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    // As a URI, because a plain name would be taken for one more database in memory, like the connection's own.
    let name = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    sqlx::query("ATTACH $1 AS platform").bind(format!("file:{name}?mode=ro")).execute(&mut *connection).await?;
    let there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM platform.sqlite_master WHERE lower(name) = 'learners')")
            .fetch_one(&mut *connection)
            .await?;
    if there {
        let columns = LEARNERS.join(", ");
        let copy = format!("INSERT INTO main.learners ({columns}) SELECT {columns} FROM platform.learners");
        sqlx::query(sqlx::AssertSqlSafe(copy)).execute(&mut *connection).await?;
    }
    sqlx::query("DETACH platform").execute(&mut *connection).await?;
    Ok(())
}

async fn run(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let found = version(connection).await?;
    let done = usize::try_from(found).unwrap_or(0);
    for migration in &MIGRATIONS[done..] {
        sqlx::raw_sql(*migration).execute(&mut *connection).await.map_err(|error| match sqlite::refusal(&error) {
            // Only an index over a table that was there before can fail so.
            Some(why) => StoreError::NotOurs { missing: vec![format!("learners cannot be indexed: {why}")] },
            None => error.into(),
        })?;
    }
    if done == 0 {
        sqlx::query("INSERT INTO sync_state (only_row, schema_version, generation) VALUES (1, $1, $2)")
            .bind(VERSION)
            .bind(Generation(rand::random()).to_string())
            .execute(&mut *connection)
            .await?;
    } else if found < VERSION {
        sqlx::query("UPDATE sync_state SET schema_version = $1").bind(VERSION).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The version of the tables, 0 when there are none; an error when they are not ours or too new.
pub(super) async fn version(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    // SQLite keeps tables of its own, which say nothing about whose database it is; letter case says nothing to it.
    let tables: BTreeSet<String> = sqlx::query_scalar(
        "SELECT lower(name) FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .fetch_all(&mut *connection)
    .await?
    .into_iter()
    .collect();
    let mut found = 0;
    if tables.contains("sync_state") {
        let versions: Option<i64> = sqlx::query_scalar("SELECT schema_version FROM sync_state")
            .fetch_optional(&mut *connection)
            .await
            .map_err(|_| StoreError::NotOurs { missing: vec!["sync_state lacks a schema version".to_owned()] })?;
        found = versions
            .filter(|version| *version > 0)
            .ok_or(StoreError::NotOurs { missing: vec!["sync_state lacks a schema version".to_owned()] })?;
        if found > VERSION {
            return Err(StoreError::Newer { found, supported: VERSION });
        }
    }

    if found == 0 && !tables.contains("learners") && tables.iter().any(|table| !OTHERS.contains(&table.as_str())) {
        let path: String = sqlx::query_scalar("SELECT file FROM pragma_database_list WHERE name = 'main'")
            .fetch_one(&mut *connection)
            .await?;
        return Err(StoreError::Foreign { path: path.into(), tables: tables.into_iter().collect() });
    }
    let mut missing = Vec::new();
    if tables.contains("learners") {
        let columns: BTreeSet<String> = sqlx::query_scalar("SELECT lower(name) FROM pragma_table_info('learners')")
            .fetch_all(&mut *connection)
            .await?
            .into_iter()
            .collect();
        let lacking = LEARNERS.iter().filter(|column| !columns.contains(**column));
        missing.extend(lacking.map(|column| format!("learners lacks the column {column}")));
    } else if found > 0 {
        missing.push("the table learners is missing".to_owned());
    }
    for table in OTHERS {
        match (found > 0, tables.contains(*table)) {
            (true, false) => missing.push(format!("the table {table} is missing")),
            (false, true) => missing.push(format!("there is a table {table}, but no sync_state")),
            (true, true) | (false, false) => {}
        }
    }
    if missing.is_empty() { Ok(found) } else { Err(StoreError::NotOurs { missing }) }
}
