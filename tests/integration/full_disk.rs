//! A full disk: the failure is reported, and the changes are made once when there is room again.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use graph_sim::Tenant;

use crate::database::query;
use crate::machine::Mount;
use crate::program::Ran;
use crate::world::World;

/// Number of users: several batches.
const PEOPLE: usize = 2000;
/// Bytes for all of them, and for the files that SQLite keeps beside the database.
const DISK: u64 = 48 << 20;
const KIB: u64 = 1 << 10;

/// A world with its database, its state directory, or both on a small disk.
struct Small {
    // Dropped before the world, so that it is unmounted before the directory is removed.
    _disk: Mount,
    world: World,
    users: BTreeSet<String>,
}

impl Small {
    async fn start(database: bool, state: bool) -> Option<Self> {
        let world = World::start(Tenant::with_users(PEOPLE, 3)).await;
        let disk = Mount::small_disk(&world.path("disk"), DISK)?;
        world.reconfigure(|text| {
            let text = if database { text.replace("/learners.db", "/disk/learners.db") } else { text };
            if state { text.replace("/state\"", "/disk/state\"") } else { text }
        });
        let planned = world.run_program(&["plan", "--json"], 0).json();
        let lines = planned["changes"].as_array().unwrap().iter();
        let created = lines.filter(|line| line["action"] == "create" && line["status"] == "success");
        let users: BTreeSet<_> = created.map(|line| line["entra_id"].as_str().unwrap().to_owned()).collect();
        assert!(users.len() > 1500, "{}", users.len());
        Some(Self { _disk: disk, world, users })
    }

    fn database(&self) -> PathBuf {
        let on_disk = self.world.path("disk/learners.db");
        if on_disk.exists() { on_disk } else { self.world.path("learners.db") }
    }

    /// Fills the disk up to `room` bytes.
    fn leave(&self, room: u64) {
        let path = self.world.path("disk/filler");
        fill(&path);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len().saturating_sub(room)).unwrap();
    }

    fn make_room(&self) {
        let _ = std::fs::remove_file(self.world.path("disk/filler"));
    }

    async fn value(&self, sql: &str) -> String {
        query(&self.database(), sql).await.concat().concat()
    }
}

fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    let block = [1; 4096];
    while file.write_all(&block).is_ok() {}
}

/// The error names the full disk and the file.
#[track_caller]
fn expect_full_disk_message(small: &Small, ran: &Ran) {
    let file = format!("the disk is full: the learner database {}", small.world.path("disk/learners.db").display());
    assert!(ran.stderr.contains(&file) && ran.stderr.contains("free disk space"), "{ran:?}");
    // Reported once, and no other failure follows.
    assert!(!ran.stderr.contains("begin_with") && !ran.stderr.contains("panicked"), "{ran:?}");
    assert!(ran.json()["error"].as_str().unwrap().contains(&file), "{ran:?}");
}

impl Small {
    /// Runs cycles with more and more room until one succeeds. Returns how many failed, and how many of these had
    /// committed something.
    async fn sync_with_growing_room(&self, state_on_it: bool) -> (usize, usize) {
        let (mut failed, mut partly, mut noted) = (0, 0, 0);
        for room in [0, 64, 128, 256, 1024, 1536, 2048, 3072, 4096, 8192, 16_384] {
            self.leave(room * KIB);
            let output = self.world.program(&["sync", "--json"]).output().unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            let ran = Ran { stdout: text(output.stdout), stderr: text(output.stderr) };
            self.make_room();
            if output.status.success() {
                assert!(state_on_it || !ran.stderr.contains("cannot write the cache"), "{ran:?}");
                assert!(noted > 0, "mostly there is room for the row of the cycle");
                assert_eq!(self.value("SELECT count(*) FROM sync_cycles WHERE finished_at IS NULL").await, "0");
                return (failed, partly);
            }
            assert_eq!(output.status.code(), Some(1), "with {room} KiB: {ran:?}");
            expect_full_disk_message(self, &ran);
            failed += 1;
            self.check_whole_batches().await;
            let document = ran.json();
            partly += usize::from(document["created"] != 0 || document["updated"] != 0);
            if document["cycle"].is_null() {
                continue;
            }
            let last = "SELECT id || ' ' || outcome || ' ' || error FROM sync_cycles ORDER BY id DESC LIMIT 1";
            let row = if ran.stderr.contains("cannot record the end of the cycle: the disk is full") {
                "NULL".to_owned()
            } else {
                noted += 1;
                format!("{} failed {}", document["cycle"], document["error"].as_str().unwrap())
            };
            assert_eq!(self.value(last).await, row, "with {room} KiB");
        }
        panic!("there was never enough room");
    }

    /// Each user has learner, link and log row, or none of them.
    async fn check_whole_batches(&self) {
        if self.value("SELECT count(*) FROM sqlite_master").await == "0" {
            return;
        }
        assert_eq!(self.value("PRAGMA integrity_check").await, "ok");
        let rows = async |sql: &str| query(&self.database(), sql).await;
        let learners = rows("SELECT id, external_id FROM learners ORDER BY id").await;
        assert_eq!(rows("SELECT learner_id, entra_id FROM sync_links ORDER BY learner_id").await, learners);
        let logged = "SELECT learner_id, entra_id FROM provisioning_log
             WHERE action = 'create' AND status = 'success' ORDER BY learner_id";
        assert_eq!(rows(logged).await, learners);
        let changed = "SELECT count(*) FROM learners r
             JOIN provisioning_log g ON g.learner_id = r.id AND g.action = 'update' WHERE r.department IS NOT 'Diving'";
        assert_eq!(self.value(changed).await, "0");
    }

    /// All users are complete, with `rows` log rows of `action` each, and nothing is pending.
    async fn check_complete(&self, action: &str, rows: usize) {
        let sql = format!(
            "SELECT entra_id FROM provisioning_log WHERE action = '{action}' AND status = 'success' ORDER BY entra_id"
        );
        let logged = query(&self.database(), &sql).await;
        assert_eq!(logged.len(), self.users.len() * rows);
        assert_eq!(&logged.into_iter().flatten().collect::<BTreeSet<_>>(), &self.users);
        assert_eq!(self.value("SELECT count(*) FROM learners").await, self.users.len().to_string());
        self.check_whole_batches().await;
        for arguments in [&["sync", "--json"][..], &["sync", "--full", "--json"]] {
            let document = self.world.run_program(arguments, 0).json();
            let numbers = ["created", "updated", "unchanged"].map(|key| document[key].as_u64().unwrap());
            assert_eq!(numbers, [0, 0, self.users.len() as u64]);
        }
    }

    fn change_all_titles(&self) {
        self.world.sim.tenant(|tenant| {
            for user in &self.users {
                tenant.user_mut(user).department = Some("Diving".to_owned());
            }
        });
    }
}

#[tokio::test]
async fn a_first_load_and_a_large_change_continue_when_there_is_room() {
    for state in [false, true] {
        let Some(small) = Small::start(true, state).await else {
            return println!("skipped: nothing can be mounted here");
        };
        let (failed, partly) = small.sync_with_growing_room(state).await;
        assert!(failed > 4 && partly > 0, "{failed} failed, {partly} of them with something done");
        small.check_complete("create", 1).await;
        small.change_all_titles();
        let (failed, partly) = small.sync_with_growing_room(state).await;
        assert!(failed > 4 && partly > 0, "{failed} failed, {partly} of them with something done");
        small.check_complete("update", 1).await;
        small.check_complete("create", 1).await;
    }
}

/// The file names in the state directory.
/// The content of the state directory without the record of used databases, which needs little room.
fn state(small: &Small) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(small.world.path("disk/state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "used-databases.json")
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_cache_without_room_causes_only_a_warning() {
    let Some(small) = Small::start(false, true).await else {
        return println!("skipped: nothing can be mounted here");
    };
    let warning = format!("cannot write the cache in {}", small.world.path("disk/state/cache").display());
    for room in [0, 4, 8, 64] {
        small.leave(room * KIB);
        let ran = small.world.run_program(&["sync"], 0);
        assert!(ran.stderr.contains(&warning) && ran.stderr.contains("No space left"), "{room} KiB: {ran:?}");
        // No partial cache is left that would count as damaged.
        assert_eq!(state(&small), [""; 0]);
    }
    small.make_room();
    small.world.run_program(&["sync"], 0);

    // An existing cache is neither used nor set aside.
    small.leave(0);
    small.change_all_titles();
    let ran = small.world.run_program(&["sync"], 0);
    assert!(ran.stderr.contains("cannot open the cache: No space left"), "{ran:?}");
    assert!(ran.stderr.contains(&warning), "{ran:?}");
    assert_eq!(state(&small), ["cache"]);
    small.make_room();
    let ran = small.world.run_program(&["sync"], 0);
    assert!(ran.stderr.contains("another state of the learner database"), "{ran:?}");
    let ran = small.world.run_program(&["sync"], 0);
    assert!(!ran.stderr.contains("WARN"), "{ran:?}");
    small.check_complete("update", 1).await;
    small.check_complete("create", 1).await;
}

#[tokio::test]
async fn a_daemon_reports_a_full_disk_and_recovers() {
    let Some(small) = Small::start(true, true).await else {
        return println!("skipped: nothing can be mounted here");
    };
    small.world.reconfigure(|text| format!("{text}[schedule]\nmin_interval = \"1s\"\nmax_interval = \"1s\"\n"));
    let mut daemon = small.world.daemon().await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    for room in [0, 1024] {
        small.leave(room * KIB);
        if room > 0 {
            small.change_all_titles();
        }
        let before = daemon.log().matches("the disk is full: the learner database").count();
        daemon.logged("the disk is full: the learner database", before + 2).await;
        small.make_room();
        let ended = daemon.log().matches("cycle.outcome=success").count();
        daemon.logged("cycle.outcome=success", ended + 2).await;
    }
    assert!(!daemon.log().contains("begin_with") && !daemon.log().contains("panicked"), "{}", daemon.log());
    assert!(daemon.runs());
    daemon.stop().await;
    small.check_complete("update", 1).await;
    small.check_complete("create", 1).await;
}
