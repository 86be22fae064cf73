//! The meaning of PostgreSQL errors, and the texts of them that may be shown.
//!
//! The detail of an error contains the values of the row, and its message may. Only names of columns and constraints are
//! shown, and the message where it is not about rows.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::store::db::error::{DbError, EngineReport, RowRefusal, ViolatedKey};

pub(in crate::store::db) fn server_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

/// The message, unless it may contain values.
pub(in crate::store::db) fn message_without_values(error: &PgDatabaseError) -> Option<&str> {
    let is_fatal = matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic);
    (is_fatal || subject(error.code()) != Subject::Row).then(|| error.message())
}

/// The subject of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::db) enum Subject {
    /// The values of a row, or nobody knows.
    Row,
    /// A statement, whatever its values: one of ours, or one in a function that a trigger calls.
    Statement,
    /// The transaction, the role, the resources or the state of the server.
    Server,
}

/// The subject of an error with this SQLSTATE.
pub(in crate::store::db) fn subject(code: &str) -> Subject {
    match code {
        // insufficient_privilege, lock_not_available, deadlock_detected, serialization_failure
        "42501" | "55P03" | "40P01" | "40001" => Subject::Server,
        _ => match code.get(..2) {
            Some("25" | "28" | "3D" | "53" | "57" | "58" | "XX") => Subject::Server,
            // A function may connect to another server.
            Some("08" | "0A" | "26" | "2B" | "3F" | "42" | "55") => Subject::Statement,
            _ => Subject::Row,
        },
    }
}

/// Classifies an error of a connection to `database`.
pub(in crate::store::db) fn classify(database: &str, error: sqlx::Error) -> DbError {
    if let Some(refusal) = refusal(&error) {
        return DbError::RowRefused { refusal, cause: EngineReport::new(error) };
    }
    let code = server_error(&error).map(PgDatabaseError::code);
    match code {
        // lock_not_available, deadlock_detected, serialization_failure
        Some("55P03" | "40P01" | "40001") => DbError::Busy(EngineReport::new(error)),
        _ if is_loss(&error) => DbError::Lost(EngineReport::new(error)),
        // disk_full
        Some("53100") => DbError::Full { database: database.to_owned(), cause: EngineReport::new(error) },
        // insufficient_privilege
        Some("42501") => DbError::Denied(EngineReport::new(error)),
        _ => DbError::Other(EngineReport::new(error)),
    }
}

/// Whether the connection is gone, or its data cannot be understood any more.
pub(in crate::store::db) fn is_loss(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        error => {
            server_error(error).is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic))
        }
    }
}

/// Whether the session does not know the statement: invalid_sql_statement_name.
pub(in crate::store::db) fn is_forgotten_statement(error: &sqlx::Error) -> bool {
    server_error(error).is_some_and(|error| error.code() == "26000")
}

fn refusal(error: &sqlx::Error) -> Option<RowRefusal> {
    let error = server_error(error)?;
    let table = error.table().unwrap_or_default().to_owned();
    let constraint = error.constraint().unwrap_or_default().to_owned();
    let is_error = !matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic);
    let other = |code: &str| RowRefusal::Other { sqlstate: Some(code.to_owned()), message: error.message().to_owned() };
    Some(match error.code() {
        // A trigger may raise any code, even one of a lost connection.
        code if is_error && error.routine() == Some("exec_stmt_raise") => other(code),
        // unique_violation, exclusion_violation
        "23505" | "23P01" => RowRefusal::Duplicate { table, key: ViolatedKey::Constraint(constraint) },
        // not_null_violation
        "23502" => RowRefusal::Null { column: error.column().unwrap_or("a column").to_owned() },
        // foreign_key_violation
        "23503" => RowRefusal::MissingReference { table: Some(table), constraint },
        // check_violation, which a trigger may raise as well, with its own message
        "23514" if !constraint.is_empty() => RowRefusal::Check { constraint },
        // string_data_right_truncation; program_limit_exceeded, which is an entry too long for its index
        "22001" | "54000" => RowRefusal::TooLong,
        // untranslatable_character, character_not_in_repertoire
        "22P05" | "22021" => RowRefusal::UnknownCharacter,
        // datatype_mismatch, invalid_text_representation
        "42804" | "22P02" => RowRefusal::WrongType,
        // insufficient_privilege, from the part of the server that applies policies
        "42501" if error.routine() == Some("ExecWithCheckOptions") => RowRefusal::Policy,
        code if ["21", "22", "23", "44", "P0"].iter().any(|class| code.starts_with(class)) => other(code),
        // An error within a function of a trigger.
        code if is_error && error.r#where().is_some() && subject(code) != Subject::Server => other(code),
        _ => return None,
    })
}
