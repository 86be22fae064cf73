ALTER TABLE sync_state ADD COLUMN clock TEXT;
