//! Reading while the primary is slow, silent or lost.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::json;

use super::{Pair, at, url_of};
use crate::postgres::{Server, configure_database_url};
use crate::program::{add_assigned_user, users};

/// How a [`Gate`] treats connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passage {
    /// They reach the server.
    Open,
    /// They are accepted, and nobody answers.
    Silent,
    /// They end when they become read-only, which is right after a host was chosen to be read from.
    LostByReaders,
}

/// A port before the socket of a server.
struct Gate {
    port: u16,
    passage: Arc<Mutex<Passage>>,
}

impl Gate {
    /// Serves until the end of the process.
    fn before(server: &Server, passage: Passage) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = server.directory().join(format!(".s.PGSQL.{}", server.port()));
        let passage = Arc::new(Mutex::new(passage));
        let current = Arc::clone(&passage);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (passage, socket) = (*current.lock().unwrap(), socket.clone());
                std::thread::spawn(move || pass(client, &socket, passage));
            }
        });
        Self { port, passage }
    }

    fn set(&self, passage: Passage) {
        *self.passage.lock().unwrap() = passage;
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Serves one connection until its end. Any error is its end.
fn pass(mut client: TcpStream, socket: &Path, passage: Passage) {
    const BECOMES_READ_ONLY: &[u8] = b"SET default_transaction_read_only = on";
    if passage == Passage::Silent {
        let _ = std::io::copy(&mut client, &mut std::io::sink());
        return;
    }
    let Ok(mut server) = UnixStream::connect(PathBuf::from(socket)) else { return };
    let (mut answers, mut answered) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let copy = std::thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut answered);
        let _ = answered.shutdown(Shutdown::Both);
    });
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let sent = &buffer[..length];
        let ends = sent.windows(BECOMES_READ_ONLY.len()).any(|words| words == BECOMES_READ_ONLY);
        if ends && passage == Passage::LostByReaders || server.write_all(sent).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
    copy.join().unwrap();
}

#[tokio::test]
async fn only_plan_and_log_read_from_a_standby_that_lags() {
    let Some(pair) = Pair::start(users(3).0).await else { return };
    let Pair { world, primary, standby } = &pair;
    world.run_program(&["sync"], 0);
    pair.cut().await;
    let url = url_of(&[&at(standby), &at(primary)], world.database.name());
    configure_database_url(world, &format!("{url}?target_session_attrs=any"));
    world.sim.tenant(|tenant| add_assigned_user(tenant, "Ada", "Late"));
    world.run_program(&["sync"], 0);

    assert_eq!(world.run_program(&["plan", "--json"], 0).json()["unchanged"], json!(3));
    assert_eq!(world.run_program(&["log", "--format", "json"], 0).json().as_array().unwrap().len(), 3);
    assert_eq!(world.run_program(&["status", "--json"], 0).json()["learners"]["linked"], json!(4));
    assert_eq!(world.run_program(&["sync", "--dry-run", "--json"], 0).json()["unchanged"], json!(4));
}

#[tokio::test]
async fn a_silent_primary_is_not_awaited_once_a_standby_has_answered() {
    let Some(pair) = Pair::start(users(3).0).await else { return };
    let Pair { world, primary, standby } = &pair;
    let gate = Gate::before(primary, Passage::Open);
    configure_database_url(world, &url_of(&[&gate.address(), &at(standby)], world.database.name()));
    let daemon = world.daemon().await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    pair.caught_up().await;
    gate.set(Passage::Silent);
    daemon.signal(Signal::URG);
    let warning = "the other hosts of the learner database have not answered for 2 s; reading from";
    daemon.logged(warning, 1).await;
    let status = world.run_program(&["status", "--json"], 0);
    assert_eq!((&status.json()["state"], &status.json()["learners"]["linked"]), (&json!("ok"), &json!(3)));
    assert!(status.stderr.contains(warning), "{}", status.stderr);
    daemon.stop().await;
}

#[tokio::test]
async fn a_primary_that_dies_once_chosen_is_passed_over() {
    let Some(pair) = Pair::start(users(3).0).await else { return };
    let Pair { world, primary, standby } = &pair;
    world.run_program(&["sync"], 0);
    pair.caught_up().await;
    let gate = Gate::before(primary, Passage::LostByReaders);
    configure_database_url(world, &url_of(&[&gate.address(), &at(standby)], world.database.name()));
    let status = world.run_program(&["status", "--json"], 0);
    assert_eq!(status.json()["learners"]["linked"], json!(3));
    assert!(status.stderr.contains("no host of the learner database accepts writes"), "{}", status.stderr);

    configure_database_url(world, &url_of(&[&gate.address(), &gate.address()], world.database.name()));
    let stderr = world.run_program(&["status"], 1).stderr;
    let lost = format!("{} at {} as sync: error communicating with database", world.database.name(), gate.address());
    assert_eq!(stderr.matches(&lost).count(), 2, "{stderr}");
}
