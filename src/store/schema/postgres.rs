//! The tables for PostgreSQL.

use crate::store::table::Layout;

/// See [`super::VERSION`].
pub(super) const MIGRATIONS: &[&str] = &[
    // All tables but learners.
    include_str!("postgres/001_tables.sql"),
    // When the credential was checked, and when it expires.
    include_str!("postgres/002_credential.sql"),
    // When a learner was deactivated whose table has no column for it.
    include_str!("postgres/003_deactivated_at.sql"),
    // Earlier versions kept this state in `detail`: why a user waits, which drift was reported, who approved.
    include_str!("postgres/004_typed_state.sql"),
    // The sources that took over learners and have not completed a cycle since.
    include_str!("postgres/005_taken_over.sql"),
    // How the last cycle found the clocks of this machine and of Graph.
    include_str!("postgres/006_clock.sql"),
    // The names of a learner in the letter case in which they were written: the database may keep its own.
    include_str!("postgres/007_spelling.sql"),
    // Whether every link can be read, so that a cycle need not read all of them. A trigger notices an edit by hand.
    include_str!("postgres/008_inspected_links.sql"),
    // Which answer of Graph decided, and whether a hold begins or ends.
    include_str!("postgres/009_request_id_and_phase.sql"),
    // Whether a cycle was a run for one user, and whether it compared the whole learner database.
    include_str!("postgres/010_cycle_kind.sql"),
    // The daemons of each source, and when its next cycle is due: several daemons may serve one source.
    include_str!("postgres/011_daemons.sql"),
    // The reason of the held change, beside the reason of the hold.
    include_str!("postgres/012_change_reason.sql"),
    // When each daemon is overdue, and how long it waits: their configurations may differ.
    include_str!("postgres/013_promises.sql"),
    // The last message about each cause, and whether it was accepted: daemons must not send one twice.
    include_str!("postgres/014_notifications.sql"),
    // What the status page searches for among a million rows.
    include_str!("postgres/015_log_indexes.sql"),
    // The process of a cycle: after a failover, two processes may have been given one number.
    include_str!("postgres/016_cycle_writer.sql"),
];

/// Excludes another migration until the end of the transaction.
pub(super) const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(1280530766)";

/// A random generation in the form of [`crate::model::Generation`].
pub(super) const GENERATION: &str = "replace(gen_random_uuid()::text, '-', '')";

/// The tables and views that are visible without a schema, without those of extensions.
pub(super) const TABLES: &str = include_str!("postgres/visible_tables.sql");

/// The columns of the table learners, with their types.
pub(super) const COLUMNS: &str = "SELECT a.attname::text, t.typname::text
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = to_regclass('learners') AND a.attnum > 0 AND NOT a.attisdropped";

/// The number of triggers that notice a damaging edit, unless they are disabled.
pub(super) const EDIT_TRIGGERS: &str = "SELECT count(*) FROM pg_trigger
    WHERE tgrelid = to_regclass('sync_links') AND tgname = 'sync_links_edited' AND tgenabled IN ('O', 'A')";

/// The name of the database.
pub(super) const NAME: &str = "SELECT 'the PostgreSQL database ' || current_database()";

/// Whether a column of type `found` accepts our values without loss. The types that we create come first.
pub(super) fn accepts(column: &str, found: &str) -> bool {
    let types: &[&str] = match column {
        "id" => &["int8", "int4", "int2"],
        "active" | "security_champion" => &["bool"],
        "created_at" | "updated_at" | "deactivated_at" => &["timestamptz", "timestamp"],
        _ => &["text", "varchar", "citext"],
    };
    types.contains(&found)
}

/// The table that the links refer to, and whether it differs from the learners table.
pub(super) const LINKED_TABLE: &str = "SELECT c.confrelid::regclass::text || ' (' || a.attname || ')',
            c.confrelid IS DISTINCT FROM to_regclass($1)::oid OR a.attname <> $2
    FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = c.confkey[1]
    WHERE c.conrelid = to_regclass('sync_links') AND c.conname = 'sync_links_row'";

// IF NOT EXISTS, because the training platform may have created the table. Names and ids are compared byte by byte in any
// locale; the collation C folds ASCII only.
pub(super) const LEARNERS: &str = include_str!("postgres/000_learners.sql");

/// The statement that adds the foreign key from the links to the learner rows again.
pub(super) fn link_foreign_key(layout: &Layout) -> String {
    let Layout { table, .. } = layout;
    format!(
        "ALTER TABLE sync_links ADD CONSTRAINT sync_links_row FOREIGN KEY (learner_id) REFERENCES {table} ({}) ON DELETE \
         CASCADE",
        layout.id()
    )
}
