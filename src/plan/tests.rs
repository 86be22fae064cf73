//! The planner against random worlds and a small model of the learner database.

mod cases;
mod database;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use self::database::Database;
use super::*;
use crate::model::{
    Action, Fingerprint, Learner, LearnerId, LinkedLearner, Reissued, Repair, Route, Routes, Status, UserList, Values,
    Verdict,
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

/// How a user stands in Entra.
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
        on_create: Values::from([(Attribute::Title, Some("Learner".to_owned()))]),
    }
}

fn desired(users: &[Entra]) -> Desired {
    let assessment = |entra: &Entra| match entra {
        Entra::Nowhere => None,
        Entra::Assigned { name, email, department } => {
            Some(Assessment::Wanted(Box::new(learner(*name, *email, *department))))
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
    let users = users.filter_map(|(entra, number)| {
        Some((user(number), AssignedUser { assessment: assessment(entra)?, routes: routes.clone() }))
    });
    Desired { users: users.collect(), ..Desired::default() }
}

/// Plans with everybody unassigned who is absent, and unheard of who answers 404.
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
        nobody_assigned: desired.users.is_empty(),
        confirmed: &confirmed,
        facts: &database.facts(),
        limits,
        relink: None,
        now: at,
    })
}

proptest! {
    #[test]
    fn a_history_ends_where_entra_stands_and_planning_again_changes_nothing(
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
                    // Moved aside: a former learner, who stays one, and only the values that others want.
                    let row = before.rows.values().find(|row| row.learner == change.row.learner().unwrap()).unwrap();
                    prop_assert!(!row.active && !matches!(assessment, Some(Assessment::Rejected(_))));
                    let moves = |change: &AttributeChange| {
                        Attribute::UNIQUE.contains(&change.attribute)
                            && change.new == change.old.as_ref().map(|old| format!("{}{old}", row.link.as_ref().unwrap().1))
                    };
                    prop_assert!(change.changes.iter().all(moves));
                } else {
                    prop_assert!(matches!(assessment, Some(Assessment::Wanted(_))));
                }
            }
            let deactivated = first.counts().deactivated + before.deactivated.len() as u64;
            prop_assert!(first.counts().deactivated == 0 || deactivated <= max_deactivations);
            let conflicts: BTreeSet<EntraId> = first
                .left()
                .iter()
                .filter(|finding| finding.status() != Status::Held)
                .map(|finding| finding.user)
                .collect();
            let linked = database.linked();
            for (id, user) in &desired.users {
                if let (Assessment::Wanted(learner), false) = (&user.assessment, conflicts.contains(id)) {
                    let row = &database.rows[&linked[id].learner];
                    prop_assert!(row.active);
                    for (attribute, value) in &learner.values {
                        prop_assert!(attribute.same(row.values[attribute].as_deref(), value.as_deref()));
                    }
                }
            }

            if free {
                // Who has just been switched off makes room in the next cycle.
                let next = plan_for(&database, &desired, &limits, at);
                database.apply(&next, at);
            }
            let settled = database.clone();
            let again = plan_for(&database, &desired, &limits, at);
            prop_assert_eq!(again.applied().next(), None);
            prop_assert!(again.left().iter().all(|finding| !begins(finding)), "logged twice: {:?}", again.left());
            prop_assert!(again.routes().is_empty());
            database.apply(&again, at);
            prop_assert_eq!(&database, &settled);
            at += SignedDuration::from_mins(30);
        }
    }
}

/// A database in which `count` users have active learners.
fn staffed(count: u8) -> (Database, Vec<Entra>) {
    let users: Vec<Entra> =
        (0..count).map(|number| Entra::Assigned { name: number, email: number, department: Some(0) }).collect();
    let mut database = Database::default();
    let plan = plan_for(&database, &desired(&users), &limits(), now());
    database.apply(&plan, now());
    assert_eq!(database.linked().len(), usize::from(count));
    (database, users)
}

fn leave(users: &[Entra], count: usize) -> Vec<Entra> {
    users.iter().enumerate().map(|(index, user)| if index < count { Entra::Nowhere } else { user.clone() }).collect()
}

#[test]
fn the_threshold_holds_more_than_ten_and_more_than_the_share() {
    let check = |learners: u8, leavers: usize, expect: (u64, u64)| {
        let (database, users) = staffed(learners);
        let counts = plan_for(&database, &desired(&leave(&users, leavers)), &limits(), now()).counts();
        assert_eq!((counts.deactivated, counts.held), expect, "{leavers} of {learners}");
    };
    check(12, 10, (10, 0));
    check(12, 11, (0, 11));
    check(100, 20, (20, 0));
    check(100, 21, (0, 21));
    check(10, 10, (0, 10)); // Nobody is assigned any more.
}

#[test]
fn a_drain_over_several_cycles_is_held_as_well() {
    let (mut database, users) = staffed(100);
    let plan = plan_for(&database, &desired(&leave(&users, 20)), &limits(), now());
    database.apply(&plan, now());
    let counts = plan_for(&database, &desired(&leave(&users, 21)), &limits(), now()).counts();
    assert_eq!((counts.deactivated, counts.held), (0, 1));
}

#[test]
fn an_approval_releases_once_and_only_those_it_names() {
    let (mut database, users) = staffed(50);
    let gone = leave(&users, 30);
    let plan = plan_for(&database, &desired(&gone), &limits(), now());
    database.apply(&plan, now());
    assert_eq!(database.held.len(), 30);

    for (_, entry) in database.held.iter_mut().take(25) {
        entry.approved = Some((now(), "root".to_owned()));
    }
    let plan = plan_for(&database, &desired(&gone), &limits(), now() + DAY + SignedDuration::from_secs(1));
    assert_eq!((plan.counts().deactivated, plan.counts().held), (0, 30), "expired");
    let later = now() + SignedDuration::from_mins(30);
    let plan = plan_for(&database, &desired(&gone), &limits(), later);
    assert_eq!((plan.counts().deactivated, plan.counts().held), (25, 5));
    assert!(plan.applied().all(|change| change.detail.as_deref().unwrap().starts_with("approved by ")));
}

#[test]
fn an_attribute_that_vanishes_from_many_holds_the_updates_and_nothing_else() {
    let (mut database, mut users) = staffed(40);
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
fn an_emptied_group_keeps_its_count_while_somebody_last_seen_in_it_is_active() {
    let group = user(200);
    let (mut database, users) = staffed(3);
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
            nobody_assigned: false,
            confirmed,
            facts: &database.facts(),
            limits: &limits(),
            relink: None,
            now: now(),
        })
    };
    // Unreadable at first, unassigned later: the guard must still be there.
    let unreadable = check(&database, &verdicts(&Verdict::Unreadable("nothing told".to_owned())));
    assert_eq!(unreadable.counts().held, 3);
    assert!(unreadable.group_members().is_empty());
    database.apply(&unreadable, now());
    let unassigned = check(&database, &verdicts(&Verdict::Unassigned));
    let reasons: BTreeSet<Reason> = unassigned.left().iter().map(|finding| finding.reason).collect();
    assert_eq!(reasons, [Reason::EmptyGroup].into());
    assert_eq!(unassigned.counts().deactivated, 0);
}

fn renamed(users: &mut [Entra], names: &[(usize, u8)]) {
    for (index, new) in names {
        let Entra::Assigned { name, .. } = &mut users[*index] else { continue };
        *name = *new;
    }
}

#[test]
fn swaps_rings_and_chains_of_renames_succeed_in_one_cycle() {
    let (mut database, mut users) = staffed(8);
    // 0 and 1 swap, 2 to 4 are a ring, 5 takes 6's name and 6 a new one, a newcomer takes 7's.
    renamed(&mut users, &[(0, 1), (1, 0), (2, 3), (3, 4), (4, 2), (5, 6), (6, 20), (7, 21)]);
    users.push(Entra::Assigned { name: 7, email: 30, department: None });
    let plan = plan_for(&database, &desired(&users), &limits(), now());
    assert_eq!((plan.counts().updated, plan.counts().created, plan.counts().failed), (8, 1, 0));
    database.apply(&plan, now());
    assert_eq!(plan_for(&database, &desired(&users), &limits(), now()).applied().count(), 0);
}

#[test]
fn who_waits_for_the_value_of_somebody_who_stays_is_rejected_with_all_behind() {
    let (database, mut users) = staffed(4);
    // 3 wants what 2 has, 2 what 1 has, 1 what 0 has, and 0 has no mail any more.
    renamed(&mut users, &[(1, 0), (2, 1), (3, 2)]);
    users[0] = Entra::NoMail;
    let plan = plan_for(&database, &desired(&users), &limits(), now());
    assert_eq!((plan.counts().updated, plan.counts().failed, plan.counts().skipped), (0, 3, 1));
    assert!(plan.left().iter().any(|finding| {
        finding.reason == Reason::Conflict
            && finding.detail.as_deref().is_some_and(|detail| detail.contains(&user(0).to_string()))
    }));
}

#[test]
fn what_moves_together_stays_in_one_transaction() {
    let (database, mut users) = staffed(9);
    renamed(&mut users, &[(0, 20), (1, 21), (2, 3), (3, 4), (4, 5), (5, 2), (6, 22), (7, 23)]);
    users[8] = Entra::Disabled;
    let plan = plan_for(&database, &desired(&users), &limits(), now());
    let batches = units::arrange(plan.applied().cloned().collect(), 2);
    let users: Vec<Vec<u8>> = batches
        .iter()
        .map(|batch| batch.decisions().iter().map(|decision| decision.user.as_bytes()[0]).collect())
        .collect();
    assert_eq!(users, [vec![2, 3, 4, 5], vec![0, 1], vec![6, 7], vec![8]]);
}

#[test]
fn a_hold_ends_when_the_person_becomes_protected() {
    let (mut database, users) = staffed(12);
    let gone = leave(&users, 11);
    database.apply(&plan_for(&database, &desired(&gone), &limits(), now()), now());
    assert_eq!(database.held.len(), 11);
    let protected = UserList { ids: [user(0)].into(), ..UserList::default() };
    let plan = plan_for(&database, &desired(&gone), &Limits { protected, ..limits() }, now());
    assert_eq!((plan.counts().held, plan.counts().skipped), (10, 1));
    assert_eq!(plan.held_ended(), &[user(0)].into());
}

#[test]
fn what_somebody_else_switched_stays_switched_and_is_told_once() {
    let (mut database, users) = staffed(3);
    let switch = |database: &mut Database, learner: i64, active: bool| {
        database.rows.get_mut(&LearnerId::Number(learner)).unwrap().active = active;
    };
    // Off by hand while wanted, and promoted: not switched on, not changed.
    switch(&mut database, 1, false);
    let mut moved = users.clone();
    moved[0] = Entra::Assigned { name: 0, email: 0, department: Some(2) };
    let plan = plan_for(&database, &desired(&moved), &limits(), now());
    assert_eq!((plan.applied().count(), plan.counts().skipped), (0, 1));
    assert!(begins(&plan.left()[0]));
    database.apply(&plan, now());
    assert!(!plan_for(&database, &desired(&moved), &limits(), now()).left()[0].leave().unwrap().begins);

    // On by hand though gone.
    let gone = leave(&users, 2);
    let plan = plan_for(&database, &desired(&gone), &limits(), now());
    assert_eq!(plan.applied().map(|change| change.user).collect::<Vec<_>>(), [user(1)]);
    database.apply(&plan, now());
    switch(&mut database, 2, true);
    let plan = plan_for(&database, &desired(&gone), &limits(), now());
    assert_eq!((plan.applied().count(), plan.left()[0].reason), (0, Reason::Drift));
}

#[test]
fn protected_people_are_never_switched_off_and_count_for_nothing() {
    let (mut database, users) = staffed(30);
    let protected = UserList {
        ids: (0..6).map(user).collect(),
        user_names: (6..12).map(|number| format!("n{number}@example.org")).collect(),
    };
    let limits = Limits { protected, ..limits() };
    // 18 leave: too many together, but only 6 may leave at all.
    let plan = plan_for(&database, &desired(&leave(&users, 18)), &limits, now());
    assert_eq!((plan.counts().deactivated, plan.counts().skipped, plan.counts().held), (6, 12, 0));
    let told = |plan: &Plan| plan.left().iter().filter(|finding| begins(finding)).count();
    assert_eq!(told(&plan), 12);
    database.apply(&plan, now());
    let again = plan_for(&database, &desired(&leave(&users, 18)), &limits, now());
    assert_eq!((again.applied().count(), again.counts().skipped, told(&again)), (0, 12, 0));
}

#[test]
fn who_left_waits_for_deactivate_after_and_anew_after_a_return() {
    let (mut database, users) = staffed(30);
    let limits = Limits { deactivate_after: SignedDuration::from_hours(48), ..limits() };
    let mut cycle = |users: &[Entra], hours: i64| {
        let at = now() + SignedDuration::from_hours(hours);
        let plan = plan_for(&database, &desired(users), &limits, at);
        database.apply(&plan, at);
        (plan.counts().deactivated, plan.counts().skipped)
    };
    assert_eq!(cycle(&leave(&users, 2), 0), (0, 2));
    assert_eq!(cycle(&leave(&users, 2), 47), (0, 2));
    assert_eq!(cycle(&leave(&users, 1), 47), (0, 1));
    assert_eq!(cycle(&leave(&users, 2), 48), (1, 1));
    assert_eq!(cycle(&leave(&users, 2), 95), (0, 1));
    assert_eq!(cycle(&leave(&users, 2), 96), (1, 0));
}

#[test]
fn who_becomes_readable_is_held_no_more_but_waits_like_everybody() {
    let (mut database, users) = staffed(30);
    let gone = desired(&leave(&users, 1));
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
            nobody_assigned: false,
            confirmed: &Confirmed::from([(user(0), verdict)]),
            facts: &database.facts(),
            limits: &limits,
            relink: None,
            now: at,
        });
        database.apply(&plan, at);
        (plan.counts().deactivated, plan.counts().held, plan.counts().skipped)
    };
    assert_eq!(cycle(Verdict::Unreadable("nothing told".to_owned()), 0), (0, 1, 0));
    assert_eq!(cycle(Verdict::Unassigned, 1), (0, 0, 1));
    assert_eq!(cycle(Verdict::Unassigned, 48), (0, 0, 1));
    assert_eq!(cycle(Verdict::Unassigned, 49), (1, 0, 0));
}

#[test]
fn who_is_nowhere_waits_once_and_not_in_turns() {
    let (mut database, mut users) = staffed(30);
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
fn who_is_nowhere_and_protected_is_told_once() {
    let (mut database, mut users) = staffed(30);
    users[0] = Entra::Missing;
    let protected = UserList { ids: [user(0)].into(), ..UserList::default() };
    let limits = Limits { protected, ..limits() };
    let mut cycle = |minutes: i64| {
        let at = now() + SignedDuration::from_mins(minutes);
        let plan = plan_for(&database, &desired(&users), &limits, at);
        database.apply(&plan, at);
        plan.left().iter().map(|finding| (finding.reason, begins(finding))).collect::<Vec<_>>()
    };
    assert_eq!(cycle(0), [(Reason::Protected, true)]);
    for minutes in [30, 60, 90] {
        assert_eq!(cycle(minutes), [(Reason::Protected, false)]);
    }
}

#[test]
fn who_waited_as_gone_has_not_been_nowhere_yet() {
    let (mut database, users) = staffed(30);
    let gone = leave(&users, 1);
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
    // Assigned again, but nowhere: one look is not two, however long the wait was that ends with it.
    assert_eq!(cycle(&nowhere, 60), 0);
    assert_eq!(cycle(&nowhere, 60), 0);
    assert_eq!(cycle(&nowhere, 119), 0);
    assert_eq!(cycle(&nowhere, 120), 1);
}

#[test]
fn the_second_look_at_a_group_counts_also_when_the_bounds_name_it() {
    let (database, users) = staffed(5);
    let facts = database.facts();
    let plan = plan(PlanInput {
        linked: &database.linked(),
        last_written: None,
        desired: &desired(&users),
        groups: &MemberCounts::from([(user(90), 5)]),
        // A stale first look at the same group, and a group that is not assigned.
        named_groups: &MemberCounts::from([(user(90), 0), (user(91), 4)]),
        hidden: &BTreeSet::new(),
        nobody_assigned: false,
        confirmed: &Confirmed::new(),
        facts: &DatabaseFacts { last_members: MemberCounts::from([(user(90), 5)]), ..facts },
        limits: &limits(),
        relink: None,
        now: now(),
    });
    assert_eq!(plan.group_members(), &MemberCounts::from([(user(91), 4)]));
}
