ALTER TABLE provisioning_log ADD COLUMN request_id text;
ALTER TABLE provisioning_log ADD COLUMN phase text;

UPDATE provisioning_log SET phase = 'begun' WHERE status = 'held';
