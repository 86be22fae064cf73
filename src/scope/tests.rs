use std::collections::BTreeMap;

use super::*;
use crate::model::{EntraId, Value};

fn clause(attribute: &str, operator: &str, value: Option<&str>) -> ClauseEntry {
    let value = value.map(str::to_owned);
    ClauseEntry { attribute: attribute.to_owned(), operator: operator.to_owned(), value }
}

fn filter(name: &str, clauses: Vec<ClauseEntry>) -> FilterEntry {
    FilterEntry { name: name.to_owned(), clauses }
}

/// Whether one clause on `department` holds for a user with this value.
fn holds(operator: &str, operand: Option<&str>, value: Value) -> bool {
    let mut selection = Selection::default();
    let entry = filter("one", vec![clause("department", operator, operand)]);
    let scope = Scope::compile(&[entry], false, &mut selection).unwrap();
    let user = User { id: EntraId::from_bytes([1; 16]), enabled: true, is_agent: false, values: vec![value] };
    scope.decide(&user, &Steps::for_one_user()) == ScopeDecision::In
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
        ("EQUALS", Some("FALSE"), Value::Boolean(false), true),
        ("EQUALS", Some("true"), Value::Boolean(false), false),
        ("EQUALS", Some("true"), text("TRUE"), false),
        ("EQUALS", Some("7"), number("7"), true),
        ("EQUALS", Some("Sales"), Value::Null, false),
        ("NOT EQUALS", Some("Sales"), text("sales"), true),
        ("NOT EQUALS", Some("Sales"), text("Sales"), false),
        ("NOT EQUALS", Some("Sales"), Value::Null, false),
        ("NOT EQUALS", Some("Sales"), text(""), false),
        ("IS TRUE", None, Value::Boolean(true), true),
        ("IS TRUE", None, text("True"), true),
        ("IS TRUE", None, text("yes"), false),
        ("IS TRUE", None, Value::Boolean(false), false),
        ("IS TRUE", None, Value::Null, false),
        ("IS FALSE", None, Value::Boolean(false), true),
        ("IS FALSE", None, Value::Boolean(true), false),
        ("IS FALSE", None, text("no"), false),
        ("IS FALSE", None, Value::Null, false),
        ("IS NULL", None, Value::Null, true),
        ("IS NULL", None, text(""), true),
        ("IS NULL", None, list(&[]), true),
        ("IS NULL", None, text("x"), false),
        ("IS NOT NULL", None, text("x"), true),
        ("IS NOT NULL", None, list(&[""]), false),
        ("IS NOT NULL", None, list(&["", "x"]), true),
        ("IS NOT NULL", None, Value::Boolean(false), true),
        ("IS NOT NULL", None, Value::Null, false),
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
        ("GREATER_THAN", Some("9"), number("8"), false),
        ("GREATER_THAN", Some(" -9 "), number("-8"), true),
        ("GREATER_THAN_OR_EQUALS", Some("9"), number("9"), true),
        ("GREATER_THAN_OR_EQUALS", Some("9"), number("10"), true),
        ("GREATER_THAN_OR_EQUALS", Some("9"), number("8"), false),
        ("INCLUDES", Some("ale"), text("Sales"), true),
        ("INCLUDES", Some("ALE"), text("Sales"), false),
        ("ENDS_WITH", Some("les"), text("Sales"), true),
        ("ENDS_WITH", Some("Sal"), text("Sales"), false),
        ("EQUALS", Some("b"), list(&["a", "b"]), true),
        ("NOT EQUALS", Some("b"), list(&["a", "b"]), false),
        ("NOT EQUALS", Some("c"), list(&["a", "b"]), true),
        ("not_equals", Some("Sales"), text("sales"), true),
        ("greater than", Some("9"), text("10"), true),
        ("EQUALS", Some("x"), Value::Complex(BTreeMap::new()), false),
    ] {
        assert_eq!(holds(operator, operand, value.clone()), expected, "{value:?} {operator} {operand:?}");
    }
}

/// Decides about a user with this `department` and `employeeOrgData`.
fn decide(filters: &[FilterEntry], department: Value, organisation: Value) -> (ScopeDecision, Vec<String>) {
    let mut selection = Selection::default();
    selection.slot("department");
    selection.slot("employeeOrgData");
    let scope = Scope::compile(filters, false, &mut selection).unwrap();
    let user = User {
        id: EntraId::from_bytes([1; 16]),
        enabled: true,
        is_agent: false,
        values: vec![department, organisation],
    };
    (scope.decide(&user, &Steps::for_one_user()), scope.explain(&user))
}

#[test]
fn all_clauses_share_the_steps_of_a_user() {
    let slow = |clauses| vec![clause("department", "NOT REGEX MATCH", Some("(?=z)z|.*(?=y)y")); clauses];
    let one_filter = |clauses: usize| vec![filter("slow", slow(clauses))];
    // None of the filters holds, so all are tried.
    let one_each = |filters: usize| {
        let never = clause("department", "EQUALS", Some("none"));
        (0..filters).map(|_| filter("slow", [slow(1), vec![never.clone()]].concat())).collect::<Vec<_>>()
    };
    for (filters, is_decided) in
        [(one_filter(4), true), (one_filter(20), false), (one_each(4), true), (one_each(20), false)]
    {
        let (decision, _) = decide(&filters, text(&"a".repeat(1_000)), Value::Null);
        assert_eq!(!matches!(decision, ScopeDecision::Undecided { .. }), is_decided, "{decision:?}");
    }
    // Clauses without a pattern cost little, but not nothing.
    for (clauses, is_decided) in [(100, true), (2_000, false)] {
        let filters = [filter("long", vec![clause("department", "INCLUDES", Some("a")); clauses])];
        let (decision, _) = decide(&filters, text(&"a".repeat(100_000)), Value::Null);
        assert_eq!(decision == ScopeDecision::In, is_decided, "{decision:?}");
    }
}

#[test]
fn slow_patterns_are_found_without_a_user() {
    let warnings = |pattern| {
        let by_department = vec![clause("department", "NOT REGEX MATCH", Some(pattern))];
        let scope = Scope::compile(&[filter("f", by_department)], false, &mut Selection::default()).unwrap();
        scope.warnings().collect::<Vec<_>>()
    };
    assert_eq!(warnings("(?i)^(sales|marketing)( .{1,255})?$"), Vec::<String>::new());
    let found = warnings("(a|aa|(?=b)b)+c");
    assert!(found.len() == 1 && found[0].starts_with("scope.filter \"f\", [department] NOT REGEX MATCH"), "{found:?}");
    assert!(found[0].contains("1,024 times `a`"), "{found:?}");
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
fn a_missing_value_does_not_put_a_user_out_of_scope() {
    let filters = [filter(
        "sales",
        vec![
            clause("employeeOrgData.division", "EQUALS", Some("North")),
            clause("department", "EQUALS", Some("Sales")),
        ],
    )];
    let (decision, _) = decide(&filters, text("Sales"), division(None));
    assert!(matches!(decision, ScopeDecision::Undecided { reason: Reason::Unreadable, .. }), "{decision:?}");
    // A false clause decides, even if another clause is undecided.
    assert_eq!(decide(&filters, text("Research"), division(None)).0, ScopeDecision::Out(Reason::OutOfScope));

    let wild = [filter("wild", vec![clause("department", "REGEX MATCH", Some("(?:a|aa|(?=b)b)+c"))])];
    let (decision, _) = decide(&wild, text(&"a".repeat(500)), Value::Null);
    assert!(matches!(decision, ScopeDecision::Undecided { reason: Reason::InvalidValue, .. }), "{decision:?}");
}

#[test]
fn only_a_complex_attribute_has_members() {
    let filters = [filter("north", vec![clause("employeeOrgData.division", "EQUALS", Some("North"))])];
    let undecided = |reason, rule: &str| {
        let detail = format!("scope.filter \"north\", [employeeOrgData.division] EQUALS \"North\": {rule}");
        (
            ScopeDecision::Undecided { reason, detail: detail.clone() },
            vec![format!("filter \"north\" is undecided: {detail}")],
        )
    };
    let decided = |organisation| decide(&filters, Value::Null, organisation);
    assert_eq!(decided(text("North")), undecided(Reason::InvalidValue, "not a complex attribute"));
    assert_eq!(decided(division(None)), undecided(Reason::Unreadable, "missing from the answer of Graph"));
    assert_eq!(decided(Value::Null).0, ScopeDecision::Out(Reason::OutOfScope));
    assert_eq!(decided(division(Some("North"))), (ScopeDecision::In, vec!["filter \"north\" holds".to_owned()]));
}

#[test]
fn the_first_undecided_filter_is_reported_unless_another_one_holds() {
    let filters = [
        filter("first", vec![clause("employeeOrgData.division", "IS NOT NULL", None)]),
        filter("second", vec![clause("employeeOrgData.costCenter", "IS NOT NULL", None)]),
        filter("third", vec![clause("department", "EQUALS", Some("Sales"))]),
    ];
    assert_eq!(decide(&filters, text("Sales"), division(None)).0, ScopeDecision::In);
    let (decision, _) = decide(&filters, text("Research"), division(None));
    assert!(matches!(&decision, ScopeDecision::Undecided { detail, .. } if detail.contains("first")), "{decision:?}");
}

#[test]
fn clauses_are_shown_like_in_the_portal() {
    for (attribute, operator, value, expected) in [
        ("objectId", "regex match", Some("f.*"), "[id] REGEX MATCH \"f.*\""),
        (" [mail] ", "is_null", None, "[mail] IS NULL"),
        ("employeeId", "GREATER_THAN", Some("7"), "[employeeId] GREATER_THAN 7"),
    ] {
        let mut selection = Selection::default();
        selection.slot("city");
        let scope =
            Scope::compile(&[filter("f", vec![clause(attribute, operator, value)])], false, &mut selection).unwrap();
        let values = vec![text("x"); selection.properties().len()];
        let user = User { id: EntraId::from_bytes([1; 16]), enabled: true, is_agent: false, values };
        assert_eq!(scope.explain(&user), [format!("filter \"f\" does not hold: {expected} is false")]);
    }
}

#[test]
fn the_object_id_is_not_selected() {
    let mut selection = Selection::default();
    let by_id = filter("id", vec![clause("id", "EQUALS", Some("01010101-0101-0101-0101-010101010101"))]);
    let scope = Scope::compile(&[by_id], false, &mut selection).unwrap();
    assert_eq!(selection, Selection::default());
    let user = User { id: EntraId::from_bytes([1; 16]), enabled: true, is_agent: false, values: Vec::new() };
    assert_eq!(scope.decide(&user, &Steps::for_one_user()), ScopeDecision::In);
}

#[test]
fn a_disabled_account_is_out_of_scope() {
    let user = User { id: EntraId::from_bytes([1; 16]), enabled: false, is_agent: false, values: Vec::new() };
    assert_eq!(Scope::default().decide(&user, &Steps::for_one_user()), ScopeDecision::Out(Reason::AccountDisabled));
}

#[test]
fn mistakes_are_found_when_compiling() {
    let messages = |clauses: Vec<ClauseEntry>| {
        let mut selection = Selection::default();
        let problems = Scope::compile(&[filter("one", clauses)], false, &mut selection).unwrap_err();
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
        ("department", "REGEX MATCH", Some("("), "not a valid regular expression"),
    ] {
        let message = messages(vec![clause(attribute, operator, value)]);
        assert!(message.contains(words), "{message}");
    }
    assert!(messages(Vec::new()).contains("no clauses"));
    assert_eq!(
        messages(vec![clause("mail", "EQUALS", None), clause("mail", "EQUALS", Some(""))]).split("; E").count(),
        2
    );

    let good = filter("good", vec![clause("mail", "IS NULL", None)]);
    let bad = filter("bad", vec![clause("mail", "IS NULL", None), clause("mail", "NULL", None)]);
    let problems =
        Scope::compile(&[good, bad, filter("empty", Vec::new())], false, &mut Selection::default()).unwrap_err();
    let places: Vec<_> = problems.iter().map(|problem| (problem.filter, problem.clause)).collect();
    assert_eq!(places, [(1, Some(1)), (2, None)]);
}
