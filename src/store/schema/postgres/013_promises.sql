ALTER TABLE sync_daemons ADD COLUMN overdue_after_ms bigint NOT NULL DEFAULT 60000;
ALTER TABLE sync_schedule ADD COLUMN planned_wait_ms bigint;
