//! A table that several organisations share: a constant limits it to the rows of one.

use graph_sim::{Tenant, User};
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;
use serde_json::json;

use super::make;
use crate::database::{apply, is_on_postgres, on_both};
use crate::learners::change;
use crate::world::{World, assigned};

/// A shared table with these indexes, and a configuration that is limited to tenant `a`.
async fn shared(tenant: Tenant, indexes: &str) -> World {
    let world = World::start(tenant).await;
    let id = if is_on_postgres() { "serial PRIMARY KEY" } else { "INTEGER PRIMARY KEY" };
    let sql = format!(
        "CREATE TABLE people (id {id}, external_id text, user_name text NOT NULL, email text, active boolean NOT NULL,
             title text, first_name text, last_name text, department text, country text, employee_number text,
             tenant varchar(20), region integer);
         {indexes}"
    );
    make(&world, &sql).await;
    world.configure(LIMITED);
    world
}

const LIMITED: &str = "table = \"people\"\n[learners.columns]\nexternal_id = \"external_id\"\n[learners.constants]\n\
                       tenant = { value = \"a\", limit = true }\nregion = { value = 5, limit = true }\n";

/// Each is unique within the limits, in another way.
const INDEXES: &str = "CREATE UNIQUE INDEX one ON people (tenant, region, lower(user_name));
    CREATE UNIQUE INDEX two ON people (email) WHERE tenant = 'a' AND region < 6 AND email IS NOT NULL;
    CREATE UNIQUE INDEX three ON people (region, external_id, tenant)";

#[apply(on_both)]
async fn rows_without_the_constant_do_not_exist() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 12);
    let mut world = shared(tenant, INDEXES).await;
    let name = |number: usize| format!("number.{number:04}@harbourworks.example");
    // The same names in other tenants, two rows that differ in one limit only, and one row of ours to adopt.
    let other = users[1].as_str();
    let rows = [
        (name(1), "NULL", "'b'", "5"),
        (name(2), other, "NULL", "5"),
        (name(3), "NULL", "'a'", "6"),
        (name(4).to_uppercase(), "nick", "'a'", "5"),
    ];
    for (user_name, external_id, tenant, region) in &rows {
        let external_id = if *external_id == "NULL" { (*external_id).to_owned() } else { format!("'{external_id}'") };
        let values = format!("'{user_name}', '{user_name}', {external_id}, true, {tenant}, {region}");
        let columns = "user_name, email, external_id, active, tenant, region";
        world.execute(&format!("INSERT INTO people ({columns}) VALUES ({values})")).await;
    }
    let foreign = "SELECT * FROM people WHERE id <= 3 ORDER BY id";
    let before = world.query(foreign).await;
    let plan = world.run_program(&["plan", "--json"], 0).json();
    assert_eq!((plan["created"].as_u64(), plan["updated"].as_u64()), (Some(11), Some(1)), "{plan}");
    let report = world.cycle().await;
    let counts = Counts { in_scope: 12, created: 11, updated: 1, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Success, counts), "{:?}", report.error);
    assert_eq!(world.value("SELECT count(*) FROM people WHERE tenant = 'a' AND region = 5").await, "12");
    let status = world.run_program(&["status", "--json"], 0).json();
    assert_eq!(status["learners"], json!({ "active": 12, "inactive": 0, "linked": 12, "active_unlinked": 0 }));
    assert_eq!(world.full_cycle().await.counts.unchanged, 12);

    // A learner that moves to another tenant is rejected, whatever happens to its user.
    let id = world.value(&format!("SELECT id FROM people WHERE user_name = '{}'", name(5))).await;
    let moved = "tenant = 'b', title = 'secret', user_name = 'secret', email = 'secret', external_id = NULL";
    world.execute(&format!("UPDATE people SET {moved} WHERE id = {id}")).await;
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 12, unchanged: 11, failed: 1, ..Counts::default() });
    assert_eq!(world.log(&users[4]).await, ["create success assigned", "update failure conflict"]);
    let detail = format!("learner {id} does not carry the limiting values of [learners.constants] any more");
    assert_eq!(world.last_detail(&users[4]).await, detail);
    assert_eq!(world.last_changes(&users[4]).await, json!([]));
    let status = world.run_program(&["status", "--json"], 0).json();
    assert_eq!(status["learners"], json!({ "active": 11, "inactive": 0, "linked": 11, "active_unlinked": 0 }));
    // Its values are shown nowhere, neither while it fails nor while it is held.
    let shows_no_value = |arguments: &[&str], code| {
        let shown = world.run_program(arguments, code);
        assert!(!format!("{shown:?}").contains("secret"), "{arguments:?}: {shown:?}");
        shown
    };
    let shows_user = |arguments: &[&str], code| {
        let shown = shows_no_value(arguments, code);
        assert!(shown.stdout.contains(&users[4]) || shown.stdout.contains(&name(5)), "{arguments:?}: {shown:?}");
    };
    shows_user(&["status", "--json"], 0);
    shows_user(&["log"], 0);
    shows_user(&["plan", "--json"], 0);
    assert_eq!(world.run_program(&["log", "--user", "secret", "--format", "json"], 0).json(), json!([]));
    world
        .execute(&format!(
            "INSERT INTO sync_held (source, entra_id, action, reason, since)
             SELECT source, entra_id, 'deactivate', 'threshold', linked_at FROM sync_links WHERE learner_id = {id}"
        ))
        .await;
    shows_user(&["status"], 0);
    shows_user(&["approve"], 2);
    shows_no_value(&["plan"], 0);
    world.execute("DELETE FROM sync_held").await;
    change(&world, &users[4], |user| user.job_title = Some("Diver".to_owned()));
    assert_eq!(world.cycle().await.counts.failed, 1);
    world.sim.tenant(|tenant| tenant.unassign(&users[4]));
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 11, unchanged: 11, ..Counts::default() });
    let row = format!("SELECT active, title FROM people WHERE id = {id}");
    assert_eq!(world.query(&row).await, [["1", "secret"]]);
    // It comes back as it was.
    world.sim.tenant(|tenant| tenant.assign_user(&users[4]));
    world.execute(&format!("UPDATE people SET tenant = 'a' WHERE id = {id}")).await;
    assert_eq!(world.cycle().await.counts.failed, 0);
    assert_eq!(world.query(&row).await, [["1", "Diver"]]);
    assert_eq!(world.query(foreign).await, before);
    // A row of others cannot be named either.
    let refused = world.run_program(&["provision", &users[11], "--relink", "1"], 1);
    assert!(refused.stderr.contains("learner 1 does not exist"), "{refused:?}");
}

#[apply(on_both)]
async fn a_value_that_another_tenant_holds_is_refused_by_the_database() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 2);
    let taken = tenant.add_user(User::named("Ben", "Carter").mail("held@x.example"));
    tenant.assign_user(&taken);
    let indexes =
        "CREATE UNIQUE INDEX one ON people (user_name); CREATE UNIQUE INDEX people_email_key ON people (email);
        CREATE UNIQUE INDEX three ON people (external_id)";
    let mut world = shared(tenant, indexes).await;
    let row = "INSERT INTO people (user_name, email, active, tenant) VALUES ('secret', 'held@x.example', true, 'b')";
    world.execute(row).await;
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 3, created: 2, failed: 1, ..Counts::default() });
    assert_eq!(world.last_detail(&taken).await, "another learner has the same email");
    assert_eq!(world.log(&users[0]).await, ["create success assigned"]);
}

#[apply(on_both)]
async fn indexes_that_do_not_fit_the_limits_are_refused() {
    let indexes = "CREATE UNIQUE INDEX one ON people (tenant, user_name, title);
        CREATE UNIQUE INDEX two ON people (email) WHERE tenant = 'b';
        CREATE UNIQUE INDEX three ON people (tenant, external_id) WHERE active;
        CREATE UNIQUE INDEX four ON people (region, tenant)";
    let world = shared(Tenant::default(), indexes).await;
    let refused = world.run_program(&["sync"], 78).stderr;
    for name in ["user_name", "email", "external_id"] {
        let expected = format!("the column {name:?} has no unique index of its own, or with the limiting constants");
        assert!(refused.contains(&expected), "{refused}");
    }
    assert!(refused.contains("a unique index covers nothing but"), "{refused}");
    world.configure(&LIMITED.replace("value = 5", "value = \"five\""));
    if is_on_postgres() {
        let refused = world.run_program(&["sync"], 78).stderr;
        assert!(refused.contains("does not fit the column \"region\""), "{refused}");
    }
}

/// A cast truncates, so such a constant would select the rows of another organisation.
#[apply(on_both)]
async fn a_constant_that_its_column_truncates_is_refused() {
    if !is_on_postgres() {
        return;
    }
    let mut tenant = Tenant::default();
    assigned(&mut tenant, 1);
    let world = World::start(tenant).await;
    make(&world, "CREATE TABLE people ()").await;
    world
        .execute("CREATE DOMAIN code AS char(3); CREATE DOMAIN inner_code AS code; CREATE DOMAIN flags AS bit(3)")
        .await;
    let long = "x".repeat(70);
    let cases: [(&str, &str, bool); 15] = [
        ("char(3)", "\"abcd\"", false),
        ("char(3)", "12345", false),
        ("char(5)", "\"abc\"", true),
        ("char", "\"ab\"", false),
        ("varchar(3)", "\"abcd\"", false),
        ("code", "\"abcd\"", false),
        ("code", "\"abc\"", true),
        ("inner_code", "\"abcd\"", false),
        ("bit(3)", "\"10101\"", false),
        ("bit(3)", "\"101\"", true),
        ("flags", "\"1010\"", false),
        ("\"char\"", "\"ab\"", false),
        ("name", &format!("{long:?}"), false),
        ("numeric(3,1)", "\"1.25\"", false),
        ("timestamp(0)", "\"2026-01-02 03:04:05.4\"", false),
    ];
    for (kind, value, fits) in cases {
        let sql = format!(
            "DROP TABLE IF EXISTS people CASCADE;
             CREATE TABLE people (id serial PRIMARY KEY, user_name text UNIQUE, email text UNIQUE, active boolean, title text,
                 first_name text, last_name text, department text, country text, employee_number text, tenant {kind})"
        );
        world.execute(&sql).await;
        world.configure(&format!(
            "table = \"people\"\n[learners.columns]\n[learners.constants]\ntenant = {{ value = {value}, limit = true }}\n"
        ));
        let checked = world.run_program(&["check", "--json"], if fits { 0 } else { 1 });
        assert_eq!(!checked.stdout.contains("does not fit the column"), fits, "{kind} {value}: {checked:?}");
    }
}
