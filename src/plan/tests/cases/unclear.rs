//! Guests, and rows that name no user clearly.

use super::super::world::World;
use super::super::*;
use super::holding::leavers;
use crate::model::Cause;

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
