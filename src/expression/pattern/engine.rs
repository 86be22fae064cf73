//! The engine that searches: `regex` where it can express the pattern, because it never backtracks, and otherwise
//! `fancy-regex`.

use std::ops::Range;
use std::sync::OnceLock;

use fancy_regex::{Error, RuntimeError};

use super::steps::Steps;
use super::{LimitExceeded, TOO_MANY_STEPS};

/// Branches after which a search gives up, and is tried again with the next limit: only a search that needs many of them
/// is charged for many. Sensible patterns need a few per character.
const BRANCH_LIMITS: [usize; 3] = [256, 4_096, 100_000];

/// Bytes of a compiled pattern, and of its state during a search.
const MAX_COMPILED: usize = 1 << 20;

/// Bytes of a compiled pattern that cost one step for each byte of the subject: in the worst case each byte visits the
/// whole pattern.
const BYTES_PER_STEP: usize = 512;

/// Instructions of the backtracking part of a pattern.
const MAX_INSTRUCTIONS: usize = 20_000;

#[derive(Clone, Debug)]
pub(super) enum Engine {
    Linear {
        regex: regex::Regex,
        /// The most bytes of the compiled pattern.
        size: usize,
    },
    Backtracking {
        /// With the first of [`BRANCH_LIMITS`].
        regex: fancy_regex::Regex,
        /// With the other limits, once a search has needed them.
        patient: Box<[OnceLock<Option<fancy_regex::Regex>>; BRANCH_LIMITS.len() - 1]>,
    },
}

/// The ranges of a match: the whole, then each group that took part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Captures(Vec<Option<Range<usize>>>);

impl Captures {
    pub(super) fn get(&self, index: usize) -> Option<Range<usize>> {
        self.0.get(index)?.clone()
    }
}

impl Engine {
    /// # Errors
    /// Why no engine accepts the pattern.
    pub(super) fn build(pattern: &str) -> Result<Self, String> {
        // The library does not report the size, but refuses a pattern beyond a limit.
        let mut size = 4 << 10;
        while size <= MAX_COMPILED {
            match regex::RegexBuilder::new(pattern).size_limit(size).dfa_size_limit(MAX_COMPILED).build() {
                Ok(regex) => return Ok(Self::Linear { regex, size }),
                Err(regex::Error::CompiledTooBig(_)) => size *= 4,
                Err(_) => break,
            }
        }
        Self::backtracking(pattern)
    }

    pub(super) fn backtracking(pattern: &str) -> Result<Self, String> {
        match build(pattern, BRANCH_LIMITS[0]) {
            Ok(regex) => Ok(Self::Backtracking { regex, patient: Default::default() }),
            // The message of the library shows the pattern with a marker; the reason is the last line.
            Err(error) => Err(error.to_string().lines().last().unwrap_or_default().to_owned()),
        }
    }

    /// The first match at or after `from`.
    pub(super) fn search(&self, subject: &str, from: usize, steps: &Steps) -> Result<Option<Captures>, LimitExceeded> {
        let rest = subject.len() - from;
        let (regex, patient) = match self {
            Self::Linear { regex, size } => {
                steps.take_linear(rest, size / BYTES_PER_STEP)?;
                let found = regex.captures_at(subject, from);
                return Ok(
                    found.map(|found| Captures(found.iter().map(|group| group.map(|group| group.range())).collect()))
                );
            }
            Self::Backtracking { regex, patient } => (regex, patient),
        };
        for (index, limit) in BRANCH_LIMITS.into_iter().enumerate() {
            steps.take_branching(rest, subject.len(), limit)?;
            let regex = match index.checked_sub(1).and_then(|index| patient.get(index)) {
                None => Some(regex),
                Some(patient) => patient.get_or_init(|| build(regex.as_str(), limit).ok()).as_ref(),
            };
            match regex.ok_or(TOO_MANY_STEPS)?.captures_from_pos(subject, from) {
                Ok(found) => {
                    return Ok(found.map(|found| {
                        Captures(found.iter().map(|group| group.map(|group| group.start()..group.end())).collect())
                    }));
                }
                Err(Error::RuntimeError(RuntimeError::BacktrackLimitExceeded)) => {}
                Err(_) => break,
            }
        }
        Err(TOO_MANY_STEPS)
    }
}

fn build(pattern: &str, limit: usize) -> fancy_regex::Result<fancy_regex::Regex> {
    fancy_regex::RegexBuilder::new(pattern)
        .backtrack_limit(limit)
        .delegate_size_limit(MAX_COMPILED)
        .delegate_dfa_size_limit(MAX_COMPILED)
        .max_prog_size(MAX_INSTRUCTIONS)
        .build()
}
