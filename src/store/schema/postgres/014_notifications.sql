CREATE TABLE sync_notifications (
    source          text COLLATE "C" NOT NULL,
    cause           text COLLATE "C" NOT NULL,
    notified_at     timestamptz NOT NULL,
    covers          timestamptz,
    open            boolean NOT NULL,
    message         jsonb NOT NULL,
    attempts        bigint NOT NULL,
    next_attempt_at timestamptz,
    error           text,
    PRIMARY KEY (source, cause)
);
