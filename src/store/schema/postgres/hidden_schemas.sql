SELECT DISTINCT current_user::text,
        format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, current_user)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname IN ('sync_state', $1) AND NOT has_schema_privilege(n.oid, 'USAGE')
      AND n.nspname = ANY (string_to_array(replace(replace(replace(current_setting('search_path'),
          '$user', current_user), '"', ''), ' ', ''), ','))
