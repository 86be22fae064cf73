//! Why the learner database cannot be used, one variant for each thing that a caller does differently.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::db::postgres::OLDEST_VERSION;
use super::db::{DbError, EngineReport, HostFault, PassedHost, ReadOnlyCause};
use crate::files;
use crate::model::{EntraId, chain};

/// A problem of an external learners table that must be fixed before a learner is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFault {
    /// Where the configuration names it, such as `learner-sync.toml:12:9`.
    pub place: Option<String>,
    /// The configuration key.
    pub key: String,
    /// The problem.
    pub message: String,
    /// The statement that fixes it, for the owner of the table.
    pub statement: Option<String>,
}

impl TableFault {
    /// The problem, and where the configuration names it.
    pub fn problem(&self) -> String {
        let Self { place, key, message, statement: _ } = self;
        match place {
            Some(place) => format!("{place}: {key}: {message}"),
            None => format!("{key}: {message}"),
        }
    }
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.problem())?;
        match &self.statement {
            Some(statement) => write!(f, "; to fix it: {statement};"),
            None => Ok(()),
        }
    }
}

/// The learner database cannot be used, or fails as a whole.
///
/// A refused row is not an error but a result: see [`super::Applied`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A wrong path or missing permissions: the configuration is wrong, not the database.
    #[error("cannot open the learner database {}", path.display())]
    CannotOpen {
        /// The file, or the directory that cannot be created.
        path: PathBuf,
        /// The report of the system.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another process has written learners since the cycle read the database, so its plan is outdated. Nothing was
    /// written.
    #[error("written by another process")]
    WrittenByOther,
    /// The database lacks changes that it had committed for a cycle.
    #[error("the learner database no longer has the changes of this cycle")]
    ChangesLost,
    /// An administrator has paused provisioning since the cycle began. Nothing was written.
    #[error("provisioning was paused")]
    Paused,
    /// The database refuses to relink a user; none was relinked.
    #[error("the database refuses to relink {user}: {why}; none were relinked")]
    RelinkRefused {
        /// The first such user.
        user: EntraId,
        /// The reason.
        why: String,
    },
    /// Opened to read, and the file is missing.
    #[error("the learner database {} does not exist", path.display())]
    Missing {
        /// The expected file.
        path: PathBuf,
    },
    /// A cycle has completed in this file, and now it is missing or empty. It was not created again.
    #[error("the learner database {} is missing or empty, although cycles have completed in it", path.display())]
    Vanished {
        /// The expected file.
        path: PathBuf,
    },
    /// The file has another format.
    #[error("{} is not an SQLite database", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The database of another program, for example after a typo in the path. Nothing was written to it.
    #[error("{database} belongs to another program: it contains {}, and no table learners", list_tables(tables))]
    Foreign {
        /// The database.
        database: String,
        /// The tables that it contains.
        tables: Vec<String>,
    },
    /// Tables with our names that learner-sync did not create. Nothing was written.
    #[error("the learner database contains tables that learner-sync did not create: {}", missing.join(", "))]
    NotOurs {
        /// The missing parts, such as `learners lacks the column email`.
        missing: Vec<String>,
    },
    /// The only row of `sync_state` is lost, or its schema version. Nothing was written.
    #[error("the table sync_state is damaged: {fault}")]
    StateDamaged {
        /// The problem.
        fault: &'static str,
        /// The statement that repairs it.
        repair: String,
    },
    /// A row has the highest possible id, so that the table accepts no other row.
    #[error("the table {table} accepts no row: a row has, or had, the highest possible id")]
    IdsExhausted {
        /// The table.
        table: String,
    },
    /// The configured external learners table is unusable. Nothing was written.
    #[error("the learners table cannot be used:\n{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Table {
        /// All problems.
        faults: Vec<TableFault>,
    },
    /// Written by a newer learner-sync.
    #[error("the learner database has schema version {found}; this learner-sync supports versions up to {supported}")]
    Newer {
        /// The version of the database.
        found: i64,
        /// The version of this program.
        supported: i64,
    },
    /// Opened to read, and not migrated yet.
    #[error(
        "the learner database has schema version {found}, this learner-sync needs {supported}: the next cycle migrates it"
    )]
    Older {
        /// The version of the database; 0 when it has no tables of learner-sync.
        found: i64,
        /// The version of this program.
        supported: i64,
    },
    /// The role cannot create or migrate the tables on this server. Nothing was tried.
    #[error(
        "{}, and the role {role} {obstacle}: their owner must run `learner-sync schema apply`",
        describe_version(*found, *supported)
    )]
    NotTheOwner {
        /// The version of the database; 0 when no tables of learner-sync are visible.
        found: i64,
        /// The version of this program.
        supported: i64,
        /// The role of this session.
        role: String,
        /// The reason, such as `does not own them`.
        obstacle: String,
    },
    /// The role lacks rights that a cycle needs.
    #[error("the role {role} lacks rights that a cycle needs; the owner of the tables must run: {}", missing.join("; "))]
    NotGranted {
        /// The role.
        role: String,
        /// The statements that grant them.
        missing: Vec<String>,
    },
    /// Users are linked to rows that the role cannot see. Nothing was written.
    #[error(
        "{hidden} linked {} of {table} cannot be seen by the role {role}: row-level security hides {}",
        if *hidden == 1 { "row" } else { "rows" },
        if *hidden == 1 { "it" } else { "them" }
    )]
    Hidden {
        /// The number of rows.
        hidden: u64,
        /// The learners table.
        table: String,
        /// The role of this session.
        role: String,
    },
    /// A server that is unreachable, or that refuses the connection.
    #[error("cannot connect to the learner database {database} ({place}: learners.database_url)")]
    NoConnection {
        /// The database, its server and the role.
        database: String,
        /// Where the configuration names it.
        place: String,
        /// The reason.
        #[source]
        source: EngineReport,
    },
    /// None of several servers can be used.
    #[error("{} ({place}: learners.database_url): {}", describe_hosts(hosts), list_hosts(hosts))]
    NoHost {
        /// Where the configuration names them.
        place: String,
        /// Each of them with the reason, in the order of the URL.
        hosts: Vec<PassedHost>,
    },
    /// Every transaction of this role on this server is read-only.
    #[error("the learner database {database} is read-only: {why}")]
    ReadOnly {
        /// The database, its server and the role.
        database: String,
        /// The reason.
        why: ReadOnlyCause,
    },
    /// The server is too old.
    #[error(
        "the learner database needs {}; {database} runs version {found} ({place}: learners.database_url)",
        needed_version()
    )]
    TooOld {
        /// The database, its server and the role.
        database: String,
        /// Where the configuration names it.
        place: String,
        /// The version of the server.
        found: String,
    },
    /// A statement failed. Nothing of its transaction was written; a commit whose connection was lost may have happened.
    #[error("{}", describe(.0))]
    Database(#[from] DbError),
}

/// A sentence for the class of the error. The report of the engine follows as its source.
fn describe(error: &DbError) -> String {
    match error {
        DbError::Busy(_) => "the learner database is locked by another process".to_owned(),
        DbError::Lost(_) => "the connection to the learner database is lost".to_owned(),
        DbError::Damaged(_) => "the learner database is damaged".to_owned(),
        DbError::Full { database, .. } => {
            format!("the disk is full: the learner database {database} cannot be written")
        }
        DbError::Denied(_) => "the role lacks a right in the learner database".to_owned(),
        DbError::Unreadable { .. } => "the learner database contains an invalid value".to_owned(),
        DbError::RowRefused { cause, .. } | DbError::Other(cause) if cause.is_withheld() => {
            "the learner database refused a statement".to_owned()
        }
        DbError::RowRefused { .. } | DbError::Other(_) => "the learner database failed".to_owned(),
    }
}

/// The sentence that begins the list of the hosts.
fn describe_hosts(hosts: &[PassedHost]) -> &'static str {
    match hosts.iter().any(|host| matches!(host.fault, HostFault::ReadOnly(_))) {
        true => "no host of the learner database accepts writes",
        false => "cannot connect to any host of the learner database",
    }
}

fn list_hosts(hosts: &[PassedHost]) -> String {
    let hosts: Vec<String> =
        hosts.iter().map(|host| format!("{}: {}", host.name, describe_fault(&host.fault))).collect();
    hosts.join("; ")
}

/// Why a host is passed over.
pub(super) fn describe_fault(fault: &HostFault) -> String {
    match fault {
        HostFault::ReadOnly(cause) => cause.to_string(),
        HostFault::Unreachable(report) => chain(report),
        HostFault::TooOld(found) => format!("the server runs PostgreSQL {found}, and {} is needed", needed_version()),
        HostFault::Failed(error) => chain(error),
    }
}

/// Advice on the first unreachable host for which there is some.
pub(super) fn unreachable_hint<'f>(faults: impl IntoIterator<Item = &'f HostFault>) -> Option<String> {
    faults.into_iter().filter(|fault| fault.is_unreachable()).find_map(fault_hint)
}

/// Advice on a host that is passed over.
fn fault_hint(fault: &HostFault) -> Option<String> {
    match fault {
        HostFault::ReadOnly(cause) => Some(read_only_hint(cause)),
        HostFault::Unreachable(report) => connection_hint(report),
        HostFault::TooOld(_) => Some(version_hint()),
        HostFault::Failed(error) => database_hint(error),
    }
}

fn read_only_hint(cause: &ReadOnlyCause) -> String {
    match cause {
        ReadOnlyCause::Standby => {
            "promote it, or name the primary in learners.database_url: learner-sync guide postgresql".to_owned()
        }
        ReadOnlyCause::Setting(change) => format!("an administrator of the server must change this: {change}"),
    }
}

fn version_hint() -> String {
    format!("move the learners to a server with {}", needed_version())
}

fn needed_version() -> String {
    format!("PostgreSQL {OLDEST_VERSION} or newer")
}

fn describe_version(found: i64, supported: i64) -> String {
    match found {
        0 => "the learner database lacks the tables of learner-sync".to_owned(),
        found => format!("the learner database has schema version {found}, this learner-sync needs {supported}"),
    }
}

/// The first names, and the number of the others.
fn list_tables(tables: &[String]) -> String {
    const SHOWN: usize = 5;
    let (shown, others) = tables.split_at(tables.len().min(SHOWN));
    let plural = if tables.len() == 1 { "" } else { "s" };
    let others = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
    format!("the table{plural} {}{others}", shown.join(", "))
}

impl StoreError {
    /// Whether this failure has passed once the learner database can be read again.
    pub fn passes(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::Vanished { .. }
            | Self::NoConnection { .. }
            | Self::ReadOnly { .. }
            | Self::Database(DbError::Busy(_) | DbError::Lost(_)) => true,
            Self::NoHost { .. } => !self.is_too_old(),
            _ => false,
        }
    }

    /// Whether every server is too old.
    pub fn is_too_old(&self) -> bool {
        match self {
            Self::TooOld { .. } => true,
            Self::NoHost { hosts, .. } => hosts.iter().all(|host| matches!(host.fault, HostFault::TooOld(_))),
            _ => false,
        }
    }

    /// Whether the session with the server has ended, or no longer reaches a server that accepts writes.
    pub fn is_lost_session(&self) -> bool {
        match self {
            Self::Database(DbError::Lost(_)) => true,
            // read_only_sql_transaction: the server has become a standby.
            Self::Database(DbError::Other(cause)) => cause.sqlstate() == Some("25006"),
            _ => false,
        }
    }

    /// Advice for the administrator.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::WrittenByOther => "another cycle or command changed the learner database at the same time; nothing is \
                                     lost, and the next cycle compares all learners"
                .to_owned(),
            Self::ChangesLost => "a backup was restored, or a server took over that lacks the last transactions; the next \
                                  cycle makes the missing changes"
                .to_owned(),
            Self::Paused => "`learner-sync resume` continues; the next cycle writes the rest".to_owned(),
            Self::CannotOpen { path, source } => files::read_only_hint(path, &**source).unwrap_or_else(|| {
                format!("the service user must own {} and be able to write to its directory", path.display())
            }),
            Self::ReadOnly { why, .. } => read_only_hint(why),
            Self::Vanished { .. } => "mount its disk, or restore a backup: learner-sync guide backup. To begin with an empty \
                                      database instead, run: learner-sync schema apply"
                .to_owned(),
            Self::NotADatabase { .. } => "name another file in learners.database_url".to_owned(),
            Self::Foreign { .. } => "name another file in learners.database_url; if this is the platform's own database, \
                                     create the table learners in it first"
                .to_owned(),
            Self::NotOurs { .. } => {
                "nothing was written: add what is missing; if the platform uses these table names itself, name another file in \
                 learners.database_url, or give the role a schema of its own as its only search_path: learner-sync guide \
                 existing-table"
                    .to_owned()
            }
            Self::StateDamaged { repair, .. } => {
                format!("nothing was changed; if this version of learner-sync used the database last, run: {repair}")
            }
            Self::IdsExhausted { table } => format!(
                "nothing was changed; to repair it, run: DELETE FROM {table} WHERE id = {max}; UPDATE sqlite_sequence SET \
                 seq = (SELECT coalesce(max(id), 0) FROM {table}) WHERE name = '{table}';",
                max = i64::MAX
            ),
            Self::Newer { .. } => "another machine may have migrated it: install the newer learner-sync here as well, or restore a backup from \
                                   before the migration".to_owned(),
            Self::Hidden { table, role, .. } => format!(
                "the owner of the table must run: CREATE POLICY learner_sync ON {table} TO {role} USING (true) WITH CHECK (true)"
            ),
            Self::NoConnection { source, .. } => return connection_hint(source),
            Self::NoHost { hosts, .. } => {
                let faults = || hosts.iter().map(|host| &host.fault);
                return unreachable_hint(faults()).or_else(|| faults().find_map(fault_hint));
            }
            Self::TooOld { .. } => version_hint(),
            Self::Database(error) => return database_hint(error),
            Self::Table { .. }
            | Self::RelinkRefused { .. }
            | Self::Missing { .. }
            | Self::Older { .. }
            | Self::NotTheOwner { .. }
            | Self::NotGranted { .. } => return None,
        })
    }
}

fn database_hint(error: &DbError) -> Option<String> {
    match error {
        DbError::Damaged(_) => Some("stop the daemon and restore a backup: learner-sync guide backup".to_owned()),
        DbError::Full { .. } => Some("free disk space; nothing is lost, and the next cycle continues".to_owned()),
        DbError::Lost(_) => Some("nothing is lost: the next cycle checks what was written, and continues".to_owned()),
        DbError::RowRefused { cause, .. } | DbError::Other(cause) if cause.is_withheld() => {
            cause.sqlstate().map(|code| format!("look for {code} in the log of the server: it has the details"))
        }
        DbError::Denied(cause) | DbError::RowRefused { cause, .. } | DbError::Other(cause) => connection_hint(cause),
        DbError::Unreadable { column } => repair_of_state(column),
        DbError::Busy(_) => None,
    }
}

/// The statement that repairs a column of `sync_state`, on which every cycle depends.
fn repair_of_state(column: &str) -> Option<String> {
    let value = match column.strip_prefix("sync_state.")? {
        // Another generation only costs a full comparison.
        "generation" => "'00000000000000000000000000000000'",
        // Paused, until an administrator resumes it.
        "paused" => "true",
        // `approve --source` admits a source again, and take-overs of the past do not matter.
        "admitted_sources" | "taken_over_sources" => "'[]'",
        // The next cycle looks the application up again.
        "applications" => "'{}'",
        _ => return None,
    };
    Some(format!(
        "nothing was changed; to repair it, run: UPDATE sync_state SET {} = {value};",
        column.rsplit('.').next()?
    ))
}

const TLS_HINT: &str = "check host and sslmode in learners.database_url; sslrootcert names the file of the trusted \
                        certificate authority";

/// Advice on an error of the server, or of the connection to it.
fn connection_hint(cause: &EngineReport) -> Option<String> {
    let hint = match (cause.io_kind(), cause.sqlstate()) {
        // A certificate that is not trusted, or has another name.
        (Some(ErrorKind::InvalidData), _) => TLS_HINT,
        (Some(ErrorKind::ConnectionRefused | ErrorKind::NotFound), _) => {
            "is the server running, and does it listen there? Check host and port in learners.database_url"
        }
        (Some(ErrorKind::TimedOut), _) => "is the server up, and does a firewall allow this machine to reach it?",
        (Some(ErrorKind::PermissionDenied), _) => "the service user must be able to open the socket of the server",
        (Some(_), _) => "check host and port in learners.database_url, and the network in between",
        _ if cause.is_tls() => TLS_HINT,
        (None, Some("28P01")) => {
            "the password comes from learners.password_file, else the systemd credential database-password, else PGPASSWORD, \
             else the password file of PostgreSQL. A command outside the unit gets the credential with: sudo systemd-run --pipe \
             --wait --collect --quiet --property=User=learner-sync \
             --property=LoadCredential=database-password:FILE learner-sync check, where FILE is \
             /etc/learner-sync/database-password, or /etc/learner-sync/NAME-database-password for learner-sync@NAME"
        }
        (None, Some("28000")) => {
            "check user and sslmode in learners.database_url, and pg_hba.conf on the server; a socket needs a map in \
             pg_ident.conf, which `learner-sync guide postgresql` shows"
        }
        (None, Some("3D000")) => "create the database (createdb), or name another one in learners.database_url",
        (None, Some("42501")) => {
            "the owner of the tables must grant this role the rights that `learner-sync check` names; to create tables, run \
             `learner-sync schema apply` as their owner"
        }
        (None, Some("25006")) => {
            "the server is read-only; `learner-sync check` says why: it is a standby (name the primary in \
             learners.database_url), or default_transaction_read_only is on"
        }
        (None, Some("53300")) => "the server has no free connection: raise max_connections, or close some",
        (None, Some("57P03")) => "the server is starting or stopping; the next cycle tries again",
        (None, Some("57014")) => "the statement took too long; is the server overloaded?",
        (None, Some("3F000")) => "create a schema that the search_path of the role names",
        _ => return None,
    };
    Some(hint.to_owned())
}
