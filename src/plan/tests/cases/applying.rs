//! What is shown, what is looked up, and how transactions are cut.

use super::super::world::{World, through};
use super::super::*;
use super::holding::leavers;
use super::holding::updates;

#[test]
fn redacted_values_are_hidden_wherever_they_are_shown() {
    let mut world = World::new();
    world.limits.redacted = [Attribute::UserName, Attribute::Department].into();
    world.learner(1);
    world.wanted_as(1, 2);
    world.rejected(3, Reason::InvalidValue);
    world.learner(3);
    world.check(
        r#"
        update learner 1 of u1: attributes-changed
            userName: [Redact] -> [Redact]
            emails[type eq "work"].value: e1 -> e2
            department: [Redact] -> [Redact]
        fail update learner 3 of u3: invalid-value; a rule
        2 in scope, 1 updated, 1 failed
    "#,
    );
    let names: Vec<_> = world.plan().decisions().map(|decision| decision.user_name().map(str::to_owned)).collect();
    assert_eq!(names, [Some(REDACTED.to_owned()), Some(REDACTED.to_owned())]);
    world.limits.redacted = [Attribute::Department].into();
    let names: Vec<_> = world.plan().decisions().map(|decision| decision.user_name().map(str::to_owned)).collect();
    assert_eq!(names, [Some("n2".to_owned()), Some("n3".to_owned())]);
    world.limits.redacted = [Attribute::UserName].into();
    world.assess(4, Assessment::Leaving(Reason::OutOfScope));
    assert_eq!(world.plan().decisions_on(user(4)).next().unwrap().user_name(), None);
}

#[test]
fn a_plan_for_one_user_keeps_those_who_hand_values_to_it() {
    let mut world = World::new();
    for number in 1..=3 {
        world.learner(number);
    }
    world.wanted_as(1, 2);
    world.wanted_as(2, 9);
    world.wanted_as(3, 8);
    world.rejected(4, Reason::InvalidValue);
    world.routes.insert(user(3), through(200));
    world.groups.insert(user(200), 7);
    world.hold(5, Action::Deactivate, Reason::Threshold);
    world.failing(6, Reason::Conflict);
    let only = |number: u8, expect: &str| {
        world::check_plan(&world.plan().for_user(user(number), &world.desired), expect);
    };
    only(
        1,
        r#"
        update learner 2 of u2: attributes-changed
            userName: n2 -> n9
            emails[type eq "work"].value: e2 -> e9
            department: d2 -> d9
        update learner 1 of u1: attributes-changed
            userName: n1 -> n2
            emails[type eq "work"].value: e1 -> e2
            department: d1 -> d2
        1 in scope, 2 updated
    "#,
    );
    only(
        3,
        r#"
        update learner 3 of u3: attributes-changed
            userName: n3 -> n8
            emails[type eq "work"].value: e3 -> e8
            department: d3 -> d8
        routes u3: direct
        1 in scope, 1 updated
    "#,
    );
    only(
        4,
        r"
        fail create u4: invalid-value; a rule
        1 in scope, 1 failed
    ",
    );
    only(
        7, r"
    ",
    );
    let mut world = World::new();
    world.learner(1);
    world.assess(1, Assessment::Unchanged);
    world::check_plan(
        &world.plan().for_user(user(1), &world.desired),
        r"
        1 in scope, 1 unchanged
    ",
    );
    let mut world = leavers(1, 2);
    world.hold(0, Action::Deactivate, Reason::Threshold);
    world::check_plan(
        &world.plan().for_user(user(0), &world.desired),
        r"
        hold deactivate learner 0 of u0: threshold; would deactivate (unassigned) (continues)
            active: true -> false
        1 held
    ",
    );
}

#[test]
fn transactions_are_cut_between_units() {
    let mut world = World::new();
    for number in 0..6 {
        world.learner(number);
    }
    for (number, name) in [(0, 20), (1, 21), (2, 3), (3, 2), (4, 22)] {
        world.wanted_as(number, name);
    }
    world.confirmed.insert(user(5), Verdict::Unassigned);
    let decisions: Vec<Decision> = world.plan().applied().map(Cow::into_owned).collect();
    let cut = |size: usize| -> Vec<Vec<u8>> {
        let number = |decision: &Decision| decision.user.as_bytes()[0];
        let batches = units::arrange(decisions.iter().cloned().map(Box::new).collect(), size);
        batches.iter().map(|batch| batch.decisions().iter().map(|decision| number(decision)).collect()).collect()
    };
    assert_eq!(cut(100), [vec![2, 3, 0, 1, 4, 5]]);
    assert_eq!(cut(3), [vec![2, 3, 0], vec![1, 4, 5]]);
    assert_eq!(cut(1), [vec![2, 3], vec![0], vec![1], vec![4], vec![5]]);
    assert_eq!(Batch::from(Vec::new()), Batch::default());

    // Batches that are taken together keep their units.
    for size in 1..=6 {
        let parts = units::arrange(decisions.iter().cloned().map(Box::new).collect(), size);
        let units_of = |batch: &Batch| -> Vec<Vec<Decision>> {
            batch
                .units()
                .map(|unit| batch.decisions()[unit].iter().map(|decision| (**decision).clone()).collect())
                .collect()
        };
        let alone: Vec<Vec<Decision>> = parts.iter().flat_map(units_of).collect();
        let joined = parts.into_iter().reduce(|mut joined, part| {
            joined.append(part);
            joined
        });
        assert_eq!(units_of(&joined.unwrap()), alone, "{size}");
    }
}

/// The units of renames from one name to another.
#[track_caller]
fn check_units(renames: &[(&str, &str)], expect: &[&[u8]]) {
    let rename = |(number, (old, new)): (u8, &(&str, &str))| {
        let mut decision = updates(1, 1, Some("new")).plan().applied().next().unwrap().into_owned();
        let change = |attribute| AttributeChange::new(attribute, Some(*old), Some(*new));
        decision.user = user(number);
        // A department may be the same for two users.
        decision.changes = [change(Attribute::UserName), change(Attribute::Department)].into_iter().collect();
        decision
    };
    let batch = Batch::from((0..).zip(renames).map(rename).collect::<Vec<_>>());
    let number = |decision: &Decision| decision.user.as_bytes()[0];
    let units: Vec<Vec<u8>> =
        batch.units().map(|unit| batch.decisions()[unit].iter().map(|decision| number(decision)).collect()).collect();
    assert_eq!(units, expect, "{renames:?}");
}

#[test]
fn a_unit_is_the_smallest_set_that_can_be_written_alone() {
    check_units(&[("a", "b"), ("c", "d"), ("e", "f")], &[&[0], &[1], &[2]]);
    check_units(&[], &[]);
    check_units(&[("a", "B"), ("b", "c"), ("c", "d")], &[&[2], &[1], &[0]]);
    check_units(&[("x", "a"), ("a", "b"), ("q", "r"), ("b", "a")], &[&[1, 3], &[0], &[2]]);
    check_units(&[("a", "b"), ("b", "c"), ("c", "a")], &[&[0, 1, 2]]);
    check_units(&[("a", "A")], &[&[0]]);
    // Two chains stay apart.
    check_units(&[("a", "b"), ("x", "y"), ("b", "c"), ("y", "z")], &[&[2], &[0], &[3], &[1]]);
}

#[test]
fn rows_and_values_are_looked_up_for_users_that_may_change() {
    let mut world = World::new();
    for number in 1..=5 {
        world.learner(number);
    }
    world.inactive_learner(6);
    world.inactive_learner(7);
    world.assess(1, Assessment::Unchanged);
    world.wanted(2).values.insert(Attribute::Email, Some("NEW"));
    world.assess(3, Assessment::NotFound);
    world.rejected(4, Reason::InvalidValue);
    world.assess(6, Assessment::Leaving(Reason::AccountDisabled));
    world.wanted(7);
    world.wanted(8).on_create = Some(Box::new(Values::from([(Attribute::UserName, Some("created".to_owned()))])));
    let linked = world.linked();
    assert_eq!(possibly_changed(&linked, &world.desired), [2, 3, 4, 5, 7].map(user));

    let rows = world.rows.iter().map(|row| (row.link.clone().unwrap().1, row.clone())).collect();
    let mut parts = lookups(&linked, &world.desired, &rows, Attribute::UserName);
    let Lookups { keys, match_values, newcomers } = parts.next().unwrap();
    assert_eq!(parts.next(), None);
    let keys: Vec<_> = keys.into_iter().map(|key| key.folded).collect();
    assert_eq!(keys, ["new", "created", "e8"]);
    assert_eq!((match_values, newcomers), (vec!["created"], vec![user(8)]));
}

#[test]
fn the_log_is_read_only_for_deactivations_and_cleared_values() {
    let mut world = World::new();
    for number in 1..=5 {
        world.learner(number);
    }
    world.assess(1, Assessment::Unchanged);
    world.wanted(2).values.insert(Attribute::Email, None);
    world.rejected(3, Reason::InvalidValue);
    world.assess(4, Assessment::Leaving(Reason::AccountDisabled));
    let desired = &world.desired;
    for (users, expect) in [(&[1, 2, 3][..], false), (&[2, 4], true), (&[5], true), (&[], false)] {
        let users: Vec<EntraId> = users.iter().map(|number| user(*number)).collect();
        assert_eq!(may_deactivate(&users, desired), expect, "{users:?}");
    }

    let mut rows: BTreeMap<EntraId, LearnerRow> =
        world.rows.iter().map(|row| (row.link.clone().unwrap().1, row.clone())).collect();
    assert_eq!(possibly_cleared(&world.desired, &rows, false), [Attribute::Email]);
    rows.get_mut(&user(2)).unwrap().values.insert(Attribute::Email, None);
    assert_eq!(possibly_cleared(&world.desired, &rows, true), []);
    // A newcomer may adopt a learner that has a value.
    world.wanted(6).values.insert(Attribute::Department, None);
    assert_eq!(possibly_cleared(&world.desired, &rows, false), []);
    assert_eq!(possibly_cleared(&world.desired, &rows, true), [Attribute::Department]);
}

#[test]
fn a_null_clears_a_value_unless_it_is_the_default() {
    let mut world = World::new();
    for number in 1..=3 {
        world
            .learner(number)
            .values
            .insert(Attribute::Title, [None, Some("Boss"), Some("Learner")][usize::from(number) - 1]);
        let learner = world.wanted(number);
        learner.values.insert(Attribute::Title, None);
        learner.on_create.get_or_insert_default().insert(Attribute::Title, Some("Learner"));
    }
    world.check(
        r"
        update learner 2 of u2: attributes-changed
            title: Boss -> (nothing)
        compared u1: active
        compared u3: active
        3 in scope, 1 updated, 2 unchanged
    ",
    );
    // The same for a learner that comes back, and for one that is adopted.
    (world.rows[2].active, world.rows[2].deactivated) = (false, true);
    (world.rows[1].external_id, world.rows[1].link) = (None, None);
    world.check(
        r"
        update learner 2 for u2: adopted; matched by userName
            title: Boss -> (nothing)
        reactivate learner 3 of u3: reassigned
            active: false -> true
        compared u1: active
        3 in scope, 1 updated, 1 reactivated, 1 unchanged
    ",
    );
    // Drift away from the default is repaired to null.
    let mut world = World::new();
    world.learner(1).values.insert(Attribute::Title, Some("Pirate"));
    let learner = world.wanted(1);
    learner.values.insert(Attribute::Title, None);
    learner.on_create.get_or_insert_default().insert(Attribute::Title, Some("Learner"));
    let wanted = Fingerprint::compute(&learner.values);
    let mut written = world.linked();
    written.get_mut(&user(1)).unwrap().fingerprint = wanted;
    world.last_written = Some(written);
    world.check(
        r"
        update learner 1 of u1: drift
            title: Pirate -> (nothing)
        1 in scope, 1 updated
    ",
    );
}

#[test]
fn new_learners_are_applied_first_and_share_transactions() {
    let mut world = World::new();
    world.learner(1);
    world.wanted(1).values.insert(Attribute::Department, Some("new"));
    for number in 2..=7 {
        world.wanted(number);
    }
    let mut plan = world.plan();
    let applied: Vec<EntraId> = plan.applied().map(|decision| decision.user).collect();
    assert_eq!(applied, [2, 3, 4, 5, 6, 7, 1].map(user));
    assert_eq!(plan.users().collect::<Vec<_>>(), applied);
    let mut take = |most| -> Vec<EntraId> {
        let batch = plan.take_batch(most).unwrap();
        batch.decisions().iter().map(|decision| decision.user).collect()
    };
    assert_eq!(take(4), [2, 3, 4, 5].map(user));
    assert_eq!(take(2), [6, 7].map(user));
    assert_eq!(take(2), [user(1)]);
    assert_eq!(plan.take_batch(2), None);
    let mut plan = world.plan();
    assert_eq!(plan.take_batch(7).unwrap().decisions().len(), 7);
}

#[test]
fn a_failure_ends_with_the_new_learner_and_not_before() {
    let mut world = World::new();
    world.wanted(1);
    world.failing(1, Reason::MissingRequired);
    let plan = world.plan();
    assert_eq!(plan.applied().map(|decision| decision.user).collect::<Vec<_>>(), [user(1)]);
    // Otherwise a kill between the two would end the failure of a user without a learner.
    assert!(plan.failing_ended().is_empty());
}
