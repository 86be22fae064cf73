//! Scoping filters: from the configuration to something that decides.

use super::clause::{Clause, ClauseOperand, ClauseOperator, UndecidedClause};
use crate::expression::attribute::{self, AttributePart};
use crate::expression::pattern::Pattern;
use crate::model::{Reason, Selection, User};
use crate::nearest::{did_you_mean, nearest};

/// A `[[scope.filter]]` as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterEntry {
    /// What an administrator calls it.
    pub name: String,
    /// All of which must hold.
    pub clauses: Vec<ClauseEntry>,
}

/// One clause as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClauseEntry {
    /// A source attribute, by Graph's name or the portal's; brackets around it are allowed.
    pub attribute: String,
    /// The operator as the portal shows it.
    pub operator: String,
    /// What to compare with, for the operators that do.
    pub value: Option<String>,
}

/// Something that is wrong with a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterProblem {
    /// The index of the filter.
    pub filter: usize,
    /// The index of its clause, unless it is about the filter as a whole.
    pub clause: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// A compiled filter.
#[derive(Debug)]
pub(super) struct Filter {
    name: String,
    clauses: Vec<Clause>,
}

/// Whether a filter lets somebody through.
pub(super) enum FilterResult {
    Yes,
    /// The first clause that is false, in words.
    No(String),
    /// No clause is false, but one cannot be told.
    Undecided {
        reason: Reason,
        detail: String,
    },
}

impl Filter {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn holds(&self, user: &User) -> FilterResult {
        let mut untold = None;
        for clause in &self.clauses {
            match clause.holds(user) {
                Ok(true) => {}
                Ok(false) => return FilterResult::No(clause.to_string()),
                Err(UndecidedClause { reason, rule }) => {
                    let detail = format!("scope.filter {:?}, {clause}: {rule}", self.name);
                    untold = untold.or(Some(FilterResult::Undecided { reason, detail }));
                }
            }
        }
        untold.unwrap_or(FilterResult::Yes)
    }
}

/// The filter of `entry`; or everything that is wrong with it, its index left to the caller.
pub(super) fn compile(entry: &FilterEntry, selection: &mut Selection) -> Result<Filter, Vec<FilterProblem>> {
    let FilterEntry { name, clauses } = entry;
    let (mut compiled, mut problems) = (Vec::new(), Vec::new());
    for (index, entry) in clauses.iter().enumerate() {
        match clause(entry, selection) {
            Ok(clause) => compiled.push(clause),
            Err(message) => problems.push(FilterProblem { filter: 0, clause: Some(index), message }),
        }
    }
    if clauses.is_empty() {
        let message = "has no clauses; without any filter everybody who is assigned is in scope".to_owned();
        problems.push(FilterProblem { filter: 0, clause: None, message });
    }
    if problems.is_empty() { Ok(Filter { name: name.clone(), clauses: compiled }) } else { Err(problems) }
}

fn clause(entry: &ClauseEntry, selection: &mut Selection) -> Result<Clause, String> {
    let ClauseEntry { attribute, operator: named, value } = entry;
    let name = attribute.trim();
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let attribute = attribute::resolve(bare.trim())?;
    let operator = ClauseOperator::named(named).ok_or_else(|| {
        let names = ClauseOperator::ALL.map(ClauseOperator::as_str);
        let meant = did_you_mean(nearest(named, names.into_iter()));
        format!("unknown operator {named:?}{meant} (there are {})", names.join(", "))
    })?;
    let operand = match (operator.takes_value(), value) {
        (false, None) => ClauseOperand::None,
        (false, Some(_)) => return Err(format!("{operator} takes no value")),
        (true, None) => return Err(format!("{operator} needs a value")),
        (true, Some(value)) => operand(operator, value)?,
    };
    let slot = if attribute.part == AttributePart::Id { 0 } else { selection.slot(&attribute.property) };
    Ok(Clause { attribute, slot, operator, operand })
}

fn operand(operator: ClauseOperator, value: &str) -> Result<ClauseOperand, String> {
    match operator {
        ClauseOperator::RegexMatch | ClauseOperator::NotRegexMatch => {
            let pattern = Box::new(Pattern::parse_whole(value)?);
            Ok(ClauseOperand::Pattern { text: value.to_owned(), pattern })
        }
        ClauseOperator::GreaterThan | ClauseOperator::GreaterThanOrEquals => match value.trim().parse() {
            Ok(number) => Ok(ClauseOperand::Number(number)),
            Err(_) => Err(format!("{operator} compares whole numbers, and {value:?} is none")),
        },
        // No value ends with more than nothing, so that everybody or nobody would be let through.
        _ if value.is_empty() => {
            Err(format!("{operator} needs a value that is not empty; see IS NULL and IS NOT NULL"))
        }
        _ => Ok(ClauseOperand::Text(value.to_owned())),
    }
}
