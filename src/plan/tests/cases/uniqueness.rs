//! Unique values: conflicts, swaps, chains, reissued values and relinks.

use super::super::world::{World, through};
use super::super::*;

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
