//! `mapping eval`, `check` and `import`.

mod import;

use std::time::Duration;

use assert_cmd::Command;
use serde_json::{Value, json};

use crate::mapping::mapping;
use crate::program::{PROGRAM, Ran, users};
use crate::world::World;

/// Far longer than any expression takes, even on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs `mapping` without a configuration, in a directory with `files`.
#[track_caller]
fn run(files: &[(&str, &str)], arguments: &[&str], stdin: Option<&str>, code: i32) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let mut command = Command::new(PROGRAM);
    command.env_clear().arg("mapping").args(arguments).current_dir(directory.path()).timeout(TIMEOUT);
    let output = command.write_stdin(stdin.unwrap_or_default()).output().unwrap();
    let ran =
        Ran { stdout: String::from_utf8(output.stdout).unwrap(), stderr: String::from_utf8(output.stderr).unwrap() };
    assert_eq!(output.status.code(), Some(code), "stdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
    ran
}

#[test]
fn an_expression_gives_one_line_of_json() {
    let files = [("ada.json", r#"{"Shoe size": 43, "mails": ["a@x.example", null, "b@x.example"], "gone": null}"#)];
    for (expression, expected) in [
        ("Append([Shoe size], \" EU\")", json!("43 EU")),
        ("[shoe size] > 9", json!("True")),
        ("[mails]", json!(["a@x.example", "b@x.example"])),
        ("[gone]", Value::Null),
        ("IgnoreFlowIfNullOrEmpty([gone])", json!({ "flow": false })),
        ("IIF([gone] = \"\", IgnoreObjectFlow, )", json!({ "flow": false })),
        ("Now()", json!("2/3/2031 4:05:06 PM")),
    ] {
        let now = "2031-02-03T18:05:06+02:00";
        let ran = run(&files, &["eval", expression, "--input", "ada.json", "--now", now], None, 0);
        assert_eq!((ran.json(), ran.stderr.as_str()), (expected, ""), "{expression}");
        assert_eq!(ran.stdout.lines().count(), 1);
    }
    let ran = run(&[], &["eval", "ToUpper([a])", "--input", "-"], Some("{\"a\": \"é\"}"), 0);
    assert_eq!(ran.json(), json!("É"));
    assert_eq!(run(&[], &["eval", "Count([a])"], None, 0).json(), json!("0"));
    // An attribute that neither the input nor Entra has.
    for (expression, warns) in
        [("[mial]", true), ("[mail]", false), ("[gone]", false), ("[extensionAttribute1]", false)]
    {
        let ran = run(&files, &["eval", expression, "--input", "ada.json"], None, 0);
        assert_eq!(
            ran.stderr.contains("[mial] is null: unknown attribute `mial`; did you mean `mail`?"),
            warns,
            "{ran:?}"
        );
        assert_eq!(ran.stdout, "null\n");
    }
}

#[test]
fn problems_of_an_expression_have_a_position() {
    let files = [("ada.json", r#"{"hired": "soon", "mail": "ada@x.example"}"#)];
    for (expression, words) in [
        ("Trim(", "the closing `)` of this function is missing (at character 1)"),
        ("Trim(Lower([a]), )", "unknown function `Lower`; did you mean `ToLower`? (at character 6)"),
        ("Trim(CDate([hired]))", "argument 1 of CDate is not a date (at character 6)"),
        ("IIF([mail], \"a\", )", "neither true nor false (at character 1)"),
        ("Error(\"who?\")", "who? (at character 1)"),
        ("Guid()", "a new value in every cycle (at character 1)"),
    ] {
        let ran = run(&files, &["eval", expression, "--input", "ada.json"], None, 1);
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains(words), "{expression}: {}", ran.stderr);
        assert!(!ran.stderr.contains("x.example") && !ran.stderr.contains("soon"), "{}", ran.stderr);
    }
    let both = run(&[], &["eval", "Join(\",\", Lower([a]), CDate(\"x\"))"], None, 1);
    assert_eq!(both.stderr.lines().count(), 2, "{}", both.stderr);
}

#[test]
fn a_file_is_evaluated_line_by_line() {
    let lines = [
        r#"{"expression": "[a] & \"!\"", "inputs": {"a": "x"}}"#,
        r#"{"expression": "Now()", "now": "2031-01-01T00:00:00Z", "inputs": null, "note": "kept for us"}"#,
        r#"{"expression": "Now()"}"#,
        r#"{"expression": "IgnoreFlowIfNullOrEmpty([a])"}"#,
        r#"{"expression": "Split([a], \",\")", "inputs": {"a": "x,y"}}"#,
        r#"{"expression": "[a"}"#,
        r#"{"expression": "CDate([a])", "inputs": {"a": "x"}}"#,
    ];
    let expected = [
        json!({ "value": "x!" }),
        json!({ "value": "1/1/2031 12:00:00 AM" }),
        json!({ "value": "6/1/2030 12:00:00 AM" }),
        json!({ "flow": false }),
        json!({ "value": ["x", "y"] }),
        json!({ "error": "the closing `]` of this attribute is missing (at character 1)" }),
        json!({ "error": "argument 1 of CDate is not a date (at character 1)" }),
    ];
    let answers =
        |ran: &Ran| -> Vec<Value> { ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let text = lines.join("\n");
    let now = ["--now", "2030-06-01T00:00:00Z"];
    let ran = run(&[("lines", &text)], &["eval", "--inputs", "lines", now[0], now[1]], None, 0);
    assert_eq!(answers(&ran), expected);
    let ran = run(&[], &["eval", "--inputs", "-", now[0], now[1]], Some(&text), 0);
    assert_eq!(answers(&ran), expected);

    // Each warning once, for the first line.
    let lines = [
        r#"{"expression": "[mail]", "inputs": {"mail": "a"}}"#,
        r#"{"expression": "[maill]", "inputs": {"mail": "a", "@odata.type": "x"}}"#,
        r#"{"expression": "[shoeSize]"}"#,
        r#"{"expression": "[maill]", "inputs": {"mail": "b", "@odata.type": "x"}}"#,
        r#"{"expression": "[shoeSize] & [mail]", "inputs": {}}"#,
    ];
    let ran = run(&[("lines", &lines.join("\n"))], &["eval", "--inputs", "lines"], None, 0);
    assert_eq!(ran.stdout.lines().count(), 5);
    let warnings: Vec<&str> = ran.stderr.lines().collect();
    let expected = ["warning: line 2: [maill] is not in the input", "warning: line 3: [shoeSize] is null"];
    assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
    expected.iter().zip(&warnings).for_each(|(expected, warning)| assert!(warning.contains(expected), "{warning}"));

    let broken = format!(
        "\u{feff}{}\nnonsense\n\n[]\n{{\"expression\": 7}}\n{{\"expression\": \"[a]\", \"now\": \"today\"}}\n",
        lines[0]
    );
    let ran = run(&[("lines", &broken)], &["eval", "--inputs", "lines"], None, 1);
    let kinds: Vec<bool> = answers(&ran).iter().map(|answer| answer.get("error").is_some()).collect();
    assert_eq!(kinds, [false, true, true, true, true, true]);
    assert_eq!(answers(&ran)[1]["error"], "invalid line: expected ident (column 2)");
    assert_eq!(answers(&ran)[2]["error"], "invalid line: empty");
}

#[test]
fn unusable_files_and_arguments_are_refused() {
    let files = [("list.json", "[1]"), ("broken.json", "{\"a\": "), ("empty.json", "")];
    for (file, words) in [
        ("list.json", "not a JSON object of source attributes"),
        ("broken.json", "broken.json: not a JSON document"),
        ("empty.json", "not a JSON document"),
        ("missing.json", "missing.json: cannot read the file"),
        (".", "is a directory"),
    ] {
        let ran = run(&files, &["eval", "[a]", "--input", file], None, 1);
        assert!(ran.stderr.contains(words), "{file}: {}", ran.stderr);
    }
    run(&[], &["eval", "--inputs", "missing"], None, 1);
    for arguments in [
        &["eval"][..],
        &["eval", "[a]", "--inputs", "lines"],
        &["eval", "[a]", "--now", "yesterday"],
        &["eval", "[a]", "[b]"],
        &["import"],
        &["evaluate"],
        &[],
    ] {
        let ran = run(&[], arguments, None, 2);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn check_shows_the_compiled_mapping() {
    let world = World::start(users(1).0).await;
    let document = world.run_program(&["mapping", "check", "--json"], 0).json();
    assert_eq!((&document["ok"], &document["warnings"]), (&json!(true), &json!([])));
    assert_eq!(document["attributes"].as_array().unwrap().len(), 9);
    assert_eq!(
        document["attributes"][0],
        json!({
            "attribute": "userName", "column": "user_name", "type": "text", "expression": "[userPrincipalName]",
            "properties": ["userPrincipalName"], "default": null, "apply": "always", "required": true, "redacted": false,
        })
    );
    world.configure(&mapping(
        "title = { expression = 'redact( now() )', default = 'x', apply = 'on-create' }\n\
         'addresses[0].country' = '''IIF(DateDiff(\"d\", Now(), [createdDateTime]) > 7, [country], )'''",
    ));
    let before = world.files();
    let document = world.run_program(&["mapping", "check", "--json"], 0).json();
    let warned: Vec<_> = document["warnings"].as_array().unwrap().iter().map(|warning| &warning["attribute"]).collect();
    assert_eq!(warned, [&json!("title"), &json!("addresses[0].country")]);
    assert_eq!(document["attributes"][3]["expression"], json!("Redact(Now())"));
    assert_eq!(document["attributes"][3]["redacted"], json!(true));
    assert_eq!(document["attributes"][4]["properties"], json!(["createdDateTime", "country"]));
    let words = world.run_program(&["mapping", "check"], 0).stdout;
    for part in ["Redact(Now())", "on-create", "warning: title: contains Now()", "createdDateTime"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert_eq!(world.changed_since(&before), [""; 0]);

    world.configure(&mapping("title = '[jobTite]'"));
    let ran = world.run_program(&["mapping", "check", "--json"], 78);
    assert!(ran.stderr.contains("did you mean `jobTitle`?"), "{}", ran.stderr);
    assert!(ran.json()["error"].as_str().unwrap().contains("jobTite"));
}

#[tokio::test]
async fn an_expression_is_evaluated_on_a_user_of_the_tenant() {
    let (mut tenant, ids) = users(1);
    let outside = tenant.add_user(graph_sim::User::named("Grace", "Hopper").department("Research"));
    let world = World::start(tenant).await;
    let eval =
        |user: &str, expression: &str, code| world.run_program(&["mapping", "eval", "--user", user, expression], code);
    assert_eq!(eval(&ids[0], "Join(\" \", [givenName], [surname])", 0).stdout, "\"Ada Number0\"\n");
    // Assigned or not, and with the attribute names of the portal.
    assert_eq!(eval("grace.hopper@harbourworks.example", "[objectId]", 0).stdout, format!("\"{outside}\"\n"));
    assert_eq!(eval(&outside, "Append([department], [extensionAttribute1])", 0).stdout, "\"Research\"\n");
    assert_eq!(eval(&outside, "IgnoreFlowIfNullOrEmpty([city])", 0).stdout, "{\"flow\":false}\n");
    for (user, expression, words) in [
        (outside.as_str(), "[departement]", "did you mean `department`?"),
        (&outside, "CDate([department])", "is not a date"),
        (&outside, "SingleAppRoleAssignment([appRoleAssignments])", "provision"),
        ("nobody@harbourworks.example", "[mail]", "has no user nobody@"),
    ] {
        let ran = eval(user, expression, 1);
        assert!(ran.stdout.is_empty() && ran.stderr.contains(words), "{ran:?}");
    }
    assert!(!world.path("learners.db").exists());
}

#[tokio::test]
async fn check_warns_of_what_would_reject_or_deactivate_users() {
    let world = World::start(users(1).0).await;
    let department = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
    let champion = "urn:ietf:params:scim:schemas:extension:SJUserAttributes:2.0:User:security_champion";
    let mut wrong = Vec::new();
    for (attribute, entry, words) in [
        ("title", "'[businessPhones]'", "users with several are rejected; use Item"),
        ("title", "'ToUpper([otherMails])'", "[otherMails] can have several values"),
        ("title", "'Coalesce([jobTitle], [proxyAddresses])'", "[proxyAddresses] can have several"),
        ("title", "'[appRoleAssignments]'", "use SingleAppRoleAssignment"),
        ("title", "'SingleAppRoleAssignment([appRoleAssignments])'", "first of their names"),
        ("title", "'IIF([city] = \"a\", \"b\", \"NULL\")'", "writes the text \"NULL\""),
        ("title", "'NULL'", "never has a value"),
        ("title", "'IgnoreAttributeFlow'", "never has a value"),
        ("title", "'Error(\"no\")'", "rejects every user: no"),
        ("title", "'IIF([accountEnabled], IgnoreObjectFlow, )'", "ignores every user"),
        ("title", "{ expression = '[jobTitle]', default = 'x', required = true }", "`required` skips nobody"),
        ("title", "{ expression = 'Switch([city], , \"a\", \"b\")', required = true }", "give Switch a default"),
        (champion, "'[jobTitle]'", "[jobTitle] is neither"),
        (champion, "'IIF([jobTitle] = \"a\", \"yes\", \"no\")'", "a constant in it is neither"),
        ("userName", "'\"everybody\"'", "the same for all users"),
        ("userName", "'Append(\"every\", \"body\")'", "the same for all users"),
        ("userName", "'[department]'", "many users have the same [department]"),
        ("userName", "{ expression = '[mail]', apply = 'on-create' }", "applies on creation only"),
        (
            "emails[type eq \"work\"].value",
            "{ expression = '[mail]', default = 'none@x.example' }",
            "two users without a value",
        ),
        ("active", "'\"False\"'", "every learner would be deactivated"),
        ("active", "'[IsSoftDeleted]'", "every learner would be deactivated"),
        ("active", "{ expression = 'NULL', default = 'False' }", "every learner would be deactivated"),
        ("active", "'\"True\"'", "is always true"),
        ("active", "'Switch([department], , \"a\", \"True\")'", "give Switch a default"),
        ("active", "'[department]'", "[department] is neither"),
        (department, "{ expression = '[city]', required = false }", ""),
        ("title", "'Item([businessPhones], 1)'", ""),
        ("title", "'Join(\", \", [businessPhones])'", ""),
        ("title", "'[telephoneNumber]'", ""),
        ("active", "'Not([IsSoftDeleted])'", ""),
        ("active", "'[accountEnabled]'", ""),
        (champion, "'IIF([jobTitle] = \"a\", \"True\", \"False\")'", ""),
        (champion, "'[extensionAttribute1]'", ""),
    ] {
        let plain = mapping("");
        let kept = plain.lines().filter(|line| !line.trim_matches(['"', '\'']).starts_with(attribute));
        world.configure(&format!("{}\n'{attribute}' = {entry}\n", kept.collect::<Vec<_>>().join("\n")));
        let document = world.run_program(&["mapping", "check", "--json"], 0).json();
        let said = document["warnings"].as_array().unwrap().iter();
        let said: Vec<&str> = said.map(|warning| warning["message"].as_str().unwrap()).collect();
        let as_expected = match words {
            "" => said.is_empty(),
            words => matches!(said[..], [warning] if warning.contains(words)),
        };
        if !as_expected {
            wrong.push(format!("{attribute} = {entry}: {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Warnings of filters stand beside those of attributes, without an attribute.
#[tokio::test]
async fn check_warns_of_filters_that_take_too_many_steps() {
    let world = World::start(users(1).0).await;
    let filter = |value: &str| {
        format!(
            "[[scope.filter]]\nname = \"slow\"\n\
             clauses = [{{ attribute = \"department\", operator = \"REGEX MATCH\", value = '{value}' }}]\n"
        )
    };
    world.configure(&filter("(a|aa|(?=b)b)+c"));
    let document = world.run_program(&["mapping", "check", "--json"], 0).json();
    let warnings = document["warnings"].as_array().unwrap();
    assert_eq!((warnings.len(), &warnings[0]["attribute"]), (1, &Value::Null), "{document}");
    let message = warnings[0]["message"].as_str().unwrap();
    assert!(message.starts_with("scope.filter \"slow\", [department] REGEX MATCH"), "{message}");
    let words = world.run_program(&["mapping", "check"], 0).stdout;
    assert!(words.contains(&format!("warning: {message}")), "{words}");
    world.configure(&filter("S.*"));
    assert_eq!(world.run_program(&["mapping", "check", "--json"], 0).json()["warnings"], json!([]));
}

#[test]
fn a_user_of_graph_explorer_is_an_input() {
    let ada = json!({
        "@odata.context": "https://graph.example/v1.0/$metadata#users/$entity", "id": "1", "mobilePhone": "+46 1",
        "businessPhones": ["+46 2", "+46 3"], "displayName": "Ada", "userPrincipalName": "ada_x.example#EXT#@t.example",
    });
    let pascal =
        json!({ "Id": "1", "MobilePhone": "+46 1", "BusinessPhones": "+46 2", "UserPrincipalName": "ada@x.example" });
    for (document, expression, expected, warning) in [
        (&ada, "[mobile]", json!("+46 1"), ""),
        (&ada, "[objectId]", json!("1"), ""),
        (&ada, "[telephoneNumber]", json!("+46 2"), ""),
        (&ada, "[userPrincipalName]", json!("ada@x.example"), ""),
        (&ada, "Coalesce([companyName], [displayName])", json!("Ada"), "[companyName] is not in the input"),
        (&ada, "[departement]", Value::Null, "did you mean `department`?"),
        (&json!({ "@odata.context": "c", "value": [ada] }), "[mobile]", json!("+46 1"), ""),
        (&json!({ "value": [pascal], "Count": 1 }), "[mobile]", json!("+46 1"), ""),
        (&json!([ada]), "[mobile]", json!("+46 1"), ""),
        (&pascal, "[objectId]", json!("1"), ""),
        (&json!({ "value": 7 }), "[value]", json!("7"), ""),
    ] {
        let ran = run(&[("ada.json", &document.to_string())], &["eval", expression, "--input", "ada.json"], None, 0);
        assert_eq!(ran.json(), expected, "{expression}");
        assert!(
            ran.stderr.contains(warning) && ran.stderr.is_empty() == warning.is_empty(),
            "{expression}: {}",
            ran.stderr
        );
    }
    let two = json!({ "value": [ada, ada] }).to_string();
    let ran = run(&[("two.json", &two)], &["eval", "[mail]", "--input", "two.json"], None, 1);
    assert!(ran.stderr.contains("the list has 2 users"), "{}", ran.stderr);
}
