SELECT current_user::text, CASE
        WHEN current_schema() IS NULL THEN 'may use no schema of its search_path'
        WHEN NOT has_schema_privilege(current_schema(), 'CREATE')
            THEN 'may not create any in the schema ' || current_schema()
        WHEN {external} AND NOT has_column_privilege(l.oid, {id}, 'REFERENCES')
            THEN format('may not refer to the table %s by a foreign key (its owner can allow it: GRANT REFERENCES ON %1$s TO %I)',
                l.oid::regclass, current_user)
        WHEN NOT {external} AND NOT pg_has_role(l.relowner, 'USAGE') THEN 'does not own the table learners'
    END
    FROM (SELECT to_regclass({table}) AS oid) t LEFT JOIN pg_class l ON l.oid = t.oid
