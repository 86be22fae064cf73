SELECT format('GRANT USAGE ON SCHEMA %s TO %I', n.oid::regnamespace, {role})
        FROM pg_namespace n
        WHERE n.oid IN (SELECT relnamespace FROM pg_class WHERE oid IN ({tables}))
          AND NOT has_schema_privilege({role}, n.oid, 'USAGE')
        UNION ALL
        SELECT format('GRANT USAGE ON SEQUENCE %s TO %I', s.oid::regclass, {role})
        FROM pg_depend d JOIN pg_class s ON s.oid = d.objid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a'
          AND d.refobjid IN ({tables})
          AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege({role}, s.oid, 'USAGE') END
