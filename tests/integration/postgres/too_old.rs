//! A server older than the oldest supported version.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::program::users;
use crate::world::World;

/// The answer to a connection: `AuthenticationOk`, the server version, `ReadyForQuery`.
const ACCEPT: &[u8] = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x18server_version\x0012.9\0Z\0\0\0\x05I";

/// A message that does not exist.
const NONSENSE: &[u8] = b"?\0\0\0\x04";

/// Accepts connections until the end of the process, gives each the same answer, and returns the host.
fn server_that_answers(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|client| accept(client, answer)));
    format!("127.0.0.1:{port}")
}

fn accept(mut client: TcpStream, answer: &[u8]) {
    let mut buffer = [0; 1024];
    // A client that has read the version may disconnect before the rest is written.
    if client.read(&mut buffer).is_ok() && client.write_all(answer).is_ok() {
        while client.read(&mut buffer).is_ok_and(|length| length > 0) {}
    }
}

#[tokio::test]
async fn an_old_server_is_refused_with_its_version_and_a_hint() {
    let world = World::start(users(1).0).await;
    let url = format!("postgres://sync@{}/learners?sslmode=disable", server_that_answers(ACCEPT));
    world.reconfigure(|text| text.replace(&world.database.url(), &url));
    for arguments in [&["sync"][..], &["sync", "--dry-run"], &["plan"], &["status"], &["log"], &["pause"], &["run"]] {
        let stderr = world.run_program(arguments, 78).stderr;
        assert!(
            stderr.contains("needs PostgreSQL 13 or newer") && stderr.contains("version 12.9"),
            "{arguments:?}: {stderr}"
        );
        assert!(stderr.contains("hint: move the learners to a server with PostgreSQL 13 or newer"), "{stderr}");
    }
    let stdout = world.run_program(&["check"], 1).stdout;
    assert!(stdout.contains("FAIL database") && stdout.contains("12.9"), "{stdout}");
}

#[tokio::test]
async fn two_old_servers_are_refused_like_one() {
    let world = World::start(users(1).0).await;
    let url_of = |answers: [&'static [u8]; 2]| {
        format!("postgres://sync@{}/learners?sslmode=disable", answers.map(server_that_answers).join(","))
    };
    let url = url_of([ACCEPT, ACCEPT]);
    world.reconfigure(|text| text.replace(&world.database.url(), &url));
    for arguments in [&["sync"][..], &["run"]] {
        let stderr = world.run_program(arguments, 78).stderr;
        let found = "the server runs PostgreSQL 12.9, and PostgreSQL 13 or newer is needed";
        assert_eq!(stderr.matches(found).count(), 2, "{arguments:?}: {stderr}");
    }
    // The first host may recover, and there is no advice on it.
    let mixed = url_of([NONSENSE, ACCEPT]);
    world.reconfigure(|text| text.replace(&url, &mixed));
    let stderr = world.run_program(&["sync"], 1).stderr;
    assert!(stderr.contains("hint: move the learners to a server with PostgreSQL 13 or newer"), "{stderr}");
}
