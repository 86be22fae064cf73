//! Joining: creation, adoption and matching.

use super::super::world::World;
use super::super::*;

#[test]
fn a_newcomer_is_created_with_all_values() {
    let mut world = World::new();
    let learner = world.wanted(1);
    learner.values.insert(Attribute::Title, None);
    learner.on_create = Some(Box::new(Values::from([(Attribute::Country, Some("CH".to_owned()))])));
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
