SELECT c.relname::text FROM pg_class c
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND c.relnamespace = ANY (current_schemas(false)::regnamespace[]) AND pg_table_is_visible(c.oid)
      AND NOT EXISTS (SELECT 1 FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
