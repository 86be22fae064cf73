ALTER TABLE sync_cycles ADD COLUMN writer_id text;
