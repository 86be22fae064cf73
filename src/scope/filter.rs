//! Compiles the configured filters.

use super::clause::{Clause, ClauseOperand, ClauseOperator};
use crate::expression::Steps;
use crate::expression::attribute;
use crate::expression::foresee::too_many_steps;
use crate::expression::pattern::Pattern;
use crate::model::{Reason, Selection, User};
use crate::nearest::{did_you_mean, nearest};

/// A `[[scope.filter]]` as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterEntry {
    /// The name for messages.
    pub name: String,
    /// The clauses, all of which must hold.
    pub clauses: Vec<ClauseEntry>,
}

/// One clause as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClauseEntry {
    /// A source attribute, by its name in Graph or in the portal, optionally in brackets.
    pub attribute: String,
    /// The operator by its name in the portal.
    pub operator: String,
    /// The value to compare with, for operators that need one.
    pub value: Option<String>,
}

/// A problem with a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterProblem {
    /// The index of the filter.
    pub filter: usize,
    /// The index of the clause; `None` for the filter as a whole.
    pub clause: Option<usize>,
    /// The problem.
    pub message: String,
}

/// A compiled filter.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) name: String,
    clauses: Vec<Clause>,
}

/// Whether a filter holds for a user.
pub(super) enum FilterResult {
    Yes,
    /// The first clause that is false, as text.
    No(String),
    /// No clause is false, but one is undecided.
    Undecided {
        reason: Reason,
        detail: String,
    },
}

impl Filter {
    pub(super) fn holds(&self, user: &User, steps: &Steps) -> FilterResult {
        let mut undecided = None;
        for clause in &self.clauses {
            match clause.holds(user, steps) {
                Ok(true) => {}
                Ok(false) => return FilterResult::No(clause.to_string()),
                Err((reason, rule)) => {
                    let detail = format!("scope.filter {:?}, {clause}: {rule}", self.name);
                    undecided = undecided.or(Some(FilterResult::Undecided { reason, detail }));
                }
            }
        }
        undecided.unwrap_or(FilterResult::Yes)
    }

    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        let exhausting = |clause: &Clause| Some(format!("{clause}: {}", too_many_steps(clause.exhausting_sample()?)));
        self.clauses.iter().filter_map(exhausting).map(|warning| format!("scope.filter {:?}, {warning}", self.name))
    }
}

/// Compiles the filter with the index `filter`.
///
/// # Errors
/// Every problem.
pub(super) fn compile_filter(
    filter: usize,
    entry: &FilterEntry,
    selection: &mut Selection,
) -> Result<Filter, Vec<FilterProblem>> {
    let FilterEntry { name, clauses } = entry;
    let (mut compiled, mut problems) = (Vec::new(), Vec::new());
    for (index, entry) in clauses.iter().enumerate() {
        match compile_clause(entry, selection) {
            Ok(clause) => compiled.push(clause),
            Err(message) => problems.push(FilterProblem { filter, clause: Some(index), message }),
        }
    }
    if clauses.is_empty() {
        let message = "has no clauses; without any filter all assigned users are in scope".to_owned();
        problems.push(FilterProblem { filter, clause: None, message });
    }
    if problems.is_empty() { Ok(Filter { name: name.clone(), clauses: compiled }) } else { Err(problems) }
}

fn compile_clause(entry: &ClauseEntry, selection: &mut Selection) -> Result<Clause, String> {
    let ClauseEntry { attribute, operator: named, value } = entry;
    let name = attribute.trim();
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let attribute = attribute::resolve(bare.trim())?;
    let operator = ClauseOperator::named(named).ok_or_else(|| {
        let names: Vec<_> = ClauseOperator::ALL.iter().map(|operator| operator.as_str()).collect();
        let meant = did_you_mean(nearest(named, names.iter().copied()));
        format!("unknown operator {named:?}{meant} (operators: {})", names.join(", "))
    })?;
    let operand = match (operator.takes_value(), value) {
        (false, None) => ClauseOperand::None,
        (false, Some(_)) => return Err(format!("{operator} takes no value")),
        (true, None) => return Err(format!("{operator} needs a value")),
        (true, Some(value)) => parse_operand(operator, value)?,
    };
    let slot = attribute.select(selection);
    Ok(Clause { attribute, slot, operator, operand })
}

fn parse_operand(operator: ClauseOperator, value: &str) -> Result<ClauseOperand, String> {
    match operator {
        ClauseOperator::RegexMatch | ClauseOperator::NotRegexMatch => {
            let pattern = Box::new(Pattern::parse_whole(value)?);
            Ok(ClauseOperand::Pattern { text: value.to_owned(), pattern })
        }
        ClauseOperator::GreaterThan | ClauseOperator::GreaterThanOrEquals => match value.trim().parse() {
            Ok(number) => Ok(ClauseOperand::Number(number)),
            Err(_) => Err(format!("{operator} compares whole numbers, but {value:?} is not one")),
        },
        // Every value ends with the empty text and none equals it: the clause would hold for all users or for none.
        _ if value.is_empty() => {
            Err(format!("{operator} needs a value that is not empty; see IS NULL and IS NOT NULL"))
        }
        _ => Ok(ClauseOperand::Text(value.to_owned())),
    }
}
