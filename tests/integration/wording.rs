//! Stored texts are for people: rewording them changes no decision.

use graph_sim::{Fault, Tenant, User};
use jiff::SignedDuration;

use crate::database::{apply, on_both};
use crate::world::{World, assigned};

/// Every text that is meant for people.
const REWORD: &str = "
    UPDATE sync_failures SET detail = 'x' WHERE detail IS NOT NULL;
    UPDATE provisioning_log SET detail = 'x' WHERE detail IS NOT NULL;
    UPDATE audit_log SET detail = 'x' WHERE detail IS NOT NULL;
    UPDATE sync_cycles SET error = 'x' WHERE error IS NOT NULL";

/// Everything else in the database, but for the random generation.
const REST: [&str; 8] = [
    "SELECT * FROM learners ORDER BY id",
    "SELECT id, cycle_id, at, action, status, entra_id, learner_id, user_name, reason, changes,
            approved_by, phase
     FROM provisioning_log ORDER BY id",
    "SELECT id, source, \"trigger\", started_at, outcome, in_scope, created, updated, deactivated, reactivated, unchanged,
            skipped, failed, held, requests, error IS NULL
     FROM sync_cycles ORDER BY id",
    "SELECT * FROM sync_links ORDER BY entra_id",
    "SELECT * FROM sync_held ORDER BY entra_id",
    "SELECT entra_id, reason, first_at, last_at, attempts FROM sync_failures ORDER BY entra_id",
    "SELECT * FROM sync_groups ORDER BY group_id",
    "SELECT at, actor, action FROM audit_log ORDER BY id",
];

/// A world, and what its database contained after each cycle.
struct Play {
    world: World,
    reword: bool,
    contents: Vec<Vec<Vec<String>>>,
}

impl Play {
    /// Runs a cycle, and rewords every text after it.
    async fn cycle(&mut self, full: bool) {
        if full {
            self.world.full_cycle().await
        } else {
            self.world.cycle().await
        };
        if self.reword {
            self.world.execute(REWORD).await;
        }
        self.contents.push(self.world.database.query_all(REST).await.concat());
    }

    async fn count(&self, sql: &str) -> String {
        self.world.value(&format!("SELECT count(*) FROM {sql}")).await
    }
}

/// Plays a history with waiting, approved, held, drifted and failing users.
async fn play(reword: bool) -> Vec<Vec<Vec<String>>> {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 40);
    let mail = tenant.user(&users[0]).unwrap().mail.clone().unwrap();
    let twin = tenant.add_user(User::named("Twin", "Number").mail(&mail));
    let without_mail = tenant.add_user(User::named("Without", "Mail").without_mail());
    let mut play = Play { world: World::start(tenant).await, reword, contents: Vec::new() };
    play.world.configure("[safety]\nrepair = \"log\"");
    play.cycle(false).await;

    let (waiting, drifted) = (&users[1], &users[2]);
    let (approved, leaving, held) = (&users[3..15], &users[15..20], &users[20..28]);
    let unassign = |world: &World, users: &[String]| {
        world.sim.tenant(|tenant| users.iter().for_each(|user| tenant.unassign(user)));
    };
    play.world.execute(&format!("UPDATE learners SET department = 'Sales' WHERE external_id = '{drifted}'")).await;
    play.world.database.refuse("UPDATE", "NEW.title = 'refused'").await;
    play.world.sim.tenant(|tenant| {
        tenant.vanish_user(waiting);
        tenant.user_mut(&users[30]).job_title = Some("refused".to_owned());
        [&twin, &without_mail].into_iter().for_each(|user| tenant.assign_user(user));
    });
    unassign(&play.world, approved);
    play.cycle(true).await;
    assert_eq!(play.count("sync_failures").await, "5");
    assert_eq!(play.count("sync_held").await, "12");

    // Too early for the waiting user, who has waited for 15 of the 20 minutes.
    play.world.pass(SignedDuration::from_mins(-15));
    play.world.approve().await;
    play.cycle(false).await;
    assert_eq!(play.count("learners WHERE NOT active").await, "12");

    play.world.sim.inject(Fault::on("POST", "/v1.0/$batch").answer(400));
    play.cycle(false).await;
    assert_eq!(play.count("sync_cycles WHERE error IS NOT NULL").await, "1");
    play.world.sim.clear_faults();

    // The approved deactivations do not count, and the drift is known without the cache.
    std::fs::remove_dir_all(play.world.path("state/cache")).unwrap();
    unassign(&play.world, leaving);
    play.cycle(false).await;
    unassign(&play.world, held);
    play.cycle(false).await;
    play.cycle(true).await;
    if !reword {
        assert_eq!(play.world.log(waiting).await.last().unwrap(), "deactivate success account-deleted");
        assert_eq!(play.count("learners WHERE NOT active").await, "18");
        assert_eq!(play.world.log(drifted).await, ["create success assigned", "update skipped drift"]);
        assert_eq!(play.world.learner(drifted, "department").await, ["Sales"]);
        assert_eq!(play.count("sync_held").await, "8");
    }
    play.contents
}

#[apply(on_both)]
async fn rewording_every_stored_text_changes_no_outcome() {
    let (as_written, reworded) = (play(false).await, play(true).await);
    for (cycle, (as_written, reworded)) in as_written.iter().zip(&reworded).enumerate() {
        let differ: Vec<_> = as_written.iter().filter(|row| !reworded.contains(row)).collect();
        let instead: Vec<_> = reworded.iter().filter(|row| !as_written.contains(row)).collect();
        assert_eq!(differ, instead, "after cycle {}", cycle + 1);
    }
    assert!(as_written == reworded);
}
