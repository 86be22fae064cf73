//! A cluster that loses its primary at random times of first loads and of cycles with changes, with synchronous and with
//! asynchronous replication. After one more cycle the database equals the tenant.
//!
//! Runs only if `LEARNER_SYNC_FAILOVER_ROUNDS` names the number of rounds; the seed repeats the changes and the kinds of
//! losses, but not the exact times.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use sqlx::Connection as _;

use super::cluster::{Cluster, Loss};
use crate::crash::changes::Changes;
use crate::crash::model::{DatabaseContent, LogEntry, Model, TenantView};
use crate::crash::{NO_LIMITS, SeedReport, tenant_with_users};
use crate::database::Database;
use crate::postgres::{Server, configure_database_url};
use crate::seeds::from_environment;
use crate::world::World;

/// Users of a first load: several batches.
const USERS: usize = 1500;
/// Rounds with one tenant, which begin with a first load.
const ROUNDS_OF_A_TENANT: usize = 10;
/// How long a cluster may take to become healthy, and a cycle to notice a lost server.
const TIMEOUT: Duration = Duration::from_secs(300);
/// The time after which a leader that is still the same has been kept.
const KEEPS_LEADER: Duration = Duration::from_secs(60);

struct FailoverTest {
    cluster: Cluster,
    world: World,
    changes: Changes,
    synchronous: bool,
    /// Whether the present tenant has learners.
    loaded: bool,
    /// The duration of an undisturbed cycle.
    pace: Duration,
}

async fn wait_for<T>(what: &str, cluster: &Cluster, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < TIMEOUT, "waited in vain: {what}\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether a standby follows this leader.
async fn streams(leader: &Server) -> bool {
    let mut connection = leader.connect("postgres").await;
    let standbys = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    let count: i64 = sqlx::query_scalar(standbys).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    count > 0
}

impl FailoverTest {
    async fn new(cluster: Cluster, seed: u64) -> Self {
        let leader = wait_for("the cluster starts", &cluster, || cluster.healthy_leader(true)).await;
        let world = World::start_on(cluster.nodes[leader].server, tenant_with_users(USERS, seed)).await;
        world.configure(NO_LIMITS);
        configure_database_url(&world, &cluster.url(world.database.name()));
        let changes = Changes::new(SmallRng::seed_from_u64(seed));
        let pace = Duration::from_secs(2);
        Self { cluster, world, changes, synchronous: true, loaded: false, pace }
    }

    /// Begins with an empty database and another tenant.
    async fn reset(&mut self, seed: u64) {
        let tenant = tenant_with_users(USERS, seed);
        self.world.sim.tenant(|served| *served = tenant);
        self.world.database.clear().await;
        let _ = fs::remove_dir_all(self.world.path("state"));
        self.loaded = false;
    }

    /// Waits until both nodes work, and lets the tests read from the leader.
    async fn healthy_leader(&mut self) -> usize {
        let Self { cluster, synchronous, .. } = self;
        let (what, begun) = ("the cluster is healthy", Instant::now());
        let leader = loop {
            let leader = wait_for(what, cluster, || cluster.healthy_leader(*synchronous)).await;
            // Patroni also reports a former leader that is about to be rewound, and could not take over.
            if streams(cluster.nodes[leader].server).await {
                break leader;
            }
            assert!(begun.elapsed() < TIMEOUT, "no standby follows the leader\n{}", cluster.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let name = self.world.database.name().to_owned();
        self.world.database = Database::Server(self.cluster.nodes[leader].server, name);
        leader
    }

    /// All log rows, and the model that follows from them.
    async fn read(&self) -> (Vec<(String, LogEntry)>, Model) {
        let found = DatabaseContent::read(&self.world.database, &Model::default()).await;
        let model = Model::replay(&found);
        (found.into_log(), model)
    }

    /// Returns the kind of the round, and how long the cluster was without a leader, the disturbed cycle went on, and the
    /// lost node was away.
    async fn round(&mut self, loss: Loss) -> (String, [Duration; 3]) {
        let leader = self.healthy_leader().await;
        let (before, model) = self.read().await;
        if self.loaded {
            let Self { world, changes, .. } = self;
            world.sim.tenant(|tenant| changes.make(tenant, &model, 10));
            if self.changes.random.random_bool(0.3) {
                self.world.sim.tenant(|tenant| self.changes.reorganise(tenant));
            }
        }
        let random = &mut self.changes.random;
        let instant = self.pace.mul_f64(random.random_range(0.0..1.1));
        let within_batch = random.random_bool(0.5).then(|| Duration::from_millis(random.random_range(0..200)));
        let mut program = self.world.program(&["sync"]);
        let log = fs::File::create(self.world.path("disturbed.log")).unwrap();
        let mut program = program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        match within_batch {
            None => std::thread::sleep(instant),
            Some(later) => {
                self.batch_begins(&mut program).await;
                std::thread::sleep(later);
            }
        }
        self.cluster.lose(leader, loss);
        let lost_at = Instant::now();
        let Self { cluster, .. } = self;
        // Patroni may decide to keep the leader, and start its server again.
        wait_for("a leader", cluster, || {
            cluster.leader().filter(|other| *other != leader || lost_at.elapsed() > KEEPS_LEADER)
        })
        .await;
        let elected = lost_at.elapsed();
        self.cluster.repair(leader, loss);
        let Self { cluster, .. } = self;
        let status = wait_for("the disturbed cycle ends", cluster, || program.try_wait().unwrap()).await;
        assert!(matches!(status.code(), Some(0 | 1)), "{status}: {}", self.disturbed_log());
        let ended = lost_at.elapsed();
        self.healthy_leader().await;
        let healthy = lost_at.elapsed();

        let (survived, model) = self.read().await;
        let kept = before.iter().zip(&survived).take_while(|(one, other)| one == other).count();
        assert!(kept == before.len() || !self.synchronous, "lost {} log rows", before.len() - kept);
        let due = self.world.sim.tenant(|tenant| changes_due(&model, &TenantView::of(tenant)));
        let reached = match (survived.len() > kept, due.is_empty()) {
            (_, true) => "completed",
            (true, false) => "within the changes",
            (false, false) => "before the changes",
        };
        let lost = if kept < before.len() { ", older rows lost" } else { "" };
        let replication = if self.synchronous { "synchronous" } else { "asynchronous" };
        let code = status.code().unwrap_or_default();
        let kind = format!("{replication} {loss:?}: {reached}, exit code {code}{lost}");
        self.recover(model, &due).await;
        self.loaded = true;
        (kind, [elected, ended, healthy])
    }

    /// Waits until a batch is being written, or the program ends without one.
    async fn batch_begins(&self, program: &mut Child) {
        let Database::Server(server, name) = &self.world.database else { return };
        let mut connection = server.connect(name).await;
        let writes = "SELECT count(*) FROM pg_stat_activity
                      WHERE application_name LIKE 'learner-sync sync (pid %' AND xact_start IS NOT NULL
                        AND query ~ '(INSERT INTO|UPDATE) learners'";
        while program.try_wait().unwrap().is_none() {
            if sqlx::query_scalar::<_, i64>(writes).fetch_one(&mut connection).await.unwrap() > 0 {
                break;
            }
        }
        connection.close().await.unwrap();
    }

    fn disturbed_log(&self) -> String {
        fs::read_to_string(self.world.path("disturbed.log")).unwrap_or_default()
    }

    /// One more cycle makes exactly the pending changes.
    async fn recover(&mut self, mut model: Model, due: &BTreeMap<String, usize>) {
        let begun = Instant::now();
        let document = self.world.run_program(&["sync", "--json"], 0).json();
        self.pace = (self.pace * 3 + begun.elapsed()) / 4;
        for (action, number) in
            [("create", "created"), ("update", "updated"), ("deactivate", "deactivated"), ("reactivate", "reactivated")]
        {
            let due = due.get(action).copied().unwrap_or_default();
            assert_eq!(document[number], json!(due), "{number} of {document}\n{}", self.disturbed_log());
        }
        let found = DatabaseContent::read(&self.world.database, &model).await;
        self.world.sim.tenant(|tenant| {
            let view = TenantView::of(tenant);
            model.catch_up(&found, &view);
            model.assert_complete(&view);
        });
        assert!(found.cycles.iter().all(|ended| *ended), "a cycle is open");
        assert_eq!(self.world.sim.unexpected_calls(), []);
    }
}

/// The number of pending changes by action.
fn changes_due(model: &Model, view: &TenantView<'_>) -> BTreeMap<String, usize> {
    let mut due = BTreeMap::new();
    for entry in model.expected(view).into_values().filter(LogEntry::is_change) {
        *due.entry(entry.action).or_default() += 1;
    }
    due
}

#[tokio::test]
async fn a_cluster_that_loses_its_primary_at_any_time_loses_no_change() {
    let Some(rounds) = from_environment("LEARNER_SYNC_FAILOVER_ROUNDS") else { return };
    let Some(cluster) = Cluster::start() else { return };
    let mut report = SeedReport::new();
    println!("LEARNER_SYNC_SEED={}", report.seed);
    let losses = cluster.losses();
    let mut test = FailoverTest::new(cluster, report.seed).await;
    let (begun, mut tally) = (Instant::now(), BTreeMap::<String, usize>::new());
    for round in 0..usize::try_from(rounds).unwrap() {
        report.round = round;
        if round % ROUNDS_OF_A_TENANT == 0 {
            test.healthy_leader().await;
            // The replication alternates, and so does the loss that hits a first load.
            test.synchronous = (round / ROUNDS_OF_A_TENANT).is_multiple_of(2);
            test.cluster.replicate_synchronously(test.synchronous);
            test.healthy_leader().await;
            test.reset(report.seed.wrapping_add(round as u64)).await;
        }
        let loss = losses[test.changes.random.random_range(0..losses.len())];
        let (kind, times) = test.round(loss).await;
        let times = times.map(|time| time.as_secs());
        println!("round {round}: {kind}; another leader, end of the cycle, healthy after {times:?} s");
        *tally.entry(kind).or_default() += 1;
    }
    println!("{rounds} rounds in {} s", begun.elapsed().as_secs());
    for (kind, count) in &tally {
        println!("{count:>4} {kind}");
    }
}
