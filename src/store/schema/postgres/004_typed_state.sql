ALTER TABLE sync_failures ADD COLUMN cause text;
ALTER TABLE sync_failures ADD COLUMN drift_fingerprint text;
ALTER TABLE provisioning_log ADD COLUMN approved_by text;

UPDATE sync_failures
SET cause = CASE detail WHEN 'still assigned, but neither among the users nor in the deleted items'
                        THEN 'account-missing' ELSE 'deactivate-after' END
WHERE reason = 'waiting';

UPDATE sync_failures SET drift_fingerprint = substr(detail, 61)
WHERE reason = 'drift' AND length(detail) = 92
  AND substr(detail, 1, 60) = 'changed by somebody else, and left so; in Entra it is state '
  AND substr(detail, 61) !~ '[^0-9a-f]';

UPDATE provisioning_log
SET approved_by = CASE WHEN strpos(detail, ' at ') > 13 THEN substr(detail, 13, strpos(detail, ' at ') - 13)
                       ELSE substr(detail, 13) END
WHERE substr(detail, 1, 12) = 'approved by ';
