ALTER TABLE sync_state ADD COLUMN taken_over_sources text NOT NULL DEFAULT '[]';
