//! Links belong to one table, one id column, and its rows.

use graph_sim::{Tenant, User};

use super::{accounts, make, platform, table};
use crate::database::{apply, is_on_postgres, on_both};
use crate::world::{World, assigned};

#[apply(on_both)]
async fn links_belong_to_the_table_they_were_made_for() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, 1);
    let mut world = platform(tenant).await;
    world.cycle().await;
    let other = if is_on_postgres() { "app.others" } else { "others" };
    world
        .execute(
            &accounts()
                .replace("CREATE SCHEMA app;", "")
                .split("CREATE FUNCTION")
                .next()
                .unwrap()
                .split("CREATE TRIGGER")
                .next()
                .unwrap()
                .replace(table(), other),
        )
        .await;
    world.reconfigure(|text| text.replace(&format!("table = \"{}\"", table()), &format!("table = \"{other}\"")));
    let refused = world.run_program(&["sync"], 78);
    assert!(
        refused.stderr.contains(&format!("refer to rows of {} (uid), not of {other} (uid)", table())),
        "{refused:?}"
    );
    // The same holds for the default table.
    world.configure("");
    let refused = world.run_program(&["sync"], 78);
    assert!(refused.stderr.contains("the table learners is missing"), "{refused:?}");
}

#[apply(on_both)]
async fn a_default_of_the_platform_numbers_the_rows() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, 3);
    let mut world = World::start(tenant).await;
    let random = if is_on_postgres() { "(random() * 1000000)::bigint" } else { "abs(random()) % 1000000" };
    let table = format!(
        "CREATE TABLE people (id bigint PRIMARY KEY DEFAULT (5000000 + {random}), user_name text UNIQUE, email text UNIQUE,
             active boolean, title text, country text, department text, first_name text, last_name text,
             employee_number text);"
    );
    make(&world, &table).await;
    world.configure("table = \"people\"\n");
    assert_eq!(world.cycle().await.counts.created, 3);
    let theirs = "SELECT count(*) FROM sync_links l JOIN people p ON p.id = l.learner_id WHERE p.id >= 5000000";
    assert_eq!(world.value(theirs).await, "3");
    assert_eq!(world.cycle().await.counts.unchanged, 3);
}

#[apply(on_both)]
async fn the_rows_of_a_recreated_table_are_not_linked() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, 3);
    let mut world = World::start(tenant).await;
    let (id, cascade) = if is_on_postgres() { ("serial PRIMARY KEY", " CASCADE") } else { ("INTEGER PRIMARY KEY", "") };
    let table = format!(
        "CREATE TABLE people (id {id}, user_name text UNIQUE, email text UNIQUE, active boolean, title text, country text,
             department text, first_name text, last_name text, employee_number text);"
    );
    make(&world, &table).await;
    world.configure("table = \"people\"\n");
    assert_eq!(world.cycle().await.counts.created, 3);

    // A row deleted by the platform takes its link along on every connection, because its id may be used again.
    let last = world.value("SELECT entra_id FROM sync_links WHERE learner_id = 3").await;
    // The default of an SQLite connection.
    let careless = if is_on_postgres() { "" } else { "PRAGMA foreign_keys = OFF;" };
    let guest = "INSERT INTO people (user_name, active) VALUES ('guest', true)";
    world.execute(&format!("{careless} DELETE FROM people WHERE id = 3; {guest}")).await;
    world.sim.tenant(|tenant| tenant.unassign(&last));
    // Noticed without a change in Entra.
    world.cycle().await;
    let guest = "SELECT user_name, active, title FROM people WHERE user_name = 'guest'";
    assert_eq!(world.query(guest).await, [["guest", "1", "NULL"]]);

    world.execute("DELETE FROM people WHERE id = 1").await;
    assert_eq!(world.cycle().await.counts.created, 1);

    world.execute(&format!("DROP TABLE people{cascade}; {table}")).await;
    world.execute("INSERT INTO people (user_name, active) VALUES ('p1', true), ('p2', true)").await;
    let refused = world.run_program(&["sync"], 78);
    assert!(refused.stderr.contains("was dropped or created again"), "{refused:?}");
    assert_eq!(world.query("SELECT user_name, active FROM people ORDER BY id").await, [["p1", "1"], ["p2", "1"]]);
    // The statement from the message.
    world.execute("DELETE FROM sync_links").await;
    let statement = refused.stderr.split("to fix it: ").nth(1).unwrap().trim().to_owned();
    world.execute(&statement).await;
    world.run_program(&["sync"], 0);
    assert_eq!(world.value("SELECT count(*) FROM people").await, "4");
    assert_eq!(world.value("SELECT count(*) FROM people WHERE user_name LIKE 'p_'").await, "2");
}

/// The log says whose learner it is when neither the link nor the row does.
#[apply(on_both)]
async fn a_renamed_user_whose_link_cannot_be_read_gets_no_second_learner() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 3);
    let mut world = World::start(tenant).await;
    let id = if is_on_postgres() { "serial PRIMARY KEY" } else { "INTEGER PRIMARY KEY" };
    let table = format!(
        "CREATE TABLE people (id {id}, user_name text UNIQUE, email text UNIQUE, active boolean, title text, country text,
             department text, first_name text, last_name text, employee_number text);"
    );
    make(&world, &table).await;
    world.configure("table = \"people\"\n");
    world.cycle().await;
    world.execute(&format!("UPDATE sync_links SET entra_id = 'junk' WHERE entra_id = '{}'", users[0])).await;
    world.sim.tenant(|tenant| {
        let user = tenant.user_mut(&users[0]);
        user.user_principal_name = Some("renamed@harbourworks.example".to_owned());
        user.mail = Some("renamed@harbourworks.example".to_owned());
    });
    let report = world.cycle().await;
    assert_eq!((report.counts.created, report.counts.failed, report.counts.unchanged), (0, 1, 2));
    assert_eq!(world.log(&users[0]).await.last().unwrap(), "update failure database-error");
    let detail = world.last_detail(&users[0]).await;
    let (_, statement) = detail.split_once("run: ").unwrap();
    world.execute(statement).await;
    let report = world.cycle().await;
    assert_eq!((report.counts.created, report.counts.updated, report.counts.failed), (0, 1, 0), "{detail}");
    assert_eq!(world.value("SELECT count(*) FROM people").await, "3");
}

#[apply(on_both)]
async fn another_column_of_ids_is_refused() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, 1);
    let mut world = platform(tenant).await;
    world.cycle().await;
    let column = if is_on_postgres() { "number serial UNIQUE" } else { "number INTEGER DEFAULT 1" };
    world.execute(&format!("ALTER TABLE {} ADD COLUMN {column}", table())).await;
    if !is_on_postgres() {
        world.execute("UPDATE accounts SET number = rowid; CREATE UNIQUE INDEX numbers ON accounts (number)").await;
    }
    world.reconfigure(|text| text.replace("id = \"uid\"", "id = \"number\""));
    let refused = world.run_program(&["sync"], 78);
    assert!(refused.stderr.contains("(uid), not of") && refused.stderr.contains("(number)"), "{refused:?}");
}

#[apply(on_both)]
async fn tables_that_differ_only_in_letter_case_are_ambiguous() {
    let mut tenant = Tenant::default();
    let ben = tenant.add_user(User::named("Ben", "Carter"));
    tenant.assign_user(&ben);
    let mut world = platform(tenant).await;
    let rows = format!(
        "INSERT INTO {} (login, state, tenant, quota) VALUES ('Ben.Carter@harbourworks.example', 'enabled', 'a', 1),
             ('BEN.Carter@harbourworks.example', 'disabled', 'a', 1)",
        table()
    );
    world.execute(&rows).await;
    let report = world.cycle().await;
    assert_eq!((report.counts.failed, report.counts.created, report.counts.reactivated), (1, 0, 0));
    assert_eq!(world.log(&ben).await, ["create failure conflict"]);
    assert!(world.last_detail(&ben).await.contains("matches 2 unlinked learners"));
}
