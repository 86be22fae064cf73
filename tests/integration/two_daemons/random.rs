//! One of two daemons is killed or put to sleep at random times, and the other one takes over.
//! `LEARNER_SYNC_TAKE_OVER_ROUNDS` sets the number of rounds. The seed repeats the changes, but not the exact times; see
//! `seeds`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;

use super::{GENERATIONS, INTERVAL, Pair, REQUESTED, WAITING, spawn};
use crate::crash::changes::Changes;
use crate::crash::model::{DatabaseContent, Model, TenantView};
use crate::crash::{NO_LIMITS, SeedReport, tenant_with_users};
use crate::postgres::shared;
use crate::program::{Daemon, eventually};
use crate::seeds::from_environment;
use crate::world::World;

const USERS: usize = 300;
const ROUNDS: u64 = 3;

/// The seconds until the next cycle, while none runs.
const REMAINING: &str = "SELECT coalesce(extract(epoch FROM next_cycle_at - clock_timestamp()), -1000)::bigint::text,
        state_directory FROM sync_schedule";

/// How a daemon is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disturbance {
    Kill,
    Sleep,
}

struct TakeOverTest {
    pair: Pair,
    model: Model,
    changes: Changes,
}

impl TakeOverTest {
    async fn start(seed: u64) -> Option<Self> {
        let world = World::start_on(shared()?, tenant_with_users(USERS, seed)).await;
        world.run_program(&["schema", "apply"], 0);
        world.execute(GENERATIONS).await;
        let pair = Pair::start_with(world, NO_LIMITS, &[]).await;
        let changes = Changes::new(SmallRng::seed_from_u64(seed));
        Some(Self { pair, model: Model::default(), changes })
    }

    /// Waits until no cycle runs and none begins soon.
    async fn quiet(&self) {
        eventually("no cycle runs", async || {
            let row = self.pair.world.query(REMAINING).await.concat();
            (row[0].parse::<i64>().unwrap() >= INTERVAL / 2).then_some(())
        })
        .await;
    }

    /// Waits until a daemon that woke up has ended what it was doing: it may still read the tenant, although the database
    /// knows only the cycles of the other one.
    async fn idle(&self, name: &str, daemon: &Daemon) {
        eventually("the daemon that woke up is idle", async || {
            let log = daemon.log();
            let is_served = log.rfind(WAITING) > log.rfind(REQUESTED);
            (is_served && self.pair.metric(name, "running")? == "0").then_some(())
        })
        .await;
    }

    /// Reads the database into the model; whether nothing is pending.
    async fn is_complete(&mut self) -> bool {
        self.quiet().await;
        let Self { pair, model, .. } = self;
        let found = DatabaseContent::read(&pair.world.database, model).await;
        pair.world.sim.tenant(|tenant| {
            let view = TenantView::of(tenant);
            model.catch_up(&found, &view);
            model.expected(&view).is_empty()
        })
    }

    /// Waits until the database is what the tenant requires.
    async fn completed(&mut self) {
        let begun = Instant::now();
        while !self.is_complete().await {
            assert!(begun.elapsed() < Duration::from_secs(120), "changes are pending");
        }
        let Self { pair, model, .. } = self;
        pair.world.sim.tenant(|tenant| model.assert_complete(&TenantView::of(tenant)));
        let forks = "SELECT old, count(*) FROM generations GROUP BY old HAVING count(*) > 1";
        assert_eq!(pair.world.query(forks).await, [[""; 0]; 0], "two writers in one generation");
    }

    fn draw(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.changes.random.random_range(0.0..1.0))
    }

    /// Returns how long the other daemon took; `None` when the disturbed one woke up before.
    async fn round(&mut self, disturbance: Disturbance) -> Option<Duration> {
        let interval = Duration::from_secs(INTERVAL.unsigned_abs());
        {
            let Self { pair, model, changes, .. } = self;
            pair.world.sim.tenant(|tenant| changes.make(tenant, model, 8));
        }
        let leader = self.pair.leader().await;
        let is_one = leader == "one";
        // Half of the disturbances hit a cycle.
        let in_cycle = self.changes.random.random_bool(0.5);
        let instant = self.draw(if in_cycle { Duration::from_millis(700) } else { interval });
        let nap = self.draw(interval * 3);
        let Pair { world, one, two } = &mut self.pair;
        let disturbed: &mut Daemon = if is_one { one } else { two };
        if in_cycle {
            let requested = disturbed.log().matches(REQUESTED).count();
            disturbed.signal(Signal::USR1);
            disturbed.logged(REQUESTED, requested + 1).await;
        }
        tokio::time::sleep(instant).await;
        let begun = Instant::now();
        match disturbance {
            Disturbance::Kill => {
                disturbed.signal(Signal::KILL);
                disturbed.ended().await;
            }
            Disturbance::Sleep => disturbed.signal(Signal::STOP),
        }
        let taken_over = async {
            let after = "SELECT state_directory FROM sync_schedule";
            eventually("the other daemon takes over", async || {
                (!world.value(after).await.ends_with(&format!("/{leader}"))).then_some(())
            })
            .await;
            begun.elapsed()
        };
        let took = match disturbance {
            Disturbance::Kill => {
                let took = taken_over.await;
                let daemon = spawn(&self.pair.world, &leader, &[]);
                // Its first cycle must not read the tenant while the next round changes it.
                daemon.logged(WAITING, 1).await;
                if is_one {
                    self.pair.one = daemon
                } else {
                    self.pair.two = daemon
                }
                Some(took)
            }
            Disturbance::Sleep => {
                // It may wake up before, during or after the cycle of the other one.
                let taken = tokio::time::timeout(nap, taken_over).await;
                let disturbed = if is_one { &self.pair.one } else { &self.pair.two };
                disturbed.signal(Signal::CONT);
                self.idle(&leader, disturbed).await;
                taken.ok()
            }
        };
        self.completed().await;
        took
    }
}

/// Prints the last lines of both logs when the test fails.
struct LogReport([PathBuf; 2]);

impl Drop for LogReport {
    #[expect(clippy::print_stdout, reason = "shown when the test fails")]
    fn drop(&mut self) {
        for path in self.0.iter().filter(|_| std::thread::panicking()) {
            let log = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!("{}:\n{}", path.display(), lines[lines.len().saturating_sub(80)..].join("\n"));
        }
    }
}

#[tokio::test]
async fn one_daemon_writes_while_the_other_is_killed_or_asleep_and_nothing_is_lost() {
    let mut report = SeedReport::new();
    let Some(mut test) = TakeOverTest::start(report.seed).await else { return };
    let _logs = LogReport(["one.log", "two.log"].map(|name| test.pair.world.path(name)));
    test.completed().await;
    let rounds = from_environment("LEARNER_SYNC_TAKE_OVER_ROUNDS").unwrap_or(ROUNDS);
    println!("LEARNER_SYNC_SEED={}", report.seed);
    let mut all_took = Vec::new();
    for round in 0..rounds {
        report.round = usize::try_from(round).unwrap();
        let disturbance = if round % 2 == 0 { Disturbance::Kill } else { Disturbance::Sleep };
        let took = test.round(disturbance).await;
        println!("round {round}: {disturbance:?}; taken over after {took:.1?}");
        all_took.extend(took);
    }
    all_took.sort();
    if let (Some(median), Some(worst)) = (all_took.get(all_took.len() / 2), all_took.last()) {
        let times = all_took.len();
        println!("{times} take-overs with an interval of {INTERVAL} s: median {median:.1?}, worst {worst:.1?}");
    }
    test.pair.stop().await;
}
