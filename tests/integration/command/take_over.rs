//! `approve --source --take-over`: the enterprise application was deleted and created again.

use std::fs::File;

use graph_sim::TENANT_ID;
use learner_sync::runtime::lock::Lock;
use serde_json::json;

use crate::database::{Database, apply, is_on_postgres, on_both};
use crate::program::{Ran, users};
use crate::world::World;

const STATE: &str = "SELECT paused, admitted_sources, taken_over_sources, applications FROM sync_state";

/// A world with `count` learners, whose application was created again.
struct Recreated {
    world: World,
    ids: Vec<String>,
    /// The former and the present source.
    old: String,
    new: String,
}

impl Recreated {
    async fn start(count: usize) -> Self {
        let (tenant, ids) = users(count);
        let world = World::start(tenant).await;
        world.run_program(&["sync"], 0);
        Self::of(world, ids)
    }

    fn of(world: World, ids: Vec<String>) -> Self {
        let (old, new) = world.sim.tenant(|tenant| {
            let old = tenant.application.object_id.clone();
            (old, tenant.recreate_application())
        });
        world.configure("");
        Self { world, ids, old: format!("{TENANT_ID}/{old}"), new: format!("{TENANT_ID}/{new}") }
    }

    #[track_caller]
    fn take_over(&self, code: i32) -> Ran {
        self.world.run_program(&["approve", "--source", "--take-over", &self.old, "--yes"], code)
    }

    /// The command with this former source is refused for this reason, and nothing is written.
    async fn refused(&self, old: &str, code: i32, why: &str) {
        let before = self.everything().await;
        let ran = self.world.run_program(&["approve", "--source", "--take-over", old, "--yes"], code);
        assert!(ran.stderr.contains(why), "{ran:?}");
        assert_eq!(self.everything().await, before);
    }

    async fn everything(&self) -> Vec<Vec<String>> {
        let mut rows = self.world.lasting().await;
        rows.extend(self.world.query(STATE).await);
        rows.extend(self.world.query("SELECT action FROM audit_log").await);
        rows
    }
}

#[apply(on_both)]
async fn the_learners_of_a_recreated_application_are_taken_over() {
    let recreated = Recreated::start(12).await;
    let Recreated { world, old, new, .. } = &recreated;
    let generation = world.value("SELECT generation FROM sync_state").await;
    let refused = world.run_program(&["sync"], 1);
    for command in [&*format!("approve --source --take-over {old}"), "approve --source;"] {
        assert!(refused.stderr.contains(command), "{refused:?}");
    }
    // It asks first.
    let asked = world.run_program(&["approve", "--source", "--take-over", old], 2);
    assert!(asked.stdout.contains(old) && asked.stdout.contains(new), "{asked:?}");
    assert!(asked.stdout.contains("12 learners"), "{asked:?}");

    recreated.take_over(0);
    assert_eq!(world.query("SELECT DISTINCT source FROM sync_links").await, [[new.clone()]]);
    assert_ne!(world.value("SELECT generation FROM sync_state").await, generation);
    let audit = world.query("SELECT action, detail FROM audit_log ORDER BY id DESC LIMIT 1").await.concat();
    assert_eq!(audit[0], "take-over");
    let detail: serde_json::Value = serde_json::from_str(&audit[1]).unwrap();
    assert_eq!((&detail["from"], &detail["source"], &detail["links"]), (&json!(old), &json!(new), &json!(12)));
    let applications = world.value("SELECT applications FROM sync_state").await;
    let (_, application) = old.split_once('/').unwrap();
    assert!(!applications.contains(application), "{applications}");

    let document = world.run_program(&["sync", "--json"], 0).json();
    assert_eq!((&document["unchanged"], &document["in_scope"]), (&json!(12), &json!(12)));
    assert_eq!(world.value("SELECT count(*) FROM provisioning_log").await, "12");
    // The history of the former application stays.
    assert_eq!(world.value(&format!("SELECT count(*) FROM sync_cycles WHERE source = '{old}'")).await, "1");
    let status = world.run_program(&["status", "--json"], 0).json();
    assert_eq!((&status["state"], &status["learners"]["linked"]), (&json!("ok"), &json!(12)));
    assert_eq!(world.run_program(&["log", "--format", "json"], 0).json().as_array().unwrap().len(), 12);

    let again = recreated.take_over(0);
    assert!(again.stdout.contains("nothing to take over"), "{again:?}");
    assert_eq!(world.value("SELECT count(*) FROM audit_log WHERE action = 'take-over'").await, "1");
}

#[apply(on_both)]
async fn the_first_cycle_after_a_take_over_holds_every_deactivation() {
    let recreated = Recreated::start(12).await;
    let Recreated { world, ids, .. } = &recreated;
    // Far below every limit. The wait of the second one would end after the first cycle.
    world.sim.tenant(|tenant| tenant.unassign(&ids[0]));
    world.configure("[safety]\ndeactivate_after = \"1h\"");
    recreated.take_over(0);
    // A cycle for one user does not count as the first one.
    let held = world.run_program(&["provision", &ids[0], "--json"], 3).json();
    assert_eq!(held["action"]["reason"], json!("threshold"));
    let planned = world.run_program(&["plan", "--json"], 0).json();
    assert_eq!((&planned["held"], &planned["deactivated"]), (&json!(1), &json!(0)));
    for _ in 0..2 {
        let document = world.run_program(&["sync", "--json"], 3).json();
        assert_eq!((&document["held"], &document["deactivated"]), (&json!(1), &json!(0)));
    }
    world.run_program(&["approve", "--yes", "--expect", "1"], 0);
    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["deactivated"], json!(1));
    // Later leavers follow the usual rules.
    world.configure("");
    world.sim.tenant(|tenant| tenant.unassign(&ids[1]));
    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["deactivated"], json!(1));
}

#[apply(on_both)]
async fn holds_failures_and_groups_are_taken_over_too() {
    let (mut tenant, ids) = users(15);
    let group = tenant.add_group("Divers");
    tenant.add_member(&group, &ids[14]);
    tenant.assign_group(&group);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    world.sim.tenant(|tenant| {
        ids[..12].iter().for_each(|id| tenant.unassign(id));
        tenant.user_mut(&ids[13]).mail = None;
    });
    world.run_program(&["sync"], 3);
    world.run_program(&["approve", "--yes", "--expect", "12"], 0);
    let recreated = Recreated::of(world, ids);
    let Recreated { world, new, .. } = &recreated;
    // Admitted, this application finds every user in conflict.
    world.run_program(&["approve", "--source", "--yes"], 0);
    world.run_program(&["sync"], 3);
    recreated.take_over(0);
    for table in ["sync_links", "sync_held", "sync_failures", "sync_groups"] {
        assert_eq!(world.query(&format!("SELECT DISTINCT source FROM {table}")).await, [[new.clone()]], "{table}");
    }
    let held = "SELECT count(*) FROM sync_held WHERE approved_at IS NULL AND approved_by IS NULL";
    assert_eq!(world.value(held).await, "12");
    let document = world.run_program(&["sync", "--json"], 3).json();
    assert_eq!((&document["held"], &document["skipped"], &document["unchanged"]), (&json!(12), &json!(1), &json!(2)));
    assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "1");
}

#[apply(on_both)]
async fn a_source_is_named_in_any_letter_case_and_by_its_object_id_alone() {
    for spell in
        [str::to_uppercase, |old: &str| format!(" {old} "), |old: &str| old.split_once('/').unwrap().1.to_uppercase()]
    {
        let recreated = Recreated::start(2).await;
        let old = spell(&recreated.old);
        recreated.world.run_program(&["approve", "--source", "--take-over", &old, "--yes"], 0);
        assert_eq!(recreated.world.run_program(&["sync", "--json"], 0).json()["unchanged"], json!(2));
    }
}

#[apply(on_both)]
async fn a_take_over_that_cannot_be_right_is_refused() {
    let recreated = Recreated::start(2).await;
    let Recreated { world, ids, old, new } = &recreated;
    let (_, application) = old.split_once('/').unwrap();
    let mistyped = format!("{}f", &old[..old.len() - 1]);
    recreated.refused(&mistyped, 1, &format!("did you mean `{old}`?")).await;
    recreated.refused(&format!("{TENANT_ID}/{}", ids[0]), 1, &format!("it knows {old}")).await;
    recreated.refused(&format!("contoso.example/{application}"), 1, &format!("it knows {old}")).await;
    for malformed in ["", "/", application.split_at(8).0, &format!("/{application}"), &format!("{old}/x")] {
        recreated.refused(malformed, 2, "").await;
    }
    let yes = ["approve", "--take-over", old, "--yes"];
    world.run_program(&yes, 2);
    world.run_program(&[&yes[..], &["--source", "--expect", "2"]].concat(), 2);

    // Another tenant.
    world.execute("UPDATE sync_links SET source = 'contoso.example/' || substr(source, 38)").await;
    recreated.refused(&format!("contoso.example/{application}"), 1, "belongs to another tenant").await;
    world.execute(&format!("UPDATE sync_links SET source = '{old}'")).await;
    // It exists after all, or Graph does not answer.
    world.sim.tenant(|tenant| tenant.other_applications[0].deleted = false);
    recreated.refused(old, 1, "still exists in Entra").await;
    world.sim.tenant(|tenant| tenant.other_applications[0].deleted = true);
    world.sim.tenant(|tenant| tenant.permissions.remove("Application.Read.All"));
    recreated.refused(old, 1, "Application.Read.All").await;
    world.sim.tenant(|tenant| tenant.permissions.insert("Application.Read.All".to_owned()));
    // Both link one user.
    world.execute("INSERT INTO learners (id, user_name, email) VALUES (99, 'x', 'x')").await;
    let link = format!(
        "INSERT INTO sync_links (source, entra_id, learner_id, via, linked_at)
         SELECT '{new}', entra_id, 99, via, linked_at FROM sync_links WHERE entra_id = '{}'",
        ids[0]
    );
    world.execute(&link).await;
    recreated.refused(old, 1, &ids[0]).await;
    world.run_program(&["approve", "--source", "--yes"], 0);
    world.run_program(&["sync"], 3);
    recreated.refused(new, 1, "this application itself").await;
    world.execute("DELETE FROM sync_links WHERE learner_id = 99").await;
    recreated.take_over(0);
}

#[apply(on_both)]
async fn a_take_over_waits_for_no_cycle_and_needs_a_current_database() {
    let recreated = Recreated::start(2).await;
    let Recreated { world, old, .. } = &recreated;
    let lock = match &world.database {
        Database::File(path) => path.with_file_name("learners.db.lock"),
        Database::Server(..) => world.path("state/cycle.lock"),
    };
    let cycle = Lock::acquire(&lock, "learner-sync sync").await.unwrap();
    recreated.refused(old, 75, "learner-sync sync").await;
    drop(cycle);
    let version = world.value("SELECT schema_version FROM sync_state").await;
    world.execute("UPDATE sync_state SET schema_version = 4").await;
    recreated.refused(old, 1, "the next cycle migrates it").await;
    world.execute(&format!("UPDATE sync_state SET schema_version = {version}")).await;
    if !is_on_postgres() {
        world.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
        std::fs::rename(world.path("learners.db"), world.path("aside.db")).unwrap();
        world.run_program(&["approve", "--source", "--take-over", old, "--yes"], 1);
        assert!(File::open(world.path("learners.db")).is_err());
        std::fs::rename(world.path("aside.db"), world.path("learners.db")).unwrap();
    }
    recreated.take_over(0);
}

#[tokio::test]
async fn a_source_whose_daemon_runs_is_not_taken_over() {
    let (tenant, ids) = users(2);
    let world = World::start(tenant).await;
    let daemon = world.daemon().await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    let recreated = Recreated::of(world, ids);
    recreated.refused(&recreated.old, 1, "a daemon").await;
    // A reload makes it a daemon of the new application.
    daemon.signal(rustix::process::Signal::HUP);
    // The cycle that follows the reload holds the lock.
    daemon.logged("waiting next_cycle.at=", 2).await;
    recreated.take_over(0);
    daemon.stop().await;
}
