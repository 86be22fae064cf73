//! `[[scope.filter]]` as an administrator writes it.

use insta::assert_snapshot;

use super::{REQUIRED, load_text, problems, problems_with};

#[test]
fn filters_and_clauses_come_in_the_order_of_the_file() {
    let text = r#"
[[scope.filter]]
name = "employees"
clauses = [
  { attribute = "userType", operator = "EQUALS", value = "Member" },
  { attribute = "[extensionAttribute3]", operator = "GREATER_THAN", value = 7 },
]
[[scope.filter]]
clauses = [{ attribute = "companyName", operator = "IS NOT NULL" }]
"#;
    let filters = load_text(&format!("{REQUIRED}{text}"), &[]).unwrap().scope.filters;
    let message: Vec<String> = filters
        .iter()
        .flat_map(|filter| filter.clauses.iter().map(move |clause| (filter, clause)))
        .map(|(filter, clause)| format!("{}: {} {} {:?}", filter.name, clause.attribute, clause.operator, clause.value))
        .collect();
    assert_snapshot!(message.join("\n"), @r#"
    employees: userType EQUALS Some("Member")
    employees: [extensionAttribute3] GREATER_THAN Some("7")
    filter 2: companyName IS NOT NULL None
    "#);
}

#[test]
fn every_slip_in_a_filter_is_told_with_its_line() {
    assert_snapshot!(problems(r#"
[[scope.filter]]
name = "employees"
clauses = [
  { attribute = "usertyp", operator = "EQUALS", value = "Member" },
  { attribute = "userType", operator = "EQUAL", value = "Member" },
  { attribute = "department", operator = "REGEX MATCH", value = "(" },
  { attribute = "department", operator = "IS NULL", value = "x" },
]
[[scope.filter]]
name = "nobody"
"#), @r#"
    /etc/learner-sync/learner-sync.toml:11:3: scope.filter: "employees": unknown attribute `usertyp`; did you mean `userType`?
    /etc/learner-sync/learner-sync.toml:12:3: scope.filter: "employees": unknown operator "EQUAL"; did you mean `EQUALS`? (operators: EQUALS, NOT EQUALS, IS TRUE, IS FALSE, IS NULL, IS NOT NULL, REGEX MATCH, NOT REGEX MATCH, GREATER_THAN, GREATER_THAN_OR_EQUALS, INCLUDES, ENDS_WITH)
    /etc/learner-sync/learner-sync.toml:13:3: scope.filter: "employees": `(` is not a valid regular expression: a `)` is missing
    /etc/learner-sync/learner-sync.toml:14:3: scope.filter: "employees": IS NULL takes no value
    /etc/learner-sync/learner-sync.toml:16:1: scope.filter: "nobody": has no clauses; without any filter all assigned users are in scope
    "#);
    assert_snapshot!(problems(r#"
[[scope.filter]]
name = 7
clause = []
clauses = [{ attribute = "userType" }, "department", { attribute = "userType", operator = "EQUALS", values = "x" }]
[[scope.filter]]
clauses = "department"
"#), @r#"
    /etc/learner-sync/learner-sync.toml:9:8: scope.filter: name must be a text in quotes, not a number
    /etc/learner-sync/learner-sync.toml:10:10: scope.filter: clause is not a key of a filter, which has name and clauses
    /etc/learner-sync/learner-sync.toml:11:12: scope.filter: the clause has no operator
    /etc/learner-sync/learner-sync.toml:11:40: scope.filter: a clause is { attribute = "…", operator = "…", value = "…" }, not a text
    /etc/learner-sync/learner-sync.toml:11:110: scope.filter: values is not a key of a clause, which has attribute, operator and value
    /etc/learner-sync/learner-sync.toml:13:11: scope.filter: clauses must be a list of clauses, not a text
    "#);
    assert_snapshot!(problems("[scope]\nfilter = \"department\"\n"), @r#"
    /etc/learner-sync/learner-sync.toml:8:10: scope.filter: must be written as [[scope.filter]] tables, not a text
    "#);
    assert_snapshot!(problems_with("", &[("LEARNER_SYNC_SCOPE__FILTER", "department")]), @r#"
    LEARNER_SYNC_SCOPE__FILTER: cannot be set by the environment
    "#);
}
