//! The tables: how they are created and migrated, and how a foreign database is recognised.

mod grants;
mod owner;
mod postgres;
mod refusals;
mod rights;
mod script;
mod sqlite;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use self::grants::grant;
pub(crate) use self::owner::check_ownership;
pub(crate) use self::refusals::{describe_refusal, message_of};
pub(crate) use self::rights::missing_rights;
pub(crate) use self::script::script;
use super::db::{Connection, DbError, Dialect, Statement, TransactionEnd, in_transaction};
use super::error::StoreError;
use super::table::{
    Key, Layout, links_another_table, links_without_foreign_key, missing_column_rights, read_external_layout,
};
use crate::model::Table;

/// The schema version of this program. Migration `n` of each engine leads from version `n` to `n + 1`. A released
/// migration is never edited.
pub(crate) const VERSION: i64 = sqlite::MIGRATIONS.len() as i64;
const _: () = assert!(sqlite::MIGRATIONS.len() == postgres::MIGRATIONS.len(), "both engines have the same versions");

/// The statement that excludes other writers of our tables on PostgreSQL. Readers do not wait for it, and the training
/// platform does not use this table.
pub(crate) const WRITE_LOCK: &str = "SELECT 1 FROM sync_state FOR UPDATE";

/// The columns of our own learners table.
const LEARNERS_COLUMNS: &[&str] = &[
    "id",
    "external_id",
    "user_name",
    "email",
    "first_name",
    "last_name",
    "title",
    "employee_number",
    "department",
    "country",
    "job_role",
    "company",
    "business_unit",
    "team_name",
    "security_champion",
    "active",
    "created_at",
    "updated_at",
    "deactivated_at",
];

/// The other tables of version 1, beside sync_state.
const OTHER_TABLES: &[&str] =
    &["provisioning_log", "sync_cycles", "sync_links", "sync_held", "sync_failures", "sync_groups", "audit_log"];

/// Checks that this program can read the database, and returns its layout.
pub(crate) async fn check(connection: &mut Connection, external: Option<&Table>) -> Result<Layout, StoreError> {
    let layout = read_layout(connection, external).await?;
    let found = migratable_version(connection, &layout).await?;
    if found != VERSION {
        return Err(StoreError::Older { found, supported: VERSION });
    }
    check_links(connection, &layout).await?;
    Ok(layout)
}

/// Creates or migrates the tables. Writes nothing to a foreign database, or beside an unusable learners table.
pub(crate) async fn migrate(connection: &mut Connection, external: Option<&Table>) -> Result<Layout, StoreError> {
    let layout = read_layout(connection, external).await?;
    let migrates = match connection.dialect() {
        // Takes the write lock even without a migration: a file that cannot be written fails here.
        Dialect::Sqlite => true,
        // Takes no lock without a migration: a cycle may begin while an administrator reads the tables.
        Dialect::Postgres => migratable_version(connection, &layout).await? != VERSION,
    };
    if migrates {
        migrate_in_transaction(connection, &layout).await?;
    }
    check_links(connection, &layout).await?;
    Ok(layout)
}

/// Creates or migrates the tables; returns their previous version.
pub(crate) async fn migrate_in_transaction(connection: &mut Connection, layout: &Layout) -> Result<i64, StoreError> {
    let end = TransactionEnd::Commit;
    in_transaction(connection, None, end, async |connection| run_migrations(connection, layout).await).await
}

/// The version of the tables.
///
/// # Errors
/// With the missing rights if the role may not even read that, or if the version is old and the role may not migrate.
async fn migratable_version(connection: &mut Connection, layout: &Layout) -> Result<i64, StoreError> {
    let found = match peek_schema(connection, layout.external.is_some()).await {
        Err(StoreError::Database(error @ DbError::Denied(_))) => {
            let (role, missing) = missing_rights(connection, None, layout).await?;
            return Err(if missing.is_empty() { error.into() } else { StoreError::NotGranted { role, missing } });
        }
        found => found?,
    };
    if found != VERSION {
        check_ownership(connection, layout, found).await?;
    }
    // Refuses an external table that the role may not write, before tables are created for it.
    if found == 0 && connection.dialect() == Dialect::Postgres && layout.external.is_some() {
        let role: String = connection.row(Statement::new("SELECT current_user::text")).await?.get(0)?;
        if let Some(missing) = missing_column_rights(connection, &role, layout).await? {
            return Err(StoreError::NotGranted { role, missing: vec![missing] });
        }
    }
    Ok(found)
}

/// The layout of the external table, or of our own.
pub(crate) async fn read_layout(connection: &mut Connection, external: Option<&Table>) -> Result<Layout, StoreError> {
    let Some(table) = external else { return Ok(Layout::standard()) };
    let layout = read_external_layout(connection, table).await;
    if let (Err(StoreError::Database(DbError::Denied(_))), Some(schema)) = (&layout, &table.schema) {
        return Err(owner::denied_schema(connection, schema).await?);
    }
    if let (Err(StoreError::Table { .. }), Dialect::Postgres) = (&layout, connection.dialect()) {
        owner::check_schemas(connection, external).await?;
    }
    layout
}

/// The statements that migrate the tables from version `found`; none when they have this program's version. They include
/// the learners table, unless it is external.
fn migration_statements(dialect: Dialect, layout: &Layout, found: usize) -> Vec<String> {
    let ours = layout.external.is_none();
    let (learners, migrations, random) = match dialect {
        Dialect::Sqlite => (sqlite::LEARNERS, sqlite::MIGRATIONS, sqlite::GENERATION),
        Dialect::Postgres => (postgres::LEARNERS, postgres::MIGRATIONS, postgres::GENERATION),
    };
    let (id, key) = match (dialect, &layout.key) {
        (Dialect::Sqlite, Key::Number) => ("INTEGER PRIMARY KEY AUTOINCREMENT", "INTEGER"),
        // Only for a copy in memory, whose rows bring their ids.
        (Dialect::Sqlite, Key::Uuid | Key::Text(_)) => (sqlite::UUID_KEY, "TEXT"),
        (Dialect::Postgres, Key::Number) => ("bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", "bigint"),
        (Dialect::Postgres, Key::Uuid) => ("uuid PRIMARY KEY", "uuid"),
        (Dialect::Postgres, Key::Text(kind)) => ("text PRIMARY KEY", kind.as_ref()),
    };
    let learners = (ours && found == 0).then_some(learners);
    let rest = migrations[found.min(migrations.len())..].iter().copied();
    let filled = |text: &str| {
        let text = text.replace("{id}", id).replace("{key}", key).replace("{learners_id}", layout.id());
        format!("\n{}", text.replace("{learners}", &layout.table))
    };
    let version = match found {
        0 => Some(format!(
            "\nINSERT INTO sync_state (only_row, schema_version, generation) VALUES (1, {VERSION}, {random});\n"
        )),
        // For any other version the value is null, which the column refuses.
        found if found < migrations.len() => Some(format!(
            "\nUPDATE sync_state SET schema_version = CASE schema_version WHEN {found} THEN {VERSION} END;\n"
        )),
        _ => None,
    };
    let triggers: &[&str] = match dialect {
        Dialect::Sqlite if ours && found < sqlite::OWN_TRIGGERS_SINCE => &[sqlite::LINK_TRIGGER, sqlite::OWN_LEARNERS],
        // Only with the table: its absence tells a new table from the old one.
        Dialect::Sqlite if !ours && found == 0 => &[sqlite::LINK_TRIGGER],
        Dialect::Sqlite | Dialect::Postgres => &[],
    };
    let all = learners.into_iter().chain(rest).chain(triggers.iter().copied());
    let mut all: Vec<String> = all.map(filled).collect();
    // A migration starts with it, so that tables of another version are not touched.
    all.splice(if found == 0 { all.len()..all.len() } else { 0..0 }, version);
    all
}

/// Creates or migrates the tables; returns their previous version.
pub(crate) async fn run_migrations(connection: &mut Connection, layout: &Layout) -> Result<i64, StoreError> {
    let dialect = connection.dialect();
    if dialect == Dialect::Postgres {
        connection.script(postgres::MIGRATION_LOCK).await?;
    }
    let found = peek_schema(connection, layout.external.is_some()).await?;
    let done = usize::try_from(found).unwrap_or(0);
    for migration in migration_statements(dialect, layout, done) {
        connection.script(&migration).await.map_err(|error| {
            let reason = match &error {
                DbError::RowRefused { refusal, .. } => Some(describe_refusal(refusal)),
                error => error.cause().and_then(|cause| cause.statement_fault()).map(str::to_owned),
            };
            match reason {
                // Only an index on a table that the platform created can fail like this.
                Some(reason) if found == 0 => {
                    StoreError::NotOurs { missing: vec![format!("learners cannot be indexed: {reason}")] }
                }
                Some(_) | None => error.into(),
            }
        })?;
    }
    Ok(found)
}

/// Refuses links to rows of another table than the configured one, or of a table that was created again: its ids may
/// belong to other users.
pub(crate) async fn check_links(connection: &mut Connection, layout: &Layout) -> Result<(), StoreError> {
    let external = layout.external.as_ref();
    let statement = match connection.dialect() {
        Dialect::Sqlite => Statement::new(sqlite::LINKED_TABLE).bind(layout.name_of_table()),
        Dialect::Postgres => Statement::new(postgres::LINKED_TABLE).bind(layout.table.as_str()),
    };
    let row = connection.optional_row(statement.bind(layout.plain_id())).await?;
    let fault = match (row, external) {
        (Some(row), _) if row.get(1)? => links_another_table(external, layout.plain_id(), row.get(0)?),
        (Some(_), Some(table)) if connection.dialect() == Dialect::Sqlite => {
            if has_link_trigger(connection, layout).await? {
                return Ok(());
            }
            let trigger =
                sqlite::LINK_TRIGGER.replace("{learners_id}", layout.id()).replace("{learners}", &layout.table);
            links_without_foreign_key(table, trigger.trim().replace('\n', " "))
        }
        (Some(_), _) => return Ok(()),
        // The table was dropped with its foreign keys, or created again.
        (None, Some(table)) => links_without_foreign_key(table, postgres::link_foreign_key(layout)),
        (None, None) => {
            let missing = "sync_links has no foreign key to learners, which was dropped or created again".to_owned();
            return Err(StoreError::NotOurs { missing: vec![missing] });
        }
    };
    Err(StoreError::Table { faults: vec![fault] })
}

/// Whether an SQLite file deletes a link with its learner row.
pub(crate) async fn has_link_trigger(connection: &mut Connection, layout: &Layout) -> Result<bool, DbError> {
    let statement = Statement::new(sqlite::HAS_LINK_TRIGGER).bind(layout.name_of_table());
    connection.row(statement).await?.get(0)
}

/// Whether the triggers exist that notice a damaging edit of a link or of our own learners table.
pub(crate) async fn has_edit_triggers(connection: &mut Connection, layout: &Layout) -> Result<bool, DbError> {
    let statement = match connection.dialect() {
        Dialect::Sqlite => Statement::new(sqlite::EDIT_TRIGGERS),
        Dialect::Postgres => Statement::new(postgres::EDIT_TRIGGERS),
    };
    let expected = if connection.dialect() == Dialect::Sqlite && layout.external.is_none() { 2 } else { 1 };
    Ok(connection.row(statement).await?.get::<i64, _>(0)? >= expected)
}

/// Another generation only costs a full comparison.
pub(crate) const NO_GENERATION: &str = "00000000000000000000000000000000";

/// The only row of `sync_state` is lost, or its version is. The repair pauses provisioning only where the row is lost,
/// since it may have been paused.
fn damaged_state(has_row: bool) -> StoreError {
    if has_row {
        let repair = format!("UPDATE sync_state SET schema_version = {VERSION};");
        return StoreError::StateDamaged { fault: "its schema_version is not a version", repair };
    }
    let repair = format!(
        "INSERT INTO sync_state (only_row, schema_version, generation, paused) VALUES (1, {VERSION}, '{NO_GENERATION}', \
         true); and then `learner-sync resume`"
    );
    StoreError::StateDamaged { fault: "its only row is missing", repair }
}

/// The version of the tables, 0 when there are none. Refuses a database that is foreign or too new.
///
/// Checks the learners table unless it is `external`.
pub(crate) async fn peek_schema(connection: &mut Connection, external: bool) -> Result<i64, StoreError> {
    let (tables, columns, name) = match connection.dialect() {
        Dialect::Sqlite => (sqlite::TABLES, sqlite::COLUMNS, sqlite::NAME),
        Dialect::Postgres => (postgres::TABLES, postgres::COLUMNS, postgres::NAME),
    };
    let tables = connection.rows(Statement::new(tables)).await?;
    let tables: BTreeSet<String> = tables.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?;
    let mut found = 0;
    if tables.contains("sync_state") {
        let unversioned = || StoreError::NotOurs { missing: vec!["sync_state lacks a schema version".to_owned()] };
        let row = connection.optional_row(Statement::new("SELECT schema_version FROM sync_state")).await;
        let row = row.map_err(|error| match error.cause().and_then(|cause| cause.statement_fault()) {
            Some(_) => unversioned(),
            None => error.into(),
        })?;
        let version = row.as_ref().and_then(|row| row.get::<i64, _>(0).ok()).filter(|version| *version > 0);
        let is_ours = OTHER_TABLES.iter().all(|table| tables.contains(*table));
        found = version.ok_or_else(|| if is_ours { damaged_state(row.is_some()) } else { unversioned() })?;
        if found > VERSION {
            return Err(StoreError::Newer { found, supported: VERSION });
        }
    }

    if found == 0
        && !external
        && !tables.contains("learners")
        && tables.iter().any(|table| !OTHER_TABLES.contains(&table.as_str()))
    {
        let database = connection.row(Statement::new(name)).await?.get(0)?;
        return Err(StoreError::Foreign { database, tables: tables.into_iter().collect() });
    }
    let mut missing = Vec::new();
    if external {
        // It was compared with the configuration when its layout was read.
    } else if tables.contains("learners") {
        let mut types: BTreeMap<String, Option<String>> = BTreeMap::new();
        for row in connection.rows(Statement::new(columns)).await? {
            types.insert(row.get(0)?, row.get(1)?);
        }
        for column in LEARNERS_COLUMNS {
            match types.get(*column) {
                None => missing.push(format!("learners lacks the column {column}")),
                Some(Some(found)) if !postgres::accepts(column, found) => {
                    missing.push(format!("the column {column} of learners is of type {found}"));
                }
                Some(_) => {}
            }
        }
    } else if found > 0 {
        missing.push("the table learners is missing".to_owned());
    }
    for table in OTHER_TABLES {
        match (found > 0, tables.contains(*table)) {
            (true, false) => missing.push(format!("the table {table} is missing")),
            (false, true) => missing.push(format!("the table {table} exists without sync_state")),
            (true, true) | (false, false) => {}
        }
    }
    if missing.is_empty() { Ok(found) } else { Err(StoreError::NotOurs { missing }) }
}
