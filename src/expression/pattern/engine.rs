//! The engine that searches: `regex` where it can express the pattern, because it never backtracks, and otherwise
//! `fancy-regex`.

use std::ops::Range;
use std::sync::OnceLock;

use fancy_regex::{CompileError, Error, RuntimeError};

use super::size::size;
use super::{LimitExceeded, MAX_COMPILED};
use crate::expression::steps::Steps;

/// Branches after which a search gives up, and is tried again with the next limit: only a search that needs many of them
/// is charged for many. Sensible patterns need a few per character.
const BRANCH_LIMITS: [usize; 3] = [256, 4_096, 100_000];

/// Bytes of the state of a search.
const MAX_STATE: usize = 1 << 20;

/// The largest pattern, as measured by [`size`]: `.{0,2048}` is about the largest that people write.
const MAX_SIZE: u64 = 10_000;

/// So many groups cost as much as the pattern without them.
const GROUPS_PER_SIZE: u64 = 8;

const TOO_LARGE: &str =
    "it is too large; use smaller counts: counts inside each other, such as `(a{100}){100}`, multiply";

const NOT_COMPILED: LimitExceeded =
    LimitExceeded("a regular expression cannot be compiled for a search of this length");

/// Instructions of the backtracking part of a pattern.
const MAX_INSTRUCTIONS: usize = 20_000;

#[derive(Clone, Debug)]
pub(super) enum Engine {
    Linear {
        regex: regex::Regex,
        size: u64,
    },
    Backtracking {
        /// With the first of [`BRANCH_LIMITS`].
        regex: fancy_regex::Regex,
        /// With the other limits, once a search has needed them.
        patient: Box<[OnceLock<Option<fancy_regex::Regex>>; BRANCH_LIMITS.len() - 1]>,
        size: u64,
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
    pub(super) fn build(pattern: &str, max_compiled: usize) -> Result<Self, String> {
        let size = limited_size(pattern)?;
        match regex::RegexBuilder::new(pattern).size_limit(max_compiled).dfa_size_limit(MAX_STATE).build() {
            Ok(regex) => {
                // A search carries the positions of all groups along.
                let size = size * (GROUPS_PER_SIZE + regex.captures_len() as u64) / GROUPS_PER_SIZE;
                Ok(Self::Linear { regex, size })
            }
            Err(regex::Error::CompiledTooBig(_)) => Err(TOO_LARGE.to_owned()),
            Err(_) => Self::backtracking(pattern, max_compiled),
        }
    }

    pub(super) fn backtracking(pattern: &str, max_compiled: usize) -> Result<Self, String> {
        let size = limited_size(pattern)?;
        match build(pattern, BRANCH_LIMITS[0], max_compiled) {
            Ok(regex) => Ok(Self::Backtracking { regex, patient: Default::default(), size }),
            Err(Error::CompileError(error)) if is_too_large(&error) => Err(TOO_LARGE.to_owned()),
            // The message of the library shows the pattern with a marker; the reason is the last line.
            Err(error) => Err(error.to_string().lines().last().unwrap_or_default().to_owned()),
        }
    }

    /// The first match at or after `from`.
    pub(super) fn search(&self, subject: &str, from: usize, steps: &Steps) -> Result<Option<Captures>, LimitExceeded> {
        let rest = subject.len() - from;
        let (regex, patient, size) = match self {
            Self::Linear { regex, size } => {
                steps.take_linear(rest, *size)?;
                let found = regex.captures_at(subject, from);
                return Ok(
                    found.map(|found| Captures(found.iter().map(|group| group.map(|group| group.range())).collect()))
                );
            }
            Self::Backtracking { regex, patient, size } => (regex, patient, *size),
        };
        for (index, limit) in BRANCH_LIMITS.into_iter().enumerate() {
            steps.take_branching(rest, subject.len(), limit, size)?;
            let regex = match index.checked_sub(1).and_then(|index| patient.get(index)) {
                None => Some(regex),
                Some(patient) => patient.get_or_init(|| build(regex.as_str(), limit, MAX_COMPILED).ok()).as_ref(),
            };
            match regex.ok_or(NOT_COMPILED)?.captures_from_pos(subject, from) {
                Ok(found) => {
                    return Ok(found.map(|found| {
                        Captures(found.iter().map(|group| group.map(|group| group.start()..group.end())).collect())
                    }));
                }
                Err(Error::RuntimeError(RuntimeError::BacktrackLimitExceeded)) => {}
                Err(_) => break,
            }
        }
        Err(steps.exhaust())
    }
}

fn is_too_large(error: &CompileError) -> bool {
    match error {
        CompileError::InnerError(error) => error.size_limit().is_some(),
        CompileError::PatternTooComplex => true,
        _ => false,
    }
}

/// The size of a pattern that is small enough to compile and to search with.
fn limited_size(pattern: &str) -> Result<u64, String> {
    Some(size(pattern)).filter(|size| *size <= MAX_SIZE).ok_or_else(|| TOO_LARGE.to_owned())
}

fn build(pattern: &str, limit: usize, max_compiled: usize) -> fancy_regex::Result<fancy_regex::Regex> {
    fancy_regex::RegexBuilder::new(pattern)
        .backtrack_limit(limit)
        .delegate_size_limit(max_compiled)
        .delegate_dfa_size_limit(MAX_STATE)
        .max_prog_size(MAX_INSTRUCTIONS)
        .build()
}
