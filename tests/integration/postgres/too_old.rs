//! A server of long ago.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::program::users;
use crate::world::World;

/// What such a server answers when it lets somebody in: `AuthenticationOk`, its version, and that it is ready.
const LET_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x18server_version\x0012.9\0Z\0\0\0\x05I";

/// Answers everybody who comes until the test is over; answers the port.
fn server_of_version_12() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(let_in));
    port
}

/// Until the client goes away.
fn let_in(mut client: TcpStream) {
    let mut heard = [0; 1024];
    // Whoever has seen the version may be gone before all of this is written.
    if client.read(&mut heard).is_ok() && client.write_all(LET_IN).is_ok() {
        while client.read(&mut heard).is_ok_and(|length| length > 0) {}
    }
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused_with_its_version_and_what_to_do() {
    let world = World::start(users(1).0).await;
    let url = format!("postgres://sync@127.0.0.1:{}/learners?sslmode=disable", server_of_version_12());
    world.reconfigure(|text| text.replace(&world.database.url(), &url));
    for arguments in [&["sync"][..], &["sync", "--dry-run"], &["plan"], &["status"], &["log"], &["pause"], &["run"]] {
        let told = world.run_program(arguments, 78).stderr;
        assert!(
            told.contains("needs PostgreSQL 13 or newer") && told.contains("version 12.9"),
            "{arguments:?}: {told}"
        );
        assert!(told.contains("hint: move the learners to a server with PostgreSQL 13 or newer"), "{told}");
    }
    let told = world.run_program(&["check"], 1).stdout;
    assert!(told.contains("FAIL database") && told.contains("12.9"), "{told}");
}
