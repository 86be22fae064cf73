//! `approve --relink`: accounts that were deleted and created again get their learners back.

use graph_sim::{Fault, Gate, Tenant, User};
use serde_json::json;

use crate::database::{apply, is_on_postgres, on_both};
use crate::program::{Daemon, users};
use crate::world::World;

/// A world with `count` learners, of which the first `recreated` accounts were created again; with their former and
/// their new ids.
async fn recreated(count: usize, recreated: usize) -> (World, Vec<(String, String)>) {
    let (tenant, ids) = users(count);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    let pairs = recreate(&world, &ids[..recreated]);
    (world, pairs)
}

fn recreate(world: &World, ids: &[String]) -> Vec<(String, String)> {
    world.sim.tenant(|tenant| ids.iter().map(|id| (id.clone(), tenant.recreate_user(id))).collect())
}

async fn rows(world: &World) -> Vec<Vec<String>> {
    let mut rows = world.lasting().await;
    rows.extend(world.query("SELECT id, outcome FROM sync_cycles ORDER BY id").await);
    rows.extend(world.query("SELECT action FROM audit_log ORDER BY id").await);
    rows
}

#[apply(on_both)]
async fn held_learners_are_relinked_to_their_new_accounts() {
    let (world, pairs) = recreated(15, 12).await;
    let document = world.run_program(&["sync", "--json"], 3).json();
    assert_eq!((&document["held"], &document["failed"]), (&json!(12), &json!(12)));
    assert!(world.last_detail(&pairs[0].1).await.contains("approve --relink"));
    assert_eq!(world.run_program(&["status", "--json"], 0).json()["recreated"], json!(12));
    for command in [&["status"][..], &["approve"]] {
        let code = if command == ["status"] { 0 } else { 2 };
        let ran = world.run_program(command, code);
        assert!(ran.stdout.contains("deleted former ones: 12") && ran.stdout.contains("approve --relink"), "{ran:?}");
    }
    let learners = "SELECT id, user_name, email, first_name, active FROM learners ORDER BY id";
    let (before, generation) = (world.query(learners).await, world.value("SELECT generation FROM sync_state").await);

    let untouched = rows(&world).await;
    let shown = world.run_program(&["approve", "--relink"], 2);
    for number in 0..12 {
        assert!(shown.stdout.contains(&format!("ada.number{number}@harbourworks.example")), "{shown:?}");
    }
    assert!(!shown.stdout.contains("different person?"), "{shown:?}");
    assert!(shown.stdout.lines().all(|line| line.chars().count() <= 80), "{shown:?}");
    world.run_program(&["approve", "--relink", "--yes"], 2);
    let wrong = world.run_program(&["approve", "--relink", "--yes", "--expect", "11"], 1);
    assert!(wrong.stderr.contains("12 users can be relinked, not 11"), "{wrong:?}");
    world.run_program(&["approve", "--relink", "--source"], 2);
    world.run_program(&["pause"], 0);
    world.run_program(&["approve", "--relink", "--yes", "--expect", "12"], 1);
    world.run_program(&["resume"], 0);
    world.execute("DELETE FROM audit_log WHERE action IN ('pause', 'resume')").await;
    assert_eq!(rows(&world).await, untouched);

    world.run_program(&["approve", "--relink", "--yes", "--expect", "12"], 0);
    assert_eq!(world.query(learners).await, before);
    assert_ne!(world.value("SELECT generation FROM sync_state").await, generation);
    for (old, new) in &pairs {
        assert_eq!(world.learner(new, "active, deactivated_at").await, ["1", "NULL"]);
        assert_eq!(world.log(new).await, ["create failure conflict", "update success relinked"]);
        assert_eq!(world.last_detail(new).await, format!("was the learner of Entra id {old}"));
        assert_eq!(world.log(old).await.last().unwrap(), "deactivate held threshold ended");
        assert_eq!(world.last_detail(old).await, format!("the learner was relinked to {new}"));
    }
    for table in ["sync_held", "sync_failures"] {
        assert_eq!(world.value(&format!("SELECT count(*) FROM {table}")).await, "0");
    }
    let audit = world.query("SELECT action, detail FROM audit_log ORDER BY id DESC LIMIT 1").await.concat();
    let detail: serde_json::Value = serde_json::from_str(&audit[1]).unwrap();
    assert_eq!((&*audit[0], &detail["relinked"]), ("relink", &json!(12)));
    assert_eq!(detail["pairs"].as_array().unwrap().len(), 12);
    let learner: i64 = world.learner(&pairs[0].1, "id").await.concat().parse().unwrap();
    assert!(
        detail["pairs"].as_array().unwrap().contains(&json!({ "user": pairs[0].1, "learner": learner })),
        "{detail}"
    );
    assert_eq!(world.cycles().await.last().unwrap(), "command success");

    let logged = world.value("SELECT count(*) FROM provisioning_log").await;
    let document = world.run_program(&["sync", "--json"], 0).json();
    assert_eq!((&document["unchanged"], &document["held"]), (&json!(15), &json!(0)));
    assert_eq!(world.value("SELECT count(*) FROM provisioning_log").await, logged);
    let again = world.run_program(&["approve", "--relink"], 0);
    assert!(again.stdout.contains("No account was created again"), "{again:?}");
    world.run_program(&["approve", "--relink", "--yes", "--expect", "12"], 1);
}

#[apply(on_both)]
async fn inactive_learners_come_back_with_the_values_of_the_new_account() {
    let (world, pairs) = recreated(20, 2).await;
    let document = world.run_program(&["sync", "--json"], 3).json();
    assert_eq!((&document["deactivated"], &document["failed"]), (&json!(2), &json!(2)));
    world.sim.tenant(|tenant| {
        let user = tenant.user_mut(&pairs[0].1);
        (user.department, user.surname) = (None, Some("NUMBER0".to_owned()));
    });
    let ran = world.run_program(&["approve", "--relink", "--yes", "--expect", "2"], 0);
    assert!(ran.stdout.contains("active") && ran.stdout.contains("department"), "{ran:?}");
    assert_eq!(world.learner(&pairs[0].1, "active, last_name, department").await, ["1", "NUMBER0", "NULL"]);
    assert_eq!(world.log(&pairs[1].1).await.last().unwrap(), "reactivate success relinked");
    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["unchanged"], json!(20));
}

/// The reason why the learner of a user is not relinked, in the words of the table.
fn doubt(world: &World, user_name: &str) -> String {
    let ran = world.run_program(&["approve", "--relink"], 0);
    let (_, doubts) = ran.stdout.split_once("different person?").unwrap_or_else(|| panic!("{ran:?}"));
    let line = doubts.lines().find(|line| line.contains(user_name)).unwrap_or_else(|| panic!("{ran:?}"));
    line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ")
}

const ADA: &str = "ada.number0@harbourworks.example";

#[tokio::test]
async fn a_user_who_may_be_another_person_is_never_relinked() {
    let (world, pairs) = recreated(20, 1).await;
    let (old, new) = &pairs[0];
    // The address was given to somebody else.
    let change = |change: &dyn Fn(&mut User)| world.sim.tenant(|tenant| change(tenant.user_mut(new)));
    change(&|user| user.given_name = Some("Eve".to_owned()));
    world.run_program(&["sync"], 3);
    assert_eq!(doubt(&world, ADA), "neither the employee number nor the names are equal");
    // Half a name, and an employee number that only one of them has.
    change(&|user| user.employee_id = Some("7".to_owned()));
    assert_eq!(doubt(&world, ADA), "neither the employee number nor the names are equal");
    change(&|user| (user.given_name, user.employee_id) = (Some("Ada".to_owned()), None));

    world.execute("UPDATE learners SET deactivated_at = NULL WHERE user_name LIKE 'ada.number0@%'").await;
    assert_eq!(doubt(&world, ADA), "deactivated outside learner-sync");
    world.execute("UPDATE learners SET deactivated_at = created_at WHERE user_name LIKE 'ada.number0@%'").await;
    world.configure(&format!("[scope]\nignore = [\"{old}\"]"));
    assert_eq!(doubt(&world, ADA), "excluded by scope.ignore");
    world.configure("");
    // The former account was restored, then lost again without a trace in the deleted items.
    world.sim.tenant(|tenant| tenant.restore_user(old));
    assert_eq!(doubt(&world, ADA), format!("its account {old} is not confirmed deleted"));
    world.sim.tenant(|tenant| tenant.assign_user(old));
    world.sim.tenant(|tenant| tenant.vanish_user(old));
    assert_eq!(doubt(&world, ADA), format!("its account {old} is not confirmed deleted"));
    world.sim.tenant(|tenant| tenant.unassign(old));
    // A second newcomer wants the other value, or a second learner has one of them.
    let second = world.sim.tenant(|tenant| {
        let second =
            tenant.add_user(User::named("Ada", "Number0").user_principal_name("second@harbourworks.example").mail(ADA));
        tenant.assign_user(&second);
        second
    });
    assert_eq!(doubt(&world, ADA), format!("also fits {second}"));
    world.sim.tenant(|tenant| tenant.unassign(&second));
    world.execute("INSERT INTO learners (id, user_name, email) VALUES (99, 'other', 'ada@other.example')").await;
    change(&|user| user.mail = Some("ada@other.example".to_owned()));
    assert_eq!(doubt(&world, ADA), "also fits learner 99");
    world.execute("DELETE FROM learners WHERE id = 99").await;
    // Without a doubt left.
    world.run_program(&["approve", "--relink", "--yes", "--expect", "1"], 0);
    assert_eq!(world.learner(new, "email").await, ["ada@other.example"]);
    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["unchanged"], json!(20));
}

#[tokio::test]
async fn an_equal_employee_number_proves_more_than_names_unless_several_share_it() {
    let (mut tenant, ids) = users(20);
    ids[..4].iter().for_each(|id| tenant.user_mut(id).employee_id = Some("N/A".to_owned()));
    tenant.user_mut(&ids[0]).employee_id = Some("0815".to_owned());
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    let pairs = recreate(&world, &ids[..3]);
    world.sim.tenant(|tenant| {
        // Married, so the user name differs as well; the address stays.
        let married = tenant.user_mut(&pairs[0].1);
        married.surname = Some("King".to_owned());
        married.user_principal_name = Some("ada.king@harbourworks.example".to_owned());
        tenant.user_mut(&pairs[1].1).surname = Some("Other".to_owned());
    });
    world.run_program(&["sync"], 3);
    let ran = world.run_program(&["approve", "--relink", "--yes", "--expect", "2"], 0);
    let proof = |name: &str| ran.stdout.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(proof("ada.king@").ends_with("employee number"), "{ran:?}");
    assert!(proof("ada.number1@").ends_with("neither the employee number nor the names are equal"), "{ran:?}");
    assert!(proof("ada.number2@").trim_end().ends_with("names"), "{ran:?}");
    assert_eq!(world.learner(&pairs[0].1, "user_name, last_name").await, ["ada.king@harbourworks.example", "King"]);
}

#[apply(on_both)]
async fn nothing_is_relinked_when_the_users_change_meanwhile_or_the_database_refuses_one() {
    let (world, pairs) = recreated(20, 3).await;
    world.run_program(&["sync"], 3);
    let before = rows(&world).await;
    let arguments = ["approve", "--relink", "--yes", "--expect", "3"];
    // The second reading finds another set, another value, no value.
    let changes: [fn(&mut Tenant, &str); 3] = [
        |tenant, user| tenant.unassign(user),
        |tenant, user| tenant.user_mut(user).department = Some("Changed".to_owned()),
        |tenant, user| tenant.user_mut(user).department = None,
    ];
    for change in changes {
        let gate = Gate::new();
        world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").nth(2).hold_until(&gate));
        let mut command = Daemon::spawn(world.program(&arguments), &world.path("relink.log"));
        gate.reached().await;
        world.run_program(&arguments, 75);
        world.sim.tenant(|tenant| change(tenant, &pairs[0].1));
        gate.release();
        assert_eq!(command.ended().await, Some(1));
        assert!(command.log().contains("changed meanwhile"), "{}", command.log());
        assert_eq!(rows(&world).await, before);
        world.sim.tenant(|tenant| tenant.assign_user(&pairs[0].1));
    }

    let refusal = if is_on_postgres() {
        format!("ALTER TABLE learners ADD CONSTRAINT refuse CHECK (external_id <> '{}')", pairs[1].1)
    } else {
        format!(
            "CREATE TRIGGER refuse BEFORE UPDATE ON learners WHEN NEW.external_id = '{}'
             BEGIN SELECT RAISE(ABORT, 'not this one'); END",
            pairs[1].1
        )
    };
    world.execute(&refusal).await;
    let lasting = world.lasting().await;
    let ran = world.run_program(&arguments, 1);
    assert!(ran.stderr.contains(&format!("refuses to relink {}", pairs[1].1)), "{ran:?}");
    assert_eq!(world.lasting().await, lasting);
    assert_eq!(world.value("SELECT count(*) FROM audit_log WHERE action = 'relink'").await, "0");
}

#[apply(on_both)]
async fn a_reissued_address_with_free_is_not_moved_aside_before_a_relink() {
    let (world, pairs) = recreated(20, 2).await;
    world.configure("reissued = \"free\"");
    world.run_program(&["approve", "--relink", "--yes", "--expect", "2"], 0);
    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["unchanged"], json!(20));
    assert_eq!(world.learner(&pairs[0].1, "user_name").await, [ADA]);
}
