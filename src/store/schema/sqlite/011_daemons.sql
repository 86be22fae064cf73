CREATE TABLE sync_daemons (
    source          TEXT NOT NULL,
    host            TEXT NOT NULL,
    state_directory TEXT NOT NULL,
    pid             INTEGER NOT NULL,
    version         TEXT NOT NULL,
    rules_hash      TEXT NOT NULL,
    started_at      TEXT NOT NULL,
    seen_at         TEXT NOT NULL,
    PRIMARY KEY (source, host, state_directory)
);

CREATE TABLE sync_schedule (
    source          TEXT PRIMARY KEY NOT NULL,
    next_cycle_at   TEXT,
    began_at        TEXT,
    failed          INTEGER NOT NULL CHECK (failed IN (0, 1)),
    host            TEXT NOT NULL,
    state_directory TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS sync_failures_reason ON sync_failures (source, reason, first_at, cause);
