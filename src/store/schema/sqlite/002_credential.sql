ALTER TABLE sync_state ADD COLUMN credential_looked_at TEXT;
ALTER TABLE sync_state ADD COLUMN credential_ends_at TEXT;
