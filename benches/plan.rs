//! Planning: a first load, and cycles in which few or no users have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::{SignedDuration, Timestamp};
use learner_sync::model::{
    Attribute, CycleTime, EntraId, Fingerprint, GraphTime, Learner, LearnerId, LinkedLearner, LinkedLearners, Reissued,
    Repair, Route, Routes, UnclearRows, UserList, Values,
};
use learner_sync::plan::{Assessment, AssignedUser, DatabaseFacts, Desired, LearnerRow, Limits, PlanInput, plan};

const USERS: u64 = 10_000;

/// Ids that are spread like Entra's.
fn id(number: u64) -> EntraId {
    EntraId::from_bytes(u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes())
}

fn routes() -> Routes {
    [Route::Group(id(USERS + 1))].into_iter().collect()
}

fn values(number: u64, title: &str) -> Values {
    let address = format!("ada.lovelace.{number}@harbourworks.example");
    let value = |attribute, text: &str| (attribute, Some(text.to_owned()));
    Values::from([
        value(Attribute::UserName, &address),
        value(Attribute::Email, &address),
        value(Attribute::FirstName, "Ada"),
        value(Attribute::LastName, "Lovelace"),
        value(Attribute::Title, title),
        value(Attribute::Department, "Research"),
        value(Attribute::Country, "Ireland"),
        value(Attribute::EmployeeNumber, &format!("{number:07}")),
    ])
}

fn limits() -> Limits {
    Limits {
        max_deactivations: 500,
        max_deactivation_percent: 20,
        max_update_percent: 100,
        match_attribute: Attribute::UserName,
        min_interval: SignedDuration::from_mins(20),
        deactivate_after: SignedDuration::ZERO,
        protected: UserList::default(),
        redacted: BTreeSet::new(),
        repair: Repair::Attributes,
        reissued: Reissued::Conflict,
    }
}

/// The input of a plan: all users are learners if `linked`, and every `step`-th user has another title.
struct World {
    linked: LinkedLearners,
    desired: Desired,
    facts: DatabaseFacts,
}

fn world(linked: bool, step: u64) -> World {
    let mut world =
        World { linked: LinkedLearners::new(), desired: Desired::default(), facts: DatabaseFacts::default() };
    for number in 1..=USERS {
        let changes = number % step == 0;
        let wanted = || Learner { values: values(number, "Engineer"), ..Learner::default() };
        let assessment = if changes { Assessment::Wanted(Arc::new(wanted())) } else { Assessment::Unchanged };
        world.desired.users.insert(id(number), AssignedUser::new(assessment, routes()));
        if !linked {
            continue;
        }
        let (learner, values) = (LearnerId::Number(number.cast_signed()), values(number, "Researcher"));
        let fingerprint = Fingerprint::compute(&values);
        let link = LinkedLearner {
            learner: learner.clone(),
            active: true,
            outside: false,
            fingerprint,
            row: None,
            routes: routes(),
        };
        world.linked.insert(id(number), link);
        if changes {
            let row = LearnerRow {
                learner,
                external_id: Some(id(number).to_string()),
                link: Some(("source".to_owned(), id(number))),
                outside: false,
                unreadable_link: false,
                active: true,
                deactivated: false,
                spelling: None,
                other_state: false,
                values,
            };
            world.facts.rows.insert(id(number), row);
        }
    }
    world
}

fn measure(criterion: &mut Criterion, name: &str, world: &World) {
    let World { linked, desired, facts } = world;
    let (groups, limits) = (BTreeMap::from([(id(USERS + 1), USERS)]), limits());
    let now = Timestamp::UNIX_EPOCH;
    let input = PlanInput {
        linked,
        last_written: None,
        desired,
        groups: &groups,
        named_groups: &BTreeMap::new(),
        hidden: &BTreeSet::new(),
        gone: &BTreeSet::new(),
        unclear: &UnclearRows::default(),
        nobody_assigned: false,
        confirmed: &BTreeMap::new(),
        confirming: &BTreeMap::new(),
        facts,
        limits: &limits,
        relinks: &BTreeMap::new(),
        time: CycleTime::new(now, Some(Ok(GraphTime::at(now))), None),
    };
    let mut group = criterion.benchmark_group("plan");
    group.throughput(Throughput::Elements(USERS));
    group.bench_function(name, |bencher| bencher.iter(|| plan(black_box(input))));
    group.finish();
}

fn plans(criterion: &mut Criterion) {
    measure(criterion, "first load", &world(false, 1));
    measure(criterion, "unchanged", &world(true, USERS + 1));
    measure(criterion, "1 % changed", &world(true, 100));
    measure(criterion, "all changed", &world(true, 1));
}

criterion_group!(benches, plans);
criterion_main!(benches);
