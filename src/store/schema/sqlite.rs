//! The tables for SQLite. Times are text, booleans are 0 and 1.

/// See [`super::VERSION`].
pub(super) const MIGRATIONS: &[&str] = &[FIRST, SECOND, THIRD, FOURTH];

/// A random generation in the form of [`crate::model::Generation`].
pub(super) const GENERATION: &str = "lower(hex(randomblob(16)))";

/// The tables and views in lower case, because SQLite ignores letter case, without SQLite's own tables.
pub(super) const TABLES: &str = "SELECT lower(name) FROM sqlite_master
    WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";

/// The columns of the table learners; any column accepts any type.
pub(super) const COLUMNS: &str = "SELECT lower(name), NULL FROM pragma_table_info('learners')";

/// The name of the database.
pub(super) const NAME: &str = "SELECT file FROM pragma_database_list WHERE name = 'main'";

/// The table that the links refer to, and whether it differs from the learners table.
pub(super) const LINKED_TABLE: &str =
    "SELECT \"table\" || ' (' || \"to\" || ')', lower(\"table\") <> lower($1) OR lower(\"to\") <> lower($2)
     FROM pragma_foreign_key_list('sync_links')";

/// Whether the trigger below exists on the table with this name.
pub(super) const HAS_LINK_TRIGGER: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = 'sync_links_row' AND lower(tbl_name) = lower($1))";

/// Deletes the link with its learner row. SQLite enforces foreign keys only in connections that enable them, and may use
/// the id again. Dropping the table drops the trigger, which tells a new table from the old one.
pub(super) const LINK_TRIGGER: &str = "
CREATE TRIGGER sync_links_row AFTER DELETE ON {learners} BEGIN
    DELETE FROM sync_links WHERE learner_id = OLD.{learners_id};
END;
";

/// A UUID key for a copy in memory.
pub(super) const UUID_KEY: &str = "TEXT PRIMARY KEY DEFAULT (
        lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(2))
              || '-' || hex(randomblob(6))))";

// AUTOINCREMENT, because the id of a deleted row must not be used again. IF NOT EXISTS, because the training platform may
// have created the table; for the same reason the unique indexes are separate from the columns.
pub(super) const LEARNERS: &str = r#"
CREATE TABLE IF NOT EXISTS learners (
    id                {id},
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
"#;

/// The other tables of version 1.
const FIRST: &str = r#"
CREATE TABLE provisioning_log (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    cycle_id   INTEGER NOT NULL,
    at         TEXT NOT NULL,
    action     TEXT NOT NULL,
    status     TEXT NOT NULL,
    entra_id   TEXT NOT NULL,
    learner_id {key},
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
    learner_id {key} NOT NULL UNIQUE REFERENCES {learners} ({learners_id}) ON DELETE CASCADE,
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

/// When the credential was checked, and when it expires.
const SECOND: &str = concat!("\n", include_str!("sqlite/002_credential.sql"));

/// When a learner was deactivated whose table has no column for it.
const THIRD: &str = concat!("\n", include_str!("sqlite/003_deactivated_at.sql"));

/// Earlier versions kept this state in `detail`: why a user waits, which drift was reported, who approved.
const FOURTH: &str = concat!("\n", include_str!("sqlite/004_typed_state.sql"));
