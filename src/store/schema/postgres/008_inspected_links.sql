ALTER TABLE sync_state ADD COLUMN links_inspected boolean NOT NULL DEFAULT false;

CREATE OR REPLACE FUNCTION sync_links_edited() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE sync_state SET links_inspected = false;
    RETURN NULL;
END $$;
CREATE TRIGGER sync_links_edited AFTER UPDATE OF entra_id, via ON sync_links FOR EACH ROW
WHEN (NEW.entra_id !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
      OR NEW.via::text !~ '^\[("(direct|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"(, )?)*\]$')
EXECUTE FUNCTION sync_links_edited();
