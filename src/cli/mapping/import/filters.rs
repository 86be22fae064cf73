//! Converts the filter groups of a schema to `[[scope.filter]]`.

use super::schema::{SchemaClause, SchemaGroup};
use crate::model::Selection;
use crate::scope::{ClauseEntry, ClauseOperator, FilterEntry, FilterProblem, Scope};

/// Converts the groups of which one must hold.
///
/// # Errors
/// Every reason why they cannot be imported completely.
pub(super) fn convert_filters(groups: Vec<SchemaGroup>) -> Result<Vec<FilterEntry>, Vec<String>> {
    // A group without clauses holds for all users, and so do all groups together.
    if groups.iter().any(SchemaGroup::holds_for_all) {
        return Ok(Vec::new());
    }
    let mut reasons = Vec::new();
    let filters = groups.into_iter().map(|group| convert_group(group, &mut reasons)).collect();
    if reasons.is_empty() { Ok(filters) } else { Err(reasons) }
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
        && let Err(problems) = Scope::compile(std::slice::from_ref(&filter), false, &mut Selection::default())
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
