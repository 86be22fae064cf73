//! Decisions in small worlds, each as the plan prints it.

use super::world::{World, direct, through};
use super::*;
use crate::model::Cause;

#[test]
fn a_newcomer_is_created_with_all_values() {
    let mut world = World::new();
    let learner = world.wanted(1);
    learner.values.insert(Attribute::Title, None);
    learner.on_create = Values::from([(Attribute::Country, Some("CH".to_owned()))]);
    world.check(
        r#"
        create u1: assigned
            userName: n1
            emails[type eq "work"].value: e1
            addresses[0].country: CH
            department: d1
            active: true
        1 in scope, 1 created
    "#,
    );
}

#[test]
fn an_unlinked_learner_is_adopted_by_external_id_before_the_match_attribute() {
    let mut world = World::new();
    world.unlinked_learner(7).external_id = Some(user(1).to_string().to_uppercase());
    world.unlinked_learner(1);
    world.wanted(1);
    world.check(
        r#"
        fail update learner 7 for u1: conflict; emails[type eq "work"].value is held by learner 1 (not linked, active)
            userName: n7 -> n1
            emails[type eq "work"].value: e7 -> e1
            department: d7 -> d1
        1 in scope, 1 failed
    "#,
    );
}

#[test]
fn an_unlinked_learner_is_adopted_by_the_match_attribute() {
    let mut world = World::new();
    world.unlinked_learner(1).active = false;
    world.rows[0].values.insert(Attribute::UserName, Some("N1"));
    world.wanted(1);
    world.check(
        r"
        reactivate learner 1 for u1: adopted; matched by userName
            userName: N1 -> n1
            active: false -> true
        1 in scope, 1 reactivated
    ",
    );
    // Other attributes match with their letter case.
    world.limits.match_attribute = Attribute::Department;
    world.rows[0].values.insert(Attribute::Department, Some("D1"));
    world.check(
        r#"
        fail create u1: conflict; emails[type eq "work"].value is held by learner 1 (not linked, inactive)
            userName: n1
            emails[type eq "work"].value: e1
            department: d1
            active: true
        1 in scope, 1 failed
    "#,
    );
    world.wanted(1).values.retain(|attribute| attribute != Attribute::Department);
    world.check(
        r#"
        fail create u1: conflict; emails[type eq "work"].value is held by learner 1 (not linked, inactive)
            userName: n1
            emails[type eq "work"].value: e1
            active: true
        1 in scope, 1 failed
    "#,
    );
}

#[test]
fn an_external_id_that_names_nobody_is_replaced_at_adoption() {
    for (text, number) in [("ralf", 1), ("", 1), ("N1@harbourworks.example", 1), ("{U1}", 1)] {
        let text = text.replace("U1", &user(1).to_string().to_uppercase());
        let mut world = World::new();
        world.unlinked_learner(1).external_id = Some(text.clone());
        world.wanted(number);
        let plan = world.plan();
        let adopted = plan.applied().next().unwrap();
        assert_eq!((adopted.reason, adopted.old_external_id()), (Reason::Adopted, Some(&*text)), "{text}");
        assert_eq!(plan.counts(), Counts { in_scope: 1, updated: 1, ..Counts::default() });
    }
    let mut world = World::new();
    for (number, nickname) in [(1, "n2"), (2, "n1")] {
        world.unlinked_learner(number).external_id = Some(nickname.to_owned());
        world.wanted(number);
    }
    // Nothing is replaced, or it is replaced by the same text.
    world.unlinked_learner(3).external_id = Some(user(3).to_string());
    world.unlinked_learner(4);
    world.wanted(3);
    world.wanted(4);
    world.check(
        r"
        update learner 1 for u1: adopted; matched by userName
            externalId: n2 -> u1
        update learner 2 for u2: adopted; matched by userName
            externalId: n1 -> u2
        update learner 3 for u3: adopted; matched by external_id
        update learner 4 for u4: adopted; matched by userName
        4 in scope, 4 updated
    ",
    );
    world.limits.redacted.insert(Attribute::Email);
    assert!(world.plan().applied().all(|decision| decision.old_external_id().is_none_or(|old| old == REDACTED)));
}

#[test]
fn a_match_that_is_not_unique_or_not_free_is_a_conflict() {
    let mut world = World::new();
    world.limits.match_attribute = Attribute::Department;
    for number in [11, 12] {
        world.unlinked_learner(number).values.insert(Attribute::Department, Some("d1"));
    }
    world.wanted(1);
    world.check(
        r#"
        fail create u1: conflict; department matches 2 unlinked learners: 11, 12
            userName: n1
            emails[type eq "work"].value: e1
            department: d1
            active: true
        1 in scope, 1 failed
    "#,
    );

    let mut world = World::new();
    world.wanted(1);
    // The user is known, or unknown, in any notation.
    world.unlinked_learner(1).external_id = Some(user(9).to_string().replace('-', "").to_uppercase());
    world.check(r#"
        fail create u1: conflict; userName matches learner 1 (external_id u9, not linked, active), whose external_id names another user
            userName: n1
            emails[type eq "work"].value: e1
            department: d1
            active: true
        1 in scope, 1 failed
    "#);
    world.rows[0].external_id = None;
    world.rows[0].active = false;
    world.rows[0].other_state = true;
    world.check(
        r#"
        fail create u1: conflict; userName matches learner 1 (not linked, in a state that only the platform may change)
            userName: n1
            emails[type eq "work"].value: e1
            department: d1
            active: true
        1 in scope, 1 failed
    "#,
    );
    world.rows[0].external_id = Some(user(1).to_string());
    world.check(r#"
        fail create u1: conflict; external_id is held by learner 1 (external_id u1, not linked, in a state that only the platform may change)
            userName: n1
            emails[type eq "work"].value: e1
            department: d1
            active: true
        1 in scope, 1 failed
    "#);
    world.rows[0].other_state = false;
    world.rows[0].link = Some(("another/application".to_owned(), user(9)));
    world.check(
        r#"
        fail create u1: conflict; external_id is held by learner 1 (Entra id u9 of another/application, inactive)
            userName: n1
            emails[type eq "work"].value: e1
            department: d1
            active: true
        1 in scope, 1 failed
    "#,
    );
}

#[test]
fn two_users_who_match_one_learner_are_both_in_conflict() {
    let mut world = World::new();
    world.limits.match_attribute = Attribute::Department;
    world.unlinked_learner(9).values.insert(Attribute::Department, Some("d1"));
    world.wanted(1);
    world.wanted(2).values.insert(Attribute::Department, Some("d1"));
    world.check(
        r#"
        fail update learner 9 for u1: conflict; 2 users match learner 9
            userName: n9 -> n1
            emails[type eq "work"].value: e9 -> e1
        fail update learner 9 for u2: conflict; 2 users match learner 9
            userName: n9 -> n2
            emails[type eq "work"].value: e9 -> e2
        2 in scope, 2 failed
    "#,
    );
}

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

#[test]
fn a_value_held_by_a_learner_that_stays_is_a_conflict() {
    let mut world = World::new();
    world.learner(1);
    world.assess(1, Assessment::Unchanged);
    world.wanted_as(2, 1);
    world.check(r#"
        fail create u2: conflict; emails[type eq "work"].value is held by learner 1 (Entra id u1 of tenant/application, active)
            userName: n1
            emails[type eq "work"].value: e1
            department: d1
            active: true
        2 in scope, 1 unchanged, 1 failed
    "#);
    world.failing(2, Reason::Conflict);
    world.check(r#"
        fail create u2: conflict; emails[type eq "work"].value is held by learner 1 (Entra id u1 of tenant/application, active) (continues)
            userName: n1
            emails[type eq "work"].value: e1
            department: d1
            active: true
        2 in scope, 1 unchanged, 1 failed
    "#);

    // An inactive learner of this source can be relinked.
    let mut world = World::new();
    world.inactive_learner(1);
    world.wanted_as(2, 1);
    world.check(r#"
        fail create u2: conflict; emails[type eq "work"].value is held by learner 1 (Entra id u1 of tenant/application, inactive); if both accounts belong to one person, run: learner-sync provision u2 --relink 1
            userName: n1
            emails[type eq "work"].value: e1
            department: d1
            active: true
        1 in scope, 1 failed
    "#);
    // A learner of another source, or one without a link, cannot.
    world.rows[0].link = Some(("another/application".to_owned(), user(1)));
    world.check(r#"
        fail create u2: conflict; emails[type eq "work"].value is held by learner 1 (Entra id u1 of another/application, inactive)
            userName: n1
            emails[type eq "work"].value: e1
            department: d1
            active: true
        1 in scope, 1 failed
    "#);
    // A linked user is not offered it.
    let mut world = World::new();
    world.inactive_learner(1);
    world.learner(2);
    world.wanted(2).values.insert(Attribute::UserName, Some("n1"));
    world.check(r"
        fail update learner 2 of u2: conflict; userName is held by learner 1 (Entra id u1 of tenant/application, inactive)
            userName: n2 -> n1
        1 in scope, 1 failed
    ");
}

#[test]
fn two_newcomers_who_want_one_value_are_both_rejected() {
    let mut world = World::new();
    world.wanted_as(1, 5).values.retain(|attribute| attribute != Attribute::Email);
    world.wanted_as(2, 5).values.retain(|attribute| attribute != Attribute::Email);
    world.wanted_as(3, 5).values.retain(|attribute| attribute != Attribute::Email);
    world.check(
        r"
        fail create u1: conflict; userName is also wanted by u2, u3
            userName: n5
            department: d5
            active: true
        fail create u2: conflict; userName is also wanted by u1, u3
            userName: n5
            department: d5
            active: true
        fail create u3: conflict; userName is also wanted by u1, u2
            userName: n5
            department: d5
            active: true
        3 in scope, 3 failed
    ",
    );
}

#[test]
fn values_are_swapped_in_one_unit_and_handed_on_in_order() {
    let mut world = World::new();
    for number in 1..=5 {
        world.learner(number);
    }
    world.wanted_as(1, 2).values.retain(|attribute| attribute != Attribute::Email);
    world.wanted_as(2, 1).values.retain(|attribute| attribute != Attribute::Email);
    // 3 takes the name of 4, which takes a new one; 5 leaves last.
    world.wanted_as(3, 4).values.retain(|attribute| attribute != Attribute::Email);
    world.wanted_as(4, 9).values.retain(|attribute| attribute != Attribute::Email);
    world.confirmed.insert(user(5), Verdict::Unassigned);
    world.check(
        r"
        + update learner 1 of u1: attributes-changed
            userName: n1 -> n2
            department: d1 -> d2
        + update learner 2 of u2: attributes-changed
            userName: n2 -> n1
            department: d2 -> d1
        update learner 4 of u4: attributes-changed
            userName: n4 -> n9
            department: d4 -> d9
        update learner 3 of u3: attributes-changed
            userName: n3 -> n4
            department: d3 -> d4
        deactivate learner 5 of u5: unassigned
            active: true -> false
        4 in scope, 4 updated, 1 deactivated
    ",
    );
}

#[test]
fn a_chain_behind_a_conflict_is_rejected_as_a_whole() {
    let mut world = World::new();
    for number in 1..=3 {
        world.learner(number);
    }
    world.rejected(1, Reason::InvalidValue);
    world.wanted(2).values.insert(Attribute::UserName, Some("n1"));
    world.wanted(3).values.insert(Attribute::UserName, Some("n2"));
    world.check(
        r"
        fail update learner 1 of u1: invalid-value; a rule
        fail update learner 2 of u2: conflict; userName is held by learner 1 (Entra id u1 of tenant/application, active)
            userName: n2 -> n1
        fail update learner 3 of u3: conflict; userName is held by learner 2 (Entra id u2 of tenant/application, active)
            userName: n3 -> n2
        3 in scope, 3 failed
    ",
    );
}

#[test]
fn a_held_update_keeps_the_value_that_another_user_waits_for() {
    let mut world = World::new();
    world.learner(1);
    world.wanted(1).values.insert(Attribute::UserName, Some("n9"));
    world.hold(1, Action::Update, Reason::Threshold);
    world.wanted_as(2, 1).values.insert(Attribute::Email, Some("e2"));
    world.check(
        r#"
        hold update learner 1 of u1: threshold (continues)
            userName: n1 -> n9
        fail create u2: conflict; userName is held by learner 1 (Entra id u1 of tenant/application, active)
            userName: n1
            emails[type eq "work"].value: e2
            department: d1
            active: true
        2 in scope, 1 failed, 1 held
    "#,
    );
    world.held.get_mut(&user(1)).unwrap().approved = Some((now(), "root".to_owned()));
    world.check(
        r#"
        update learner 1 of u1: attributes-changed; approved by root at 2026-01-02T03:04:05Z
            userName: n1 -> n9
        create u2: assigned
            userName: n1
            emails[type eq "work"].value: e2
            department: d1
            active: true
        hold ends u1: approved by root at 2026-01-02T03:04:05Z
        2 in scope, 1 created, 1 updated
    "#,
    );
}

#[test]
fn reissued_values_are_freed_when_configured() {
    let mut world = World::new();
    world.limits.reissued = Reissued::Free;
    world.inactive_learner(1);
    world.routes.insert(user(1), through(200));
    world.wanted_as(2, 1);
    world.check(
        r#"
        update learner 1 of u1: attributes-changed; freed userName for Entra id u2
            userName: n1 -> u1n1
            emails[type eq "work"].value: e1 -> u1e1
        create u2: assigned
            userName: n1
            emails[type eq "work"].value: e1
            department: d1
            active: true
        1 in scope, 1 created, 1 updated
    "#,
    );
    // A suspended, excluded, rejected or active learner keeps its values.
    world.rows[0].other_state = true;
    assert_eq!(world.plan().counts().failed, 1);
    world.rows[0].other_state = false;
    world.restrict(&[], &[1]);
    assert_eq!(world.plan().counts().failed, 1);
    world.restrict(&[], &[]);
    world.rejected(1, Reason::InvalidValue);
    assert_eq!(world.plan().counts().failed, 2);
    world.assess(1, Assessment::Leaving(Reason::OutOfScope));
    assert_eq!(world.plan().counts().failed, 0);
    world.rows[0].active = true;
    world.rows[0].deactivated = false;
    assert_eq!(world.plan().counts().failed, 1);
}

#[test]
fn a_relink_gives_the_learner_of_a_former_account_to_the_user() {
    let mut world = World::new();
    world.inactive_learner(1);
    world.wanted_as(2, 1);
    let row = world.rows[0].clone();
    let relink = Relink {
        source: SOURCE.to_owned(),
        user: user(2),
        own: None,
        learner: row.learner.clone(),
        row: Some(row.clone()),
        recreated: false,
    };
    assert_eq!(relink.refusal(), None);
    world.relinks = BTreeMap::from([(user(2), relink.clone())]);
    world.check(
        r"
        reactivate learner 1 of u1 for u2: relinked; was the learner of Entra id u1
            active: false -> true
        1 in scope, 1 reactivated
    ",
    );
    // The relink is for one user; the former account must not be wanted itself.
    world.assess(1, Assessment::Unchanged);
    world.check(
        r"
        fail reactivate learner 1 of u1 for u2: conflict; learner 1 is still wanted by its own account, Entra id u1
            active: false -> true
        2 in scope, 1 unchanged, 1 failed
    ",
    );
    world.desired.users.remove(&user(1));
    world.relinks = BTreeMap::from([(user(3), relink.clone())]);
    world.check(r#"
        fail create u2: conflict; emails[type eq "work"].value is held by learner 1 (Entra id u1 of tenant/application, inactive); if both accounts belong to one person, run: learner-sync provision u2 --relink 1
            userName: n1
            emails[type eq "work"].value: e1
            department: d1
            active: true
        1 in scope, 1 failed
    "#);

    let refusal = |change: &dyn Fn(&mut Relink)| {
        let mut refused = relink.clone();
        change(&mut refused);
        let text = refused.refusal().unwrap_or_default();
        text.replace(&user(1).to_string(), "u1").replace(&user(2).to_string(), "u2")
    };
    let with_row = |change: fn(&mut LearnerRow)| refusal(&|relink| change(relink.row.as_mut().unwrap()));
    assert_eq!(refusal(&|relink| relink.row = None), "learner 1 does not exist");
    assert_eq!(
        refusal(&|relink| relink.own = Some(LearnerId::Number(8))),
        "u2 already has learner 8, which would be left without an account"
    );
    assert_eq!(
        with_row(|row| row.active = true),
        "learner 1 is active and linked to Entra id u1; only an inactive or unlinked learner can be relinked"
    );
    assert_eq!(with_row(|row| row.other_state = true), "learner 1 is in a state that only the platform may change");
    assert_eq!(
        with_row(|row| row.link.as_mut().unwrap().0 = "another".to_owned()),
        "learner 1 belongs to another application, another"
    );
    assert_eq!(with_row(|row| row.link = None), "");
    assert_eq!(with_row(|row| (row.link.as_mut().unwrap().1, row.active) = (user(2), true)), "");
}

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

fn leavers(count: u8, of: u8) -> World {
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

fn updates(count: u8, of: u8, department: Option<&str>) -> World {
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
    let decisions: Vec<Decision> = world.plan().applied().cloned().collect();
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
        let mut decision = updates(1, 1, Some("new")).plan().applied().next().unwrap().clone();
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
    world.wanted(8).on_create = Values::from([(Attribute::UserName, Some("created".to_owned()))]);
    let linked = world.linked();
    assert_eq!(possibly_changed(&linked, &world.desired), [2, 3, 4, 5, 7].map(user));

    let rows = world.rows.iter().map(|row| (row.link.clone().unwrap().1, row.clone())).collect();
    let Lookups { keys, match_values, newcomers } = lookups(&linked, &world.desired, &rows, Attribute::UserName);
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
        learner.on_create.insert(Attribute::Title, Some("Learner"));
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
    learner.on_create.insert(Attribute::Title, Some("Learner"));
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

fn guest(number: u8) -> (String, String) {
    (format!("G_{number}_partner.example#EXT#@tenant.example"), format!("g_{number}@partner.example"))
}

#[test]
fn a_guest_is_renamed_only_after_an_approval() {
    let mut world = World::new();
    let (stored, home) = guest(1);
    world.learner(1).values.insert(Attribute::UserName, Some(&stored));
    world.wanted(1).values.insert(Attribute::UserName, Some(&home));
    world.learner(2);
    world.wanted(2).values.insert(Attribute::Department, Some("elsewhere"));
    // Guests do not count for the limit on the updates of others.
    world.limits.max_update_percent = 50;
    world.check(
        r"
        update learner 2 of u2: attributes-changed
            department: d2 -> elsewhere
        hold update learner 1 of u1: threshold; would replace the stored name of a guest by the name in the home tenant; approve it if this is the name that the guest signs in with, else map [originalUserPrincipalName]
            userName: G_1_partner.example#EXT#@tenant.example -> g_1@partner.example
        2 in scope, 1 updated, 1 held
    ",
    );
    world.hold(1, Action::Update, Reason::Threshold).approved = Some((now(), "kim".to_owned()));
    let plan = world.plan();
    assert_eq!((plan.counts().updated, plan.counts().held), (2, 0));
    // Any other new name is an ordinary update.
    let mut world = World::new();
    world.learner(1).values.insert(Attribute::UserName, Some(&guest(1).0));
    world.wanted(1).values.insert(Attribute::UserName, Some("married@partner.example"));
    let plan = world.plan();
    assert_eq!((plan.counts().updated, plan.counts().held), (1, 0));
}

#[test]
fn a_guest_who_returns_keeps_the_stored_name_until_an_approval() {
    let mut world = World::new();
    world.inactive_learner(1).values.insert(Attribute::UserName, Some(&guest(1).0));
    let wanted = world.wanted(1);
    wanted.values.insert(Attribute::UserName, Some(&guest(1).1));
    wanted.values.insert(Attribute::Department, Some("elsewhere"));
    // Deactivated outside.
    world.inactive_learner(2).values.insert(Attribute::UserName, Some(&guest(2).0));
    world.rows[1].deactivated = false;
    world.limits.repair = Repair::All;
    world.wanted(2).values.insert(Attribute::UserName, Some(&guest(2).1));
    // Adopted.
    world.unlinked_learner(3).values.insert(Attribute::UserName, Some(&guest(3).0));
    world.rows[2].active = false;
    world.wanted(3).values.insert(Attribute::UserName, Some(&guest(3).1));
    world.limits.match_attribute = Attribute::Email;
    // The new name of a guest is that of a member.
    world.inactive_learner(4).values.insert(Attribute::UserName, Some(&guest(4).0));
    world.wanted(4).values.insert(Attribute::UserName, Some(&guest(4).1));
    world.learner(5).values.insert(Attribute::UserName, Some(&guest(4).1));
    world.wanted(5).values.insert(Attribute::UserName, Some(&guest(4).1));
    world.check(
        r#"
        reactivate learner 1 of u1: reassigned; keeps the stored name of the guest until the new one is approved
            department: d1 -> elsewhere
            active: false -> true
        reactivate learner 2 of u2: drift; deactivated outside learner-sync; keeps the stored name of the guest until the new one is approved
            active: false -> true
        reactivate learner 3 for u3: adopted; matched by emails[type eq "work"].value; keeps the stored name of the guest until the new one is approved
            active: false -> true
        reactivate learner 4 of u4: reassigned; keeps the stored name of the guest until the new one is approved
            active: false -> true
        hold update learner 1 of u1: threshold; would replace the stored name of a guest by the name in the home tenant; approve it if this is the name that the guest signs in with, else map [originalUserPrincipalName]
            userName: G_1_partner.example#EXT#@tenant.example -> g_1@partner.example
        hold update learner 2 of u2: threshold; would replace the stored name of a guest by the name in the home tenant; approve it if this is the name that the guest signs in with, else map [originalUserPrincipalName]
            userName: G_2_partner.example#EXT#@tenant.example -> g_2@partner.example
        hold update learner 3 for u3: threshold; would replace the stored name of a guest by the name in the home tenant; approve it if this is the name that the guest signs in with, else map [originalUserPrincipalName]
            userName: G_3_partner.example#EXT#@tenant.example -> g_3@partner.example
        hold update learner 4 of u4: threshold; would replace the stored name of a guest by the name in the home tenant; approve it if this is the name that the guest signs in with, else map [originalUserPrincipalName]
            userName: G_4_partner.example#EXT#@tenant.example -> g_4@partner.example
        compared u5: active
        5 in scope, 4 reactivated, 1 unchanged, 4 held
    "#,
    );
    for number in 1..=4 {
        world.hold(number, Action::Update, Reason::Threshold).approved = Some((now(), "kim".to_owned()));
    }
    let plan = world.plan();
    assert_eq!((plan.counts().reactivated, plan.counts().failed), (3, 1), "{plan}");
    assert!(
        plan.applied().all(|decision| decision.changes.iter().any(|change| change.attribute == Attribute::UserName))
    );
}

#[test]
fn a_guest_never_takes_the_name_of_a_member() {
    let mut world = World::new();
    world.learner(1);
    world.wanted(1);
    world.learner(2).values.insert(Attribute::UserName, Some("n1_#EXT#@tenant.example"));
    world.rows[0].values.insert(Attribute::UserName, Some(&guest(2).1.to_uppercase()));
    world.rows[1].values.insert(Attribute::UserName, Some(&guest(2).0));
    world.wanted(1).values.insert(Attribute::UserName, Some(&guest(2).1.to_uppercase()));
    world.wanted(2).values.insert(Attribute::UserName, Some(&guest(2).1));
    let conflict = "conflict; userName is held by learner 1";
    let plan = world.plan();
    assert_eq!((plan.counts().unchanged, plan.counts().failed), (1, 1));
    assert!(plan.to_string().contains(conflict), "{plan}");
}

#[test]
fn a_protected_guest_is_known_by_every_name() {
    let mut world = World::new();
    for number in 1..=4 {
        world.leaver(number);
    }
    // The learner has the stored name, the home name, and names of its own.
    world.rows[0].values.insert(Attribute::UserName, Some(&guest(1).0));
    world.rows[1].values.insert(Attribute::UserName, Some(&guest(2).1));
    world.limits.protected = [guest(1).1, guest(2).0, "n3".to_owned()].iter().map(String::as_str).collect();
    world.desired.protected.insert(user(4));
    let plan = world.plan();
    assert_eq!((plan.counts().skipped, plan.counts().deactivated), (4, 0), "{plan}");
}

#[test]
fn an_unclear_row_holds_those_who_would_leave_as_unassigned() {
    const HELD: &str = r"
        hold deactivate learner 0 of u0: unreadable; a row of the assignments or members cannot be read, and the user may be in it
            active: true -> false
        1 in scope, 1 unchanged, 2 failed, 1 held
    ";
    let mut world = leavers(1, 2);
    world.unclear.unnamed = 2;
    world.check(HELD);
    // An approval does not prove that the user has left.
    world.hold(0, Action::Deactivate, Reason::Unreadable).approved = Some((now(), "admin".to_owned()));
    assert_eq!((world.plan().counts().held, world.plan().counts().deactivated), (1, 0));
    world.held.clear();
    // Other evidence does not depend on the row.
    world.confirmed.insert(user(0), Verdict::Deleted);
    world.check(
        r"
        deactivate learner 0 of u0: account-deleted
            active: true -> false
        1 in scope, 1 deactivated, 1 unchanged, 2 failed
    ",
    );
}

#[test]
fn a_principal_that_nobody_finds_is_ignored_after_a_while() {
    const IGNORED: &str = r"
        deactivate learner 0 of u0: unassigned
            active: true -> false
        skip create u9: not-readable-yet; the id of an assignment is neither a user nor a group nor a service principal (continues)
        1 in scope, 1 deactivated, 1 unchanged, 1 skipped
    ";
    const HELD: &str = r"
        fail create u9: unreadable; the id of an assignment is neither a user nor a group nor a service principal
        hold deactivate learner 0 of u0: unreadable; the assignment of u9 cannot be read, so the user may still be assigned through it
            active: true -> false
        1 in scope, 1 unchanged, 1 failed, 1 held
    ";
    let mut world = leavers(1, 2);
    world.unclear.principals.insert(user(9), UnclearPrincipal::NotFound);
    world.check(HELD);
    let cause = |plan: &Plan| plan.decisions_on(user(9)).next().unwrap().leave().unwrap().cause;
    assert_eq!(cause(&world.plan()), Some(Cause::PrincipalMissing));
    let on_record = |world: &mut World, reason, cause, minutes| {
        let entry = world.failing(9, reason);
        (entry.cause, entry.first_at) = (cause, now() - SignedDuration::from_mins(minutes));
    };
    on_record(&mut world, Reason::Unreadable, Some(Cause::PrincipalMissing), 19);
    assert_eq!((world.plan().counts().held, world.plan().counts().deactivated), (1, 0));
    assert!(world.plan().failing_ended().is_empty());
    // The time in which something else was unclear does not count.
    on_record(&mut world, Reason::Unreadable, None, 500);
    assert_eq!((world.plan().counts().held, world.plan().counts().deactivated), (1, 0));
    assert_eq!(world.plan().failing_ended(), &BTreeSet::from([user(9)]));
    on_record(&mut world, Reason::Unreadable, Some(Cause::PrincipalMissing), 20);
    world.check(IGNORED);
    on_record(&mut world, Reason::NotReadableYet, Some(Cause::PrincipalMissing), 0);
    world.check(IGNORED);

    // An answer that says nothing is not evidence, however long it lasts.
    world.unclear.principals.insert(user(9), UnclearPrincipal::Unreadable("says nothing".to_owned()));
    on_record(&mut world, Reason::Unreadable, Some(Cause::PrincipalMissing), 500);
    let plan = world.plan();
    assert_eq!((cause(&plan), plan.counts().held, plan.counts().deactivated), (None, 1, 0));

    // The id of a learner is the id of a user, behind which nobody else can be.
    world.failing.clear();
    world.unclear.principals = BTreeMap::from([(user(1), UnclearPrincipal::NotFound)]);
    assert_eq!((world.plan().counts().held, world.plan().counts().deactivated), (0, 1));
}
