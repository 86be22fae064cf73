//! The tables for SQLite. Times are text, booleans are 0 and 1.

/// See [`super::VERSION`].
pub(super) const MIGRATIONS: &[&str] = &[
    // All tables but learners.
    include_str!("sqlite/001_tables.sql"),
    // When the credential was checked, and when it expires.
    include_str!("sqlite/002_credential.sql"),
    // When a learner was deactivated whose table has no column for it.
    include_str!("sqlite/003_deactivated_at.sql"),
    // Earlier versions kept this state in `detail`: why a user waits, which drift was reported, who approved.
    include_str!("sqlite/004_typed_state.sql"),
    // The sources that took over learners and have not completed a cycle since.
    include_str!("sqlite/005_taken_over.sql"),
    // How the last cycle found the clocks of this machine and of Graph.
    include_str!("sqlite/006_clock.sql"),
    // The names of a learner in the letter case in which they were written: the database may keep its own.
    include_str!("sqlite/007_spelling.sql"),
    // Whether every link can be read, so that a cycle need not read all of them. A trigger notices an edit by hand.
    include_str!("sqlite/008_inspected_links.sql"),
    // Which answer of Graph decided, and whether a hold begins or ends.
    include_str!("sqlite/009_request_id_and_phase.sql"),
    // Whether a cycle was a run for one user, and whether it compared the whole learner database.
    include_str!("sqlite/010_cycle_kind.sql"),
    // The daemons of each source, and when its next cycle is due: several daemons may serve one source.
    include_str!("sqlite/011_daemons.sql"),
    // The reason of the held change, beside the reason of the hold.
    include_str!("sqlite/012_change_reason.sql"),
    // When each daemon is overdue, and how long it waits: their configurations may differ.
    include_str!("sqlite/013_promises.sql"),
    // The last message about each cause, and whether it was accepted: daemons must not send one twice.
    include_str!("sqlite/014_notifications.sql"),
    // What the status page searches for among a million rows.
    include_str!("sqlite/015_log_indexes.sql"),
    // The process of a cycle: after a failover, two processes may have been given one number.
    include_str!("sqlite/016_cycle_writer.sql"),
];

/// A random generation in the form of [`crate::model::Generation`].
pub(super) const GENERATION: &str = "lower(hex(randomblob(16)))";

/// The tables and views in lower case, because SQLite ignores letter case, without SQLite's own tables.
pub(super) const TABLES: &str = "SELECT lower(name) FROM sqlite_master
    WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";

/// The columns of the table learners; any column accepts any type.
pub(super) const COLUMNS: &str = "SELECT lower(name), NULL FROM pragma_table_info('learners')";

/// The name of the database.
pub(super) const NAME: &str = "SELECT file FROM pragma_database_list WHERE name = 'main'";

/// The table that the links refer to, and whether it differs from the learners table.
pub(super) const LINKED_TABLE: &str =
    "SELECT \"table\" || ' (' || \"to\" || ')', lower(\"table\") <> lower($1) OR lower(\"to\") <> lower($2)
     FROM pragma_foreign_key_list('sync_links')";

/// Whether the trigger below exists on the table with this name.
pub(super) const HAS_LINK_TRIGGER: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = 'sync_links_row' AND lower(tbl_name) = lower($1))";

/// The number of triggers that notice a damaging edit.
pub(super) const EDIT_TRIGGERS: &str = "SELECT count(*) FROM sqlite_master
    WHERE type = 'trigger' AND name IN ('sync_links_edited', 'learners_active_edited')";

/// Deletes the link with its learner row. SQLite enforces foreign keys only in connections that enable them, and may use
/// the id again. Dropping the table drops the trigger, which tells a new table from the old one.
pub(super) const LINK_TRIGGER: &str = include_str!("sqlite/link_trigger.sql");

/// Notices an edit of our own learners table that stores something else than a boolean.
pub(super) const OWN_LEARNERS: &str = include_str!("sqlite/own_learners.sql");

/// The version in which our own learners table gets both triggers.
pub(super) const OWN_TRIGGERS_SINCE: usize = 8;

/// A UUID key for a copy in memory.
pub(super) const UUID_KEY: &str = "TEXT PRIMARY KEY DEFAULT (
        lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(2))
              || '-' || hex(randomblob(6))))";

// AUTOINCREMENT, because the id of a deleted row must not be used again. IF NOT EXISTS, because the training platform may
// have created the table; for the same reason the unique indexes are separate from the columns.
pub(super) const LEARNERS: &str = include_str!("sqlite/000_learners.sql");
