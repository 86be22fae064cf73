CREATE TABLE sync_daemons (
    source          text COLLATE "C" NOT NULL,
    host            text COLLATE "C" NOT NULL,
    state_directory text COLLATE "C" NOT NULL,
    pid             bigint NOT NULL,
    version         text NOT NULL,
    rules_hash      text NOT NULL,
    started_at      timestamptz NOT NULL,
    seen_at         timestamptz NOT NULL,
    PRIMARY KEY (source, host, state_directory)
);

CREATE TABLE sync_schedule (
    source          text COLLATE "C" PRIMARY KEY,
    next_cycle_at   timestamptz,
    began_at        timestamptz,
    failed          boolean NOT NULL,
    host            text COLLATE "C" NOT NULL,
    state_directory text COLLATE "C" NOT NULL
);

CREATE INDEX IF NOT EXISTS sync_failures_reason ON sync_failures (source, reason, first_at, cause);
