//! `learners.reissued`: the address of a former user is given to a new one.

use graph_sim::{Tenant, User};
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;
use serde_json::json;

use crate::database::{apply, on_both};
use crate::learners::add_user;
use crate::world::{World, assigned};

const ADDRESS: &str = "ada.lovelace@harbourworks.example";

/// A world with eleven active learners, and Ada, whose learner is inactive.
async fn world_without_ada(reissued: &str) -> (World, String) {
    let mut tenant = Tenant::default();
    let ada = tenant.add_user(User::named("Ada", "Lovelace"));
    tenant.assign_user(&ada);
    assigned(&mut tenant, 11);
    let mut world = World::start(tenant).await;
    world.configure(&format!("reissued = \"{reissued}\""));
    assert_eq!(world.cycle().await.counts.created, 12);
    world.sim.tenant(|tenant| {
        tenant.delete_user(&ada);
        tenant.purge_user(&ada);
    });
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    (world, ada)
}

#[apply(on_both)]
async fn with_free_the_values_of_the_former_learner_are_moved_aside() {
    let (mut world, ada) = world_without_ada("free").await;
    let new = add_user(&world, User::named("Ada", "Lovelace"));
    let report = world.cycle().await;
    let counts = Counts { in_scope: 12, created: 1, updated: 1, unchanged: 11, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Success, counts));
    assert_eq!(world.learner(&new, "user_name, email, active").await, [ADDRESS, ADDRESS, "1"]);
    let aside = format!("{ada}{ADDRESS}");
    assert_eq!(world.learner(&ada, "user_name, email, active, first_name").await, [&aside, &aside, "0", "Ada"]);
    assert_ne!(world.learner(&ada, "deactivated_at").await, ["NULL"]);
    assert_eq!(world.log(&ada).await.last().unwrap(), "update success attributes-changed");
    assert_eq!(world.last_detail(&ada).await, format!("freed userName for Entra id {new}"));
    let mail = "emails[type eq \"work\"].value";
    let changes = json!([
        { "attribute": "userName", "old": ADDRESS, "new": aside },
        { "attribute": mail, "old": ADDRESS, "new": aside },
    ]);
    assert_eq!(world.last_changes(&ada).await, changes);
    // Three requests read all users; a fourth would confirm a former user again.
    assert_eq!(world.settled().await.requests, 3);
    world.full_cycle().await;
    world.settled().await;
}

#[tokio::test]
async fn with_free_a_renamed_learner_gets_the_address_of_a_former_one_too() {
    let (mut world, ada) = world_without_ada("free").await;
    let grace = add_user(&world, User::named("Grace", "Hopper"));
    world.cycle().await;
    world.sim.tenant(|tenant| tenant.user_mut(&grace).mail = Some(ADDRESS.to_owned()));
    assert_eq!(world.cycle().await.counts.updated, 2);
    assert_eq!(world.learner(&grace, "email").await, [ADDRESS]);
    assert_eq!(world.learner(&ada, "email").await, [format!("{ada}{ADDRESS}")]);
    world.settled().await;
}

#[apply(on_both)]
async fn with_free_two_newcomers_are_both_rejected_and_nothing_is_moved_aside() {
    let (mut world, ada) = world_without_ada("free").await;
    add_user(&world, User::named("Grace", "Hopper").mail(ADDRESS));
    add_user(&world, User::named("Mary", "Shelley").mail(ADDRESS));
    let counts = Counts { in_scope: 13, failed: 2, unchanged: 11, ..Counts::default() };
    assert_eq!(world.cycle().await.counts, counts);
    assert_eq!(world.learner(&ada, "email").await, [ADDRESS]);
    world.settled().await;
}

#[tokio::test]
async fn with_free_a_returning_former_user_is_a_conflict() {
    let (mut world, _) = world_without_ada("free").await;
    let grace = add_user(&world, User::named("Grace", "Hopper"));
    world.cycle().await;
    world.sim.tenant(|tenant| tenant.unassign(&grace));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    let mail = "grace.hopper@harbourworks.example";
    let other = add_user(&world, User::named("Mary", "Shelley").mail(mail));
    assert_eq!(world.cycle().await.counts.created, 1);
    // Mary has the address now; Entra would not have reissued it while Grace had it.
    world.sim.tenant(|tenant| tenant.assign_user(&grace));
    let report = world.cycle().await;
    assert_eq!((report.counts.reactivated, report.counts.failed), (0, 1));
    assert_eq!(world.log(&grace).await.last().unwrap(), "reactivate failure conflict");
    assert_eq!(world.learner(&other, "email, active").await, [mail, "1"]);
    world.settled().await;
}

#[tokio::test]
async fn with_free_an_active_and_a_returning_holder_keep_their_values() {
    let (mut world, ada) = world_without_ada("free").await;
    let grace = add_user(&world, User::named("Grace", "Hopper"));
    world.cycle().await;
    let taken = "grace.hopper@harbourworks.example";
    let mary = add_user(&world, User::named("Mary", "Shelley").mail(taken));
    assert_eq!(world.cycle().await.counts.failed, 1);
    assert_eq!(world.learner(&grace, "email").await, [taken]);
    // Grace leaves and returns in the cycle in which Mary wants her address.
    world.sim.tenant(|tenant| tenant.unassign(&grace));
    world.cycle().await;
    assert_eq!(world.learner(&mary, "email").await, Vec::<String>::new());
    assert_eq!(world.log(&mary).await, ["create failure conflict"]);
    world.cycle().await;
    assert_eq!(world.learner(&mary, "email").await, [taken]);
    assert_eq!(world.learner(&ada, "email").await, [ADDRESS]);
    world.settled().await;
}

#[tokio::test]
async fn with_conflict_the_former_learner_keeps_its_values_and_is_named() {
    let (mut world, ada) = world_without_ada("conflict").await;
    let new = add_user(&world, User::named("Ada", "Lovelace"));
    assert_eq!(world.cycle().await.counts.failed, 1);
    assert_eq!(world.log(&new).await, ["create failure conflict"]);
    let detail = world.last_detail(&new).await;
    assert!(detail.contains(&ada) && detail.contains("inactive"), "{detail}");
    assert_eq!(world.learner(&ada, "user_name").await, [ADDRESS]);
    world.settled().await;
}
