ALTER TABLE sync_links ADD COLUMN spelling text;
