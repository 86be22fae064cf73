//! What can go wrong with the learner database, one variant for each thing a caller does differently.

use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;

use super::postgres::OLDEST;
use super::{TableFault, postgres, sqlite};

/// What a database said; of a server without the line of its own source code, which tells an administrator nothing.
#[derive(Debug)]
pub struct Cause(sqlx::Error);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match postgres::words(&self.0) {
            Some(words) => f.write_str(&words),
            None => self.0.fmt(f),
        }
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if postgres::words(&self.0).is_some() { None } else { self.0.source() }
    }
}

impl Deref for Cause {
    type Target = sqlx::Error;

    fn deref(&self) -> &sqlx::Error {
        &self.0
    }
}

impl From<sqlx::Error> for Cause {
    fn from(error: sqlx::Error) -> Self {
        Self(error)
    }
}

/// The learner database cannot be used, or something went wrong with it as a whole.
///
/// A row that it refuses is no error but a result: see [`super::Applied`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A matter of paths and permissions: the configuration is wrong, not the database.
    #[error("cannot open the learner database {}", path.display())]
    CannotOpen {
        /// The file, or the directory that could not be made.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Opened to read, and there is no file yet.
    #[error("there is no learner database at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{} is not an SQLite database", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The database of another program, such as that of a mistyped path. Nothing was written to it.
    #[error("{database} is the database of another program: it has {}, and no table learners", some_of(tables))]
    Foreign {
        /// Which.
        database: String,
        /// What is in it.
        tables: Vec<String>,
    },
    /// A database with tables of these names that are not ours. Nothing was written to it.
    #[error("the learner database has tables of another make: {}", missing.join(", "))]
    NotOurs {
        /// What is missing, each in words such as `learners lacks the column email`.
        missing: Vec<String>,
    },
    /// The configured learners table of somebody else is not as it must be. Nothing was written.
    #[error("the learners table cannot be used:\n{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Table {
        /// Everything that is wrong.
        faults: Vec<TableFault>,
    },
    /// Written by a newer learner-sync.
    #[error("the learner database has schema version {found}; this learner-sync knows up to {supported}")]
    Newer {
        /// What the database says.
        found: i64,
        /// What this program knows.
        supported: i64,
    },
    /// Opened to read, and not migrated yet (0: there are no tables at all).
    #[error(
        "the learner database has schema version {found}, this learner-sync needs {supported}: a cycle migrates it"
    )]
    Older {
        /// What the database says.
        found: i64,
        /// What this program needs.
        supported: i64,
    },
    /// A server whose tables have to be made or completed by somebody else. Nothing was tried.
    #[error(
        "{}, and the role {role} {obstacle}: their owner has to run `learner-sync schema apply`",
        standing(*found, *supported)
    )]
    NotTheOwner {
        /// What the database says; 0 when there are no tables to be seen.
        found: i64,
        /// What this program needs.
        supported: i64,
        /// Our role.
        role: String,
        /// Why it cannot, in words such as `does not own them`.
        obstacle: String,
    },
    /// A role that may not do all that a cycle does.
    #[error("the role {role} may not do all that a cycle does; have the owner of the tables run: {}", missing.join("; "))]
    NotGranted {
        /// Which.
        role: String,
        /// What grants the rest.
        missing: Vec<String>,
    },
    /// People are linked to rows that our role cannot see. Nothing was written.
    #[error(
        "{hidden} people are linked to rows of {table} that the role {role} cannot see: row-level security hides them"
    )]
    Hidden {
        /// How many.
        hidden: u64,
        /// The learners table.
        table: String,
        /// Our role.
        role: String,
    },
    /// There is no room for what was to be written. Nothing of it was.
    #[error("the disk is full: the learner database {database} cannot be written")]
    Full {
        /// Which.
        database: String,
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// A server to which there is no connection: it is away, or it refuses this one.
    #[error("cannot connect to the learner database {server} ({place}: learners.database_url)")]
    NoConnection {
        /// Which database, where, and as whom.
        server: String,
        /// Where the configuration says so.
        place: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The server is there, but too old.
    #[error(
        "the learner database needs PostgreSQL {OLDEST} or newer; {server} runs version {found} ({place}: learners.database_url)"
    )]
    TooOld {
        /// Which database, where, and as whom.
        server: String,
        /// Where the configuration says so.
        place: String,
        /// Its version.
        found: String,
    },
    /// The connection broke. What was not committed is undone; a commit that was under way may have happened.
    #[error("the connection to the learner database is lost")]
    Lost(#[source] Cause),
    /// A server that refused a statement in words that may hold values of a user.
    #[error("the learner database refused a statement with SQLSTATE {code}")]
    Refused {
        /// The code of the error.
        code: String,
    },
    /// Somebody else writes to it and did not finish in time.
    #[error("the learner database is locked by another process")]
    Busy(#[source] Cause),
    /// A value in it is none that learner-sync writes.
    #[error("the learner database has a value in {column} that cannot be read")]
    Unreadable {
        /// Table and column.
        column: &'static str,
    },
    /// What stands in the file is no database any more.
    #[error("the learner database is damaged")]
    Damaged(#[source] Cause),
    /// Anything else: the query failed.
    #[error("the learner database failed")]
    Database(#[source] Cause),
}

fn standing(found: i64, supported: i64) -> String {
    match found {
        0 => "the learner database lacks the tables of learner-sync".to_owned(),
        found => format!("the learner database has schema version {found}, this learner-sync needs {supported}"),
    }
}

/// A few names, and how many more there are.
fn some_of(tables: &[String]) -> String {
    const FEW: usize = 5;
    let (named, more) = tables.split_at(tables.len().min(FEW));
    let plural = if tables.len() == 1 { "" } else { "s" };
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    format!("the table{plural} {}{more}", named.join(", "))
}

impl StoreError {
    /// What the administrator can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::CannotOpen { path, .. } => {
                format!("the service user must own {} and be able to write to its directory", path.display())
            }
            Self::NotADatabase { .. } => "name another file in learners.database_url".to_owned(),
            Self::Foreign { .. } => {
                "name another file in learners.database_url; if this is the platform's own database, \
                                     make the table learners in it first"
                    .to_owned()
            }
            Self::NotOurs { .. } => {
                "nothing was written to it: add what is missing; if tables of the platform have these names, name another \
                 file in learners.database_url, or give the role a schema of its own and no other in its search_path: \
                 learner-sync guide existing-table"
                    .to_owned()
            }
            Self::Newer { .. } => "install the newer learner-sync again, or restore a backup from before it".to_owned(),
            Self::Damaged(_) => "stop the daemon and restore a backup: learner-sync guide backup".to_owned(),
            Self::Hidden { table, role, .. } => format!(
                "have the owner of the table run: CREATE POLICY learner_sync ON {table} TO {role} USING (true) WITH CHECK (true)"
            ),
            Self::Full { .. } => "make room; nothing is lost, and the next cycle carries on".to_owned(),
            Self::NoConnection { source, .. } | Self::Database(source) => return postgres::advice(source),
            Self::TooOld { .. } => format!("move the learners to a server with PostgreSQL {OLDEST} or newer"),
            Self::Lost(_) => "nothing is lost: the next cycle finds out what was written, and carries on".to_owned(),
            Self::Refused { code } => format!("the log of the server tells more: look for {code}"),
            Self::Table { .. }
            | Self::Missing { .. }
            | Self::Older { .. }
            | Self::NotTheOwner { .. }
            | Self::NotGranted { .. }
            | Self::Busy(_)
            | Self::Unreadable { .. } => return None,
        })
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if sqlite::is_busy(&error) || postgres::is_busy(&error) {
            Self::Busy(Cause(error))
        } else if sqlite::is_damage(&error) {
            Self::Damaged(Cause(error))
        } else if postgres::is_loss(&error) {
            Self::Lost(Cause(error))
        } else if let Some(code) = postgres::untold(&error) {
            Self::Refused { code }
        } else {
            Self::Database(Cause(error))
        }
    }
}

/// Why the database refuses this very row, when that is what the error says. Names columns, never values.
pub(super) fn refusal(error: &sqlx::Error) -> Option<String> {
    sqlite::refusal(error).or_else(|| postgres::refusal(error))
}
