//! The disk of the server fills up while a cycle writes.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use graph_sim::Tenant;

use super::Server;
use crate::machine::{Mount, skipped};
use crate::program::Ran;
use crate::world::World;

/// Several batches.
const USERS: usize = 2000;
/// Large enough for all users and for the tables of the server.
const DISK: u64 = 48 << 20;
const KIB: u64 = 1 << 10;

/// A world whose tables are on a small disk. The write-ahead log is elsewhere, because a server without room for it
/// shuts down.
struct SmallDisk {
    // The first field, so that the disk is unmounted before its directory is removed.
    _disk: Mount,
    _server: DiscardedServer,
    world: World,
    path: PathBuf,
    users: u64,
}

/// Discards a server, which is unusable without its disk.
struct DiscardedServer(&'static Server);

impl Drop for DiscardedServer {
    fn drop(&mut self) {
        self.0.discard();
    }
}

impl SmallDisk {
    async fn start() -> Option<Self> {
        let server = Server::start()?;
        let path = server.directory().join("disk");
        let Some(disk) = Mount::small_disk(&path, DISK) else {
            skipped("nothing can be mounted here");
            return None;
        };
        std::fs::create_dir(path.join("tables")).unwrap();
        server.give(&path.join("tables"));
        let world = World::start_on(server, Tenant::with_users(USERS, 3)).await;
        let tables = path.join("tables").display().to_string();
        server.execute("postgres", &format!("CREATE TABLESPACE small LOCATION '{tables}'")).await;
        let name = world.database.name();
        server.execute("postgres", &format!("ALTER DATABASE {name} SET TABLESPACE small")).await;
        let users = world.run_program(&["plan", "--json"], 0).json()["created"].as_u64().unwrap();
        assert!(users > 1500, "{users}");
        // Creates the tables only.
        world.run_program(&["pause"], 0);
        world.run_program(&["resume"], 0);
        Some(Self { _disk: disk, _server: DiscardedServer(server), world, path, users })
    }

    /// Fills the disk except for `room` bytes.
    fn fill_except(&self, room: u64) {
        let mut filler = File::create(self.path.join("filler")).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        filler.set_len(filler.metadata().unwrap().len().saturating_sub(room)).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.path.join("filler")).unwrap();
    }

    /// Runs cycles with more and more room until one succeeds, and checks each failure. Returns the number of failed
    /// cycles, and how many of them made some changes.
    async fn sync_with_growing_room(&self) -> (usize, usize) {
        let (mut failed, mut partly) = (0, 0);
        for room in [0, 64, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16_384] {
            self.fill_except(room * KIB);
            let output = self.world.program(&["sync", "--json"]).output().unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            let ran = Ran { stdout: text(output.stdout), stderr: text(output.stderr) };
            self.make_room();
            self.check_whole_batches().await;
            if output.status.success() {
                return (failed, partly);
            }
            assert_eq!(output.status.code(), Some(1), "with {room} KiB: {ran:?}");
            let message = format!("the disk is full: the learner database {} at ", self.world.database.name());
            assert!(
                ran.stderr.contains(&message) && ran.stderr.contains("free disk space"),
                "with {room} KiB: {ran:?}"
            );
            assert!(!ran.stderr.contains("panicked"), "{ran:?}");
            let document = ran.json();
            assert!(document["error"].as_str().unwrap().contains(&message), "{ran:?}");
            failed += 1;
            partly += usize::from(document["created"] != 0 || document["updated"] != 0);
        }
        panic!("there was never enough room");
    }

    /// Learner, link and log row of a user exist together or not at all.
    async fn check_whole_batches(&self) {
        let [learners, linked, logged, stale] = self
            .world
            .database
            .query_all([
                "SELECT id, external_id FROM learners ORDER BY id",
                "SELECT learner_id, entra_id FROM sync_links ORDER BY learner_id",
                "SELECT learner_id, entra_id FROM provisioning_log WHERE action = 'create' AND status = 'success'
                 ORDER BY learner_id",
                "SELECT r.id FROM learners r JOIN provisioning_log g ON g.learner_id = r.id AND g.action = 'update'
                 WHERE r.department IS DISTINCT FROM 'Diving'",
            ])
            .await;
        assert_eq!((&linked, &logged), (&learners, &learners));
        assert_eq!(stale, [[""; 0]; 0]);
    }

    /// Every user has one learner and one log row of `action`, and nothing is pending.
    async fn check_complete(&self, action: &str) {
        let counts = format!(
            "SELECT (SELECT count(*) FROM learners), count(*), count(DISTINCT entra_id),
                    (SELECT count(*) FROM sync_cycles WHERE finished_at IS NULL)
             FROM provisioning_log WHERE action = '{action}' AND status = 'success'"
        );
        let users = self.users.to_string();
        assert_eq!(self.world.query(&counts).await, [[&users, &users, &users, "0"]]);
        for arguments in [&["sync", "--json"][..], &["sync", "--full", "--json"]] {
            let document = self.world.run_program(arguments, 0).json();
            let counts = ["created", "updated", "unchanged"].map(|key| document[key].as_u64().unwrap());
            assert_eq!(counts, [0, 0, self.users]);
        }
    }
}

#[tokio::test]
async fn a_first_load_and_a_large_change_continue_when_the_disk_has_room_again() {
    let Some(small) = SmallDisk::start().await else { return };
    let (failed, partly) = small.sync_with_growing_room().await;
    assert!(failed > 3 && partly > 0, "{failed} failed, {partly} of them with something done");
    small.check_complete("create").await;
    small.world.sim.tenant(|tenant| {
        let ids: Vec<String> = tenant.users().map(|user| user.id.clone()).collect();
        ids.iter().for_each(|id| tenant.user_mut(id).department = Some("Diving".to_owned()));
    });
    let (failed, partly) = small.sync_with_growing_room().await;
    assert!(failed > 1 && partly > 0, "{failed} failed, {partly} of them with something done");
    small.check_complete("update").await;
}
