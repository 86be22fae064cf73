//! What is wrong with a configuration, and where.
//!
//! Every problem is collected before anything is said, so that an administrator edits the file once. A message
//! never quotes the lines of the file, nor a value in which a secret could stand.

use std::path::{Path, PathBuf};

/// The configuration cannot be used; `Display` gives one line for each problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(path, problems))]
pub struct ConfigError {
    /// The configuration file.
    pub path: PathBuf,
    /// Everything that is wrong, in the order of the file, the environment last.
    pub problems: Vec<ConfigProblem>,
}

impl ConfigError {
    /// All `problems` of the configuration file at `path`.
    pub(super) fn new(path: &Path, mut problems: Vec<ConfigProblem>) -> Self {
        problems.sort_by(|left, right| left.position.cmp(&right.position));
        // A value that is read twice, for what it is and for whether it is available, is wrong once.
        problems.dedup();
        Self { path: path.to_owned(), problems }
    }

    /// A single problem that has no line: of the file as a whole, or of what a key of it names.
    pub(super) fn whole(path: &Path, key: Option<&str>, message: String) -> Self {
        Self::new(path, vec![ConfigProblem { position: ConfigPosition::Whole, key: key.map(str::to_owned), message }])
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where it stands.
    pub position: ConfigPosition,
    /// The key as it is written in the documentation, such as `scope.group_members`.
    pub key: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Where a setting stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigPosition {
    /// Nowhere in particular: the file as a whole.
    Whole,
    /// In the file; both count from 1, columns in characters.
    File {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// In the environment variable of this name.
    Variable(String),
}

impl ConfigPosition {
    /// The line and column of the byte `offset` in `text`.
    pub(super) fn from_offset(text: &str, offset: usize) -> Self {
        // An error at the very end of a file may point behind it, and one in a broken character into it.
        let offset = text.floor_char_boundary(offset.min(text.len()));
        let line_start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        Self::File {
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..offset].chars().count() + 1,
        }
    }

    /// It in words, when the configuration file is at `path`.
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
        // The name of a variable says the key already.
        let key = key.as_ref().filter(|_| !matches!(position, ConfigPosition::Variable(_)));
        match (position.display_in(path), key) {
            (position, Some(key)) => format!("{position}: {key}: {message}"),
            (position, None) => format!("{position}: {message}"),
        }
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}
