//! One user: created, renamed, cleared, rejected, repaired.

use graph_sim::{Tenant, User};
use jiff::SignedDuration;
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;
use serde_json::json;

use crate::database::{apply, on_both};
use crate::world::World;

const DEPARTMENT: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
/// The SCIM path of the e-mail address.
pub(crate) const EMAIL: &str = "emails[type eq \"work\"].value";

/// A world with one learner, Ada.
pub(crate) async fn ada() -> (World, String) {
    let mut tenant = Tenant::default();
    let ada = tenant.add_user(User::named("Ada", "Lovelace").department("Research").job_title("Engineer"));
    tenant.assign_user(&ada);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 1, created: 1, ..Counts::default() });
    (world, ada)
}

pub(crate) fn change(world: &World, id: &str, change: impl FnOnce(&mut User)) {
    world.sim.tenant(|tenant| change(tenant.user_mut(id)));
}

/// Adds a user and assigns it.
pub(crate) fn add_user(world: &World, user: User) -> String {
    world.sim.tenant(|tenant| {
        let id = tenant.add_user(user);
        tenant.assign_user(&id);
        id
    })
}

#[apply(on_both)]
async fn a_new_user_gets_a_learner_and_one_log_row() {
    let (mut world, ada) = ada().await;
    let columns = "user_name, email, first_name, last_name, title, department, employee_number, active, created_at, \
                   updated_at, deactivated_at";
    let address = "ada.lovelace@harbourworks.example";
    let at = "2026-03-02T08:00:00Z";
    assert_eq!(
        world.learner(&ada, columns).await,
        [address, address, "Ada", "Lovelace", "Engineer", "Research", "NULL", "1", at, at, "NULL"]
    );
    let row = world
        .query("SELECT cycle_id, at, action, status, entra_id, learner_id, user_name, reason FROM provisioning_log")
        .await;
    let (cycle, learner) =
        (world.value("SELECT id FROM sync_cycles").await, world.value("SELECT id FROM learners").await);
    assert_eq!(row, [[&cycle, at, "create", "success", &ada, &learner, address, "assigned"]]);
    let changes = world.last_changes(&ada).await;
    let attributes: Vec<_> = changes.as_array().unwrap().iter().map(|change| &change["attribute"]).collect();
    assert_eq!(attributes.len(), 7, "{changes}");
    assert!(
        changes.as_array().unwrap().contains(&json!({"attribute": "active", "old": null, "new": true})),
        "{changes}"
    );
    assert_eq!(
        world.query("SELECT entra_id, learner_id, via, linked_at FROM sync_links").await,
        [[&ada, &learner, "[\"direct\"]", at]]
    );
    world.settled().await;
}

#[tokio::test]
async fn a_new_title_is_one_update_of_one_column() {
    let (mut world, ada) = ada().await;
    change(&world, &ada, |user| user.job_title = Some("Head of Research".to_owned()));
    let report = world.cycle().await;
    assert_eq!(
        (report.outcome, report.counts),
        (Outcome::Success, Counts { in_scope: 1, updated: 1, ..Counts::default() })
    );
    assert_eq!(
        world.last_changes(&ada).await,
        json!([{"attribute": "title", "old": "Engineer", "new": "Head of Research"}])
    );
    assert_eq!(
        world.learner(&ada, "title, created_at, updated_at").await,
        ["Head of Research", "2026-03-02T08:00:00Z", "2026-03-02T08:30:00Z"]
    );
    world.settled().await;
}

#[tokio::test]
async fn a_renamed_user_keeps_the_learner() {
    let (mut world, ada) = ada().await;
    let before = world.learner(&ada, "id").await;
    change(&world, &ada, |user| {
        user.surname = Some("King".to_owned());
        user.user_principal_name = Some("ada.king@harbourworks.example".to_owned());
        user.mail = Some("ada.king@harbourworks.example".to_owned());
    });
    assert_eq!(world.cycle().await.counts.updated, 1);
    assert_eq!(world.learner(&ada, "id").await, before);
    let address = "ada.king@harbourworks.example";
    assert_eq!(world.learner(&ada, "user_name, email, last_name").await, [address, address, "King"]);
    assert_eq!(world.log(&ada).await, ["create success assigned", "update success attributes-changed"]);
    let changes = world.last_changes(&ada).await;
    assert!(
        changes
            .as_array()
            .unwrap()
            .contains(&json!({"attribute": EMAIL, "old": "ada.lovelace@harbourworks.example", "new": address})),
        "{changes}"
    );
    assert_eq!(changes.as_array().unwrap().len(), 3);
    world.settled().await;
}

#[apply(on_both)]
async fn a_cleared_department_is_cleared_and_logged() {
    let (mut world, ada) = ada().await;
    change(&world, &ada, |user| user.department = None);
    assert_eq!(world.cycle().await.counts.updated, 1);
    assert_eq!(world.learner(&ada, "department").await, ["NULL"]);
    assert_eq!(world.last_changes(&ada).await, json!([{"attribute": DEPARTMENT, "old": "Research", "new": null}]));
    world.settled().await;
}

#[apply(on_both)]
async fn unusual_names_are_stored_unchanged() {
    let (mut world, ada) = ada().await;
    let names = [
        "O'Brien \"the\" \\ ; DROP TABLE learners; --",
        "tab\tnewline\nbell\u{7}escape\u{1b}[31m",
        "👩‍🚀 Zoë Ōé \u{202e}right to left",
        " spaces around ",
        &"long ".repeat(2000),
    ];
    for name in names {
        change(&world, &ada, |user| {
            user.given_name = Some(name.to_owned());
            user.job_title = Some(name.to_owned());
        });
        assert_eq!(world.cycle().await.counts, Counts { in_scope: 1, updated: 1, ..Counts::default() }, "{name:?}");
        assert_eq!(world.learner(&ada, "first_name, title").await, [name, name]);
        assert_eq!(world.last_changes(&ada).await[0]["new"], json!(name));
        world.settled().await;
    }
}

#[tokio::test]
async fn an_empty_text_clears_the_column() {
    let (mut world, ada) = ada().await;
    change(&world, &ada, |user| user.job_title = Some(String::new()));
    assert_eq!(world.cycle().await.counts.updated, 1);
    assert_eq!(world.learner(&ada, "title").await, ["NULL"]);
    world.settled().await;
}

#[apply(on_both)]
async fn a_nul_character_rejects_its_user_alone() {
    let (mut world, ada) = ada().await;
    change(&world, &ada, |user| user.job_title = Some("nul\0character".to_owned()));
    add_user(&world, User::named("Grace", "Hopper"));
    let report = world.cycle().await;
    let counts = Counts { in_scope: 2, created: 1, failed: 1, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Partial, counts));
    assert_eq!(world.learner(&ada, "title").await, ["Engineer"]);
    assert_eq!(world.log(&ada).await, ["create success assigned", "update failure invalid-value"]);
    assert_eq!(world.settled().await.outcome, Outcome::Partial);
}

#[tokio::test]
async fn a_user_without_an_address_is_skipped_until_there_is_one() {
    let mut tenant = Tenant::default();
    let ada = tenant.add_user(User::named("Ada", "Lovelace").without_mail());
    tenant.assign_user(&ada);
    let mut world = World::start(tenant).await;
    let report = world.cycle().await;
    assert_eq!(
        (report.outcome, report.counts),
        (Outcome::Success, Counts { in_scope: 1, skipped: 1, ..Counts::default() })
    );
    assert_eq!(world.log(&ada).await, ["create skipped missing-required"]);
    assert!(world.last_detail(&ada).await.contains("emails"));
    world.settled().await;
    world.settled().await;
    assert_eq!(
        world.query("SELECT reason, attempts, first_at, last_at FROM sync_failures").await,
        [["missing-required", "3", "2026-03-02T08:00:00Z", "2026-03-02T09:00:00Z"]]
    );

    change(&world, &ada, |user| user.mail = Some("ada@harbourworks.example".to_owned()));
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 1, created: 1, ..Counts::default() });
    assert_eq!(world.log(&ada).await, ["create skipped missing-required", "create success assigned"]);
    assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "0");
    world.settled().await;
}

#[tokio::test]
async fn a_learner_whose_user_loses_the_address_stays_unchanged() {
    let (mut world, ada) = ada().await;
    change(&world, &ada, |user| {
        user.mail = None;
        user.job_title = Some("Diver".to_owned());
    });
    let report = world.cycle().await;
    assert_eq!(
        (report.outcome, report.counts),
        (Outcome::Success, Counts { in_scope: 1, skipped: 1, ..Counts::default() })
    );
    assert_eq!(
        world.learner(&ada, "email, title, active").await,
        ["ada.lovelace@harbourworks.example", "Engineer", "1"]
    );
    assert_eq!(world.log(&ada).await, ["create success assigned", "update skipped missing-required"]);
    world.settled().await;

    // With the old values back, there is nothing to change, and the failure ends.
    change(&world, &ada, |user| {
        user.mail = Some("ada.lovelace@harbourworks.example".to_owned());
        user.job_title = Some("Engineer".to_owned());
    });
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 1, unchanged: 1, ..Counts::default() });
    assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "0");
    world.settled().await;
}

#[apply(on_both)]
async fn a_row_that_the_database_refuses_does_not_stop_the_others() {
    let (mut world, ada) = ada().await;
    world.database.refuse("INSERT", "NEW.first_name = 'Grace'").await;
    let grace = add_user(&world, User::named("Grace", "Hopper"));
    let mary = add_user(&world, User::named("Mary", "Shelley"));
    change(&world, &ada, |user| user.job_title = Some("Diver".to_owned()));
    let report = world.cycle().await;
    let counts = Counts { in_scope: 3, created: 1, updated: 1, failed: 1, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Partial, counts));
    assert_eq!(world.log(&grace).await, ["create failure database-error"]);
    assert_eq!(world.log(&mary).await, ["create success assigned"]);
    world.settled().await;
    assert_eq!(
        world.query("SELECT entra_id, reason, attempts FROM sync_failures").await,
        [[&grace, "database-error", "2"]]
    );

    world.database.refuse_no_more("INSERT").await;
    assert_eq!(world.cycle().await.counts.created, 1);
    assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "0");
    world.settled().await;
}

#[apply(on_both)]
async fn an_attribute_changed_by_hand_is_repaired_by_a_full_comparison() {
    let (mut world, ada) = ada().await;
    change(&world, &ada, |user| user.department = Some("Elsewhere".to_owned()));
    assert_eq!(world.cycle().await.counts.updated, 1);
    world.execute("UPDATE learners SET title = 'Pirate', team_name = 'Blue'").await;
    // The cache does not show it. The database is compared once a day and on request.
    world.settled().await;
    assert_eq!(world.full_cycle().await.counts, Counts { in_scope: 1, updated: 1, ..Counts::default() });
    assert_eq!(world.learner(&ada, "title, team_name").await, ["Engineer", "Blue"]);
    world.settled().await;
    world.execute("UPDATE learners SET title = 'Pirate'").await;
    world.pass(SignedDuration::from_hours(24));
    assert_eq!(world.cycle().await.counts.updated, 1);
    assert_eq!(world.learner(&ada, "title").await, ["Engineer"]);
    world.settled().await;
}

#[tokio::test]
async fn a_repair_is_logged_as_drift() {
    let (mut world, ada) = ada().await;
    world.execute("UPDATE learners SET title = 'Pirate'").await;
    world.full_cycle().await;
    assert_eq!(world.log(&ada).await, ["create success assigned", "update success drift"]);
    assert_eq!(world.last_changes(&ada).await, json!([{"attribute": "title", "old": "Pirate", "new": "Engineer"}]));
    // A change in Entra is not drift.
    change(&world, &ada, |user| user.job_title = Some("Diver".to_owned()));
    world.full_cycle().await;
    assert_eq!(world.log(&ada).await.last().unwrap(), "update success attributes-changed");
    world.settled().await;
}

#[tokio::test]
async fn a_learner_deactivated_by_hand_stays_inactive() {
    let (mut world, ada) = ada().await;
    world.execute("UPDATE learners SET active = false").await;
    let report = world.full_cycle().await;
    assert_eq!((report.counts.reactivated, report.counts.updated), (0, 0));
    assert_eq!(world.learner(&ada, "active").await, ["0"]);
    world.settled().await;
}

#[tokio::test]
async fn a_learner_deactivated_by_hand_stays_inactive_after_changes_and_without_the_cache() {
    let (mut world, ada) = ada().await;
    world.execute("UPDATE learners SET active = false").await;
    world.sim.tenant(|tenant| tenant.user_mut(&ada).job_title = Some("Countess".to_owned()));
    let report = world.cycle().await;
    assert_eq!((report.counts.reactivated, report.counts.skipped), (0, 1));
    assert_eq!(world.log(&ada).await.last().unwrap(), "reactivate skipped drift");
    std::fs::remove_dir_all(world.path("state").join("cache")).unwrap();
    assert_eq!(world.cycle().await.counts.reactivated, 0);
    // A failure for another reason in between makes no difference.
    world.sim.tenant(|tenant| tenant.user_mut(&ada).mail = None);
    world.cycle().await;
    world.sim.tenant(|tenant| tenant.user_mut(&ada).mail = Some("ada@example.org".to_owned()));
    assert_eq!(world.cycle().await.counts.reactivated, 0);
    assert_eq!(world.learner(&ada, "active").await, ["0"]);
    // An inactive learner is not deactivated again.
    world.sim.tenant(|tenant| tenant.user_mut(&ada).account_enabled = Some(false));
    assert_eq!(world.cycle().await.counts.deactivated, 0);
    assert_eq!(world.learner(&ada, "deactivated_at").await, ["NULL"]);
    world.settled().await;
}
