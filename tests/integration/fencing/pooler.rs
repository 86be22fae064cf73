//! A real PgBouncer in front of the server. In transaction mode a session cannot hold the cycle lock, so fencing alone
//! keeps two cycles apart.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use graph_sim::Tenant;
use learner_sync::model::Outcome;

use super::turns::{take_turns, world_for_turns};
use super::{BATCH, USERS, ends, expect_one_row_for_each, expect_one_writer_in_each_generation, stopped_at};
use crate::database::on_postgres;
use crate::postgres::{OWNER, Server, shared};
use crate::program::{eventually, finish};
use crate::races::elsewhere;
use crate::world::{World, assigned};

const ROUNDS: usize = 8;
const LOCKS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
                         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// A running PgBouncer; stopped when dropped.
struct Pooler {
    child: Child,
    port: u16,
}

impl Pooler {
    /// Starts one before `server` with more settings. `None` when PgBouncer is not installed.
    async fn start(server: &Server, mode: &str, more: &str) -> Option<Self> {
        let Some(program) = program() else {
            // The output of `eprintln` is hidden when the test passes.
            let _ = writeln!(std::io::stderr(), "skipped: no pooler is tested, because pgbouncer is not installed");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Some(Self::start_at(server, &program, port, mode, more).await)
    }

    async fn start_at(server: &Server, program: &Path, port: u16, mode: &str, more: &str) -> Self {
        let users = server.file(&format!("pooler-{port}.users"), &format!("\"{OWNER}\" \"\"\n"));
        let (directory, server_port) = (server.directory().display(), server.port());
        let text = format!(
            "[databases]\n* = host={directory} port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\n\
             default_pool_size = 3\nserver_idle_timeout = 3600\n{more}\n",
            users.display()
        );
        let configuration = server.file(&format!("pooler-{port}.ini"), &text);
        let mut command = server.command(program.to_str().unwrap());
        command.arg("-q").arg(configuration).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut pooler = Self { child: command.spawn().unwrap(), port };
        eventually("the pooler listens", async || {
            assert_eq!(pooler.child.try_wait().unwrap(), None, "pgbouncer cannot be used");
            TcpStream::connect(("127.0.0.1", port)).ok()
        })
        .await;
        pooler
    }

    /// Lets the configuration of `world` name the pooler.
    fn use_for(&self, world: &World) {
        let (direct, pooled) = (world.database.url(), format!("postgres://{OWNER}@127.0.0.1:{}/", self.port));
        let name = world.database.name();
        world.reconfigure(|text| {
            assert!(text.contains(&direct), "{text}");
            text.replace(&direct, &format!("{pooled}{name}"))
        });
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<PathBuf> {
    #[allow(clippy::disallowed_methods, reason = "PATH is not configuration")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let all = directories.into_iter().chain([Path::new("/usr/sbin").to_owned()]);
    all.map(|directory| directory.join("pgbouncer")).find(|program| program.exists())
}

/// A world of `users` users behind a pooler.
async fn world_behind(pooler: &Pooler, users: usize) -> World {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, users);
    let world = World::start(tenant).await;
    pooler.use_for(&world);
    world
}

#[tokio::test]
async fn every_command_works_behind_a_pooler_in_transaction_mode() {
    // Others may have the sessions in turns, and the parameters of a connection may be ignored instead of refused.
    for more in ["", "server_round_robin = 1", "ignore_startup_parameters = extra_float_digits, options"] {
        on_postgres(async {
            let Some(pooler) = Pooler::start(shared().unwrap(), "transaction", more).await else { return };
            let world = world_behind(&pooler, USERS).await;
            let ran = world.run_program(&["sync"], 0);
            assert!(ran.stderr.contains("behind a pooler in transaction mode"), "{more}: {ran:?}");
            expect_one_row_for_each(&world, USERS).await;
            // A session would be read-only from now on.
            for arguments in [&["status"][..], &["plan"], &["log", "--limit", "1"], &["sync", "--dry-run"]] {
                world.run_program(arguments, 0);
            }
            let check = world.run_program(&["check", "--json"], 0).json();
            let database =
                check["checks"].as_array().unwrap().iter().find(|check| check["name"] == "database").unwrap();
            assert!(database["hint"].as_str().unwrap().contains("fencing still protects"), "{database}");
            let newcomers = world.sim.tenant(|tenant| {
                let first = tenant.users().next().unwrap().id.clone();
                tenant.user_mut(&first).job_title = Some("Diver".to_owned());
                assigned(tenant, 3)
            });
            let document = world.run_program(&["sync", "--full", "--json"], 0).json();
            assert_eq!((document["created"].as_u64(), document["updated"].as_u64()), (Some(3), Some(1)));
            world.run_program(&["provision", &newcomers[0]], 0);
            world.run_program(&["pause"], 0);
            world.run_program(&["resume"], 0);
            // A lock would be held for as long as the pooler keeps its connection.
            assert_eq!(world.value(LOCKS).await, "0", "{more}");
        })
        .await;
    }
}

#[tokio::test]
async fn types_of_extensions_are_known_behind_a_pooler() {
    on_postgres(async {
        let Some(pooler) = Pooler::start(shared().unwrap(), "transaction", "").await else { return };
        let world = world_behind(&pooler, 5).await;
        world.run_program(&["pause"], 0);
        world.run_program(&["resume"], 0);
        let columns =
            "ALTER TABLE learners ALTER user_name TYPE citext, ALTER email TYPE citext, ALTER title TYPE citext";
        world.execute(&format!("CREATE EXTENSION citext; {columns}")).await;
        world.run_program(&["sync"], 0);
        world.sim.tenant(|tenant| {
            let first = tenant.users().next().unwrap().id.clone();
            tenant.user_mut(&first).job_title = Some("Diver".to_owned());
        });
        assert_eq!(world.run_program(&["sync", "--full", "--json"], 0).json()["updated"].as_u64(), Some(1));
    })
    .await;
}

#[tokio::test]
async fn a_cycle_behind_a_pooler_in_transaction_mode_is_fenced() {
    on_postgres(async {
        let Some(pooler) = Pooler::start(shared().unwrap(), "transaction", "").await else { return };
        let world = world_behind(&pooler, USERS).await;
        let mut first = stopped_at(&world, &["sync"], "BatchCommitted=1*return(stop)").await;
        super::record_renewals(&world).await;
        let second = finish(elsewhere(&world, &["sync", "--json"]), 0).json();
        assert_eq!(second["created"].as_u64(), Some((USERS - BATCH) as u64));
        assert_eq!(ends(&mut first).await, Some(0), "{}", first.log());
        assert_eq!(expect_one_writer_in_each_generation(&world).await, 1);
        expect_one_row_for_each(&world, USERS).await;
    })
    .await;
}

#[tokio::test]
async fn two_machines_behind_a_pooler_write_in_turn() {
    on_postgres(async {
        let Some(pooler) = Pooler::start(shared().unwrap(), "transaction", "").await else { return };
        let world = world_for_turns().await;
        pooler.use_for(&world);
        take_turns(&world, ROUNDS, |number| match number {
            0 => world.program(&["sync"]),
            _ => elsewhere(&world, &["sync"]),
        })
        .await;
        assert_eq!(world.value(LOCKS).await, "0");
    })
    .await;
}

#[tokio::test]
async fn a_cycle_behind_a_pooler_respects_the_lock_of_a_direct_one() {
    on_postgres(async {
        let Some(pooler) = Pooler::start(shared().unwrap(), "transaction", "").await else { return };
        let mut tenant = Tenant::default();
        assigned(&mut tenant, 5);
        let world = World::start(tenant).await;
        let mut direct = stopped_at(&world, &["sync"], "Planned=1*return(stop)").await;
        pooler.use_for(&world);
        let refused = finish(elsewhere(&world, &["sync"]), 75);
        assert!(refused.stderr.contains("learner-sync sync (pid "), "{refused:?}");
        assert_eq!(ends(&mut direct).await, Some(0), "{}", direct.log());
        finish(elsewhere(&world, &["sync"]), 0);
    })
    .await;
}

#[tokio::test]
async fn a_pooler_in_session_mode_keeps_the_lock() {
    on_postgres(async {
        let Some(pooler) = Pooler::start(shared().unwrap(), "session", "").await else { return };
        let world = world_behind(&pooler, 5).await;
        let mut first = stopped_at(&world, &["sync"], "Planned=1*return(stop)").await;
        assert!(!first.log().contains("pooler"), "{}", first.log());
        finish(elsewhere(&world, &["sync"]), 75);
        assert_eq!(ends(&mut first).await, Some(0), "{}", first.log());
        let check = world.run_program(&["check"], 0).stdout;
        assert!(!check.contains("pooler"), "{check}");
    })
    .await;
}

#[tokio::test]
async fn a_pooler_that_restarts_in_the_middle_of_a_cycle_is_a_lost_connection() {
    on_postgres(async {
        let server = shared().unwrap();
        let Some(pooler) = Pooler::start(server, "transaction", "").await else { return };
        let world = world_behind(&pooler, USERS).await;
        let mut process = stopped_at(&world, &["sync"], "BatchCommitted=1*return(stop)").await;
        let port = pooler.port;
        drop(pooler);
        let _pooler = Pooler::start_at(server, &program().unwrap(), port, "transaction", "").await;
        assert_eq!(ends(&mut process).await, Some(0), "{}", process.log());
        expect_one_row_for_each(&world, USERS).await;
        let outcome = world.value("SELECT outcome FROM sync_cycles").await;
        assert_eq!(outcome, Outcome::Success.to_string());
    })
    .await;
}
