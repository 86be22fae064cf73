//! `provision`: one user at once, with an explanation.

mod explained;

use graph_sim::{Fault, Gate, Tenant, User};
use serde_json::{Value, json};

use crate::database::{apply, on_both};
use crate::program::{Daemon, add_assigned_user, users};
use crate::world::World;

const ADA: &str = "ada.lovelace@harbourworks.example";

async fn learners(world: &World) -> String {
    world.value("SELECT count(*) FROM learners").await
}

async fn audited(world: &World) -> Vec<String> {
    world.query("SELECT action FROM audit_log ORDER BY id").await.into_iter().flatten().collect()
}

/// A world with twelve learners, one of them Ada.
async fn world_with_ada() -> (World, String, Vec<String>) {
    let (mut tenant, ids) = users(11);
    let ada = add_assigned_user(&mut tenant, "Ada", "Lovelace");
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    (world, ada, ids)
}

#[apply(on_both)]
async fn one_newcomer_is_created_and_the_others_wait_for_the_cycle() {
    let (mut tenant, ids) = users(5);
    let ada = add_assigned_user(&mut tenant, "Ada", "Lovelace");
    let world = World::start(tenant).await;
    let document = world.run_program(&["provision", ADA, "--json"], 0).json();
    assert_eq!(document["entra_id"], json!(ada));
    assert_eq!(document["import"]["account"], json!("enabled"));
    assert_eq!((&document["scope"]["assigned"], &document["scope"]["via"]), (&json!(true), &json!(["direct"])));
    assert_eq!((&document["match"]["how"], &document["match"]["learner_id"]), (&json!("created"), &json!(1)));
    let action = &document["action"];
    assert_eq!(
        (&action["action"], &action["status"], &action["reason"]),
        (&json!("create"), &json!("success"), &json!("assigned"))
    );
    assert_eq!((&document["outcome"], &document["error"]), (&json!("success"), &Value::Null));
    assert_eq!(learners(&world).await, "1");
    assert_eq!(world.query("SELECT in_scope, created, unchanged FROM sync_cycles").await, [["1", "1", "0"]]);
    assert_eq!(audited(&world).await, ["provision"]);
    world.run_program(&["sync"], 0);
    assert_eq!(learners(&world).await, "6");
    assert_eq!(world.log(&ada).await, ["create success assigned"]);
    assert_eq!(world.log(&ids[0]).await, ["create success assigned"]);
}

#[tokio::test]
async fn the_text_output_explains_the_result() {
    let (world, ada, _) = world_with_ada().await;
    world.sim.tenant(|tenant| tenant.user_mut(&ada).department = Some("Engines".to_owned()));
    let said = world.run_program(&["provision", &ada.to_uppercase()], 0).stdout;
    for words in [
        format!("import   {ada}: the account exists and is enabled\n"),
        "scope    assigned directly\n".to_owned(),
        format!("match    learner {}, linked\n", world.learner(&ada, "id").await[0]),
        format!("action   update {ADA}, attributes-changed\n           department: Research -> Engines\n"),
    ] {
        assert!(said.contains(&words), "{words:?} in {said}");
    }
    let said = world.run_program(&["provision", ADA], 0).stdout;
    assert!(said.contains("action   none: nothing to change"), "{said}");
}

#[apply(on_both)]
async fn a_rehearsal_writes_nothing() {
    let (world, ada, _) = world_with_ada().await;
    world.sim.tenant(|tenant| tenant.user_mut(&ada).department = Some("Engines".to_owned()));
    let before = world.lasting().await;
    let document = world.run_program(&["provision", ADA, "--dry-run", "--json"], 0).json();
    assert_eq!((&document["dry_run"], &document["cycle"]), (&json!(true), &Value::Null));
    assert_eq!(document["action"]["changes"][0]["new"], json!("Engines"));
    world.unchanged_since(&before).await;
    assert_eq!(audited(&world).await, ["sync"]);
    // A refusal by the database is shown.
    world.database.refuse("UPDATE", "true").await;
    let document = world.run_program(&["provision", ADA, "--dry-run", "--json"], 3).json();
    assert_eq!(document["action"]["reason"], json!("database-error"));
}

#[tokio::test]
async fn a_user_without_a_learner_is_explained() {
    let (mut tenant, _) = users(1);
    let outside = tenant.add_user(User::named("Grace", "Hopper"));
    let disabled = add_assigned_user(&mut tenant, "Mary", "Shelley");
    tenant.user_mut(&disabled).account_enabled = Some(false);
    let mute = add_assigned_user(&mut tenant, "Emily", "Noether");
    tenant.user_mut(&mute).mail = None;
    let world = World::start(tenant).await;
    for (user, account, assigned, reason, code) in [
        (&outside, "enabled", false, Value::Null, 0),
        (&disabled, "disabled", true, json!("account-disabled"), 0),
        (&mute, "enabled", true, json!("missing-required"), 0),
    ] {
        let document = world.run_program(&["provision", user, "--json"], code).json();
        assert_eq!(document["import"]["account"], json!(account), "{document}");
        assert_eq!(document["scope"]["assigned"], json!(assigned), "{document}");
        assert_eq!(document["action"]["reason"], reason, "{document}");
    }
    for nobody in ["nobody@harbourworks.example", "00000000-0000-4000-8000-00000000dead"] {
        let ran = world.run_program(&["provision", nobody, "--json"], 1);
        assert!(ran.json()["error"].as_str().unwrap().contains("has no user"), "{ran:?}");
    }
    for nonsense in ["", ".", "..", "$count", "ada"] {
        world.run_program(&["provision", nonsense], 2);
    }
    assert_eq!(learners(&world).await, "0");
}

#[tokio::test]
async fn a_leaver_is_confirmed_and_deactivated_by_the_same_rules() {
    let (world, ada, ids) = world_with_ada().await;
    // Only the learner database still knows the user name.
    world.sim.tenant(|tenant| tenant.delete_user(&ada));
    let document = world.run_program(&["provision", ADA, "--json"], 0).json();
    assert_eq!(document["import"]["account"], json!("deleted"));
    assert_eq!(document["action"]["reason"], json!("account-deleted"));
    assert_eq!(world.learner(&ada, "active").await, ["0"]);

    // Eleven more leavers are too many: the user is held, and only this hold is recorded.
    world.sim.tenant(|tenant| ids.iter().for_each(|id| tenant.unassign(id)));
    let document = world.run_program(&["provision", &ids[0], "--json"], 3).json();
    let action = &document["action"];
    assert_eq!((&action["status"], &action["action"]), (&json!("held"), &json!("deactivate")));
    assert_eq!(world.value("SELECT entra_id FROM sync_held").await, ids[0]);
    assert_eq!(world.run_program(&["status", "--json"], 0).json()["state"], json!("held"));
}

#[tokio::test]
async fn learners_that_hand_over_a_value_change_together() {
    let (world, ada, ids) = world_with_ada().await;
    world.sim.tenant(|tenant| {
        let [ours, other] = [&ada, &ids[0]].map(|id| tenant.user(id).unwrap().mail.clone());
        tenant.user_mut(&ada).mail = other;
        tenant.user_mut(&ids[0]).mail = ours;
        tenant.user_mut(&ids[1]).department = Some("Engines".to_owned());
    });
    let document = world.run_program(&["provision", ADA, "--json"], 0).json();
    assert_eq!(document["coupled"][0]["entra_id"], json!(ids[0]));
    assert_eq!(world.learner(&ids[0], "email").await, [ADA]);
    assert_eq!(world.learner(&ids[1], "department").await, ["Research"]);
    let again = world.run_program(&["sync", "--json"], 0).json();
    assert_eq!((&again["updated"], &again["unchanged"]), (&json!(1), &json!(11)));
}

#[tokio::test]
async fn drift_of_other_learners_stays_drift_for_the_next_cycle() {
    let (world, ada, ids) = world_with_ada().await;
    world.execute(&format!("UPDATE learners SET department = 'Sales' WHERE external_id <> '{ada}'")).await;
    world.sim.tenant(|tenant| tenant.user_mut(&ada).department = Some("Engines".to_owned()));
    world.run_program(&["provision", ADA], 0);
    world.run_program(&["sync", "--full"], 0);
    assert_eq!(world.log(&ids[0]).await.last().unwrap(), "update success drift");
    assert_eq!(world.log(&ada).await, ["create success assigned", "update success attributes-changed"]);
}

#[tokio::test]
async fn the_learner_is_read_from_the_database_and_not_from_the_cache() {
    let (world, ada, ids) = world_with_ada().await;
    world.execute(&format!("UPDATE learners SET department = 'Sales' WHERE external_id = '{ada}'")).await;
    world.execute(&format!("UPDATE learners SET active = false WHERE external_id = '{}'", ids[0])).await;
    world.execute(&format!("DELETE FROM learners WHERE external_id = '{}'", ids[1])).await;
    let action = |user: &str| {
        let document = world.run_program(&["provision", user, "--json"], 0).json();
        [&document["action"]["action"], &document["action"]["status"], &document["action"]["reason"]]
            .map(|value| value.as_str().unwrap().to_owned())
    };
    assert_eq!(action(&ada), ["update", "success", "drift"]);
    assert_eq!(action(&ids[0]), ["reactivate", "skipped", "drift"]);
    assert_eq!(action(&ids[1]), ["create", "success", "assigned"]);
    let document = world.run_program(&["sync", "--json"], 0).json();
    assert_eq!((&document["unchanged"], &document["skipped"]), (&json!(11), &json!(1)));
}

#[apply(on_both)]
async fn provision_needs_force_while_paused_and_the_lock_of_a_cycle() {
    let (world, _, _) = world_with_ada().await;
    world.run_program(&["pause"], 0);
    world.run_program(&["provision", ADA], 1);
    world.run_program(&["provision", ADA, "--force"], 0);
    world.run_program(&["resume"], 0);

    let gate = Gate::new();
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").hold_until(&gate));
    let mut sync = Daemon::spawn(world.program(&["sync"]), &world.path("sync.log"));
    gate.reached().await;
    let ran = world.run_program(&["provision", ADA, "--json"], 75);
    assert!(ran.json()["error"].as_str().unwrap().contains(&format!("learner-sync sync (pid {})", sync.pid())));
    assert!(ran.json()["hint"].as_str().unwrap().contains("--wait waits"), "{ran:?}");
    gate.release();
    assert_eq!(sync.ended().await, Some(0));
}

/// Ada has a new account; her former learner still has her address.
async fn world_with_new_account() -> (World, String, String, String) {
    let (world, old, _) = world_with_ada().await;
    let learner = world.learner(&old, "id").await.remove(0);
    world.sim.tenant(|tenant| {
        tenant.delete_user(&old);
        tenant.purge_user(&old);
    });
    world.run_program(&["sync"], 0);
    let new = world.sim.tenant(|tenant| add_assigned_user(tenant, "Ada", "Lovelace"));
    world.sim.tenant(|tenant| tenant.user_mut(&new).department = Some("Engines".to_owned()));
    world.run_program(&["sync"], 3);
    assert_eq!(world.log(&new).await, ["create failure conflict"]);
    (world, old, new, learner)
}

#[apply(on_both)]
async fn relink_gives_a_new_account_the_former_learner() {
    let (world, old, new, learner) = world_with_new_account().await;
    let learner = learner.as_str();
    let rehearsed = world.run_program(&["provision", ADA, "--relink", learner, "--dry-run", "--json"], 0).json();
    assert_eq!(rehearsed["action"]["reason"], json!("relinked"));
    assert_eq!(world.learner(&old, "id, active").await, [learner, "0"]);

    let document = world.run_program(&["provision", ADA, "--relink", learner, "--json"], 0).json();
    assert_eq!(document["match"], json!({ "learner_id": learner.parse::<i64>().unwrap(), "how": "relinked" }));
    assert_eq!(world.learner(&new, "id, active, department, deactivated_at").await, [learner, "1", "Engines", "NULL"]);
    assert_eq!(world.learner(&old, "id").await, Vec::<String>::new());
    assert_eq!(world.log(&new).await, ["create failure conflict", "reactivate success relinked"]);
    assert_eq!(world.last_detail(&new).await, format!("was the learner of Entra id {old}"));
    let links = world.query(&format!("SELECT learner_id FROM sync_links WHERE entra_id IN ('{old}', '{new}')")).await;
    assert_eq!(links, [[learner]]);
    assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "0");
    assert_eq!(audited(&world).await.last().unwrap(), "relink");
    assert!(
        world
            .value("SELECT detail FROM audit_log ORDER BY id DESC LIMIT 1")
            .await
            .contains(&format!("\"learner\":{learner}"))
    );

    // A repeated command and later cycles change nothing.
    let again = world.run_program(&["provision", ADA, "--relink", learner, "--json"], 0).json();
    assert_eq!(again["action"]["action"], Value::Null);
    for arguments in [&["sync", "--json"][..], &["sync", "--full", "--json"]] {
        let document = world.run_program(arguments, 0).json();
        assert_eq!((&document["unchanged"], &document["updated"]), (&json!(12), &json!(0)), "{document}");
    }
}

#[tokio::test]
async fn an_unlinked_learner_of_any_name_can_be_relinked() {
    let (mut tenant, _) = users(1);
    let ada = add_assigned_user(&mut tenant, "Ada", "Lovelace");
    let world = World::start(Tenant::default()).await;
    world.run_program(&["sync"], 0);
    world.execute("INSERT INTO learners (user_name, external_id, team_name) VALUES ('countess', 'old', 'Blue')").await;
    world.sim.tenant(|served| *served = tenant);
    world.run_program(&["provision", ADA, "--relink", "001"], 0);
    assert_eq!(world.learner(&ada, "id, user_name, team_name").await, ["1", ADA, "Blue"]);
    assert_eq!(world.log(&ada).await, ["update success relinked"]);
}

#[apply(on_both)]
async fn a_learner_that_cannot_be_relinked_is_refused() {
    let (world, _, new, learner) = world_with_new_account().await;
    let learner = learner.as_str();
    let outside = world.sim.tenant(|tenant| tenant.add_user(User::named("Grace", "Hopper")));
    let before = (world.lasting().await, world.cycles().await);
    let other = world.value("SELECT id FROM learners WHERE user_name = 'ada.number0@harbourworks.example'").await;
    for (user, learner, why) in [
        (new.as_str(), "99", "learner 99 does not exist".to_owned()),
        (&new, "none", "learner none does not exist".to_owned()),
        (&new, &other, "is active and linked to Entra id".to_owned()),
        ("ada.number0@harbourworks.example", learner, format!("already has learner {other}")),
    ] {
        for more in [&["--json"][..], &["--json", "--dry-run"]] {
            let ran = world.run_program(&[&["provision", user, "--relink", learner], more].concat(), 1);
            assert!(ran.json()["error"].as_str().unwrap().contains(&why), "{ran:?}");
        }
    }
    assert_eq!(world.cycles().await, before.1);
    // An unassigned user does not become a learner.
    let ran = world.run_program(&["provision", &outside, "--relink", learner], 1);
    assert!(ran.stdout.contains("not relinked") && ran.stdout.contains("not assigned"), "{ran:?}");
    let document = world.run_program(&["provision", &outside, "--relink", learner, "--json"], 1).json();
    assert!(document["error"].as_str().unwrap().contains("not assigned"), "{document}");
    world.unchanged_since(&before.0).await;
}

#[tokio::test]
async fn a_learner_of_a_returned_user_cannot_be_relinked() {
    let (world, old, _) = world_with_ada().await;
    world.sim.tenant(|tenant| tenant.unassign(&old));
    world.run_program(&["sync"], 0);
    let new = world.sim.tenant(|tenant| {
        let user = tenant.user_mut(&old);
        user.user_principal_name = Some("ada.byron@harbourworks.example".to_owned());
        user.mail = Some("ada.byron@harbourworks.example".to_owned());
        tenant.assign_user(&old);
        add_assigned_user(tenant, "Ada", "Lovelace")
    });
    let learner = world.learner(&old, "id").await.remove(0);
    let document = world.run_program(&["provision", &new, "--relink", &learner, "--json"], 1).json();
    assert_eq!(document["action"]["reason"], json!("conflict"), "{document}");
    assert!(document["action"]["detail"].as_str().unwrap().contains("still wanted by its own account"), "{document}");
    assert_eq!(world.learner(&old, "id, active").await, [learner.as_str(), "0"]);
    world.run_program(&["sync"], 0);
    assert_eq!(world.learner(&old, "user_name, active").await, ["ada.byron@harbourworks.example", "1"]);
    assert_eq!(world.learner(&new, "user_name, active").await, [ADA, "1"]);
}
