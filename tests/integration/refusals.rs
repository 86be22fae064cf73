//! Files and databases that learner-sync did not create are refused and left unchanged.

use std::collections::{BTreeMap, BTreeSet};

use learner_sync::model::Generation;
use learner_sync::runtime::Paths;
use learner_sync::store::DatabaseState;
use serde_json::Value;

use crate::machine::{Mount, Unprivileged};
use crate::program::{NO_FILES, Ran, users};
use crate::world::World;

/// The commands that write to the learner database.
const WRITING: [&[&str]; 6] = [&["sync"], &["sync", "--full"], &["run"], &["pause"], &["resume"], &["approve"]];
/// The commands that run cycles. They need a lock and the state directory.
const RUNNING: [&[&str]; 3] = [&["sync"], &["sync", "--full"], &["run"]];
/// The commands that only read it.
const READING: [&[&str]; 4] = [&["plan"], &["sync", "--dry-run"], &["status"], &["log"]];

/// Each of the commands exits 78, prints all of `expected`, and changes no file.
#[track_caller]
fn expect_refused(world: &World, commands: &[&[&str]], expected: &[&str]) {
    expect_refused_by(world, commands, expected, |arguments, code| world.run_program(arguments, code));
}

/// The commands fail, and a later attempt may succeed without another configuration.
#[track_caller]
fn expect_failed(world: &World, commands: &[&[&str]], expected: &[&str]) {
    expect_refused_by(world, commands, expected, |arguments, _| world.run_program(arguments, 1));
}

#[track_caller]
fn expect_refused_by(world: &World, commands: &[&[&str]], expected: &[&str], run: impl Fn(&[&str], i32) -> Ran) {
    let before = world.files();
    for arguments in commands {
        let ran = run(arguments, 78);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(expected.iter().all(|words| ran.stderr.contains(words)), "{arguments:?}: {ran:?}");
        assert_eq!(world.changed_since(&before), NO_FILES, "{arguments:?}");
    }
}

/// `check` prints all of `expected` in its line `name`.
#[track_caller]
fn expect_in_check(world: &World, name: &str, expected: &[&str]) {
    expect_in_check_by(world, name, expected, |arguments, code| world.run_program(arguments, code));
}

#[track_caller]
fn expect_in_check_by(world: &World, name: &str, expected: &[&str], run: impl Fn(&[&str], i32) -> Ran) {
    let before = world.files();
    let document = run(&["check", "--json"], 1).json();
    let line = document["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
    assert_eq!(line["ok"], Value::Bool(false), "{document}");
    let line_text = format!("{}; {}", line["detail"].as_str().unwrap(), line["hint"].as_str().unwrap_or_default());
    assert!(expected.iter().all(|words| line_text.contains(words)), "{line_text}");
    let mut changed = world.changed_since(&before);
    if name != "database" || line_text.contains("daemon-") {
        // The database was opened: SQLite creates its index file even for a reader.
        changed.retain(|name| !name.ends_with("-shm") && !name.ends_with("-wal"));
    }
    assert_eq!(changed, NO_FILES);
}

/// A world before its first cycle, with a database that another program created with `sql`.
async fn world_with(sql: &str) -> World {
    let world = World::start(users(2).0).await;
    std::fs::write(world.path("learners.db"), "").unwrap();
    world.execute(sql).await;
    world
}

const MOODLE: &str =
    "CREATE TABLE mdl_user (id INTEGER PRIMARY KEY, username TEXT); CREATE TABLE mdl_course (id, name);
    CREATE TABLE mdl_grade (id, grade); CREATE TABLE mdl_forum (id); CREATE TABLE mdl_quiz (id); CREATE TABLE
    mdl_role (id); INSERT INTO mdl_user (username) VALUES ('ada')";

#[tokio::test]
async fn the_database_of_another_program_is_refused_by_every_command() {
    for sql in [MOODLE.to_owned(), format!("PRAGMA journal_mode = WAL; {MOODLE}")] {
        let world = world_with(&sql).await;
        let expected = ["mdl_course", "mdl_forum", "1 more", "learners.db", "learners.database_url"];
        expect_refused(&world, &WRITING, &expected);
        expect_refused(&world, &READING, &expected);
        expect_in_check(&world, "database", &expected);
    }
}

#[tokio::test]
async fn an_empty_file_and_other_tables_beside_learners_are_accepted() {
    for sql in ["", "PRAGMA user_version = 7", "PRAGMA journal_mode = WAL"] {
        let world = world_with(sql).await;
        world.run_program(&["plan"], 0);
        world.run_program(&["sync"], 0);
        assert_eq!(world.value("SELECT count(*) FROM learners").await, "2");
    }
    let world = world_with(MOODLE).await;
    world
        .execute(
            "CREATE TABLE learners (id INTEGER PRIMARY KEY, external_id, user_name TEXT, email TEXT, first_name,
                 last_name, title, employee_number, department, country, job_role, company, business_unit,
                 team_name, security_champion, active, created_at, updated_at, deactivated_at)",
        )
        .await;
    world.run_program(&["sync"], 0);
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "2");
    assert_eq!(world.value("SELECT username FROM mdl_user").await, "ada");
}

#[tokio::test]
async fn a_learners_table_with_missing_columns_is_refused_and_they_are_named() {
    let world =
        world_with("CREATE TABLE learners (id INTEGER PRIMARY KEY, user_name TEXT, email TEXT, name TEXT)").await;
    let missing = [
        "external_id",
        "first_name",
        "last_name",
        "title",
        "employee_number",
        "department",
        "country",
        "job_role",
        "company",
        "business_unit",
        "team_name",
        "security_champion",
        "active",
        "created_at",
        "updated_at",
        "deactivated_at",
    ];
    let mut expected = missing.map(|column| format!("learners lacks the column {column}")).to_vec();
    expected.push("learners.database_url".to_owned());
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    expect_refused(&world, &WRITING, &expected);
    expect_refused(&world, &READING, &expected);
    expect_in_check(&world, "database", &expected);
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_refused_and_unchanged() {
    let diary = World::start(users(1).0).await;
    std::fs::write(diary.path("learners.db"), "Dear diary, today I was taken for a database.".repeat(100)).unwrap();
    let directory = World::start(users(1).0).await;
    std::fs::create_dir(directory.path("learners.db")).unwrap();
    for (world, why) in [(diary, "is not an SQLite database"), (directory, "it is a directory")] {
        let database = world.path("learners.db").display().to_string();
        expect_refused(&world, &WRITING, &[&database, why]);
        expect_refused(&world, &READING, &[&database, why]);
        expect_in_check(&world, "database", &[&database, why]);
    }
}

#[tokio::test]
async fn a_named_pipe_is_refused_at_once() {
    let world = World::start(users(1).0).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let pipe = elsewhere.path().join("learners.db");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    let environment = [("LEARNER_SYNC_LEARNERS__DATABASE_URL", &*format!("sqlite://{}", pipe.display()))];
    let before = world.files();
    for arguments in WRITING.iter().chain(&READING) {
        let ran = world.run_program_with(&environment, arguments, 78);
        assert!(ran.stderr.contains("it is a FIFO, not a regular file"), "{arguments:?}: {ran:?}");
    }
    assert_eq!(world.changed_since(&before), NO_FILES);
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_file_instead_of_the_state_directory_is_refused() {
    let world = World::start(users(1).0).await;
    std::fs::write(world.path("state"), "a list of the states").unwrap();
    let expected = ["state.directory", &*world.path("state").display().to_string(), "it is not a directory"];
    expect_refused(&world, &RUNNING, &expected);
    expect_in_check(&world, "state", &expected);
}

/// The file name of the lock of a daemon, beside the database.
pub(crate) fn daemon_lock(world: &World) -> String {
    let state = DatabaseState {
        taken_over_sources: BTreeSet::new(),
        generation: Generation(0),
        paused: false,
        admitted_sources: BTreeSet::new(),
        applications: BTreeMap::new(),
        credential: None,
        clock: None,
        links_inspected: false,
    };
    let paths = Paths::new(&world.app().config).source_locks(&world.app().config, &state);
    paths.first().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
}

fn allow(world: &World, name: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(world.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn paths_that_the_service_user_cannot_write_are_refused_and_named() {
    let world = World::start(users(2).0).await;
    let daemon_lock = daemon_lock(&world);
    // The path, its mode without and with write permission, the line of `check`, the refusing commands and the message.
    type Commands = &'static [&'static [&'static str]];
    let cases: [(&str, u32, u32, &str, Commands, &str); 6] = [
        ("learners.db", 0o444, 0o640, "database", &WRITING, "learners.db: cannot write to the file"),
        ("", 0o555, 0o755, "database", &WRITING, "learners.db: cannot write to the directory"),
        ("learners.db.lock", 0o444, 0o640, "database", &RUNNING, "cannot use the lock file"),
        (&daemon_lock, 0o444, 0o640, "database", &[&["run"]], "cannot use the lock file"),
        ("state", 0o555, 0o755, "state", &RUNNING, "state: cannot write to the directory"),
        ("state/learner-sync.pid", 0o444, 0o640, "state", &RUNNING, "learner-sync.pid: cannot write"),
    ];
    std::fs::write(world.path(&daemon_lock), "").unwrap();
    std::fs::create_dir(world.path("state")).unwrap();
    std::fs::write(world.path("state/learner-sync.pid"), "").unwrap();
    let Some(user) = Unprivileged::owning(&world) else {
        return println!("skipped: there is no other user to run the program as");
    };
    let run = |arguments: &[&str], code| user.run(&world, arguments, code);
    run(&["sync"], 0);
    for (name, mode, before, check, commands, why) in cases {
        allow(&world, name, mode);
        let expected = [why, "Permission denied", "the service user must"];
        expect_refused_by(&world, commands, &expected, run);
        expect_in_check_by(&world, check, &expected, run);
        allow(&world, name, before);
    }
    run(&["check"], 0);
    run(&["sync"], 0);
    assert_eq!(world.cycles().await, ["command success", "command success"]);
}

#[tokio::test]
async fn a_read_only_file_system_is_named_even_for_root() {
    let world = World::start(users(2).0).await;
    std::fs::create_dir(world.path("disk")).unwrap();
    world.reconfigure(|text| text.replace("/learners.db", "/disk/learners.db"));
    world.run_program(&["sync"], 0);
    let Some(mount) = Mount::read_only(&world.path("disk")) else {
        return println!("skipped: nothing can be mounted here");
    };
    let advice = format!("[Service] and ReadWritePaths={}", world.path("disk").display());
    let expected = ["disk/learners.db", "Read-only file system", &advice];
    expect_failed(&world, &WRITING, &expected);
    expect_in_check(&world, "database", &expected);
    drop(mount);
    world.run_program(&["sync"], 0);

    std::fs::create_dir_all(world.path("disk/deep")).unwrap();
    world.reconfigure(|text| {
        text.replace("/state\"", "/disk/deep/state\"").replace("/disk/learners.db", "/learners.db")
    });
    world.run_program(&["sync"], 0);
    let Some(mount) = Mount::read_only(&world.path("disk")) else {
        return println!("skipped: nothing can be mounted here");
    };
    let advice = format!("[Service] and ReadWritePaths={}", world.path("disk/deep/state").display());
    let expected = ["state.directory", "Read-only file system", &advice];
    expect_failed(&world, &RUNNING, &expected);
    expect_in_check(&world, "state", &expected);
    drop(mount);
    world.run_program(&["sync"], 0);
}

#[tokio::test]
async fn other_files_in_the_directory_of_the_cache_are_refused() {
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
    // The names of sled, but not its file types.
    for name in ["photos", "db", "conf"] {
        std::fs::create_dir_all(world.path("state/cache").join(name)).unwrap();
    }
    std::fs::write(world.path("state/cache/blobs"), "a list").unwrap();
    let expected = [
        &*world.path("state/cache").display().to_string(),
        "files that learner-sync did not create",
        "move these files",
    ];
    expect_refused(&world, &RUNNING, &expected);
    expect_in_check(&world, "state", &expected);
    assert_eq!(world.cycles().await, ["command success"]);
    // An empty directory is accepted.
    for entry in std::fs::read_dir(world.path("state/cache")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { std::fs::remove_dir(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
    world.run_program(&["sync"], 0);
    world.run_program(&["sync"], 0);
    assert_eq!(caches(&world), ["cache"]);
}

/// Marks the cache as one of another layout version.
fn relabel(world: &World, layout: u32, more: &str) {
    let content = format!("learner-sync cache, layout {layout}{more}");
    let text = format!("{content}\n{}\n", blake3::hash(content.as_bytes()).to_hex());
    std::fs::write(world.path("state/cache/layout"), text).unwrap();
}

/// The file names in the state directory, without locks.
fn caches(world: &World) -> Vec<String> {
    let names = std::fs::read_dir(world.path("state")).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.filter(|name| name != "used-databases.json");
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name != "learner-sync.pid" && name != "cycle.lock");
    names.sort();
    names
}

#[tokio::test]
async fn the_cache_of_a_newer_learner_sync_is_refused_before_a_cycle_begins() {
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    relabel(&world, 99, "\nand something that came with it");
    let expected =
        [&*world.path("state/cache").display().to_string(), "has layout 99", "install that version, or remove"];
    expect_refused(&world, &RUNNING, &expected);
    expect_in_check(&world, "state", &expected);
    assert_eq!(world.cycles().await, ["command success"]);
    // Commands without the cache work.
    for arguments in [&["status"][..], &["log"], &["plan"], &["pause"], &["resume"]] {
        world.run_program(arguments, 0);
    }
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
    world.run_program(&["sync"], 0);
}

#[tokio::test]
async fn a_daemon_does_not_write_a_cache_that_became_newer() {
    let world = World::start(users(1).0).await;
    let daemon = world.daemon().await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    relabel(&world, 99, "");
    let before = world.files();
    daemon.signal(rustix::process::Signal::USR1);
    daemon.logged("cannot start a cycle: the cache in ", 1).await;
    daemon.logged("waiting next_cycle.at=", 2).await;
    let mut changed = world.changed_since(&before);
    changed.retain(|name| name.contains("/state/cache"));
    assert_eq!(changed, NO_FILES);
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
    daemon.signal(rustix::process::Signal::USR1);
    assert_eq!(world.cycles_ended(2).await, ["startup success", "signal success"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_cycle_does_not_write_a_cache_that_became_newer() {
    let (tenant, ids) = users(2);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    relabel(&world, 99, "");
    let before = world.files();
    world.sim.tenant(|tenant| tenant.unassign(&ids[0]));
    // This cycle starts without the check of the command line.
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.settled().await;
    let mut changed = world.changed_since(&before);
    changed.retain(|name| name.contains("/state/"));
    assert_eq!(changed, NO_FILES);
}

#[tokio::test]
async fn the_cache_of_an_older_learner_sync_is_set_aside_and_rebuilt() {
    let world = World::start(users(2).0).await;
    world.run_program(&["sync"], 0);
    relabel(&world, 1, "");
    let ran = world.run_program(&["sync"], 0);
    assert!(ran.stderr.contains("the layout 1 is older than"), "{ran:?}");
    // The first layout has no version entry.
    std::fs::remove_file(world.path("state/cache/layout")).unwrap();
    let ran = world.run_program(&["sync"], 0);
    assert!(ran.stderr.contains("the layout file is missing"), "{ran:?}");
    let names = caches(&world);
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names[1..].iter().all(|name| name.starts_with("cache.unusable-2")), "{names:?}");
    let ran = world.run_program(&["sync"], 0);
    assert!(!ran.stderr.contains("WARN") && !ran.stderr.contains("no cache yet"), "{ran:?}");
}

#[tokio::test]
async fn a_damaged_layout_version_is_not_taken_for_a_newer_one() {
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    relabel(&world, 99, "");
    let text = std::fs::read_to_string(world.path("state/cache/layout")).unwrap();
    std::fs::write(world.path("state/cache/layout"), text.replace("layout 99", "layout 98")).unwrap();
    let ran = world.run_program(&["sync"], 0);
    assert!(ran.stderr.contains("is damaged"), "{ran:?}");
    assert_eq!(caches(&world).len(), 2);
}

#[tokio::test]
async fn a_damaged_database_is_reported_with_the_remedy() {
    let world = World::start(crate::program::users(40).0).await;
    world.run_program(&["sync"], 0);
    world.run_program(&["check"], 0);
    let path = world.path("learners.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // All pages but the first, which has the schema.
    bytes.iter_mut().skip(4096 * 2).for_each(|byte| *byte = 0xaa);
    std::fs::write(&path, bytes).unwrap();
    let check = world.run_program(&["check"], 1).stdout;
    assert!(
        check.contains("FAIL database") && check.contains("damaged") && check.contains("restore a backup"),
        "{check}"
    );
    let ran = world.run_program(&["sync"], 1);
    assert!(ran.stderr.contains("damaged") || ran.stdout.contains("damaged"), "{ran:?}");
}
