//! Servers: connections, refused databases, and the errors of both.

use sqlx::Connection as _;

use super::server::{GUARDED, OWNER, PASSWORD, Server as Machine, shared, signal};
use super::*;
use crate::model::chain;

async fn open(server: PostgresServer, access: Access) -> Result<Store, StoreError> {
    Store::open(DatabaseLocation::Server(server), access).await
}

async fn refused(server: PostgresServer, access: Access) -> StoreError {
    open(server, access).await.expect_err("the database must be refused")
}

/// The message and the hint.
fn message_and_hint(error: &StoreError) -> (String, String) {
    (chain(error), error.hint().unwrap_or_default())
}

#[tokio::test]
async fn a_session_has_its_own_limits() {
    let Some(machine) = shared() else { return };
    let store = Kind::Postgres(machine).empty_store().await;
    let limits = "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),
                      current_setting('client_min_messages'),
                      coalesce(current_setting('client_connection_check_interval', true), '10s'), -- none before 14
                      current_setting('TimeZone')";
    assert_eq!(select(&store, limits).await, ["108s|30s|error|10s|UTC"]);
}

#[tokio::test]
async fn only_a_writer_creates_tables() {
    let Some(machine) = shared() else { return };
    let database = machine.database().await;
    let error = refused(at(machine, &database), Access::ReadOnly).await;
    assert!(matches!(error, StoreError::Older { found: 0, .. }), "{error:?}");
    let store = open(at(machine, &database), Access::ReadWrite).await.unwrap();
    fill(&store, 1).await;
    let reader = open(at(machine, &database), Access::ReadOnly).await.unwrap();
    assert_eq!(reader.state().await.unwrap(), store.state().await.unwrap());
    assert_eq!(reader.linked_learners(SOURCE, None, &[]).await.unwrap().len(), 1);
    assert!(matches!(reader.set_paused(true, "root", noon()).await, Err(StoreError::Database(_))));
    execute(&store, "UPDATE sync_state SET schema_version = 1000").await;
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let error = refused(at(machine, &database), access).await;
        assert!(matches!(error, StoreError::Newer { found: 1000, supported: schema::VERSION }), "{error:?}");
    }
}

#[tokio::test]
async fn an_older_schema_is_migrated_and_two_first_openings_create_one() {
    let Some(machine) = shared() else { return };
    let database = machine.database().await;
    let (one, other) =
        tokio::join!(open(at(machine, &database), Access::ReadWrite), open(at(machine, &database), Access::ReadWrite));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.state().await.unwrap(), other.state().await.unwrap());
    execute(
        &one,
        "ALTER TABLE sync_state DROP COLUMN credential_looked_at; ALTER TABLE sync_state DROP COLUMN credential_ends_at;
         ALTER TABLE sync_links DROP COLUMN switched_off_at;
         ALTER TABLE sync_failures DROP COLUMN cause; ALTER TABLE sync_failures DROP COLUMN drift_fingerprint;
         ALTER TABLE provisioning_log DROP COLUMN approved_by, DROP COLUMN request_id, DROP COLUMN phase;
         ALTER TABLE sync_cycles DROP COLUMN single_user, DROP COLUMN full_comparison, DROP COLUMN writer_id;
         ALTER TABLE sync_state DROP COLUMN clock;
         ALTER TABLE sync_state DROP COLUMN taken_over_sources; ALTER TABLE sync_links DROP COLUMN spelling;
         DROP FUNCTION sync_links_edited CASCADE; ALTER TABLE sync_state DROP COLUMN links_inspected;
         DROP INDEX provisioning_log_user_name; DROP INDEX audit_log_action;
             ALTER TABLE sync_held DROP COLUMN change_reason; DROP TABLE sync_daemons; DROP TABLE sync_schedule; DROP TABLE sync_notifications; UPDATE sync_state SET schema_version = 1",
    )
    .await;
    drop(other);
    let error = refused(at(machine, &database), Access::ReadOnly).await;
    assert!(matches!(error, StoreError::Older { found: 1, .. }), "{error:?}");
    let again = open(at(machine, &database), Access::ReadWrite).await.unwrap();
    assert_eq!(select(&again, "SELECT schema_version FROM sync_state").await, [schema::VERSION.to_string()]);
}

#[tokio::test]
async fn links_without_their_learners_table_are_refused() {
    let Some(machine) = shared() else { return };
    let store = Kind::Postgres(machine).store_with(1).await;
    let database = select(&store, "SELECT current_database()::text").await.concat();
    // The ids of the new table may belong to other learners.
    execute(&store, "CREATE TABLE other (LIKE learners INCLUDING ALL); DROP TABLE learners CASCADE").await;
    execute(&store, "ALTER TABLE other RENAME TO learners").await;
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let (error, _) = message_and_hint(&refused(at(machine, &database), access).await);
        assert!(error.contains("sync_links has no foreign key to learners"), "{error}");
    }
}

#[tokio::test]
async fn a_foreign_database_is_refused_and_left_unchanged() {
    let Some(machine) = shared() else { return };
    let tables = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'r'
                      AND relnamespace = 'public'::regnamespace";
    for (sql, left, expect) in [
        ("CREATE TABLE orders (id int)", "orders", "it contains the table orders, and no table learners"),
        ("CREATE TABLE learners (id bigint, user_name text)", "learners", "learners lacks the column external_id"),
        ("CREATE TABLE sync_state (id int)", "sync_state", "sync_state lacks a schema version"),
    ] {
        let database = machine.database().await;
        machine.execute(&database, sql).await;
        for access in [Access::ReadWrite, Access::ReadOnly] {
            let (error, _) = message_and_hint(&refused(at(machine, &database), access).await);
            assert!(error.contains(expect), "{error}");
        }
        let mut connection = machine.connect(&database).await;
        let found: String = sqlx::query_scalar(tables).fetch_one(&mut connection).await.unwrap();
        assert_eq!(found, left);
    }
}

/// A learners table as a training platform may create it.
const PLATFORM: &str = "CREATE TABLE learners (id serial PRIMARY KEY, external_id varchar(64), user_name varchar(20)
        NOT NULL, email varchar(200) UNIQUE, first_name text, last_name text, title text, employee_number text,
        department text, country text, job_role text, company text, business_unit text, team_name text,
        security_champion boolean, active boolean DEFAULT true, created_at timestamp DEFAULT now(),
        updated_at timestamp DEFAULT now(), deactivated_at timestamp);
    INSERT INTO learners (user_name, email) VALUES ('Old', 'Old@example.org')";

#[tokio::test]
async fn the_platforms_learners_table_is_used() {
    let Some(machine) = shared() else { return };
    let database = machine.database().await;
    machine.execute(&database, PLATFORM).await;
    let copy = Store::copy_in_memory(DatabaseLocation::Server(at(machine, &database))).await.unwrap();
    assert_eq!(select(&copy, "SELECT id, user_name, active, deactivated_at FROM learners").await, ["1|Old|1|-"]);
    assert!(!copy.state().await.unwrap().paused);

    let store = open(at(machine, &database), Access::ReadWrite).await.unwrap();
    store.begin_cycle(SOURCE, Trigger::Command, noon()).await.unwrap();
    let batch = [create(user(1), "OLD"), create(user(2), "new"), create(user(3), "longer than its column")];
    let applied = store.apply_now(&batch_of(&batch), &write_context()).await.unwrap();
    let why = ["another learner has the same user_name", "a value is longer than its column allows"];
    assert_eq!(reasons(&applied.refused), [(0, why[0].to_owned()), (2, why[1].to_owned())]);
    let rows = store.holders(&[], Attribute::UserName, &["old"], &[], &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    let learner = &applied.learners[0].1;
    assert_eq!(
        store.learner(&learner.to_string(), &[]).await.unwrap().1.unwrap().external_id,
        Some(user(2).to_string())
    );
    assert!(store.linked_learners(SOURCE, None, &[Attribute::Title]).await.unwrap()[&user(2)].active);
}

#[tokio::test]
async fn unusable_learners_tables_are_refused() {
    let Some(machine) = shared() else { return };
    for (change, expect) in [
        ("INSERT INTO learners (user_name) VALUES ('old')", "another learner has the same user_name"),
        (
            "ALTER TABLE learners ALTER external_id TYPE uuid USING NULL",
            "the column external_id of learners is of type uuid",
        ),
        (
            "ALTER TABLE learners ALTER active DROP DEFAULT, ALTER active TYPE int USING 1",
            "active of learners is of type int4",
        ),
        ("ALTER TABLE learners DROP CONSTRAINT learners_pkey", "no unique constraint matching given keys"),
    ] {
        let database = machine.database().await;
        machine.execute(&database, PLATFORM).await;
        machine.execute(&database, change).await;
        let error = refused(at(machine, &database), Access::ReadWrite).await;
        let StoreError::NotOurs { missing } = error else { panic!("{error:?}") };
        assert!(missing.concat().contains(expect), "{missing:?}");
    }
}

#[tokio::test]
async fn the_server_ends_the_session_of_an_unreachable_or_stopped_process() {
    let Some(machine) = Machine::start_on_the_network(|_| Vec::new()) else { return };
    let database = machine.database().await;
    let url = format!("postgres://{OWNER}@127.0.0.1:{}/{database}", machine.port());
    let store = open(PostgresServer { url, ..at(machine, &database) }, Access::ReadWrite).await.unwrap();
    let limits = "SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('tcp_user_timeout'),
                      current_setting('tcp_keepalives_idle'), current_setting('tcp_keepalives_interval'),
                      current_setting('tcp_keepalives_count')";
    assert_eq!(select(&store, limits).await, ["20s|120000|60|10|6"]);
    let has_limit = machine.connect(&database).await.server_version_num().unwrap() >= 140_000;
    let silence = "SELECT coalesce(current_setting('idle_session_timeout', true), 'none')";
    let silence = async || select(&store, silence).await.concat();
    assert_eq!(silence().await, if has_limit { "0" } else { "none" });
    assert_eq!(store.take_cycle_lock("learner-sync run").await.unwrap(), None);
    assert_eq!(silence().await, if has_limit { "5min" } else { "none" });
}

#[tokio::test]
async fn a_refused_connection_says_why_and_what_to_do() {
    let Some(machine) = shared() else { return };
    let database = machine.database().await;
    let role = format!("CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE unwelcome LOGIN");
    // Before PostgreSQL 15 every role may create tables there.
    machine.execute(&database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    // Another test may have created them.
    let mut connection = machine.connect(&database).await;
    let _ = sqlx::raw_sql(sqlx::AssertSqlSafe(role)).execute(&mut connection).await;
    connection.close().await.unwrap();

    let as_user = |user: &str, database: &str, password: Option<&str>| PostgresServer {
        url_place: "learner-sync.toml:9:16".to_owned(),
        url: machine.url(user, database),
        password: password.map(|password| SecretSource::Fixed(password.into())),
        response_timeout: PostgresServer::RESPONSE_TIMEOUT,
    };
    let unreachable =
        PostgresServer { url: "postgres://sync@localhost/learners?host=/nowhere".to_owned(), ..at(machine, &database) };
    let unknown =
        PostgresServer { url: "postgres://sync@no-such-host.invalid/learners".to_owned(), ..at(machine, &database) };
    let refusing = PostgresServer { url: "postgres://sync@127.0.0.1:9/learners".to_owned(), ..at(machine, &database) };
    for (server, why, what) in [
        (as_user(GUARDED, &database, Some("wrong horse")), "password authentication failed", "learners.password_file"),
        (as_user("unwelcome", &database, None), "pg_hba.conf rejects", "pg_hba.conf"),
        (as_user(OWNER, "no_such_database", None), r#""no_such_database" does not exist"#, "createdb"),
        (as_user(GUARDED, &database, Some(PASSWORD)), "must run `learner-sync schema apply`", ""),
        (unreachable, "/nowhere", "is the server running"),
        (refusing, "127.0.0.1:9", "is the server running"),
        (unknown, "no-such-host.invalid", "host and port"),
    ] {
        let (error, hint) = message_and_hint(&refused(server, Access::ReadWrite).await);
        assert!(error.contains(why), "{error}");
        assert!(hint.contains(what), "{error}: {hint}");
        assert!(!error.contains("horse") && !error.contains('\n'), "{error}");
    }

    // The file is read for each connection.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    let password = Some(SecretSource::File(file.clone()));
    let server = PostgresServer { password, ..as_user(GUARDED, &database, None) };
    for (content, why) in [
        (None, "cannot read"),
        (Some("wrong horse\n".to_owned()), "password authentication failed"),
        (Some(format!("\u{feff}{PASSWORD}\r\n")), "must run `learner-sync schema apply`"),
        (Some("two\nhorses".to_owned()), "has more than one line"),
    ] {
        let _ = content.map(|content| std::fs::write(&file, content).unwrap());
        let (error, _) = message_and_hint(&refused(server.clone(), Access::ReadWrite).await);
        assert!(error.contains(why) && !error.contains("horse"), "{error}");
    }
}

#[tokio::test]
async fn missing_rights_on_a_table_are_named() {
    let Some(machine) = shared() else { return };
    let store = Kind::Postgres(machine).store_with(1).await;
    execute(&store, "CREATE ROLE reader; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader; SET ROLE reader").await;
    let (error, hint) =
        message_and_hint(&store.apply_now(&batch_of(&[create(user(2), "two")]), &write_context()).await.unwrap_err());
    assert!(error.contains("permission denied for table sync_state"), "{error}");
    assert!(hint.contains("grant this role"), "{hint}");
    execute(&store, "RESET ROLE; DROP OWNED BY reader; DROP ROLE reader").await;
}

#[tokio::test]
async fn errors_contain_no_values() {
    let Some(machine) = shared() else { return };
    let store = Kind::Postgres(machine).store_with(1).await;
    execute(
        &store,
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE WARNING ''%'', NEW.user_name; RAISE EXCEPTION ''no % here'', NEW.user_name; END';
         CREATE TRIGGER tell BEFORE INSERT ON learners FOR EACH ROW EXECUTE FUNCTION tell()",
    )
    .await;
    let refused =
        store.apply_now(&batch_of(&[create(user(2), "ada@example.org")]), &write_context()).await.unwrap().refused;
    assert_eq!(reasons(&refused), [(0, "the database refuses the row (SQLSTATE P0001)".to_owned())]);
    execute(&store, "CREATE TRIGGER tell BEFORE INSERT ON sync_failures FOR EACH ROW EXECUTE FUNCTION tell()").await;
    execute(&store, "ALTER TABLE sync_failures ADD user_name text DEFAULT 'ada@example.org'").await;
    let error =
        store.record_refused_now(&[left(3, LeftAs::Failed, Reason::Conflict)], &write_context()).await.unwrap_err();
    assert_eq!(chain(&error), "the learner database refused a statement: SQLSTATE P0001");
}

#[tokio::test]
async fn a_deferred_constraint_names_the_violating_row() {
    let Some(machine) = shared() else { return };
    let store = Kind::Postgres(machine).store_with(2).await;
    execute(
        &store,
        "UPDATE learners SET employee_number = id;
         ALTER TABLE learners ADD CONSTRAINT learners_employee_number_key UNIQUE (employee_number)
             DEFERRABLE INITIALLY DEFERRED",
    )
    .await;
    let number =
        |number: u32, new| update(user(number), number.into(), &[(Attribute::EmployeeNumber, None, Some(new))]);
    let batch = [number(1, "7"), number(2, "7"), create(user(3), "three")];
    let expected = [(1, "another learner has the same employee_number".to_owned())];
    assert_eq!(reasons(&store.rehearse(&batch_of(&batch), &write_context()).await.unwrap()), expected);
    assert_eq!(reasons(&store.apply_now(&batch_of(&batch), &write_context()).await.unwrap().refused), expected);
}

#[tokio::test]
async fn a_rehearsal_waits_only_briefly_for_another_writer() {
    let Some(machine) = shared() else { return };
    let database = machine.database().await;
    let store = open(at(machine, &database), Access::ReadWrite).await.unwrap();
    let other = open(at(machine, &database), Access::ReadWrite).await.unwrap();
    execute(&other, "BEGIN; SELECT 1 FROM sync_state FOR UPDATE").await;
    let batch = [create(user(1), "ada")];
    assert!(matches!(
        store.rehearse(&batch_of(&batch), &write_context()).await,
        Err(StoreError::Database(DbError::Busy(_)))
    ));
    execute(&other, "ROLLBACK").await;
    assert_eq!(store.rehearse(&batch_of(&batch), &write_context()).await.unwrap(), []);
    assert_eq!(select(&store, "SELECT current_setting('lock_timeout')").await, ["30s"]);
}

#[tokio::test]
async fn the_cycle_lock_lasts_until_its_connection_ends() {
    let Some(machine) = shared() else { return };
    let database = machine.database().await;
    let store = open(at(machine, &database), Access::ReadWrite).await.unwrap();
    let other = open(at(machine, &database), Access::ReadWrite).await.unwrap();
    assert_eq!(other.cycle_holder().await.unwrap(), None);
    assert_eq!(store.take_cycle_lock("learner-sync run").await.unwrap(), None);
    for holder in [other.take_cycle_lock("learner-sync sync").await, other.cycle_holder().await] {
        let holder = holder.unwrap().unwrap().to_string();
        let expected = format!("learner-sync run (pid {}) on ", std::process::id());
        assert!(holder.starts_with(&expected) && holder.len() > expected.len(), "{holder}");
    }
    // The lock does not affect other databases, or other schemas of this one.
    let elsewhere = Kind::Postgres(machine).empty_store().await;
    assert_eq!(elsewhere.take_cycle_lock("learner-sync sync").await.unwrap(), None);

    let ended = store.close().await;
    ended.unwrap();
    // The server notices the end after a while. It may do so between the refusal and the question who holds the lock.
    while let Some(holder) = other.take_cycle_lock("learner-sync sync").await.unwrap() {
        assert!(holder.command.starts_with("learner-sync run") || holder.command == "another process", "{holder}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn only_a_session_that_has_long_been_silent_is_ended() {
    let Some(machine) = shared() else { return };
    let database = machine.database().await;
    let store = open(at(machine, &database), Access::ReadWrite).await.unwrap();
    let other = open(at(machine, &database), Access::ReadWrite).await.unwrap();
    assert_eq!(store.take_cycle_lock("learner-sync run").await.unwrap(), None);
    let (pid, host) = (std::process::id(), crate::store::host_name());
    let row = format!(
        "INSERT INTO sync_daemons (source, host, state_directory, pid, version, rules_hash, started_at, seen_at)
         VALUES ('a/b', '{host}', '/state', {pid}, '1', 'x', now(), now() - interval '1 hour')"
    );
    machine.execute(&database, &row).await;
    // The daemon has just connected again, and gives its next sign of life soon.
    assert_eq!(other.release_abandoned_lock().await.unwrap(), []);
    // Each daemon says how long it may be silent.
    machine
        .execute(&database, "UPDATE sync_daemons SET overdue_after_ms = 0, seen_at = now() + interval '1 hour'")
        .await;
    assert_eq!(other.release_abandoned_lock().await.unwrap(), []);
    machine.execute(&database, "UPDATE sync_daemons SET overdue_after_ms = 7200000, seen_at = now()").await;
    assert_eq!(other.release_abandoned_lock().await.unwrap(), []);
    assert!(other.cycle_holder().await.unwrap().is_some());
    machine.execute(&database, "UPDATE sync_daemons SET overdue_after_ms = 0").await;
    assert_eq!(other.release_abandoned_lock().await.unwrap(), [(host, i64::from(pid))]);
}

#[tokio::test]
async fn a_daemon_lives_while_it_was_seen_as_lately_as_it_promised() {
    let Some(machine) = shared() else { return };
    let database = machine.database().await;
    let store = open(at(machine, &database), Access::ReadWrite).await.unwrap();
    for (seen, overdue_after, alive) in [
        ("- interval '30 s'", 60, true),
        ("- interval '90 s'", 60, false),
        ("- interval '90 s'", 120, true),
        ("- interval '30 s'", 20, false),
        ("+ interval '1 hour'", 60, false),
    ] {
        let row = format!(
            "DELETE FROM sync_daemons; INSERT INTO sync_daemons
             VALUES ('a/b', 'one', '/state', 7, '1', 'x', now(), now() {seen}, {overdue_after} * 1000)"
        );
        machine.execute(&database, &row).await;
        let daemons = store.daemons("a/b").await.unwrap();
        assert_eq!(daemons[0].is_alive, Some(alive), "{seen}");
    }
}

#[tokio::test]
async fn a_broken_connection_loses_its_lock_and_its_transaction() {
    let Some(machine) = shared() else { return };
    let database = machine.database().await;
    let store = open(at(machine, &database), Access::ReadWrite).await.unwrap();
    fill(&store, 2).await;
    assert_eq!(store.take_cycle_lock("learner-sync run").await.unwrap(), None);
    let pid = select(&store, "SELECT pg_backend_pid()").await.concat();
    // Before PostgreSQL 14 it does not wait by itself.
    let end = format!(
        "DO $$ BEGIN PERFORM pg_terminate_backend({pid});
             WHILE EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = {pid}) LOOP PERFORM pg_stat_clear_snapshot(); END LOOP;
         END $$"
    );
    machine.execute(&database, &end).await;
    let error = store.apply_now(&batch_of(&[create(user(3), "three")]), &write_context()).await.unwrap_err();
    assert!(matches!(error, StoreError::Database(DbError::Lost(_))), "{error:?}");
    assert!(matches!(store.state().await, Err(StoreError::Database(DbError::Lost(_)))));
    let again = open(at(machine, &database), Access::ReadWrite).await.unwrap();
    assert_eq!(again.take_cycle_lock("learner-sync run").await.unwrap(), None);
    assert_eq!(select(&again, "SELECT count(*) FROM learners").await, ["2"]);
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let Some(machine) = Machine::start() else { return };
    let database = machine.database().await;
    let patient = PostgresServer { response_timeout: std::time::Duration::from_secs(1), ..at(machine, &database) };
    let store = open(patient, Access::ReadWrite).await.unwrap();
    fill(&store, 1).await;
    let pid = select(&store, "SELECT pg_backend_pid()").await.concat();
    signal("-STOP", &pid);
    let error = store.apply_now(&batch_of(&[create(user(2), "two")]), &write_context()).await.unwrap_err();
    signal("-CONT", &pid);
    let (error, hint) = message_and_hint(&error);
    assert!(error.contains("has not answered for 1 s"), "{error}");
    assert!(hint.contains("nothing is lost"), "{hint}");
}

#[tokio::test]
async fn a_slow_statement_is_cancelled_and_the_store_stays_usable() {
    let Some(machine) = shared() else { return };
    let store = Kind::Postgres(machine).store_with(1).await;
    execute(
        &store,
        "CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NEW.user_name = ''slow'' THEN PERFORM pg_sleep(60); END IF; RETURN NEW; END';
         CREATE TRIGGER sleep BEFORE INSERT ON learners FOR EACH ROW EXECUTE FUNCTION sleep();
         SET statement_timeout = 100",
    )
    .await;
    let error = store
        .apply_now(&batch_of(&[create(user(2), "two"), create(user(3), "slow")]), &write_context())
        .await
        .unwrap_err();
    let (error, hint) = message_and_hint(&error);
    assert!(error.contains("statement timeout") && hint.contains("overloaded"), "{error}: {hint}");
    assert_eq!(select(&store, "SELECT count(*) FROM learners").await, ["1"]);
    assert_eq!(
        store.apply_now(&batch_of(&[create(user(2), "two")]), &write_context()).await.unwrap().learners.len(),
        1
    );
}
