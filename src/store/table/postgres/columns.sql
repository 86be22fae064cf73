SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), b.typname::text, b.typtype::text,
           greatest(a.atttypmod, t.typtypmod)::bigint, a.attnotnull OR t.typnotnull,
           a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL, a.attgenerated <> '',
           coalesce((SELECT json_agg(e.enumlabel::text) FROM pg_enum e WHERE e.enumtypid = b.oid), '[]')::text
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
    WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
