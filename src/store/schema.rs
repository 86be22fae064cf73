//! The tables, how they are made, and how a database that is not ours is told apart.

mod postgres;
mod sqlite;

use std::collections::{BTreeMap, BTreeSet};

use super::connection::Connection;
use super::error::refusal;
use super::sql::Statement;
use super::transaction::in_a_migration;
use super::{StoreError, postgres::explanation};
use crate::model::Generation;

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
pub(super) async fn check(connection: &mut Connection) -> Result<(), StoreError> {
    match version(connection).await? {
        VERSION => Ok(()),
        found => Err(StoreError::Older { found, supported: VERSION }),
    }
}

/// Makes or completes the tables; refuses a database that is not ours, with nothing written.
pub(super) async fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    match connection {
        // The write lock even when there is nothing to migrate: a file that cannot be written shows itself now.
        Connection::Sqlite(_) => in_a_migration(connection, run).await,
        // Many a cycle begins while an administrator looks at the tables; only what has to be changed is locked.
        Connection::Postgres(_) => match version(connection).await? {
            VERSION => Ok(()),
            _ => in_a_migration(connection, run).await,
        },
    }
}

async fn run(connection: &mut Connection) -> Result<(), StoreError> {
    let migrations = match connection {
        Connection::Sqlite(_) => sqlite::MIGRATIONS,
        Connection::Postgres(_) => {
            // Two that find a new database at the same time make its tables one after the other.
            connection.script(postgres::ONE_AT_A_TIME).await?;
            postgres::MIGRATIONS
        }
    };
    let found = version(connection).await?;
    let done = usize::try_from(found).unwrap_or(0);
    for migration in &migrations[done..] {
        connection.script(migration).await.map_err(|error| match refusal(&error).or_else(|| explanation(&error)) {
            // Only an index over a table that was there before can fail so.
            Some(why) => StoreError::NotOurs { missing: vec![format!("learners cannot be indexed: {why}")] },
            None => error.into(),
        })?;
    }
    if done == 0 {
        let statement =
            Statement::new("INSERT INTO sync_state (only_row, schema_version, generation) VALUES (1, $1, $2)");
        connection.execute(statement.bind(VERSION).bind(Generation(rand::random()).to_string())).await?;
    } else if found < VERSION {
        connection.execute(Statement::new("UPDATE sync_state SET schema_version = $1").bind(VERSION)).await?;
    }
    Ok(())
}

/// The version of the tables, 0 when there are none; an error when they are not ours or too new.
pub(super) async fn version(connection: &mut Connection) -> Result<i64, StoreError> {
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

    if found == 0 && !tables.contains("learners") && tables.iter().any(|table| !OTHERS.contains(&table.as_str())) {
        let database = connection.row(Statement::new(name)).await?.get(0)?;
        return Err(StoreError::Foreign { database, tables: tables.into_iter().collect() });
    }
    let mut missing = Vec::new();
    if tables.contains("learners") {
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
