//! Random tenants under random faults: no assigned and enabled user is deactivated, no value is written that Entra never
//! had, and the cycles after the faults repair everything.
//!
//! `LEARNER_SYNC_FAULTS` sets the number of scenarios; see `seeds` for repeating a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use graph_sim::{Fault, Firings, ForeignServer, Gate, GraphSim, Tenant};
use learner_sync::cycle::Report;
use learner_sync::model::Outcome;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::script::{Endpoint, FaultContext, FaultRound, Inconsistency, KINDS, WrongList, disturbance, rounds};
use super::tenant::{
    COLUMNS, ColumnValues, ExpectedUsers, InitialAssignment, TenantEvent, TenantIds, expected_users,
    initial_assignments, routes,
};
use crate::database::{apply, fewer_on_postgres, on_both};
use crate::seeds::{catch_panic, from_environment, generate, seeds};
use crate::world::World;

/// Number of scenarios of a normal run.
const SCENARIOS: u64 = 24;
/// Scenarios that run concurrently: most of the time they wait for `Retry-After`.
const CONCURRENT: usize = 12;
/// So many scenarios contain every kind of disturbance.
const ENOUGH_FOR_ALL_KINDS: u64 = 250;
/// Small enough that a filter of 15 ids is cut off.
const SMALLEST_PAGE: usize = 7;
/// Number of failed reads of one user after which a cycle reports `waiting`.
const READS_BEFORE_WAITING: usize = 3;

/// A tenant, and the events and faults of its cycles.
#[derive(Clone, Debug)]
struct Scenario {
    seed: u64,
    small_pages: bool,
    sparse: bool,
    initial_assignments: Vec<InitialAssignment>,
    rounds: Vec<FaultRound>,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    (0u64..1000, prop::bool::weighted(0.7), any::<bool>(), initial_assignments(), rounds()).prop_map(
        |(seed, small_pages, sparse, initial_assignments, rounds)| Scenario {
            seed,
            small_pages,
            sparse,
            initial_assignments,
            rounds,
        },
    )
}

/// The learners by user id: whether active, and their values.
type Rows = BTreeMap<String, (bool, ColumnValues)>;

/// A running scenario.
struct ScenarioRun {
    world: World,
    ids: TenantIds,
    foreign: ForeignServer,
    /// Users that caused `waiting` once; a second time would deactivate them.
    waited_for: BTreeSet<String>,
    firings: Firings,
}

impl ScenarioRun {
    async fn start(scenario: &Scenario, firings: &Firings) -> Self {
        let mut tenant = Tenant::with_seed(scenario.seed);
        tenant.page_cap = scenario.small_pages.then_some(SMALLEST_PAGE);
        tenant.members_omit_nulls = scenario.sparse;
        let ids = TenantIds::populate(&mut tenant, &scenario.initial_assignments);
        let world = World::start(tenant).await;
        world.configure("[safety]\nmax_deactivations = 100000\nmax_deactivation_percent = 100");
        Self { world, ids, foreign: ForeignServer::start(), waited_for: BTreeSet::new(), firings: firings.clone() }
    }

    async fn rows(&self) -> Rows {
        let columns = COLUMNS.map(|(column, _)| column).join(", ");
        let rows = self.world.query(&format!("SELECT external_id, active, {columns} FROM learners")).await;
        let value = |text: &String| (text != "NULL").then(|| text.clone());
        rows.iter()
            .map(|row| {
                let values = std::array::from_fn(|column| value(&row[column + 2]));
                (row[0].clone(), (row[1] == "1", values))
            })
            .collect()
    }

    fn expected_users(&self) -> ExpectedUsers {
        self.world.sim.tenant(|tenant| expected_users(tenant))
    }

    async fn round(&mut self, round: &FaultRound) -> Result<(), String> {
        let FaultRound { events, disturbances, inconsistency } = round;
        self.apply_events(events);
        let interruption = self.prepare_inconsistency(inconsistency).await;
        let sim = Arc::clone(&self.world.sim);
        let application = sim.tenant(|tenant| tenant.application.object_id.clone());
        let (graph, foreign) = (sim.url(), self.foreign.url());
        let context = FaultContext { ids: &self.ids, application: &application, graph: &graph, foreign: &foreign };
        for disturbance in disturbances {
            sim.inject(context.disturbance(*disturbance).counted(&self.firings, disturbance.kind()));
        }
        let (rows, before) = (self.rows().await, self.expected_users());
        let report = match interruption {
            Some((fault, events)) => self.cycle_while(fault, &events).await,
            None => self.world.cycle().await,
        };
        sim.clear_faults();
        if let Inconsistency::Hides(group) = inconsistency {
            sim.tenant(|tenant| {
                if tenant.group(&self.ids.groups[*group]).is_some() {
                    tenant.group_mut(&self.ids.groups[*group]).visibility = None;
                }
            });
        }
        self.check_cycle(&rows, [&before, &self.expected_users()], &report).await
    }

    fn apply_events(&mut self, events: &[TenantEvent]) {
        let ids = &mut self.ids;
        self.world.sim.tenant(|tenant| events.iter().for_each(|event| ids.apply_event(tenant, *event)));
    }

    /// Prepares an inconsistency. Returns the events to apply during the cycle, and the fault that selects the time.
    async fn prepare_inconsistency(&mut self, inconsistency: &Inconsistency) -> Option<(Fault, Vec<TenantEvent>)> {
        let known_through: BTreeSet<usize> = match inconsistency {
            Inconsistency::Hides(group) | Inconsistency::Lost(group, _) if self.is_known(*group).await => {
                [*group].into()
            }
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
        let context = FaultContext { ids: &self.ids, application: "", graph: "", foreign: "" };
        match inconsistency {
            Inconsistency::None => {}
            Inconsistency::Assignments(wrong_list) => {
                sim.inject(context.wrong_list(Endpoint::Assignments, *wrong_list))
            }
            Inconsistency::Members(lists) => {
                for (group, wrong_list) in lists.iter().enumerate() {
                    wrong_list
                        .iter()
                        .for_each(|wrong_list| sim.inject(context.wrong_list(Endpoint::Members(group), *wrong_list)));
                }
            }
            Inconsistency::Late(user, reads) => {
                let id = self.ids.user(*user).to_owned();
                let again = *reads >= READS_BEFORE_WAITING && !self.waited_for.insert(id.clone());
                sim.inject(Fault::late_user(&id, if again { READS_BEFORE_WAITING - 1 } else { *reads }));
            }
            Inconsistency::Hides(group) if known_through.contains(group) => {
                let id = &self.ids.groups[*group];
                sim.tenant(|tenant| tenant.group_mut(id).visibility = Some("HiddenMembership".to_owned()));
            }
            Inconsistency::Lost(group, gone)
                if known_through.contains(group) && (*gone || guarded.contains(&self.ids.groups[*group])) =>
            {
                let wrong_list = if *gone { WrongList::NotFound(1) } else { WrongList::Empty };
                sim.inject(context.wrong_list(Endpoint::Members(*group), wrong_list).always());
            }
            // No safety limit covers a small group, or one with members that learner-sync has not seen in it.
            Inconsistency::Hides(_) | Inconsistency::Lost(..) => {}
            Inconsistency::NobodyAssigned => {
                sim.inject(context.wrong_list(Endpoint::Assignments, WrongList::Empty).always())
            }
            Inconsistency::Meanwhile(at, nth, events) => return Some((context.at(*at).nth(*nth), events.clone())),
        }
        None
    }

    /// Whether learner-sync has seen in the group every user that is assigned only through it.
    async fn is_known(&self, group: usize) -> bool {
        let group = &self.ids.groups[group];
        let links = self.world.query("SELECT entra_id, via FROM sync_links").await;
        let seen: BTreeMap<&str, &str> = links.iter().map(|row| (&*row[0], &*row[1])).collect();
        self.world.sim.tenant(|tenant| {
            let exists = tenant.group(group).is_some();
            let only = BTreeSet::from([&**group]);
            let mut through = routes(tenant).into_iter().filter(|(_, routes)| *routes == only);
            exists && through.all(|(user, _)| seen.get(user).is_none_or(|via| via.contains(&**group)))
        })
    }

    /// Runs a cycle and applies the events when the selected call arrives, or after the cycle if it does not.
    async fn cycle_while(&mut self, fault: Fault, events: &[TenantEvent]) -> Report {
        let gate = Gate::new();
        let (ids, sim): (_, Arc<GraphSim>) = (&mut self.ids, Arc::clone(&self.world.sim));
        sim.inject(fault.hold_until(&gate));
        let mut apply = || sim.tenant(|tenant| events.iter().for_each(|event| ids.apply_event(tenant, *event)));
        let mut applied = false;
        let meanwhile = async {
            gate.reached().await;
            applied = true;
            apply();
            gate.release();
            std::future::pending::<Report>().await
        };
        let report = tokio::select! {
            report = self.world.cycle() => report,
            report = meanwhile => report,
        };
        if !applied {
            apply();
        }
        report
    }

    /// Checks a cycle during which the expected users changed from the first to the second.
    async fn check_cycle(&self, before: &Rows, expected: [&ExpectedUsers; 2], report: &Report) -> Result<(), String> {
        let after = self.rows().await;
        if report.outcome == Outcome::Failed && after != *before {
            return Err(format!("a failed cycle changed learners: {}", report.summary()));
        }
        if self.foreign.connections() > 0 {
            return Err("the client connected to a foreign origin".to_owned());
        }
        if before.keys().any(|id| !after.contains_key(id)) {
            return Err("a learner was deleted".to_owned());
        }
        for (id, (active, values)) in &after {
            let wanted = expected.map(|expected_users| expected_users.get(id).is_some_and(|account| account.wanted));
            let was = before.get(id);
            if was.is_some_and(|(active, _)| *active) && !active && wanted == [true; 2] {
                return Err(format!("{id} was deactivated although assigned and enabled"));
            }
            if was.is_none_or(|(active, _)| !active) && *active && wanted == [false; 2] {
                return Err(format!("{id} was activated although unassigned or disabled"));
            }
            for (column, (name, _)) in COLUMNS.iter().enumerate() {
                let known = expected.into_iter().filter_map(|expected_users| expected_users.get(id));
                let mut known =
                    known.map(|account| &account.values[column]).chain(was.map(|(_, values)| &values[column]));
                if !known.any(|value| *value == values[column]) {
                    return Err(format!("{name} of {id} became {:?}, a value that Entra never had", values[column]));
                }
            }
        }
        Ok(())
    }

    /// Without faults one cycle repairs everything, two if a user is waiting or held.
    async fn check_recovery(&mut self) -> Result<(), String> {
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
        let expected_users = self.expected_users();
        for (id, account) in &expected_users {
            let found = rows.get(id);
            let correct = match found {
                Some((active, values)) if account.wanted => *active && *values == account.values,
                Some((active, _)) => !active,
                None => !account.wanted,
            };
            if !correct {
                return Err(format!(
                    "{id} is {account:?} in Entra, but the learner is {found:?}: {}",
                    report.summary()
                ));
            }
        }
        let left = rows.iter().find(|(id, (active, _))| *active && !expected_users.contains_key(*id));
        if let Some((id, _)) = left {
            return Err(format!("{id} does not exist but is still active: {}", report.summary()));
        }
        if held {
            // The member count of a group is kept while a user is held for it; one cycle updates it.
            self.clean_cycle().await?;
        }
        self.world.settled().await;
        Ok(())
    }

    async fn clean_cycle(&mut self) -> Result<Report, String> {
        let (rows, expected_users) = (self.rows().await, self.expected_users());
        let report = self.world.cycle().await;
        self.check_cycle(&rows, [&expected_users, &expected_users], &report).await?;
        if matches!(report.outcome, Outcome::Failed | Outcome::Partial) {
            return Err(format!("without faults: {} {:?}", report.summary(), report.error));
        }
        Ok(report)
    }
}

async fn run_scenario(scenario: &Scenario, firings: &Firings) -> Result<(), String> {
    let mut run = ScenarioRun::start(scenario, firings).await;
    let first = run.world.cycle().await;
    if first.outcome != Outcome::Success {
        return Err(format!("in the first cycle: {} {:?}", first.summary(), first.error));
    }
    for (number, round) in scenario.rounds.iter().enumerate() {
        let result = catch_panic(run.round(round)).await;
        result.map_err(|why| format!("in round {number}: {}", run.ids.with_names(why)))?;
    }
    let result = catch_panic(run.check_recovery()).await;
    result.map_err(|why| format!("after the faults: {}", run.ids.with_names(why)))
}

#[apply(on_both)]
async fn random_faults_deactivate_no_assigned_user_and_are_recovered_from() {
    let count = from_environment("LEARNER_SYNC_FAULTS").unwrap_or_else(|| fewer_on_postgres(SCENARIOS));
    let firings = Firings::default();
    let run_one = async |seed: u64| {
        let scenario = generate(seed, &scenario()).current();
        let result = run_scenario(&scenario, &firings).await;
        result.err().map(|why| (seed, scenario, why))
    };
    let mut results = futures_util::stream::iter(seeds(count).map(run_one)).buffer_unordered(CONCURRENT);
    while let Some(failure) = results.next().await {
        if let Some((seed, Scenario { seed: id_seed, small_pages, sparse, initial_assignments, rounds }, why)) = failure
        {
            let rounds: String = rounds.iter().map(|round| format!("{round:?}\n")).collect();
            panic!(
                "LEARNER_SYNC_SEED={seed} LEARNER_SYNC_FAULTS=1: {why}\nid seed {id_seed}, small pages {small_pages}, sparse \
                 {sparse}\n{initial_assignments:?}\n{rounds}"
            );
        }
    }
    if count >= ENOUGH_FOR_ALL_KINDS {
        let counts = firings.counts();
        assert_eq!(counts.len(), KINDS, "some disturbances never took effect: {counts:?}");
    }
}

/// In a tenant like those of the random scenarios, each kind of disturbance takes effect.
#[tokio::test]
async fn every_kind_of_disturbance_takes_effect() {
    let scenario = Scenario { seed: 1, small_pages: true, ..generate(1, &scenario()).current() };
    let assignments = (0..).map(|seed| generate(seed, &initial_assignments()).current());
    // So many users that lists have a second page.
    let scenario =
        Scenario { initial_assignments: assignments.into_iter().find(|all| all.len() >= 40).unwrap(), ..scenario };
    let firings = Firings::default();
    let mut run = ScenarioRun::start(&scenario, &firings).await;
    run.world.cycle().await;
    let application = run.world.sim.tenant(|tenant| tenant.application.object_id.clone());
    let (graph, foreign) = (run.world.sim.url(), run.foreign.url());
    for seed in 0..1000 {
        let disturbance = generate(seed, &disturbance()).current();
        let kind = disturbance.kind();
        if firings.counts().contains_key(kind) {
            continue;
        }
        // Somebody leaves, so that accounts are read; and the next one joins.
        let last = run.ids.users.len() - 1;
        run.apply_events(&[TenantEvent::Delete(last), TenantEvent::Hire(InitialAssignment::Directly)]);
        let context = FaultContext { ids: &run.ids, application: &application, graph: &graph, foreign: &foreign };
        run.world.sim.inject(context.disturbance(disturbance).counted(&firings, kind));
        // The cycle need not end.
        tokio::select! {
            _ = run.world.cycle() => {}
            () = firings.fired(kind) => {}
        }
        run.world.sim.clear_faults();
        if firings.counts().len() == KINDS {
            return;
        }
    }
    panic!("some disturbances never took effect: {:?}", firings.counts());
}
