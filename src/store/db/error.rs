//! The errors of a database engine, classified by how a caller reacts.

use std::error::Error;
use std::{fmt, io};

use super::{postgres, sqlite};

/// A statement or a connection failed.
#[derive(Debug)]
pub enum DbError {
    /// Another process holds a lock.
    Busy(EngineReport),
    /// The connection is gone, or its data cannot be understood any more.
    Lost(EngineReport),
    /// The file does not contain a valid database any more.
    Damaged(EngineReport),
    /// The disk is full.
    Full {
        /// The file, or the database on its server.
        database: String,
        /// The report of the engine.
        cause: EngineReport,
    },
    /// The role lacks a right.
    Denied(EngineReport),
    /// The database refuses this row; others may succeed.
    RowRefused {
        /// The reason.
        refusal: RowRefusal,
        /// The report of the engine.
        cause: EngineReport,
    },
    /// A column contains a value of an unexpected form.
    Unreadable {
        /// Table and column.
        column: &'static str,
    },
    /// Any other error.
    Other(EngineReport),
}

/// Why a database refuses a row. Names columns and constraints, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowRefusal {
    /// Another row has the same value.
    Duplicate {
        /// The table, without its schema.
        table: String,
        /// The key that must be unique.
        key: ViolatedKey,
    },
    /// The column needs a value.
    Null {
        /// The column.
        column: String,
    },
    /// A check constraint fails.
    Check {
        /// The constraint, or its expression.
        constraint: String,
    },
    /// A foreign key fails.
    MissingReference {
        /// The table of the refused row; unknown in SQLite.
        table: Option<String>,
        /// The constraint; unknown in SQLite.
        constraint: String,
    },
    /// A value is longer than its column allows.
    TooLong,
    /// The encoding of the database lacks a character of a value.
    UnknownCharacter,
    /// A value does not have the type of its column.
    WrongType,
    /// A row-level security policy refuses the row.
    Policy,
    /// Any other reason.
    Other {
        /// The code, of a PostgreSQL server.
        sqlstate: Option<String>,
        /// The message of a trigger or of the database. It may contain values, so it belongs into the learner database alone.
        message: String,
    },
}

/// A key that two rows must not share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViolatedKey {
    /// SQLite names columns.
    Columns(Vec<String>),
    /// PostgreSQL names the constraint or the index.
    Constraint(String),
}

impl DbError {
    /// The report of the engine.
    pub fn cause(&self) -> Option<&EngineReport> {
        match self {
            Self::Busy(cause) | Self::Lost(cause) | Self::Damaged(cause) | Self::Denied(cause) | Self::Other(cause) => {
                Some(cause)
            }
            Self::Full { cause, .. } | Self::RowRefused { cause, .. } => Some(cause),
            Self::Unreadable { .. } => None,
        }
    }

    /// Whether another transaction stood in the way, so that trying again may help at once.
    pub(crate) fn is_conflict(&self) -> bool {
        // serialization_failure, deadlock_detected
        matches!(self, Self::Busy(cause) if matches!(cause.sqlstate(), Some("40001" | "40P01")))
    }

    /// Whether an error may be about one row or about all of them.
    pub(crate) fn is_unclear(&self) -> bool {
        match self {
            Self::Other(cause) => match cause.sqlstate() {
                Some(code) => postgres::subject(code) == postgres::Subject::Row,
                None => cause.sqlite_code().is_some_and(sqlite::is_unspecific),
            },
            _ => false,
        }
    }

    /// Whether an unclassified error may come from the values of a row: an expression of the table fails.
    pub(crate) fn may_be_about_a_row(&self) -> bool {
        match self {
            Self::Other(EngineReport(Report::Driver(error))) => sqlite::is_failed_expression(error),
            _ => false,
        }
    }

    /// The error as a reason, without values.
    pub(crate) fn without_values(&self) -> String {
        match self.cause().and_then(EngineReport::sqlstate) {
            Some(code) => format!("the database refuses the row (SQLSTATE {code})"),
            None => "the database refuses the row; an expression or a trigger of the table fails".to_owned(),
        }
    }

    /// An error of the driver itself: a value that it cannot encode or decode.
    pub(super) fn from_driver(error: sqlx::Error) -> Self {
        Self::Other(EngineReport::new(error))
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { column } => write!(f, "cannot read {column}"),
            error => error.cause().map_or(Ok(()), |cause| cause.fmt(f)),
        }
    }
}

impl Error for DbError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause().and_then(Error::source)
    }
}

/// The report of an engine, without the position in the server's source code and without values.
#[derive(Debug)]
pub struct EngineReport(Report);

#[derive(Debug)]
enum Report {
    /// An error of a PostgreSQL server. The message is missing where it may contain values.
    Server {
        sqlstate: String,
        message: Option<String>,
    },
    Driver(sqlx::Error),
}

impl EngineReport {
    pub(super) fn new(error: sqlx::Error) -> Self {
        Self(match postgres::server_error(&error) {
            Some(server) => Report::Server {
                sqlstate: server.code().to_owned(),
                message: postgres::message_without_values(server).map(str::to_owned),
            },
            None => Report::Driver(error),
        })
    }

    /// The code, of a PostgreSQL server.
    pub fn sqlstate(&self) -> Option<&str> {
        match &self.0 {
            Report::Server { sqlstate, .. } => Some(sqlstate),
            Report::Driver(_) => None,
        }
    }

    /// Whether the message of the server is missing, because it may contain values.
    pub fn is_withheld(&self) -> bool {
        matches!(self.0, Report::Server { message: None, .. })
    }

    /// The report of a server on a name or a type in a statement that is wrong.
    pub(crate) fn statement_fault(&self) -> Option<&str> {
        match &self.0 {
            // insufficient_privilege: nothing is wrong with the statement.
            Report::Server { sqlstate, .. } if sqlstate == "42501" => None,
            Report::Server { sqlstate, message } if sqlstate.starts_with("42") => message.as_deref(),
            _ => None,
        }
    }

    /// The extended result code of SQLite.
    pub(super) fn sqlite_code(&self) -> Option<i32> {
        match &self.0 {
            Report::Driver(error) => sqlite::result_code(error),
            Report::Server { .. } => None,
        }
    }

    /// The kind of a network error.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match &self.0 {
            Report::Driver(sqlx::Error::Io(error)) => Some(error.kind()),
            _ => None,
        }
    }

    /// Whether TLS could not be set up.
    pub fn is_tls(&self) -> bool {
        matches!(self.0, Report::Driver(sqlx::Error::Tls(_)))
    }
}

impl fmt::Display for EngineReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Report::Server { sqlstate, message: Some(message) } => write!(f, "{message} (SQLSTATE {sqlstate})"),
            Report::Server { sqlstate, message: None } => write!(f, "SQLSTATE {sqlstate}"),
            Report::Driver(error) => error.fmt(f),
        }
    }
}

impl Error for EngineReport {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Report::Server { .. } => None,
            Report::Driver(error) => error.source(),
        }
    }
}
