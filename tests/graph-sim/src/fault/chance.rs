//! Faults that affect a random part of the calls, drawn from a seed.

use super::{Action, Fault, Substitute};
use crate::sequence::Sequence;

const MILLION: usize = 1_000_000;

/// The probability that a fault applies to a matching call.
#[derive(Debug, Clone)]
pub(super) struct Chance {
    of_a_million: usize,
    draws: Sequence,
}

impl Fault {
    /// Fails each matching call with a probability from 0 to 1: with 429 and a short `Retry-After`, with 503, or with a
    /// reset. Parts of a `$batch` are not reset, because then hardly any batch would succeed. Sequential calls get the
    /// same draws in every run.
    pub fn random(mut self, probability: f64, seed: u64) -> Self {
        let of_a_million = (probability.clamp(0.0, 1.0) * MILLION as f64) as usize;
        self.chance = Some(Chance { of_a_million, draws: Sequence::new(seed) });
        self.action = Action::AnyFailure;
        self.always()
    }

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
    pub(super) fn hits(&mut self) -> bool {
        self.draws.below(MILLION) < self.of_a_million
    }
}
