ALTER TABLE sync_held ADD COLUMN change_reason TEXT;
