//! Who of the assigned is meant to be a learner at all: enabled accounts that a scoping filter lets through. Pure.
//!
//! As in Entra's own provisioning, all clauses of a filter must hold, and one filter of several; without a filter
//! everybody is in scope. What the directory does not tell decides nothing.

mod clause;
mod filter;
#[cfg(test)]
mod tests;

use crate::model::{Reason, Selection, User};

pub use self::clause::ClauseOperator;
pub use self::filter::{ClauseEntry, FilterEntry, FilterProblem};
use self::filter::{Filter, FilterResult};

/// Compiled scoping filters.
#[derive(Debug, Default)]
pub struct Scope {
    filters: Vec<Filter>,
}

/// What the scope says of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeDecision {
    /// To be a learner, as far as the mapping agrees.
    In,
    /// None, on positive evidence.
    Out(Reason),
    /// It cannot be told: the learner, if there is one, is to be left as it is.
    Undecided {
        /// `Unreadable` or `InvalidValue`.
        reason: Reason,
        /// Which clause, and what was wrong; never a value.
        detail: String,
    },
}

impl Scope {
    /// Compiles the filters, adding the properties that they read to `selection`; or every problem at once.
    pub fn compile(entries: &[FilterEntry], selection: &mut Selection) -> Result<Self, Vec<FilterProblem>> {
        let (mut filters, mut problems) = (Vec::new(), Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            match filter::compile(entry, selection) {
                Ok(filter) => filters.push(filter),
                Err(found) => {
                    problems.extend(found.into_iter().map(|problem| FilterProblem { filter: index, ..problem }))
                }
            }
        }
        if problems.is_empty() { Ok(Self { filters }) } else { Err(problems) }
    }

    /// Decides from a complete row.
    pub fn decide(&self, user: &User) -> ScopeDecision {
        if !user.enabled {
            return ScopeDecision::Out(Reason::AccountDisabled);
        }
        if self.filters.is_empty() {
            return ScopeDecision::In;
        }
        let mut undecided = None;
        for filter in &self.filters {
            match filter.holds(user) {
                FilterResult::Yes => return ScopeDecision::In,
                FilterResult::No(_) => {}
                FilterResult::Undecided { reason, detail } => {
                    undecided = undecided.or(Some(ScopeDecision::Undecided { reason, detail }))
                }
            }
        }
        undecided.unwrap_or(ScopeDecision::Out(Reason::OutOfScope))
    }

    /// Which filter let the user through, or which clause of each did not.
    pub fn explain(&self, user: &User) -> Vec<String> {
        let told = |filter: &Filter| {
            let name = filter.name();
            match filter.holds(user) {
                FilterResult::Yes => format!("filter {name:?} holds"),
                FilterResult::No(clause) => format!("filter {name:?} does not hold: {clause} is false"),
                FilterResult::Undecided { detail, .. } => format!("filter {name:?} cannot be told: {detail}"),
            }
        };
        self.filters.iter().map(told).collect()
    }
}
