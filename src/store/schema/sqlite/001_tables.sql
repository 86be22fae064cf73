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
