//! Kills a cycle at each named step and compares the result with that of an undisturbed cycle.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use graph_sim::{Tenant, User};
use learner_sync::failpoint::Step;
use serde_json::{Value, json};

use super::{LOG, NO_LIMITS, is_killed, to_be_killed};
use crate::database::Backup;
use crate::database::{apply, on_both};
use crate::program::eventually;
use crate::world::{World, assigned, assigned_group};

/// The steps that are reached once per batch.
const OF_A_BATCH: [Step; 8] = [
    Step::ValuesParked,
    Step::LearnersCreated,
    Step::LearnersLinked,
    Step::LearnersUpdated,
    Step::ChangesLogged,
    Step::BatchWritten,
    Step::BatchCommitted,
    Step::RefusalsRecorded,
];

/// The content that must be the same with and without a kill: everything but times, cycle ids and numbers of attempts.
const CONTENT: [(&str, &str); 7] = [
    (
        "learners",
        "SELECT external_id, user_name, email, first_name, last_name, title, country, employee_number, department,
                active, deactivated_at IS NULL FROM learners ORDER BY external_id",
    ),
    (
        "sync_links",
        "SELECT l.source, l.entra_id, r.external_id, l.via FROM sync_links l LEFT JOIN learners r ON r.id = l.learner_id
         ORDER BY l.entra_id",
    ),
    (
        "provisioning_log",
        "SELECT p.entra_id, p.action, p.status, p.reason, p.detail, p.user_name, p.changes, r.external_id, p.phase
         FROM provisioning_log p LEFT JOIN learners r ON r.id = p.learner_id ORDER BY p.entra_id, p.id",
    ),
    ("sync_held", "SELECT source, entra_id, action, reason, approved_at IS NULL FROM sync_held ORDER BY entra_id"),
    ("sync_failures", "SELECT source, entra_id, reason, detail FROM sync_failures ORDER BY entra_id"),
    ("sync_groups", "SELECT * FROM sync_groups ORDER BY group_id"),
    ("sync_state", "SELECT schema_version, paused, admitted_sources, applications FROM sync_state"),
];

type Content = BTreeMap<&'static str, Vec<Vec<String>>>;

/// A world that can be reset to a saved state.
struct Checkpoint {
    world: World,
    backup: Backup,
    /// The content after one undisturbed cycle.
    undisturbed: Content,
    code: i32,
}

impl Checkpoint {
    /// Saves database and cache, and runs the undisturbed cycle.
    async fn save(world: World, code: i32) -> Self {
        assert!(!world.path("learners.db-wal").exists());
        let backup = world.database.backup().await;
        if world.path("state").exists() {
            copy_directory(&world.path("state"), &world.path("kept"));
        }
        world.run_program(&["sync"], code);
        let undisturbed = content(&world).await;
        Self { world, backup, undisturbed, code }
    }

    async fn reset(&self) {
        self.world.database.restore(&self.backup).await;
        fs::remove_dir_all(self.world.path("state")).unwrap();
        if self.world.path("kept").exists() {
            copy_directory(&self.world.path("kept"), &self.world.path("state"));
        }
    }

    /// Runs a command that is killed at `point`, in the syntax of `FAILPOINTS`.
    async fn run_killed(&self, command: &str, point: &str) {
        let mut child = to_be_killed(&self.world, &[command]).env("FAILPOINTS", point).spawn().unwrap();
        let status = eventually(&format!("the process dies at {point}"), async || child.try_wait().unwrap()).await;
        let log = fs::read_to_string(self.world.path(LOG)).unwrap();
        assert!(is_killed(status), "{point} is not reached: {status}\n{log}");
    }

    /// The cycle after a kill at `point` reaches the result of the undisturbed cycle, and leaves nothing pending.
    async fn check(&self, point: &str) {
        self.reset().await;
        self.run_killed("sync", point).await;
        // A PostgreSQL server may take some time to notice the lost connection and release the lock.
        let document = self.world.run_program(&["sync", "--wait", "--json"], self.code).json();
        self.expect_twin(point).await;
        let cycles = self.world.cycles().await;
        let outcome = document["outcome"].as_str().unwrap();
        assert_eq!(cycles.last(), Some(&format!("command {outcome}")), "{point}");
        for arguments in [&["sync", "--json"][..], &["sync", "--full", "--json"]] {
            let document = self.world.run_program(arguments, self.code).json();
            assert_eq!(done(&document), json!([0, 0, 0, 0]), "{point}: {document}");
            self.expect_twin(point).await;
        }
    }

    async fn expect_twin(&self, point: &str) {
        let content = content(&self.world).await;
        for (table, undisturbed) in &self.undisturbed {
            let rows = &content[table];
            // Shows only the rows that differ.
            assert_eq!(without(rows, undisturbed), without(undisturbed, rows), "{table} after a kill at {point}");
            assert!(rows == undisturbed, "the order in {table} after a kill at {point}");
        }
        let open = self.world.value("SELECT count(*) FROM sync_cycles WHERE finished_at IS NULL").await;
        assert_eq!(open, "0", "after a kill at {point}");
    }
}

async fn content(world: &World) -> Content {
    world.database.is_whole().await;
    let rows = world.database.query_all(CONTENT.map(|(_, sql)| sql)).await;
    CONTENT.map(|(table, _)| table).into_iter().zip(rows).collect()
}

/// The rows of `these` that are not in `those`, with duplicates.
fn without(these: &[Vec<String>], those: &[Vec<String>]) -> Vec<Vec<String>> {
    let mut rest = these.to_vec();
    for row in those {
        if let Some(index) = rest.iter().position(|other| other == row) {
            rest.remove(index);
        }
    }
    rest
}

/// The number of changes of a cycle by action.
fn done(document: &Value) -> Value {
    ["created", "updated", "deactivated", "reactivated"].map(|number| document[number].clone()).into()
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_directory(&path, &to);
        } else {
            fs::copy(&path, to).unwrap();
        }
    }
}

/// A point that kills after `times` passes.
fn after_passes(step: Step, times: usize) -> String {
    format!("{step:?}={times}*off->return")
}

/// Adds users of all kinds and returns the members of two groups and the directly assigned users.
fn users(tenant: &mut Tenant) -> [Vec<String>; 3] {
    let (_, members) = assigned_group(tenant, "Staff", 12);
    let (_, club) = assigned_group(tenant, "Club", 3);
    let direct = assigned(tenant, 20);
    let without_mail = tenant.add_user(User::named("Without", "Mail").without_mail());
    tenant.assign_user(&without_mail);
    [members, club, direct]
}

/// A world with a pending change of every kind and a user for every reason to skip, reject or hold. With `moves`, the
/// assignment routes of a user change too.
async fn changes_of_every_kind(moves: bool) -> World {
    let mut tenant = Tenant::default();
    let [members, club, direct] = users(&mut tenant);
    let world = World::start(tenant).await;
    world.configure(NO_LIMITS);
    world.run_program(&["sync"], 0);
    // Two users leave now; one of them returns below.
    world.sim.tenant(|tenant| {
        tenant.unassign(&direct[0]);
        tenant.delete_user(&direct[1]);
    });
    world.run_program(&["sync"], 0);
    for event in ["INSERT", "UPDATE"] {
        world.database.refuse(event, "NEW.title = 'refused'").await;
    }
    world.sim.tenant(|tenant| {
        tenant.assign_user(&direct[0]);
        tenant.unassign(&direct[2]);
        tenant.delete_user(&direct[3]);
        tenant.user_mut(&members[0]).account_enabled = Some(false);
        exchange_addresses(tenant, &[&direct[4], &members[1], &direct[4]]);
        exchange_addresses(tenant, &[&direct[5], &members[2], &direct[6]]);
        tenant.user_mut(&direct[6]).user_principal_name = Some("fresh@harbourworks.example".to_owned());
        tenant.user_mut(&direct[6]).mail = Some("fresh@harbourworks.example".to_owned());
        tenant.user_mut(&members[3]).job_title = Some("Diver".to_owned());
        tenant.user_mut(&members[4]).department = None;
        tenant.user_mut(&members[5]).job_title = Some("refused".to_owned());
        tenant.user_mut(&members[6]).mail = None;
        tenant.user_mut(&members[7]).mail = tenant.user(&direct[7]).unwrap().mail.clone();
        if moves {
            tenant.assign_user(&members[8]);
        }
        // The users of an emptied group are held.
        let group = tenant.groups().find(|group| group.display_name == "Club").unwrap().id.clone();
        club.iter().for_each(|user| tenant.remove_member(&group, user));
        for title in ["Sailor", "refused", "Cook"] {
            let user = assigned(tenant, 1).remove(0);
            tenant.user_mut(&user).job_title = Some(title.to_owned());
        }
    });
    world
}

/// Gives each user the name and address of the next one.
fn exchange_addresses(tenant: &mut Tenant, users: &[&String]) {
    let held = users.iter().map(|user| {
        let user = tenant.user(user).unwrap();
        (user.user_principal_name.clone(), user.mail.clone())
    });
    let held: Vec<_> = held.collect();
    for (user, (name, mail)) in users.iter().zip(&held[1..]) {
        let user = tenant.user_mut(user);
        (user.user_principal_name, user.mail) = (name.clone(), mail.clone());
    }
}

#[apply(on_both)]
async fn a_first_load_killed_at_any_step_is_completed() {
    let mut tenant = Tenant::default();
    users(&mut tenant);
    // Configured by application id, which the first cycle resolves to the object id.
    let (id, client, application) =
        (tenant.tenant_id.clone(), tenant.client_id.clone(), tenant.application.app_id.clone());
    let world = World::start(tenant).await;
    world.configure_for(&id, &client, &application, NO_LIMITS);
    let checkpoint = Checkpoint::save(world, 0).await;
    assert_eq!(checkpoint.undisturbed["learners"].len(), 35);
    for step in Step::ALL {
        checkpoint.check(&format!("{step:?}=return")).await;
    }
}

async fn kill_at_every_step(moves: bool) {
    let checkpoint = Checkpoint::save(changes_of_every_kind(moves).await, 3).await;
    // The comparison proves something only if every kind of change occurs.
    let count = |index: usize, word: &str| {
        checkpoint.undisturbed["provisioning_log"].iter().filter(|row| row[index] == word).count()
    };
    let actions = ["create", "update", "deactivate", "reactivate"].map(|word| count(1, word));
    assert_eq!(actions, [39, 10, 8, 1], "{:#?}", checkpoint.undisturbed["provisioning_log"]);
    let statuses = ["success", "skipped", "failure", "held"].map(|word| count(2, word));
    assert_eq!(statuses, [50, 2, 3, 3], "{:#?}", checkpoint.undisturbed["provisioning_log"]);
    for step in Step::ALL {
        checkpoint.check(&format!("{step:?}=return")).await;
    }
}

#[apply(on_both)]
async fn changes_of_every_kind_killed_at_any_step_are_completed() {
    kill_at_every_step(true).await;
}

#[apply(on_both)]
async fn changes_without_new_links_killed_at_any_step_are_completed() {
    // Written links invalidate the cache by themselves.
    kill_at_every_step(false).await;
}

#[apply(on_both)]
async fn a_bisected_batch_killed_at_any_step_is_completed() {
    let checkpoint = Checkpoint::save(changes_of_every_kind(true).await, 3).await;
    // The database refuses two rows, so the batch is bisected.
    for step in OF_A_BATCH {
        if !matches!(step, Step::BatchWritten | Step::BatchCommitted | Step::RefusalsRecorded) {
            for times in [1, 2, 4] {
                checkpoint.check(&after_passes(step, times)).await;
            }
        }
    }
}

#[apply(on_both)]
async fn a_second_batch_killed_at_any_step_is_completed() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 800);
    let world = World::start(tenant).await;
    world.configure(NO_LIMITS);
    world.run_program(&["sync"], 0);
    world.sim.tenant(|tenant| {
        users[..150].iter().for_each(|user| tenant.unassign(user));
        users[150..].iter().for_each(|user| tenant.user_mut(user).department = Some("Sales".to_owned()));
        exchange_addresses(tenant, &[&users[200], &users[201], &users[200]]);
        assigned(tenant, 500);
    });
    let checkpoint = Checkpoint::save(world, 0).await;
    for step in OF_A_BATCH {
        checkpoint.check(&after_passes(step, 1)).await;
    }
}

#[apply(on_both)]
async fn a_daemon_killed_at_a_step_continues_after_a_restart() {
    let checkpoint = Checkpoint::save(changes_of_every_kind(true).await, 3).await;
    for step in [
        Step::LockTaken,
        Step::LeaversConfirmed,
        Step::BookkeepingCommitted,
        Step::BatchWritten,
        Step::BatchCommitted,
        Step::CacheWritten,
        Step::CycleFinished,
    ] {
        let point = format!("{step:?}=return");
        checkpoint.reset().await;
        let before = checkpoint.world.cycles().await.len();
        checkpoint.run_killed("run", &point).await;
        let killed = checkpoint.world.cycles().await.len() - before;
        assert_eq!(killed, usize::from(step != Step::LockTaken), "{point}");
        let daemon = checkpoint.world.daemon().await;
        let cycles = checkpoint.world.cycles_ended(before + killed + 1).await;
        assert_eq!(cycles.last().unwrap(), "startup held", "{point}");
        daemon.stop().await;
        checkpoint.expect_twin(&point).await;
    }
}
