CREATE TRIGGER sync_links_row AFTER DELETE ON {learners} BEGIN
    DELETE FROM sync_links WHERE learner_id = OLD.{learners_id};
END;
