-- Schema version 3 on SQLite.
CREATE TABLE learners (
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
ALTER TABLE sync_state ADD COLUMN credential_looked_at TEXT;
ALTER TABLE sync_state ADD COLUMN credential_ends_at TEXT;
ALTER TABLE sync_links ADD COLUMN switched_off_at TEXT;
