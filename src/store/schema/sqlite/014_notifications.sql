CREATE TABLE sync_notifications (
    source          TEXT NOT NULL,
    cause           TEXT NOT NULL,
    notified_at     TEXT NOT NULL,
    covers          TEXT,
    open            INTEGER NOT NULL CHECK (open IN (0, 1)),
    message         TEXT NOT NULL,
    attempts        INTEGER NOT NULL,
    next_attempt_at TEXT,
    error           TEXT,
    PRIMARY KEY (source, cause)
);
