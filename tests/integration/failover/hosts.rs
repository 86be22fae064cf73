//! The choice of a host.

use std::net::TcpListener;

use serde_json::json;

use super::{Pair, at, url_of};
use crate::postgres::{Server, configure_database_url, database_check};
use crate::program::users;
use crate::world::World;

const UNKNOWN: &str = "no-such-host.invalid";
/// Nothing listens on the port `discard`.
const REFUSING: &str = "127.0.0.1:9";

#[tokio::test]
async fn a_standby_is_passed_over_by_cycles_and_named_by_check() {
    let Some(Pair { world, primary, standby }) = Pair::start(users(3).0).await else { return };
    let name = world.database.name().to_owned();
    for options in
        ["", "?target_session_attrs=read-write", "?target_session_attrs=primary", "?target_session_attrs=any"]
    {
        configure_database_url(&world, &format!("{}{options}", url_of(&[&at(standby), &at(primary)], &name)));
        world.run_program(&["sync"], 0);
        let (ok, detail, hint) = database_check(&world, 0);
        let place = |server: &Server| format!("{name} at {} as sync: PostgreSQL ", server.directory().display());
        assert!(ok && detail.starts_with(&place(standby)) && detail.contains(&place(primary)), "{detail}");
        let (first, second) = detail.split_once("; ").unwrap();
        assert!(first.contains(", standby") && second.contains(", primary"), "{detail}");
        assert_eq!(hint, "");
        assert_eq!(world.run_program(&["status", "--json"], 0).json()["state"], json!("ok"));
        world.run_program(&["pause"], 0);
        world.run_program(&["resume"], 0);
    }
    assert_eq!(world.cycles().await, ["command success"; 4]);
}

#[tokio::test]
async fn a_lone_standby_serves_commands_that_read_and_no_others() {
    let Some(pair) = Pair::start(users(3).0).await else { return };
    let Pair { world, primary, standby } = &pair;
    let name = world.database.name();
    world.run_program(&["sync"], 0);
    pair.caught_up().await;
    configure_database_url(world, &url_of(&[&at(standby)], name));
    for arguments in [&["sync"][..], &["pause"], &["approve", "--yes", "--expect", "1"]] {
        let stderr = world.run_program(arguments, 1).stderr;
        assert!(stderr.contains("is read-only: the server is a standby"), "{arguments:?}: {stderr}");
        assert!(stderr.contains("name the primary in learners.database_url"), "{stderr}");
    }
    let (ok, detail, hint) = database_check(world, 1);
    assert!(!ok && detail.ends_with("is read-only: the server is a standby"), "{detail}");
    assert!(hint.contains("promote it"), "{hint}");
    let readable = || {
        assert_eq!(world.run_program(&["status", "--json"], 0).json()["learners"]["linked"], json!(3));
        assert_eq!(world.run_program(&["plan", "--json"], 0).json()["unchanged"], json!(3));
        assert_eq!(world.run_program(&["log", "--format", "json"], 0).json().as_array().unwrap().len(), 3);
    };
    readable();

    // None of two hosts accepts writes.
    configure_database_url(world, &url_of(&[&at(primary), &at(standby)], name));
    primary.kill();
    let stderr = world.run_program(&["sync"], 1).stderr;
    assert!(stderr.contains("no host of the learner database accepts writes"), "{stderr}");
    let passed = format!("{name} at {} as sync: the server is a standby", standby.directory().display());
    assert!(stderr.contains(&passed), "{stderr}");
    assert!(stderr.contains(&format!("{name} at {} as sync: error", primary.directory().display())), "{stderr}");
    assert!(stderr.contains("is the server running"), "{stderr}");
    let (ok, detail, _) = database_check(world, 1);
    assert!(!ok && detail.contains("no host of the learner database accepts writes"), "{detail}");
    assert!(detail.contains(&passed), "{detail}");
    readable();
    let stderr = world.run_program(&["plan"], 0).stderr;
    assert!(stderr.contains("no host of the learner database accepts writes; reading from"), "{stderr}");
}

#[tokio::test]
async fn unreachable_hosts_are_passed_over_and_named() {
    let Some(server) = Server::start() else { return };
    let world = World::start_on(server, users(2).0).await;
    let name = world.database.name();
    // The system accepts connections, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("127.0.0.1:{}", silent.local_addr().unwrap().port());
    let unreachable = [UNKNOWN, REFUSING, &silent];
    configure_database_url(&world, &url_of(&[&unreachable[..], &[&at(server)]].concat(), name));
    world.run_program(&["sync"], 0);
    let expected = [
        format!("{name} at {UNKNOWN}:5432 as sync: error communicating with database: failed to lookup address"),
        format!("{name} at {REFUSING} as sync: error communicating with database: Connection refused"),
        format!("{name} at {silent} as sync: error communicating with database: the server has not answered for 15 s"),
    ];
    let (ok, detail, hint) = database_check(&world, 0);
    assert!(ok && hint.contains("check host and port"), "{detail}: {hint}");
    expected.iter().for_each(|words| assert!(detail.contains(words), "{detail}"));

    configure_database_url(&world, &url_of(&unreachable, name));
    let stderr = world.run_program(&["sync"], 1).stderr;
    assert!(stderr.contains("cannot connect to any host of the learner database"), "{stderr}");
    expected.iter().for_each(|words| assert!(stderr.contains(words), "{stderr}"));
}

#[tokio::test]
async fn a_read_only_server_is_passed_over_and_two_primaries_fail_the_check() {
    let (Some(one), Some(two)) = (Server::start(), Server::start()) else { return };
    let world = World::start_on(two, users(2).0).await;
    let name = world.database.name();
    assert_eq!(one.database().await, name);
    configure_database_url(&world, &url_of(&[&at(one), &at(two)], name));
    let (ok, detail, hint) = database_check(&world, 1);
    assert!(!ok && detail.ends_with("; several servers accept writes"), "{detail}");
    assert!(hint.contains("stop the others"), "{hint}");

    one.execute("postgres", &format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    world.run_program(&["sync"], 0);
    assert_eq!(world.cycles().await, ["command success"]);
    let (ok, detail, _) = database_check(&world, 0);
    assert!(ok && detail.contains(", read-only; ") && detail.contains(", primary"), "{detail}");

    two.execute("postgres", &format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let stderr = world.run_program(&["sync"], 1).stderr;
    assert_eq!(stderr.matches("as sync: default_transaction_read_only is on").count(), 2, "{stderr}");
    assert!(stderr.contains(&format!("ALTER DATABASE {name} RESET default_transaction_read_only")), "{stderr}");
    let (ok, detail, _) = database_check(&world, 1);
    assert!(!ok && detail.contains("no host of the learner database accepts writes"), "{detail}");
    // One server under two names is not two.
    let twice = url_of(&[&at(one), &at(one)], name);
    one.execute("postgres", &format!("ALTER DATABASE {name} RESET default_transaction_read_only")).await;
    configure_database_url(&world, &twice);
    assert!(database_check(&world, 0).0);
}
