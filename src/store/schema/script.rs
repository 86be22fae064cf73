//! The tables as an SQL script, for their owner to read and run.

use super::grants::grants;
use super::{VERSION, migration_statements, postgres};
use crate::store::db::Dialect;
use crate::store::table::{Layout, display_name};

/// The SQL that migrates the tables from version `from` and grants `writer` the rights of a daemon.
pub(crate) fn script(dialect: Dialect, layout: &Layout, from: usize, writer: Option<&str>) -> String {
    let statements = migration_statements(dialect, layout, from);
    let mut script = String::new();
    let mut comment = |text: &str| script.extend(["-- ", text, "\n"]);
    match (from, statements.len()) {
        (0, _) => comment(&format!("The tables of learner-sync, schema version {VERSION}.")),
        (_, 0) => comment(&format!("The tables of learner-sync already have schema version {VERSION}.")),
        (from, _) => {
            comment(&format!("Migrates the tables of learner-sync from schema version {from} to {VERSION}."));
            comment("Fails without a change if they have another version.");
        }
    }
    if let Some(table) = &layout.external {
        let name = display_name(table).replace(char::is_control, " ");
        comment(&format!("The learners are rows of {name}, which sync_links refers to; that table is not changed."));
    }
    match dialect {
        Dialect::Sqlite => {
            comment("Run it as the user of the daemon: sqlite3 FILE < SCRIPT");
            // Otherwise sqlite3 continues after a failed statement, and commits the rest.
            script.push_str(".bail on\n\nBEGIN IMMEDIATE;\n");
        }
        Dialect::Postgres => {
            comment("Run it as the owner of the tables: psql --set ON_ERROR_STOP=1 --file SCRIPT DATABASE");
            script.push_str("\nBEGIN;\n");
            script.extend([
                "-- Excludes a cycle that creates them at the same time.\n",
                postgres::MIGRATION_LOCK,
                ";\n",
            ]);
        }
    }
    script.extend(statements);
    if let Some(writer) = writer {
        script.push_str("\n-- The rights that a daemon with this role needs, and no others.\n");
        script.extend(grants(layout, writer));
    }
    script.push_str("\nCOMMIT;");
    script
}

#[cfg(test)]
mod tests {
    use super::super::VERSION;
    use super::*;

    fn check(dialect: Dialect, from: usize, expect: &[&str]) {
        let text = script(dialect, &Layout::standard(), from, None);
        let is_said = |line: &&str| !line.is_empty() && !line.starts_with("--");
        let lines: Vec<&str> = text.lines().filter(is_said).collect();
        assert_eq!(lines[..expect.len().min(lines.len())], *expect, "{dialect:?} from {from}");
        assert_eq!(lines.last(), Some(&"COMMIT;"));
    }

    #[test]
    fn a_migration_checks_the_version_first() {
        let newest = usize::try_from(VERSION).unwrap();
        let version = format!("UPDATE sync_state SET schema_version = CASE schema_version WHEN 2 THEN {newest} END;");
        let version = version.as_str();
        let lock = "SELECT pg_advisory_xact_lock(1280530766);";
        let column = "ALTER TABLE sync_links ADD COLUMN switched_off_at timestamptz;";
        check(Dialect::Postgres, 2, &["BEGIN;", lock, version, column]);
        let column = "ALTER TABLE sync_links ADD COLUMN switched_off_at TEXT;";
        check(Dialect::Sqlite, 2, &[".bail on", "BEGIN IMMEDIATE;", version, column]);
        check(Dialect::Postgres, newest, &["BEGIN;", lock, "COMMIT;"]);
        check(Dialect::Sqlite, newest, &[".bail on", "BEGIN IMMEDIATE;", "COMMIT;"]);
    }
}
