//! The language as a whole: worked examples, and random expressions that must not panic.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::attribute::{any_name, resolve};
use super::compile::compile;
use super::evaluate::MAX_PRODUCED;
use super::parse::MAX_DEPTH;
use super::steps::Steps;
use super::syntax::ExpressionProblem;
use super::{EvaluationContext, EvaluationStop, text};
use crate::model::{EntraId, Selection, User, Value};

pub(crate) fn value(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A user whose selected properties have these values, and null where none is given.
pub(crate) fn user(selection: &Selection, inputs: &BTreeMap<&str, Value>) -> User {
    let value_of = |property: &String| inputs.get(property.as_str()).cloned().unwrap_or(Value::Null);
    User {
        id: "0a1b2c3d-0000-4000-8000-000000000007".parse().unwrap(),
        enabled: inputs.get("accountEnabled") != Some(&Value::Boolean(false)),
        is_agent: false,
        values: selection.properties().iter().map(value_of).collect(),
    }
}

pub(crate) fn now() -> jiff::Timestamp {
    "2026-03-04T17:06:09Z".parse().unwrap()
}

/// The problems of an expression that does not compile.
pub(crate) fn problems(expression: &str) -> Vec<ExpressionProblem> {
    compile(expression, resolve, &mut Selection::default()).unwrap_err()
}

/// The result of `expression` as text, `null`, or the reason why there is none.
pub(crate) fn evaluated(expression: &str, inputs: &[(&str, Value)]) -> String {
    let mut selection = Selection::default();
    let compiled = compile(expression, resolve, &mut selection).unwrap();
    let user = user(&selection, &inputs.iter().cloned().collect());
    match compiled.evaluate(EvaluationContext { user: &user, now: now(), steps: &Steps::for_one_user() }) {
        Err(EvaluationStop::IgnoreAttribute) => "no flow".to_owned(),
        Err(EvaluationStop::IgnoreUser) => "no flow for the user".to_owned(),
        Err(EvaluationStop::Invalid { rule, .. }) => format!("invalid: {rule}"),
        Ok(value) => match text(value.clone()) {
            Ok(text) => text.map_or_else(|| "null".to_owned(), Cow::into_owned),
            Err(_) => format!("{value:?}"),
        },
    }
}

/// Checks the result of each expression for a user with these text attributes.
pub(crate) fn check(inputs: &[(&str, &str)], rows: &[(&str, &str)]) {
    let inputs: Vec<_> = inputs.iter().map(|(name, text)| (*name, value(text))).collect();
    for (expression, expected) in rows {
        assert_eq!(evaluated(expression, &inputs), *expected, "{expression}");
    }
}

/// The worked examples: what each shows, the expression, its inputs, the time if it matters, and the expected result:
/// a text, null, a list of texts, `{"flow": "attribute"}` or `{"flow": "user"}` for what is ignored, or `{"error": ..}`.
#[test]
fn worked_examples() {
    let examples: Vec<Json> = serde_json::from_str(include_str!("tests/examples.json")).unwrap();
    assert!(examples.len() > 100, "only {} examples", examples.len());
    for example in examples {
        let expression = example["expression"].as_str().unwrap();
        let mut names = Selection::default();
        let compiled = compile(expression, any_name, &mut names).unwrap();
        let values = names.properties().iter().map(|name| from_json(&example["inputs"][name])).collect();
        let user = User { id: EntraId::from_bytes([0; 16]), enabled: true, is_agent: false, values };
        let now = example["now"].as_str().map_or_else(now, |text| text.parse().unwrap());
        let found = match compiled.evaluate(EvaluationContext { user: &user, now, steps: &Steps::for_one_user() }) {
            Ok(value) => to_json(value.into_owned()),
            Err(EvaluationStop::IgnoreAttribute) => json!({ "flow": "attribute" }),
            Err(EvaluationStop::IgnoreUser) => json!({ "flow": "user" }),
            Err(EvaluationStop::Invalid { rule, .. }) => json!({ "error": rule }),
        };
        assert_eq!(found, example["expected"], "{}: {expression}", example["shows"]);
    }
}

fn from_json(value: &Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Array(elements) => Value::List(elements.iter().map(from_json).collect()),
        text => Value::Text(text.as_str().unwrap().to_owned()),
    }
}

fn to_json(value: Value) -> Json {
    match value {
        Value::List(elements) => elements.into_iter().map(to_json).collect(),
        single => json!(text(Cow::Owned(single)).unwrap()),
    }
}

#[test]
fn attributes_are_read_where_graph_keeps_them() {
    let members = |pairs: &[(&str, &str)]| {
        Value::Complex(pairs.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect())
    };
    let inputs = [
        ("employeeOrgData", members(&[("costCenter", "C-7")])),
        ("onPremisesExtensionAttributes", members(&[("extensionAttribute4", "four")])),
        ("businessPhones", Value::List(vec![value("+46 1"), value("+46 2")])),
        ("otherMails", Value::List(vec![value("only@example.org")])),
        ("proxyAddresses", Value::List(Vec::new())),
        ("showInAddressList", Value::Boolean(true)),
        ("extension_0123456789abcdef0123456789abcdef_level", Value::Number("12".to_owned())),
    ];
    for (expression, expected) in [
        ("[objectId]", "0a1b2c3d-0000-4000-8000-000000000007"),
        ("[accountEnabled]", "True"),
        ("[IsSoftDeleted]", "False"),
        ("[employeeOrgData.costCenter]", "C-7"),
        ("[employeeOrgData.division]", "no flow"),
        ("[extensionAttribute4]", "four"),
        ("[onPremisesExtensionAttributes.extensionAttribute5]", "no flow"),
        ("[telephoneNumber]", "+46 1"),
        ("Trim([businessPhones])", r#"List([Text("+46 1"), Text("+46 2")])"#),
        ("Append([otherMails], \"!\")", "only@example.org!"),
        ("[proxyAddresses]", "null"),
        ("IsNull([proxyAddresses])", "True"),
        ("[showInAddressList]", "True"),
        ("[extension_0123456789abcdef0123456789abcdef_level]", "12"),
        ("[displayName]", "null"),
    ] {
        assert_eq!(evaluated(expression, &inputs), expected, "{expression}");
    }
}

#[test]
fn comparisons() {
    check(
        &[("employeeId", "007"), ("department", "Smelter"), ("state", "1"), ("faxNumber", "9")],
        &[
            ("[department] = \"Smelter\"", "True"),
            ("[department] = \"smelter\"", "False"),
            ("[department] <> \"Foundry\"", "True"),
            ("[city] = \"\"", "True"),
            ("[city] <> \"x\"", "True"),
            ("[city] < 3", "False"),
            ("[city] >= \"\"", "False"),
            ("[employeeId] = \"7\"", "False"),
            ("[employeeId] = 7", "True"),
            ("[employeeId] = 7.0", "True"),
            ("[state]=1", "True"),
            ("[faxNumber] < \"10\"", "True"),
            ("[faxNumber] >= 9", "True"),
            ("[faxNumber] <= -9", "False"),
            ("[department] > \"Mill\"", "True"),
            ("\"NaN\" = 1", "False"),
            ("12345678901234567890123 < 12345678901234567890124", "True"),
            ("&HF = 15", "True"),
        ],
    );
    let phones = [("businessPhones", Value::List(vec![value("1"), value("2")]))];
    assert_eq!(evaluated("[businessPhones] = \"1\"", &phones), "invalid: expected one value, found several");
}

#[test]
fn the_deepest_expression_fits_the_stack() {
    let alternatives = "IIF(\"x\" & [city] = \"1\" & [city], , ";
    let deepest = format!("{}[city]{}", alternatives.repeat(MAX_DEPTH), ")".repeat(MAX_DEPTH));
    check(&[("city", "Kiruna")], &[(&deepest, "Kiruna")]);
    // A function that evaluates an argument twice would take exponential time here.
    for (head, tail) in [
        ("CDate(", ")"),
        ("DateAdd(\"d\", 1, ", ")"),
        ("FormatDateTime(", ", , , )"),
        ("Replace(", ", , \"(?<a>x)\", \"a\", , [city], )"),
        ("Coalesce(", ", )"),
        ("Left(", ", 9)"),
        ("Item(RemoveDuplicates(Split(", ", \"/\")), 1)"),
    ] {
        let depth = MAX_DEPTH / head.matches('(').count();
        let nested = format!("{}[country]{}", head.repeat(depth), tail.repeat(depth));
        let _ = evaluated(&nested, &[("city", value("Kiruna"))]);
    }
}

/// Mostly well-formed text, so that more than the parser is tested.
fn any_expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("[mail]".to_owned()),
        Just("[businessPhones]".to_owned()),
        Just("[telephoneNumber]".to_owned()),
        Just("[employeeOrgData.division]".to_owned()),
        Just("[IsSoftDeleted]".to_owned()),
        Just(String::new()),
        "\"[a-zİß\\\\ 0-9]{0,4}\"",
        "-?[0-9]{1,18}",
        prop::sample::select(vec![
            "\"d\"",
            "\"ww\"",
            "\"yyyy\"",
            "\"M/d/yyyy h:mm:ss tt\"",
            "\"yyyy-MM-ddTHH:mm:ss.FFFzzz\"",
            "\"2028-02-29T23:59:60+14:00\"",
            "\"9999-12-31\"",
            "\"(?<a>.?)*(b|$)\"",
            "\"(?=[^a-f-[d]]).{0,3}\"",
            "\"a\"",
            "\"${a}$1$`\"",
            "vbTextCompare",
            "UTF8",
            "IgnoreAttributeFlow",
            "IgnoreObjectFlow",
            "&HFFFFFFFFFFFFFFFF",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        // Mostly the right number of arguments, or few calls would compile.
        let counted = super::functions::FUNCTIONS.iter().map(|function| {
            let count = (0..8).find(|count| function.arguments.admits(*count)).unwrap_or(0);
            (function.name, count)
        });
        let functions = prop::sample::select(counted.collect::<Vec<_>>());
        let call = (functions, prop::collection::vec(inner.clone(), 8), 0..8_usize).prop_map(
            |((name, count), arguments, slip)| {
                let count = if slip == 0 { count + 1 } else { count };
                format!("{name}({})", arguments[..count.min(arguments.len())].join(" , "))
            },
        );
        let operators = prop::sample::select(vec!["=", "<>", "<", ">=", "&"]);
        let comparison =
            (inner.clone(), operators, inner).prop_map(|(left, sign, right)| format!("{left}{sign}{right}"));
        prop_oneof![4 => call, 1 => comparison]
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        "-?[0-9]{1,40}".prop_map(Value::Number),
        "[0-9]{1,4}[-/][0-9]{1,2}[-/][0-9]{1,4}[T ]?([0-9]{1,2}:[0-9]{2})?[-+Z]?[0-9:]{0,5}".prop_map(Value::Text),
        any::<String>().prop_map(Value::Text),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::List),
            prop::collection::btree_map("division|costCenter", inner, 0..2).prop_map(Value::Complex),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_the_compiler_panic(text in any::<String>(), soup in "[\\[\\]()\",=<>&H a-c0-9.\\\\-]{0,40}") {
        let _ = compile(&text, resolve, &mut Selection::default());
        let _ = compile(&soup, resolve, &mut Selection::default());
    }

    #[test]
    fn no_user_makes_an_expression_panic(
        expression in any_expression(),
        values in prop::collection::vec(any_value(), 4),
        enabled: bool,
    ) {
        let mut selection = Selection::default();
        if let Ok(compiled) = compile(&expression, resolve, &mut selection) {
            let mut user = user(&selection, &BTreeMap::new());
            user.enabled = enabled;
            user.values.iter_mut().zip(values).for_each(|(slot, value)| *slot = value);
            let steps = Steps::for_one_user();
            let value = compiled.evaluate(EvaluationContext { user: &user, now: now(), steps: &steps });
            let too_long = matches!(&value, Ok(Cow::Owned(Value::Text(text))) if text.len() > MAX_PRODUCED);
            prop_assert!(!too_long, "an expression produces a text beyond the limit");
            // The canonical form goes into the hash of the mapping: it must not lose anything.
            let canonical = compiled.to_string();
            prop_assert_eq!(compile(&canonical, resolve, &mut selection).unwrap().to_string(), canonical);
        }
    }
}
