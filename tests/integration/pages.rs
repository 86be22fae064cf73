//! Pages are assessed on other threads while the next ones arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use graph_sim::{Fault, Tenant};
use learner_sync::directory::{Assess, DirectoryError, GraphError, Snapshot, assess_each};
use learner_sync::model::EntraId;
use serde_json::json;

use crate::directory::calls;
use crate::world::{World, assigned, assigned_group};

const MEMBERS: &str = "/v1.0/groups/{id}/members";

/// A group of 12 members on three pages.
async fn world_of_three_pages() -> World {
    let mut tenant = Tenant::default();
    tenant.page_cap = Some(5);
    assigned_group(&mut tenant, "Staff", 12);
    World::start(tenant).await
}

/// Reads the directory; also returns how often each user was assessed.
async fn read(world: &mut World, assess: Assess<()>) -> (Result<Snapshot, DirectoryError>, BTreeMap<EntraId, usize>) {
    let app = world.app();
    let application = app.directory.application(app.rules.application).await.unwrap();
    let mut users = BTreeMap::new();
    let on_user = |user, ()| *users.entry(user).or_default() += 1;
    let read = app.directory.read(application, &app.rules.selection, &BTreeSet::new(), &assess, on_user).await;
    (read, users)
}

#[tokio::test]
async fn the_next_page_arrives_while_one_is_assessed() {
    let mut world = world_of_three_pages().await;
    let sim = Arc::clone(&world.sim);
    let begun = Instant::now();
    let assess = assess_each(move |_, _| {
        while calls(&sim.journal(), "/members").len() < 2 {
            assert!(begun.elapsed() < Duration::from_secs(20), "the second page was not asked for");
            std::thread::yield_now();
        }
    });
    let (snapshot, users) = read(&mut world, assess).await;
    assert_eq!(snapshot.unwrap().users(), 12);
    assert!(users.len() == 12 && users.values().all(|times| *times == 1), "{users:?}");
}

#[tokio::test]
async fn the_error_of_an_earlier_page_comes_first() {
    let mut world = world_of_three_pages().await;
    let failed_row = || json!({"error": {"code": "EarlierPage"}});
    for (page, later) in [(1, 403), (2, 403), (1, 404), (2, 400)] {
        world.sim.inject(Fault::on("GET", MEMBERS).page(page).always().add_row(failed_row()));
        world.sim.inject(Fault::on("GET", MEMBERS).page(page + 1).always().answer(later));
        let error = read(&mut world, assess_each(|_, _| {})).await.0.unwrap_err();
        world.sim.clear_faults();
        assert!(error.to_string().contains("EarlierPage"), "{page}, {later}: {error}");
    }
    // A restart does not hide it either.
    world.sim.inject(Fault::on("GET", MEMBERS).page(1).add_row(failed_row()));
    world.sim.inject(Fault::on("GET", MEMBERS).page(2).expired_page_token());
    let error = read(&mut world, assess_each(|_, _| {})).await.0.unwrap_err();
    assert!(error.to_string().contains("EarlierPage"), "{error}");
}

#[tokio::test]
async fn a_panic_on_another_thread_fails_the_read_alone() {
    let mut tenant = Tenant::default();
    tenant.page_cap = Some(5);
    assigned_group(&mut tenant, "Staff", 12);
    let direct = assigned(&mut tenant, 3);
    let mut world = World::start(tenant).await;
    for unlucky in [None, Some(direct[1].parse::<EntraId>().unwrap())] {
        let assess = assess_each(move |read, _| {
            assert!(unlucky.is_some_and(|unlucky| read.user() != unlucky), "an expected panic");
        });
        let error = read(&mut world, assess).await.0.unwrap_err();
        assert!(matches!(error, DirectoryError::Graph(GraphError::Panicked { .. })), "{error}");
    }
    assert_eq!(read(&mut world, assess_each(|_, _| {})).await.0.unwrap().users(), 15);
}

#[tokio::test]
async fn a_member_of_many_groups_is_assessed_once() {
    let mut tenant = Tenant::default();
    tenant.page_cap = Some(5);
    let (_, everybody) = assigned_group(&mut tenant, "Everybody", 12);
    for number in 0..40 {
        let (group, _) = assigned_group(&mut tenant, &format!("Team {number}"), 1);
        tenant.add_member(&group, &everybody[0]);
    }
    let mut world = World::start(tenant).await;
    let assessed: Arc<Mutex<BTreeMap<EntraId, usize>>> = Arc::default();
    let assess = assess_each({
        let assessed = Arc::clone(&assessed);
        move |read, _| *assessed.lock().unwrap().entry(read.user()).or_default() += 1
    });
    let (snapshot, users) = read(&mut world, assess).await;
    let snapshot = snapshot.unwrap();
    assert_eq!(snapshot.users(), 52);
    assert_eq!(snapshot.routes(everybody[0].parse().unwrap()).unwrap().as_slice().len(), 41);
    let assessed = std::mem::take(&mut *assessed.lock().unwrap());
    assert!(assessed.len() == 52 && assessed.values().all(|times| *times == 1), "{assessed:?}");
    assert_eq!(assessed, users);
}
