//! Addresses and socket files.

use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use rustix::process::Signal;
use serde_json::json;

use super::{ANY_PORT, Served, get, get_from_socket, listening};
use crate::program::{eventually, users};
use crate::world::World;

#[tokio::test]
async fn a_port_in_use_is_reported_and_tried_again_while_cycles_go_on() {
    let world = World::start(users(1).0).await;
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    world.configure(&format!("[http]\nlisten = \"{address}\""));
    let daemon = world.daemon().await;
    let failure = format!("cannot listen on {address}: another process listens there");
    assert!(daemon.log().contains(&failure), "{}", daemon.log());
    assert_eq!(world.cycles_ended(1).await, ["startup success"]);
    let http_error = async || {
        let status = world.run_program(&["status", "--json"], 0).json();
        status["daemon"]["http_error"].as_str().map(str::to_owned)
    };
    assert!(http_error().await.unwrap().starts_with(&failure));
    assert!(world.run_program(&["status"], 0).stdout.contains("another process listens there"));
    drop(other);
    assert_eq!(listening(&daemon, 1).await, address);
    assert_eq!(get(&address, "/healthz").status, 200);
    eventually("the failure ends", async || http_error().await.is_none().then_some(())).await;
    assert_eq!(world.run_program(&["status", "--json"], 0).json()["daemon"]["http_error"], json!(null));
    // Reported once, and not at each attempt.
    assert_eq!(daemon.log().matches("cannot listen on").count(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn a_socket_file_is_private_and_replaces_a_stale_one() {
    let world = World::start(users(1).0).await;
    let path = world.path("http.sock");
    world.configure(&format!("[http]\nlisten = \"unix:{}\"", path.display()));
    let daemon = world.daemon().await;
    assert_eq!(listening(&daemon, 1).await, format!("unix:{}", path.display()));
    let metadata = path.symlink_metadata().unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    assert_eq!(get_from_socket(&path, "/metrics").status, 200);
    assert_eq!(get_from_socket(&path, "/unknown").status, 404);
    // A kill leaves the file.
    drop(daemon);
    assert!(path.exists());
    let daemon = world.daemon().await;
    assert_eq!(get_from_socket(&path, "/healthz").status, 200);
    daemon.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_foreign_file_or_a_used_socket_stays() {
    let world = World::start(users(1).0).await;
    let path = world.path("http.sock");
    std::fs::write(&path, "precious").unwrap();
    world.configure(&format!("[http]\nlisten = \"unix:{}\"", path.display()));
    let daemon = world.daemon().await;
    assert!(daemon.log().contains("exists and is not a socket"), "{}", daemon.log());
    world.cycles_ended(1).await;
    daemon.stop().await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

    std::fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    let daemon = world.daemon().await;
    assert!(daemon.log().contains("another process listens there"), "{}", daemon.log());
    daemon.stop().await;
    assert!(path.exists());

    world.configure(&format!("[http]\nlisten = \"unix:{}\"", world.path("missing/http.sock").display()));
    let daemon = world.daemon().await;
    assert!(daemon.log().contains("does not exist"), "{}", daemon.log());
    daemon.stop().await;
}

#[tokio::test]
async fn a_reload_starts_moves_and_stops_the_listener() {
    let world = World::start(users(1).0).await;
    let daemon = world.daemon().await;
    let reload = async |configuration: &str, times: usize| {
        world.configure(configuration);
        daemon.signal(Signal::HUP);
        daemon.logged("configuration reloaded", times).await;
    };
    reload(ANY_PORT, 1).await;
    let address = listening(&daemon, 1).await;
    assert_eq!(get(&address, "/healthz").status, 200);
    let socket = world.path("http.sock");
    reload(&format!("[http]\nlisten = \"unix:{}\"", socket.display()), 2).await;
    listening(&daemon, 2).await;
    assert_eq!(get_from_socket(&socket, "/healthz").status, 200);
    assert!(std::net::TcpStream::connect(&address).is_err());
    reload("", 3).await;
    eventually("the socket is removed", async || (!socket.exists()).then_some(())).await;
    daemon.stop().await;
}

#[tokio::test]
async fn beyond_loopback_an_address_and_a_token_are_needed() {
    let world = World::start(users(1).0).await;
    let token = world.path("http-token");
    std::fs::write(&token, "open-sesame").unwrap();
    world.configure(&format!("[http]\nlisten = \"0.0.0.0:0\"\ntoken_file = {token:?}"));
    let served = Served::start_in(world).await;
    let port = served.address.rsplit_once(':').unwrap().1.to_owned();
    let served = Served { address: format!("127.0.0.1:{port}"), ..served };
    let status = |host: &str| {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer open-sesame\r\n\r\n");
        served.send(&request).unwrap().status
    };
    assert_eq!(["127.0.0.1", "192.0.2.7:9464", "localhost"].map(status), [200; 3]);
    assert_eq!(status("metrics.example.org"), 421);
    assert_eq!(served.get("/metrics").status, 401);
    served.daemon.stop().await;
}
