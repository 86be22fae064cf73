//! Rows that the learner database refuses: their users fail alone, in a rehearsal as in a cycle.

use graph_sim::Tenant;
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;
use serde_json::json;

use crate::database::{apply, is_on_postgres, on_both};
use crate::postgres;
use crate::world::{World, assigned};

/// Whatever goes wrong for the second of four users: the rehearsal and the cycle report the same, the others are
/// written, and the detail of the log contains `expected`.
async fn one_of_four_fails(world: &mut World, users: &[String], expected: &str, what: &str) {
    let bad = &users[1];
    let rehearsed = world.run_program(&["sync", "--dry-run", "--json"], 3).json();
    let report = world.cycle().await;
    let counts = Counts { in_scope: 4, created: 3, failed: 1, ..Counts::default() };
    assert_eq!((report.counts, report.outcome, report.error.as_deref()), (counts, Outcome::Partial, None), "{what}");
    let same = ["in_scope", "created", "failed"].map(|key| rehearsed[key].as_u64());
    assert_eq!(same, [4, 3, 1].map(Some), "{what}: {rehearsed}");
    assert_eq!(world.log(bad).await, ["create failure database-error"], "{what}");
    let detail = world.last_detail(bad).await;
    assert!(detail.contains(expected), "{what}: {detail}");
    // It stays so, and nothing is logged again.
    let report = world.cycle().await;
    assert_eq!((report.counts.failed, report.counts.unchanged), (1, 3), "{what}");
    assert_eq!(world.log(bad).await.len(), 1, "{what}");
}

fn four(tenant: &mut Tenant) -> Vec<String> {
    let users = assigned(tenant, 4);
    tenant.user_mut(&users[1]).set("jobTitle", json!("Boss")).unwrap();
    users
}

/// A database with our tables, and one more statement.
async fn world_with(sql: &str) -> (World, Vec<String>) {
    let mut tenant = Tenant::default();
    let users = four(&mut tenant);
    let world = World::start(tenant).await;
    world.run_program(&["schema", "apply"], 0);
    world.execute(sql).await;
    (world, users)
}

#[tokio::test]
async fn triggers_and_deferred_checks_of_a_file_concern_one_row() {
    let trigger = |when: &str, body: &str| format!("CREATE TRIGGER t {when} WHEN NEW.title = 'Boss' BEGIN {body}; END");
    let raise = |how: &str| trigger("BEFORE INSERT ON learners", &format!("SELECT RAISE({how}, 'no bosses')"));
    for (sql, expected) in [
        (raise("ROLLBACK"), "no bosses"),
        (raise("ABORT"), "no bosses"),
        (raise("FAIL"), "no bosses"),
        (trigger("AFTER INSERT ON learners", "SELECT RAISE(ROLLBACK, 'no bosses')"), "no bosses"),
        (trigger("BEFORE INSERT ON learners", "SELECT RAISE(IGNORE)"), "did not create the row"),
        (
            trigger("AFTER INSERT ON learners", "SELECT json(NEW.title)"),
            "an expression or a trigger of the table fails",
        ),
        (trigger("AFTER INSERT ON learners", "DELETE FROM learners WHERE id = NEW.id"), ""),
        (
            format!(
                "CREATE TABLE titles (name TEXT PRIMARY KEY);
                 CREATE TABLE staff (name TEXT REFERENCES titles (name) DEFERRABLE INITIALLY DEFERRED); {}",
                trigger("AFTER INSERT ON learners", "INSERT INTO staff VALUES (NEW.title)")
            ),
            "a foreign key fails",
        ),
        (trigger("AFTER INSERT ON learners", "INSERT INTO sync_groups VALUES (NULL, NULL, NULL)"), ""),
    ] {
        let (mut world, users) = world_with(&sql).await;
        one_of_four_fails(&mut world, &users, expected, &sql).await;
    }
}

#[tokio::test]
async fn triggers_and_deferred_checks_of_a_server_concern_one_row() {
    crate::database::on_postgres(async {
        let trigger = |kind: &str, body: &str| {
            format!(
                "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     IF NEW.title = 'Boss' THEN {body}; END IF; RETURN NEW; END $$;
                 CREATE {kind} ON learners {} FOR EACH ROW EXECUTE FUNCTION f()",
                if kind.starts_with("CONSTRAINT") { "DEFERRABLE INITIALLY DEFERRED" } else { "" }
            )
        };
        let raise =
            |code: &str| trigger("TRIGGER t BEFORE INSERT", &format!("RAISE 'no bosses' USING ERRCODE = '{code}'"));
        let mut cases: Vec<(String, &str)> = [
            // Those of a lost connection, a conflict, a lock, rights, a syntax error and a duplicate.
            "P0001", "57P01", "40001", "55P03", "42501", "42601", "23505",
        ]
        .map(|code| (raise(code), "no bosses"))
        .into();
        cases.extend([
            (trigger("CONSTRAINT TRIGGER t AFTER INSERT", "RAISE 'no bosses'"), "no bosses"),
            (trigger("TRIGGER t BEFORE INSERT", "RETURN NULL"), "did not create the row"),
            (trigger("TRIGGER t BEFORE INSERT", "PERFORM missing_function()"), "SQLSTATE 42883"),
            (trigger("TRIGGER t BEFORE INSERT", "PERFORM 1 / (length(NEW.title) - 4)"), "SQLSTATE 22012"),
            (
                "ALTER TABLE learners ADD year int GENERATED ALWAYS AS (length(title) / (length(title) - 4)) STORED"
                    .to_owned(),
                "SQLSTATE 22012",
            ),
            ("ALTER TABLE learners ADD CHECK (title <> 'Boss')".to_owned(), "a check of the table fails"),
        ]);
        for (sql, expected) in cases {
            let (mut world, users) = world_with(&sql).await;
            one_of_four_fails(&mut world, &users, expected, &sql).await;
        }
    })
    .await;
}

/// The message of a trigger may name people: it is in the learner database alone.
#[apply(on_both)]
async fn the_message_of_a_trigger_is_in_no_operational_log() {
    let sql = if is_on_postgres() {
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE 'cannot add %', NEW.user_name USING DETAIL = NEW.email; END $$;
         CREATE TRIGGER t BEFORE INSERT ON learners FOR EACH ROW EXECUTE FUNCTION f()"
    } else {
        "CREATE TRIGGER t BEFORE INSERT ON learners BEGIN SELECT RAISE(ABORT, 'cannot add number.0001@x\u{1b}[2J'); END"
    };
    let (world, users) = world_with(sql).await;
    let ran = world.run_program(&["sync"], 3);
    assert!(!ran.stderr.contains("number.0001"), "{ran:?}");
    assert!(ran.stderr.contains("the database refused the change"), "{ran:?}");
    let detail = world.last_detail(&users[0]).await;
    assert!(detail.contains("cannot add number.0001@") && !detail.contains('\u{1b}'), "{detail}");
    let shown = world.run_program(&["log", "--user", &users[0]], 0);
    assert!(shown.stdout.contains("cannot add number.0001@"), "{shown:?}");
}

/// Databases that lack characters.
#[tokio::test]
async fn a_name_that_the_encoding_lacks_fails_alone() {
    let Some(server) = postgres::shared() else { return };
    for (encoding, name, good, escaped) in [
        ("LATIN1", "李小龙", "Zoë", "\\u{674E}"),
        ("WIN1252", "Łukasz", "Zoë €", "\\u{141}"),
        ("EUC_JP", "Zoë 😀", "李", "\\u{1F600}"),
        ("LATIN2", "Ωmega", "Łukasz", "\\u{3A9}"),
    ] {
        let mut tenant = Tenant::default();
        let users = four(&mut tenant);
        for (user, name) in [(&users[0], good), (&users[1], name)] {
            tenant.user_mut(user).set("givenName", json!(name)).unwrap();
        }
        let (address, title) = (format!("{name}@harbourworks.example"), format!("Boss {name}"));
        tenant.user_mut(&users[1]).set("userPrincipalName", json!(address)).unwrap();
        tenant.user_mut(&users[1]).set("jobTitle", json!(title)).unwrap();
        let mut world = World::start_on(server, tenant).await;
        let database = world.database.name().to_owned();
        let create = format!("CREATE DATABASE {database} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
        server.execute("postgres", &format!("DROP DATABASE {database}")).await;
        server.execute("postgres", &create).await;

        world.run_program(&["schema", "apply"], 0);
        one_of_four_fails(&mut world, &users, "the encoding of the database lacks", encoding).await;
        assert_eq!(world.learner(&users[0], "first_name").await, [good], "{encoding}");
        let logged = world.value("SELECT user_name FROM provisioning_log WHERE status = 'failure'").await;
        assert!(logged.contains(escaped), "{encoding}: {logged}");
        let changes = world.last_changes(&users[1]).await.to_string();
        assert!(changes.contains(&escaped.replace('\\', "\\\\")), "{encoding}: {changes}");
        for command in [&["plan"][..], &["status"], &["log"], &["log", "--user", &address], &["provision", &address]] {
            let code = if command[0] == "provision" { 3 } else { 0 };
            world.run_program(command, code);
        }
        // A learner whose new value does not fit keeps the old one.
        world.sim.tenant(|tenant| tenant.user_mut(&users[2]).set("jobTitle", json!(title)).unwrap());
        let report = world.full_cycle().await;
        assert_eq!((report.counts.failed, report.counts.updated), (2, 0), "{encoding}");
        // The fix in Entra works.
        world.sim.tenant(|tenant| {
            for (key, value) in
                [("givenName", "Bruce"), ("jobTitle", "Clerk"), ("userPrincipalName", "bruce@harbourworks.example")]
            {
                tenant.user_mut(&users[1]).set(key, json!(value)).unwrap();
            }
            tenant.user_mut(&users[2]).set("jobTitle", json!("Clerk")).unwrap();
        });
        let report = world.cycle().await;
        assert_eq!(
            (report.counts.created, report.counts.updated, report.outcome),
            (1, 1, Outcome::Success),
            "{encoding}"
        );
        let checked = world.run_program(&["check"], 0);
        assert!(checked.stdout.contains(&format!("its encoding {encoding} lacks")), "{checked:?}");
    }
}

/// A value can be too long for an index although its column takes it.
#[tokio::test]
async fn a_value_that_is_too_long_for_an_index_fails_alone() {
    crate::database::on_postgres(async {
        let (mut world, users) = world_with("CREATE INDEX titles ON learners (title)").await;
        // Nothing that the server could compress.
        let mut state = 7_u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{:08x}", state >> 32)
        });
        let title: String = noise.take(2000).collect();
        world.sim.tenant(|tenant| tenant.user_mut(&users[1]).set("jobTitle", json!(title)).unwrap());
        one_of_four_fails(&mut world, &users, "a value is longer than its column allows", "54000").await;
    })
    .await;
}

/// This encoding takes any bytes, also those that are not text.
#[tokio::test]
async fn a_database_without_an_encoding_stores_every_name() {
    let Some(server) = postgres::shared() else { return };
    let mut tenant = Tenant::default();
    let users = four(&mut tenant);
    tenant.user_mut(&users[1]).set("givenName", json!("李小龙 😀")).unwrap();
    let mut world = World::start_on(server, tenant).await;
    let database = world.database.name().to_owned();
    let create = format!("CREATE DATABASE {database} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0");
    server.execute("postgres", &format!("DROP DATABASE {database}")).await;
    server.execute("postgres", &create).await;
    world.run_program(&["schema", "apply"], 0);
    let report = world.cycle().await;
    assert_eq!((report.counts.created, report.outcome), (4, Outcome::Success));
    assert_eq!(world.learner(&users[1], "first_name").await, ["李小龙 😀"]);
    world.execute("UPDATE learners SET title = convert_from('\\xff'::bytea, 'SQL_ASCII') WHERE id = 1").await;
    let report = world.full_cycle().await;
    assert_eq!((report.counts.updated, report.outcome), (1, Outcome::Success));
    let checked = world.run_program(&["check"], 0);
    assert!(!checked.stdout.contains("its encoding"), "{checked:?}");
}

/// A column that ignores letter case compares and finds as a text column does.
#[tokio::test]
async fn names_may_be_in_columns_that_ignore_letter_case() {
    crate::database::on_postgres(async {
        let columns =
            "ALTER TABLE learners ALTER user_name TYPE citext, ALTER email TYPE citext, ALTER title TYPE citext";
        let (mut world, users) = world_with(&format!("CREATE EXTENSION citext; {columns}")).await;
        assert_eq!(world.cycle().await.counts.created, 4);
        world.sim.tenant(|tenant| tenant.user_mut(&users[1]).set("jobTitle", json!("BOSS")).unwrap());
        assert_eq!(world.cycle().await.counts.updated, 1);
        assert_eq!(world.learner(&users[1], "title").await, ["BOSS"]);
        assert_eq!(world.full_cycle().await.counts.unchanged, 4);
        // A row that loses its link is found by its name.
        world
            .execute("DELETE FROM sync_links; UPDATE learners SET external_id = NULL, user_name = upper(user_name)")
            .await;
        let report = world.full_cycle().await;
        assert_eq!((report.counts.updated, report.counts.created, report.counts.failed), (4, 0, 0));
    })
    .await;
}
