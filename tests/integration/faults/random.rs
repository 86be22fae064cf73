//! Random tenants under random faults: nobody is switched off whom the tenant has, nothing is written that it does not
//! say, and when the faults are over it is all put right.
//!
//! `LEARNER_SYNC_FAULTS` says how many; `LEARNER_SYNC_SEED` plays those of a failure again.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _};
use graph_sim::{Fault, ForeignServer, Gate, GraphSim, Tenant};
use learner_sync::cycle::Report;
use learner_sync::model::Outcome;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::script::{At, Lie, Round, Scene, Surprise, rounds};
use super::staff::{COLUMNS, DatabaseLocation, Event, Picture, Staff, Values, picture, places, ways};
use crate::database::{apply, fewer_on_postgres, on_both};
use crate::world::World;

/// So many are played unless told.
const SCENARIOS: u64 = 60;
/// And so many at the same time: most of the time goes by in waits that Graph asks for.
const ABREAST: usize = 12;
/// A filter of 15 ids is never cut.
const SMALLEST_PAGE: usize = 15;
/// So many looks for an account make a cycle wait for the next one.
const LOOKS: usize = 3;

/// A tenant, and what happens to it and to the calls.
#[derive(Clone, Debug)]
struct Scenario {
    seed: u64,
    small_pages: bool,
    sparse: bool,
    places: Vec<DatabaseLocation>,
    rounds: Vec<Round>,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    (0u64..1000, prop::bool::weighted(0.7), any::<bool>(), places(), rounds())
        .prop_map(|(seed, small_pages, sparse, places, rounds)| Scenario { seed, small_pages, sparse, places, rounds })
}

/// The learners: whether active, and their values.
type Rows = BTreeMap<String, (bool, Values)>;

/// Where a scenario is played.
struct Stage {
    world: World,
    staff: Staff,
    stranger: ForeignServer,
    /// Whoever was waited for once: a second time would be the end.
    waited_for: BTreeSet<String>,
}

impl Stage {
    async fn open(scenario: &Scenario) -> Self {
        let mut tenant = Tenant::with_seed(scenario.seed);
        tenant.page_cap = scenario.small_pages.then_some(SMALLEST_PAGE);
        tenant.members_omit_nulls = scenario.sparse;
        let staff = Staff::hired(&mut tenant, &scenario.places);
        let world = World::start(tenant).await;
        world.configure("[safety]\nmax_deactivations = 100000\nmax_deactivation_percent = 100");
        Self { world, staff, stranger: ForeignServer::start(), waited_for: BTreeSet::new() }
    }

    async fn rows(&self) -> Rows {
        let columns = COLUMNS.map(|(column, _)| column).join(", ");
        let rows = self.world.query(&format!("SELECT external_id, active, {columns} FROM learners")).await;
        let told = |text: &String| (text != "NULL").then(|| text.clone());
        rows.iter()
            .map(|row| {
                let values = std::array::from_fn(|column| told(&row[column + 2]));
                (row[0].clone(), (row[1] == "1", values))
            })
            .collect()
    }

    fn picture(&self) -> Picture {
        self.world.sim.tenant(|tenant| picture(tenant))
    }

    async fn round(&mut self, round: &Round) -> Result<(), String> {
        let Round { events, troubles, surprise } = round;
        self.happen(events);
        let surprised = self.surprise(surprise).await;
        let sim = Arc::clone(&self.world.sim);
        let application = sim.tenant(|tenant| tenant.application.object_id.clone());
        let (graph, stranger) = (sim.url(), self.stranger.url());
        let scene = Scene { staff: &self.staff, application: &application, graph: &graph, stranger: &stranger };
        troubles.iter().for_each(|trouble| sim.inject(scene.trouble(*trouble)));
        let (rows, before) = (self.rows().await, self.picture());
        let report = match surprised {
            Some((fault, events)) => self.cycle_while(fault, &events).await,
            None => self.world.cycle().await,
        };
        sim.clear_faults();
        if let Surprise::Hides(group) = surprise {
            sim.tenant(|tenant| {
                if tenant.group(&self.staff.groups[*group]).is_some() {
                    tenant.group_mut(&self.staff.groups[*group]).visibility = None;
                }
            });
        }
        self.is_right(&rows, [&before, &self.picture()], &report).await
    }

    fn happen(&mut self, events: &[Event]) {
        let staff = &mut self.staff;
        self.world.sim.tenant(|tenant| events.iter().for_each(|event| staff.happens(tenant, *event)));
    }

    /// Prepares what is unexpected; answers where something happens while the cycle runs, and what.
    async fn surprise(&mut self, surprise: &Surprise) -> Option<(Fault, Vec<Event>)> {
        let known_through: BTreeSet<usize> = match surprise {
            Surprise::Hides(group) | Surprise::Lost(group, _) if self.is_known(*group).await => [*group].into(),
            _ => BTreeSet::new(),
        };
        let guarded: BTreeSet<String> = self
            .world
            .query("SELECT group_id FROM sync_groups WHERE last_members > 2")
            .await
            .concat()
            .into_iter()
            .collect();
        let sim = &self.world.sim;
        let scene = Scene { staff: &self.staff, application: "", graph: "", stranger: "" };
        match surprise {
            Surprise::None => {}
            Surprise::Assignments(lie) => sim.inject(scene.lie(At::Assignments, *lie)),
            Surprise::Members(lies) => {
                for (group, lie) in lies.iter().enumerate() {
                    lie.iter().for_each(|lie| sim.inject(scene.lie(At::Members(group), *lie)));
                }
            }
            Surprise::Late(user, looks) => {
                let id = self.staff.user(*user).to_owned();
                let again = *looks >= LOOKS && !self.waited_for.insert(id.clone());
                sim.inject(Fault::late_user(&id, if again { LOOKS - 1 } else { *looks }));
            }
            Surprise::Hides(group) if known_through.contains(group) => {
                let id = &self.staff.groups[*group];
                sim.tenant(|tenant| tenant.group_mut(id).visibility = Some("HiddenMembership".to_owned()));
            }
            Surprise::Lost(group, gone)
                if known_through.contains(group) && guarded.contains(&self.staff.groups[*group]) =>
            {
                let lie = if *gone { Lie::NotFound(1) } else { Lie::Empty };
                sim.inject(scene.lie(At::Members(*group), lie).always());
            }
            // Too small, or not known well enough, to be guarded.
            Surprise::Hides(_) | Surprise::Lost(..) => {}
            Surprise::NobodyAssigned => sim.inject(scene.lie(At::Assignments, Lie::Empty).always()),
            Surprise::Meanwhile(at, nth, events) => return Some((scene.at(*at).nth(*nth), events.clone())),
        }
        None
    }

    /// Whether learner-sync has seen in the group everybody who is assigned through nothing else.
    async fn is_known(&self, group: usize) -> bool {
        let group = &self.staff.groups[group];
        let links = self.world.query("SELECT entra_id, via FROM sync_links").await;
        let seen: BTreeMap<&str, &str> = links.iter().map(|row| (&*row[0], &*row[1])).collect();
        self.world.sim.tenant(|tenant| {
            let exists = tenant.group(group).is_some();
            let only = BTreeSet::from([&**group]);
            let mut through = ways(tenant).into_iter().filter(|(_, ways)| *ways == only);
            exists && through.all(|(user, _)| seen.get(user).is_none_or(|via| via.contains(&**group)))
        })
    }

    /// A cycle in which something happens when this call arrives, or after it when none does.
    async fn cycle_while(&mut self, fault: Fault, events: &[Event]) -> Report {
        let gate = Gate::new();
        let (staff, sim): (_, Arc<GraphSim>) = (&mut self.staff, Arc::clone(&self.world.sim));
        sim.inject(fault.hold_until(&gate));
        let mut happen = || sim.tenant(|tenant| events.iter().for_each(|event| staff.happens(tenant, *event)));
        let mut happened = false;
        let meanwhile = async {
            gate.reached().await;
            happened = true;
            happen();
            gate.release();
            std::future::pending::<Report>().await
        };
        let report = tokio::select! {
            report = self.world.cycle() => report,
            report = meanwhile => report,
        };
        if !happened {
            happen();
        }
        report
    }

    /// Of a cycle that saw the tenant change from one picture to the other.
    async fn is_right(&self, before: &Rows, pictures: [&Picture; 2], report: &Report) -> Result<(), String> {
        let after = self.rows().await;
        if report.outcome == Outcome::Failed && after != *before {
            return Err(format!("a failed cycle changed learners: {}", report.summary()));
        }
        if self.stranger.connections() > 0 {
            return Err("somebody spoke to a stranger".to_owned());
        }
        if before.keys().any(|id| !after.contains_key(id)) {
            return Err("a learner is gone".to_owned());
        }
        for (id, (active, values)) in &after {
            let wanted = pictures.map(|picture| picture.get(id).is_some_and(|account| account.wanted));
            let was = before.get(id);
            if was.is_some_and(|(active, _)| *active) && !active && wanted == [true; 2] {
                return Err(format!("{id} was switched off, who is assigned and enabled"));
            }
            if was.is_none_or(|(active, _)| !active) && *active && wanted == [false; 2] {
                return Err(format!("{id} was switched on, who is not assigned, or disabled"));
            }
            for (column, (name, _)) in COLUMNS.iter().enumerate() {
                let said = pictures.into_iter().filter_map(|picture| picture.get(id));
                let mut said =
                    said.map(|account| &account.values[column]).chain(was.map(|(_, values)| &values[column]));
                if !said.any(|said| *said == values[column]) {
                    return Err(format!("{name} of {id} became {:?}, which Entra never said", values[column]));
                }
            }
        }
        Ok(())
    }

    /// Without faults one cycle is enough; one more when somebody was waited for, or had to be approved.
    async fn comes_right(&mut self) -> Result<(), String> {
        let mut report = self.clean_cycle().await?;
        let waiting = self.world.value("SELECT count(*) FROM sync_failures WHERE reason = 'waiting'").await != "0";
        let held = report.counts.held > 0;
        if held {
            self.world.approve().await;
        }
        if waiting || held {
            report = self.clean_cycle().await?;
        }
        let rows = self.rows().await;
        let picture = self.picture();
        for (id, account) in &picture {
            let found = rows.get(id);
            let right = match found {
                Some((active, values)) if account.wanted => *active && *values == account.values,
                Some((active, _)) => !active,
                None => !account.wanted,
            };
            if !right {
                return Err(format!("{id} is {account:?} in Entra, but as a learner {found:?}: {}", report.summary()));
            }
        }
        let left = rows.iter().find(|(id, (active, _))| *active && !picture.contains_key(*id));
        if let Some((id, _)) = left {
            return Err(format!("{id} does not exist, and is still active: {}", report.summary()));
        }
        if held {
            // How many a group had is kept for as long as somebody is held for it.
            self.clean_cycle().await?;
        }
        self.world.settled().await;
        Ok(())
    }

    async fn clean_cycle(&mut self) -> Result<Report, String> {
        let (rows, picture) = (self.rows().await, self.picture());
        let report = self.world.cycle().await;
        self.is_right(&rows, [&picture, &picture], &report).await?;
        if matches!(report.outcome, Outcome::Failed | Outcome::Partial) {
            return Err(format!("without faults: {} {:?}", report.summary(), report.error));
        }
        Ok(report)
    }
}

async fn play(scenario: &Scenario) -> Result<(), String> {
    let mut stage = Stage::open(scenario).await;
    let first = stage.world.cycle().await;
    if first.outcome != Outcome::Success {
        return Err(format!("at first: {} {:?}", first.summary(), first.error));
    }
    for (number, round) in scenario.rounds.iter().enumerate() {
        let played =
            AssertUnwindSafe(stage.round(round)).catch_unwind().await.unwrap_or_else(|panic| Err(words(&*panic)));
        played.map_err(|why| format!("in round {number}: {}", stage.staff.named(why)))?;
    }
    let right = AssertUnwindSafe(stage.comes_right()).catch_unwind().await.unwrap_or_else(|panic| Err(words(&*panic)));
    right.map_err(|why| format!("in the end: {}", stage.staff.named(why)))
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "a test has no configuration but this")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[apply(on_both)]
async fn whatever_goes_wrong_nobody_is_lost_and_all_comes_right() {
    let first = number("LEARNER_SYNC_SEED").unwrap_or_else(rand::random);
    let count = number("LEARNER_SYNC_FAULTS").unwrap_or_else(|| fewer_on_postgres(SCENARIOS));
    let play_one = async |seed: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let scenario = scenario().new_tree(&mut runner).unwrap().current();
        let played = play(&scenario).await;
        played.err().map(|why| (seed, scenario, why))
    };
    let seeds = (0..count).map(|number| first.wrapping_add(number));
    let mut played = futures_util::stream::iter(seeds.map(play_one)).buffer_unordered(ABREAST);
    while let Some(failure) = played.next().await {
        if let Some((seed, Scenario { seed: ids, small_pages, sparse, places, rounds }, why)) = failure {
            let rounds: String = rounds.iter().map(|round| format!("{round:?}\n")).collect();
            panic!(
                "LEARNER_SYNC_SEED={seed} LEARNER_SYNC_FAULTS=1: {why}\nids {ids}, small pages {small_pages}, sparse \
                 {sparse}\n{places:?}\n{rounds}"
            );
        }
    }
}
