//! The life of learners on a server: what the other scenarios tell of SQLite in full, once through.

use graph_sim::{Tenant, User};
use jiff::SignedDuration;
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;
use serde_json::json;

use crate::holds::{assign, held, held_as, unassign};
use crate::learners::{change, hire};
use crate::world::{World, assigned, people};

async fn staff(count: usize) -> Option<(World, Vec<String>)> {
    let mut tenant = Tenant::default();
    let people = assigned(&mut tenant, count);
    let mut world = World::start_on_postgres(tenant).await?;
    assert_eq!(world.cycle().await.counts.created, count as u64);
    Some((world, people))
}

#[tokio::test]
async fn somebody_is_hired_promoted_leaves_and_comes_back() {
    let mut tenant = Tenant::default();
    let ada = tenant.hire(User::named("Ada", "Lovelace").department("Research").job_title("Engineer"));
    tenant.assign_user(&ada);
    // An application with nobody left would be held.
    assigned(&mut tenant, 1);
    let Some(mut world) = World::start_on_postgres(tenant).await else { return };
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 2, created: 2, ..Counts::default() });
    let (address, at) = ("ada.lovelace@harbourworks.example", "2026-03-02T08:00:00Z");
    assert_eq!(
        world
            .learner(&ada, "user_name, email, first_name, title, department, employee_number, active, created_at")
            .await,
        [address, address, "Ada", "Engineer", "Research", "NULL", "1", at]
    );
    let links = format!("SELECT via, linked_at FROM sync_links WHERE entra_id = '{ada}'");
    assert_eq!(world.query(&links).await, [["[\"direct\"]", at]]);
    world.settled().await;

    change(&world, &ada, |user| user.job_title = Some("Head of Research".to_owned()));
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 2, updated: 1, unchanged: 1, ..Counts::default() });
    assert_eq!(
        world.last_changes(&ada).await,
        json!([{"attribute": "title", "old": "Engineer", "new": "Head of Research"}])
    );
    world.settled().await;

    unassign(&world, std::slice::from_ref(&ada));
    let left = world.now.to_string();
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 1, deactivated: 1, unchanged: 1, ..Counts::default() });
    assert_eq!(world.learner(&ada, "active, deactivated_at").await, ["0", &left]);
    world.settled().await;

    assign(&world, std::slice::from_ref(&ada));
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 2, reactivated: 1, unchanged: 1, ..Counts::default() });
    assert_eq!(world.learner(&ada, "active, deactivated_at, title").await, ["1", "NULL", "Head of Research"]);
    assert_eq!(
        world.log(&ada).await,
        [
            "create success assigned",
            "update success attributes-changed",
            "deactivate success unassigned",
            "reactivate success reassigned"
        ]
    );
    world.settled().await;
}

#[tokio::test]
async fn a_learner_of_the_platform_is_adopted_and_one_of_somebody_else_is_a_conflict() {
    let mut tenant = Tenant::default();
    let ada = tenant.hire(User::named("Ada", "Lovelace"));
    let grace = tenant.hire(User::named("Grace", "Hopper"));
    [&ada, &grace].into_iter().for_each(|person| tenant.assign_user(person));
    let Some(mut world) = World::start_on_postgres(Tenant::default()).await else { return };
    world.cycle().await;
    world
        .execute(
            "INSERT INTO learners (user_name, team_name, external_id) VALUES
                 ('ADA.LOVELACE@harbourworks.example', 'Blue', NULL),
                 ('grace.hopper@harbourworks.example', 'Red', '0f0f0f0f-0000-4000-8000-000000000001')",
        )
        .await;
    world.sim.tenant(|served| *served = tenant);
    let report = world.cycle().await;
    let counts = Counts { in_scope: 2, updated: 1, failed: 1, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Partial, counts));
    assert_eq!(world.log(&ada).await, ["update success adopted"]);
    assert_eq!(world.log(&grace).await, ["create failure conflict"]);
    assert_eq!(world.learner(&ada, "user_name, first_name, team_name").await[1..], ["Ada", "Blue"]);
    world.settled().await;
}

#[tokio::test]
async fn two_people_swap_addresses_in_one_cycle() {
    let Some((mut world, people)) = staff(3).await else { return };
    let names = world.sim.tenant(|tenant| people.iter().map(|id| tenant.user(id).unwrap().clone()).collect::<Vec<_>>());
    for (person, other) in [(0, 1), (1, 2), (2, 0)] {
        change(&world, &people[person], |user| {
            user.user_principal_name.clone_from(&names[other].user_principal_name);
            user.mail.clone_from(&names[other].mail);
        });
    }
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 3, updated: 3, ..Counts::default() });
    for (person, other) in [(0, 1), (1, 2), (2, 0)] {
        let expected = names[other].user_principal_name.clone().unwrap();
        assert_eq!(world.learner(&people[person], "user_name").await, [expected]);
    }
    world.settled().await;
}

#[tokio::test]
async fn a_cache_that_is_gone_and_a_hand_on_the_database_change_no_outcome() {
    let Some((mut world, people)) = staff(20).await else { return };
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
    assert_eq!(world.settled().await.counts.unchanged, 20);
    world.execute(&format!("UPDATE learners SET department = 'by hand' WHERE external_id = '{}'", people[3])).await;
    let report = world.full_cycle().await;
    assert_eq!((report.counts.updated, report.counts.unchanged), (1, 19));
    assert_eq!(world.learner(&people[3], "department").await, ["Research"]);
    world.settled().await;
}

#[tokio::test]
async fn too_many_who_leave_are_held_until_they_are_approved() {
    let Some((mut world, people)) = staff(40).await else { return };
    unassign(&world, &people[..20]);
    let report = world.cycle().await;
    let counts = Counts { in_scope: 20, unchanged: 20, held: 20, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Held, counts));
    assert_eq!(held(&world).await, held_as(&people[..20], "deactivate", "threshold"));
    world.settled().await;
    assert_eq!(world.approve().await, 20);
    assert_eq!(world.cycle().await.counts.deactivated, 20);
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE NOT active").await, "20");
    world.pass(SignedDuration::from_mins(1));
    world.settled().await;
}

#[tokio::test]
async fn what_the_database_refuses_is_one_persons_matter() {
    let Some((mut world, people)) = staff(600).await else { return };
    world.execute("ALTER TABLE learners ADD CHECK (title IS NULL OR title <> 'Cardinal')").await;
    world.sim.tenant(|tenant| {
        people.iter().for_each(|person| tenant.user_mut(person).job_title = Some("Monk".to_owned()));
        tenant.user_mut(&people[321]).job_title = Some("Cardinal".to_owned());
        tenant.user_mut(&people[322]).job_title = Some("nul\0character".to_owned());
    });
    let report = world.cycle().await;
    let counts = Counts { in_scope: 600, updated: 598, failed: 2, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Partial, counts));
    assert_eq!(world.log(&people[321]).await[1], "update failure database-error");
    assert_eq!(world.log(&people[322]).await[1], "update failure invalid-value");
    let detail = world.last_detail(&people[321]).await;
    assert!(detail.contains("a check of the table fails: learners_title_check"), "{detail}");
    world.settled().await;
}

#[tokio::test]
async fn two_applications_keep_one_database_only_when_that_is_admitted() {
    let mut tenant = Tenant::default();
    let second = tenant.add_application("Another");
    let theirs = assigned(&mut tenant, 2);
    let ours = people(&mut tenant, 2);
    ours.iter().for_each(|person| tenant.assign_user_to(&second, person));
    let Some(mut world) = World::start_on_postgres(tenant).await else { return };
    assert_eq!(world.cycle().await.counts.created, 2);
    let (tenant, client) = world.sim.tenant(|tenant| (tenant.tenant_id.clone(), tenant.client_id.clone()));
    world.configure_for(&tenant, &client, &second, "");
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts), (Outcome::Failed, Counts::default()));
    world.run_program(&["approve", "--source", "--yes"], 0);
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 2, created: 2, ..Counts::default() });
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE active").await, "4");
    assert_eq!(world.learner(&theirs[0], "active").await, ["1"]);
    world.settled().await;
}

#[tokio::test]
async fn names_of_every_kind_are_stored_as_they_are() {
    let Some((mut world, people)) = staff(1).await else { return };
    let names = [
        "O'Brien \"the\" \\ ; DROP TABLE learners; --",
        "tab\tnewline\nbell\u{7}escape\u{1b}[31m",
        "👩‍🚀 Zoë Ōé \u{202e}right to left",
        " spaces around ",
        &"long ".repeat(2000),
    ];
    for name in names {
        change(&world, &people[0], |user| user.job_title = Some(name.to_owned()));
        assert_eq!(world.cycle().await.counts.updated, 1, "{name:?}");
        assert_eq!(world.learner(&people[0], "title").await, [name]);
        assert_eq!(world.last_changes(&people[0]).await[0]["new"], json!(name));
        world.settled().await;
    }
    hire(&world, User::named("Åsa", "Öberg"));
    assert_eq!(world.cycle().await.counts.created, 1);
    world.settled().await;
}
