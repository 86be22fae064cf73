//! Single commands: output, changes and exit codes.

mod approve;
mod check;
mod check_machine;
mod completions;
mod exits;
mod guide;
mod init;
mod log;
mod man;
mod mapping;
mod plan;
mod provision;
mod relink;
mod schema;
mod status;
mod sync;
mod take_over;
mod terminal;

/// The keys of the document that `sync --json` prints.
const SUMMARY: [&str; 15] = [
    "created",
    "cycle",
    "deactivated",
    "duration_ms",
    "error",
    "failed",
    "held",
    "in_scope",
    "outcome",
    "reactivated",
    "requests",
    "skipped",
    "trigger",
    "unchanged",
    "updated",
];
