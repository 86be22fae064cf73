//! `mapping import`: a schema becomes configuration.

use serde_json::{Value, json};

use super::run;
use crate::program::{self, Ran};
use crate::world::World;

const DEPARTMENT: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";

/// One attribute mapping.
fn line(target: &str, expression: &str) -> Value {
    json!({
        "defaultValue": null, "exportMissingReferences": false, "flowBehavior": "FlowWhenChanged",
        "flowType": "Always", "matchingPriority": 0, "targetAttributeName": target,
        "source": { "expression": expression, "name": "n", "parameters": [], "type": "Function" },
    })
}

/// The required attribute mappings.
fn required() -> Vec<Value> {
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
async fn an_imported_mapping_can_be_loaded() {
    let mut lines = required();
    let mut title = line("title", "Join(\" \", [jobTitle], \"it's \\\\ \\\"so\\\"\")");
    title["defaultValue"] = json!("Apprentice");
    title["flowType"] = json!("ObjectAddOnly");
    let mut constant = line(DEPARTMENT, "");
    (constant["source"], constant["defaultValue"]) = (Value::Null, json!("Say \"hi\" \\"));
    lines.extend([title, constant, line("name.givenName", "Replace([givenName], \"\t\", , , \" \", , )")]);
    let filters = [
        group("It's \"so\"", &[("companyName", "EQUALS", &["Hamn \\ 'o'"]), ("usageLocation", "IS NOT NULL", &[])]),
        group("Deck\n", &[("extensionAttribute7", "REGEX MATCH", &["[0-9]{4}\\.?"])]),
    ];
    let schema = json!({
        "id": "x", "version": "v1.0",
        "synchronizationRules": [{ "objectMappings": [users(&lines, &json!({ "groups": filters }))] }],
    });
    let ran = import(&schema, 0);
    assert_eq!(ran.stderr, "");
    assert!(ran.stdout.contains("# match_attribute = 'userName'"), "{}", ran.stdout);

    let world = World::start(program::users(1).0).await;
    world.configure(&ran.stdout);
    let checked = world.run_program(&["mapping", "check", "--json"], 0).json();
    let of = |column: &str| {
        let attributes = checked["attributes"].as_array().unwrap();
        attributes.iter().find(|attribute| attribute["column"] == column).unwrap().clone()
    };
    assert_eq!(checked["attributes"].as_array().unwrap().len(), 6);
    for read_by_a_filter in ["companyName", "usageLocation", "onPremisesExtensionAttributes"] {
        assert!(checked["selected"].as_array().unwrap().contains(&json!(read_by_a_filter)), "{checked}");
    }
    let text = std::fs::read_to_string(world.config_path()).unwrap();
    let config = learner_sync::config::load(&world.config_path(), &Default::default()).unwrap();
    let names: Vec<_> =
        config.scope.filters.iter().map(|filter| (filter.name.as_str(), filter.clauses.len())).collect();
    assert_eq!(names, [("It's \"so\"", 2), ("Deck\n", 1)], "{text}");
    assert_eq!(config.scope.filters[0].clauses[0].value.as_deref(), Some("Hamn \\ 'o'"));
    assert_eq!(of("title")["expression"], json!("Join(\" \",[jobTitle],\"it's \\\\ \\\"so\\\"\")"));
    assert_eq!((&of("title")["default"], &of("title")["apply"]), (&json!("Apprentice"), &json!("on-create")));
    assert_eq!(of("department")["expression"], json!("\"Say \\\"hi\\\" \\\\\""));
    assert_eq!(of("first_name")["expression"], json!("Replace([givenName],\"\t\",,,\" \",,)"));
}

#[test]
fn one_object_mapping_is_enough() {
    let whole =
        import(&json!({ "synchronizationRules": [{ "objectMappings": [users(&required(), &Value::Null)] }] }), 0);
    for document in [users(&required(), &json!({ "groups": [] })), json!({ "attributeMappings": required() })] {
        assert_eq!(import(&document, 0).stdout, whole.stdout);
        let stdin = run(&[], &["import", "-"], Some(&document.to_string()), 0);
        assert_eq!(stdin.stdout, whole.stdout);
    }
}

#[test]
fn everything_left_out_is_reported() {
    let mut lines = required();
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
        "object mapping \"Old\": it is disabled",
        "object mapping \"Teams\": only users are provisioned",
        "emails[type eq \"home\"].value: no learner attribute has this SCIM path",
        "manager: `manager` is not supported",
        "nickName: no learner attribute",
        "`AppRoleAssignmentsComplex`",
        "`RandomString` is not supported",
        "USERNAME: `userName` is the same attribute",
        "addresses[0].country: its flow type `MultiValueAddOnly`",
        "name.familyName: it has neither a source nor a default",
        "emails[type eq \"work\"].value: it must be mapped, but nothing was imported",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    assert!(ran.stdout.contains("'emails[type eq \"work\"].value' = '[mail]'"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("nickName"), "{}", ran.stdout);
}

#[test]
fn scoping_filters_are_imported_completely_or_not_at_all() {
    let north = group("North", &[("state", "EQUALS", &["Norrbotten"]), ("mail", "IS_NOT_NULL", &[])]);
    let crew = group("", &[("department", "regex match", &["(Crew|Deck).*"])]);
    let ran = import(&users(&required(), &json!({ "groups": [north, crew] })), 0);
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
    let ran = import(&users(&required(), &json!({ "groups": [north, crew], "inputFilterGroups": input })), 0);
    assert_eq!(ran.stdout.matches("{ attribute = 'country', operator = 'EQUALS', value = 'SE' },\n]").count(), 2);
    assert_eq!(ran.stdout.matches("[[scope.filter]]").count(), 2, "{}", ran.stdout);

    for (clause, words) in [
        (("shoeSize", "EQUALS", &["43"][..]), "unknown attribute `shoeSize`"),
        (("mail", "SOUNDS LIKE", &["x"]), "the operator `SOUNDS LIKE` is not supported"),
        (("mail", "EQUALS", &["x", "y"]), "`EQUALS` takes one value, found 2"),
        (("mail", "EQUALS", &[""]), "EQUALS needs a value that is not empty"),
        (("mail", "REGEX MATCH", &["("]), "`(` is not a valid regular expression"),
        (("employeeId", "GREATER_THAN", &["many"]), "compares whole numbers"),
    ] {
        let odd = group("Odd", &[clause]);
        let ran = import(&users(&required(), &json!({ "groups": [north, odd] })), 3);
        assert!(ran.stderr.contains(words) && ran.stderr.contains("no filter is imported"), "{}", ran.stderr);
        assert!(!ran.stdout.contains("\n[[scope.filter]]"), "{}", ran.stdout);
        // The output carries the warning as well.
        assert!(ran.stdout.contains("all assigned users are in scope"), "{}", ran.stdout);
    }
    let ran = import(&users(&required(), &json!({ "groups": [north, 7] })), 3);
    assert!(ran.stderr.contains("malformed scope") && ran.stdout.contains("userName"), "{}", ran.stderr);
    assert!(!ran.stdout.contains("\n[[scope.filter]]"), "{}", ran.stdout);
    let ran = import(&users(&required(), &json!({ "groups": [north, { "name": "All", "clauses": null }] })), 0);
    assert!(!ran.stdout.contains("\n[[scope.filter]]"), "{}", ran.stdout);
    let ran = import(&users(&required(), &json!({ "groups": [north, { "name": "All", "clauses": [] }] })), 0);
    assert!(!ran.stdout.contains("scope.filter"), "{}", ran.stdout);
}

#[test]
fn a_malformed_line_does_not_affect_others() {
    let mut lines = required();
    lines[1]["matchingPriority"] = json!(2);
    let mut no_expression = line("name.givenName", "");
    no_expression["defaultValue"] = json!("Everybody");
    let mut odd_default = line("title", "[jobTitle]");
    odd_default["defaultValue"] = json!(true);
    lines.extend([no_expression, odd_default, json!(7), json!({ "source": null })]);
    let mut mapping = users(&lines, &Value::Null);
    mapping["flowTypes"] = json!("Update,Add");
    let ran = import(&mapping, 3);
    for words in [
        "emails[type eq \"work\"].value: it is mapped, but only one attribute can match existing learners",
        "name.givenName: its source has no expression",
        "title: malformed: invalid type: boolean `true`, expected a string",
        "attribute mapping: malformed: invalid type: integer `7`, expected an attribute mapping",
        "attribute mapping: malformed: missing field `targetAttributeName`",
        "target object action \"Delete\": disabled in Entra",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    assert_eq!(ran.stderr.lines().count(), 6, "{}", ran.stderr);
    assert!(!ran.stdout.contains("Everybody") && !ran.stdout.contains("title"), "{}", ran.stdout);
    assert!(ran.stdout.contains("# match_attribute = 'userName'"), "{}", ran.stdout);
}

#[test]
fn files_written_by_windows() {
    let document = json!({ "attributeMappings": required() }).to_string();
    let marked = run(&[("schema.json", &format!("\u{feff}{document}"))], &["import", "schema.json"], None, 0);
    assert_eq!(marked.stdout, import(&json!({ "attributeMappings": required() }), 0).stdout);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("schema.json");
    std::fs::write(&path, format!("\u{feff}{document}").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>())
        .unwrap();
    let ran = run(&[], &["import", path.to_str().unwrap()], None, 1);
    assert!(ran.stderr.contains("schema.json: is in UTF-16"), "{}", ran.stderr);
}

#[test]
fn other_documents_are_refused() {
    for (text, words) in [
        ("{}", "not a synchronization schema"),
        ("[]", "not a synchronization schema"),
        ("", "not a JSON document"),
        ("{\"synchronizationRules\": 7}", "schema.json: malformed schema"),
        ("{\"synchronizationRules\": [7]}", "expected a synchronization rule"),
        ("{\"synchronizationRules\": [{\"objectMappings\": null}]}", "no attribute mapping for users"),
        ("{\"attributeMappings\": [{}]}", "targetAttributeName"),
        ("{\"attributeMappings\": []}", "no attribute mapping for users"),
        ("{\"sourceObjectName\": \"Group\", \"attributeMappings\": []}", "no attribute mapping for users"),
    ] {
        let ran = run(&[("schema.json", text)], &["import", "schema.json"], None, 1);
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains(words), "{text}: {}", ran.stderr);
    }
}
