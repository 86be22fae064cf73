//! `kill -9` at random instants. `LEARNER_SYNC_CRASH_SEED` repeats what a failure tells, as far as the machine plays
//! along, and `LEARNER_SYNC_CRASH_ROUNDS` asks for more rounds than a test run has.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use graph_sim::Tenant;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::changes::Changes;
use super::model::{Found, Model, Sight};
use super::{LOG, NO_LIMITS, Told, asked, is_killed, to_be_killed};
use crate::database::{apply, fewer_on_postgres, on_both};
use crate::world::World;

/// Several batches of them.
const FIRST_LOAD: usize = 1500;
/// Fewer, for what is looked through after each kill.
const STAFF: usize = 600;
/// Rounds of changes; there is one first load for four of them.
const ROUNDS: usize = 160;
/// So many rounds, and another tenant: the old one has seen too many come and go.
const ROUNDS_OF_A_TENANT: usize = 40;

fn rounds() -> usize {
    asked("LEARNER_SYNC_CRASH_ROUNDS").map_or(fewer_on_postgres(ROUNDS), |rounds| usize::try_from(rounds).unwrap())
}

/// Where the kills have hit.
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
    /// A cycle in the same place made so many `calls` in all, if there was one.
    fn count(&mut self, left: Left, calls: Option<usize>) {
        self.kills += 1;
        let hit = match left {
            Left::Everything => &mut self.too_late,
            Left::Nothing => &mut self.before_its_row,
            Left::ItsRow { calls: made } if Some(made) == calls => &mut self.while_applying,
            Left::ItsRow { .. } => &mut self.while_reading,
            Left::SomeChanges => &mut self.while_applying,
            Left::AllChanges => &mut self.after_applying,
            Left::TheEnd => &mut self.after_its_end,
        };
        *hit += 1;
    }

    /// The instants were spread over everything that a cycle does.
    #[expect(clippy::print_stdout, reason = "shown with --nocapture, or when the test fails")]
    fn is_spread(&self) {
        println!("{self:?}");
        let Self { kills, too_late, before_its_row, while_reading, while_applying, after_applying, after_its_end } =
            self;
        assert!(too_late * 2 < *kills, "{self:?}");
        if *kills >= ROUNDS / 4 {
            for hits in [before_its_row + while_reading, *while_applying, after_applying + after_its_end] {
                assert!(hits > 0, "{self:?}");
            }
        }
    }
}

/// How long a cycle takes here and now.
#[derive(Debug, Default)]
struct Pace {
    until_planned: Duration,
    whole: Duration,
}

impl Pace {
    /// Half of the instants are spread over the whole cycle, half over what comes after the reading: there is less time
    /// for more that can go wrong.
    fn draw(&self, random: &mut SmallRng) -> Duration {
        let Self { until_planned, whole } = self;
        let planned = until_planned.div_duration_f64(*whole).min(0.9);
        let from = if random.random_bool(0.5) { 0.0 } else { planned };
        whole.mul_f64(random.random_range(from..1.0))
    }

    /// A cycle that ran undisturbed took so long. The machine has others to serve as well.
    fn learn(&mut self, took: Duration) {
        let whole = (self.whole * 3 + took) / 4;
        self.until_planned = self.until_planned.mul_f64(whole.div_duration_f64(self.whole));
        self.whole = whole;
    }
}

/// What a kill left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// The process had ended by itself.
    Everything,
    /// Not even the row of the cycle.
    Nothing,
    /// The row alone, after so many calls.
    ItsRow { calls: usize },
    /// Some of the changes.
    SomeChanges,
    /// All of them.
    AllChanges,
    /// A cycle that has ended.
    TheEnd,
}

/// A world in which cycles are killed.
struct Scene {
    world: World,
    model: Model,
    changes: Changes,
    pace: Pace,
    tally: Tally,
    /// How many cycles have their row.
    cycles: usize,
    /// How long the last undisturbed cycle took.
    took: Duration,
}

impl Scene {
    /// A world before its first cycle, which is timed.
    async fn new(seed: u64, tenant: Tenant) -> Self {
        let world = World::start(tenant).await;
        world.configure(NO_LIMITS);
        let changes = Changes::new(SmallRng::seed_from_u64(seed));
        let (model, pace, tally) = (Model::default(), Pace::default(), Tally::default());
        let mut scene = Self { world, model, changes, pace, tally, cycles: 0, took: Duration::ZERO };
        scene.time_a_cycle().await;
        scene
    }

    async fn time_a_cycle(&mut self) {
        let begun = Instant::now();
        let mut command = to_be_killed(&self.world, &["sync"]);
        assert!(is_killed(command.env("FAILPOINTS", "Planned=return").status().unwrap()));
        self.pace.until_planned = begun.elapsed();
        self.look(true).await;
        self.recover(&[]).await;
        self.pace.whole = self.took;
    }

    /// Makes changes in the tenant, up to `much` of each kind.
    fn change(&mut self, much: usize) {
        let Self { world, model, changes, .. } = self;
        world.sim.tenant(|tenant| changes.make(tenant, model, much));
    }

    /// No database and no cache, and `tenant` as it was.
    async fn begin_anew(&mut self, tenant: &Tenant) {
        self.world.sim.tenant(|served| served.clone_from(tenant));
        self.world.database.clear().await;
        fs::remove_dir_all(self.world.path("state")).unwrap();
        (self.model, self.cycles) = (Model::default(), 0);
    }

    /// Takes over what stands in the database.
    async fn look(&mut self, killed: bool) -> Found {
        let found = if killed {
            let left = self.world.database.left_behind(&self.world.path("copy")).await;
            Found::read(&left, &self.model).await
        } else {
            Found::read(&self.world.database, &self.model).await
        };
        let Self { world, model, .. } = self;
        world.sim.tenant(|tenant| model.catch_up(&found, &Sight::of(tenant)));
        self.cycles = found.cycles.len();
        found
    }

    /// What a cycle has to do now, by action.
    fn due(&self) -> BTreeMap<String, usize> {
        let expected = self.world.sim.tenant(|tenant| self.model.expected(&Sight::of(tenant)));
        let mut due = BTreeMap::new();
        for entry in expected.values().filter(|entry| entry.is_change()) {
            *due.entry(entry.action.clone()).or_default() += 1;
        }
        due
    }

    /// Starts a cycle and kills it at a random instant.
    async fn kill(&mut self, stretch: f64) -> Left {
        let cycles = self.cycles;
        self.world.sim.clear_journal();
        let instant = self.pace.draw(&mut self.changes.random).mul_f64(stretch);
        let mut child = to_be_killed(&self.world, &["sync"]).spawn().unwrap();
        std::thread::sleep(instant);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        let calls = self.world.sim.journal().len();
        let found = self.look(true).await;
        let open = found.cycles.iter().filter(|ended| !**ended).count();
        assert!(open <= 1, "{open} cycles are open");
        if !is_killed(status) {
            assert!(status.success(), "{status}: {}", fs::read_to_string(self.world.path(LOG)).unwrap());
            return Left::Everything;
        }
        match found.cycles.get(cycles) {
            None => Left::Nothing,
            Some(true) => Left::TheEnd,
            Some(false) if self.due().is_empty() => Left::AllChanges,
            Some(false) if found.changes() > 0 => Left::SomeChanges,
            Some(false) => Left::ItsRow { calls },
        }
    }

    /// One cycle, which makes the changes that are left, and no others. Answers how many calls it made.
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
        let found = self.look(false).await;
        assert_eq!(found.changes(), due.values().sum::<usize>());
        self.world.sim.tenant(|tenant| self.model.agrees_with(&Sight::of(tenant)));
        assert!(found.cycles.iter().all(|ended| *ended), "a cycle is open");
        assert_eq!(self.world.sim.unexpected_calls(), []);
        calls
    }

    /// The cache is lost or damaged, now and then.
    fn harm_the_cache(&mut self) {
        let cache = self.world.path("state/cache");
        match self.changes.random.random_range(0..20) {
            0 => drop(fs::remove_dir_all(cache)),
            1 => {
                // A directory that is not there yet has no file to be damaged.
                let Ok(bytes) = fs::read(cache.join("db")) else { return };
                let kept = self.changes.random.random_range(0..=bytes.len());
                fs::write(cache.join("db"), &bytes[..kept]).unwrap();
            }
            _ => {}
        }
    }

    /// A cycle is killed, sometimes the next one too, and one makes it good.
    async fn round(&mut self, stretch: f64) {
        let mut left = vec![self.kill(stretch).await];
        let mut same = true;
        if self.changes.random.random_bool(0.2) {
            // Whatever there is, it can be looked at.
            self.world.run_program(&["status", "--json"], 0).json();
        }
        while self.changes.random.random_bool(0.2) {
            self.harm_the_cache();
            if self.changes.random.random_bool(0.5) {
                same = false;
                self.change(4);
            }
            left.push(self.kill(stretch).await);
        }
        self.harm_the_cache();
        let arguments: &[&str] = if self.changes.random.random_bool(0.1) { &["--full"] } else { &[] };
        let calls = self.recover(arguments).await;
        if stretch == 1.0 {
            self.pace.learn(self.took);
        }
        for left in left {
            self.tally.count(left, same.then_some(calls));
        }
    }

    /// With nothing to do, nothing is done; and the file is whole.
    async fn rest(&mut self, arguments: &[&str]) {
        self.recover(arguments).await;
        self.world.database.is_whole().await;
    }
}

#[apply(on_both)]
async fn a_first_load_that_is_killed_at_any_instant_is_made_good_by_the_next_cycle() {
    let mut told = Told::new();
    let tenant = Tenant::with_users(FIRST_LOAD, told.seed);
    let mut scene = Scene::new(told.seed, tenant.clone()).await;
    for round in 0..rounds().div_ceil(4) {
        told.round = round;
        scene.begin_anew(&tenant).await;
        scene.round(1.0).await;
        if round % 10 == 9 {
            scene.rest(&["--full"]).await;
        }
    }
    scene.tally.is_spread();
}

#[apply(on_both)]
async fn changes_that_are_killed_at_any_instant_are_made_once() {
    let mut told = Told::new();
    let mut tally = Tally::default();
    for first in (0..rounds()).step_by(ROUNDS_OF_A_TENANT) {
        let seed = told.seed.wrapping_add(first as u64);
        let mut scene = Scene::new(seed, Tenant::with_users(STAFF, seed)).await;
        scene.change(10);
        scene.time_a_cycle().await;
        scene.tally = tally;
        for round in first..rounds().min(first + ROUNDS_OF_A_TENANT) {
            told.round = round;
            scene.change(10);
            let mut stretch = 1.0;
            if round % 8 == 7 {
                scene.world.sim.tenant(|tenant| scene.changes.reorganise(tenant));
                // Several times as much to write.
                stretch = 1.5;
            }
            scene.round(stretch).await;
            if round % 10 == 9 {
                scene.rest(&[]).await;
            }
        }
        scene.rest(&["--full"]).await;
        tally = scene.tally;
    }
    tally.is_spread();
}
