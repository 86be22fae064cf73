CREATE INDEX IF NOT EXISTS provisioning_log_kind ON provisioning_log (action, status, reason, at);
CREATE INDEX IF NOT EXISTS provisioning_log_cycle ON provisioning_log (cycle_id, at);
