ALTER TABLE sync_state ADD COLUMN taken_over_sources TEXT NOT NULL DEFAULT '[]';
