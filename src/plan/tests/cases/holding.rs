//! Holds of deactivations and of updates, and their ends.

use super::super::world::{World, direct, through};
use super::super::*;
use crate::model::Cause;

pub(super) fn leavers(count: u8, of: u8) -> World {
    let mut world = World::new();
    for number in 0..of {
        world.learner(number);
        world.assess(number, Assessment::Unchanged);
    }
    for number in 0..count {
        world.desired.users.remove(&user(number));
        world.confirmed.insert(user(number), Verdict::Unassigned);
    }
    world
}

#[test]
fn limits_hold_one_deactivation_more_than_they_allow() {
    let counts = |world: &World| (world.plan().counts().deactivated, world.plan().counts().held);
    // Up to ten, the percentage does not matter.
    assert_eq!(counts(&leavers(10, 20)), (10, 0));
    assert_eq!(counts(&leavers(11, 55)), (11, 0));
    assert_eq!(counts(&leavers(11, 54)), (0, 11));
    let mut world = leavers(5, 100);
    world.limits.max_deactivations = 5;
    assert_eq!(counts(&world), (5, 0));
    world.limits.max_deactivations = 4;
    assert_eq!(counts(&world), (0, 5));
    // Deactivations of the last 24 hours count on both sides.
    let mut world = leavers(6, 50);
    world.recently_deactivated = 5;
    assert_eq!(counts(&world), (6, 0));
    world.recently_deactivated = 7;
    assert_eq!(counts(&world), (0, 6));
    // Approved users count on neither.
    for number in 0..3 {
        world.hold(number, Action::Deactivate, Reason::Threshold).approved = Some((now(), "root".to_owned()));
    }
    assert_eq!(counts(&world), (6, 0));
    let mut world = leavers(2, 3);
    world.limits.max_deactivations = 1;
    world.check(r"
        hold deactivate learner 0 of u0: threshold; would deactivate (unassigned): 2 deactivations now and 0 in the last 24 hours exceed 1 (safety.max_deactivations)
            active: true -> false
        hold deactivate learner 1 of u1: threshold; would deactivate (unassigned): 2 deactivations now and 0 in the last 24 hours exceed 1 (safety.max_deactivations)
            active: true -> false
        1 in scope, 1 unchanged, 2 held
    ");
    world.limits.max_deactivations = 500;
    world.recently_deactivated = 10;
    world.check(r"
        hold deactivate learner 0 of u0: threshold; would deactivate (unassigned): 2 deactivations now and 10 in the last 24 hours exceed 20 % of 13 active learners (safety.max_deactivation_percent)
            active: true -> false
        hold deactivate learner 1 of u1: threshold; would deactivate (unassigned): 2 deactivations now and 10 in the last 24 hours exceed 20 % of 13 active learners (safety.max_deactivation_percent)
            active: true -> false
        1 in scope, 1 unchanged, 2 held
    ");
    let hour = SignedDuration::from_hours(1);
    for (graph, recently) in [
        (Some(Ok(GraphTime::at(now() - hour))), "and 10 in the last 24 hours by either clock exceed"),
        (
            Some(Err(crate::model::ClockFault::Missing)),
            "and 10 at any time (Graph's clock is unknown, so the whole log counts) exceed",
        ),
    ] {
        world.time = CycleTime::new(now(), graph, None);
        let plan = world.plan().to_string();
        assert!(plan.contains(recently), "{plan}");
    }
}

#[test]
fn a_hold_lasts_until_it_is_approved_for_its_action() {
    let mut world = leavers(1, 2);
    world.hold(0, Action::Deactivate, Reason::Threshold);
    world.check(
        r"
        hold deactivate learner 0 of u0: threshold; would deactivate (unassigned) (continues)
            active: true -> false
        1 in scope, 1 unchanged, 1 held
    ",
    );
    let approve = |world: &mut World, minutes: i64| {
        let at = now() - SignedDuration::from_mins(minutes);
        world.held.get_mut(&user(0)).unwrap().approved = Some((at, "ada".to_owned()));
    };
    approve(&mut world, 24 * 60);
    world.check(
        r"
        deactivate learner 0 of u0: unassigned; approved by ada at 2026-01-01T03:04:05Z
            active: true -> false
        hold ends u0: approved by ada at 2026-01-01T03:04:05Z
        1 in scope, 1 deactivated, 1 unchanged
    ",
    );
    let approved_by: Vec<_> = world.plan().applied().map(|it| it.row_after().unwrap().approved_by.clone()).collect();
    assert_eq!(approved_by, [Some("ada".to_owned())]);
    approve(&mut world, 24 * 60 + 6);
    assert_eq!(world.plan().counts().held, 1);
    approve(&mut world, -6);
    assert_eq!(world.plan().counts().held, 1, "an approval in the future");
    // A new reason is logged, even for the same action.
    let mut unreadable = leavers(2, 3);
    unreadable.limits.max_deactivations = 1;
    unreadable.hold(0, Action::Deactivate, Reason::Unreadable);
    unreadable.hold(1, Action::Update, Reason::Threshold);
    assert!(unreadable.plan().not_applied().iter().all(begins));
    // The hold has another action, or lacks evidence.
    world.hold(0, Action::Update, Reason::Threshold);
    approve(&mut world, 0);
    world.check(
        r"
        deactivate learner 0 of u0: unassigned
            active: true -> false
        hold ends u0: the learner is deactivated
        1 in scope, 1 deactivated, 1 unchanged
    ",
    );
    world.hold(0, Action::Deactivate, Reason::Threshold);
    approve(&mut world, 0);
    world.confirmed.insert(user(0), Verdict::Unreadable("no answer".to_owned()));
    world.check(
        r"
        hold deactivate learner 0 of u0: threshold; no answer (continues)
            active: true -> false
        1 in scope, 1 unchanged, 1 held
    ",
    );
    world.hold(0, Action::Deactivate, Reason::Unreadable);
    world.check(
        r"
        hold deactivate learner 0 of u0: unreadable; no answer (continues)
            active: true -> false
        1 in scope, 1 unchanged, 1 held
    ",
    );
}

#[test]
fn several_recreated_users_are_pointed_to_one_command() {
    let mut world = World::new();
    for number in [1, 2] {
        world.learner(number);
        world.confirmed.insert(user(number), Verdict::Deleted);
        world.wanted_as(number + 10, number);
    }
    // The account of this one still exists.
    world.leaver(3);
    world.wanted_as(13, 3);
    let plan = world.plan();
    let causes: Vec<_> = plan.not_applied().iter().filter_map(|decision| decision.leave()?.cause).collect();
    assert_eq!(causes, [Cause::Recreated, Cause::Recreated]);
    let text = plan.to_string();
    assert_eq!(text.matches("run: learner-sync approve --relink").count(), 2, "{text}");
    let found = recreated(world.input(&world.linked(), &world.facts(), &BTreeMap::new()), SOURCE);
    assert_eq!((found.pairs.len(), found.doubts.len()), (0, 3));
}

#[test]
fn after_a_take_over_every_leaver_is_held_once() {
    let mut world = World::new();
    world.taken_over = true;
    world.limits.deactivate_after = SignedDuration::from_mins(60);
    world.leaver(1);
    world.leaver(2);
    let approval = (now(), "grace".to_owned());
    world.hold(2, Action::Deactivate, Reason::Threshold).approved = Some(approval);
    world.wanted(3);
    let plan = world.plan();
    assert!(plan.take_over_ended());
    world::check_plan(
        &plan,
        r#"
        create u3: assigned
            userName: n3
            emails[type eq "work"].value: e3
            department: d3
            active: true
        deactivate learner 2 of u2: unassigned; approved by grace at 2026-01-02T03:04:05Z
            active: true -> false
        hold deactivate learner 1 of u1: threshold; would deactivate (unassigned): the learners were taken over from another application
            active: true -> false
        hold ends u2: approved by grace at 2026-01-02T03:04:05Z
        1 in scope, 1 created, 1 deactivated, 1 held
    "#,
    );
    // One user is not all.
    assert!(!plan.for_user(user(1), &world.desired).take_over_ended());
}

#[test]
fn the_last_members_of_a_group_that_became_empty_are_held() {
    let mut world = leavers(1, 2);
    world.routes.insert(user(0), through(200));
    world.groups.insert(user(200), 0);
    world.last_members.insert(user(200), 3);
    world.check(
        r"
        hold deactivate learner 0 of u0: empty-group; would deactivate (unassigned): group u200 no longer has members
            active: true -> false
        1 in scope, 1 unchanged, 1 held
    ",
    );
    // A small group may become empty, unless it hides its members.
    world.last_members.insert(user(200), 2);
    world.check(
        r"
        deactivate learner 0 of u0: unassigned
            active: true -> false
        group u200: 0 members
        1 in scope, 1 deactivated, 1 unchanged
    ",
    );
    world.hidden.insert(user(200));
    world.check(
        r"
        hold deactivate learner 0 of u0: empty-group; would deactivate (unassigned): group u200 hides its members
            active: true -> false
        1 in scope, 1 unchanged, 1 held
    ",
    );
    // Whatever its size, a group that does not exist any more may come back.
    world.hidden.clear();
    world.gone.insert(user(200));
    world.check(
        r"
        hold deactivate learner 0 of u0: empty-group; would deactivate (unassigned): group u200 no longer exists
            active: true -> false
        1 in scope, 1 unchanged, 1 held
    ",
    );
    world.gone.clear();
    world.hidden.insert(user(200));
    // A user who was elsewhere may have moved into it.
    world.routes.insert(user(0), direct());
    world.check(r"
        hold deactivate learner 0 of u0: empty-group; would deactivate (unassigned): group u200 hides its members, which may include the user
            active: true -> false
        group u200: 0 members
        1 in scope, 1 unchanged, 1 held
    ");
    world.confirmed.insert(user(0), Verdict::Deleted);
    world.check(
        r"
        deactivate learner 0 of u0: account-deleted
            active: true -> false
        group u200: 0 members
        1 in scope, 1 deactivated, 1 unchanged
    ",
    );
    world.confirmed.insert(user(0), Verdict::Unassigned);
    world.hidden.clear();
    world.nobody_assigned = true;
    world.check(
        r"
        hold deactivate learner 0 of u0: empty-group; would deactivate (unassigned): the application has no assignments
            active: true -> false
        group u200: 0 members
        1 in scope, 1 unchanged, 1 held
    ",
    );
}

#[test]
fn member_counts_are_recorded_when_they_change() {
    let mut world = World::new();
    world.groups = MemberCounts::from([(user(200), 4), (user(201), 5)]);
    world.named_groups = MemberCounts::from([(user(200), 1), (user(202), 6)]);
    world.last_members = MemberCounts::from([(user(201), 5)]);
    world.check(
        r"
        group u200: 4 members
        group u202: 6 members
    ",
    );
    // A guarded group keeps its count while a learner that was seen in it is active and not assigned.
    let mut world = World::new();
    world.groups.insert(user(200), 0);
    world.last_members.insert(user(200), 3);
    world.inactive_learner(1);
    world.routes.insert(user(1), through(200));
    world.check(
        r"
        group u200: 0 members
    ",
    );
    world.rows.clear();
    world.learner(1);
    world.assess(1, Assessment::NotFound);
    world.confirmed.insert(user(1), Verdict::Present);
    world.check(
        r"
        routes u1: direct
    ",
    );
}

pub(super) fn updates(count: u8, of: u8, department: Option<&str>) -> World {
    let mut world = World::new();
    for number in 0..of {
        world.learner(number);
        world.assess(number, Assessment::Unchanged);
    }
    for number in 0..count {
        world.wanted(number).values.insert(Attribute::Department, department);
    }
    world
}

#[test]
fn updates_are_held_when_a_value_disappears_from_too_many_learners() {
    let counts = |world: &World| (world.plan().counts().updated, world.plan().counts().held);
    assert_eq!(counts(&updates(10, 20, None)), (10, 0));
    assert_eq!(counts(&updates(11, 55, None)), (11, 0));
    assert_eq!(counts(&updates(11, 54, None)), (0, 11));
    assert_eq!(counts(&updates(11, 54, Some("new"))), (11, 0));
    // Rows that are reactivated or adopted have the value as well.
    let mut world = updates(11, 54, None);
    world.inactive_learner(100);
    world.wanted(100);
    assert_eq!(counts(&world), (11, 0));
    let mut world = updates(11, 54, None);
    world.unlinked_learner(100);
    world.wanted(100);
    assert_eq!(counts(&world), (12, 0));
    // Approved users do not count.
    let mut world = updates(11, 54, None);
    world.hold(0, Action::Update, Reason::Threshold).approved = Some((now(), "root".to_owned()));
    assert_eq!(counts(&world), (11, 0));
    let mut world = updates(1, 2, None);
    world.hold(0, Action::Update, Reason::Threshold);
    world.check(
        r"
        hold update learner 0 of u0: threshold (continues)
            department: d0 -> (nothing)
        2 in scope, 1 unchanged, 1 held
    ",
    );
}

#[test]
fn updates_are_held_beyond_max_update_percent() {
    let counts = |world: &World| (world.plan().counts().updated, world.plan().counts().held);
    let mut world = updates(2, 4, Some("new"));
    world.limits.max_update_percent = 50;
    assert_eq!(counts(&world), (2, 0));
    world.limits.max_update_percent = 49;
    assert_eq!(counts(&world), (0, 2));
    world.wanted(5);
    world.check(
        r#"
        create u5: assigned
            userName: n5
            emails[type eq "work"].value: e5
            department: d5
            active: true
        hold update learner 0 of u0: threshold; 2 updates exceed 49 % of 4 active learners (safety.max_update_percent)
            department: d0 -> new
        hold update learner 1 of u1: threshold; 2 updates exceed 49 % of 4 active learners (safety.max_update_percent)
            department: d1 -> new
        5 in scope, 1 created, 2 unchanged, 2 held
    "#,
    );
    // A change of letter case alone is not counted, but one with another change is.
    let mut world = updates(2, 4, None);
    world.limits.max_update_percent = 0;
    world.wanted(0).values.insert(Attribute::UserName, Some("N0"));
    world.wanted(1).values.insert(Attribute::Email, Some("E1"));
    assert_eq!(counts(&world), (2, 0));
    world.wanted(1).values.insert(Attribute::Department, Some("D1"));
    assert_eq!(counts(&world), (0, 2));
    // A rejected user is not an update.
    let mut world = updates(2, 4, Some("new"));
    world.limits.max_update_percent = 50;
    world.rejected(3, Reason::InvalidValue);
    assert_eq!(counts(&world), (2, 0));
    // Adopted learners are not linked yet, so one update is more than 100 % of them.
    let mut world = World::new();
    world.unlinked_learner(1);
    world.wanted(1);
    assert_eq!(counts(&world), (1, 0));
    let mut world = updates(4, 4, Some("new"));
    world.limits.max_update_percent = 100;
    assert_eq!(counts(&world), (4, 0));
}

#[test]
fn a_hold_ends_when_nothing_is_left_to_hold() {
    let ends = |action: Action, prepare: &dyn Fn(&mut World)| {
        let mut world = World::new();
        world.learner(1);
        world.hold(1, action, Reason::Threshold);
        prepare(&mut world);
        world.plan().held_ended().contains_key(&user(1))
    };
    let (deactivate, update) = (Action::Deactivate, Action::Update);
    assert!(ends(deactivate, &|world| world.assess(1, Assessment::Unchanged)));
    assert!(ends(update, &|world| world.assess(1, Assessment::Unchanged)));
    assert!(ends(deactivate, &|world| drop(world.wanted(1).values.clone())));
    assert!(ends(update, &|world| drop(world.wanted(1).values.clone())), "compared and as wanted");
    assert!(!ends(update, &|world| world.rejected(1, Reason::InvalidValue)));
    assert!(!ends(deactivate, &|world| world.rejected(1, Reason::InvalidValue)));
    assert!(!ends(update, &|world| {
        world.rows[0].active = false;
        world.rejected(1, Reason::InvalidValue);
    }));
    // A hand deactivated the learner, and the user leaves. The cache notices it one cycle later.
    for in_cache in [true, false] {
        let by_hand = |world: &mut World| {
            if !in_cache {
                world.stale_links = world.linked();
            }
            world.rows[0].active = false;
        };
        for assess in [
            &|world: &mut World| world.assess(1, Assessment::Leaving(Reason::AccountDisabled)),
            &|world: &mut World| {
                world.assess(1, Assessment::NotFound);
                world.confirmed.insert(user(1), Verdict::Deleted);
            },
            &|world: &mut World| drop(world.confirmed.insert(user(1), Verdict::Unassigned)),
        ] as [&dyn Fn(&mut World); 3]
        {
            // The transaction of the deactivation ends the hold.
            assert!(!ends(update, assess));
            assert!(ends(update, &|world| {
                by_hand(world);
                assess(world);
            }));
        }
    }
    assert!(ends(deactivate, &|world| {
        world.learner(2);
        world.wanted_as(1, 2);
    }));
    assert!(!ends(update, &|world| drop(world.confirmed.insert(user(1), Verdict::Present))));
    // Readable again, but assigned: the next cycle assesses the user.
    assert!(!ends(deactivate, &|world| {
        world.hold(1, Action::Deactivate, Reason::Unreadable);
        world.confirmed.insert(user(1), Verdict::Present);
    }));
    assert!(ends(update, &|world| world.rows[0].active = false));
    assert!(ends(deactivate, &|world| world.rows[0].active = false));
    assert!(ends(deactivate, &|world| world.rows.clear()), "the learner is not linked any more");
    assert!(!ends(deactivate, &|world| drop(world.confirmed.insert(user(1), Verdict::Unassigned))));
}

#[test]
fn a_failure_ends_when_the_user_is_not_left_any_more() {
    let mut world = World::new();
    for number in 1..=4 {
        world.learner(number);
        world.failing(number, Reason::Conflict);
    }
    world.assess(1, Assessment::Unchanged);
    world.wanted_as(2, 8);
    world.rejected(3, Reason::InvalidValue);
    world.confirmed.insert(user(4), Verdict::Unassigned);
    world.hold(4, Action::Deactivate, Reason::Threshold);
    world.check(
        r#"
        update learner 2 of u2: attributes-changed
            userName: n2 -> n8
            emails[type eq "work"].value: e2 -> e8
            department: d2 -> d8
        fail update learner 3 of u3: invalid-value; a rule
        hold deactivate learner 4 of u4: threshold; would deactivate (unassigned) (continues)
            active: true -> false
        failure ends u1
        failure ends u4
        3 in scope, 1 updated, 1 unchanged, 1 failed, 1 held
    "#,
    );
}
