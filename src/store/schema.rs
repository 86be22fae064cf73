//! The tables, how they are made, and how a database that is not ours is told apart.

mod grants;
mod make;
mod owner;
mod postgres;
mod script;
mod sqlite;

use std::collections::{BTreeMap, BTreeSet};

pub use self::make::Made;
use super::connection::{Connection, Dialect};
use super::error::refusal;
use super::layout::{Key, Layout};
use super::postgres::{explanation, is_denied, missing_rights};
use super::sql::Statement;
use super::transaction::in_a_migration;
use super::{StoreError, table};
use crate::model::Table;

/// The schema this program knows. What brings a database from version `n` to `n + 1` is at index `n` of the migrations
/// of each kind of database. A migration that has been released is never edited.
pub(super) const VERSION: i64 = sqlite::MIGRATIONS.len() as i64;
const _: () = assert!(sqlite::MIGRATIONS.len() == postgres::MIGRATIONS.len(), "both kinds have the same versions");

/// The columns without which a learners table is not the one of the design.
pub(super) const LEARNERS: &[&str] = &[
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

/// The tables of version 1 beside learners and sync_state.
const OTHERS: &[&str] =
    &["provisioning_log", "sync_cycles", "sync_links", "sync_held", "sync_failures", "sync_groups", "audit_log"];

/// Refuses a database that this program cannot read as it is.
pub(super) async fn check(connection: &mut Connection, external: Option<&Table>) -> Result<Layout, StoreError> {
    let layout = layout(connection, external).await?;
    match readable_version(connection, &layout, external).await? {
        VERSION => {}
        found => {
            owner::check(connection, &layout, external, found).await?;
            writable(connection, &layout, external, found).await?;
            return Err(StoreError::Older { found, supported: VERSION });
        }
    }
    same_table(connection, &layout, external).await?;
    Ok(layout)
}

/// Makes or completes the tables; refuses a database that is not ours, and a learners table that does not fit, with
/// nothing written.
pub(super) async fn migrate(connection: &mut Connection, external: Option<&Table>) -> Result<Layout, StoreError> {
    let layout = layout(connection, external).await?;
    let ours = external.is_none();
    let _found = match connection {
        // The write lock even when there is nothing to migrate: a file that cannot be written shows itself now.
        Connection::Sqlite(_) => in_a_migration(connection, async |it| run(it, &layout, ours).await).await?,
        // Many a cycle begins while an administrator looks at the tables; only what has to be changed is locked.
        Connection::Postgres(_) => match readable_version(connection, &layout, external).await? {
            VERSION => VERSION,
            found => {
                owner::check(connection, &layout, external, found).await?;
                writable(connection, &layout, external, found).await?;
                in_a_migration(connection, async |it| run(it, &layout, ours).await).await?
            }
        },
    };
    same_table(connection, &layout, external).await?;
    Ok(layout)
}

/// The tables in a new database in memory, for learners as `layout` has them.
pub(super) async fn make(connection: &mut Connection, layout: &Layout) -> Result<(), StoreError> {
    in_a_migration(connection, async |it| run(it, layout, true).await.map(drop)).await
}

/// The version of the tables; which rights our role lacks when it may not even read that.
async fn readable_version(
    connection: &mut Connection,
    layout: &Layout,
    external: Option<&Table>,
) -> Result<i64, StoreError> {
    match version(connection, external.is_some()).await {
        Err(StoreError::Database(error)) if is_denied(&error) => {
            let (role, missing) = missing_rights(connection, None, external, layout).await?;
            if missing.is_empty() {
                Err(StoreError::Database(error))
            } else {
                Err(StoreError::NotGranted { role, missing })
            }
        }
        found => found,
    }
}

/// Refuses a table of somebody else that our role may not write, before it makes tables of ours for it.
async fn writable(
    connection: &mut Connection,
    layout: &Layout,
    external: Option<&Table>,
    found: i64,
) -> Result<(), StoreError> {
    let (Some(table), Dialect::Postgres, 0) = (external, connection.dialect(), found) else { return Ok(()) };
    let role: String = connection.row(Statement::new("SELECT current_user::text")).await?.get(0)?;
    match table::missing_rights(connection, &role, table, layout).await? {
        Some(missing) => Err(StoreError::NotGranted { role, missing: vec![missing] }),
        None => Ok(()),
    }
}

async fn layout(connection: &mut Connection, external: Option<&Table>) -> Result<Layout, StoreError> {
    let Some(table) = external else { return Ok(Layout::of_design()) };
    let looked = table::look(connection, table).await;
    if let (Err(StoreError::Database(error)), Some(schema)) = (&looked, &table.schema)
        && is_denied(error)
    {
        return Err(owner::schema_hidden(connection, schema).await?);
    }
    if let (Err(StoreError::Table { .. }), Dialect::Postgres) = (&looked, connection.dialect()) {
        owner::check_schemas(connection, external).await?;
    }
    looked
}

/// The statements that bring the tables from version `found` to this program's, the learners' own included when they
/// are `ours`; none when they are of this version already.
pub(super) fn statements(dialect: Dialect, layout: &Layout, ours: bool, found: usize) -> Vec<String> {
    let (learners, migrations, id, key) = match (dialect, layout.key) {
        (Dialect::Sqlite, Key::Number) => {
            (sqlite::LEARNERS, sqlite::MIGRATIONS, "INTEGER PRIMARY KEY AUTOINCREMENT", "INTEGER")
        }
        // Only ever in a copy in memory, whose rows have their ids.
        (Dialect::Sqlite, Key::Uuid) => (sqlite::LEARNERS, sqlite::MIGRATIONS, sqlite::UUID_KEY, "TEXT"),
        (Dialect::Postgres, Key::Number) => {
            (postgres::LEARNERS, postgres::MIGRATIONS, "bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", "bigint")
        }
        (Dialect::Postgres, Key::Uuid) => (postgres::LEARNERS, postgres::MIGRATIONS, "uuid PRIMARY KEY", "uuid"),
    };
    let learners = (ours && found == 0).then_some(learners);
    let rest = migrations[found.min(migrations.len())..].iter().copied();
    let filled = |text: &str| {
        let text = text.replace("{id}", id).replace("{key}", key).replace("{learners_id}", layout.id());
        text.replace("{learners}", &layout.table)
    };
    let random = match dialect {
        Dialect::Sqlite => sqlite::GENERATION,
        Dialect::Postgres => postgres::GENERATION,
    };
    let version = match found {
        0 => Some(format!(
            "\nINSERT INTO sync_state (only_row, schema_version, generation) VALUES (1, {VERSION}, {random});\n"
        )),
        // Of any other version it has no value, which the column refuses.
        found if found < migrations.len() => Some(format!(
            "\nUPDATE sync_state SET schema_version = CASE schema_version WHEN {found} THEN {VERSION} END;\n"
        )),
        _ => None,
    };
    let tie = (dialect == Dialect::Sqlite && !ours && found == 0).then_some(sqlite::TIE);
    let mut all: Vec<String> = learners.into_iter().chain(rest).chain(tie).map(filled).collect();
    // An upgrade begins with it, so that nothing else is tried on tables of another version.
    all.splice(if found == 0 { all.len()..all.len() } else { 0..0 }, version);
    all
}

/// Makes or completes the tables; answers which version they had.
async fn run(connection: &mut Connection, layout: &Layout, ours: bool) -> Result<i64, StoreError> {
    let dialect = connection.dialect();
    if dialect == Dialect::Postgres {
        // Two that find a new database at the same time make its tables one after the other.
        connection.script(postgres::ONE_AT_A_TIME).await?;
    }
    let found = version(connection, !ours).await?;
    let done = usize::try_from(found).unwrap_or(0);
    for migration in statements(dialect, layout, ours, done) {
        connection.script(&migration).await.map_err(|error| match refusal(&error).or_else(|| explanation(&error)) {
            // Only an index over a table that was there before can fail so.
            Some(why) => StoreError::NotOurs { missing: vec![format!("learners cannot be indexed: {why}")] },
            None => error.into(),
        })?;
    }
    Ok(found)
}

/// Refuses links that name rows of another table than the one that is configured, or of one that was made anew: its ids
/// may be those of other users.
async fn same_table(connection: &mut Connection, layout: &Layout, external: Option<&Table>) -> Result<(), StoreError> {
    let statement = match connection.dialect() {
        Dialect::Sqlite => Statement::new(sqlite::LINKED_TABLE).bind(layout.name_of_table()),
        Dialect::Postgres => Statement::new(postgres::LINKED_TABLE).bind(layout.table.as_str()),
    };
    let row = connection.optional_row(statement.bind(layout.plain_id())).await?;
    let fault = match &row {
        Some(row) if row.get(1)? => Some(table::linked_to_another(external, layout.plain_id(), row.get(0)?)),
        Some(_) => None,
        // Whoever drops a table of a server with all that depends on it, or makes it anew, has cut them off.
        None => match external {
            Some(table) => Some(table::cut_off(table, postgres::tie(layout))),
            None => {
                let why = "sync_links is not tied to learners any more, which was dropped or made anew".to_owned();
                return Err(StoreError::NotOurs { missing: vec![why] });
            }
        },
    };
    if let Some(fault) = fault {
        return Err(StoreError::Table { faults: vec![fault] });
    }
    if let (Dialect::Sqlite, Some(table)) = (connection.dialect(), external) {
        let tied = Statement::new(sqlite::TIED).bind(layout.name_of_table());
        if !connection.row(tied).await?.get::<bool, _>(0)? {
            let tie = sqlite::TIE.replace("{learners_id}", layout.id()).replace("{learners}", &layout.table);
            return Err(StoreError::Table { faults: vec![table::cut_off(table, tie.trim().replace('\n', " "))] });
        }
    }
    Ok(())
}

/// The version of the tables, 0 when there are none; an error when they are not ours or too new.
///
/// The table of the learners is looked at when it is ours, not `external`.
pub(super) async fn version(connection: &mut Connection, external: bool) -> Result<i64, StoreError> {
    let (tables, columns, name) = match connection {
        Connection::Sqlite(_) => (sqlite::TABLES, sqlite::COLUMNS, sqlite::NAME),
        Connection::Postgres(_) => (postgres::TABLES, postgres::COLUMNS, postgres::NAME),
    };
    let tables = connection.rows(Statement::new(tables)).await?;
    let tables: BTreeSet<String> = tables.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?;
    let mut found = 0;
    if tables.contains("sync_state") {
        let unversioned = || StoreError::NotOurs { missing: vec!["sync_state lacks a schema version".to_owned()] };
        let row = connection.optional_row(Statement::new("SELECT schema_version FROM sync_state")).await;
        let row = row.map_err(|error| if explanation(&error).is_some() { unversioned() } else { error.into() })?;
        let version = row.and_then(|row| row.get::<i64, _>(0).ok());
        found = version.filter(|version| *version > 0).ok_or_else(unversioned)?;
        if found > VERSION {
            return Err(StoreError::Newer { found, supported: VERSION });
        }
    }

    if found == 0
        && !external
        && !tables.contains("learners")
        && tables.iter().any(|table| !OTHERS.contains(&table.as_str()))
    {
        let database = connection.row(Statement::new(name)).await?.get(0)?;
        return Err(StoreError::Foreign { database, tables: tables.into_iter().collect() });
    }
    let mut missing = Vec::new();
    if external {
        // It has been compared with the configuration already.
    } else if tables.contains("learners") {
        let mut there: BTreeMap<String, Option<String>> = BTreeMap::new();
        for row in connection.rows(Statement::new(columns)).await? {
            there.insert(row.get(0)?, row.get(1)?);
        }
        for column in LEARNERS {
            match there.get(*column) {
                None => missing.push(format!("learners lacks the column {column}")),
                Some(Some(found)) if !postgres::takes(column, found) => {
                    missing.push(format!("the column {column} of learners is of type {found}"));
                }
                Some(_) => {}
            }
        }
    } else if found > 0 {
        missing.push("the table learners is missing".to_owned());
    }
    for table in OTHERS {
        match (found > 0, tables.contains(*table)) {
            (true, false) => missing.push(format!("the table {table} is missing")),
            (false, true) => missing.push(format!("there is a table {table}, but no sync_state")),
            (true, true) | (false, false) => {}
        }
    }
    if missing.is_empty() { Ok(found) } else { Err(StoreError::NotOurs { missing }) }
}
