//! Tables owned by one role and written by another one with the minimum of privileges.

mod setup;

use learner_sync::store::Store;
use serde_json::json;

use self::setup::{COLUMNS, RoleSetup};
use super::commands::database_check;
use super::shared;
use crate::world::World;

/// Runs everything that a daemon does with the tables.
async fn run_everything(setup: &RoleSetup) {
    let RoleSetup { world, ids, .. } = setup;
    let sync = |code: i32| world.run_program(&["sync", "--json"], code).json();
    let group = world.sim.tenant(|tenant| {
        let group = tenant.add_group("Divers");
        ids[..4].iter().for_each(|id| tenant.add_member(&group, id));
        tenant.assign_group(&group);
        group
    });
    assert_eq!(sync(0)["created"], json!(15));
    world.sim.tenant(|tenant| {
        tenant.user_mut(&ids[0]).job_title = Some("Diver".to_owned());
        tenant.remove_member(&group, &ids[3]);
        tenant.unassign(&ids[14]);
    });
    let changed = sync(0);
    assert_eq!((&changed["updated"], &changed["deactivated"]), (&json!(1), &json!(1)), "{changed}");
    world.sim.tenant(|tenant| {
        tenant.assign_user(&ids[14]);
        tenant.user_mut(&ids[13]).mail = tenant.user(&ids[12]).unwrap().mail.clone();
    });
    let changed = sync(3);
    assert_eq!((&changed["reactivated"], &changed["failed"]), (&json!(1), &json!(1)), "{changed}");
    world.sim.tenant(|tenant| {
        let name = tenant.user(&ids[13]).unwrap().user_principal_name.clone();
        tenant.user_mut(&ids[13]).mail = name;
        tenant.unassign(&group);
        ids[..11].iter().for_each(|id| tenant.unassign(id));
    });
    assert_eq!(sync(3)["held"], json!(11));
    world.run_program(&["approve", "--yes", "--expect", "11"], 0);
    assert_eq!(sync(0)["deactivated"], json!(11));
    world.run_program(&["pause"], 0);
    world.run_program(&["sync"], 1);
    world.run_program(&["resume"], 0);
    let last = |world: &World| world.run_program(&["status", "--json"], 0).json()["last_cycle"].clone();
    let before = last(world);
    world.run_program(&["provision", &ids[12]], 0);
    assert_eq!(last(world), before, "a run for one user is not the last cycle");
    world.run_program(&["plan"], 0);
    world.run_program(&["sync", "--dry-run"], 0);
    let status = world.run_program(&["status", "--json"], 0).json();
    assert_eq!((&status["state"], &status["learners"]["active"]), (&json!("ok"), &json!(4)), "{status}");
    assert!(world.run_program(&["log"], 0).stdout.contains("reactivate"));
    let (ok, detail, hint) = database_check(world, 0);
    assert!(ok && hint.is_empty(), "{detail} {hint}");
    let cycles = world.cycles().await.len();
    let daemon = world.daemon().await;
    world.cycles_ended(cycles + 1).await;
    daemon.stop().await;
}

#[tokio::test]
async fn the_writer_can_do_everything_a_daemon_does_and_nothing_else() {
    let Some(server) = shared() else { return };
    let setup = RoleSetup::applied(server, "").await;
    run_everything(&setup).await;
    for sql in [
        "DROP TABLE learners",
        "TRUNCATE learners CASCADE",
        "ALTER TABLE learners ADD COLUMN more text",
        "DELETE FROM learners",
        "DELETE FROM sync_state",
        "INSERT INTO sync_state (only_row, schema_version, generation) VALUES (1, 1, '')",
        "UPDATE provisioning_log SET detail = 'nothing'",
        "DELETE FROM audit_log",
        "SELECT * FROM audit_log",
        "CREATE TABLE another (id int)",
        "CREATE TABLE public.another (id int)",
    ] {
        setup.denied(sql).await;
    }
}

#[tokio::test]
async fn the_writer_can_access_only_the_configured_columns_of_an_external_table() {
    let Some(server) = shared() else { return };
    let setup = RoleSetup::applied(server, COLUMNS).await;
    run_everything(&setup).await;
    for sql in [
        "SELECT * FROM staff",
        "SELECT salary FROM staff",
        "SELECT login FROM staff WHERE company IS NULL",
        "SELECT tenant FROM staff",
        "UPDATE staff SET salary = 9",
        "UPDATE staff SET company = 'none'",
        "UPDATE staff SET uid = gen_random_uuid()",
        "UPDATE staff SET tenant = 'another'",
        "INSERT INTO staff (login, active, tenant, salary) VALUES ('x', true, 'y', 9)",
        "DELETE FROM staff",
        "TRUNCATE staff CASCADE",
        "ALTER TABLE staff DROP COLUMN salary",
    ] {
        setup.denied(sql).await;
    }
    setup.execute_as(&setup.writer, "SELECT login, \"E-mail\" FROM staff").await.unwrap();
}

#[tokio::test]
async fn the_printed_script_and_apply_create_the_same_tables() {
    let Some(server) = shared() else { return };
    for more in ["", COLUMNS] {
        let (applied, printed) = (RoleSetup::applied(server, more).await, RoleSetup::new(server, more).await);
        let print = ["schema", "print", "--writer", &printed.writer];
        let script = printed.as_owner(&print, 0).stdout;
        assert!(printed.run_script(&script).await, "{script}");
        assert_eq!(printed.catalog().await, applied.catalog().await, "{script}");
        let generations = [&printed, &applied].map(|setup| setup.world.value("SELECT generation FROM sync_state"));
        let [one, other] = generations;
        let (one, other) = (one.await, other.await);
        assert!(one.len() == 32 && one != other && u128::from_str_radix(&one, 16).is_ok(), "{one}");
        assert!(!printed.run_script(&script).await, "the script fails if the tables exist");
        assert_eq!(printed.world.value("SELECT generation FROM sync_state").await, one);
        printed.as_owner(&["schema", "apply", "--writer", &printed.writer], 0);
        assert_eq!(printed.catalog().await, applied.catalog().await);
        assert_eq!(printed.world.run_program(&["sync", "--json"], 0).json()["created"], json!(15));
    }
}

#[tokio::test]
async fn the_script_for_own_tables_needs_no_server() {
    let Some(server) = shared() else { return };
    let setup = RoleSetup::new(server, "").await;
    let away = [("LEARNER_SYNC_LEARNERS__DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere")];
    let script =
        setup.world.run_program_with(&away, &["schema", "print", "--writer", "O'Brien \"the\" clerk"], 0).stdout;
    assert!(script.contains("GRANT INSERT ON audit_log TO \"O'Brien \"\"the\"\" clerk\";"), "{script}");
    setup.world.execute("CREATE ROLE \"O'Brien \"\"the\"\" clerk\"").await;
    assert!(setup.run_script(&script).await, "{script}");
    setup.world.configure(COLUMNS);
    let stderr = setup.world.run_program_with(&away, &["schema", "print"], 1).stderr;
    assert!(stderr.contains("cannot connect to the learner database nowhere"), "{stderr}");
}

#[tokio::test]
async fn a_role_that_cannot_create_the_tables_reports_who_must() {
    let Some(server) = shared() else { return };
    let setup = RoleSetup::new(server, "").await;
    setup.world.execute(&format!("GRANT USAGE ON SCHEMA training TO {}", setup.writer)).await;
    everything_is_refused(
        &setup,
        &format!(
            "learner-sync: the learner database lacks the tables of learner-sync, and the role {} may not create any in the \
             schema training: their owner must run `learner-sync schema apply`\n",
            setup.writer
        ),
    );
    assert_eq!(
        setup.world.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'training'::regnamespace").await,
        "0"
    );

    setup.as_owner(&["schema", "apply", "--writer", &setup.writer], 0);
    assert_eq!(setup.world.run_program(&["sync", "--json"], 0).json()["created"], json!(15));
    setup
        .world
        .execute(
            "DROP FUNCTION sync_links_edited CASCADE;
             ALTER TABLE sync_state DROP COLUMN credential_looked_at, DROP COLUMN credential_ends_at, DROP COLUMN clock,
                 DROP COLUMN taken_over_sources, DROP COLUMN links_inspected;
             ALTER TABLE sync_links DROP COLUMN switched_off_at; ALTER TABLE sync_held DROP COLUMN change_reason;
             ALTER TABLE sync_failures DROP COLUMN cause, DROP COLUMN drift_fingerprint;
             ALTER TABLE sync_links DROP COLUMN spelling; ALTER TABLE provisioning_log DROP COLUMN approved_by,
                 DROP COLUMN request_id, DROP COLUMN phase;
             ALTER TABLE sync_cycles DROP COLUMN single_user, DROP COLUMN full_comparison, DROP COLUMN writer_id;
             DROP INDEX provisioning_log_user_name; DROP INDEX audit_log_action;
             DROP TABLE sync_daemons; DROP TABLE sync_schedule; DROP TABLE sync_notifications; UPDATE sync_state SET schema_version = 1",
        )
        .await;
    everything_is_refused(
        &setup,
        &format!(
            "learner-sync: the learner database has schema version 1, this learner-sync needs {}, and the role {} does not \
             own them: their owner must run `learner-sync schema apply`\n",
            Store::SCHEMA_VERSION,
            setup.writer
        ),
    );
    let script = setup.as_owner(&["schema", "print", "--from", "1"], 0).stdout;
    assert!(setup.run_script(&script).await, "{script}");
    assert_eq!(setup.world.run_program(&["sync", "--json"], 0).json()["unchanged"], json!(15));
}

/// Every command that needs the tables prints this message only.
fn everything_is_refused(setup: &RoleSetup, message: &str) {
    for arguments in [
        &["sync"][..],
        &["sync", "--dry-run"],
        &["plan"],
        &["status"],
        &["log"],
        &["approve"],
        &["pause"],
        &["provision", "somebody@harbourworks.example"],
        &["run"],
        &["schema", "apply"],
    ] {
        let ran = setup.world.run_program(arguments, 1);
        assert_eq!((ran.stderr.as_str(), ran.stdout.as_str()), (message, ""), "{arguments:?}");
    }
    let (ok, detail, _) = database_check(&setup.world, 1);
    assert!(!ok && message.ends_with(&format!("{detail}\n")), "{detail}");
}

#[tokio::test]
async fn check_names_each_revoked_privilege() {
    let Some(server) = shared() else { return };
    let rights = "SELECT DISTINCT 'TABLE', a.privilege_type, relname::text FROM pg_class, aclexplode(relacl) a
                      WHERE a.grantee = $::regrole
                  UNION SELECT 'COLUMN', a.privilege_type, format('%I.%I', relname, attname)
                      FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid, aclexplode(attacl) a
                      WHERE a.grantee = $::regrole";
    for (more, expected) in [("", 38), (COLUMNS, 35 + 10 + 11 + 9)] {
        let setup = RoleSetup::applied(server, more).await;
        let (world, writer) = (&setup.world, &setup.writer);
        let granted = world.query(&rights.replace('$', &format!("'{writer}'"))).await;
        assert_eq!(granted.len(), expected, "{granted:?}");
        for right in &granted {
            let [kind, right, of] = right.as_slice() else { panic!("{right:?}") };
            let (right, shown) = match (kind.as_str(), of.split_once('.')) {
                ("COLUMN", Some((table, column))) => {
                    let column = format!("\"{}\"", column.trim_matches('"'));
                    let on = |table: &str| format!("{right} ({column}) ON {table}");
                    (on(table), on(&format!("\"{table}\"")))
                }
                _ => (format!("{right} ON {of}"), format!("{right} ON {of}")),
            };
            world.execute(&format!("REVOKE {right} FROM {writer}")).await;
            let (ok, detail, hint) = database_check(world, 1);
            let wanted = format!("the owner of the tables must run: GRANT {shown} TO {writer}");
            assert!(!ok && (hint == wanted || detail.ends_with(&wanted)), "{right}: {detail}; {hint}");
            world.execute(&format!("GRANT {right} TO {writer}")).await;
        }
        assert!(database_check(world, 0).0);
        world.execute(&format!("REVOKE USAGE ON SCHEMA training FROM {writer}")).await;
        let (ok, detail, _) = database_check(world, 1);
        let wanted = format!("the owner of the tables must run: GRANT USAGE ON SCHEMA training TO {writer}");
        assert!(!ok && detail.ends_with(&wanted), "{detail}");
        assert!(world.run_program(&["sync"], 1).stderr.trim_end().ends_with(&wanted));
    }
}

#[tokio::test]
async fn apply_names_a_grant_it_may_not_make_and_creates_nothing() {
    let Some(server) = shared() else { return };
    let setup = RoleSetup::new(server, COLUMNS).await;
    let (owner, writer) = (&setup.owner, &setup.writer);
    let make = ["schema", "apply", "--writer", writer];
    // The platform owns its table; the owner of the other tables may only refer to it.
    let platform = format!("ALTER TABLE staff OWNER TO sync; GRANT REFERENCES, SELECT ON staff TO {owner}");
    setup.world.execute(&platform).await;
    let stderr = setup.as_owner(&make, 1).stderr;
    let statement = stderr.split("the owner of the tables must run: ").nth(1).unwrap_or_default().trim().to_owned();
    assert!(stderr.contains(&format!("the role {writer} lacks rights")), "{stderr}");
    assert!(statement.starts_with("GRANT ") && statement.ends_with(&format!(" ON \"staff\" TO {writer}")), "{stderr}");
    assert!(!statement.contains(';'), "only the external table is named: {stderr}");
    assert_eq!(setup.world.query("SELECT relname::text FROM pg_class WHERE relname LIKE 'sync%'").await.len(), 0);
    setup.world.execute(&statement).await;
    setup.as_owner(&make, 0);
    assert_eq!(setup.world.run_program(&["sync", "--json"], 0).json()["created"], json!(15));

    let stderr = setup.as_owner(&["schema", "apply", "--writer", "nobody_at_all"], 1).stderr;
    assert!(stderr.contains("role \"nobody_at_all\" does not exist"), "{stderr}");
}

#[tokio::test]
async fn missing_privileges_of_the_owner_on_an_external_table_are_shown_as_grants() {
    let Some(server) = shared() else { return };
    let setup = RoleSetup::new(server, COLUMNS).await;
    let owner = &setup.owner;
    let elsewhere = "CREATE SCHEMA app; ALTER TABLE staff SET SCHEMA app; ALTER TABLE app.staff OWNER TO sync;";
    setup.world.execute(elsewhere).await;
    setup.world.reconfigure(|text| text.replace("table = \"staff\"", "table = \"app.staff\""));
    for (obstacle, grant) in [
        ("lacks rights that a cycle needs", format!("GRANT USAGE ON SCHEMA app TO {owner}")),
        ("may not refer to the table app.staff by a foreign key", format!("GRANT REFERENCES ON app.staff TO {owner}")),
    ] {
        let stderr = setup.as_owner(&["schema", "apply"], 1).stderr;
        assert!(stderr.contains(obstacle) && stderr.contains(&grant), "{stderr}");
        setup.world.execute(&grant).await;
    }
    setup.as_owner(&["schema", "apply"], 0);
}

#[tokio::test]
async fn rows_hidden_by_a_policy_are_not_treated_as_deleted() {
    let Some(server) = shared() else { return };
    let setup = RoleSetup::applied(server, COLUMNS).await;
    let (world, owner) = (&setup.world, &setup.owner);
    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["created"], json!(15));
    setup.execute_as(owner, "ALTER TABLE staff ENABLE ROW LEVEL SECURITY").await.unwrap();
    let message = "15 linked rows of \"staff\" cannot be seen by the role";
    for arguments in [&["sync"][..], &["sync", "--full"], &["plan"]] {
        let ran = world.run_program(arguments, 1);
        assert!(ran.stderr.contains(message) || ran.stdout.contains(message), "{ran:?}");
    }
    let (ok, detail, hint) = database_check(world, 1);
    assert!(!ok && detail.contains(message), "{detail}");
    let policy = hint.strip_prefix("the owner of the table must run: ").unwrap();
    setup.execute_as(owner, policy).await.unwrap();
    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["unchanged"], json!(15));
    assert!(database_check(world, 0).0);

    // A policy that refuses single rows rejects only these users.
    let name = world.sim.tenant(|tenant| tenant.user(&setup.ids[3]).unwrap().user_principal_name.clone()).unwrap();
    let keep = format!("CREATE POLICY keep ON staff AS RESTRICTIVE USING (true) WITH CHECK (login <> '{name}')");
    setup.execute_as(owner, &keep).await.unwrap();
    world.sim.tenant(|tenant| {
        for id in &setup.ids[2..4] {
            tenant.user_mut(id).job_title = Some("Diver".to_owned());
        }
    });
    let ran = world.run_program(&["sync", "--json"], 3).json();
    assert_eq!((&ran["updated"], &ran["failed"]), (&json!(1), &json!(1)), "{ran}");
    let log = world.run_program(&["log"], 0).stdout;
    assert!(log.contains("a row-level security policy of the table refuses the row"), "{log}");
}

#[tokio::test]
async fn privileges_on_an_external_table_are_checked_before_own_tables_are_created() {
    let Some(server) = shared() else { return };
    let setup = RoleSetup::new(server, COLUMNS).await;
    let (world, owner, writer) = (&setup.world, &setup.owner, &setup.writer);
    let rights = format!(
        "GRANT USAGE, CREATE ON SCHEMA training TO {writer}; GRANT SELECT, REFERENCES, UPDATE ON staff TO {writer}"
    );
    setup.execute_as(owner, &rights).await.unwrap();
    for arguments in [&["plan"][..], &["sync", "--dry-run"], &["sync"]] {
        let ran = world.run_program(arguments, 1);
        assert!(ran.stderr.contains("GRANT INSERT (") && ran.stderr.contains("ON \"staff\""), "{ran:?}");
    }
    assert!(!database_check(world, 1).0);
    assert_eq!(world.query("SELECT relname::text FROM pg_class WHERE relname LIKE 'sync%'").await.len(), 0);
}
