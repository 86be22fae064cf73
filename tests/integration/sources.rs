//! Two applications with one database: neither changes the learners of the other.

use graph_sim::{Tenant, User};
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;
use learner_sync::runtime::configured_source;
use learner_sync::store::{Access, Store};

use crate::database::{apply, on_both};
use crate::world::{World, add_users, assigned};

/// A world whose database contains the learners of the first application, configured for the second.
struct Two {
    world: World,
    /// The object ids of the applications.
    first: String,
    second: String,
    /// Assigned to the first only.
    external: Vec<String>,
    /// Assigned to both.
    shared: String,
    /// Assigned to the second only.
    ours: Vec<String>,
}

async fn two_applications() -> Two {
    let mut tenant = Tenant::default();
    let first = tenant.application.object_id.clone();
    let second = tenant.add_application("Another platform");
    let mut external = assigned(&mut tenant, 4);
    let shared = external.remove(0);
    tenant.assign_user_to(&second, &shared);
    let ours = add_users(&mut tenant, 2);
    ours.iter().for_each(|user| tenant.assign_user_to(&second, user));
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 4);
    configure(&world, &second);
    Two { world, first, second, external, shared, ours }
}

fn configure(world: &World, application: &str) {
    let (tenant, client) = world.sim.tenant(|tenant| (tenant.tenant_id.clone(), tenant.client_id.clone()));
    world.configure_for(&tenant, &client, application, "");
}

async fn admit(world: &World) {
    let app = world.app();
    let store = Store::open(&app.learners, Access::ReadWrite).await.unwrap();
    let source = configured_source(&app.config, &store.state().await.unwrap());
    store.admit_source(&source, "tests", world.now).await.unwrap();
}

#[apply(on_both)]
async fn another_application_is_refused_until_it_is_admitted() {
    let Two { mut world, first, second, shared, ours, .. } = two_applications().await;
    let before = world.lasting().await;
    for _ in 0..2 {
        let report = world.cycle().await;
        assert_eq!((report.outcome, report.counts), (Outcome::Failed, Counts::default()));
        let error = report.error.unwrap();
        let keeper = format!("belongs to application {first} in tenant {}", graph_sim::TENANT_ID);
        assert!(error.contains(&keeper), "{error}");
        assert!(error.contains("learner-sync approve --source"), "{error}");
        world.unchanged_since(&before).await;
    }

    admit(&world).await;
    assert_eq!(world.query("SELECT actor, action FROM audit_log").await, [["tests", "approve"]]);
    let report = world.cycle().await;
    // The user of both belongs to the first.
    let counts = Counts { in_scope: 3, created: 2, failed: 1, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Partial, counts));
    assert_eq!(world.log(&shared).await, ["create success assigned", "create failure conflict"]);
    assert!(world.last_detail(&shared).await.contains(&first));
    let source = format!("{}/{second}", graph_sim::TENANT_ID);
    let linked =
        world.query(&format!("SELECT entra_id FROM sync_links WHERE source = '{source}' ORDER BY entra_id")).await;
    let mut ours = ours;
    ours.sort();
    assert_eq!(linked.concat(), ours);
    world.settled().await;
}

#[tokio::test]
async fn the_learners_of_another_application_are_never_changed() {
    let Two { mut world, first, external, shared, ours, .. } = two_applications().await;
    admit(&world).await;
    world.cycle().await;
    let of_the_first = "SELECT r.* FROM learners r JOIN sync_links l ON l.learner_id = r.id WHERE l.source LIKE '%";
    let of_the_first = format!("{of_the_first}{first}' ORDER BY r.id");
    let before = world.query(&of_the_first).await;
    assert_eq!(before.len(), 4);

    // The second application ignores changes of the first one's users.
    world.sim.tenant(|tenant| {
        tenant.delete_user(&external[0]);
        tenant.user_mut(&external[1]).account_enabled = Some(false);
        tenant.user_mut(&shared).job_title = Some("Diver".to_owned());
        tenant.user_mut(&ours[0]).account_enabled = Some(false);
    });
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.full_cycle().await;
    assert_eq!(world.query(&of_the_first).await, before);
    world.settled().await;

    // The first one runs on the cache of the second and is not misled by it.
    configure(&world, &first);
    let report = world.cycle().await;
    let Counts { created, updated, deactivated, reactivated, .. } = report.counts;
    assert_eq!((created, updated, deactivated, reactivated), (0, 1, 2, 0));
    assert_eq!(world.learner(&ours[1], "active").await, ["1"]);
    world.settled().await;
}

#[apply(on_both)]
async fn a_newcomer_does_not_get_the_address_of_another_applications_learner() {
    let Two { mut world, second, external, .. } = two_applications().await;
    admit(&world).await;
    world.cycle().await;
    let newcomer = world.sim.tenant(|tenant| {
        let mail = tenant.user(&external[0]).unwrap().mail.clone().unwrap();
        let newcomer = tenant.add_user(User::named("New", "Comer").mail(mail));
        tenant.assign_user_to(&second, &newcomer);
        newcomer
    });
    world.cycle().await;
    assert_eq!(world.log(&newcomer).await, ["create failure conflict"]);
    assert!(world.last_detail(&newcomer).await.contains(&external[0]));
    world.settled().await;
}

#[tokio::test]
async fn unlinked_learners_stay_unchanged() {
    let mut tenant = Tenant::default();
    let ada = assigned(&mut tenant, 1).remove(0);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world
        .execute("INSERT INTO learners (user_name, email, external_id) VALUES ('trainer', 'trainer@example.org', NULL), ('robot', NULL, 'not-of-entra')")
        .await;
    let others = "SELECT * FROM learners WHERE user_name IN ('trainer', 'robot') ORDER BY id";
    let before = world.query(others).await;
    assert_eq!(before.len(), 2);
    world.sim.tenant(|tenant| tenant.unassign(&ada));
    world.full_cycle().await;
    world.approve().await;
    assert_eq!(world.full_cycle().await.counts.deactivated, 1);
    assert_eq!(world.query(others).await, before);
    world.settled().await;
}
