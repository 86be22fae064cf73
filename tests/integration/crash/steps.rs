//! Killed at each step that has a name, compared with a twin that was not.

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

/// The steps that come once for each batch.
const OF_A_BATCH: [Step; 8] = [
    Step::ValuesParked,
    Step::LearnersCreated,
    Step::LearnersLinked,
    Step::LearnersUpdated,
    Step::ChangesLogged,
    Step::BatchWritten,
    Step::BatchCommitted,
    Step::RefusalsNoted,
];

/// What must be the same with a kill and without: everything but times, the numbers of cycles, and how often something
/// was tried.
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
        "SELECT p.entra_id, p.action, p.status, p.reason, p.detail, p.user_name, p.changes, r.external_id
         FROM provisioning_log p LEFT JOIN learners r ON r.id = p.learner_id ORDER BY p.entra_id, p.id",
    ),
    ("sync_held", "SELECT source, entra_id, action, reason, approved_at IS NULL FROM sync_held ORDER BY entra_id"),
    ("sync_failures", "SELECT source, entra_id, reason, detail FROM sync_failures ORDER BY entra_id"),
    ("sync_groups", "SELECT * FROM sync_groups ORDER BY group_id"),
    ("sync_state", "SELECT schema_version, paused, admitted_sources, applications FROM sync_state"),
];

type Content = BTreeMap<&'static str, Vec<Vec<String>>>;

/// A world at a moment to which it returns.
struct Stage {
    world: World,
    /// The database at that moment.
    backup: Backup,
    /// What one undisturbed cycle makes of it.
    twin: Content,
    /// The exit code of that cycle.
    code: i32,
}

impl Stage {
    /// Keeps the database and the cache of `world` as they are, and runs the twin.
    async fn set(world: World, code: i32) -> Self {
        assert!(!world.path("learners.db-wal").exists());
        let backup = world.database.backup().await;
        if world.path("state").exists() {
            copy_directory(&world.path("state"), &world.path("kept"));
        }
        world.run_program(&["sync"], code);
        let twin = content(&world).await;
        Self { world, backup, twin, code }
    }

    async fn reset(&self) {
        self.world.database.restore(&self.backup).await;
        fs::remove_dir_all(self.world.path("state")).unwrap();
        if self.world.path("kept").exists() {
            copy_directory(&self.world.path("kept"), &self.world.path("state"));
        }
    }

    /// A process that is to die at `point`, as `FAILPOINTS` says it, does so.
    async fn dies(&self, command: &str, point: &str) {
        let mut child = to_be_killed(&self.world, &[command]).env("FAILPOINTS", point).spawn().unwrap();
        let status = eventually(&format!("the process dies at {point}"), async || child.try_wait().unwrap()).await;
        let log = fs::read_to_string(self.world.path(LOG)).unwrap();
        assert!(is_killed(status), "{point} is not reached: {status}\n{log}");
    }

    /// Killed at `point`, the next cycle ends as the twin did; then there is nothing left to do.
    async fn check(&self, point: &str) {
        self.reset().await;
        self.dies("sync", point).await;
        // A server may take a moment to see that nobody is there any more.
        let document = self.world.run_program(&["sync", "--wait", "--json"], self.code).json();
        self.is_as_the_twin(point).await;
        let cycles = self.world.cycles().await;
        let outcome = document["outcome"].as_str().unwrap();
        assert_eq!(cycles.last(), Some(&format!("command {outcome}")), "{point}");
        for arguments in [&["sync", "--json"][..], &["sync", "--full", "--json"]] {
            let document = self.world.run_program(arguments, self.code).json();
            assert_eq!(done(&document), json!([0, 0, 0, 0]), "{point}: {document}");
            self.is_as_the_twin(point).await;
        }
    }

    async fn is_as_the_twin(&self, point: &str) {
        let content = content(&self.world).await;
        for (table, twin) in &self.twin {
            let rows = &content[table];
            // The rows that differ say more than all of them.
            assert_eq!(without(rows, twin), without(twin, rows), "{table} after a kill at {point}");
            assert!(rows == twin, "the order in {table} after a kill at {point}");
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

/// What is in `these` and not in `those`, as often as it is.
fn without(these: &[Vec<String>], those: &[Vec<String>]) -> Vec<Vec<String>> {
    let mut rest = these.to_vec();
    for row in those {
        if let Some(index) = rest.iter().position(|other| other == row) {
            rest.remove(index);
        }
    }
    rest
}

/// How many changes a cycle made, by action.
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

/// `point` for the time after so many.
fn later(step: Step, times: usize) -> String {
    format!("{step:?}={times}*off->return")
}

/// People of all kinds, nobody of whom is a learner yet. Answers the members of a group, those of another one, and
/// those who are assigned directly.
fn users(tenant: &mut Tenant) -> [Vec<String>; 3] {
    let (_, staff) = assigned_group(tenant, "Staff", 12);
    let (_, club) = assigned_group(tenant, "Club", 3);
    let direct = assigned(tenant, 20);
    let without_mail = tenant.add_user(User::named("Without", "Mail").without_mail());
    tenant.assign_user(&without_mail);
    [staff, club, direct]
}

/// A world in which something of every kind waits for the next cycle: all that a cycle can do for users and all
/// reasons for which it leaves them alone. With `moves`, somebody is assigned in another way than before.
async fn changes_of_every_kind(moves: bool) -> World {
    let mut tenant = Tenant::default();
    let [staff, club, direct] = users(&mut tenant);
    let world = World::start(tenant).await;
    world.configure(NO_LIMITS);
    world.run_program(&["sync"], 0);
    // Two of them are away when the next cycle comes, and one comes back in it.
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
        tenant.user_mut(&staff[0]).account_enabled = Some(false);
        hand_on(tenant, &[&direct[4], &staff[1], &direct[4]]);
        hand_on(tenant, &[&direct[5], &staff[2], &direct[6]]);
        tenant.user_mut(&direct[6]).user_principal_name = Some("fresh@harbourworks.example".to_owned());
        tenant.user_mut(&direct[6]).mail = Some("fresh@harbourworks.example".to_owned());
        tenant.user_mut(&staff[3]).job_title = Some("Diver".to_owned());
        tenant.user_mut(&staff[4]).department = None;
        tenant.user_mut(&staff[5]).job_title = Some("refused".to_owned());
        tenant.user_mut(&staff[6]).mail = None;
        tenant.user_mut(&staff[7]).mail = tenant.user(&direct[7]).unwrap().mail.clone();
        if moves {
            tenant.assign_user(&staff[8]);
        }
        // A group that runs empty: its users are held.
        let group = tenant.groups().find(|group| group.display_name == "Club").unwrap().id.clone();
        club.iter().for_each(|user| tenant.remove_member(&group, user));
        for title in ["Sailor", "refused", "Cook"] {
            let user = assigned(tenant, 1).remove(0);
            tenant.user_mut(&user).job_title = Some(title.to_owned());
        }
    });
    world
}

/// Each of these users gets the name and address of the next.
fn hand_on(tenant: &mut Tenant, users: &[&String]) {
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
async fn a_first_load_that_is_killed_at_any_step() {
    let mut tenant = Tenant::default();
    users(&mut tenant);
    // By its other id, which only the first cycle learns to tell from this one.
    let (id, client, application) =
        (tenant.tenant_id.clone(), tenant.client_id.clone(), tenant.application.app_id.clone());
    let world = World::start(tenant).await;
    world.configure_for(&id, &client, &application, NO_LIMITS);
    let stage = Stage::set(world, 0).await;
    assert_eq!(stage.twin["learners"].len(), 35);
    for step in Step::ALL {
        stage.check(&format!("{step:?}=return")).await;
    }
}

async fn kill_at_every_step(moves: bool) {
    let stage = Stage::set(changes_of_every_kind(moves).await, 3).await;
    // Or the twin would prove less than it seems to.
    let count =
        |index: usize, word: &str| stage.twin["provisioning_log"].iter().filter(|row| row[index] == word).count();
    let actions = ["create", "update", "deactivate", "reactivate"].map(|word| count(1, word));
    assert_eq!(actions, [39, 10, 8, 1], "{:#?}", stage.twin["provisioning_log"]);
    let statuses = ["success", "skipped", "failure", "held"].map(|word| count(2, word));
    assert_eq!(statuses, [50, 2, 3, 3], "{:#?}", stage.twin["provisioning_log"]);
    for step in Step::ALL {
        stage.check(&format!("{step:?}=return")).await;
    }
}

#[apply(on_both)]
async fn changes_of_every_kind_that_are_killed_at_any_step() {
    kill_at_every_step(true).await;
}

#[apply(on_both)]
async fn changes_that_leave_the_links_alone_and_are_killed_at_any_step() {
    // Links that are written tell the cache by themselves that it is out of date.
    kill_at_every_step(false).await;
}

#[apply(on_both)]
async fn a_batch_that_is_taken_apart_and_killed_at_any_step() {
    let stage = Stage::set(changes_of_every_kind(true).await, 3).await;
    // Two rows are refused, so the batch is tried in ever smaller parts.
    for step in OF_A_BATCH {
        if !matches!(step, Step::BatchWritten | Step::BatchCommitted | Step::RefusalsNoted) {
            for times in [1, 2, 4] {
                stage.check(&later(step, times)).await;
            }
        }
    }
}

#[apply(on_both)]
async fn a_second_batch_that_is_killed_at_any_step() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 800);
    let world = World::start(tenant).await;
    world.configure(NO_LIMITS);
    world.run_program(&["sync"], 0);
    world.sim.tenant(|tenant| {
        users[..150].iter().for_each(|user| tenant.unassign(user));
        users[150..].iter().for_each(|user| tenant.user_mut(user).department = Some("Sales".to_owned()));
        hand_on(tenant, &[&users[200], &users[201], &users[200]]);
        assigned(tenant, 500);
    });
    let stage = Stage::set(world, 0).await;
    for step in OF_A_BATCH {
        stage.check(&later(step, 1)).await;
    }
}

#[apply(on_both)]
async fn a_daemon_that_is_killed_at_a_step_carries_on_when_it_starts_again() {
    let stage = Stage::set(changes_of_every_kind(true).await, 3).await;
    for step in [
        Step::LockTaken,
        Step::LeaversConfirmed,
        Step::NotesCommitted,
        Step::BatchWritten,
        Step::BatchCommitted,
        Step::CacheWritten,
        Step::CycleFinished,
    ] {
        let point = format!("{step:?}=return");
        stage.reset().await;
        let before = stage.world.cycles().await.len();
        stage.dies("run", &point).await;
        let killed = stage.world.cycles().await.len() - before;
        assert_eq!(killed, usize::from(step != Step::LockTaken), "{point}");
        let daemon = stage.world.daemon().await;
        let cycles = stage.world.cycles_ended(before + killed + 1).await;
        assert_eq!(cycles.last().unwrap(), "startup held", "{point}");
        daemon.stop().await;
        stage.is_as_the_twin(&point).await;
    }
}
