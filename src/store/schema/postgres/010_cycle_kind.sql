ALTER TABLE sync_cycles ADD COLUMN single_user boolean;
ALTER TABLE sync_cycles ADD COLUMN full_comparison boolean;

UPDATE sync_cycles SET single_user = true
WHERE id::text IN (SELECT substring(detail FROM '"cycle": ?([0-9]+)')
                   FROM audit_log WHERE action IN ('provision', 'relink'));
