//! Ids that are texts of any form: by a default of the table, or generated.

use graph_sim::Tenant;
use learner_sync::plan::Counts;
use serde_json::json;

use super::make;
use crate::database::{apply, is_on_postgres, on_both};
use crate::world::{World, add_users, assigned};

/// A table `people` whose id has this type.
fn people(id: &str) -> String {
    format!(
        "CREATE TABLE people (uid {id}, user_name varchar(150) UNIQUE CHECK (length(user_name) <= 150), email varchar(150) UNIQUE, active boolean,
             title text, country text, department text, first_name text, last_name text, employee_number text)"
    )
}

fn configure(world: &World, id: &str) {
    world.configure(&format!("table = \"people\"\n[learners.columns]\nid = {id}\n"));
}

/// A learner through all actions: created, unchanged, updated, deactivated, reactivated.
async fn all_actions(world: &mut World, users: &[String]) {
    assert_eq!(world.cycle().await.counts.created, 2);
    assert_eq!(world.full_cycle().await.counts.unchanged, 2);
    world.sim.tenant(|tenant| {
        tenant.user_mut(&users[0]).set("department", "Sales".into()).unwrap();
        tenant.unassign(&users[1]);
    });
    let counts = world.cycle().await.counts;
    assert_eq!((counts.updated, counts.deactivated), (1, 1), "{counts:?}");
    world.sim.tenant(|tenant| tenant.assign_user(&users[1]));
    assert_eq!(world.cycle().await.counts.reactivated, 1);
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 2, unchanged: 2, ..Counts::default() });
}

#[apply(on_both)]
async fn text_ids_by_a_default_of_the_table() {
    let types: &[&str] = if is_on_postgres() {
        &[
            "text PRIMARY KEY DEFAULT md5(random()::text)",
            "varchar(40) PRIMARY KEY DEFAULT 'L/' || md5(random()::text)",
            "char(40) PRIMARY KEY DEFAULT md5(random()::text)",
            "text COLLATE \"C\" PRIMARY KEY DEFAULT upper(gen_random_uuid()::text)",
        ]
    } else {
        &[
            "text primary key default (lower(hex(randomblob(16))))",
            "VARCHAR(40) PRIMARY KEY DEFAULT ('L ' || hex(randomblob(4)) || ' ''x''')",
            "TEXT PRIMARY KEY DEFAULT (abs(random()))",
        ]
    };
    for id in types {
        let mut tenant = Tenant::default();
        let users = assigned(&mut tenant, 2);
        let mut world = World::start(tenant).await;
        make(&world, &people(id)).await;
        configure(&world, "\"uid\"");
        all_actions(&mut world, &users).await;
        // The same text in the log, in JSON, and in the links.
        let linked = world.value(&format!("SELECT learner_id FROM sync_links WHERE entra_id = '{}'", users[0])).await;
        let linked = linked.trim_end();
        let entries = world.run_program(&["log", "--user", linked, "--format", "json"], 0).json();
        let ids: Vec<&serde_json::Value> =
            entries.as_array().unwrap().iter().map(|entry| &entry["learner_id"]).collect();
        assert_eq!(ids, [&json!(linked), &json!(linked)], "{id}");
    }
}

#[apply(on_both)]
async fn generated_ids() {
    let types: &[&str] = if is_on_postgres() {
        &["uuid PRIMARY KEY", "text PRIMARY KEY", "char(36) PRIMARY KEY"]
    } else {
        &["TEXT PRIMARY KEY NOT NULL", "varchar(36) PRIMARY KEY"]
    };
    for (id, generator) in types.iter().zip(["uuid", "uuid7", "uuid"]) {
        let mut tenant = Tenant::default();
        let users = assigned(&mut tenant, 2);
        let mut world = World::start(tenant).await;
        make(&world, &people(id)).await;
        configure(&world, &format!("{{ column = \"uid\", generate = \"{generator}\" }}"));
        world.run_program(&["sync", "--dry-run"], 0);
        all_actions(&mut world, &users).await;
        let ids: Vec<uuid::Uuid> =
            world.query("SELECT uid FROM people").await.concat().iter().map(|id| id.parse().unwrap()).collect();
        let version = if generator == "uuid" { 4 } else { 7 };
        assert!(ids.iter().all(|id| id.get_version_num() == version), "{ids:?}");
    }
}

#[apply(on_both)]
async fn ids_longer_than_a_name_do_not_keep_users_from_swapping_their_names() {
    let id = if is_on_postgres() { "repeat(md5(random()::text), 5)" } else { "(hex(randomblob(80)))" };
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 2);
    let mut world = World::start(tenant).await;
    make(&world, &people(&format!("text PRIMARY KEY DEFAULT {id}"))).await;
    configure(&world, "\"uid\"");
    assert_eq!(world.cycle().await.counts.created, 2);
    world.sim.tenant(|tenant| {
        let [one, other] = [&users[0], &users[1]].map(|user| tenant.user_mut(user).clone());
        let (user, names) = (tenant.user_mut(&users[0]), other);
        (user.user_principal_name, user.mail) = (names.user_principal_name, names.mail);
        let (user, names) = (tenant.user_mut(&users[1]), one);
        (user.user_principal_name, user.mail) = (names.user_principal_name, names.mail);
    });
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 2, updated: 2, ..Counts::default() });
}

/// A platform may use the login as the id.
#[apply(on_both)]
async fn operational_logs_do_not_name_text_ids() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 2);
    let world = World::start(tenant).await;
    make(&world, &people("text PRIMARY KEY DEFAULT 'ada.login'")).await;
    configure(&world, "\"uid\"");
    let held = "INSERT INTO people (uid, user_name, email, active) \
                VALUES ('eve.login', 'eve', 'number.0001@harbourworks.example', true)";
    world.execute(held).await;
    let ran = world.run_program_with(&[("LEARNER_SYNC_LOG__LEVEL", "debug")], &["sync"], 3);
    assert!(ran.stderr.contains(&users[0]) && ran.stderr.contains("conflict"), "{ran:?}");
    assert!(ran.stderr.contains("change applied"), "{ran:?}");
    assert!(!ran.stderr.contains(".login"), "{ran:?}");
    assert!(world.last_detail(&users[0]).await.contains("eve.login"));
    let cache = std::fs::read(world.path("state/cache/db")).unwrap();
    assert!(!cache.windows(6).any(|bytes| bytes == b".login"));
    // The cached learner is the one that a cycle with the cache changes.
    world.sim.tenant(|tenant| tenant.user_mut(&users[1]).account_enabled = Some(false));
    assert_eq!(world.run_program(&["sync", "--json"], 3).json()["deactivated"], 1);
    for damage in [
        "UPDATE sync_links SET via = '{}'",
        "UPDATE sync_links SET entra_id = 'junk'",
        "DELETE FROM provisioning_log; UPDATE sync_links SET entra_id = 'junk', via = '[]'",
    ] {
        world.execute(damage).await;
        let ran = world.run_program_with(&[("LEARNER_SYNC_LOG__LEVEL", "debug")], &["sync"], 3);
        assert!(!ran.stderr.contains(".login"), "{damage}: {ran:?}");
        let status = world.run_program(&["status", "--json"], 0).json();
        assert!(status["unreadable_rows"][0].as_str().unwrap().contains("ada.login"), "{damage}: {status}");
    }
}

/// The number of links stays the same, and the cache does not contain the ids.
#[apply(on_both)]
async fn a_link_that_replaced_another_by_hand_is_noticed() {
    let id = if is_on_postgres() { "md5(random()::text)" } else { "(lower(hex(randomblob(16))))" };
    let mut tenant = Tenant::default();
    let (users, newcomer) = (assigned(&mut tenant, 2), add_users(&mut tenant, 1).remove(0));
    let mut world = World::start(tenant).await;
    make(&world, &people(&format!("text PRIMARY KEY DEFAULT {id}"))).await;
    configure(&world, "\"uid\"");
    assert_eq!(world.cycle().await.counts.created, 2);
    world.sim.tenant(|tenant| tenant.unassign(&users[1]));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.sim.tenant(|tenant| tenant.assign_user(&newcomer));
    for statement in [
        "INSERT INTO people (uid, user_name, active) VALUES ('by hand', 'third', true)",
        &format!(
            "INSERT INTO sync_links (source, entra_id, learner_id, via, linked_at)
             SELECT source, '{newcomer}', 'by hand', via, linked_at FROM sync_links WHERE entra_id = '{}'",
            users[0]
        ),
        &format!("DELETE FROM sync_links WHERE entra_id = '{}'", users[1]),
    ] {
        world.execute(statement).await;
    }
    let counts = world.cycle().await.counts;
    assert_eq!((counts.created, counts.updated), (0, 1), "{counts:?}");
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 2, unchanged: 2, ..Counts::default() });
}

/// Ids that an administrator has to quote: each is relinked, logged and found again.
#[apply(on_both)]
async fn odd_ids_are_relinked_by_name() {
    let mut tenant = Tenant::default();
    let ids = ["a/B c", "A/b c", "42", "007", " o'clock ", "", "日本", "%s{}"];
    let users = add_users(&mut tenant, ids.len());
    users.iter().for_each(|user| tenant.assign_user(user));
    let world = World::start(tenant).await;
    make(&world, &people("text PRIMARY KEY DEFAULT 'none'")).await;
    configure(&world, "\"uid\"");
    for (number, id) in ids.iter().enumerate() {
        let id = id.replace('\'', "''");
        world
            .execute(&format!("INSERT INTO people (uid, user_name, active) VALUES ('{id}', 'old{number}', false)"))
            .await;
    }
    for (user, id) in users.iter().zip(ids) {
        let document = world.run_program(&["provision", user, "--relink", id, "--json"], 0).json();
        assert_eq!(document["match"], json!({ "learner_id": id, "how": "relinked" }));
        let entries = world.run_program(&["log", "--user", id, "--format", "json"], 0).json();
        assert_eq!(entries[0]["learner_id"], json!(id));
    }
    let refused = world.run_program(&["provision", &users[0], "--relink", "A/B C"], 1);
    assert!(refused.stderr.contains("learner A/B C does not exist"), "{refused:?}");
    let status = world.run_program(&["sync", "--json"], 0).json();
    assert_eq!(status["unchanged"], json!(ids.len()));
}

#[apply(on_both)]
async fn ids_that_cannot_work_are_refused_with_the_reason() {
    let generate = "{ column = \"uid\", generate = \"uuid\" }";
    let bytes =
        if is_on_postgres() { "bytea PRIMARY KEY DEFAULT 'x'" } else { "BLOB PRIMARY KEY DEFAULT (randomblob(16))" };
    let mut cases = vec![
        (bytes, "\"uid\"", "not a whole number, a UUID or a text"),
        ("text PRIMARY KEY", "\"uid\"", "has no default, so no row can be created: give it one, or write id = {"),
        ("text PRIMARY KEY DEFAULT 'x'", generate, "has a default, so the database generates the ids: remove generate"),
        ("varchar(20) PRIMARY KEY", generate, "holds 20 characters, but needs 36"),
        ("text DEFAULT 'x'", "\"uid\"", "no unique index of its own"),
    ];
    if is_on_postgres() {
        let identity = "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY";
        cases.push((identity, generate, "has a default, so the database generates the ids: remove generate"));
        cases.push(("bigint PRIMARY KEY", generate, "does not fit a column of numbers"));
        cases.push(("text PRIMARY KEY GENERATED ALWAYS AS ('x') STORED", "\"uid\"", "is computed by the database"));
    } else {
        cases.push(("TEXT PRIMARY KEY DEFAULT (randomblob(16))", "\"uid\"", "generates bytes, not a text"));
    }
    let mut tenant = Tenant::default();
    assigned(&mut tenant, 1);
    let world = World::start(tenant).await;
    make(&world, "CREATE TABLE people (uid text)").await;
    for (id, column, expected) in cases {
        world.execute(&format!("DROP TABLE people; {}", people(id))).await;
        configure(&world, column);
        let refused = world.run_program(&["sync"], 78);
        assert!(refused.stderr.contains(expected), "{id}: {refused:?}");
    }
}
