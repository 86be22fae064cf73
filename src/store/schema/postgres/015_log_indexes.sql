CREATE INDEX IF NOT EXISTS provisioning_log_kind ON provisioning_log (action, status, reason, at, id);
CREATE INDEX IF NOT EXISTS provisioning_log_cycle ON provisioning_log (cycle_id, at, id);
DROP INDEX IF EXISTS provisioning_log_at;
CREATE INDEX IF NOT EXISTS provisioning_log_at ON provisioning_log (at, id);
