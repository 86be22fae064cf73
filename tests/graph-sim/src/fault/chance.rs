//! Faults that strike some calls and spare others, drawn from a seed: what a bad day of a real service looks like.

use super::{Action, Fault, Substitute};
use crate::sequence::Sequence;

const MILLION: usize = 1_000_000;

/// How likely a matching call is struck.
#[derive(Debug, Clone)]
pub(super) struct Chance {
    of_a_million: usize,
    draws: Sequence,
}

impl Fault {
    /// Of the matching calls only some, each with the given probability from 0 to 1. `nth` and `times` count
    /// those. Calls that arrive one after the other are drawn alike in every run.
    pub fn with_probability(mut self, probability: f64, seed: u64) -> Self {
        let of_a_million = (probability.clamp(0.0, 1.0) * MILLION as f64) as usize;
        self.chance = Some(Chance { of_a_million, draws: Sequence::new(seed) });
        self
    }

    /// Each matching call fails with the given probability, for ever: with 429 and a short `Retry-After`, with
    /// 503, or by a reset. A part of a `$batch` is not reset, or hardly a batch would come through.
    pub fn random(mut self, probability: f64, seed: u64) -> Self {
        self.action = Action::AnyFailure;
        self.with_probability(probability, seed).always()
    }

    /// Draws the failure of one call.
    pub(super) fn any_failure(&mut self, in_batch: bool) -> Action {
        let kinds = if in_batch { 2 } else { 3 };
        let kind = self.chance.as_mut().map_or(0, |chance| chance.draws.below(kinds));
        match kind {
            0 => {
                let retry_after = ("Retry-After".to_owned(), "0.1".to_owned());
                Action::Answer(Substitute { headers: vec![retry_after], ..Substitute::with_status(429) })
            }
            1 => Action::Answer(Substitute::with_status(503)),
            _ => Action::Reset,
        }
    }
}

impl Chance {
    /// Draws once.
    pub(super) fn hits(&mut self) -> bool {
        self.draws.below(MILLION) < self.of_a_million
    }
}
