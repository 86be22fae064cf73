//! The steps that the searches of one evaluation may take.
//!
//! They are counted and not timed: a user is rejected or not, whatever the speed of the machine. A search that gives up
//! after `limit` branches visits at most as many positions as the subject has, plus one for each branch; at each of them it
//! can look at the whole subject.

use std::cell::Cell;

use super::{LimitExceeded, TOO_MANY_STEPS};

/// About a second on a slow machine. Usual texts and patterns need less than a thousandth of it.
const MAX_STEPS: u64 = 600_000_000;

/// The steps that are left.
#[derive(Debug)]
pub(crate) struct Steps(Cell<u64>);

impl Steps {
    pub(crate) fn new() -> Self {
        Self(Cell::new(MAX_STEPS))
    }

    /// Pays for a search in linear time over `length` bytes.
    pub(super) fn take_linear(&self, length: usize) -> Result<(), LimitExceeded> {
        // One more, because an empty text takes time as well.
        self.take(length as u64 + 1)
    }

    /// Pays for a search over the last `rest` bytes of `length` that gives up after `limit` branches.
    pub(super) fn take_branching(&self, rest: usize, length: usize, limit: usize) -> Result<(), LimitExceeded> {
        self.take((rest + limit) as u64 * (length as u64 + 1))
    }

    fn take(&self, steps: u64) -> Result<(), LimitExceeded> {
        self.0.set(self.0.get().checked_sub(steps).ok_or(TOO_MANY_STEPS)?);
        Ok(())
    }
}
