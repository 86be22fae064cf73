//! Opening files: what is created, and what is refused.

use std::path::PathBuf;

use sqlx::{ConnectOptions as _, Connection as _};

use super::*;

fn file(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("deep/er/learners.db")
}

/// A database that another program created with `sql`.
async fn foreign(sql: &'static str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("foreign.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    (directory, path)
}

#[tokio::test]
async fn only_a_writer_creates_a_missing_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory);
    assert!(matches!(Store::open(&path, Access::ReadOnly).await, Err(StoreError::Missing { .. })));
    assert!(!path.exists());
    let generation = {
        let store = Store::open(&path, Access::ReadWrite).await.unwrap();
        assert_eq!(select(&store, "PRAGMA journal_mode").await, ["wal"]);
        assert_eq!(select(&store, "PRAGMA synchronous").await, ["2"]);
        fill(&store, 1).await;
        store.state().await.unwrap().generation
    };
    let again = Store::open(&path, Access::ReadWrite).await.unwrap();
    let reader = Store::open(&path, Access::ReadOnly).await.unwrap();
    assert_eq!(again.state().await.unwrap().generation, generation);
    assert_eq!(reader.linked_learners(SOURCE, None, &[]).await.unwrap().len(), 1);
    assert!(matches!(reader.set_paused(true, "root", noon()).await, Err(StoreError::Database(_))));
}

#[tokio::test]
async fn settings_for_many_learners_belong_to_one_connection() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory);
    let settings = async |store: &Store| {
        [select(store, "PRAGMA cache_size").await, select(store, "PRAGMA wal_autocheckpoint").await].concat()
    };
    let store = Store::open(&path, Access::ReadWrite).await.unwrap();
    let before = settings(&store).await;
    store.prepare_batches(1_000_000).await.unwrap();
    assert_eq!(settings(&store).await, ["-111111", "120000"]);
    store.close().await.unwrap();
    let store = Store::open(&path, Access::ReadWrite).await.unwrap();
    assert_eq!(settings(&store).await, before);
    store.prepare_batches(100_000).await.unwrap();
    assert_eq!(settings(&store).await, ["-16384", "30000"]);
}

#[tokio::test]
async fn unusable_paths_have_their_own_errors() {
    let directory = tempfile::tempdir().unwrap();
    let a_file = directory.path().join("file");
    std::fs::write(&a_file, "this is not a database, and longer than a header of SQLite. ".repeat(10)).unwrap();
    for path in [directory.path().to_path_buf(), a_file.join("learners.db")] {
        let error = Store::open(&path, Access::ReadWrite).await.unwrap_err();
        assert!(matches!(error, StoreError::CannotOpen { .. }), "{error:?}");
    }
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let error = Store::open(&a_file, access).await.unwrap_err();
        assert!(matches!(error, StoreError::NotADatabase { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_learners_table_of_another_form_is_refused_and_left_unchanged() {
    let (_directory, path) = foreign("CREATE TABLE learners (id INTEGER PRIMARY KEY, user_name TEXT, mail TEXT)").await;
    let before = std::fs::read(&path).unwrap();
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let StoreError::NotOurs { missing } = Store::open(&path, access).await.unwrap_err() else { panic!() };
        assert!(missing.contains(&"learners lacks the column email".to_owned()), "{missing:?}");
        assert_eq!(missing.len(), 17);
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_reader_recovers_a_transaction_that_a_kill_left() {
    let directory = tempfile::tempdir().unwrap();
    let [writing, killed] = ["writing.db", "killed.db"].map(|name| directory.path().join(name));
    let options = sqlx::sqlite::SqliteConnectOptions::new();
    let mut connection = options.clone().filename(&writing).create_if_missing(true).connect().await.unwrap();
    // More than the cache holds, so part of it reaches the file before the commit.
    let sql = "CREATE TABLE kept (name); INSERT INTO kept VALUES ('kept'); PRAGMA cache_size = 1; BEGIN;
               UPDATE kept SET name = 'half written';
               WITH n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 100)
               INSERT INTO kept SELECT hex(zeroblob(2000)) FROM n";
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    std::fs::copy(&writing, &killed).unwrap();
    std::fs::copy(directory.path().join("writing.db-journal"), directory.path().join("killed.db-journal")).unwrap();
    let mut reader = options.clone().filename(&killed).read_only(true).connect().await.unwrap();
    assert!(sqlx::query("SELECT * FROM kept").execute(&mut reader).await.is_err());

    // The recovered file is recognised as foreign.
    let error = Store::open(&killed, Access::ReadOnly).await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
    let kept: Vec<String> = sqlx::query_scalar("SELECT name FROM kept").fetch_all(&mut reader).await.unwrap();
    assert_eq!(kept, ["kept"]);
}

#[tokio::test]
async fn an_existing_learners_table_with_all_columns_is_used() {
    let sql = "CREATE TABLE learners (id INTEGER PRIMARY KEY, external_id, user_name TEXT, email TEXT, first_name,
                   last_name, title, employee_number, department, country, job_role, company, business_unit,
                   team_name, security_champion, active, created_at, updated_at, deactivated_at);
               INSERT INTO learners (user_name, active) VALUES ('Old', 1)";
    let (_directory, path) = foreign(sql).await;
    let store = Store::open(&path, Access::ReadWrite).await.unwrap();
    store.begin_cycle(SOURCE, Trigger::Command, noon()).await.unwrap();
    let refused = store
        .apply_now(&batch_of(&[create(user(1), "OLD"), create(user(2), "new")]), &write_context())
        .await
        .unwrap()
        .refused;
    assert_eq!(reasons(&refused), [(0, "another learner has the same user_name".to_owned())]);
    let rows = store.holders(&[], Attribute::UserName, &["old"], &[], &[]).await.unwrap();
    assert_eq!(rows.len(), 1);

    let (_directory, path) = foreign(Box::leak(sql.replace("VALUES", "VALUES ('old', 1),").into_boxed_str())).await;
    let StoreError::NotOurs { missing } = Store::open(&path, Access::ReadWrite).await.unwrap_err() else { panic!() };
    assert_eq!(missing, ["learners cannot be indexed: another learner has the same user_name"]);
}

#[tokio::test]
async fn a_database_of_another_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory);
    let store = Store::open(&path, Access::ReadWrite).await.unwrap();
    execute(&store, "UPDATE sync_state SET schema_version = 1000").await;
    drop(store);
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let error = Store::open(&path, access).await.unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 1000, supported: schema::VERSION }), "{error:?}");
    }
    let empty = directory.path().join("empty.db");
    std::fs::write(&empty, "").unwrap();
    let error = Store::open(&empty, Access::ReadOnly).await.unwrap_err();
    assert!(matches!(error, StoreError::Older { found: 0, .. }), "{error:?}");
}

#[tokio::test]
async fn a_rehearsal_waits_only_briefly_for_another_writer() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&file(&directory), Access::ReadWrite).await.unwrap();
    let other = Store::open(&file(&directory), Access::ReadWrite).await.unwrap();
    execute(&other, "BEGIN IMMEDIATE").await;
    let batch = [create(user(1), "ada")];
    assert!(matches!(
        store.rehearse(&batch_of(&batch), &write_context()).await,
        Err(StoreError::Database(DbError::Busy(_)))
    ));
    execute(&other, "ROLLBACK").await;
    assert_eq!(store.rehearse(&batch_of(&batch), &write_context()).await.unwrap(), []);
    assert_eq!(select(&store, "PRAGMA busy_timeout").await, ["30000"]);
}

#[tokio::test]
async fn a_damaged_sync_state_names_the_statement_that_repairs_it() {
    for damage in ["DELETE FROM sync_state", "UPDATE sync_state SET schema_version = 'x'"] {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory);
        let store = Store::open(&path, Access::ReadWrite).await.unwrap();
        fill(&store, 3).await;
        execute(&store, damage).await;
        store.close().await.unwrap();
        for access in [Access::ReadWrite, Access::ReadOnly] {
            let error = Store::open(&path, access).await.unwrap_err();
            let StoreError::StateDamaged { repair, .. } = &error else { panic!("{damage}: {error:?}") };
            assert!(error.hint().unwrap().contains(repair), "{damage}");
        }
        let Err(StoreError::StateDamaged { repair, .. }) = Store::open(&path, Access::ReadWrite).await else {
            panic!()
        };
        let statement = repair.split_once(';').unwrap().0;
        let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let store = Store::open(&path, Access::ReadWrite).await.unwrap();
        assert_eq!(store.state().await.unwrap().paused, damage.starts_with("DELETE"));
        assert_eq!(store.linked_learners(SOURCE, None, &[]).await.unwrap().len(), 3);
    }
}

#[tokio::test]
async fn the_highest_id_is_not_taken_for_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&file(&directory), Access::ReadWrite).await.unwrap();
    let last = store.begin_cycle(SOURCE, Trigger::Command, noon()).await.unwrap();
    let damage = format!("UPDATE sync_cycles SET id = {} WHERE id = {}", i64::MAX, last.0);
    execute(&store, damage.leak()).await;
    let error = store.begin_cycle(SOURCE, Trigger::Command, noon()).await.unwrap_err();
    let StoreError::IdsExhausted { table } = &error else { panic!("{error:?}") };
    assert_eq!(table, "sync_cycles");
    let hint: &'static str = error.hint().unwrap().leak();
    let (_, repair) = hint.split_once("run: ").unwrap();
    for statement in repair.split_terminator(';') {
        execute(&store, statement.trim()).await;
    }
    store.begin_cycle(SOURCE, Trigger::Command, noon()).await.unwrap();
}
