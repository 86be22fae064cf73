use super::*;
use crate::model::{EntraId, Value};

fn clause(attribute: &str, operator: &str, value: Option<&str>) -> ClauseEntry {
    let value = value.map(str::to_owned);
    ClauseEntry { attribute: attribute.to_owned(), operator: operator.to_owned(), value }
}

fn filter(name: &str, clauses: Vec<ClauseEntry>) -> FilterEntry {
    FilterEntry { name: name.to_owned(), clauses }
}

/// Whether a filter of one clause on `department` lets a user with this value through.
fn lets_through(operator: &str, operand: Option<&str>, value: Value) -> bool {
    let mut selection = Selection::default();
    let entry = filter("one", vec![clause("department", operator, operand)]);
    let scope = Scope::compile(&[entry], &mut selection).unwrap();
    let user = User { id: EntraId::from_bytes([1; 16]), enabled: true, values: vec![value] };
    scope.decide(&user) == ScopeDecision::In
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn clauses_compare_as_in_the_portal() {
    let number = |digits: &str| Value::Number(digits.to_owned());
    let list = |texts: &[&str]| Value::List(texts.iter().map(|it| text(it)).collect());
    for (operator, operand, value, expected) in [
        ("EQUALS", Some("Sales"), text("Sales"), true),
        ("EQUALS", Some("Sales"), text("sales"), false),
        ("EQUALS", Some("true"), Value::Boolean(true), true),
        ("EQUALS", Some("Sales"), Value::Null, false),
        ("NOT EQUALS", Some("Sales"), text("sales"), true),
        ("NOT EQUALS", Some("Sales"), text("Sales"), false),
        ("NOT EQUALS", Some("Sales"), Value::Null, false),
        ("NOT EQUALS", Some("Sales"), text(""), false),
        ("IS TRUE", None, Value::Boolean(true), true),
        ("IS TRUE", None, text("True"), true),
        ("IS TRUE", None, Value::Null, false),
        ("IS FALSE", None, Value::Boolean(false), true),
        ("IS FALSE", None, Value::Null, false),
        ("IS NULL", None, Value::Null, true),
        ("IS NULL", None, text(""), true),
        ("IS NULL", None, list(&[]), true),
        ("IS NULL", None, text("x"), false),
        ("IS NOT NULL", None, text("x"), true),
        ("IS NOT NULL", None, list(&[""]), false),
        ("REGEX MATCH", Some("([1-9][0-9])"), number("42"), true),
        ("REGEX MATCH", Some("([1-9][0-9])"), number("142"), false),
        ("REGEX MATCH", Some("sales"), text("Sales"), false),
        ("REGEX MATCH", Some(".*"), Value::Null, false),
        ("NOT REGEX MATCH", Some("S.*"), text("Research"), true),
        ("NOT REGEX MATCH", Some("S.*"), text("Sales"), false),
        ("NOT REGEX MATCH", Some("S.*"), Value::Null, false),
        ("GREATER_THAN", Some("9"), text("10"), true),
        ("GREATER_THAN", Some("9"), number("9"), false),
        ("GREATER_THAN", Some("9"), text("ten"), false),
        ("GREATER_THAN_OR_EQUALS", Some("9"), number("9"), true),
        ("INCLUDES", Some("ale"), text("Sales"), true),
        ("INCLUDES", Some("ALE"), text("Sales"), false),
        ("ENDS_WITH", Some("les"), text("Sales"), true),
        ("ENDS_WITH", Some("Sal"), text("Sales"), false),
        ("EQUALS", Some("b"), list(&["a", "b"]), true),
        ("NOT EQUALS", Some("b"), list(&["a", "b"]), false),
        ("NOT EQUALS", Some("c"), list(&["a", "b"]), true),
        ("not_equals", Some("Sales"), text("sales"), true),
        ("greater than", Some("9"), text("10"), true),
    ] {
        assert_eq!(lets_through(operator, operand, value.clone()), expected, "{value:?} {operator} {operand:?}");
    }
}

/// A scope and a user: [department] and [employeeOrgData.division].
fn decide(filters: &[FilterEntry], department: Value, organisation: Value) -> (ScopeDecision, Vec<String>) {
    let mut selection = Selection::default();
    selection.slot("department");
    selection.slot("employeeOrgData");
    let scope = Scope::compile(filters, &mut selection).unwrap();
    let user = User { id: EntraId::from_bytes([1; 16]), enabled: true, values: vec![department, organisation] };
    (scope.decide(&user), scope.explain(&user))
}

fn division(name: Option<&str>) -> Value {
    Value::Complex(name.map(|name| ("division".to_owned(), text(name))).into_iter().collect())
}

#[test]
fn all_clauses_of_one_filter_must_hold() {
    let filters = [
        filter(
            "sales",
            vec![
                clause("department", "EQUALS", Some("Sales")),
                clause("[employeeOrgData.division]", "EQUALS", Some("North")),
            ],
        ),
        filter("research", vec![clause("department", "EQUALS", Some("Research"))]),
    ];
    assert_eq!(decide(&filters, text("Sales"), division(Some("North"))).0, ScopeDecision::In);
    assert_eq!(decide(&filters, text("Research"), division(Some("South"))).0, ScopeDecision::In);
    let (decision, why) = decide(&filters, text("Sales"), division(Some("South")));
    assert_eq!(decision, ScopeDecision::Out(Reason::OutOfScope));
    assert_eq!(
        why,
        [
            "filter \"sales\" does not hold: [employeeOrgData.division] EQUALS \"North\" is false",
            "filter \"research\" does not hold: [department] EQUALS \"Research\" is false",
        ]
    );
    assert_eq!(decide(&[], Value::Null, Value::Null).0, ScopeDecision::In);
}

#[test]
fn what_is_not_told_decides_nothing() {
    let filters = [filter(
        "sales",
        vec![
            clause("employeeOrgData.division", "EQUALS", Some("North")),
            clause("department", "EQUALS", Some("Sales")),
        ],
    )];
    let (decision, _) = decide(&filters, text("Sales"), division(None));
    assert!(matches!(decision, ScopeDecision::Undecided { reason: Reason::Unreadable, .. }), "{decision:?}");
    // A clause that is false decides whatever the other one would say.
    assert_eq!(decide(&filters, text("Research"), division(None)).0, ScopeDecision::Out(Reason::OutOfScope));

    let wild = [filter("wild", vec![clause("department", "REGEX MATCH", Some("(?:a|aa|(?=b)b)+c"))])];
    let (decision, _) = decide(&wild, text(&"a".repeat(500)), Value::Null);
    assert!(matches!(decision, ScopeDecision::Undecided { reason: Reason::InvalidValue, .. }), "{decision:?}");
}

#[test]
fn a_disabled_account_is_out_whatever_the_filters_say() {
    let user = User { id: EntraId::from_bytes([1; 16]), enabled: false, values: Vec::new() };
    assert_eq!(Scope::default().decide(&user), ScopeDecision::Out(Reason::AccountDisabled));
}

#[test]
fn every_slip_is_found_at_the_start() {
    let told = |clauses: Vec<ClauseEntry>| {
        let mut selection = Selection::default();
        let problems = Scope::compile(&[filter("one", clauses)], &mut selection).unwrap_err();
        problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ")
    };
    for (attribute, operator, value, words) in [
        ("departement", "EQUALS", Some("a"), "did you mean `department`?"),
        ("manager", "IS NULL", None, "not supported"),
        ("department", "EQUAL", Some("a"), "unknown operator \"EQUAL\"; did you mean `EQUALS`?"),
        ("department", "EQUALS", None, "needs a value"),
        ("department", "EQUALS", Some(""), "IS NULL"),
        ("department", "IS TRUE", Some("yes"), "takes no value"),
        ("department", "GREATER_THAN", Some("many"), "whole numbers"),
        ("department", "REGEX MATCH", Some("("), "no regular expression"),
    ] {
        let message = told(vec![clause(attribute, operator, value)]);
        assert!(message.contains(words), "{message}");
    }
    assert!(told(Vec::new()).contains("no clauses"));
}
