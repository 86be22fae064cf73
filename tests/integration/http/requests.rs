//! Which requests are answered, and which are refused.

use rustix::process::Signal;

use super::{ANY_PORT, Served};
use crate::program::users;
use crate::world::World;

#[tokio::test]
async fn unusual_requests_are_refused() {
    let served = Served::start(1, ANY_PORT).await;
    let host = "Host: localhost\r\n";
    for (request, status) in [
        (format!("GET /metrics HTTP/1.1\r\n{host}"), 200),
        (format!("GET /metrics?name=value HTTP/1.1\r\n{host}"), 200),
        ("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:1\r\n".to_owned(), 200),
        ("GET /metrics HTTP/1.1\r\nHost: metrics.example.org\r\n".to_owned(), 421),
        ("GET /healthz HTTP/1.1\r\nHost: metrics.example.org\r\n".to_owned(), 421),
        ("GET /metrics HTTP/1.1\r\n".to_owned(), 400),
        ("GET /metrics HTTP/1.0\r\n".to_owned(), 400),
        (format!("GET /metrics HTTP/1.1\r\n{host}Host: metrics.example.org\r\n"), 400),
        (format!("GET http://metrics.example.org/metrics HTTP/1.1\r\n{host}"), 400),
        (format!("POST /metrics HTTP/1.1\r\n{host}"), 405),
        (format!("OPTIONS * HTTP/1.1\r\n{host}"), 405),
        (format!("DELETE /unknown HTTP/1.1\r\n{host}"), 405),
        (format!("GET /metrics HTTP/1.1\r\n{host}Content-Length: 7\r\n"), 413),
        (format!("GET /metrics HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n"), 413),
        (format!("GET /metrics HTTP/1.1\r\n{host}{}", "A: b\r\n".repeat(100)), 431),
        ("nonsense\r\n".to_owned(), 400),
    ] {
        let answer = served.send(&format!("{request}\r\n")).unwrap_or_else(|| panic!("no answer: {request}"));
        assert_eq!(answer.status, status, "{request}");
        assert!(status != 405 || answer.header("allow") == Some("GET, HEAD"), "{answer:?}");
    }
    // The connection may be closed before the client has sent everything, and read the answer.
    let large = served.send(&format!("GET /metrics HTTP/1.1\r\n{host}Cookie: {}\r\n\r\n", "a".repeat(100_000)));
    assert!(large.is_none_or(|answer| answer.status == 431));
    for path in [
        "/",
        "/log",
        "/log.csv",
        "/metrics/",
        "//metrics",
        "/./metrics",
        "/healthz/../metrics",
        "/%2e%2e/metrics",
        "/%6detrics",
        "/metrics%00",
        "/metrics;a=b",
        "/../../etc/passwd",
        "/METRICS",
    ] {
        let answer = served.get(path);
        assert_eq!((answer.status, &*answer.body), (404, "not found\n"), "{path}");
    }
    let head = served.send("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!((head.status, &*head.body), (200, ""));
    assert!(head.header("content-length").unwrap().parse::<usize>().unwrap() > 1000, "{head:?}");
    for (name, value) in [("content-security-policy", "default-src 'none'"), ("cache-control", "no-store")] {
        assert_eq!(head.header(name), Some(value));
    }
    served.daemon.stop().await;
}

#[tokio::test]
async fn a_token_protects_everything_but_health() {
    let world = World::start(users(1).0).await;
    let file = world.path("http-token");
    world.configure(&format!("{ANY_PORT}\ntoken_file = {file:?}"));
    // Missing: the daemon does not start.
    let missing = world.run_program(&["run"], 78);
    assert!(missing.stderr.contains("http.token_file: cannot read"), "{missing:?}");
    std::fs::write(&file, "open-sesame\n").unwrap();
    let served = Served::start_in(world).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(served.get(path).status, 200);
    }
    for path in ["/metrics", "/", "/unknown", "/healthz/../metrics", "/healthz/", "/HEALTHZ"] {
        let refused = served.get(path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.head.contains("www-authenticate: Basic realm="), "{refused:?}");
        assert!(refused.head.contains("www-authenticate: Bearer realm="), "{refused:?}");
    }
    for (credentials, status) in [
        ("Bearer open-sesame", 200),
        // user:open-sesame
        ("Basic dXNlcjpvcGVuLXNlc2FtZQ==", 200),
        ("Bearer open-sesam", 401),
        ("Bearer open-sesame2", 401),
        ("Bearer ", 401),
        ("Digest open-sesame", 401),
    ] {
        assert_eq!(
            served.get_with("/metrics", &format!("Authorization: {credentials}")).status,
            status,
            "{credentials}"
        );
    }
    assert_eq!(served.get_with("/unknown", "Authorization: Bearer open-sesame").status, 404);
    // A new token needs no reload; without one, nobody is let in.
    std::fs::write(&file, "close-sesame").unwrap();
    assert_eq!(served.get_with("/metrics", "Authorization: Bearer open-sesame").status, 401);
    assert_eq!(served.get_with("/metrics", "Authorization: Bearer close-sesame").status, 200);
    std::fs::remove_file(&file).unwrap();
    for _ in 0..3 {
        assert_eq!(served.get_with("/metrics", "Authorization: Bearer close-sesame").status, 503);
    }
    assert_eq!(served.daemon.log().matches("http.token_file: cannot read").count(), 1);
    let checked = served.world.run_program(&["check"], 1);
    assert!(checked.stdout.contains("FAIL http token"), "{checked:?}");
    served.daemon.signal(Signal::HUP);
    served.daemon.logged("configuration not reloaded, the old one stays", 1).await;
    assert_eq!(served.get("/healthz").status, 200);
    assert!(!served.daemon.log().contains("close-sesame"));
    served.daemon.stop().await;
}
