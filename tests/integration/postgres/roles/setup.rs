//! A database with an owner and a writer.

use std::process::{Command, Stdio};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::postgres::Server;
use crate::program::{Ran, users};
use crate::world::World;

/// An external table, with columns that are not configured; one of them has the name of a default column.
const STAFF: &str = "CREATE TABLE staff (
        uid uuid PRIMARY KEY DEFAULT gen_random_uuid(), login varchar(150) NOT NULL UNIQUE, \"E-mail\" varchar(150) UNIQUE,
        first_name text, last_name text, title text, employee_number text, department text, country text,
        active boolean NOT NULL, tenant text NOT NULL, company text, created_at timestamptz, salary int DEFAULT 5)";

/// The configuration for the external table.
pub(super) const COLUMNS: &str = "table = \"staff\"\n[learners.columns]\nid = \"uid\"\nuser_name = \"login\"\nemail = \"E-mail\"\n\
                       created_at = \"created_at\"\n[learners.constants]\ntenant = \"harbour\"\n";

/// A database whose schema is owned by one role. The program signs in as another role, the writer.
pub(super) struct RoleSetup {
    pub(super) world: World,
    server: &'static Server,
    pub(super) owner: String,
    pub(super) writer: String,
    pub(super) ids: Vec<String>,
}

impl RoleSetup {
    /// A database without tables, or with the external table if `more` configures it.
    pub(super) async fn new(server: &'static Server, more: &str) -> Self {
        let (tenant, ids) = users(15);
        let world = World::start_on(server, tenant).await;
        let name = world.database.name().to_owned();
        let (owner, writer) = (format!("owner_{name}"), format!("writer_{name}"));
        let sql = format!(
            "CREATE ROLE {owner} LOGIN; CREATE ROLE {writer} LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC;
             CREATE SCHEMA training AUTHORIZATION {owner}; ALTER DATABASE {name} SET search_path = training"
        );
        world.execute(&sql).await;
        world.configure(more);
        world.reconfigure(|text| text.replace("postgres://sync@", &format!("postgres://{writer}@")));
        let setup = Self { world, server, owner, writer, ids };
        if !more.is_empty() {
            setup.execute_as(&setup.owner, STAFF).await.unwrap();
        }
        setup
    }

    /// Like `new`, with the tables that `schema apply --writer` creates.
    pub(super) async fn applied(server: &'static Server, more: &str) -> Self {
        let setup = Self::new(server, more).await;
        let made = setup.as_owner(&["schema", "apply", "--writer", &setup.writer], 0).stdout;
        assert!(made.starts_with("Created the tables, version "), "{made}");
        setup
    }

    fn url(&self, role: &str) -> String {
        self.server.url(role, self.world.database.name())
    }

    /// Runs a command that signs in as the owner.
    #[track_caller]
    pub(super) fn as_owner(&self, arguments: &[&str], code: i32) -> Ran {
        let url = self.url(&self.owner);
        self.world.run_program_with(&[("LEARNER_SYNC_LEARNERS__DATABASE_URL", &url)], arguments, code)
    }

    /// Runs statements as a role.
    pub(super) async fn execute_as(&self, role: &str, sql: &str) -> Result<(), sqlx::Error> {
        let mut connection = PgConnection::connect(&self.url(role)).await.unwrap();
        let done = connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.map(drop);
        connection.close().await.unwrap();
        done
    }

    /// The writer is not permitted to run a statement.
    pub(super) async fn denied(&self, sql: &str) {
        let done = self.execute_as(&self.writer, sql).await;
        let code = done.as_ref().err().and_then(|error| error.as_database_error()?.code());
        assert_eq!(code.as_deref(), Some("42501"), "{sql}: {done:?}");
    }

    /// All objects, owners and privileges of the schema, with the names of the two roles replaced.
    pub(super) async fn catalog(&self) -> Vec<Vec<String>> {
        let sql = "SELECT 'table', relname::text, relkind::text, pg_get_userbyid(relowner)::text, relacl::text
                       FROM pg_class WHERE relnamespace = 'training'::regnamespace AND relkind <> 'i'
                   UNION ALL SELECT 'column', attrelid::regclass::text, attnum || ' ' || attname || ' ' || attnotnull
                       || attidentity::text || attcollation, format_type(atttypid, atttypmod),
                       pg_get_expr(d.adbin, d.adrelid)
                       FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
                           LEFT JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum
                       WHERE relnamespace = 'training'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
                   UNION ALL SELECT 'rights', attrelid::regclass::text, attname, attacl::text, NULL FROM pg_attribute
                       JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'training'::regnamespace
                           AND attacl IS NOT NULL
                   UNION ALL SELECT 'index', indexname, indexdef, NULL, NULL FROM pg_indexes WHERE schemaname = 'training'
                   UNION ALL SELECT 'constraint', conname, conrelid::regclass::text, pg_get_constraintdef(oid), NULL
                       FROM pg_constraint WHERE connamespace = 'training'::regnamespace
                   UNION ALL SELECT 'schema', nspname, pg_get_userbyid(nspowner)::text, nspacl::text, NULL
                       FROM pg_namespace WHERE nspname = 'training'
                   UNION ALL SELECT 'state', schema_version::text, paused::text, admitted_sources, applications
                       FROM sync_state
                   ORDER BY 1, 2, 3";
        let mut found = self.world.query(sql).await;
        for text in found.iter_mut().flatten() {
            *text = text.replace(&self.owner, "owner").replace(&self.writer, "writer");
        }
        found
    }

    /// Runs a script as the owner, with psql if it is installed.
    pub(super) async fn run_script(&self, script: &str) -> bool {
        let file = self.world.path("script.sql");
        std::fs::write(&file, script).unwrap();
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--file"]).arg(&file).arg(self.url(&self.owner));
        match psql.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status() {
            Ok(status) => status.success(),
            Err(_) => self.execute_as(&self.owner, script).await.is_ok(),
        }
    }
}
