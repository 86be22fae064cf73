ALTER TABLE sync_state ADD COLUMN links_inspected INTEGER NOT NULL DEFAULT 0 CHECK (links_inspected IN (0, 1));

CREATE TRIGGER sync_links_edited AFTER UPDATE OF entra_id, via ON sync_links
WHEN CASE
    WHEN typeof(NEW.entra_id) <> 'text' OR typeof(NEW.via) <> 'text' THEN 1
    -- Patterns and JSON functions ignore what follows a NUL, which JSON may contain as an escape.
    WHEN instr(NEW.entra_id, char(0)) OR instr(NEW.via, char(0)) OR instr(NEW.via, '\') THEN 1
    WHEN NEW.entra_id NOT GLOB '[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]-[0-9a-f][0-9a-f][0-9a-f][0-9a-f]-[0-9a-f][0-9a-f][0-9a-f][0-9a-f]-[0-9a-f][0-9a-f][0-9a-f][0-9a-f]-[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]' THEN 1
    WHEN NOT json_valid(NEW.via) THEN 1
    WHEN json_type(NEW.via) <> 'array' THEN 1
    ELSE EXISTS (SELECT 1 FROM json_each(NEW.via)
                 WHERE type <> 'text' OR value <> 'direct' AND value NOT GLOB '[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]-[0-9a-f][0-9a-f][0-9a-f][0-9a-f]-[0-9a-f][0-9a-f][0-9a-f][0-9a-f]-[0-9a-f][0-9a-f][0-9a-f][0-9a-f]-[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]')
END
BEGIN
    UPDATE sync_state SET links_inspected = 0;
END;
