//! A server older than the oldest supported version.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::program::users;
use crate::world::World;

/// The answer to a connection: `AuthenticationOk`, the server version, `ReadyForQuery`.
const ACCEPT: &[u8] = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x18server_version\x0012.9\0Z\0\0\0\x05I";

/// Accepts connections until the end of the process and returns the port.
fn server_of_version_12() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(accept));
    port
}

fn accept(mut client: TcpStream) {
    let mut buffer = [0; 1024];
    // A client that has read the version may disconnect before the rest is written.
    if client.read(&mut buffer).is_ok() && client.write_all(ACCEPT).is_ok() {
        while client.read(&mut buffer).is_ok_and(|length| length > 0) {}
    }
}

#[tokio::test]
async fn an_old_server_is_refused_with_its_version_and_a_hint() {
    let world = World::start(users(1).0).await;
    let url = format!("postgres://sync@127.0.0.1:{}/learners?sslmode=disable", server_of_version_12());
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
