//! Configuration problems and their positions.
//!
//! All problems are reported together, so that an administrator edits the file once. A message never quotes a line of
//! the file or a value that could be a secret.

use std::path::{Path, PathBuf};

use crate::files;
use crate::model::{foreign_message, foreign_text};

/// The configuration is invalid. `Display` prints one line for each problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", lines(path, problems), further(*omitted))]
pub struct ConfigError {
    /// The configuration file.
    pub path: PathBuf,
    /// The first problems in the order of the file, followed by those of the environment.
    pub problems: Vec<ConfigProblem>,
    /// The number of further problems.
    pub omitted: usize,
    /// Whether the system lacks something at present, and the configuration may be right.
    pub is_shortage: bool,
    /// The systemd credential that would contain a missing secret.
    pub missing_credential: Option<&'static str>,
}

/// The number of problems that are listed. A file with more was probably made by a broken program.
pub(super) const MAX_LISTED: usize = 100;

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
        let omitted = problems.len().saturating_sub(MAX_LISTED);
        problems.truncate(MAX_LISTED);
        Self {
            path: path.to_owned(),
            problems,
            omitted,
            is_shortage: files::are_descriptors_exhausted(),
            missing_credential: None,
        }
    }

    /// An error about a secret that is neither configured nor in the systemd credential `name`.
    pub(super) fn missing_credential(path: &Path, key: &str, name: &'static str, message: String) -> Self {
        Self { missing_credential: Some(name), ..Self::whole(path, Some(key), message) }
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
    /// The position as text, for the configuration file at `path`.
    pub(super) fn display_in(&self, path: &Path) -> String {
        match self {
            Self::Whole => path.display().to_string(),
            Self::File { line, column } => format!("{}:{line}:{column}", path.display()),
            Self::Variable(name) => name.clone(),
        }
    }
}

/// Finds lines and columns in the text of a configuration, without reading all of it for each position.
#[derive(Debug)]
pub(super) struct Positions<'t> {
    text: &'t str,
    /// The offsets of the first bytes of the lines.
    lines: Vec<usize>,
    /// The number of characters before each block of [`Self::BLOCK`] bytes.
    characters: Vec<usize>,
}

impl<'t> Positions<'t> {
    const BLOCK: usize = 512;

    pub(super) fn new(text: &'t str) -> Self {
        let newlines = text.match_indices('\n').map(|(newline, _)| newline + 1);
        let mut before = 0;
        let blocks = text.as_bytes().chunks(Self::BLOCK).map(|block| {
            let here = before;
            before += characters_in(block);
            here
        });
        Self { text, lines: std::iter::once(0).chain(newlines).collect(), characters: blocks.collect() }
    }

    /// The line and column of the byte at `offset`.
    pub(super) fn at(&self, offset: usize) -> ConfigPosition {
        // A syntax error can point behind the end of the file or into a character.
        let offset = self.text.floor_char_boundary(offset.min(self.text.len()));
        // The first line begins at 0.
        let line = self.lines.partition_point(|start| *start <= offset);
        let column = self.characters_before(offset) - self.characters_before(self.lines[line - 1]) + 1;
        ConfigPosition::File { line, column }
    }

    /// The line of the byte at `offset`.
    pub(super) fn line(&self, offset: usize) -> &'t str {
        let offset = self.text.floor_char_boundary(offset.min(self.text.len()));
        // The first line begins at 0.
        let start = self.lines[self.lines.partition_point(|start| *start <= offset) - 1];
        self.text[start..].lines().next().unwrap_or_default()
    }

    fn characters_before(&self, offset: usize) -> usize {
        let block = offset / Self::BLOCK;
        let rest = &self.text.as_bytes()[(block * Self::BLOCK).min(offset)..offset];
        // An offset at the end of the last block has no block of its own.
        match self.characters.get(block) {
            Some(before) => before + characters_in(rest),
            None => self.text.chars().count(),
        }
    }
}

/// The characters that begin in `bytes`.
fn characters_in(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| !matches!(byte, 0x80..=0xbf)).count()
}

fn further(omitted: usize) -> String {
    if omitted == 0 { String::new() } else { format!("\nand {omitted} more problems") }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_counting_from_the_start() {
        for text in ["", "\n", "a", "é\nb", &"ü".repeat(256), &"aé\n😀b".repeat(400), &"x".repeat(1024)] {
            let positions = Positions::new(text);
            for offset in 0..text.len() + 2 {
                let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
                let (line, start) =
                    (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |newline| newline + 1));
                let column = before[start..].chars().count() + 1;
                assert_eq!(positions.at(offset), ConfigPosition::File { line, column }, "{offset}");
            }
        }
    }
}
