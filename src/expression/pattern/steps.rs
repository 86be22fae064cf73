//! The steps that the searches of one expression, or of the clauses of one filter, may take for one user.
//!
//! They are counted and not timed: a user is rejected or not, whatever the speed of the machine. A search that gives up
//! after `limit` branches visits at most as many positions as the subject has, plus one for each branch; at each of them it
//! can look at the whole subject.

use std::cell::Cell;

use super::{LimitExceeded, TOO_MANY_STEPS};

/// At most about a fifth of a second. Usual patterns need less than a hundredth of it on usual texts.
const MAX_STEPS: u64 = 100_000_000;

/// A pattern that is compiled for one user: so large a part of the budget because a short text can describe a large one.
const COMPILATION: u64 = 10_000_000;

/// A search in linear time for each byte and each unit of the size of a pattern, in the worst case.
const LINEAR: u64 = 2;

/// Up to this size, a part of a pattern without look-around takes one step for each byte.
const SMALL: u64 = 32;

/// The steps that are left.
#[derive(Debug)]
pub(crate) struct Steps(Cell<u64>);

impl Steps {
    pub(crate) fn new() -> Self {
        Self(Cell::new(MAX_STEPS))
    }

    /// Pays for compiling a pattern.
    pub(crate) fn take_compilation(&self) -> Result<(), LimitExceeded> {
        self.take(COMPILATION)
    }

    /// Pays for a search in linear time over `length` bytes with a pattern of this size.
    pub(super) fn take_linear(&self, length: usize, size: u64) -> Result<(), LimitExceeded> {
        // One more, because an empty text takes time as well.
        self.take((length as u64 + 1) * size * LINEAR)
    }

    /// Pays for a search over the last `rest` bytes of `length` that gives up after `limit` branches.
    pub(super) fn take_branching(
        &self,
        rest: usize,
        length: usize,
        limit: usize,
        size: u64,
    ) -> Result<(), LimitExceeded> {
        self.take((rest + limit) as u64 * (length as u64 + 1) * (1 + size / SMALL))
    }

    fn take(&self, steps: u64) -> Result<(), LimitExceeded> {
        self.0.set(self.0.get().checked_sub(steps).ok_or(TOO_MANY_STEPS)?);
        Ok(())
    }
}
