//! Scoping filters: from filter groups of a schema to `[[scope.filter]]`.

use super::schema::{Clause, Group, Scope};
use crate::entra::check_attribute;
use crate::scope::Operator;

/// Several sets of groups are multiplied out; no administrator means more than this.
const MAX_FILTERS: usize = 100;

/// Everybody for whom all clauses hold is in scope.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) name: String,
    pub(super) clauses: Vec<Condition>,
}

#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) attribute: String,
    pub(super) operator: Operator,
    pub(super) value: Option<String>,
}

/// The filters, of which one must hold; or why not all of them can be had.
pub(super) fn filters(scope: Scope) -> Result<Vec<Filter>, Vec<String>> {
    let Scope { groups, input_filter_groups, category_filter_groups } = scope;
    let mut reasons = Vec::new();
    let mut filters: Option<Vec<Filter>> = None;
    for set in [groups, input_filter_groups, category_filter_groups].into_iter().flatten() {
        // A group without clauses holds for everybody, and so does its set.
        if set.is_empty() || set.iter().any(|group| group.clauses.is_empty()) {
            continue;
        }
        let set: Vec<Filter> = set.into_iter().map(|group| filter(group, &mut reasons)).collect();
        filters = Some(match filters {
            None => set,
            Some(others) if others.len() * set.len() > MAX_FILTERS => {
                reasons.push("its sets of groups together are too many filters".to_owned());
                others
            }
            Some(others) => others.iter().flat_map(|one| set.iter().map(|other| both(one, other))).collect(),
        });
    }
    if reasons.is_empty() { Ok(filters.unwrap_or_default()) } else { Err(reasons) }
}

fn both(one: &Filter, other: &Filter) -> Filter {
    let clauses = one.clauses.iter().chain(&other.clauses).cloned().collect();
    Filter { name: format!("{} and {}", one.name, other.name), clauses }
}

fn filter(group: Group, reasons: &mut Vec<String>) -> Filter {
    let Group { name, clauses } = group;
    let name = name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "Imported".to_owned());
    let mut conditions = Vec::new();
    for clause in clauses {
        match condition(clause) {
            Ok(condition) => conditions.push(condition),
            Err(reason) => reasons.push(format!("{name:?}: {reason}")),
        }
    }
    Filter { name, clauses: conditions }
}

fn condition(clause: Clause) -> Result<Condition, String> {
    let Clause { operator_name, source_operand_name: attribute, target_operand } = clause;
    check_attribute(&attribute)?;
    let Some(operator) = Operator::named(&operator_name) else {
        return Err(format!("the operator `{operator_name}` is not supported"));
    };
    let mut values = target_operand.map(|operand| operand.values).unwrap_or_default();
    let value = match (operator.takes_value(), values.len()) {
        (false, _) => None,
        (true, 1) => values.pop(),
        (true, count) => return Err(format!("`{operator}` takes one value, and there are {count}")),
    };
    Ok(Condition { attribute, operator, value })
}
