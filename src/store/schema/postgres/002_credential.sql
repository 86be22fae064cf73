ALTER TABLE sync_state ADD COLUMN credential_looked_at timestamptz;
ALTER TABLE sync_state ADD COLUMN credential_ends_at timestamptz;
