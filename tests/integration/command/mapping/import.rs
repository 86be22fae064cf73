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
    assert!(ran.stdout.contains(r#"# match_attribute = "userName""#), "{}", ran.stdout);

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
    assert!(ran.stdout.contains("'emails[type eq \"work\"].value' = \"[mail]\""), "{}", ran.stdout);
    assert!(!ran.stdout.contains("nickName"), "{}", ran.stdout);
}

#[test]
fn scoping_filters_are_imported_completely_or_not_at_all() {
    let north = group("North", &[("state", "EQUALS", &["Norrbotten"]), ("mail", "IS_NOT_NULL", &[])]);
    let crew = group("", &[("department", "regex match", &["(Crew|Deck).*"])]);
    let ran = import(&users(&required(), &json!({ "groups": [north, crew] })), 0);
    let expected = r#"[[scope.filter]]
name = "North"
clauses = [
  { attribute = "state", operator = "EQUALS", value = "Norrbotten" },
  { attribute = "mail", operator = "IS NOT NULL" },
]

[[scope.filter]]
name = "Imported"
clauses = [
  { attribute = "department", operator = "REGEX MATCH", value = "(Crew|Deck).*" },
]
"#;
    assert!(ran.stdout.contains(expected), "{}", ran.stdout);

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
    assert!(ran.stdout.contains(r#"# match_attribute = "userName""#), "{}", ran.stdout);
}

#[test]
fn files_written_by_windows() {
    let document = json!({ "attributeMappings": required() }).to_string();
    let expected = import(&json!({ "attributeMappings": required() }), 0).stdout;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("schema.json");
    let le = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let be = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>();
    let marked = format!("\u{feff}{document}\r\n");
    for bytes in [marked.clone().into_bytes(), le(&marked), be(&marked), le(&document), be(&document)] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(run(&[], &["import", path.to_str().unwrap()], None, 0).stdout, expected);
    }
    std::fs::write(&path, [le(&marked), vec![0]].concat()).unwrap();
    let ran = run(&[], &["import", path.to_str().unwrap()], None, 1);
    assert!(ran.stderr.contains("invalid UTF-16"), "{}", ran.stderr);
}

/// A copy of `value` with keys as PowerShell writes them.
fn in_pascal_case(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(in_pascal_case).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, member)| (format!("{}{}", key[..1].to_uppercase(), &key[1..]), in_pascal_case(member)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        scalar => scalar.clone(),
    }
}

#[test]
fn schemas_are_found_wherever_they_stand() {
    let users = users(&required(), &Value::Null);
    let whole = json!({ "synchronizationRules": [{ "objectMappings": [users] }] });
    let expected = import(&whole, 0).stdout;
    let job = json!({ "id": "x.job", "templateId": "scim", "schedule": { "state": "Active" }, "schema": whole });
    for document in [
        json!({ "@odata.context": "c", "value": [job] }),
        json!({ "value": [{ "factoryTag": "scim", "schema": whole, "metadata": [{ "key": "k", "value": "v" }] }] }),
        json!([whole]),
        job.clone(),
        json!({ "Schema": whole.to_string() }),
        json!({ "value": { "schema": [whole] } }),
        json!({ "synchronizationRules": { "objectMappings": users } }),
        json!({ "synchronizationRules": { "value": [{ "objectMappings": { "value": [users], "Count": 1 } }], "Count": 1 } }),
        json!({ "objectMappings": [users] }),
        json!({ "directories": "System.Object[]", "synchronizationRules": [{ "name": "empty" }, { "objectMappings": [users] }] }),
    ] {
        assert_eq!(import(&document, 0).stdout, expected, "{document}");
        assert_eq!(import(&in_pascal_case(&document), 0).stdout, expected, "{document}");
    }
    // Several rules: the users of the first, and no groups.
    let groups = json!({ "name": "Teams", "sourceObjectName": "Group", "attributeMappings": [line("displayName", "[displayName]")] });
    let rules = json!({ "synchronizationRules": [{ "objectMappings": [groups] }, { "objectMappings": [users] }] });
    let ran = import(&json!({ "value": [{ "schema": rules }] }), 3);
    assert_eq!(ran.stdout, expected);
    assert!(ran.stderr.contains("\"Teams\": only users are provisioned"), "{}", ran.stderr);
    let without = json!({ "value": [{ "id": "x.job", "templateId": "scim", "schedule": {} }] });
    assert!(import(&without, 1).stderr.contains("a synchronization job without its schema"));
}

#[test]
fn a_cut_file_is_refused_with_the_way_out() {
    let mut cut_source = required();
    cut_source[2]["source"] = json!("System.Collections.Hashtable");
    for document in [
        json!({ "value": "System.Object[]" }).to_string().replace("value", "synchronizationRules"),
        json!({ "synchronizationRules": [{ "objectMappings": "" }] }).to_string(),
        json!({ "value": [{ "schema": "@{id=x; synchronizationRules=System.Object[]}" }] }).to_string(),
        users(&cut_source, &Value::Null).to_string(),
        users(&required(), &json!({ "groups": [{ "name": "g", "clauses": "" }] })).to_string(),
        users(&required(), &json!("@{groups=System.Object[]}")).to_string(),
        json!({ "@odata.context": "c", "value": "System.Object[]" }).to_string(),
        json!({ "value": ["System.Collections.Hashtable"] }).to_string(),
        json!("System.Collections.Hashtable").to_string(),
        "@{synchronizationRules=System.Object[]}".to_owned(),
        "System.Collections.Hashtable".to_owned(),
    ] {
        let ran = run(&[("schema.json", &document)], &["import", "schema.json"], None, 1);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("ConvertTo-Json -Depth 20"), "{document}: {}", ran.stderr);
    }
}

#[test]
fn nothing_that_decides_about_leavers_is_imported_silently() {
    let expected = import(&users(&required(), &Value::Null), 0).stdout;
    // Filters that the portal does not show.
    let group = group("In", &[("country", "EQUALS", &["SE"])]);
    for set in ["inputFilterGroups", "categoryFilterGroups", "outputFilterGroups"] {
        let ran = import(&users(&required(), &json!({ set: [group], "groups": [] })), 3);
        assert!(ran.stderr.contains(&format!("scope.{set}: ")) && ran.stderr.contains("deactivate"), "{}", ran.stderr);
        assert!(ran.stdout.starts_with(&expected[..expected.find("\n\n").unwrap()]), "{}", ran.stdout);
        assert!(
            !ran.stdout.contains("\n[[scope.filter]]") && ran.stdout.contains("all assigned users"),
            "{}",
            ran.stdout
        );
        for harmless in [json!([]), json!([{ "name": "All", "clauses": [] }]), Value::Null] {
            assert_eq!(import(&users(&required(), &json!({ set: harmless })), 0).stdout, expected);
        }
    }
    // The same meaning as the default mapping.
    for expression in
        ["Not([IsSoftDeleted])", "[accountEnabled]", "\"True\"", "IIF([IsSoftDeleted] = \"True\", \"False\", \"True\")"]
    {
        let mut lines = required();
        lines[2] = line("active", expression);
        import(&users(&lines, &Value::Null), 0);
    }
    for (expression, default) in [
        ("IIF([department] = \"Alumni\", \"False\", \"True\")", Value::Null),
        ("[IsSoftDeleted]", Value::Null),
        ("\"False\"", Value::Null),
        ("Switch([IsSoftDeleted], , \"True\", \"False\")", json!("False")),
        ("IIF(Now() > [employeeHireDate], \"True\", \"False\")", Value::Null),
    ] {
        let mut lines = required();
        lines[2] = line("active", expression);
        lines[2]["defaultValue"] = default;
        let ran = import(&users(&lines, &Value::Null), 3);
        assert!(ran.stderr.contains("active: it would deactivate"), "{expression}: {}", ran.stderr);
        assert!(ran.stdout.contains("active = 'Switch([IsSoftDeleted], ,"), "{expression}: {}", ran.stdout);
    }
    // Imported, but not as in Entra.
    let mut lines = required();
    lines[0]["matchingPriority"] = json!(0);
    lines[1]["matchingPriority"] = json!(1);
    lines.push(line("title", "IIF([IsSoftDeleted] = \"True\", \"Former\", [jobTitle])"));
    let mut document = users(&lines, &Value::Null);
    document["metadata"] = json!([{ "key": "SkipOutOfScopeDeletions", "value": "True" }]);
    let ran = import(&document, 3);
    for words in [
        "title: it depends on the state of the account",
        "emails[type eq \"work\"].value: the schema matches existing users by it",
        "SkipOutOfScopeDeletions: learner-sync always deactivates",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    assert!(ran.stdout.contains("Former"), "{}", ran.stdout);
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
