//! What is there already and is not ours: refused with the reason, and left exactly as it was.

use std::collections::{BTreeMap, BTreeSet};

use learner_sync::model::Generation;
use learner_sync::runtime::Paths;
use learner_sync::store::DatabaseState;
use serde_json::Value;

use crate::machine::{Mount, Unprivileged};
use crate::program::{Ran, users};
use crate::world::World;

/// No file at all.
const NONE: [String; 0] = [];
/// The commands that write to the learner database.
const WRITING: [&[&str]; 6] = [&["sync"], &["sync", "--full"], &["run"], &["pause"], &["resume"], &["approve"]];
/// Those that run cycles, for which there are a lock and a state directory.
const RUNNING: [&[&str]; 3] = [&["sync"], &["sync", "--full"], &["run"]];
/// Those that only read it.
const READING: [&[&str]; 4] = [&["plan"], &["sync", "--dry-run"], &["status"], &["log"]];

/// Each of the commands exits 78, says all of `expected`, and leaves nothing behind.
#[track_caller]
fn refused(world: &World, commands: &[&[&str]], expected: &[&str]) {
    refused_when(world, commands, expected, |arguments, code| world.run_program(arguments, code));
}

#[track_caller]
fn refused_when(world: &World, commands: &[&[&str]], expected: &[&str], run: impl Fn(&[&str], i32) -> Ran) {
    let before = world.files();
    for arguments in commands {
        let ran = run(arguments, 78);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(expected.iter().all(|words| ran.stderr.contains(words)), "{arguments:?}: {ran:?}");
        assert_eq!(world.changed_since(&before), NONE, "{arguments:?}");
    }
}

/// `check` says it too, in its line `name`.
#[track_caller]
fn told_by_check(world: &World, name: &str, expected: &[&str]) {
    told_when(world, name, expected, |arguments, code| world.run_program(arguments, code));
}

#[track_caller]
fn told_when(world: &World, name: &str, expected: &[&str], run: impl Fn(&[&str], i32) -> Ran) {
    let before = world.files();
    let document = run(&["check", "--json"], 1).json();
    let line = document["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
    assert_eq!(line["ok"], Value::Bool(false), "{document}");
    let told = format!("{}; {}", line["detail"].as_str().unwrap(), line["hint"].as_str().unwrap_or_default());
    assert!(expected.iter().all(|words| told.contains(words)), "{told}");
    let mut changed = world.changed_since(&before);
    if name != "database" || told.contains("daemon-") {
        // The database is in order and was opened: SQLite keeps its index beside the file even for a reader.
        changed.retain(|name| !name.ends_with("-shm") && !name.ends_with("-wal"));
    }
    assert_eq!(changed, NONE);
}

/// A world before its first cycle, whose database some other program has made with `sql`.
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
        refused(&world, &WRITING, &expected);
        refused(&world, &READING, &expected);
        told_by_check(&world, "database", &expected);
    }
}

#[tokio::test]
async fn an_empty_file_and_a_database_with_other_tables_beside_learners_are_taken() {
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
async fn a_learners_table_without_our_columns_is_refused_with_every_one_that_is_missing() {
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
    refused(&world, &WRITING, &expected);
    refused(&world, &READING, &expected);
    told_by_check(&world, "database", &expected);
}

#[tokio::test]
async fn what_is_no_database_at_all_is_refused_and_left_as_it_is() {
    let diary = World::start(users(1).0).await;
    std::fs::write(diary.path("learners.db"), "Dear diary, today I was taken for a database.".repeat(100)).unwrap();
    let directory = World::start(users(1).0).await;
    std::fs::create_dir(directory.path("learners.db")).unwrap();
    for (world, why) in [(diary, "is not an SQLite database"), (directory, "it is a directory")] {
        let database = world.path("learners.db").display().to_string();
        refused(&world, &WRITING, &[&database, why]);
        refused(&world, &READING, &[&database, why]);
        told_by_check(&world, "database", &[&database, why]);
    }
}

#[tokio::test]
async fn a_pipe_for_a_database_is_refused_and_not_waited_for() {
    let world = World::start(users(1).0).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let pipe = elsewhere.path().join("learners.db");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    let environment = [("LEARNER_SYNC_LEARNERS__DATABASE_URL", &*format!("sqlite://{}", pipe.display()))];
    let before = world.files();
    for arguments in WRITING.iter().chain(&READING) {
        let ran = world.run_program_with(&environment, arguments, 78);
        assert!(ran.stderr.contains("it is not a file"), "{arguments:?}: {ran:?}");
    }
    assert_eq!(world.changed_since(&before), NONE);
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_file_in_the_place_of_the_state_directory_is_refused() {
    let world = World::start(users(1).0).await;
    std::fs::write(world.path("state"), "a list of the states").unwrap();
    let expected = ["state.directory", &*world.path("state").display().to_string(), "it is not a directory"];
    refused(&world, &RUNNING, &expected);
    told_by_check(&world, "state", &expected);
}

/// The name of the lock of a daemon beside the database.
fn daemon_lock(world: &World) -> String {
    let state = DatabaseState {
        generation: Generation(0),
        paused: false,
        next_cycle_at: None,
        admitted_sources: BTreeSet::new(),
        applications: BTreeMap::new(),
        credential: None,
    };
    let paths = Paths::new(&world.app().config).source_locks(&world.app().config, &state);
    paths.first().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
}

fn allow(world: &World, name: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(world.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn what_the_service_user_cannot_write_is_refused_and_named() {
    let world = World::start(users(2).0).await;
    let daemon_lock = daemon_lock(&world);
    // What is made unwritable, to which mode and back, the line of `check` that tells it, who else refuses, and how.
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
        refused_when(&world, commands, &expected, run);
        told_when(&world, check, &expected, run);
        allow(&world, name, before);
    }
    run(&["check"], 0);
    run(&["sync"], 0);
    assert_eq!(world.cycles().await, ["command success", "command success"]);
}

#[tokio::test]
async fn a_file_system_that_is_read_only_is_refused_even_for_root() {
    let world = World::start(users(2).0).await;
    std::fs::create_dir(world.path("disk")).unwrap();
    world.reconfigure(|text| text.replace("/learners.db", "/disk/learners.db"));
    world.run_program(&["sync"], 0);
    let Some(mount) = Mount::read_only(&world.path("disk")) else {
        return println!("skipped: nothing can be mounted here");
    };
    let expected = ["disk/learners.db", "Read-only file system"];
    refused(&world, &WRITING, &expected);
    told_by_check(&world, "database", &expected);
    drop(mount);
    world.run_program(&["sync"], 0);
}

#[tokio::test]
async fn files_of_another_make_where_the_cache_would_be_are_refused() {
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
    // The names are those of sled, but not their kind.
    for name in ["photos", "db", "conf"] {
        std::fs::create_dir_all(world.path("state/cache").join(name)).unwrap();
    }
    std::fs::write(world.path("state/cache/blobs"), "a list").unwrap();
    let expected = [
        &*world.path("state/cache").display().to_string(),
        "files that learner-sync did not create",
        "move these files",
    ];
    refused(&world, &RUNNING, &expected);
    told_by_check(&world, "state", &expected);
    assert_eq!(world.cycles().await, ["command success"]);
    // An empty directory is nobody's.
    for entry in std::fs::read_dir(world.path("state/cache")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { std::fs::remove_dir(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
    world.run_program(&["sync"], 0);
    world.run_program(&["sync"], 0);
    assert_eq!(caches(&world), ["cache"]);
}

/// Has the cache say that it has another layout, as the program of that layout would.
fn relabel(world: &World, layout: u32, more: &str) {
    let content = format!("learner-sync cache, layout {layout}{more}");
    let text = format!("{content}\n{}\n", blake3::hash(content.as_bytes()).to_hex());
    std::fs::write(world.path("state/cache/layout"), text).unwrap();
}

/// The names in the state directory, without those of locks.
fn caches(world: &World) -> Vec<String> {
    let names = std::fs::read_dir(world.path("state")).unwrap().map(|entry| entry.unwrap().file_name());
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
        [&*world.path("state/cache").display().to_string(), "has layout 99", "install the newer one, or remove"];
    refused(&world, &RUNNING, &expected);
    told_by_check(&world, "state", &expected);
    assert_eq!(world.cycles().await, ["command success"]);
    // Whoever has nothing to do with the cache goes on.
    for arguments in [&["status"][..], &["log"], &["plan"], &["pause"], &["resume"]] {
        world.run_program(arguments, 0);
    }
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
    world.run_program(&["sync"], 0);
}

#[tokio::test]
async fn a_daemon_leaves_a_cache_alone_that_became_newer_under_it() {
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
    assert_eq!(changed, NONE);
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
    daemon.signal(rustix::process::Signal::USR1);
    assert_eq!(world.cycles_ended(2).await, ["startup success", "signal success"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_cache_that_becomes_newer_within_a_cycle_is_not_written_either() {
    let (tenant, ids) = users(2);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    relabel(&world, 99, "");
    let before = world.files();
    world.sim.tenant(|tenant| tenant.unassign(&ids[0]));
    // This cycle has no session, and so nobody who looked at it before.
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.settled().await;
    let mut changed = world.changed_since(&before);
    changed.retain(|name| name.contains("/state/"));
    assert_eq!(changed, NONE);
}

#[tokio::test]
async fn the_cache_of_an_older_learner_sync_is_set_aside_and_made_anew() {
    let world = World::start(users(2).0).await;
    world.run_program(&["sync"], 0);
    relabel(&world, 1, "");
    let ran = world.run_program(&["sync"], 0);
    assert!(ran.stderr.contains("it has the older layout 1"), "{ran:?}");
    // The first layout of all did not tell.
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
async fn a_damaged_layout_is_damage_and_no_newer_version() {
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
async fn a_damaged_database_is_told_with_the_way_out() {
    let world = World::start(crate::program::users(40).0).await;
    world.run_program(&["sync"], 0);
    world.run_program(&["check"], 0);
    let path = world.path("learners.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // All but the first page, which says what there is.
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
