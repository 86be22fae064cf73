//! The steps that the mapping and the filters may take for one user: whatever their number, one user costs at most a
//! known time.
//!
//! Steps are counted and not timed: a user is rejected or not, whatever the speed of the machine. A search that gives up
//! after `limit` branches visits at most as many positions as the subject has, plus one for each branch; at each of them it
//! can look at the whole subject.

use std::cell::Cell;

use super::pattern::LimitExceeded;
use crate::model::Value;

/// At most about a fifth of a second. Usual patterns need less than a hundredth of it on usual texts.
const MAX_STEPS: u64 = 100_000_000;

/// A pattern that is compiled for one user: so large a part of the budget because a short text can describe a large one.
const COMPILATION: u64 = 10_000_000;

/// A search in linear time for each byte and each unit of the size of a pattern, in the worst case.
const LINEAR: u64 = 2;

/// Up to this size, a part of a pattern without look-around takes one step for each byte.
const SMALL: u64 = 32;

/// A function or a comparison for each byte of an operand.
const OPERAND: u64 = 8;

/// A value beside its bytes, such as an element of a list.
const ELEMENT: u64 = 8;

pub(super) const TOO_MANY_STEPS: LimitExceeded = LimitExceeded("the expressions take too many steps for this user");

/// The steps that are left.
#[derive(Debug)]
pub struct Steps(Cell<u64>);

impl Steps {
    /// The budget of one user.
    pub fn for_one_user() -> Self {
        Self(Cell::new(MAX_STEPS))
    }

    /// Whether an evaluation ended because of the budget.
    pub(crate) fn are_exhausted(&self) -> bool {
        self.0.get() == 0
    }

    /// Pays for compiling a pattern.
    pub(super) fn take_compilation(&self) -> Result<(), LimitExceeded> {
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

    /// Pays for a function, a comparison or a clause that reads `value`.
    pub(crate) fn take_operand(&self, value: &Value) -> Result<(), LimitExceeded> {
        self.take(size(value) * OPERAND)
    }

    /// The search needs more steps than there are.
    pub(super) fn exhaust(&self) -> LimitExceeded {
        self.0.set(0);
        TOO_MANY_STEPS
    }

    fn take(&self, steps: u64) -> Result<(), LimitExceeded> {
        let left = self.0.get().checked_sub(steps).filter(|left| *left > 0).ok_or_else(|| self.exhaust())?;
        self.0.set(left);
        Ok(())
    }
}

fn size(value: &Value) -> u64 {
    ELEMENT
        + match value {
            Value::Null | Value::Boolean(_) => 0,
            Value::Text(text) | Value::Number(text) => text.len() as u64,
            Value::List(elements) => elements.iter().map(size).sum(),
            Value::Complex(members) => members.iter().map(|(name, value)| name.len() as u64 + size(value)).sum(),
        }
}
