//! `kill -9` at random times. `LEARNER_SYNC_CRASH_ROUNDS` sets the number of rounds. The seed repeats the changes, but
//! not the exact times; see `seeds`.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use graph_sim::Tenant;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::changes::Changes;
use super::model::{DatabaseContent, Model, TenantView};
use super::{LOG, NO_LIMITS, SeedReport, is_killed, tenant_with_users, to_be_killed};
use crate::database::{apply, fewer_on_postgres, on_both};
use crate::seeds::from_environment;
use crate::world::World;

/// Users of the first load: several batches.
const FIRST_LOAD: usize = 1500;
/// Users in the rounds of changes; fewer, because all of them are checked after each kill.
const USERS: usize = 600;
/// Rounds of changes; the first load has a quarter of them.
const ROUNDS: usize = 80;
/// Rounds after which a new tenant replaces the old one, which has collected too many former users.
const ROUNDS_OF_A_TENANT: usize = 40;

fn rounds() -> usize {
    from_environment("LEARNER_SYNC_CRASH_ROUNDS")
        .map_or(fewer_on_postgres(ROUNDS), |rounds| usize::try_from(rounds).unwrap())
}

/// Number of kills by the progress of the killed cycle.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    too_late: usize,
    before_its_row: usize,
    while_reading: usize,
    while_applying: usize,
    after_applying: usize,
    after_its_end: usize,
}

impl Tally {
    /// Counts a kill; `calls` is the number of calls of a complete cycle with the same changes, if known.
    fn count(&mut self, left: Left, calls: Option<usize>) {
        self.kills += 1;
        let hit = match left {
            Left::Everything => &mut self.too_late,
            Left::Nothing => &mut self.before_its_row,
            Left::CycleRow { calls: made } if Some(made) == calls => &mut self.while_applying,
            Left::CycleRow { .. } => &mut self.while_reading,
            Left::SomeChanges => &mut self.while_applying,
            Left::AllChanges => &mut self.after_applying,
            Left::CycleEnd => &mut self.after_its_end,
        };
        *hit += 1;
    }

    /// Checks that the kills were spread over the whole cycle.
    #[expect(clippy::print_stdout, reason = "shown with --nocapture, or when the test fails")]
    fn check_spread(&self) {
        println!("{self:?}");
        let Self { kills, too_late, before_its_row, while_reading, while_applying, after_applying, after_its_end } =
            self;
        // A few kills prove nothing: on a loaded machine most of them may come too late.
        assert!(*kills < 20 || too_late * 2 < *kills, "{self:?}");
        if *kills >= 40 {
            for hits in [before_its_row + while_reading, *while_applying, after_applying + after_its_end] {
                assert!(hits > 0, "{self:?}");
            }
        }
    }
}

/// The duration of a cycle on this machine.
#[derive(Debug, Default)]
struct Pace {
    until_planned: Duration,
    whole: Duration,
}

impl Pace {
    /// Draws a time: half of them from the whole cycle, half from the short part after reading, which has more to test.
    fn draw(&self, random: &mut SmallRng) -> Duration {
        let Self { until_planned, whole } = self;
        let planned = until_planned.div_duration_f64(*whole).min(0.9);
        let from = if random.random_bool(0.5) { 0.0 } else { planned };
        whole.mul_f64(random.random_range(from..1.0))
    }

    /// Adjusts to the duration of an undisturbed cycle, because the load of the machine changes.
    fn learn(&mut self, took: Duration) {
        let whole = (self.whole * 3 + took) / 4;
        self.until_planned = self.until_planned.mul_f64(whole.div_duration_f64(self.whole));
        self.whole = whole;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// The process had ended by itself.
    Everything,
    /// No cycle row.
    Nothing,
    /// Only the cycle row, after a number of calls.
    CycleRow {
        calls: usize,
    },
    SomeChanges,
    AllChanges,
    /// A cycle row with its end.
    CycleEnd,
}

/// A world whose cycles are killed.
struct CrashTest {
    world: World,
    model: Model,
    changes: Changes,
    pace: Pace,
    tally: Tally,
    cycles: usize,
    /// Duration of the last undisturbed cycle.
    took: Duration,
}

impl CrashTest {
    /// A world after its first cycle, which is timed.
    async fn new(seed: u64, tenant: Tenant) -> Self {
        let world = World::start(tenant).await;
        world.configure(NO_LIMITS);
        let changes = Changes::new(SmallRng::seed_from_u64(seed));
        let (model, pace, tally) = (Model::default(), Pace::default(), Tally::default());
        let mut test = Self { world, model, changes, pace, tally, cycles: 0, took: Duration::ZERO };
        test.time_a_cycle().await;
        test
    }

    async fn time_a_cycle(&mut self) {
        let begun = Instant::now();
        let mut command = to_be_killed(&self.world, &["sync"]);
        assert!(is_killed(command.env("FAILPOINTS", "Planned=return").status().unwrap()));
        self.pace.until_planned = begun.elapsed();
        self.read_database(true).await;
        self.recover(&[]).await;
        self.pace.whole = self.took;
    }

    /// Makes up to `max` changes of each kind in the tenant.
    fn change_tenant(&mut self, max: usize) {
        let Self { world, model, changes, .. } = self;
        world.sim.tenant(|tenant| changes.make(tenant, model, max));
    }

    /// Removes database and cache, and restores the tenant.
    async fn reset(&mut self, tenant: &Tenant) {
        self.world.sim.tenant(|served| served.clone_from(tenant));
        self.world.database.clear().await;
        fs::remove_dir_all(self.world.path("state")).unwrap();
        (self.model, self.cycles) = (Model::default(), 0);
    }

    /// Reads the database into the model.
    async fn read_database(&mut self, killed: bool) -> DatabaseContent {
        let found = if killed {
            let left = self.world.database.left_behind(&self.world.path("copy")).await;
            DatabaseContent::read(&left, &self.model).await
        } else {
            DatabaseContent::read(&self.world.database, &self.model).await
        };
        let Self { world, model, .. } = self;
        world.sim.tenant(|tenant| model.catch_up(&found, &TenantView::of(tenant)));
        self.cycles = found.cycles.len();
        found
    }

    /// The number of pending changes by action.
    fn due(&self) -> BTreeMap<String, usize> {
        let expected = self.world.sim.tenant(|tenant| self.model.expected(&TenantView::of(tenant)));
        let mut due = BTreeMap::new();
        for entry in expected.values().filter(|entry| entry.is_change()) {
            *due.entry(entry.action.clone()).or_default() += 1;
        }
        due
    }

    /// Starts a cycle and kills it at a random time.
    async fn kill(&mut self, stretch: f64) -> Left {
        let cycles = self.cycles;
        self.world.sim.clear_journal();
        let instant = self.pace.draw(&mut self.changes.random).mul_f64(stretch);
        let mut child = to_be_killed(&self.world, &["sync"]).spawn().unwrap();
        std::thread::sleep(instant);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        let calls = self.world.sim.journal().len();
        let found = self.read_database(true).await;
        let open = found.cycles.iter().filter(|ended| !**ended).count();
        assert!(open <= 1, "{open} cycles are open");
        if !is_killed(status) {
            assert!(status.success(), "{status}: {}", fs::read_to_string(self.world.path(LOG)).unwrap());
            return Left::Everything;
        }
        match found.cycles.get(cycles) {
            None => Left::Nothing,
            Some(true) => Left::CycleEnd,
            Some(false) if self.due().is_empty() => Left::AllChanges,
            Some(false) if found.changes() > 0 => Left::SomeChanges,
            Some(false) => Left::CycleRow { calls },
        }
    }

    /// Runs one cycle, which must make exactly the pending changes. Returns the number of its calls.
    async fn recover(&mut self, arguments: &[&str]) -> usize {
        let due = self.due();
        self.world.sim.clear_journal();
        let begun = Instant::now();
        let document = self.world.run_program(&[&["sync", "--json"], arguments].concat(), 0).json();
        self.took = begun.elapsed();
        let calls = self.world.sim.journal().len();
        for (action, number) in
            [("create", "created"), ("update", "updated"), ("deactivate", "deactivated"), ("reactivate", "reactivated")]
        {
            let due = due.get(action).copied().unwrap_or_default();
            assert_eq!(document[number], json!(due), "{number} of {document}");
        }
        let found = self.read_database(false).await;
        assert_eq!(found.changes(), due.values().sum::<usize>());
        self.world.sim.tenant(|tenant| self.model.assert_complete(&TenantView::of(tenant)));
        assert!(found.cycles.iter().all(|ended| *ended), "a cycle is open");
        assert_eq!(self.world.sim.unexpected_calls(), []);
        calls
    }

    /// Removes or truncates the cache now and then.
    fn damage_cache(&mut self) {
        let cache = self.world.path("state/cache");
        match self.changes.random.random_range(0..20) {
            0 => drop(fs::remove_dir_all(cache)),
            1 => {
                // The cache may not exist yet.
                let Ok(bytes) = fs::read(cache.join("db")) else { return };
                let kept = self.changes.random.random_range(0..=bytes.len());
                fs::write(cache.join("db"), &bytes[..kept]).unwrap();
            }
            _ => {}
        }
    }

    /// Kills a cycle, sometimes several, and recovers.
    async fn round(&mut self, stretch: f64) {
        let mut left = vec![self.kill(stretch).await];
        let mut same = true;
        if self.changes.random.random_bool(0.2) {
            self.world.run_program(&["status", "--json"], 0).json();
        }
        while self.changes.random.random_bool(0.2) {
            self.damage_cache();
            if self.changes.random.random_bool(0.5) {
                same = false;
                self.change_tenant(4);
            }
            left.push(self.kill(stretch).await);
        }
        self.damage_cache();
        let arguments: &[&str] = if self.changes.random.random_bool(0.1) { &["--full"] } else { &[] };
        let calls = self.recover(arguments).await;
        if stretch == 1.0 {
            self.pace.learn(self.took);
        }
        for left in left {
            self.tally.count(left, same.then_some(calls));
        }
    }

    /// A cycle without pending changes makes none, and the database is intact.
    async fn check_idle_cycle(&mut self, arguments: &[&str]) {
        self.recover(arguments).await;
        self.world.database.is_whole().await;
    }
}

#[apply(on_both)]
async fn a_first_load_killed_at_any_time_is_completed_by_the_next_cycle() {
    let mut report = SeedReport::new();
    let tenant = tenant_with_users(FIRST_LOAD, report.seed);
    let mut test = CrashTest::new(report.seed, tenant.clone()).await;
    for round in 0..rounds().div_ceil(4) {
        report.round = round;
        test.reset(&tenant).await;
        test.round(1.0).await;
        if round % 10 == 9 {
            test.check_idle_cycle(&["--full"]).await;
        }
    }
    test.tally.check_spread();
}

#[apply(on_both)]
async fn changes_killed_at_any_time_are_made_once() {
    let mut report = SeedReport::new();
    let mut tally = Tally::default();
    for first in (0..rounds()).step_by(ROUNDS_OF_A_TENANT) {
        let seed = report.seed.wrapping_add(first as u64);
        let mut test = CrashTest::new(seed, tenant_with_users(USERS, seed)).await;
        test.change_tenant(10);
        test.time_a_cycle().await;
        test.tally = tally;
        for round in first..rounds().min(first + ROUNDS_OF_A_TENANT) {
            report.round = round;
            test.change_tenant(10);
            let mut stretch = 1.0;
            if round % 8 == 7 {
                test.world.sim.tenant(|tenant| test.changes.reorganise(tenant));
                // There is several times as much to write.
                stretch = 1.5;
            }
            test.round(stretch).await;
            if round % 10 == 9 {
                test.check_idle_cycle(&[]).await;
            }
        }
        test.check_idle_cycle(&["--full"]).await;
        tally = test.tally;
    }
    tally.check_spread();
}
