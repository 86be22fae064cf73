//! Matching, adoption, and values that must be unique.

use std::collections::BTreeSet;

use graph_sim::{Tenant, User};
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;
use serde_json::json;

use crate::database::{apply, on_both};
use crate::learners::{ada, add_user, change};
use crate::world::{World, assigned};

/// A world with an unlinked learner that has the user name of Ada in another letter case.
async fn world_with_unlinked_learner(columns: &str, values: &str) -> (World, String) {
    let mut tenant = Tenant::default();
    let mut world = World::start(tenant.clone()).await;
    world.cycle().await;
    world
        .execute(&format!(
            "INSERT INTO learners (user_name, first_name, {columns}) VALUES ('ADA.LOVELACE@harbourworks.example', 'A.', {values})"
        ))
        .await;
    let ada = tenant.add_user(User::named("Ada", "Lovelace"));
    tenant.assign_user(&ada);
    world.sim.tenant(|served| *served = tenant);
    (world, ada)
}

#[apply(on_both)]
async fn an_unlinked_learner_of_the_same_name_is_adopted() {
    let (mut world, ada) = world_with_unlinked_learner("active, team_name", "true, 'Blue'").await;
    let id = world.value("SELECT id FROM learners").await;
    let report = world.cycle().await;
    assert_eq!(
        (report.outcome, report.counts),
        (Outcome::Success, Counts { in_scope: 1, updated: 1, ..Counts::default() })
    );
    assert_eq!(
        world.learner(&ada, "id, user_name, email, first_name, team_name, active").await,
        [&id, "ada.lovelace@harbourworks.example", "ada.lovelace@harbourworks.example", "Ada", "Blue", "1"]
    );
    assert_eq!(world.log(&ada).await, ["update success adopted"]);
    assert_eq!(world.query("SELECT entra_id, learner_id FROM sync_links").await, [[ada, id]]);
    world.settled().await;
    world.full_cycle().await;
    world.settled().await;
}

#[tokio::test]
async fn an_adopted_inactive_learner_is_reactivated() {
    let (mut world, ada) = world_with_unlinked_learner("active, deactivated_at", "false, '2025-01-01T00:00:00Z'").await;
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 1, reactivated: 1, ..Counts::default() });
    assert_eq!(world.learner(&ada, "active, deactivated_at, first_name").await, ["1", "NULL", "Ada"]);
    assert_eq!(world.log(&ada).await, ["reactivate success adopted"]);
    world.settled().await;
}

#[apply(on_both)]
async fn an_unlinked_learner_with_the_external_id_of_the_user_is_adopted() {
    let mut tenant = Tenant::default();
    let ada = assigned(&mut tenant, 1).remove(0);
    let mut world = World::start(Tenant::default()).await;
    world.cycle().await;
    world
        .execute(&format!("INSERT INTO learners (user_name, external_id) VALUES ('ada', '{}')", ada.to_uppercase()))
        .await;
    world.sim.tenant(|served| *served = tenant);
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 1, updated: 1, ..Counts::default() });
    assert_eq!(world.log(&ada).await, ["update success adopted"]);
    assert_eq!(world.learner(&ada, "external_id, user_name").await, [&ada, "number.0001@harbourworks.example"]);
    world.settled().await;
}

#[apply(on_both)]
async fn an_external_id_that_is_not_an_object_id_is_replaced_at_adoption() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 3);
    let mut world = World::start(Tenant::default()).await;
    world.cycle().await;
    // Entra's SCIM default is mailNickname. These nicknames were handed on, so each is the name of another row.
    let old = ["number.0002", "number.0001", ""];
    for (number, external_id) in old.iter().enumerate() {
        let name = format!("number.{:04}@harbourworks.example", number + 1);
        world
            .execute(&format!("INSERT INTO learners (user_name, external_id) VALUES ('{name}', '{external_id}')"))
            .await;
    }
    world.sim.tenant(|served| *served = tenant);
    let plan = world.run_program(&["plan", "--json"], 0).json();
    let shown = plan["changes"].as_array().unwrap().iter().map(|change| change["changes"][0]["old"].as_str().unwrap());
    assert_eq!(shown.collect::<BTreeSet<_>>(), old.into(), "{plan}");
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 3, updated: 3, ..Counts::default() });
    for (user, old) in users.iter().zip(old) {
        assert_eq!(world.learner(user, "external_id").await, [user.as_str()]);
        assert_eq!(world.log(user).await, ["update success adopted"]);
        let replaced = json!({ "attribute": "externalId", "old": old, "new": user });
        assert_eq!(world.last_changes(user).await[0], replaced);
    }
    world.settled().await;
}

#[tokio::test]
async fn an_unlinked_learner_with_another_external_id_is_a_conflict() {
    let somebody = "0f0f0f0f-0000-4000-8000-000000000001";
    let (mut world, ada) = world_with_unlinked_learner("active, external_id", &format!("true, '{somebody}'")).await;
    let id = world.value("SELECT id FROM learners").await;
    let before = world.query("SELECT * FROM learners").await;
    let report = world.cycle().await;
    assert_eq!(
        (report.outcome, report.counts),
        (Outcome::Partial, Counts { in_scope: 1, failed: 1, ..Counts::default() })
    );
    assert_eq!(world.log(&ada).await.len(), 1);
    assert!(world.log(&ada).await[0].ends_with("failure conflict"));
    let detail = world.last_detail(&ada).await;
    assert!(detail.contains(&format!("learner {id}")) && detail.contains(somebody), "{detail}");
    assert_eq!(world.query("SELECT * FROM learners").await, before);
    world.settled().await;
}

#[apply(on_both)]
async fn two_newcomers_who_want_one_address_are_both_rejected() {
    let (mut world, ada) = ada().await;
    let shared = "office@harbourworks.example";
    let first = add_user(&world, User::named("Grace", "Hopper").mail(shared));
    let second = add_user(&world, User::named("Mary", "Shelley").mail("OFFICE@harbourworks.example"));
    let report = world.cycle().await;
    let counts = Counts { in_scope: 3, unchanged: 1, failed: 2, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Partial, counts));
    for (user, other) in [(&first, &second), (&second, &first)] {
        assert_eq!(world.log(user).await, ["create failure conflict"]);
        assert!(world.last_detail(user).await.contains(other.as_str()));
    }
    assert_eq!(world.settled().await.outcome, Outcome::Partial);

    // After one takes another address, both are created.
    change(&world, &second, |user| user.mail = Some("mary@harbourworks.example".to_owned()));
    assert_eq!(world.cycle().await.counts.created, 2);
    assert_eq!(world.learner(&first, "email").await, [shared]);
    assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "0");
    assert_eq!(world.log(&ada).await, ["create success assigned"]);
    world.settled().await;
}

#[tokio::test]
async fn a_newcomer_who_wants_the_address_of_a_learner_is_rejected() {
    let (mut world, ada) = ada().await;
    let id = world.learner(&ada, "id").await.remove(0);
    change(&world, &ada, |user| user.job_title = Some("Diver".to_owned()));
    let newcomer = add_user(&world, User::named("Grace", "Hopper").mail("ada.lovelace@harbourworks.example"));
    let report = world.cycle().await;
    let counts = Counts { in_scope: 2, updated: 1, failed: 1, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Partial, counts));
    assert_eq!(world.log(&newcomer).await, ["create failure conflict"]);
    let detail = world.last_detail(&newcomer).await;
    assert!(detail.contains(&format!("learner {id}")) && detail.contains(&ada), "{detail}");
    assert_eq!(world.learner(&ada, "title").await, ["Diver"]);
    world.settled().await;
    assert_eq!(
        world.query("SELECT entra_id, reason, attempts FROM sync_failures").await,
        [[&newcomer, "conflict", "2"]]
    );

    // Another reason gets another log row.
    change(&world, &newcomer, |user| user.mail = None);
    assert_eq!(world.cycle().await.counts.skipped, 1);
    assert_eq!(world.log(&newcomer).await, ["create failure conflict", "create skipped missing-required"]);
    assert_eq!(world.query("SELECT reason, attempts FROM sync_failures").await, [["missing-required", "1"]]);
    world.settled().await;
}

#[tokio::test]
async fn an_update_to_the_address_of_another_learner_is_rejected() {
    let (mut world, ada) = ada().await;
    let grace = add_user(&world, User::named("Grace", "Hopper").job_title("Admiral"));
    world.cycle().await;
    change(&world, &grace, |user| {
        user.mail = Some("ada.lovelace@harbourworks.example".to_owned());
        user.job_title = Some("Captain".to_owned());
    });
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 2, unchanged: 1, failed: 1, ..Counts::default() });
    assert_eq!(world.log(&grace).await, ["create success assigned", "update failure conflict"]);
    assert_eq!(world.learner(&grace, "title, email").await, ["Admiral", "grace.hopper@harbourworks.example"]);
    assert_eq!(world.log(&ada).await, ["create success assigned"]);
    world.settled().await;
}

#[tokio::test]
async fn a_reissued_address_never_hands_over_the_former_learner() {
    let (mut world, ada) = ada().await;
    let id = world.learner(&ada, "id").await.remove(0);
    world.sim.tenant(|tenant| tenant.delete_user(&ada));
    let namesake = add_user(&world, User::named("Ada", "Lovelace"));
    // In the cycle in which she leaves, and in later ones.
    let report = world.cycle().await;
    assert_eq!((report.counts.deactivated, report.counts.failed), (1, 1));
    assert_eq!(world.log(&namesake).await, ["create failure conflict"]);
    let report = world.full_cycle().await;
    assert_eq!((report.outcome, report.counts.failed), (Outcome::Partial, 1));

    let second = add_user(&world, User::named("Augusta", "King").mail("ada.lovelace@harbourworks.example"));
    assert_eq!(world.cycle().await.counts.failed, 2);
    let detail = world.last_detail(&second).await;
    assert!(
        detail.contains(&format!("learner {id}")) && detail.contains(&ada) && detail.contains("inactive"),
        "{detail}"
    );
    let old = world.learner(&ada, "id, user_name, active").await;
    assert_eq!(old, [&id, "ada.lovelace@harbourworks.example", "0"]);
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "1");
    world.settled().await;
}

#[apply(on_both)]
async fn swapped_addresses_and_a_chain_of_renames_succeed_in_one_cycle() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 6);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    let names: Vec<String> = world.sim.tenant(|tenant| {
        let name = |id: &String| tenant.user(id).unwrap().user_principal_name.clone().unwrap();
        users.iter().map(name).collect()
    });
    let rename = |id: &String, name: &str| {
        change(&world, id, |user| {
            user.user_principal_name = Some(name.to_owned());
            user.mail = Some(name.to_owned());
        });
    };
    rename(&users[0], &names[1]);
    rename(&users[1], &names[0]);
    rename(&users[2], &names[3]);
    rename(&users[3], &names[4]);
    rename(&users[4], "somebody.new@harbourworks.example");
    // A newcomer takes the address at the end of the chain.
    let newcomer = add_user(&world, User::named("New", "Comer").user_principal_name(&names[2]).mail(&names[2]));
    let report = world.cycle().await;
    let counts = Counts { in_scope: 7, created: 1, updated: 5, unchanged: 1, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Success, counts));
    let expected = [&names[1], &names[0], &names[3], &names[4], "somebody.new@harbourworks.example", &names[5]];
    for (user, name) in users.iter().zip(expected) {
        assert_eq!(world.learner(user, "user_name, email").await, [name, name]);
    }
    assert_eq!(world.learner(&newcomer, "user_name").await, [names[2].as_str()]);
    world.settled().await;
}

#[apply(on_both)]
async fn a_swap_among_a_thousand_updates_succeeds_in_one_cycle() {
    let mut tenant = Tenant::default();
    let everybody = assigned(&mut tenant, 1100);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    // Changes are applied in the order of ids: these two are as far apart as possible.
    let (first, last) = (everybody.iter().min().unwrap(), everybody.iter().max().unwrap());
    world.sim.tenant(|tenant| {
        for user in &everybody {
            tenant.user_mut(user).job_title = Some("Diver".to_owned());
        }
        let mail = |id: &str| tenant.user(id).unwrap().mail.clone();
        let (one, other) = (mail(first), mail(last));
        tenant.user_mut(first).mail = other;
        tenant.user_mut(last).mail = one;
    });
    let report = world.cycle().await;
    let counts = Counts { in_scope: 1100, updated: 1100, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Success, counts));
    world.settled().await;
}

#[apply(on_both)]
async fn another_match_attribute_finds_other_learners() {
    let email = "match_attribute = 'emails[type eq \"work\"].value'";
    let mut tenant = Tenant::default();
    let ada = assigned(&mut tenant, 1).remove(0);
    let mail = tenant.user(&ada).unwrap().mail.clone().unwrap();
    let none = Tenant::default();
    let mut world = World::start(none).await;
    world.cycle().await;
    world
        .execute(&format!(
            "INSERT INTO learners (user_name, email) VALUES ('on the platform', '{}')",
            mail.to_uppercase()
        ))
        .await;
    world.sim.tenant(|served| *served = tenant);

    // No learner has the user name, and the address is taken.
    assert_eq!(world.cycle().await.counts.failed, 1);
    assert_eq!(world.log(&ada).await, ["create failure conflict"]);
    assert!(world.last_detail(&ada).await.contains("not linked"));
    world.configure(email);
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 1, updated: 1, ..Counts::default() });
    assert_eq!(world.log(&ada).await, ["create failure conflict", "update success adopted"]);
    assert_eq!(world.learner(&ada, "user_name").await, [mail]);
    world.settled().await;
}

#[apply(on_both)]
async fn a_match_that_is_not_unique_is_a_conflict() {
    let mut tenant = Tenant::default();
    let ada = tenant.add_user(User::named("Ada", "Lovelace").employee_id("E1"));
    tenant.assign_user(&ada);
    let mut world = World::start(Tenant::default()).await;
    world.configure("match_attribute = \"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber\"");
    world.cycle().await;
    world.execute("INSERT INTO learners (user_name, employee_number) VALUES ('one', 'E1'), ('two', 'E1')").await;
    world.sim.tenant(|served| *served = tenant);
    assert_eq!(world.cycle().await.counts.failed, 1);
    assert_eq!(world.log(&ada).await, ["create failure conflict"]);
    world.settled().await;
    world.execute("UPDATE learners SET employee_number = NULL WHERE user_name = 'two'").await;
    assert_eq!(world.cycle().await.counts.updated, 1);
    assert_eq!(world.log(&ada).await, ["create failure conflict", "update success adopted"]);
    world.settled().await;
}

#[tokio::test]
async fn two_newcomers_who_match_one_learner_are_both_rejected() {
    let mut tenant = Tenant::default();
    for name in ["Ada", "Grace"] {
        let user = tenant.add_user(User::named(name, "Twin").employee_id("E1"));
        tenant.assign_user(&user);
    }
    let mut world = World::start(Tenant::default()).await;
    world.configure("match_attribute = \"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber\"");
    world.cycle().await;
    world.execute("INSERT INTO learners (user_name, employee_number) VALUES ('one', 'E1')").await;
    world.sim.tenant(|served| *served = tenant);
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 2, failed: 2, ..Counts::default() });
    assert_eq!(world.value("SELECT count(*) FROM sync_links").await, "0");
    world.settled().await;
}
