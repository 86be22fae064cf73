//! The planner against random worlds and a small model of the learner database.

mod cases;
mod database;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use self::database::Database;
use super::*;
use crate::model::{
    Action, CycleTime, DAY, Fingerprint, GraphTime, Learner, LearnerId, LinkedLearner, Reissued, Repair, Route, Routes,
    Status, UnclearPrincipal, UnclearRows, UserList, Values, Verdict,
};

const SOURCE: &str = "tenant/application";
const MAPPED: [Attribute; 4] = [Attribute::UserName, Attribute::Email, Attribute::Department, Attribute::Title];

fn begins(decision: &Decision) -> bool {
    decision.leave().is_some_and(|leave| leave.begins)
}

fn user(number: u8) -> EntraId {
    EntraId::from_bytes([number; 16])
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

/// Both clocks agree.
fn clocks_at(at: Timestamp) -> CycleTime {
    CycleTime::new(at, Some(Ok(GraphTime::at(at))), None)
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

/// A user in Entra.
#[derive(Clone, Debug)]
enum Entra {
    Nowhere,
    Assigned { name: u8, email: u8, department: Option<u8> },
    Disabled,
    NoMail,
    Missing,
}

fn entra() -> impl Strategy<Value = Entra> {
    prop_oneof![
        1 => Just(Entra::Nowhere),
        6 => (0u8..6, 0u8..6, proptest::option::of(0u8..3))
            .prop_map(|(name, email, department)| Entra::Assigned { name, email, department }),
        1 => Just(Entra::Disabled),
        1 => Just(Entra::NoMail),
        1 => Just(Entra::Missing),
    ]
}

fn learner(name: u8, email: u8, department: Option<u8>) -> Learner {
    Learner {
        values: Values::from([
            (Attribute::UserName, Some(format!("n{name}@example.org"))),
            (Attribute::Email, Some(format!("e{email}@example.org"))),
            (Attribute::Department, department.map(|department| format!("d{department}"))),
        ]),
        on_create: Some(Box::new(Values::from([(Attribute::Title, Some("Learner".to_owned()))]))),
        row: None,
    }
}

fn desired(users: &[Entra]) -> Desired {
    let assessment = |entra: &Entra| match entra {
        Entra::Nowhere => None,
        Entra::Assigned { name, email, department } => {
            Some(Assessment::Wanted(Arc::new(learner(*name, *email, *department))))
        }
        Entra::Disabled => Some(Assessment::Leaving(Reason::AccountDisabled)),
        Entra::NoMail => Some(Assessment::Rejected(Box::new(Rejection {
            reason: Reason::MissingRequired,
            detail: String::new(),
            user_name: None,
        }))),
        Entra::Missing => Some(Assessment::NotFound),
    };
    let routes: Routes = [Route::Direct].into_iter().collect();
    let users = users.iter().zip(0..);
    let users =
        users.filter_map(|(entra, number)| Some((user(number), AssignedUser::new(assessment(entra)?, routes.clone()))));
    Desired { users: users.collect(), ..Desired::default() }
}

/// Plans with absent users confirmed as unassigned, and users that answer 404 as not found.
fn plan_for(database: &Database, desired: &Desired, limits: &Limits, at: Timestamp) -> Plan {
    let linked = database.linked();
    let Candidates { absent, unread } = candidates(&linked, desired);
    let verdicts = absent.into_iter().map(|id| (id, Verdict::Unassigned));
    let confirmed: Confirmed = verdicts.chain(unread.into_iter().map(|id| (id, Verdict::NotFound))).collect();
    plan(PlanInput {
        linked: &linked,
        last_written: None,
        desired,
        groups: &MemberCounts::new(),
        named_groups: &MemberCounts::new(),
        hidden: &BTreeSet::new(),
        gone: &BTreeSet::new(),
        unclear: &UnclearRows::default(),
        nobody_assigned: desired.users.is_empty(),
        confirmed: &confirmed,
        confirming: &BTreeMap::new(),
        facts: &database.facts(),
        limits,
        relinks: &BTreeMap::new(),
        time: clocks_at(at),
    })
}

proptest! {
    #[test]
    fn planning_again_after_any_history_changes_nothing(
        history in proptest::collection::vec(proptest::collection::vec(entra(), 0..14), 1..6),
        max_deactivations in 0u64..6,
        free in any::<bool>(),
    ) {
        let reissued = if free { Reissued::Free } else { Reissued::Conflict };
        let limits = Limits { max_deactivations, reissued, ..limits() };
        let mut database = Database::default();
        let mut at = now();
        for users in &history {
            let desired = desired(users);
            let before = database.clone();
            let first = plan_for(&database, &desired, &limits, at);
            database.apply(&first, at);

            for change in first.applied() {
                let assessment = desired.users.get(&change.user).map(|user| &user.assessment);
                if change.action == Action::Deactivate {
                    prop_assert!(!matches!(assessment, Some(Assessment::Wanted(_) | Assessment::Rejected(_))));
                    prop_assert!(!before.held.contains_key(&change.user), "held, and not approved");
                } else if free && !matches!(assessment, Some(Assessment::Wanted(_))) {
                    // Freed values: the former learner stays one, and only unique values change.
                    let row = before.rows.values().find(|row| row.learner == *change.row.learner().unwrap()).unwrap();
                    prop_assert!(!row.active && !matches!(assessment, Some(Assessment::Rejected(_))));
                    let moves = |change: AttributeChange<'_>| {
                        Attribute::UNIQUE.contains(&change.attribute)
                            && change.new == change.old.map(|old| format!("{}{old}", row.link.as_ref().unwrap().1)).as_deref()
                    };
                    prop_assert!(change.changes.iter().all(moves));
                } else {
                    prop_assert!(matches!(assessment, Some(Assessment::Wanted(_))));
                }
            }
            let deactivated = first.counts().deactivated + before.deactivated.len() as u64;
            prop_assert!(first.counts().deactivated == 0 || deactivated <= max_deactivations);
            let conflicts: BTreeSet<EntraId> = first
                .not_applied()
                .iter()
                .filter(|decision| decision.status() != Status::Held)
                .map(|decision| decision.user)
                .collect();
            let linked = database.linked();
            for (id, user) in &desired.users {
                if let (Assessment::Wanted(learner), false) = (&user.assessment, conflicts.contains(id)) {
                    let row = &database.rows[&linked[id].learner];
                    prop_assert!(row.active);
                    for (attribute, value) in &learner.values {
                        prop_assert!(attribute.same(row.values.text(attribute), value));
                    }
                }
            }

            if free {
                // A learner deactivated just now frees its values in the next cycle.
                let next = plan_for(&database, &desired, &limits, at);
                database.apply(&next, at);
            }
            let settled = database.clone();
            let again = plan_for(&database, &desired, &limits, at);
            prop_assert_eq!(again.applied().next(), None);
            prop_assert!(again.not_applied().iter().all(|decision| !begins(decision)), "logged twice: {:?}", again.not_applied());
            prop_assert!(again.routes().is_empty());
            database.apply(&again, at);
            prop_assert_eq!(&database, &settled);
            at += SignedDuration::from_mins(30);
        }
    }
}

/// A database with `count` linked active learners, and their users.
fn with_learners(count: u8) -> (Database, Vec<Entra>) {
    let users: Vec<Entra> =
        (0..count).map(|number| Entra::Assigned { name: number, email: number, department: Some(0) }).collect();
    let mut database = Database::default();
    let plan = plan_for(&database, &desired(&users), &limits(), now());
    database.apply(&plan, now());
    assert_eq!(database.linked().len(), usize::from(count));
    (database, users)
}

fn without_first(users: &[Entra], count: usize) -> Vec<Entra> {
    users.iter().enumerate().map(|(index, user)| if index < count { Entra::Nowhere } else { user.clone() }).collect()
}

#[test]
fn deactivations_of_earlier_cycles_count_against_the_limit() {
    let (mut database, users) = with_learners(100);
    let plan = plan_for(&database, &desired(&without_first(&users, 20)), &limits(), now());
    database.apply(&plan, now());
    let counts = plan_for(&database, &desired(&without_first(&users, 21)), &limits(), now()).counts();
    assert_eq!((counts.deactivated, counts.held), (0, 1));
}

#[test]
fn an_approval_releases_exactly_the_approved_users() {
    let (mut database, users) = with_learners(50);
    let gone = without_first(&users, 30);
    let plan = plan_for(&database, &desired(&gone), &limits(), now());
    database.apply(&plan, now());
    assert_eq!(database.held.len(), 30);

    for (_, entry) in database.held.iter_mut().take(25) {
        entry.approved = Some((now(), "root".to_owned()));
    }
    let plan = plan_for(&database, &desired(&gone), &limits(), now() + DAY + SignedDuration::from_mins(6));
    assert_eq!((plan.counts().deactivated, plan.counts().held), (0, 30), "expired");
    let later = now() + SignedDuration::from_mins(30);
    let plan = plan_for(&database, &desired(&gone), &limits(), later);
    assert_eq!((plan.counts().deactivated, plan.counts().held), (25, 5));
    assert!(plan.applied().all(|change| change.detail.as_deref().unwrap().starts_with("approved by ")));
}

#[test]
fn a_value_that_disappears_from_many_learners_holds_only_the_updates() {
    let (mut database, mut users) = with_learners(40);
    for user in &mut users[..11] {
        let Entra::Assigned { department, .. } = user else { continue };
        *department = None;
    }
    users.push(Entra::Assigned { name: 40, email: 40, department: None });
    let plan = plan_for(&database, &desired(&users), &limits(), now());
    assert_eq!((plan.counts().updated, plan.counts().held, plan.counts().created), (0, 11, 1));
    database.apply(&plan, now());

    // The values come back: nothing is left to change.
    for user in &mut users[..11] {
        let Entra::Assigned { department, .. } = user else { continue };
        *department = Some(0);
    }
    let plan = plan_for(&database, &desired(&users), &limits(), now());
    assert_eq!((plan.counts().held, plan.held_ended().len()), (0, 11));
}

#[test]
fn an_emptied_group_is_guarded_until_its_last_members_are_inactive() {
    let group = user(200);
    let (mut database, users) = with_learners(3);
    let routes: Routes = [Route::Group(group)].into_iter().collect();
    database.routes.extend((0..3).map(|number| (user(number), routes.clone())));
    database.last_members.insert(group, 3);
    let mut users = users;
    users.push(Entra::Assigned { name: 9, email: 9, department: None });
    let mut desired = desired(&users);
    for number in 0..3 {
        desired.users.remove(&user(number));
    }
    let groups = MemberCounts::from([(group, 0)]);
    let verdicts = |verdict: &Verdict| (0..3).map(|number| (user(number), verdict.clone())).collect::<Confirmed>();
    let check = |database: &Database, confirmed: &Confirmed| {
        plan(PlanInput {
            linked: &database.linked(),
            last_written: None,
            desired: &desired,
            groups: &groups,
            named_groups: &MemberCounts::new(),
            hidden: &BTreeSet::new(),
            gone: &BTreeSet::new(),
            unclear: &UnclearRows::default(),
            nobody_assigned: false,
            confirmed,
            confirming: &BTreeMap::new(),
            facts: &database.facts(),
            limits: &limits(),
            relinks: &BTreeMap::new(),
            time: clocks_at(now()),
        })
    };
    // Unreadable at first, unassigned later: the guard must still be there.
    let unreadable = check(&database, &verdicts(&Verdict::Unreadable("no answer".to_owned())));
    assert_eq!(unreadable.counts().held, 3);
    assert!(unreadable.group_members().is_empty());
    database.apply(&unreadable, now());
    let unassigned = check(&database, &verdicts(&Verdict::Unassigned));
    let reasons: BTreeSet<Reason> = unassigned.not_applied().iter().map(|decision| decision.reason).collect();
    assert_eq!(reasons, [Reason::EmptyGroup].into());
    assert_eq!(unassigned.counts().deactivated, 0);
}

fn rename(users: &mut [Entra], names: &[(usize, u8)]) {
    for (index, new) in names {
        let Entra::Assigned { name, .. } = &mut users[*index] else { continue };
        *name = *new;
    }
}

#[test]
fn swaps_rings_and_chains_of_renames_succeed_in_one_cycle() {
    let (mut database, mut users) = with_learners(8);
    // 0 and 1 swap, 2 to 4 form a ring, 5 takes the name of 6, and a newcomer takes the name of 7.
    rename(&mut users, &[(0, 1), (1, 0), (2, 3), (3, 4), (4, 2), (5, 6), (6, 20), (7, 21)]);
    users.push(Entra::Assigned { name: 7, email: 30, department: None });
    let plan = plan_for(&database, &desired(&users), &limits(), now());
    assert_eq!((plan.counts().updated, plan.counts().created, plan.counts().failed), (8, 1, 0));
    database.apply(&plan, now());
    assert_eq!(plan_for(&database, &desired(&users), &limits(), now()).applied().count(), 0);
}

#[test]
fn learners_changed_outside_stay_so_and_are_logged_once() {
    let (mut database, users) = with_learners(3);
    let set_active = |database: &mut Database, learner: i64, active: bool| {
        database.rows.get_mut(&LearnerId::Number(learner)).unwrap().active = active;
    };
    // Deactivated outside while wanted: neither reactivated nor updated.
    set_active(&mut database, 1, false);
    let mut moved = users.clone();
    moved[0] = Entra::Assigned { name: 0, email: 0, department: Some(2) };
    let plan = plan_for(&database, &desired(&moved), &limits(), now());
    assert_eq!((plan.applied().count(), plan.counts().skipped), (0, 1));
    assert!(begins(&plan.not_applied()[0]));
    database.apply(&plan, now());
    assert!(!plan_for(&database, &desired(&moved), &limits(), now()).not_applied()[0].leave().unwrap().begins);

    // Reactivated outside although the user has left.
    let gone = without_first(&users, 2);
    let plan = plan_for(&database, &desired(&gone), &limits(), now());
    assert_eq!(plan.applied().map(|change| change.user).collect::<Vec<_>>(), [user(1)]);
    database.apply(&plan, now());
    set_active(&mut database, 2, true);
    let plan = plan_for(&database, &desired(&gone), &limits(), now());
    assert_eq!((plan.applied().count(), plan.not_applied()[0].reason), (0, Reason::Drift));
}

#[test]
fn protected_users_stay_active_and_do_not_count_against_the_limit() {
    let (mut database, users) = with_learners(30);
    let protected = UserList {
        ids: (0..6).map(user).collect(),
        user_names: (6..12).map(|number| format!("n{number}@example.org")).collect(),
    };
    let limits = Limits { protected, ..limits() };
    // 18 leave: too many together, but only 6 may leave at all.
    let plan = plan_for(&database, &desired(&without_first(&users, 18)), &limits, now());
    assert_eq!((plan.counts().deactivated, plan.counts().skipped, plan.counts().held), (6, 12, 0));
    let logged = |plan: &Plan| plan.not_applied().iter().filter(|decision| begins(decision)).count();
    assert_eq!(logged(&plan), 12);
    database.apply(&plan, now());
    let again = plan_for(&database, &desired(&without_first(&users, 18)), &limits, now());
    assert_eq!((again.applied().count(), again.counts().skipped, logged(&again)), (0, 12, 0));
}

#[test]
fn a_return_restarts_the_wait_for_deactivate_after() {
    let (mut database, users) = with_learners(30);
    let limits = Limits { deactivate_after: SignedDuration::from_hours(48), ..limits() };
    let mut cycle = |users: &[Entra], hours: i64| {
        let at = now() + SignedDuration::from_hours(hours);
        let plan = plan_for(&database, &desired(users), &limits, at);
        database.apply(&plan, at);
        (plan.counts().deactivated, plan.counts().skipped)
    };
    assert_eq!(cycle(&without_first(&users, 2), 0), (0, 2));
    assert_eq!(cycle(&without_first(&users, 2), 47), (0, 2));
    assert_eq!(cycle(&without_first(&users, 1), 47), (0, 1));
    assert_eq!(cycle(&without_first(&users, 2), 48), (1, 1));
    assert_eq!(cycle(&without_first(&users, 2), 95), (0, 1));
    assert_eq!(cycle(&without_first(&users, 2), 96), (1, 0));
}

#[test]
fn an_unreadable_leaver_waits_once_it_is_readable() {
    let (mut database, users) = with_learners(30);
    let gone = desired(&without_first(&users, 1));
    let limits = Limits { deactivate_after: SignedDuration::from_hours(48), ..limits() };
    let mut cycle = |verdict: Verdict, hours: i64| {
        let at = now() + SignedDuration::from_hours(hours);
        let plan = plan(PlanInput {
            linked: &database.linked(),
            last_written: None,
            desired: &gone,
            groups: &MemberCounts::new(),
            named_groups: &MemberCounts::new(),
            hidden: &BTreeSet::new(),
            gone: &BTreeSet::new(),
            unclear: &UnclearRows::default(),
            nobody_assigned: false,
            confirmed: &Confirmed::from([(user(0), verdict)]),
            confirming: &BTreeMap::new(),
            facts: &database.facts(),
            limits: &limits,
            relinks: &BTreeMap::new(),
            time: clocks_at(at),
        });
        database.apply(&plan, at);
        (plan.counts().deactivated, plan.counts().held, plan.counts().skipped)
    };
    assert_eq!(cycle(Verdict::Unreadable("no answer".to_owned()), 0), (0, 1, 0));
    assert_eq!(cycle(Verdict::Unassigned, 1), (0, 0, 1));
    assert_eq!(cycle(Verdict::Unassigned, 48), (0, 0, 1));
    assert_eq!(cycle(Verdict::Unassigned, 49), (1, 0, 0));
}

#[test]
fn a_missing_account_waits_once_for_both_reasons() {
    let (mut database, mut users) = with_learners(30);
    users[0] = Entra::Missing;
    let limits = Limits { deactivate_after: SignedDuration::from_hours(1), ..limits() };
    let mut cycle = |minutes: i64| {
        let at = now() + SignedDuration::from_mins(minutes);
        let plan = plan_for(&database, &desired(&users), &limits, at);
        database.apply(&plan, at);
        (plan.counts().deactivated, database.failing.get(&user(0)).cloned())
    };
    let (deactivated, waiting) = cycle(0);
    assert_eq!(deactivated, 0);
    assert!(waiting.is_some());
    assert_eq!(cycle(30), (0, waiting.clone()));
    assert_eq!(cycle(59), (0, waiting));
    assert_eq!(cycle(60), (1, None));
}

#[test]
fn a_protected_user_with_a_missing_account_is_logged_once() {
    let (mut database, mut users) = with_learners(30);
    users[0] = Entra::Missing;
    let protected = UserList { ids: [user(0)].into(), ..UserList::default() };
    let limits = Limits { protected, ..limits() };
    let mut cycle = |minutes: i64| {
        let at = now() + SignedDuration::from_mins(minutes);
        let plan = plan_for(&database, &desired(&users), &limits, at);
        database.apply(&plan, at);
        plan.not_applied().iter().map(|decision| (decision.reason, begins(decision))).collect::<Vec<_>>()
    };
    assert_eq!(cycle(0), [(Reason::Protected, true)]);
    for minutes in [30, 60, 90] {
        assert_eq!(cycle(minutes), [(Reason::Protected, false)]);
    }
}

#[test]
fn a_wait_for_deactivate_after_does_not_prove_a_missing_account() {
    let (mut database, users) = with_learners(30);
    let gone = without_first(&users, 1);
    let mut nowhere = users;
    nowhere[0] = Entra::Missing;
    let limits = Limits { deactivate_after: SignedDuration::from_hours(1), ..limits() };
    let mut cycle = |users: &[Entra], minutes: i64| {
        let at = now() + SignedDuration::from_mins(minutes);
        let plan = plan_for(&database, &desired(users), &limits, at);
        database.apply(&plan, at);
        plan.counts().deactivated
    };
    assert_eq!(cycle(&gone, 0), 0);
    // Assigned again, but the account is missing: the wait starts again.
    assert_eq!(cycle(&nowhere, 60), 0);
    assert_eq!(cycle(&nowhere, 60), 0);
    assert_eq!(cycle(&nowhere, 119), 0);
    assert_eq!(cycle(&nowhere, 120), 1);
}
