//! Slow clients and many connections.

use std::io::{Read, Write};

use rustix::process::Signal;

use super::{ANY_PORT, Served};

#[tokio::test]
async fn idle_connections_keep_nobody_out() {
    let served = Served::start(1, ANY_PORT).await;
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", served.daemon.pid())).unwrap().count();
    let before = descriptors();
    let idle: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = served.connect();
            stream.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    assert_eq!(served.get("/healthz").status, 200);
    assert!(descriptors() < before + 80, "{} descriptors, {before} before", descriptors());
    served.daemon.signal(Signal::USR1);
    assert_eq!(served.world.cycles_ended(2).await, ["startup success", "signal success"]);
    assert_eq!(served.get("/metrics").status, 200);
    // The oldest was closed for the newer ones.
    let closed = (&idle[0]).read(&mut [0]);
    assert!(matches!(closed, Ok(0)) || closed.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    drop(idle);
    served.daemon.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_slowly_is_cut_off() {
    let served = Served::start(1, ANY_PORT).await;
    let mut slow = served.connect();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: local").unwrap();
    let mut answer = Vec::new();
    // The daemon ends it, long before the patience of this test.
    slow.read_to_end(&mut answer).unwrap();
    assert!(!String::from_utf8(answer).unwrap().contains("200"));
    // A connection serves one request.
    let mut twice = served.connect();
    twice.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    twice.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.to_lowercase().contains("connection: close"), "{answer}");
    served.daemon.stop().await;
}
