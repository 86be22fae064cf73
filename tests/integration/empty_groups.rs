//! The leavers of a group that became empty are held, and so are all leavers when nobody is assigned.

use graph_sim::{Fault, Tenant};
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;

use crate::database::{apply, on_both};
use crate::holds::{assign, held, held_as, unassign};
use crate::world::{World, add_users, assigned, assigned_group};

/// A world with a group of `count` members and twenty users who are assigned directly.
async fn group_of(count: usize) -> (World, String, Vec<String>) {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Night shift", count);
    assigned(&mut tenant, 20);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.outcome, Outcome::Success);
    (world, group, members)
}

fn empty(world: &World, group: &str, members: &[String]) {
    world.sim.tenant(|tenant| members.iter().for_each(|member| tenant.remove_member(group, member)));
}

#[apply(on_both)]
async fn a_group_that_became_empty_holds_its_leavers() {
    let (mut world, group, members) = group_of(3).await;
    assert_eq!(world.query("SELECT group_id, last_members FROM sync_groups").await, [[group.as_str(), "3"]]);
    empty(&world, &group, &members);
    let report = world.cycle().await;
    let counts = Counts { in_scope: 20, unchanged: 20, held: 3, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Held, counts));
    assert_eq!(held(&world).await, held_as(&members, "deactivate", "empty-group"));
    assert_eq!(world.log(&members[0]).await, ["create success assigned", "deactivate held empty-group"]);
    assert!(world.last_detail(&members[0]).await.contains(&group));
    world.settled().await;
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
    world.settled().await;

    // A new member joins, and the group is not empty any more.
    let newcomer = world.sim.tenant(|tenant| {
        let newcomer = add_users(tenant, 1).remove(0);
        tenant.add_member(&group, &newcomer);
        newcomer
    });
    let report = world.cycle().await;
    assert_eq!((report.counts.created, report.counts.held), (1, 3));
    assert_eq!(world.log(&newcomer).await, ["create success assigned"]);
    world.settled().await;

    // One user returns; the others are approved.
    world.sim.tenant(|tenant| tenant.add_member(&group, &members[0]));
    assert_eq!(world.cycle().await.counts.held, 2);
    assert_eq!(world.approve().await, 2);
    assert_eq!(world.cycle().await.counts.deactivated, 2);
    assert_eq!(world.log(&members[2]).await.last().unwrap(), "deactivate success unassigned");
    assert_eq!(world.query("SELECT last_members FROM sync_groups").await, [["2"]]);
    world.settled().await;
}

#[tokio::test]
async fn a_leaver_unreadable_when_the_group_became_empty_is_held_for_it_later() {
    let (mut world, group, members) = group_of(3).await;
    empty(&world, &group, &members);
    world.sim.inject(Fault::on("GET", &format!("/v1.0/users/{}", members[0])).answer(403));
    assert_eq!(world.cycle().await.counts.held, 3);
    assert_eq!(world.log(&members[0]).await.last().unwrap(), "deactivate held unreadable");
    let report = world.cycle().await;
    assert_eq!((report.counts.held, report.counts.deactivated), (3, 0));
    assert_eq!(world.log(&members[0]).await.last().unwrap(), "deactivate held empty-group");
    world.settled().await;
}

#[tokio::test]
async fn the_learners_of_a_group_stand_in_for_its_lost_count() {
    for damage in [
        "DELETE FROM sync_groups",
        "UPDATE sync_groups SET last_members = 0",
        "UPDATE sync_groups SET source = 'another/source'",
    ] {
        let (mut world, group, members) = group_of(3).await;
        world.execute(damage).await;
        empty(&world, &group, &members);
        for _ in 0..2 {
            let report = world.cycle().await;
            assert_eq!(
                (report.outcome, report.counts.held, report.counts.deactivated),
                (Outcome::Held, 3, 0),
                "{damage}"
            );
        }
        assert_eq!(held(&world).await, held_as(&members, "deactivate", "empty-group"));
    }
}

#[tokio::test]
async fn a_small_group_may_become_empty() {
    let (mut world, group, members) = group_of(2).await;
    empty(&world, &group, &members);
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.deactivated), (Outcome::Success, 2));
    assert_eq!(world.query("SELECT last_members FROM sync_groups").await, [["0"]]);
    world.settled().await;
}

#[tokio::test]
async fn a_group_that_keeps_a_member_is_not_empty() {
    let (mut world, group, members) = group_of(5).await;
    empty(&world, &group, &members[..4]);
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.deactivated), (Outcome::Success, 4));
    world.settled().await;
}

#[tokio::test]
async fn only_unassigned_leavers_last_seen_in_the_group_are_held() {
    let (mut world, group, members) = group_of(5).await;
    let other = world.sim.tenant(|tenant| {
        tenant.user_mut(&members[0]).account_enabled = Some(false);
        tenant.delete_user(&members[1]);
        tenant.assign_user(&members[2]);
        assigned(tenant, 1).remove(0)
    });
    assert_eq!(world.cycle().await.counts.deactivated, 2);
    world.sim.tenant(|tenant| tenant.unassign(&other));
    empty(&world, &group, &members);
    let report = world.cycle().await;
    assert_eq!((report.counts.held, report.counts.deactivated), (2, 1));
    assert_eq!(held(&world).await, held_as(&members[3..], "deactivate", "empty-group"));
    assert_eq!(world.log(&other).await.last().unwrap(), "deactivate success unassigned");
    world.settled().await;
}

#[tokio::test]
async fn a_deleted_group_and_hidden_members_mean_an_empty_group() {
    for hide in [true, false] {
        let (mut world, group, members) = group_of(4).await;
        world.sim.tenant(|tenant| match hide {
            true => tenant.group_mut(&group).visibility = Some("HiddenMembership".to_owned()),
            false => tenant.delete_group(&group),
        });
        let report = world.cycle().await;
        assert_eq!((report.outcome, report.counts.held, report.counts.deactivated), (Outcome::Held, 4, 0));
        assert_eq!(held(&world).await, held_as(&members, "deactivate", "empty-group"));
        world.settled().await;
        if hide {
            world.sim.tenant(|tenant| tenant.group_mut(&group).visibility = None);
            let report = world.cycle().await;
            assert_eq!((report.outcome, report.counts.held), (Outcome::Success, 0));
            world.settled().await;
        }
    }
}

#[tokio::test]
async fn an_application_without_assignments_holds_all_leavers() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 2);
    let direct = assigned(&mut tenant, 2);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 4);
    unassign(&world, &direct);
    unassign(&world, std::slice::from_ref(&group));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts), (Outcome::Held, Counts { held: 4, ..Counts::default() }));
    let everybody = [members.clone(), direct.clone()].concat();
    assert_eq!(held(&world).await, held_as(&everybody, "deactivate", "empty-group"));
    world.settled().await;

    assign(&world, &direct[..1]);
    let report = world.cycle().await;
    assert_eq!((report.counts.held, report.counts.unchanged, report.counts.deactivated), (3, 1, 0));
    world.approve().await;
    assert_eq!(world.cycle().await.counts.deactivated, 3);
    world.settled().await;
}
