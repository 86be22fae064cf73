//! Configuration problems and their positions.
//!
//! All problems are reported together, so that an administrator edits the file once. A message never quotes a line of
//! the file or a value that could be a secret.

use std::path::{Path, PathBuf};

use crate::model::{foreign_message, foreign_text};

/// The configuration is invalid. `Display` prints one line for each problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(path, problems))]
pub struct ConfigError {
    /// The configuration file.
    pub path: PathBuf,
    /// All problems in the order of the file, followed by those of the environment.
    pub problems: Vec<ConfigProblem>,
}

impl ConfigError {
    /// An error with all `problems` of the configuration file at `path`.
    pub(super) fn new(path: &Path, mut problems: Vec<ConfigProblem>) -> Self {
        for ConfigProblem { position: _, key, message } in &mut problems {
            *key = key.as_deref().map(foreign_text);
            *message = foreign_message(message);
        }
        problems.sort_by(|left, right| left.position.cmp(&right.position));
        // A value that is read twice has the same problem twice.
        problems.dedup();
        Self { path: path.to_owned(), problems }
    }

    /// An error with a single problem without a line, such as an unreadable file.
    pub(super) fn whole(path: &Path, key: Option<&str>, message: String) -> Self {
        Self::new(path, vec![ConfigProblem { position: ConfigPosition::Whole, key: key.map(str::to_owned), message }])
    }
}

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The position of the setting.
    pub position: ConfigPosition,
    /// The full key, such as `scope.group_members`.
    pub key: Option<String>,
    /// The problem, and the valid values.
    pub message: String,
}

/// The position of a setting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigPosition {
    /// The file as a whole.
    Whole,
    /// A position in the file.
    File {
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
    },
    /// The environment variable with this name.
    Variable(String),
}

impl ConfigPosition {
    /// The line and column of the byte at `offset`.
    pub(super) fn from_offset(text: &str, offset: usize) -> Self {
        // A syntax error can point behind the end of the file or into a character.
        let offset = text.floor_char_boundary(offset.min(text.len()));
        let line_start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        Self::File {
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..offset].chars().count() + 1,
        }
    }

    /// The position as text, for the configuration file at `path`.
    pub(super) fn display_in(&self, path: &Path) -> String {
        match self {
            Self::Whole => path.display().to_string(),
            Self::File { line, column } => format!("{}:{line}:{column}", path.display()),
            Self::Variable(name) => name.clone(),
        }
    }
}

fn lines(path: &Path, problems: &[ConfigProblem]) -> String {
    let line = |ConfigProblem { position, key, message }: &ConfigProblem| {
        // The name of a variable contains the key.
        let key = key.as_ref().filter(|_| !matches!(position, ConfigPosition::Variable(_)));
        match (position.display_in(path), key) {
            (position, Some(key)) => format!("{position}: {key}: {message}"),
            (position, None) => format!("{position}: {message}"),
        }
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}
