//! `mapping import`: schemas in, configuration out.

use serde_json::{Value, json};

use super::run;
use crate::program::{Ran, people};
use crate::world::World;

const DEPARTMENT: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";

/// A mapping of one attribute by an expression.
fn line(target: &str, expression: &str) -> Value {
    json!({
        "defaultValue": null, "exportMissingReferences": false, "flowBehavior": "FlowWhenChanged",
        "flowType": "Always", "matchingPriority": 0, "targetAttributeName": target,
        "source": { "expression": expression, "name": "n", "parameters": [], "type": "Function" },
    })
}

/// What every mapping needs.
fn needed() -> Vec<Value> {
    let mut user_name = line("userName", "[userPrincipalName]");
    user_name["matchingPriority"] = json!(1);
    vec![
        user_name,
        line("emails[type eq \"work\"].value", "[mail]"),
        line("active", "Switch([IsSoftDeleted], , \"False\", \"True\", \"True\", \"False\")"),
    ]
}

fn group(name: &str, clauses: &[(&str, &str, &[&str])]) -> Value {
    let clauses: Vec<Value> = clauses
        .iter()
        .map(|(attribute, operator, values)| {
            json!({ "sourceOperandName": attribute, "operatorName": operator, "targetOperand": { "values": values } })
        })
        .collect();
    json!({ "name": name, "clauses": clauses })
}

fn users(lines: &[Value], scope: &Value) -> Value {
    json!({
        "name": "People to the harbour school", "enabled": true, "flowTypes": "Add, Update, Delete",
        "sourceObjectName": "User", "targetObjectName": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
        "attributeMappings": lines, "scope": scope,
    })
}

#[track_caller]
fn import(document: &Value, code: i32) -> Ran {
    run(&[("schema.json", &document.to_string())], &["import", "schema.json"], None, code)
}

#[tokio::test]
async fn what_is_imported_is_a_mapping_that_the_configuration_takes() {
    let mut lines = needed();
    let mut title = line("title", "Join(\" \", [jobTitle], \"it's \\\\ \\\"so\\\"\")");
    title["defaultValue"] = json!("Apprentice");
    title["flowType"] = json!("ObjectAddOnly");
    let mut constant = line(DEPARTMENT, "");
    (constant["source"], constant["defaultValue"]) = (Value::Null, json!("Say \"hi\" \\"));
    lines.extend([title, constant, line("name.givenName", "Replace([givenName], \"\t\", , , \" \", , )")]);
    let schema = json!({
        "id": "x", "version": "v1.0", "synchronizationRules": [{ "objectMappings": [users(&lines, &Value::Null)] }],
    });
    let ran = import(&schema, 0);
    assert_eq!(ran.stderr, "");
    assert!(ran.stdout.contains("# match_attribute = 'userName'"), "{}", ran.stdout);

    let world = World::start(people(1).0).await;
    world.configure(&ran.stdout);
    let checked = world.run_program(&["mapping", "check", "--json"], 0).json();
    let of = |column: &str| {
        let attributes = checked["attributes"].as_array().unwrap();
        attributes.iter().find(|attribute| attribute["column"] == column).unwrap().clone()
    };
    assert_eq!(checked["attributes"].as_array().unwrap().len(), 6);
    assert_eq!(of("title")["expression"], json!("Join(\" \",[jobTitle],\"it's \\\\ \\\"so\\\"\")"));
    assert_eq!((&of("title")["default"], &of("title")["apply"]), (&json!("Apprentice"), &json!("on-create")));
    assert_eq!(of("department")["expression"], json!("\"Say \\\"hi\\\" \\\\\""));
    assert_eq!(of("first_name")["expression"], json!("Replace([givenName],\"\t\",,,\" \",,)"));
}

#[test]
fn one_object_mapping_is_enough() {
    let whole = import(&json!({ "synchronizationRules": [{ "objectMappings": [users(&needed(), &Value::Null)] }] }), 0);
    for document in [users(&needed(), &json!({ "groups": [] })), json!({ "attributeMappings": needed() })] {
        assert_eq!(import(&document, 0).stdout, whole.stdout);
        let stdin = run(&[], &["import", "-"], Some(&document.to_string()), 0);
        assert_eq!(stdin.stdout, whole.stdout);
    }
}

#[test]
fn what_cannot_be_taken_is_told() {
    let mut lines = needed();
    lines[1]["targetAttributeName"] = json!("emails[type eq \"home\"].value");
    let mut several = line("addresses[0].country", "[country]");
    several["flowType"] = json!("MultiValueAddOnly");
    let mut empty = line("name.familyName", "");
    empty["source"] = Value::Null;
    lines.extend([
        line("manager", "[manager]"),
        line("nickName", "[mailNickname]"),
        line("title", "AppRoleAssignmentsComplex([appRoleAssignments])"),
        line(DEPARTMENT, "RandomString(6, 3, 0, 0, 3, )"),
        line("USERNAME", "[mail]"),
        several,
        empty,
    ]);
    let off = json!({ "name": "Old", "enabled": false, "sourceObjectName": "User", "attributeMappings": [] });
    let groups = json!({ "name": "Teams", "sourceObjectName": "Group", "attributeMappings": [line("displayName", "[displayName]")] });
    let mappings = [off, groups, users(&lines, &Value::Null)];
    let ran = import(&json!({ "synchronizationRules": [{ "objectMappings": mappings }] }), 3);
    for words in [
        "object mapping \"Old\": it is switched off",
        "object mapping \"Teams\": only users are provisioned",
        "emails[type eq \"home\"].value: no learner attribute has this SCIM path",
        "manager: `manager` is not supported",
        "nickName: no learner attribute",
        "`AppRoleAssignmentsComplex`",
        "`RandomString` is not supported",
        "USERNAME: `userName` is the same attribute",
        "addresses[0].country: its flow type `MultiValueAddOnly`",
        "name.familyName: it has neither a source nor a default",
        "emails[type eq \"work\"].value: nothing was taken for it, and it must be mapped",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    assert!(ran.stdout.contains("'emails[type eq \"work\"].value' = '[mail]'"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("nickName"), "{}", ran.stdout);
}

#[test]
fn scoping_filters_are_taken_whole_or_not_at_all() {
    let north = group("North", &[("state", "EQUALS", &["Norrbotten"]), ("mail", "IS_NOT_NULL", &[])]);
    let crew = group("", &[("department", "regex match", &["(Crew|Deck).*"])]);
    let ran = import(&users(&needed(), &json!({ "groups": [north, crew] })), 0);
    let expected = "\
[[scope.filter]]
name = 'North'
clauses = [
  { attribute = 'state', operator = 'EQUALS', value = 'Norrbotten' },
  { attribute = 'mail', operator = 'IS NOT NULL' },
]

[[scope.filter]]
name = 'Imported'
clauses = [
  { attribute = 'department', operator = 'REGEX MATCH', value = '(Crew|Deck).*' },
]
";
    assert!(ran.stdout.contains(expected), "{}", ran.stdout);

    // One of each set must hold.
    let input = [group("In", &[("country", "EQUALS", &["SE"])])];
    let ran = import(&users(&needed(), &json!({ "groups": [north, crew], "inputFilterGroups": input })), 0);
    assert_eq!(ran.stdout.matches("{ attribute = 'country', operator = 'EQUALS', value = 'SE' },\n]").count(), 2);
    assert_eq!(ran.stdout.matches("[[scope.filter]]").count(), 2, "{}", ran.stdout);

    for (clause, words) in [
        (("shoeSize", "EQUALS", &["43"][..]), "unknown attribute `shoeSize`"),
        (("mail", "SOUNDS LIKE", &["x"]), "the operator `SOUNDS LIKE` is not supported"),
        (("mail", "EQUALS", &["x", "y"]), "`EQUALS` takes one value, and there are 2"),
    ] {
        let odd = group("Odd", &[clause]);
        let ran = import(&users(&needed(), &json!({ "groups": [north, odd] })), 3);
        assert!(ran.stderr.contains(words) && ran.stderr.contains("no filter is taken"), "{}", ran.stderr);
        assert!(!ran.stdout.contains("scope.filter"), "{}", ran.stdout);
    }
    let ran = import(&users(&needed(), &json!({ "groups": [north, { "name": "All", "clauses": [] }] })), 0);
    assert!(!ran.stdout.contains("scope.filter"), "{}", ran.stdout);
}

#[test]
fn other_documents_are_refused() {
    for (text, words) in [
        ("{}", "is no synchronization schema"),
        ("[]", "is no synchronization schema"),
        ("", "is no JSON document"),
        ("{\"synchronizationRules\": 7}", "the schema cannot be read"),
        ("{\"attributeMappings\": [{}]}", "targetAttributeName"),
        ("{\"attributeMappings\": []}", "no attribute mapping of users"),
        ("{\"sourceObjectName\": \"Group\", \"attributeMappings\": []}", "no attribute mapping of users"),
    ] {
        let ran = run(&[("schema.json", text)], &["import", "schema.json"], None, 1);
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains(words), "{text}: {}", ran.stderr);
    }
}
