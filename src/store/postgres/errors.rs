//! What an error of PostgreSQL means, and what of it may be told.
//!
//! The detail of an error holds the values of the row, and so may its message. Only the names of columns and constraints
//! are ever told, and the message where it speaks of something else than rows.

use std::io;

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::store::StoreError;

fn of_the_server(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

fn code(error: &sqlx::Error) -> Option<&str> {
    of_the_server(error).map(PgDatabaseError::code)
}

/// What the server said, as `psql` would show it; none of any other error.
pub(in crate::store) fn words(error: &sqlx::Error) -> Option<String> {
    of_the_server(error).map(|error| format!("{} (SQLSTATE {})", error.message(), error.code()))
}

/// Whether somebody else holds a lock, or did.
pub(in crate::store) fn is_busy(error: &sqlx::Error) -> bool {
    // lock_not_available, deadlock_detected, serialization_failure
    matches!(code(error), Some("55P03" | "40P01" | "40001"))
}

/// Whether our role may not do this.
pub(in crate::store) fn is_denied(error: &sqlx::Error) -> bool {
    // insufficient_privilege
    code(error) == Some("42501")
}

/// Whether the connection is gone, or what comes over it cannot be understood any more.
pub(in crate::store) fn is_loss(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        error => {
            of_the_server(error).is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic))
        }
    }
}

/// The code of an error whose words are not told, because they may hold values.
pub(in crate::store) fn untold(error: &sqlx::Error) -> Option<String> {
    // About connections, transactions, sign-in, names in a statement, rights, resources and the state of the server.
    const ABOUT_NO_ROW: [&str; 14] =
        ["08", "0A", "25", "26", "28", "2B", "3D", "3F", "42", "53", "55", "57", "58", "XX"];
    let code = code(error)?;
    (!ABOUT_NO_ROW.iter().any(|class| code.starts_with(class))).then(|| code.to_owned())
}

/// What is wrong with a name or a type in a statement, when that is what the error says.
pub(in crate::store) fn explanation(error: &sqlx::Error) -> Option<String> {
    match code(error)? {
        // insufficient_privilege: nothing is wrong with the statement.
        "42501" => None,
        code if code.starts_with("42") => of_the_server(error).map(|error| error.message().to_owned()),
        _ => None,
    }
}

/// Tells apart what is wrong with the disk of the server.
pub(in crate::store) fn about_the_disk(name: &str, error: StoreError) -> StoreError {
    match error {
        // disk_full
        StoreError::Database(error) if code(&error) == Some("53100") => {
            StoreError::Full { database: name.to_owned(), source: error }
        }
        other => other,
    }
}

/// Why the database refuses this very row, when that is what the error says. Names columns, never values.
pub(in crate::store) fn refusal(error: &sqlx::Error) -> Option<String> {
    let error = of_the_server(error)?;
    let table = error.table().unwrap_or_default();
    let constraint = error.constraint().unwrap_or_default();
    Some(match error.code() {
        // unique_violation, exclusion_violation
        "23505" | "23P01" => match constraint {
            "sync_links_person" => "the person is linked to another learner already".to_owned(),
            "sync_links_learner" => "the learner is linked to another person already".to_owned(),
            constraint => format!("another learner has the same {}", column_of(constraint)),
        },
        "23502" => format!("{} must have a value", error.column().unwrap_or("a column")),
        // foreign_key_violation
        "23503" if table == "sync_links" => "the learner row is gone".to_owned(),
        "23503" => format!("a foreign key of the table fails: {constraint}"),
        // check_violation, which a trigger may raise as well, in its own words
        "23514" if !constraint.is_empty() => format!("a check of the table fails: {constraint}"),
        // string_data_right_truncation; program_limit_exceeded, which is an entry too long for its index
        "22001" | "54000" => "a value is longer than its column takes".to_owned(),
        // untranslatable_character, character_not_in_repertoire
        "22P05" | "22021" => "a value has a letter that the encoding of the database does not know".to_owned(),
        // datatype_mismatch, invalid_text_representation
        "42804" | "22P02" => "a value is not of the type of its column".to_owned(),
        // insufficient_privilege, in the part of the server that applies policies
        "42501" if error.routine() == Some("ExecWithCheckOptions") => {
            "a row-level security policy of the table refuses the row".to_owned()
        }
        code if ["21", "22", "23", "44", "P0"].iter().any(|class| code.starts_with(class)) => {
            // A trigger may say anything, users's values included.
            format!("the database refuses the row (SQLSTATE {code})")
        }
        _ => return None,
    })
}

/// The column that a unique index is about, by its name: ours, or as PostgreSQL itself would name one.
fn column_of(index: &str) -> &str {
    let column = index.strip_prefix("learners_").unwrap_or(index);
    column.strip_suffix("_folded").or_else(|| column.strip_suffix("_key")).unwrap_or(column)
}

const TLS: &str = "look at host and sslmode in learners.database_url; sslrootcert names the file of the certificate \
                   authority that is trusted";

/// What the administrator can do about an error of the server, or about one on the way to it.
pub(in crate::store) fn advice(error: &sqlx::Error) -> Option<String> {
    let advice = match error {
        sqlx::Error::Io(error) => match error.kind() {
            // A certificate that is not trusted, or of another name.
            io::ErrorKind::InvalidData => TLS,
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                "is the server running, and does it listen there? Look at host and port in learners.database_url"
            }
            io::ErrorKind::TimedOut => "is the server up, and does a firewall let this machine through to it?",
            io::ErrorKind::PermissionDenied => "the service user must be able to open the socket of the server",
            _ => "look at host and port in learners.database_url, and at the network in between",
        },
        sqlx::Error::Tls(_) => TLS,
        error => match code(error)? {
            "28P01" => {
                "the password is that of learners.password_file, else the systemd credential database-password, else \
                 PGPASSWORD, else the password file of PostgreSQL"
            }
            "28000" => "look at user and sslmode in learners.database_url, and at pg_hba.conf on the server",
            "3D000" => "have the database made (createdb), or name another one in learners.database_url",
            "42501" => {
                "have the owner of the tables grant this role what `learner-sync check` names; to make tables, run \
                 `learner-sync schema apply` as their owner"
            }
            "25006" => "this server only answers: name the primary in learners.database_url",
            "53300" => "the server has no connection left: raise max_connections, or end some",
            "57P03" => "the server is starting or stopping; the next cycle tries again",
            "57014" => "the statement took too long; is the server overloaded?",
            "3F000" => "make a schema that the search_path of the role names",
            _ => return None,
        },
    };
    Some(advice.to_owned())
}
