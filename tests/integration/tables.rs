//! Learners in an external table, whose other columns and rows stay unchanged.

mod identity;
mod limits;
mod scim;
mod text_ids;

use graph_sim::{Tenant, User};
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;
use learner_sync::store::{Access, Store};

use crate::database::{apply, is_on_postgres, on_both};
use crate::learners::{add_user, change};
use crate::world::{World, assigned};

/// The external table: UUIDs, a state column, required columns, and a trigger that counts updates.
fn accounts() -> String {
    let columns = "login varchar(150) NOT NULL UNIQUE, mail varchar(150) UNIQUE CHECK (mail LIKE '%_@_%.%'),
        given text, family text, \"Role\" text, country_code text, staff_number varchar(16), unit text,
        state varchar(20) NOT NULL CHECK (state IN ('enabled', 'disabled', 'suspended')),
        tenant text NOT NULL, quota integer NOT NULL, born date, notes text DEFAULT 'none yet', touched integer DEFAULT 0";
    if is_on_postgres() {
        format!(
            "CREATE SCHEMA app;
             CREATE TABLE app.accounts (uid uuid PRIMARY KEY DEFAULT gen_random_uuid(), {columns});
             CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN NEW.touched := OLD.touched + 1; RETURN NEW; END $$;
             CREATE TRIGGER touch BEFORE UPDATE ON app.accounts FOR EACH ROW EXECUTE FUNCTION app.touch();"
        )
    } else {
        let digits = "lower(hex(randomblob(2)))";
        format!(
            "CREATE TABLE accounts (
                 uid TEXT PRIMARY KEY DEFAULT ({digits} || {digits} || '-' || {digits} || '-' || {digits} || '-' || {digits}
                     || '-' || {digits} || {digits} || {digits}),
                 {columns});
             CREATE TRIGGER touch AFTER UPDATE OF login, mail, given, family, \"Role\", unit, state ON accounts
                 BEGIN UPDATE accounts SET touched = OLD.touched + 1 WHERE uid = OLD.uid; END;"
        )
    }
}

const COLUMNS: &str = r#"
[learners.columns]
id = "uid"
user_name = "login"
email = "mail"
first_name = "given"
last_name = "family"
title = "Role"
country = "country_code"
employee_number = "staff_number"
department = "unit"
active = { column = "state", true = "enabled", false = "disabled" }
[learners.constants]
tenant = "harbour's $1 works"
quota = 5
born = "2000-02-29"
"#;

/// The name of the table in the configuration.
fn table() -> &'static str {
    if is_on_postgres() { "app.accounts" } else { "accounts" }
}

fn configure(world: &World) {
    world.configure(&format!("table = \"{}\"\n{COLUMNS}", table()));
}

/// A world with that table, in which one row matches Ada, and one matches nobody.
async fn platform(tenant: Tenant) -> World {
    let world = World::start(tenant).await;
    make(&world, &accounts()).await;
    let rows = format!(
        "INSERT INTO {} (login, mail, state, tenant, quota, notes) VALUES
             ('Ada.Lovelace@HARBOURWORKS.example', 'ada@old.example', 'disabled', 'other', 1, 'came by hand'),
             ('nobody@elsewhere.example', NULL, 'enabled', 'other', 2, 'a guest')",
        table()
    );
    world.execute(&rows).await;
    configure(&world);
    world
}

/// Creates tables, and first the SQLite file.
async fn make(world: &World, sql: &str) {
    if !is_on_postgres() {
        std::fs::File::create(world.path("learners.db")).unwrap();
    }
    world.execute(sql).await;
}

async fn account(world: &World, login: &str, columns: &str) -> Vec<String> {
    let sql = format!("SELECT {columns} FROM {} WHERE lower(login) = '{login}'", table());
    world.query(&sql).await.into_iter().next().unwrap_or_default()
}

const ADA: &str = "ada.lovelace@harbourworks.example";
const BEN: &str = "ben.carter@harbourworks.example";
/// The columns that learner-sync does not update.
const UNMAPPED: &str = "tenant, quota, born, notes, touched";

#[apply(on_both)]
async fn an_external_table_through_all_actions() {
    let mut tenant = Tenant::default();
    let ada = tenant.add_user(User::named("Ada", "Lovelace").department("Research"));
    let ben = tenant.add_user(User::named("Ben", "Carter").job_title("Clerk"));
    tenant.assign_user(&ada);
    tenant.assign_user(&ben);
    let mut world = platform(tenant).await;

    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 2, created: 1, reactivated: 1, ..Counts::default() });
    assert_eq!(world.log(&ada).await, ["reactivate success adopted"]);
    let ours = "login, mail, given, \"Role\", unit, state";
    assert_eq!(account(&world, ADA, ours).await, [ADA, ADA, "Ada", "NULL", "Research", "enabled"]);
    assert_eq!(account(&world, ADA, UNMAPPED).await, ["other", "1", "NULL", "came by hand", "1"]);
    assert_eq!(account(&world, BEN, ours).await, [BEN, BEN, "Ben", "Clerk", "NULL", "enabled"]);
    let new = ["harbour's $1 works", "5", "2000-02-29", "none yet", "0"];
    assert_eq!(account(&world, BEN, UNMAPPED).await, new);
    let id = account(&world, BEN, "uid").await.concat();
    assert_eq!(world.value(&format!("SELECT learner_id FROM sync_links WHERE entra_id = '{ben}'")).await, id);
    expect_no_change(&mut world).await;

    // The values of the platform stay.
    world.execute(&format!("UPDATE {} SET notes = 'champion', quota = 9 WHERE login = '{BEN}'", table())).await;
    let external = ["harbour's $1 works", "9", "2000-02-29", "champion"];
    change(&world, &ben, |user| user.job_title = Some("Head clerk".to_owned()));
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 2, updated: 1, unchanged: 1, ..Counts::default() });
    assert_eq!(account(&world, BEN, "\"Role\", state").await, ["Head clerk", "enabled"]);
    world.sim.tenant(|tenant| tenant.unassign(&ben));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    assert_eq!(account(&world, BEN, "\"Role\", state").await, ["Head clerk", "disabled"]);
    expect_no_change(&mut world).await;
    assert_eq!(world.full_cycle().await.counts.unchanged, 1);
    world.sim.tenant(|tenant| tenant.assign_user(&ben));
    assert_eq!(world.cycle().await.counts.reactivated, 1);
    assert_eq!(account(&world, BEN, "state, uid").await, ["enabled", &id]);
    assert_eq!(account(&world, BEN, "tenant, quota, born, notes").await, external);
    let guest = account(&world, "nobody@elsewhere.example", "login, mail, given, state, notes, touched").await;
    assert_eq!(guest, ["nobody@elsewhere.example", "NULL", "NULL", "enabled", "a guest", "0"]);
    expect_no_change(&mut world).await;
}

/// One more cycle writes nothing, to our tables or to the external one.
async fn expect_no_change(world: &mut World) {
    let everything = [
        format!("SELECT * FROM {} ORDER BY login", table()),
        "SELECT * FROM provisioning_log ORDER BY id".to_owned(),
        "SELECT * FROM sync_links ORDER BY entra_id".to_owned(),
        "SELECT generation FROM sync_state".to_owned(),
    ];
    let everything = everything.each_ref().map(String::as_str);
    let before = world.database.query_all(everything).await;
    let report = world.cycle().await;
    let Counts { created, updated, deactivated, reactivated, .. } = report.counts;
    assert_eq!((created, updated, deactivated, reactivated), (0, 0, 0, 0), "{}", report.summary());
    assert_eq!(world.database.query_all(everything).await, before);
}

#[apply(on_both)]
async fn another_state_is_kept_and_reported() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 3);
    let mut world = platform(tenant).await;
    world.cycle().await;
    let first = "number.0001@harbourworks.example";
    world.execute(&format!("UPDATE {} SET state = 'suspended' WHERE login = '{first}'", table())).await;
    world.full_cycle().await;
    assert_eq!(world.log(&users[0]).await, ["create success assigned", "reactivate skipped drift"]);
    assert_eq!(account(&world, first, "state").await, ["suspended"]);
    // A suspended learner counts as inactive: the state stays when the user leaves.
    world.sim.tenant(|tenant| tenant.unassign(&users[0]));
    world.full_cycle().await;
    assert_eq!(account(&world, first, "state").await, ["suspended"]);

    // A learner suspended after its deactivation stays suspended when the user returns.
    let third = "number.0003@harbourworks.example";
    world.sim.tenant(|tenant| tenant.unassign(&users[2]));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.execute(&format!("UPDATE {} SET state = 'suspended' WHERE login = '{third}'", table())).await;
    world.sim.tenant(|tenant| tenant.assign_user(&users[2]));
    assert_eq!(world.cycle().await.counts.reactivated, 0);
    assert_eq!(account(&world, third, "state").await, ["suspended"]);
    world.execute(&format!("UPDATE {} SET state = 'disabled' WHERE login = '{third}'", table())).await;
    assert_eq!(world.full_cycle().await.counts.reactivated, 1);

    // Activated by hand after our deactivation.
    let second = "number.0002@harbourworks.example";
    world.sim.tenant(|tenant| tenant.unassign(&users[1]));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.execute(&format!("UPDATE {} SET state = 'enabled' WHERE login = '{second}'", table())).await;
    world.full_cycle().await;
    let log = ["create success assigned", "deactivate success unassigned", "deactivate skipped drift"];
    assert_eq!(world.log(&users[1]).await, log);
    assert_eq!(account(&world, second, "state").await, ["enabled"]);
    // After the user returned, learner-sync deactivates the learner again.
    world.sim.tenant(|tenant| tenant.assign_user(&users[1]));
    world.cycle().await;
    assert_eq!(world.log(&users[1]).await.last().unwrap(), "update success reassigned");
    assert_eq!(world.value("SELECT count(*) FROM sync_links WHERE switched_off_at IS NOT NULL").await, "0");
    world.sim.tenant(|tenant| tenant.unassign(&users[1]));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    assert_eq!(account(&world, second, "state").await, ["disabled"]);
}

#[apply(on_both)]
async fn adoption_does_not_activate_a_learner_in_another_state() {
    let mut tenant = Tenant::default();
    let ben = tenant.add_user(User::named("Ben", "Carter"));
    tenant.assign_user(&ben);
    let mut world = platform(tenant).await;
    let row = format!("INSERT INTO {} (login, state, tenant, quota) VALUES ('{BEN}', 'suspended', 'a', 1)", table());
    world.execute(&row).await;
    // A plan shows it before our tables exist, and names its basis.
    let plan = world.run_program(&["plan", "--json"], 0).json();
    assert_eq!((plan["failed"].as_u64(), plan["reactivated"].as_u64()), (Some(1), Some(0)), "{plan}");
    for (arguments, code) in [(&["sync", "--dry-run"][..], 3), (&["provision", &ben, "--dry-run"], 3)] {
        let ran = world.run_program(arguments, code);
        assert!(ran.stdout.contains("Rehearsed on a copy in memory"), "{ran:?}");
    }
    let report = world.cycle().await;
    assert_eq!((report.counts.failed, report.counts.reactivated), (1, 0));
    assert!(world.last_detail(&ben).await.contains("in a state that only the platform may change"));
    let id = account(&world, BEN, "uid").await.concat();
    let refused = world.run_program(&["provision", &ben, "--relink", &id], 1);
    assert!(refused.stderr.contains("in a state that only the platform may change"), "{refused:?}");
    assert_eq!(account(&world, BEN, "state, given").await, ["suspended", "NULL"]);
}

#[apply(on_both)]
async fn values_of_a_learner_in_another_state_are_not_moved_aside() {
    let mut tenant = Tenant::default();
    let ben = tenant.add_user(User::named("Ben", "Carter"));
    tenant.assign_user(&ben);
    assigned(&mut tenant, 1);
    let mut world = platform(tenant).await;
    world.configure(&format!("reissued = \"free\"\ntable = \"{}\"\n{COLUMNS}", table()));
    assert_eq!(world.cycle().await.counts.created, 2);
    world.sim.tenant(|tenant| {
        tenant.delete_user(&ben);
        tenant.purge_user(&ben);
    });
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.execute(&format!("UPDATE {} SET state = 'suspended' WHERE login = '{BEN}'", table())).await;
    add_user(&world, User::named("Ben", "Carter"));
    let counts = world.cycle().await.counts;
    assert_eq!((counts.created, counts.updated, counts.failed), (0, 0, 1));
    assert_eq!(account(&world, BEN, "state").await, ["suspended"]);
}

#[apply(on_both)]
async fn addresses_are_swapped_in_a_table_with_a_check_constraint() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 2);
    let mut world = platform(tenant).await;
    world.cycle().await;
    let [one, two] = ["number.0001", "number.0002"].map(|name| format!("{name}@harbourworks.example"));
    for (user, name) in [(&users[0], &two), (&users[1], &one)] {
        change(&world, user, |user| {
            user.user_principal_name = Some(name.clone());
            user.mail = Some(name.clone());
        });
    }
    let report = world.cycle().await;
    assert_eq!((report.counts.updated, report.outcome), (2, Outcome::Success), "{:?}", report.error);
    assert_eq!(account(&world, &one, "given, family, mail").await, ["Number", "0002", &one]);
    expect_no_change(&mut world).await;
}

#[apply(on_both)]
async fn commands_use_the_ids_of_the_external_table() {
    let mut tenant = Tenant::default();
    let ben = tenant.add_user(User::named("Ben", "Carter"));
    tenant.assign_user(&ben);
    let world = platform(tenant).await;
    // Before the first cycle our tables do not exist, and a plan does not create them.
    let tables = world.database.tables().await;
    let plan = world.run_program(&["plan", "--json"], 0).json();
    assert_eq!((plan["created"].as_u64(), plan["changes"][0]["user_name"].as_str()), (Some(1), Some(BEN)));
    assert_eq!(world.database.tables().await, tables);
    assert_eq!(world.run_program(&["check", "--json"], 0).json()["ok"], true);

    let ran = world.run_program(&["sync", "--json"], 0).json();
    assert_eq!((ran["outcome"].as_str(), ran["created"].as_u64()), (Some("success"), Some(1)));
    let id = account(&world, BEN, "uid").await.concat();
    assert_eq!(world.run_program(&["log", "--format", "json", "--user", &id], 0).json()[0]["learner_id"], id.as_str());
    assert_eq!(world.run_program(&["log", "--format", "json", "--user", BEN], 0).json().as_array().unwrap().len(), 1);
    let explained = world.run_program(&["provision", BEN, "--json"], 0).json();
    assert_eq!(explained["match"]["learner_id"], id.as_str());
    let status = world.run_program(&["status", "--json"], 0).json();
    assert_eq!(
        status["learners"],
        serde_json::json!({ "active": 2, "inactive": 1, "linked": 1, "active_unlinked": 1 })
    );
    assert_eq!(world.run_program(&["sync", "--dry-run", "--json"], 0).json()["unchanged"], 1);

    // A new account for the same person is relinked to the old row.
    let again = world.sim.tenant(|tenant| {
        tenant.unassign(&ben);
        let again = tenant.add_user(User::named("Benjamin", "Carter"));
        tenant.assign_user(&again);
        again
    });
    world.run_program(&["provision", &ben], 0);
    let refused = world.run_program(&["provision", &again, "--relink", "7"], 1);
    assert!(refused.stderr.contains("7"), "{refused:?}");
    world.run_program(&["provision", &again, "--relink", &id], 0);
    assert_eq!(account(&world, "benjamin.carter@harbourworks.example", "uid, state").await, [&id, "enabled"]);
    assert_eq!(world.log(&again).await, ["reactivate success relinked"]);
}

#[apply(on_both)]
async fn a_row_that_the_table_refuses_does_not_stop_the_others() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 30);
    tenant.user_mut(&users[3]).employee_id = Some("12345678901234567".to_owned());
    tenant.user_mut(&users[7]).mail = Some("no address".to_owned());
    let mut world = platform(tenant).await;
    if !is_on_postgres() {
        // SQLite does not enforce the length.
        change(&world, &users[3], |user| user.mail = Some("none either".to_owned()));
    }
    let report = world.cycle().await;
    assert_eq!((report.counts.created, report.counts.failed, report.outcome), (28, 2, Outcome::Partial));
    for user in [&users[3], &users[7]] {
        assert_eq!(world.log(user).await, ["create failure database-error"]);
    }
}

#[apply(on_both)]
async fn a_table_that_does_not_fit_is_refused_with_the_line_and_the_statement() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, 1);
    let world = platform(tenant).await;
    let tables = world.database.tables().await;
    world.reconfigure(|text| text.replace("title = \"Role\"", "title = \"role_name\"").replace("quota = 5\n", ""));
    let line =
        1 + std::fs::read_to_string(world.config_path()).unwrap().lines().position(|l| l.starts_with("title")).unwrap();
    let refused = world.run_program(&["sync", "--json"], 78);
    let name = table();
    for expected in [
        format!("learner-sync.toml:{line}:9: learners.columns.title: the table {name} has no column \"role_name\""),
        "ADD COLUMN \"role_name\" text;".to_owned(),
        "learners.table: the column \"quota\" requires a value and has no default".to_owned(),
    ] {
        assert!(refused.stderr.contains(&expected), "{expected}: {refused:?}");
    }
    assert!(refused.json()["error"].as_str().unwrap().contains("role_name"), "{refused:?}");
    let checked = world.run_program(&["check", "--json"], 1).json();
    let database = checked["checks"].as_array().unwrap().iter().find(|check| check["name"] == "database").unwrap();
    assert_eq!(database["ok"], false);
    assert!(database["detail"].as_str().unwrap().contains("has no column \"role_name\""), "{database}");
    assert!(database["hint"].as_str().unwrap().contains("ADD COLUMN \"role_name\" text;"), "{database}");
    for command in ["plan", "status", "log", "run"] {
        let refused = world.run_program(&[command], 78);
        assert!(refused.stderr.contains("role_name"), "{refused:?}");
    }
    assert_eq!(world.database.tables().await, tables, "nothing was made");
}

#[apply(on_both)]
async fn a_remapped_column_is_filled_without_a_change_in_entra() {
    let mut tenant = Tenant::default();
    let ben = tenant.add_user(User::named("Ben", "Carter").job_title("Clerk"));
    tenant.assign_user(&ben);
    let mut world = platform(tenant).await;
    world.cycle().await;
    world.reconfigure(|text| text.replace("title = \"Role\"", "title = \"notes\""));
    assert_eq!(world.cycle().await.counts.updated, 1);
    assert_eq!(account(&world, BEN, "notes").await, ["Clerk"]);
    expect_no_change(&mut world).await;
}

/// Numbers for the state and the ids, and a column for each column of the default table.
#[apply(on_both)]
async fn an_external_table_with_all_columns_of_the_default_table() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 2);
    let mut world = World::start(tenant).await;
    let (id, external, at) = if is_on_postgres() {
        ("integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "uuid UNIQUE", "timestamp")
    } else {
        ("INTEGER PRIMARY KEY", "TEXT UNIQUE", "DATETIME")
    };
    let sql = format!(
        "CREATE TABLE people (number {id}, oid {external}, login varchar(113) NOT NULL, mail varchar(113) UNIQUE, on_duty
             smallint NOT NULL DEFAULT 0, title text, department text, first_name text, last_name text, country text,
             employee_number text, made {at}, changed {at}, gone {at});
         CREATE UNIQUE INDEX people_login ON people (lower(login))"
    );
    make(&world, &sql).await;
    world.configure(
        "table = \"people\"\n[learners.columns]\nid = \"number\"\nexternal_id = \"oid\"\nuser_name = \"login\"\n\
         email = \"mail\"\nactive = \"on_duty\"\ncreated_at = \"made\"\nupdated_at = \"changed\"\ndeactivated_at = \"gone\"\n",
    );
    assert_eq!(world.cycle().await.counts.created, 2);
    world.sim.tenant(|tenant| tenant.unassign(&users[1]));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    let rows = world.query("SELECT number, oid, on_duty, made, changed, gone FROM people ORDER BY number").await;
    let (made, gone) = ("2026-03-02T08:00:00Z", "2026-03-02T08:30:00Z");
    assert_eq!(rows[0], ["1", &users[0], "1", made, made, "NULL"]);
    assert_eq!(rows[1], ["2", &users[1], "0", made, gone, gone]);
    assert_eq!(world.full_cycle().await.counts.unchanged, 1);
    if !is_on_postgres() {
        assert_eq!(world.value("PRAGMA journal_mode").await, "delete", "the file is the platform's");
    }
    world.sim.tenant(|tenant| tenant.assign_user(&users[1]));
    assert_eq!(world.cycle().await.counts.reactivated, 1);
    assert_eq!(world.value("SELECT coalesce(cast(gone AS text), '-') FROM people WHERE number = 2").await, "-");
}

#[tokio::test]
async fn inspecting_the_file_of_a_platform_releases_no_lock() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, 1);
    let world = platform(tenant).await;
    world.run_program(&["sync"], 0);
    assert_eq!(world.value("PRAGMA journal_mode").await, "delete");
    // This process inspects the file while it writes, as a daemon does at a reload.
    let _writer = world.database.lock().await;
    Store::inspect(world.app().learners, Access::ReadWrite).await.unwrap();
    let refused = world.run_program(&["sync", "--dry-run"], 1);
    assert!(refused.stderr.contains("locked by another process"), "{refused:?}");
}
