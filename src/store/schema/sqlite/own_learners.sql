-- Earlier versions kept the link of a row that was deleted without foreign keys.
DELETE FROM sync_links WHERE learner_id NOT IN (SELECT id FROM learners);
UPDATE sync_state SET generation = lower(hex(randomblob(16)));
CREATE TRIGGER learners_active_edited AFTER UPDATE OF active ON learners
WHEN typeof(NEW.active) IN ('text', 'blob') BEGIN
    UPDATE sync_state SET links_inspected = 0;
END;
