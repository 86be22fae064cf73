ALTER TABLE sync_links ADD COLUMN switched_off_at TEXT;
