//! Updates are held when many learners would lose a value, as after a lost permission. Creates continue.

use graph_sim::{Fault, Tenant, User};
use jiff::SignedDuration;
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;

use crate::database::{apply, on_both};
use crate::holds::{held, held_as, staff};
use crate::world::{World, add_users, assigned, assigned_group};

const MEMBERS: &str = "/v1.0/groups/{id}/members";

#[apply(on_both)]
async fn an_attribute_that_many_lose_holds_all_updates() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 20);
    let direct = assigned(&mut tenant, 1).remove(0);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    let newcomer = world.sim.tenant(|tenant| {
        tenant.user_mut(&direct).job_title = Some("Diver".to_owned());
        let newcomer = add_users(tenant, 1).remove(0);
        tenant.add_member(&group, &newcomer);
        newcomer
    });
    world.sim.inject(Fault::on("GET", MEMBERS).always().null_key("department"));
    let report = world.cycle().await;
    let counts = Counts { in_scope: 22, created: 1, held: 21, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Held, counts));
    let everybody = [members.clone(), vec![direct.clone()]].concat();
    assert_eq!(held(&world).await, held_as(&everybody, "update", "threshold"));
    assert_eq!(world.log(&members[0]).await, ["create success assigned", "update held threshold"]);
    assert!(world.last_detail(&members[0]).await.contains("department"));
    assert_eq!(world.log(&newcomer).await, ["create success assigned"]);
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE department = 'Research'").await, "21");
    world.settled().await;

    // The values are back: the one real change was held and is now applied.
    world.sim.clear_faults();
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.held), (Outcome::Held, 1));
    assert_eq!(held(&world).await, held_as(std::slice::from_ref(&direct), "update", "threshold"));
    world.settled().await;
    assert_eq!(world.approve().await, 1);
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.updated), (Outcome::Success, 1));
    assert_eq!(world.learner(&direct, "title").await, ["Diver"]);
    world.settled().await;
}

#[tokio::test]
async fn an_approved_clearing_is_applied() {
    let (mut world, users) = staff(20).await;
    world.sim.tenant(|tenant| users.iter().for_each(|user| tenant.user_mut(user).department = None));
    assert_eq!(world.cycle().await.counts.held, 20);
    assert_eq!(world.approve().await, 20);
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.updated, report.counts.held), (Outcome::Success, 20, 0));
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE department IS NULL").await, "20");
    assert!(world.last_detail(&users[0]).await.starts_with("approved by tests"));
    assert_eq!(world.value("SELECT count(*) FROM sync_held").await, "0");
    world.settled().await;
}

/// Clears the department of `clear` of the `of` users who have one, beside ten who have none.
async fn check_clearing(of: usize, clear: usize, held_back: bool) {
    let mut tenant = Tenant::default();
    let staff = assigned(&mut tenant, of);
    for number in 0..10 {
        let without = tenant.add_user(User::named("Without", &number.to_string()));
        tenant.assign_user(&without);
    }
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world.sim.tenant(|tenant| staff[..clear].iter().for_each(|user| tenant.user_mut(user).department = None));
    let report = world.cycle().await;
    let clear = clear as u64;
    let (updated, held) = if held_back { (0, clear) } else { (clear, 0) };
    assert_eq!((report.counts.updated, report.counts.held), (updated, held), "{clear} of {of}");
    world.settled().await;
}

#[tokio::test]
async fn a_few_cleared_values_or_a_fifth_of_them_are_not_held() {
    check_clearing(10, 10, false).await;
    check_clearing(55, 11, false).await;
    check_clearing(54, 11, true).await;
}

#[tokio::test]
async fn a_limit_on_updates_holds_all_updates_and_no_creates() {
    let (mut world, users) = staff(100).await;
    world.configure("[safety]\nmax_update_percent = 11");
    world.sim.tenant(|tenant| {
        users[..11].iter().for_each(|user| tenant.user_mut(user).job_title = Some("Diver".to_owned()));
    });
    assert_eq!(world.cycle().await.counts.updated, 11);
    world.sim.tenant(|tenant| {
        users[..12].iter().for_each(|user| tenant.user_mut(user).job_title = Some("Captain".to_owned()));
        assigned(tenant, 1);
    });
    let report = world.cycle().await;
    let counts = Counts { in_scope: 101, created: 1, unchanged: 88, held: 12, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Held, counts));
    assert_eq!(held(&world).await, held_as(&users[..12], "update", "threshold"));
    world.settled().await;
    world.approve().await;
    assert_eq!(world.cycle().await.counts.updated, 12);
    world.settled().await;
}

#[tokio::test]
async fn a_user_with_a_held_update_can_still_leave() {
    let (mut world, users) = staff(20).await;
    world.sim.tenant(|tenant| users.iter().for_each(|user| tenant.user_mut(user).department = None));
    assert_eq!(world.cycle().await.counts.held, 20);
    world.sim.tenant(|tenant| tenant.user_mut(&users[0]).account_enabled = Some(false));
    let report = world.cycle().await;
    assert_eq!((report.counts.deactivated, report.counts.held), (1, 19));
    assert_eq!(world.log(&users[0]).await.last().unwrap(), "deactivate success account-disabled");
    assert_eq!(world.learner(&users[0], "department, active").await, ["Research", "0"]);
    world.settled().await;
}

/// The log hides the values of the department.
const REDACTED: &str = r#"[mapping]
userName = "[userPrincipalName]"
'emails[type eq "work"].value' = "[mail]"
active = 'Switch([IsSoftDeleted], , "False", "True", "True", "False")'
"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department" = "Redact([department])"
"#;

/// Nine learners a cycle lose a value: each cycle alone is within the limit.
#[apply(on_both)]
async fn values_that_vanish_slowly_are_counted_over_a_day() {
    for redact in [false, true] {
        let (mut world, users) = staff(45).await;
        if redact {
            world.configure(REDACTED);
        }
        let clear = |world: &World, users: &[String]| {
            world.sim.tenant(|tenant| users.iter().for_each(|user| tenant.user_mut(user).department = None));
        };
        clear(&world, &users[..9]);
        assert_eq!(world.cycle().await.counts.updated, 9);
        // 18 of 45; other changes are held with them.
        clear(&world, &users[9..18]);
        world.sim.tenant(|tenant| tenant.user_mut(&users[44]).job_title = Some("Diver".to_owned()));
        let report = world.cycle().await;
        assert_eq!(
            (report.counts.updated, report.counts.held),
            (0, if redact { 9 } else { 10 }),
            "{}",
            report.summary()
        );
        let detail = world.last_detail(&users[9]).await;
        assert!(detail.contains("18 of 45") && detail.contains("9 of them"), "{detail}");
        world.settled().await;
        // Approved users are excepted, then and afterwards; the first nine are not.
        world.approve().await;
        assert_eq!(world.cycle().await.counts.held, 0);
        clear(&world, &users[18..19]);
        assert_eq!(world.cycle().await.counts.updated, 1);
        clear(&world, &users[19..20]);
        assert_eq!(world.cycle().await.counts.held, 1, "11 of 36");
        // A learner that has a value again, or is inactive, does not count.
        world.sim.tenant(|tenant| {
            tenant.user_mut(&users[0]).department = Some("Research".to_owned());
            tenant.unassign(&users[1]);
        });
        world.approve().await;
        assert_eq!(world.cycle().await.counts.held, 0);
        clear(&world, &users[20..22]);
        assert_eq!(world.cycle().await.counts.updated, 2, "ten");
        clear(&world, &users[22..23]);
        assert_eq!(world.cycle().await.counts.held, 1);
        // A day later nothing of this counts.
        world.pass(SignedDuration::from_hours(25));
        world.approve().await;
        assert_eq!(world.cycle().await.counts.held, 0);
        clear(&world, &users[23..26]);
        assert_eq!(world.cycle().await.counts.updated, 3);
    }
}
