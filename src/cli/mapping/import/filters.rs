//! Converts the filter groups of a schema to `[[scope.filter]]`.

use super::schema::{SchemaClause, SchemaGroup, SchemaScope};
use crate::model::Selection;
use crate::scope::{ClauseEntry, ClauseOperator, FilterEntry, FilterProblem, Scope};

/// Several sets of groups are multiplied. More filters than this are not intended.
const MAX_FILTERS: usize = 100;

/// Converts the scope of an object mapping.
///
/// # Errors
/// Every reason why it cannot be imported completely.
pub(super) fn convert_filters(scope: SchemaScope) -> Result<Vec<FilterEntry>, Vec<String>> {
    let SchemaScope { groups, input_filter_groups, category_filter_groups } = scope;
    let mut reasons = Vec::new();
    let mut filters: Option<Vec<FilterEntry>> = None;
    for set in [groups, input_filter_groups, category_filter_groups].into_iter().flatten() {
        // A group without clauses holds for all users, and so does its set.
        if set.is_empty() || set.iter().any(|group| group.clauses.as_ref().is_none_or(Vec::is_empty)) {
            continue;
        }
        let set: Vec<FilterEntry> = set.into_iter().map(|group| convert_group(group, &mut reasons)).collect();
        filters = Some(match filters {
            None => set,
            Some(others) if others.len() * set.len() > MAX_FILTERS => {
                reasons.push("its sets of groups make too many filters".to_owned());
                others
            }
            Some(others) => others.iter().flat_map(|one| set.iter().map(|other| both(one, other))).collect(),
        });
    }
    if reasons.is_empty() { Ok(filters.unwrap_or_default()) } else { Err(reasons) }
}

fn both(one: &FilterEntry, other: &FilterEntry) -> FilterEntry {
    let clauses = one.clauses.iter().chain(&other.clauses).cloned().collect();
    FilterEntry { name: format!("{} and {}", one.name, other.name), clauses }
}

/// Converts a group. It is compiled like the configuration, so that the result will load.
fn convert_group(group: SchemaGroup, reasons: &mut Vec<String>) -> FilterEntry {
    let SchemaGroup { name, clauses } = group;
    let name = name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "Imported".to_owned());
    let mut filter = FilterEntry { name, clauses: Vec::new() };
    let known_reasons = reasons.len();
    for clause in clauses.unwrap_or_default() {
        match convert_clause(clause) {
            Ok(clause) => filter.clauses.push(clause),
            Err(reason) => reasons.push(format!("{:?}: {reason}", filter.name)),
        }
    }
    if reasons.len() == known_reasons
        && let Err(problems) = Scope::compile(std::slice::from_ref(&filter), &mut Selection::default())
    {
        reasons
            .extend(problems.into_iter().map(|FilterProblem { message, .. }| format!("{:?}: {message}", filter.name)));
    }
    filter
}

fn convert_clause(clause: SchemaClause) -> Result<ClauseEntry, String> {
    let SchemaClause { operator_name, source_operand_name: attribute, target_operand } = clause;
    let Some(operator) = ClauseOperator::named(&operator_name) else {
        return Err(format!("the operator `{operator_name}` is not supported"));
    };
    let mut values = target_operand.and_then(|operand| operand.values).unwrap_or_default();
    let value = match (operator.takes_value(), values.len()) {
        (false, _) => None,
        (true, 1) => values.pop(),
        (true, count) => return Err(format!("`{operator}` takes one value, found {count}")),
    };
    Ok(ClauseEntry { attribute, operator: operator.as_str().to_owned(), value })
}
