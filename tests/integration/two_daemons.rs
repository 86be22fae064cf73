//! Two daemons of one source on one PostgreSQL server: one runs the cycles, and the other takes over.
//!
//! Both are real processes on this machine with state directories of their own. A daemon counts as late after
//! `schedule.min_interval` here, because that is shorter than a minute.

mod differences;
mod messages;
mod outages;
mod random;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use graph_sim::{Fault, Gate, Tenant};
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::postgres::{Server, shared};
use crate::program::{Daemon, eventually, users};
use crate::world::{World, assigned};

const STATE: &str = "LEARNER_SYNC_STATE__DIRECTORY";
const SAFETY: &str = "LEARNER_SYNC_SAFETY__MAX_DEACTIVATIONS";
const ASSIGNMENTS: &str = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
/// The interval of cycles, and the time after which a daemon is late.
const INTERVAL: i64 = 4;
const TOOK_OVER: &str = "standby took over";
const STANDBY: &str = "standby: another daemon runs the cycles";
const WAITING: &str = "waiting next_cycle.at=";
const REQUESTED: &str = "a signal requests a cycle";

/// Records each change of the generation: two writers of one generation would leave two rows with one old value.
const GENERATIONS: &str = "CREATE TABLE generations (old text, new text, writer text);
    CREATE FUNCTION note_generation() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN
            INSERT INTO generations VALUES (OLD.generation, NEW.generation, current_setting(''application_name''));
            RETURN NULL;
         END';
    CREATE TRIGGER note_generation AFTER UPDATE OF generation ON sync_state FOR EACH ROW
        WHEN (OLD.generation <> NEW.generation) EXECUTE FUNCTION note_generation()";

/// Two daemons of one world.
struct Pair {
    world: World,
    one: Daemon,
    two: Daemon,
}

fn schedule() -> String {
    format!("[schedule]\nmin_interval = \"{INTERVAL}s\"\nmax_interval = \"{INTERVAL}s\"")
}

/// Starts the daemon with the state directory `name`.
fn spawn(world: &World, name: &str, environment: &[(&str, &str)]) -> Daemon {
    let mut command = world.program(&["run"]);
    command.env(STATE, world.path(name)).envs(environment.iter().copied());
    command.env("LEARNER_SYNC_HTTP__LISTEN", format!("unix:{}", world.path(&format!("{name}.sock")).display()));
    Daemon::spawn(command, &world.path(&format!("{name}.log")))
}

impl Pair {
    async fn start(server: &'static Server, tenant: Tenant) -> Self {
        Self::start_with(World::start_on(server, tenant).await, "", &[]).await
    }

    /// Starts both daemons with this configuration; the second one ran the last cycle.
    async fn start_with(world: World, configuration: &str, second: &[(&str, &str)]) -> Self {
        world.configure(&format!("{}\n{configuration}", schedule()));
        let one = spawn(&world, "one", &[]);
        one.logged(WAITING, 1).await;
        let two = spawn(&world, "two", second);
        two.logged(WAITING, 1).await;
        one.logged(STANDBY, 1).await;
        Self { world, one, two }
    }

    /// The document of `status` on the machine of a daemon.
    fn status(&self, name: &str) -> Value {
        let state = self.world.path(name).display().to_string();
        self.world.run_program_with(&[(STATE, &state)], &["status", "--json"], 0).json()
    }

    /// The state directory of the daemon that ran the last cycle.
    async fn leader(&self) -> String {
        let directory = self.world.value("SELECT state_directory FROM sync_schedule").await;
        directory.rsplit('/').next().unwrap().to_owned()
    }

    /// The metric `leader` of a daemon.
    fn leads(&self, name: &str) -> Option<String> {
        self.metric(name, "leader")
    }

    /// A metric without labels of a daemon.
    fn metric(&self, name: &str, metric: &str) -> Option<String> {
        let mut socket = UnixStream::connect(self.world.path(&format!("{name}.sock"))).ok()?;
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        let name = format!("learner_sync_{metric} ");
        answer.lines().find_map(|line| line.strip_prefix(&name)).map(str::to_owned)
    }

    /// The scheduled cycles keep their distance, whichever daemon runs them. Both times are Graph's, in whole seconds.
    async fn keep_distance(&self) {
        let close = format!(
            r#"SELECT id FROM (SELECT id, "trigger", started_at, lag(finished_at) OVER (ORDER BY id) AS before
                              FROM sync_cycles) c
               WHERE "trigger" = 'schedule' AND started_at < before + interval '{} seconds'"#,
            INTERVAL - 2
        );
        assert_eq!(self.world.query(&close).await, [[""; 0]; 0]);
    }

    async fn stop(self) {
        self.one.stop().await;
        self.two.stop().await;
        assert_eq!(self.world.query("SELECT * FROM sync_daemons").await, [[""; 0]; 0]);
        assert_eq!(self.world.value("SELECT next_cycle_at FROM sync_state").await, "NULL");
    }
}

/// Each generation had one writer, and each learner was created once.
async fn written_once(world: &World, learners: usize) {
    let forks = "SELECT old, count(*) FROM generations GROUP BY old HAVING count(*) > 1";
    assert_eq!(world.query(forks).await, [[""; 0]; 0]);
    for count in [
        "SELECT count(*) FROM learners",
        "SELECT count(DISTINCT external_id) FROM learners",
        "SELECT count(*) FROM sync_links",
        "SELECT count(*) FROM provisioning_log WHERE action = 'create' AND status = 'success'",
    ] {
        assert_eq!(world.value(count).await, learners.to_string(), "{count}");
    }
}

#[tokio::test]
async fn one_daemon_runs_the_cycles_and_status_shows_both() {
    let Some(server) = shared() else { return };
    let pair = Pair::start(server, users(2).0).await;
    pair.two.logged(WAITING, 4).await;
    pair.keep_distance().await;
    let started = |daemon: &Daemon| daemon.log().matches("cycle started").count();
    assert_eq!(started(&pair.one) + started(&pair.two), pair.world.cycles().await.len());
    eventually("the metrics show one leader", async || {
        let leads = [pair.leads("one")?, pair.leads("two")?];
        (leads == ["0", "1"] && pair.leader().await == "two").then_some(())
    })
    .await;
    let status = pair.status("one");
    let daemons = status["daemons"].as_array().unwrap();
    let ran_last: Vec<_> = daemons.iter().map(|daemon| (&daemon["pid"], &daemon["ran_last_cycle"])).collect();
    assert_eq!(
        ran_last,
        [(&json!(pair.one.pid()), &json!(false)), (&json!(pair.two.pid()), &json!(true))],
        "{status:#}"
    );
    assert!(daemons.iter().all(|daemon| daemon["alive"] == true && daemon["seen_at"].is_string()), "{status:#}");
    assert_eq!(daemons[0]["rules_hash"], daemons[1]["rules_hash"]);
    assert_eq!(status["daemon_warnings"], json!([]));
    let state = pair.world.path("one").display().to_string();
    let shown = pair.world.run_program_with(&[(STATE, &state)], &["status"], 0).stdout;
    assert!(shown.contains("Other daemon") && shown.contains("; ran the last cycle"), "{shown}");

    // A machine without a daemon: the others provision.
    let elsewhere = pair.status("three");
    assert_eq!((&elsewhere["daemon"], &elsewhere["daemons"][1]["alive"]), (&json!(null), &json!(true)));
    assert!(["ok", "running"].contains(&elsewhere["state"].as_str().unwrap()), "{elsewhere:#}");
    pair.stop().await;
}

#[tokio::test]
async fn a_signal_runs_a_cycle_on_the_daemon_that_gets_it_and_moves_the_next_time() {
    let Some(server) = shared() else { return };
    let pair = Pair::start(server, users(1).0).await;
    let ended = pair.world.cycles().await.len();
    pair.one.signal(Signal::USR1);
    pair.one.logged(WAITING, 2).await;
    let cycles = pair.world.cycles_ended(ended + 1).await;
    assert!(cycles.contains(&"signal success".to_owned()), "{cycles:?}");
    assert_eq!(pair.leader().await, "one");
    pair.two.logged(STANDBY, 1).await;
    pair.keep_distance().await;
    pair.stop().await;
}

#[tokio::test]
async fn a_survivor_takes_over_from_a_killed_daemon() {
    let Some(server) = shared() else { return };
    let mut pair = Pair::start(server, users(1).0).await;
    pair.two.signal(Signal::KILL);
    assert_eq!(pair.two.ended().await, None);
    let ended = pair.world.cycles().await.len();
    pair.one.logged(TOOK_OVER, 1).await;
    pair.world.cycles_ended(ended + 1).await;
    let pid = pair.two.pid();
    assert!(pair.one.log().contains(&format!("predecessor.pid={pid}")), "{}", pair.one.log());
    assert_eq!(pair.leader().await, "one");
    eventually("the killed daemon counts as dead", async || {
        let status = pair.status("two");
        let state = status["state"].as_str().unwrap().to_owned();
        (status["daemons"][1]["alive"] == false && state != "stopped").then_some(())
    })
    .await;
    eventually("the survivor leads", async || (pair.leads("one")? == "1").then_some(())).await;

    // The restarted daemon replaces its row.
    pair.two = spawn(&pair.world, "two", &[]);
    pair.two.logged(WAITING, 1).await;
    assert_eq!(pair.world.value("SELECT count(*) FROM sync_daemons").await, "2");
    assert_eq!(pair.leader().await, "two");
    pair.stop().await;
}

#[tokio::test]
async fn a_survivor_repeats_the_cycle_of_a_daemon_that_was_killed_while_it_ran() {
    let Some(server) = shared() else { return };
    let mut pair = Pair::start(server, users(1).0).await;
    let gate = Gate::new();
    pair.world.sim.inject(Fault::on("GET", ASSIGNMENTS).hold_until(&gate));
    pair.two.signal(Signal::USR1);
    gate.reached().await;
    pair.two.signal(Signal::KILL);
    assert_eq!(pair.two.ended().await, None);
    gate.release();
    eventually("the survivor ends a cycle", async || {
        let cycles = pair.world.cycles().await;
        let cut_off = cycles.iter().position(|cycle| cycle == "signal interrupted")?;
        cycles[cut_off..].contains(&"schedule success".to_owned()).then_some(())
    })
    .await;
    assert_eq!(pair.leader().await, "one");
    pair.one.stop().await;
}

#[tokio::test]
async fn a_daemon_that_sleeps_within_a_batch_wakes_up_without_writing() {
    let Some(server) = shared() else { return };
    // More than one batch.
    const USERS: usize = 1500;
    let pair = Pair::start(server, Tenant::default()).await;
    let world = &pair.world;
    // Users are written in the order of their ids.
    let last = world.sim.tenant(|tenant| assigned(tenant, USERS).into_iter().max().unwrap());
    world.execute(GENERATIONS).await;
    world
        .execute(&format!(
            "CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END';
             CREATE TRIGGER rest BEFORE INSERT ON learners FOR EACH ROW
                 WHEN (NEW.external_id = '{last}') EXECUTE FUNCTION rest()",
        ))
        .await;
    let mut holder = server.connect(world.database.name()).await;
    sqlx::query("SELECT pg_advisory_lock(7)").execute(&mut holder).await.unwrap();
    pair.two.signal(Signal::USR1);
    eventually("a daemon waits in its second batch", async || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        (world.value(waiting).await == "1").then_some(())
    })
    .await;
    let (asleep, awake) = if pair.leader().await == "two" { (&pair.two, &pair.one) } else { (&pair.one, &pair.two) };
    asleep.signal(Signal::STOP);
    holder.close().await.unwrap();
    eventually("the other daemon writes everybody", async || {
        (world.value("SELECT count(*) FROM learners").await == USERS.to_string()).then_some(())
    })
    .await;
    assert!(awake.log().contains("because it kept the cycle lock"), "{}", awake.log());
    written_once(world, USERS).await;
    let waited = asleep.log().matches(WAITING).count() + asleep.log().matches(STANDBY).count();
    asleep.signal(Signal::CONT);
    eventually("the first daemon continues", async || {
        let log = asleep.log();
        (log.matches(WAITING).count() + log.matches(STANDBY).count() > waited).then_some(())
    })
    .await;
    awake.signal(Signal::USR1);
    asleep.signal(Signal::USR1);
    let ended = world.cycles().await.len();
    world.cycles_ended(ended + 1).await;
    written_once(world, USERS).await;
    pair.stop().await;
}

#[tokio::test]
async fn different_configurations_are_a_warning() {
    let Some(server) = shared() else { return };
    let pair = Pair::start_with(World::start_on(server, users(1).0).await, "", &[(SAFETY, "7")]).await;
    let status = pair.status("one");
    let warnings = status["daemon_warnings"].as_array().unwrap();
    assert!(warnings.len() == 1 && warnings[0].as_str().unwrap().contains("different configurations"), "{status:#}");
    let shown = pair.world.run_program(&["status"], 0).stdout;
    assert!(shown.contains("Warning       the daemons have different configurations"), "{shown}");
    // A reload makes them equal.
    pair.world.configure(&format!("{}\n[safety]\nmax_deactivations = 7", schedule()));
    pair.one.signal(Signal::HUP);
    pair.one.logged("configuration reloaded", 1).await;
    eventually("the warning ends", async || (pair.status("one")["daemon_warnings"] == json!([])).then_some(())).await;

    // Programs of two versions; the second one stops, so that it does not replace its row.
    pair.two.signal(Signal::STOP);
    let older = "UPDATE sync_daemons SET version = '0.0.1', seen_at = now() WHERE state_directory LIKE '%/two'";
    let warned = async || {
        pair.world.execute(older).await;
        pair.status("one")["daemon_warnings"].to_string().contains("different versions").then_some(())
    };
    eventually("the versions differ", warned).await;
    pair.two.signal(Signal::CONT);
    pair.stop().await;
}

#[tokio::test]
async fn after_a_failed_cycle_the_other_daemon_runs_the_next_one() {
    let Some(server) = shared() else { return };
    let pair = Pair::start(server, users(1).0).await;
    let (leader, other) = if pair.leader().await == "two" { (&pair.two, &pair.one) } else { (&pair.one, &pair.two) };
    pair.world.sim.inject(Fault::on("GET", ASSIGNMENTS).answer(403));
    leader.signal(Signal::USR1);
    other.logged("the last cycle failed on another machine; this daemon runs the next one", 1).await;
    pair.stop().await;
}

/// The server is an hour off both machines: its clock plans, and the machines only measure how long they wait.
#[tokio::test]
async fn a_clock_that_is_an_hour_off_changes_nothing() {
    let Some(server) = shared() else { return };
    for hours in [1, -1] {
        let world = World::start_on(server, users(1).0).await;
        world
            .execute(&format!(
                "SET allow_system_table_mods = on;
                 ALTER FUNCTION pg_catalog.clock_timestamp() RENAME TO right_clock_timestamp;
                 CREATE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
                     'SELECT right_clock_timestamp() + interval ''{hours} hours'''",
            ))
            .await;
        let pair = Pair::start_with(world, "", &[]).await;
        pair.two.logged(WAITING, 3).await;
        pair.keep_distance().await;
        let off = "SELECT count(*) FROM sync_daemons
                   WHERE abs(extract(epoch FROM seen_at - now())) BETWEEN 3500 AND 3700";
        assert_eq!(pair.world.value(off).await, "2");
        assert_eq!(pair.status("one")["daemons"][0]["alive"], json!(true));
        pair.stop().await;
    }
}

#[tokio::test]
async fn both_daemons_keep_trying_while_the_server_is_away() {
    let Some(server) = Server::start() else { return };
    let pair = Pair::start(server, users(1).0).await;
    server.kill();
    for daemon in [&pair.one, &pair.two] {
        daemon.logged("cannot start a cycle: ", 2).await;
    }
    server.run();
    let ended = pair.world.cycles().await.len();
    pair.world.cycles_ended(ended + 2).await;
    let waited = pair.one.log().matches(WAITING).count() + pair.two.log().matches(WAITING).count();
    eventually("one of them goes on", async || {
        let now = pair.one.log().matches(WAITING).count() + pair.two.log().matches(WAITING).count();
        (now > waited).then_some(())
    })
    .await;
    pair.stop().await;
    server.discard();
}
