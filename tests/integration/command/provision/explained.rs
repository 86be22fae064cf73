//! The five steps with which `provision` explains a user.

use graph_sim::Tenant;
use serde_json::{Value, json};

use crate::program::{add_assigned_user, users};
use crate::world::{World, assigned_group};

/// The output of `provision --dry-run`, as text and as JSON.
async fn explained(world: &World, user: &str) -> (String, Value) {
    let code = |document: &Value| i32::from(document["action"]["status"] == "failure") * 3;
    let json = world.program(&["provision", "--dry-run", "--json", user]).output().unwrap();
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    let text = world.run_program(&["provision", "--dry-run", user], code(&document)).stdout;
    (text, document)
}

/// The first line of each of the five steps.
fn steps(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with(' ')).collect()
}

/// The line of the step `map` for one attribute.
fn mapped<'t>(text: &'t str, path: &str) -> &'t str {
    let line = text.lines().find(|line| line.get(9..).is_some_and(|rest| rest.starts_with(&format!("{path} <- "))));
    line.unwrap_or_else(|| panic!("no {path} in {text}")).get(9..).unwrap()
}

#[tokio::test]
async fn each_assignment_route_is_shown() {
    let mut tenant = Tenant::default();
    let (staff, members) = assigned_group(&mut tenant, "Staff", 1);
    let direct = add_assigned_user(&mut tenant, "Ada", "Lovelace");
    let nested_group = tenant.add_group("Contractors");
    tenant.add_member(&staff, &nested_group);
    let nested = add_assigned_user(&mut tenant, "Grace", "Hopper");
    let stranger = add_assigned_user(&mut tenant, "Mary", "Shelley");
    for user in [&nested, &stranger] {
        tenant.unassign(user);
    }
    tenant.add_member(&nested_group, &nested);
    let world = World::start(tenant).await;

    let (text, document) = explained(&world, &direct).await;
    assert!(text.contains("\nscope    assigned directly\nmatch    no learner yet; a new one\n"), "{text}");
    assert!(text.contains(&format!("\naction   create {}, assigned\n", "ada.lovelace@harbourworks.example")), "{text}");
    assert!(text.contains("           displayName: Ada Lovelace\n"), "{text}");
    assert_eq!(mapped(&text, "name.givenName"), "name.givenName <- [givenName]: Ada");
    assert_eq!(mapped(&text, "addresses[0].country"), "addresses[0].country <- [country]: nothing");
    assert_eq!(document["import"]["attributes"]["department"], json!("Research"));
    let name = json!({ "attribute": "name.givenName", "expression": "[givenName]", "value": "Ada", "old": null, "note": null });
    assert!(document["map"].as_array().unwrap().contains(&name), "{document}");

    let (text, document) = explained(&world, &members[0]).await;
    assert!(text.contains(&format!("\nscope    assigned through group \"Staff\" ({staff})\n")), "{text}");
    assert_eq!(document["scope"]["via"], json!([staff]));

    let (text, document) = explained(&world, &nested).await;
    let scope = "\nscope    not assigned: only a member of groups nested in group \"Staff\"";
    assert!(text.contains(scope) && text.contains("scope.group_members"), "{text}");
    assert_eq!((&document["scope"]["assigned"], &document["scope"]["nested_in"]), (&json!(false), &json!([staff])));

    let (text, document) = explained(&world, &stranger).await;
    let scope = "\nscope    not assigned to the application, neither directly nor by an assigned group\n";
    assert!(text.contains(scope) && text.contains("\naction   none: not assigned, and no learner\n"), "{text}");
    assert_eq!(document["scope"]["nested_in"], json!([]));
    // The mapping result is shown all the same.
    assert_eq!(mapped(&text, "name.givenName"), "name.givenName <- [givenName]: Mary");
    let (text, _) = explained(&world, &direct).await;
    assert_eq!(steps(&text).len(), 6, "{text}");
}

#[tokio::test]
async fn the_reason_for_being_out_of_scope_is_shown() {
    let (mut tenant, ids) = users(6);
    for (id, department) in ids.iter().zip(["Sales", "Research", "Sales", "Sales", "Sales", "Sales"]) {
        tenant.user_mut(id).department = Some(department.to_owned());
    }
    tenant.user_mut(&ids[2]).account_enabled = Some(false);
    tenant.user_mut(&ids[3]).mail = None;
    let mail = tenant.user_mut(&ids[4]).mail.clone();
    tenant.user_mut(&ids[5]).mail = mail;
    let filter = "[[scope.filter]]\nname = \"sales\"\n\
                  clauses = [{ attribute = \"department\", operator = \"EQUALS\", value = \"Sales\" }]";
    let world = World::start(tenant).await;
    world.configure(filter);

    let (text, document) = explained(&world, &ids[0]).await;
    assert!(text.contains("\n           filter \"sales\" holds\n"), "{text}");
    assert_eq!(document["scope"]["filters"], json!(["filter \"sales\" holds"]));
    let (text, document) = explained(&world, &ids[1]).await;
    assert!(text.contains("scope    assigned directly, but out-of-scope\n"), "{text}");
    let why = "filter \"sales\" does not hold: [department] EQUALS \"Sales\" is false";
    assert!(text.contains(why) && document["scope"]["filters"] == json!([why]), "{text}");
    let (text, _) = explained(&world, &ids[2]).await;
    assert!(text.contains("the account is disabled\n") && text.contains("directly, but account-disabled\n"), "{text}");
    let (text, _) = explained(&world, &ids[3]).await;
    assert_eq!(
        mapped(&text, "emails[type eq \"work\"].value"),
        "emails[type eq \"work\"].value <- [mail]: nothing, but required"
    );
    assert!(text.contains("action   create not applied (skipped): missing-required"), "{text}");
    let (text, _) = explained(&world, &ids[4]).await;
    assert!(text.contains("action   create not applied (failure): conflict") && text.contains(&ids[5]), "{text}");
    let nobody = "00000000-0000-4000-8000-00000000dead";
    assert!(world.run_program(&["provision", "--dry-run", nobody], 1).stderr.contains("has no user"));
}

#[tokio::test]
async fn old_values_defaults_and_failing_rules_are_shown() {
    let (tenant, ids) = users(1);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    world.configure(
        "[mapping]\nuserName = \"[userPrincipalName]\"\n\"emails[type eq \\\"work\\\"].value\" = \"[mail]\"\n\
         active = \"Switch([IsSoftDeleted], , \\\"False\\\", \\\"True\\\", \\\"True\\\", \\\"False\\\")\"\n\
         title = { expression = \"[jobTitle]\", default = \"Learner\" }\n\
         \"name.givenName\" = { expression = \"Append([givenName], \\\"!\\\")\", apply = \"on-create\" }\n\
         \"name.familyName\" = \"IgnoreFlowIfNullOrEmpty([city])\"\n\
         \"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department\" = \"Redact([department])\"",
    );
    world.sim.tenant(|tenant| tenant.user_mut(&ids[0]).department = Some("Secret".to_owned()));
    let (text, document) = explained(&world, &ids[0]).await;
    assert_eq!(mapped(&text, "title"), "title <- [jobTitle]: nothing; a new learner gets the default \"Learner\"");
    assert_eq!(
        mapped(&text, "name.givenName"),
        "name.givenName <- Append([givenName],\"!\"): Ada! (for a new learner only), was Ada"
    );
    assert_eq!(
        mapped(&text, "name.familyName"),
        "name.familyName <- IgnoreFlowIfNullOrEmpty([city]): nothing, not written, was Number0"
    );
    let department = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
    assert_eq!(mapped(&text, department), format!("{department} <- Redact([department]): [Redact]"));
    for output in [&text, &document.to_string()] {
        assert!(!output.contains("Secret") && !output.contains("Research"), "{output}");
    }
    // The value is written; the output shows neither the old nor the new one.
    world.run_program(&["sync"], 0);
    assert_eq!(world.learner(&ids[0], "department").await, ["Secret"]);
    let logged = world.run_program(&["log", "--format", "json"], 0).stdout;
    let update = world.last_changes(&ids[0]).await;
    assert!(update.to_string().contains("\"new\":\"[Redact]\"") && !update.to_string().contains("Secret"), "{update}");
    assert!(!logged.contains("Secret"), "{logged}");
}
