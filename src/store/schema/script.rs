//! The tables as a script, for whoever owns them to read and to run.

use super::grants::grants;
use super::{VERSION, layout, postgres, statements};
use crate::model::Table;
use crate::store::connection::Dialect;
use crate::store::layout::Layout;
use crate::store::{DatabaseLocation, LearnerDatabase, Store, StoreError, sqlite, table};

impl Store {
    /// The SQL that brings the tables from version `from` to this program's, and grants `writer` what a daemon needs. Only
    /// a table of somebody else is looked at: our links have ids of the kind that it has.
    pub async fn script(
        learners: impl Into<LearnerDatabase>,
        from: usize,
        writer: Option<&str>,
    ) -> Result<String, StoreError> {
        let LearnerDatabase { place, table } = learners.into();
        let external = table.as_ref();
        let layout = match (&place, external) {
            (_, None) => Layout::of_design(),
            (DatabaseLocation::File(path), Some(_)) => {
                sqlite::inspect_to_read(path, external).await?;
                let mut connection = sqlite::connect_to_read(path).await?;
                let found = layout(&mut connection, external).await;
                connection.close().await?;
                found?
            }
            (DatabaseLocation::Server(server), Some(_)) => {
                let mut connection = crate::store::postgres::connect_to_read(server).await?;
                let found = layout(&mut connection, external).await?;
                connection.close().await?;
                found
            }
        };
        let dialect = match place {
            DatabaseLocation::File(_) => Dialect::Sqlite,
            DatabaseLocation::Server(_) => Dialect::Postgres,
        };
        Ok(script(dialect, &layout, external, from, writer))
    }
}

fn script(dialect: Dialect, layout: &Layout, external: Option<&Table>, from: usize, writer: Option<&str>) -> String {
    let statements = statements(dialect, layout, external.is_none(), from);
    let mut script = String::new();
    let mut comment = |text: &str| script.extend(["-- ", text, "\n"]);
    match (from, statements.len()) {
        (0, _) => comment(&format!("The tables of learner-sync, schema version {VERSION}.")),
        (_, 0) => comment(&format!("The tables of learner-sync have schema version {VERSION} already.")),
        (from, _) => {
            comment(&format!("Brings the tables of learner-sync from schema version {from} to {VERSION}."));
            comment("Where they are of another version it fails, and changes nothing.");
        }
    }
    if let Some(table) = external {
        let name = table::shown(table).replace(char::is_control, " ");
        comment(&format!("The learners are rows of {name}, which sync_links refers to; nothing is made there."));
    }
    match dialect {
        Dialect::Sqlite => {
            comment("To be run as the user that the daemon runs as: sqlite3 FILE < SCRIPT");
            // Or it would go on after a statement that fails, and commit the rest.
            script.push_str(".bail on\n\nBEGIN IMMEDIATE;\n");
        }
        Dialect::Postgres => {
            comment("To be run by the owner of the tables: psql --set ON_ERROR_STOP=1 --file SCRIPT DATABASE");
            script.push_str("\nBEGIN;\n");
            script.extend(["-- No cycle makes them at the same time.\n", postgres::ONE_AT_A_TIME, ";\n"]);
        }
    }
    script.extend(statements);
    if let Some(writer) = writer {
        script.push_str("\n-- What a daemon needs that signs in as this role, and no more.\n");
        script.extend(grants(layout, external, writer));
    }
    script.push_str("\nCOMMIT;");
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dialect: Dialect, from: usize, expect: &[&str]) {
        let text = script(dialect, &Layout::of_design(), None, from, None);
        let is_said = |line: &&str| !line.is_empty() && !line.starts_with("--");
        let lines: Vec<&str> = text.lines().filter(is_said).collect();
        assert_eq!(lines[..expect.len().min(lines.len())], *expect, "{dialect:?} from {from}");
        assert_eq!(lines.last(), Some(&"COMMIT;"));
    }

    #[test]
    fn an_upgrade_looks_at_the_version_first_and_says_what_is_new() {
        let version = "UPDATE sync_state SET schema_version = CASE schema_version WHEN 2 THEN 4 END;";
        let lock = "SELECT pg_advisory_xact_lock(1280530766);";
        let column = "ALTER TABLE sync_links ADD COLUMN switched_off_at timestamptz;";
        check(Dialect::Postgres, 2, &["BEGIN;", lock, version, column]);
        let column = "ALTER TABLE sync_links ADD COLUMN switched_off_at TEXT;";
        check(Dialect::Sqlite, 2, &[".bail on", "BEGIN IMMEDIATE;", version, column]);
        check(Dialect::Postgres, 4, &["BEGIN;", lock, "COMMIT;"]);
        check(Dialect::Sqlite, 4, &[".bail on", "BEGIN IMMEDIATE;", "COMMIT;"]);
    }
}
