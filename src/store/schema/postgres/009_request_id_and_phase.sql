ALTER TABLE provisioning_log ADD COLUMN request_id text;
ALTER TABLE provisioning_log ADD COLUMN phase text;

UPDATE provisioning_log SET phase = 'begun' WHERE status = 'held';

CREATE INDEX provisioning_log_user_name ON provisioning_log (lower(user_name COLLATE "C"));
CREATE INDEX audit_log_action ON audit_log (action, id);
