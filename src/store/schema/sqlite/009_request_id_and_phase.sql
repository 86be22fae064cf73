ALTER TABLE provisioning_log ADD COLUMN request_id TEXT;
ALTER TABLE provisioning_log ADD COLUMN phase TEXT;

UPDATE provisioning_log SET phase = 'begun' WHERE status = 'held';

CREATE INDEX provisioning_log_user_name ON provisioning_log (user_name);
CREATE INDEX audit_log_action ON audit_log (action, id);
