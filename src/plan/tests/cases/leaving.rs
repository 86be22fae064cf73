//! Leaving: reasons, waits, protection and exclusion.

use super::super::world::{World, direct, through};
use super::super::*;
use crate::model::Cause;

#[test]
fn the_reason_of_a_leaver_comes_from_a_complete_row_or_the_confirmation() {
    let mut world = World::new();
    for number in 1..=9 {
        world.learner(number);
    }
    world.assess(1, Assessment::Leaving(Reason::AccountDisabled));
    world.assess(2, Assessment::Leaving(Reason::OutOfScope));
    world.assess(9, Assessment::Unchanged);
    let verdicts = [Verdict::Disabled, Verdict::Unassigned, Verdict::Present, Verdict::Deleted, Verdict::NotFound];
    for (number, verdict) in (3..).zip(verdicts) {
        world.confirmed.insert(user(number), verdict);
    }
    world.confirmed.insert(user(8), Verdict::Unreadable("no property accountEnabled".to_owned()));
    world.limits.max_deactivation_percent = 100;
    world.check(
        r"
        deactivate learner 1 of u1: account-disabled
            active: true -> false
        deactivate learner 2 of u2: out-of-scope
            active: true -> false
        deactivate learner 3 of u3: account-disabled
            active: true -> false
        deactivate learner 4 of u4: unassigned
            active: true -> false
        deactivate learner 6 of u6: account-deleted
            active: true -> false
        deactivate learner 7 of u7: account-deleted
            active: true -> false
        hold deactivate learner 8 of u8: unreadable; no property accountEnabled
            active: true -> false
        1 in scope, 6 deactivated, 2 unchanged, 1 held
    ",
    );
}

#[test]
fn a_missing_answer_holds_the_leaver() {
    let mut world = World::new();
    world.learner(1);
    world.learner(2);
    world.assess(2, Assessment::NotFound);
    world.check(
        r"
        hold deactivate learner 1 of u1: unreadable; the confirmation has no answer for this account
            active: true -> false
        hold deactivate learner 2 of u2: unreadable; the confirmation has no answer for this account
            active: true -> false
        2 held
    ",
    );
}

#[test]
fn an_assigned_account_that_is_missing_waits_for_a_second_cycle() {
    let mut world = World::new();
    world.learner(1);
    world.assess(1, Assessment::NotFound);
    world.confirmed.insert(user(1), Verdict::NotFound);
    world.check(r"
        skip deactivate learner 1 of u1: waiting; still assigned, but the account is neither among the users nor in the deleted items (continues)
        1 skipped
    ");
    world.waiting(1, Cause::AccountMissing, 19);
    world.check(r"
        skip deactivate learner 1 of u1: waiting; still assigned, but the account is neither among the users nor in the deleted items (continues)
        1 skipped
    ");
    world.waiting(1, Cause::AccountMissing, 20);
    world.check(
        r"
        deactivate learner 1 of u1: account-deleted
            active: true -> false
        1 deactivated
    ",
    );
    // A wait for something else does not count, and ends.
    world.waiting(1, Cause::DeactivateAfter, 20);
    world.check(r"
        skip deactivate learner 1 of u1: waiting; still assigned, but the account is neither among the users nor in the deleted items (continues)
        failure ends u1
        1 skipped
    ");
    let verdicts = [Verdict::Present, Verdict::Unassigned, Verdict::Disabled, Verdict::Deleted];
    let reasons = verdicts.map(|verdict| {
        world.confirmed.insert(user(1), verdict);
        world.plan().applied().next().map(|decision| decision.reason)
    });
    assert_eq!(reasons, [None, None, Some(Reason::AccountDisabled), Some(Reason::AccountDeleted)]);
}

#[test]
fn a_leaver_waits_for_deactivate_after_unless_held_or_protected() {
    let mut world = World::new();
    world.limits.deactivate_after = SignedDuration::from_mins(60);
    world.leaver(1);
    world.check(
        r"
        skip deactivate learner 1 of u1: waiting; unassigned, but safety.deactivate_after has not passed yet (continues)
        1 skipped
    ",
    );
    world.waiting(1, Cause::DeactivateAfter, 59);
    world.check(
        r"
        skip deactivate learner 1 of u1: waiting; unassigned, but safety.deactivate_after has not passed yet (continues)
        1 skipped
    ",
    );
    world.waiting(1, Cause::DeactivateAfter, 60);
    world.check(
        r"
        deactivate learner 1 of u1: unassigned
            active: true -> false
        1 deactivated
    ",
    );
    world.failing(1, Reason::Conflict).first_at = now() - SignedDuration::from_hours(9);
    world.check(
        r"
        skip deactivate learner 1 of u1: waiting; unassigned, but safety.deactivate_after has not passed yet (continues)
        1 skipped
    ",
    );
    // A held learner has waited; one that was unreadable has not.
    world.failing.clear();
    world.hold(1, Action::Deactivate, Reason::Threshold);
    world.check(
        r"
        hold deactivate learner 1 of u1: threshold; would deactivate (unassigned) (continues)
            active: true -> false
        1 held
    ",
    );
    world.hold(1, Action::Deactivate, Reason::Unreadable);
    world.check(
        r"
        skip deactivate learner 1 of u1: waiting; unassigned, but safety.deactivate_after has not passed yet (continues)
        hold ends u1: the account is readable again
        1 skipped
    ",
    );
    world.held.clear();
    world.confirmed.insert(user(1), Verdict::Unreadable("no answer".to_owned()));
    world.check(
        r"
        hold deactivate learner 1 of u1: unreadable; no answer
            active: true -> false
        1 held
    ",
    );
}

#[test]
fn protected_users_are_never_deactivated() {
    let mut world = World::new();
    for number in 1..=3 {
        world.leaver(number);
    }
    world.limits.protected = UserList { ids: [user(1)].into(), user_names: ["n2".to_owned()].into() };
    world.failing(2, Reason::Protected);
    world.hold(1, Action::Deactivate, Reason::Threshold);
    world.check(
        r"
        deactivate learner 3 of u3: unassigned
            active: true -> false
        skip deactivate learner 1 of u1: protected; would deactivate (unassigned), but safety.protected names the user
        skip deactivate learner 2 of u2: protected; would deactivate (unassigned), but safety.protected names the user (continues)
        hold ends u1: safety.protected names the user
        1 deactivated, 2 skipped
    ",
    );
}

#[test]
fn a_leaver_deactivated_outside_needs_no_change_and_a_reactivated_one_stays_active() {
    let mut world = World::new();
    world.leaver(1).active = false;
    world.hold(1, Action::Deactivate, Reason::Threshold);
    world.stale_links = world.linked();
    world.stale_links.get_mut(&user(1)).unwrap().active = true;
    world.check(
        r"
        compared u1: inactive
        hold ends u1: the learner is inactive already
    ",
    );

    let mut world = World::new();
    world.leaver(1).deactivated = true;
    world.check(
        r"
        skip deactivate learner 1 of u1: drift; reactivated outside learner-sync; left active
            active: true -> false
        1 skipped
    ",
    );
    world.limits.repair = Repair::All;
    world.check(
        r"
        deactivate learner 1 of u1: drift; reactivated outside learner-sync; now unassigned
            active: true -> false
        1 deactivated
    ",
    );
}

#[test]
fn excluded_users_are_left_as_they_are() {
    let mut world = World::new();
    for number in 1..=4 {
        world.leaver(number);
    }
    world.wanted(5);
    world.wanted(6);
    world.restrict(&[], &[1, 5]);
    world.desired.restrictions.ignore.user_names = ["n2".to_owned()].into();
    world.routes.insert(user(3), through(200));
    world.desired.restrictions.ignore.ids.insert(user(200));
    world.check(
        r#"
        create u6: assigned
            userName: n6
            emails[type eq "work"].value: e6
            department: d6
            active: true
        deactivate learner 4 of u4: unassigned
            active: true -> false
        skip create u5: out-of-scope; excluded by scope.ignore
        skip update learner 1 of u1: out-of-scope; excluded by scope.ignore
        skip update learner 2 of u2: out-of-scope; excluded by scope.ignore
        skip update learner 3 of u3: out-of-scope; excluded by scope.ignore
        1 in scope, 1 created, 1 deactivated, 4 skipped
    "#,
    );

    let mut world = World::new();
    for number in 1..=3 {
        world.leaver(number);
    }
    world.restrict(&[1], &[]);
    world.desired.restrictions.only.user_names = ["n2".to_owned()].into();
    world.check(
        r"
        deactivate learner 1 of u1: unassigned
            active: true -> false
        deactivate learner 2 of u2: unassigned
            active: true -> false
        skip update learner 3 of u3: out-of-scope; excluded by scope.only
        2 deactivated, 1 skipped
    ",
    );
}

#[test]
fn a_user_excluded_by_id_needs_no_confirmation() {
    let candidates_of = |world: &World| {
        let Candidates { absent, unread } = candidates(&world.linked(), &world.desired);
        let numbers = |users: Vec<EntraId>| users.iter().map(|user| user.as_bytes()[0]).collect::<Vec<_>>();
        (numbers(absent), numbers(unread))
    };
    let mut world = World::new();
    for number in 1..=4 {
        world.learner(number);
    }
    world.inactive_learner(5);
    world.assess(2, Assessment::NotFound);
    world.assess(3, Assessment::Unchanged);
    assert_eq!(candidates_of(&world), (vec![1, 4], vec![2]));
    world.restrict(&[], &[1]);
    assert_eq!(candidates_of(&world), (vec![4], vec![2]));
    world.restrict(&[1], &[]);
    assert_eq!(candidates_of(&world), (vec![1], vec![]));
    // Only the learner row says who has this user name.
    world.desired.restrictions.only.user_names = ["n4".to_owned()].into();
    assert_eq!(candidates_of(&world), (vec![1, 4], vec![2]));
}

#[test]
fn a_deleted_or_emptied_group_is_lost_unless_a_learner_was_seen_in_it() {
    let mut world = World::new();
    world.learner(1);
    let restrictions = |only: &[u8], ignore: &[u8]| {
        let mut world = World::new();
        world.restrict(only, ignore);
        world.desired.restrictions
    };
    let lost = |named: &[(u8, u64)], last: &[(u8, u64)], world: &World| {
        let counts = |counts: &[(u8, u64)]| counts.iter().map(|(group, count)| (user(*group), *count)).collect();
        lost_group(&restrictions(&[200], &[201]), &counts(named), &counts(last), &world.linked(), &world.desired)
    };
    assert_eq!(lost(&[], &[], &world), None);
    assert_eq!(lost(&[(200, 1)], &[(200, 9)], &world), None);
    assert_eq!(lost(&[], &[(200, 1)], &world), Some(user(200)));
    assert_eq!(lost(&[], &[(201, 1)], &world), Some(user(201)));
    assert_eq!(lost(&[(200, 0)], &[(200, 2)], &world), None);
    assert_eq!(lost(&[(200, 0)], &[(200, 3)], &world), Some(user(200)));
    assert_eq!(lost(&[], &[(202, 5)], &world), None);
    world.routes.insert(user(1), through(200));
    assert_eq!(lost(&[], &[(200, 1)], &world), None);
    // Assigned now, through the group or without it.
    for (routes, known) in [(through(200), true), (through(202), false), (direct(), false)] {
        world.desired.users.insert(user(1), AssignedUser::new(Assessment::Unchanged, routes));
        assert_eq!(lost(&[], &[(200, 1)], &world).is_none(), known);
    }
}
