//! Scoping: decides which assigned users become learners. Disabled accounts are out of scope. Pure.
//!
//! As in Entra's own provisioning, a user is in scope if all clauses of at least one filter hold; without a filter all
//! users are in scope. A missing value never puts a user out of scope.

mod clause;
mod filter;
#[cfg(test)]
mod tests;

use crate::expression::Steps;
use crate::model::{Reason, Selection, User};

pub use self::clause::ClauseOperator;
pub use self::filter::{ClauseEntry, FilterEntry, FilterProblem};
use self::filter::{Filter, FilterResult};

/// Compiled scoping filters.
#[derive(Debug, Default)]
pub struct Scope {
    filters: Vec<Filter>,
    /// Whether the accounts of agents count.
    agent_users: bool,
}

/// Whether a user is in scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeDecision {
    /// In scope.
    In,
    /// Out of scope, on positive evidence.
    Out(Reason),
    /// Unknown: an existing learner stays unchanged.
    Undecided {
        /// `Unreadable` or `InvalidValue`.
        reason: Reason,
        /// The clause and the problem; never a value of the user.
        detail: String,
    },
}

impl Scope {
    /// Compiles the filters and adds the properties that they read to `selection`.
    ///
    /// # Errors
    /// Every problem.
    pub fn compile(
        entries: &[FilterEntry],
        agent_users: bool,
        selection: &mut Selection,
    ) -> Result<Self, Vec<FilterProblem>> {
        let (mut filters, mut problems) = (Vec::new(), Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            match filter::compile_filter(index, entry, selection) {
                Ok(filter) => filters.push(filter),
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() { Ok(Self { filters, agent_users }) } else { Err(problems) }
    }

    /// Whether the account is an agent's, and such accounts do not count.
    pub fn excludes_agent(&self, user: &User) -> bool {
        user.is_agent && !self.agent_users
    }

    /// Decides about a user that was read with the selection of the filters. All clauses share `steps`, with the mapping.
    pub fn decide(&self, user: &User, steps: &Steps) -> ScopeDecision {
        if self.excludes_agent(user) {
            return ScopeDecision::Out(Reason::OutOfScope);
        }
        if !user.enabled {
            return ScopeDecision::Out(Reason::AccountDisabled);
        }
        if self.filters.is_empty() {
            return ScopeDecision::In;
        }
        let mut undecided = None;
        for filter in &self.filters {
            match filter.holds(user, steps) {
                FilterResult::Yes => return ScopeDecision::In,
                FilterResult::No(_) => {}
                FilterResult::Undecided { reason, detail } => {
                    undecided = undecided.or(Some(ScopeDecision::Undecided { reason, detail }))
                }
            }
        }
        undecided.unwrap_or(ScopeDecision::Out(Reason::OutOfScope))
    }

    /// Clauses that are probably a mistake, and why.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.filters.iter().flat_map(Filter::warnings)
    }

    /// Explains each filter: whether it holds, or the clause that does not.
    pub fn explain(&self, user: &User) -> Vec<String> {
        let steps = &Steps::for_one_user();
        let explanation = |filter: &Filter| {
            let name = &filter.name;
            match filter.holds(user, steps) {
                FilterResult::Yes => format!("filter {name:?} holds"),
                FilterResult::No(clause) => format!("filter {name:?} does not hold: {clause} is false"),
                FilterResult::Undecided { detail, .. } => format!("filter {name:?} is undecided: {detail}"),
            }
        };
        self.filters.iter().map(explanation).collect()
    }
}
