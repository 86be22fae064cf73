//! A database of schema version 3, in which decisions depend on texts. The next cycle upgrades it and decides as version 3
//! would have decided.
//!
//! `upgrade/rows.sql` is what version 3 wrote for [`tenant`] with `safety.repair = "log"`: one user waits, one learner
//! drifted, and twelve deactivations were approved, all at 09:00.

use std::process::Stdio;

use graph_sim::Tenant;
use jiff::SignedDuration;
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;
use learner_sync::runtime::lock::Lock;
use learner_sync::store::Store;

use crate::database::{Database, apply, is_on_postgres, on_both};
use crate::program::eventually;
use crate::world::{World, assigned};

/// The tenant of the fixture, ten minutes after its last cycle.
struct Upgrade {
    world: World,
    users: Vec<String>,
}

impl Upgrade {
    async fn start() -> Self {
        let (mut tenant, users) = tenant();
        leave(&mut tenant, &users);
        let mut world = World::start(tenant).await;
        world.configure("[safety]\nrepair = \"log\"");
        world.now = "2026-03-02T09:10:00Z".parse().unwrap();
        let tables = match &world.database {
            Database::File(path) => {
                std::fs::File::create(path).unwrap();
                include_str!("upgrade/sqlite.sql")
            }
            Database::Server(..) => include_str!("upgrade/postgres.sql"),
        };
        world.execute(tables).await;
        world.execute(include_str!("upgrade/rows.sql")).await;
        Self { world, users }
    }

    fn waiting(&self) -> &str {
        &self.users[0]
    }

    fn drifted(&self) -> &str {
        &self.users[1]
    }

    async fn version(&self) -> String {
        self.world.value("SELECT schema_version FROM sync_state").await
    }

    /// Whether the process `pid` has come to the statement that never ends.
    async fn stalls(&self, pid: u32) -> bool {
        if is_on_postgres() {
            let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'
                            AND datname = current_database()";
            return self.world.value(sleeping).await == "1";
        }
        // Nothing that comes before takes as much processor time: fields 14 and 15, in hundredths of a second.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace().skip(11);
        fields.take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>() > 100
    }

    /// The next cycles decide as version 3 would have.
    async fn decides_as_before(&mut self) {
        // Ten minutes are too short, and half an hour is long enough.
        let report = self.world.cycle().await;
        let counts = Counts { in_scope: 17, unchanged: 16, skipped: 2, ..Counts::default() };
        assert_eq!((report.outcome, report.counts), (Outcome::Success, counts));
        assert_eq!(self.version().await, Store::SCHEMA_VERSION.to_string());
        assert_eq!(
            self.world.query("SELECT entra_id, reason, first_at, attempts FROM sync_failures ORDER BY reason").await,
            [
                [self.drifted(), "drift", "2026-03-02T08:30:00Z", "3"],
                [self.waiting(), "waiting", "2026-03-02T09:00:00Z", "2"],
            ]
        );
        self.world.pass(SignedDuration::from_mins(-10));

        // Six of eighteen leave. Together with the approved twelve they would be held.
        let leaving = self.users[14..19].to_vec();
        self.world.sim.tenant(|tenant| leaving.iter().for_each(|user| tenant.unassign(user)));
        let report = self.world.cycle().await;
        let counts = Counts { in_scope: 12, unchanged: 11, deactivated: 6, skipped: 1, ..Counts::default() };
        assert_eq!((report.outcome, report.counts), (Outcome::Success, counts));
        let log = self.world.log(self.waiting()).await;
        assert_eq!(log, ["create success assigned", "deactivate success account-deleted"]);
        assert_eq!(self.world.log(self.drifted()).await, ["create success assigned", "update skipped drift"]);
        assert_eq!(self.world.learner(self.drifted(), "department").await, ["Sales"]);
        self.world.settled().await;
    }
}

/// Thirty users, all assigned.
fn tenant() -> (Tenant, Vec<String>) {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 30);
    (tenant, users)
}

fn leave(tenant: &mut Tenant, users: &[String]) {
    tenant.vanish_user(&users[0]);
    users[2..14].iter().for_each(|user| tenant.unassign(user));
}

#[apply(on_both)]
async fn a_database_of_version_3_is_upgraded_and_decides_as_before() {
    let mut upgrade = Upgrade::start().await;
    assert_eq!(upgrade.version().await, "3");
    upgrade.decides_as_before().await;
}

#[apply(on_both)]
async fn an_upgrade_marks_the_runs_for_one_user() {
    let upgrade = Upgrade::start().await;
    let run = upgrade.world.value("SELECT max(id) FROM sync_cycles").await;
    let details = [&*format!(r#"{{"cycle":{run},"user":"x"}}"#), "no document", r#"{"user":"x"}"#, r#"{"cycle":null}"#];
    for (action, detail) in details.iter().map(|detail| ("provision", *detail)).chain([("sync", r#"{"cycle":1}"#)]) {
        upgrade
            .world
            .execute(&format!(
                "INSERT INTO audit_log (at, actor, action, detail)
                 VALUES ('2026-03-02T08:59:00Z', 'tests', '{action}', '{detail}')"
            ))
            .await;
    }
    upgrade.world.run_program(&["schema", "apply"], 0);
    assert_eq!(upgrade.world.query("SELECT id FROM sync_cycles WHERE single_user").await, [[run]]);
}

#[apply(on_both)]
async fn an_upgrade_that_is_killed_between_two_statements_is_completed_by_the_next_start() {
    let mut upgrade = Upgrade::start().await;
    // The statements that fill the new columns never end.
    let (stall, resume) = if is_on_postgres() {
        (
            "CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3600); RETURN NEW; END';
             CREATE TRIGGER stall BEFORE UPDATE ON sync_failures FOR EACH ROW EXECUTE FUNCTION stall()",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid();
             DROP TRIGGER stall ON sync_failures; DROP FUNCTION stall",
        )
    } else {
        (
            "CREATE TRIGGER stall BEFORE UPDATE ON sync_failures BEGIN
                 SELECT count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n);
             END",
            "DROP TRIGGER stall",
        )
    };
    upgrade.world.execute(stall).await;
    let mut command = upgrade.world.program(&["sync"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the upgrade stalls", async || {
        assert_eq!(child.try_wait().unwrap(), None);
        upgrade.stalls(child.id()).await.then_some(())
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
    upgrade.world.execute(resume).await;
    assert_eq!(upgrade.version().await, "3");
    upgrade.decides_as_before().await;
}

#[apply(on_both)]
async fn commands_beside_a_cycle_leave_the_upgrade_to_the_next_cycle() {
    let mut upgrade = Upgrade::start().await;
    for arguments in [&["pause"][..], &["resume"], &["approve"], &["approve", "--source", "--yes"]] {
        let ran = upgrade.world.run_program(arguments, 1);
        assert!(ran.stderr.contains("the next cycle migrates it"), "{ran:?}");
        assert_eq!(upgrade.version().await, "3", "{arguments:?}");
    }
    upgrade.decides_as_before().await;
}

#[tokio::test]
async fn a_daemon_that_starts_beside_a_cycle_does_not_migrate_its_tables() {
    let upgrade = Upgrade::start().await;
    let Database::File(path) = &upgrade.world.database else {
        panic!("scenarios run on SQLite unless they say otherwise")
    };
    let lock = path.with_file_name(format!("{}.lock", path.file_name().unwrap().to_str().unwrap()));
    let _cycle = Lock::acquire(&lock, "learner-sync sync").await.unwrap();
    let ran = upgrade.world.run_program(&["run"], 1);
    assert!(ran.stderr.contains("the next cycle migrates it"), "{ran:?}");
    assert_eq!(upgrade.version().await, "3");
}

#[apply(on_both)]
async fn a_failed_upgrade_is_not_reported_as_a_foreign_table() {
    let upgrade = Upgrade::start().await;
    upgrade.world.execute("ALTER TABLE provisioning_log ADD COLUMN approved_by text").await;
    let ran = upgrade.world.run_program(&["sync"], 1);
    assert!(!ran.stderr.contains("indexed"), "{ran:?}");
    assert_eq!(upgrade.version().await, "3");
}

#[tokio::test]
async fn a_link_that_lost_its_learner_without_foreign_keys_ends_with_the_upgrade() {
    let upgrade = Upgrade::start().await;
    let learner = upgrade.world.value("SELECT learner_id FROM sync_links LIMIT 1").await;
    upgrade.world.execute(&format!("PRAGMA foreign_keys = OFF; DELETE FROM learners WHERE id = {learner}")).await;
    let links = format!("SELECT count(*) FROM sync_links WHERE learner_id = {learner}");
    assert_eq!(upgrade.world.value(&links).await, "1");
    upgrade.world.run_program(&["schema", "apply"], 0);
    assert_eq!(upgrade.world.value(&links).await, "0");
}
