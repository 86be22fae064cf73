ALTER TABLE sync_cycles ADD COLUMN single_user INTEGER CHECK (single_user IN (0, 1));
ALTER TABLE sync_cycles ADD COLUMN full_comparison INTEGER CHECK (full_comparison IN (0, 1));

UPDATE sync_cycles SET single_user = 1
WHERE id IN (SELECT CASE WHEN json_valid(detail) THEN json_extract(detail, '$.cycle') END
             FROM audit_log WHERE action IN ('provision', 'relink'));
