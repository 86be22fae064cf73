//! Changes of linked learners, and changes by other programs.

use super::super::world::{World, through};
use super::super::*;

#[test]
fn a_linked_learner_gets_exactly_the_values_that_differ() {
    let mut world = World::new();
    world.learner(1);
    world.wanted(1);
    world.check(
        r"
        compared u1: active
        1 in scope, 1 unchanged
    ",
    );
    world.wanted(1).values.insert(Attribute::Department, Some("D1"));
    world.check(
        r"
        update learner 1 of u1: attributes-changed
            department: d1 -> D1
        1 in scope, 1 updated
    ",
    );
    world.wanted(1).values.insert(Attribute::Department, None);
    world.check(
        r"
        update learner 1 of u1: attributes-changed
            department: d1 -> (nothing)
        1 in scope, 1 updated
    ",
    );
}

#[test]
fn a_change_of_letter_case_is_written_once() {
    let mut world = World::new();
    world.learner(1);
    world.wanted(1).values.insert(Attribute::Email, Some("E1"));
    // Not even when the last cycle wrote these names is it drift.
    world.last_written = Some(world.linked());
    let wanted = world.wanted(1);
    wanted.values.insert(Attribute::Email, Some("E1"));
    let written = Fingerprint::compute(&wanted.values);
    let spelling = Fingerprint::spelling(&wanted.values);
    world.last_written.as_mut().unwrap().get_mut(&user(1)).unwrap().fingerprint = written;
    for repair in [Repair::All, Repair::Attributes, Repair::Log] {
        world.limits.repair = repair;
        world.check(
            r#"
            update learner 1 of u1: attributes-changed
                emails[type eq "work"].value: e1 -> E1
            1 in scope, 1 updated
        "#,
        );
    }
    // The database kept its own letter case, or an administrator changed it.
    world.rows[0].spelling = Some(spelling);
    for (user_name, email) in [("n1", "e1"), ("N1", "E1"), (" n1 ", "e1")] {
        world.rows[0].values.insert(Attribute::UserName, Some(user_name));
        world.rows[0].values.insert(Attribute::Email, Some(email));
        world.check(
            r"
            compared u1: active
            1 in scope, 1 unchanged
        ",
        );
    }
    // A change of other letters is a change.
    let mut world = World::new();
    world.learner(1).values.insert(Attribute::Email, Some("åsa"));
    let wanted = world.wanted(1);
    wanted.values.insert(Attribute::Email, Some("ÅSA"));
    world.rows[0].spelling = Some(Fingerprint::spelling(&world.wanted(1).values));
    world.wanted(1).values.insert(Attribute::Email, Some("ÅSA"));
    world.check(
        r#"
        update learner 1 of u1: attributes-changed
            emails[type eq "work"].value: åsa -> ÅSA
        1 in scope, 1 updated
    "#,
    );
}

#[test]
fn a_holder_that_changes_its_letter_case_keeps_its_value() {
    let mut world = World::new();
    world.learner(1);
    world.wanted(1).values.insert(Attribute::Email, Some("E1"));
    world.wanted(2).values.insert(Attribute::Email, Some("e1"));
    world.check(
        r#"
        update learner 1 of u1: attributes-changed
            emails[type eq "work"].value: e1 -> E1
        fail create u2: conflict; emails[type eq "work"].value is held by learner 1 (Entra id u1 of tenant/application, active)
            userName: n2
            emails[type eq "work"].value: e1
            department: d2
            active: true
        2 in scope, 1 updated, 1 failed
    "#,
    );
}

#[test]
fn an_unchanged_user_needs_nothing() {
    let mut world = World::new();
    world.learner(1);
    world.assess(1, Assessment::Unchanged);
    world.check(
        r"
        1 in scope, 1 unchanged
    ",
    );
}

#[test]
fn changed_routes_are_recorded_for_linked_users_alone() {
    let mut world = World::new();
    world.learner(1);
    world.routes.insert(user(1), through(200));
    world.assess(1, Assessment::Unchanged);
    world.assess(2, Assessment::Leaving(Reason::OutOfScope));
    world.check(
        r"
        skip create u2: out-of-scope
        routes u1: direct
        1 in scope, 1 unchanged, 1 skipped
    ",
    );
}

#[test]
fn a_link_without_a_row_fails_that_user() {
    let mut world = World::new();
    world.learner(1);
    world.wanted(1);
    world.stale_links = world.linked();
    world.rows.clear();
    world.check(
        r"
        fail update learner 1 of u1: database-error; the link refers to learner 1, which does not exist
        1 in scope, 1 failed
    ",
    );
    world.failing(1, Reason::DatabaseError);
    world.check(
        r"
        fail update learner 1 of u1: database-error; the link refers to learner 1, which does not exist (continues)
        1 in scope, 1 failed
    ",
    );
    world.failing(1, Reason::Conflict);
    world.check(
        r"
        fail update learner 1 of u1: database-error; the link refers to learner 1, which does not exist
        1 in scope, 1 failed
    ",
    );
}

#[test]
fn assigned_users_that_never_were_learners_are_skipped() {
    let mut world = World::new();
    world.assess(1, Assessment::Leaving(Reason::AccountDisabled));
    world.assess(2, Assessment::Leaving(Reason::MappedInactive));
    world.assess(3, Assessment::NotFound);
    world.rejected(4, Reason::MissingRequired);
    world.rejected(5, Reason::InvalidValue);
    world.rejected(6, Reason::Unreadable);
    world.failing(4, Reason::MissingRequired);
    world.failing(5, Reason::MissingRequired);
    world.check(
        r"
        skip create u1: account-disabled
        skip create u2: mapped-inactive
        skip create u3: not-readable-yet (continues)
        skip create u4: missing-required; a rule (continues)
        fail create u5: invalid-value; a rule
        fail create u6: unreadable; a rule
        3 in scope, 4 skipped, 2 failed
    ",
    );
}

#[test]
fn a_rejected_user_keeps_its_learner() {
    let mut world = World::new();
    world.learner(1);
    world.inactive_learner(2);
    world.rejected(1, Reason::InvalidValue);
    world.rejected(2, Reason::InvalidValue);
    world.check(
        r"
        fail update learner 1 of u1: invalid-value; a rule
        fail reactivate learner 2 of u2: invalid-value; a rule
        2 in scope, 2 failed
    ",
    );
    assert!(world.plan().not_applied().iter().all(|decision| decision.user_name().is_some()));
}

#[test]
fn a_user_who_returns_is_reactivated_with_all_changes() {
    let mut world = World::new();
    world.inactive_learner(1);
    world.wanted_as(1, 2);
    world.check(
        r#"
        reactivate learner 1 of u1: reassigned
            userName: n1 -> n2
            emails[type eq "work"].value: e1 -> e2
            department: d1 -> d2
            active: false -> true
        1 in scope, 1 reactivated
    "#,
    );
}

#[test]
fn a_learner_deactivated_outside_stays_inactive_unless_repair_is_all() {
    let mut world = World::new();
    world.learner(1).active = false;
    world.wanted(1);
    world.check(
        r"
        skip reactivate learner 1 of u1: drift; deactivated outside learner-sync; left inactive
            active: false -> true
        compared u1: inactive
        1 in scope, 1 skipped
    ",
    );
    world.failing(1, Reason::Drift);
    world.check(
        r"
        skip reactivate learner 1 of u1: drift; deactivated outside learner-sync; left inactive (continues)
            active: false -> true
        compared u1: inactive
        1 in scope, 1 skipped
    ",
    );
    world.limits.repair = Repair::All;
    world.check(
        r"
        reactivate learner 1 of u1: drift; deactivated outside learner-sync
            active: false -> true
        1 in scope, 1 reactivated
    ",
    );
    world.rows[0].other_state = true;
    world.check(
        r"
        skip reactivate learner 1 of u1: drift; left in a state that only the platform may change (continues)
            active: false -> true
        compared u1: inactive
        1 in scope, 1 skipped
    ",
    );
}

#[test]
fn a_learner_reactivated_outside_is_ours_again_when_its_user_returns() {
    let mut world = World::new();
    world.learner(1).deactivated = true;
    world.wanted(1);
    world.check(
        r"
        update learner 1 of u1: reassigned; reactivated outside learner-sync
        1 in scope, 1 updated
    ",
    );
}

#[test]
fn attributes_changed_outside_are_repaired_or_left() {
    let mut world = World::new();
    world.learner(1);
    world.wanted(1);
    world.last_written = Some(world.linked());
    world.rows[0].values.insert(Attribute::Department, Some("by hand"));
    world.check(
        r"
        update learner 1 of u1: drift
            department: by hand -> d1
        1 in scope, 1 updated
    ",
    );
    world.limits.repair = Repair::Log;
    world.check(
        r"
        skip update learner 1 of u1: drift; changed outside learner-sync; left unchanged
            department: by hand -> d1
        compared u1: active
        1 in scope, 1 skipped
    ",
    );
    let wanted = Fingerprint::compute(&world.wanted(1).values);
    let recorded = |plan: &Plan| plan.not_applied()[0].leave().unwrap().drift_fingerprint;
    assert_eq!(recorded(&world.plan()), Some(wanted));

    // Without the cache, the recorded fingerprint says that Entra has not changed since.
    world.last_written = None;
    world.check(
        r"
        update learner 1 of u1: attributes-changed
            department: by hand -> d1
        1 in scope, 1 updated
    ",
    );
    world.failing(1, Reason::Drift).drift_fingerprint = Some(wanted);
    world.check(
        r"
        skip update learner 1 of u1: drift; changed outside learner-sync; left unchanged (continues)
            department: by hand -> d1
        compared u1: active
        1 in scope, 1 skipped
    ",
    );
    world.failing(1, Reason::Conflict).drift_fingerprint = Some(wanted);
    world.check(
        r"
        update learner 1 of u1: attributes-changed
            department: by hand -> d1
        1 in scope, 1 updated
    ",
    );
    world.failing(1, Reason::Drift).drift_fingerprint = Some(Fingerprint([7; 16]));
    world.check(
        r"
        update learner 1 of u1: attributes-changed
            department: by hand -> d1
        1 in scope, 1 updated
    ",
    );
}
