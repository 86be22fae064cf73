//! The status page: who gets it, and what it answers to unusual requests.

mod busy;
mod contents;
mod lists;
mod priority;
mod sharing;

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use super::{ANY_PORT, Answer, Served, get_from_socket, listening};
use crate::program::users;
use crate::world::World;

/// Every page of a daemon without users.
const PAGES: [&str; 6] = ["/", "/log", "/cycles", "/mapping", "/log.csv", "/style.css"];
const TOKEN: &str = "Authorization: Bearer open-sesame";

/// The configuration of a page that asks for [`TOKEN`].
fn page_with_token(world: &World) -> String {
    let token = world.path("http-token");
    std::fs::write(&token, "open-sesame\n").unwrap();
    format!("{ANY_PORT}\ntoken_file = {token:?}\npage = true")
}

/// A daemon with a page after the first cycle of `world`.
async fn paged(world: World) -> Served {
    let configuration = page_with_token(&world);
    world.configure(&configuration);
    Served::start_in(world).await
}

impl Served {
    /// GETs a page.
    fn page(&self, path: &str) -> Answer {
        self.get_with(path, TOKEN)
    }
}

#[tokio::test]
async fn without_the_key_no_page_exists_and_a_reload_adds_it() {
    let world = World::start(users(1).0).await;
    let socket = world.path("http.sock");
    let listen = format!("[http]\nlisten = \"unix:{}\"", socket.display());
    world.configure(&listen);
    let daemon = world.daemon().await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    let id = world.value("SELECT entra_id FROM sync_links").await;
    let paths: Vec<String> = PAGES.iter().map(|path| (*path).to_owned()).chain([format!("/users/{id}")]).collect();
    let statuses = |socket: &Path| paths.iter().map(|path| get_from_socket(socket, path).status).collect::<Vec<_>>();
    assert_eq!(statuses(&socket), [404; 7]);
    for (times, page, status) in [(2, "true", 200), (3, "false", 404)] {
        world.configure(&format!("{listen}\npage = {page}"));
        daemon.signal(Signal::HUP);
        listening(&daemon, times).await;
        daemon.logged("configuration reloaded", times - 1).await;
        assert_eq!(statuses(&socket), [status; 7]);
        assert_eq!(get_from_socket(&socket, "/healthz").status, 200);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_page_needs_a_token_or_a_socket() {
    let world = World::start(users(1).0).await;
    for (configuration, words) in [
        (format!("{ANY_PORT}\npage = true"), ["http.page", "http.token_file"]),
        ("[http]\nlisten = \"0.0.0.0:0\"\npage = true".to_owned(), ["http.page", "http.token_file"]),
        ("[http]\npage = true".to_owned(), ["http.page", "http.listen"]),
        (format!("{ANY_PORT}\npage = \"yes\""), ["http.page", "true"]),
    ] {
        world.configure(&configuration);
        for command in ["run", "check"] {
            let refused = world.run_program(&[command], 78);
            for word in words {
                assert!(refused.stderr.contains(word), "{word}: {refused:?}");
            }
        }
    }
    // A reload that asks for it keeps the listener as it was.
    world.configure(ANY_PORT);
    let served = Served::start_in(world).await;
    served.world.configure(&format!("{ANY_PORT}\npage = true"));
    served.daemon.signal(Signal::HUP);
    served.daemon.logged("configuration not reloaded, the old one stays", 1).await;
    assert_eq!((served.get("/healthz").status, served.get("/").status), (200, 404));
    served.daemon.stop().await;
}

#[tokio::test]
async fn every_answer_has_the_headers_that_keep_a_browser_out_of_trouble() {
    let served = paged(World::start(users(2).0).await).await;
    let id = served.world.value("SELECT entra_id FROM sync_links ORDER BY entra_id LIMIT 1").await;
    let user = format!("/users/{id}");
    for path in PAGES.iter().copied().chain([&*user, "/users/unknown", "/log?nonsense=1", "/nowhere"]) {
        let answer = served.page(path);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("script"), "{policy}");
        for (name, value) in
            [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("cache-control", "no-store")]
        {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        if answer.header("content-type") == Some("text/html; charset=utf-8") {
            for part in ["form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'", "style-src 'self'"] {
                assert!(policy.contains(part), "{path}: {policy}");
            }
            for tag in ["<script", "javascript:", "http://", "https://", "style=", "onclick"] {
                assert!(!answer.body.contains(tag), "{path}: {tag}\n{}", answer.body);
            }
        }
        let head = served.send(&format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n{TOKEN}\r\n\r\n")).unwrap();
        assert_eq!((head.status, &*head.body), (answer.status, ""), "{path}");
        for (method, status) in [("POST", 405), ("PUT", 405), ("DELETE", 405), ("OPTIONS", 405)] {
            let refused = served.send(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{TOKEN}\r\n\r\n"));
            assert_eq!(refused.unwrap().status, status, "{method} {path}");
        }
        assert_eq!(served.get(path).status, 401, "{path}");
        let foreign = served.send(&format!("GET {path} HTTP/1.1\r\nHost: status.example.org\r\n{TOKEN}\r\n\r\n"));
        assert_eq!(foreign.unwrap().status, 421, "{path}");
    }
    // An unknown address leads back to the pages.
    let unknown = served.page("/nowhere");
    assert_eq!((unknown.status, unknown.header("content-type")), (404, Some("text/html; charset=utf-8")));
    for path in ["/", "/log", "/cycles", "/mapping"] {
        assert!(unknown.body.contains(&format!("<a href=\"{path}\">")), "{path}\n{}", unknown.body);
    }
    assert_eq!(served.page("/metrics").status, 200);
    // user:open-sesame, as a browser sends it.
    assert_eq!(served.get_with("/", "Authorization: Basic dXNlcjpvcGVuLXNlc2FtZQ==").status, 200);
    served.daemon.stop().await;
}

#[tokio::test]
async fn unusual_addresses_are_refused_with_a_reason() {
    let served = paged(World::start(users(1).0).await).await;
    let id = served.world.value("SELECT entra_id FROM sync_links").await;
    let long = format!("/log?user={}", "a".repeat(5000));
    let upper = format!("/users/{}", id.to_uppercase());
    let below = format!("/users/{id}/");
    for (path, status, words) in [
        ("/users/00000000-0000-4000-8000-0000000000ff", 404, "no user with this id"),
        ("/users/ada@example.org", 404, "href=\"/log?user=ada%40example%2Eorg\""),
        ("/users/..", 404, ""),
        ("/users/%2e%2e", 404, ""),
        ("/users/%2e%2e%2flog", 404, ""),
        ("/users/", 404, ""),
        ("/users", 404, ""),
        ("/users/%ff", 400, "the id of the user is not text in UTF-8"),
        ("/users/%00", 404, ""),
        ("/users/<script>", 400, ""),
        (&upper, 200, "create: assigned"),
        (&below, 404, ""),
        ("//log", 404, ""),
        ("/./log", 404, ""),
        ("/log/../mapping", 404, ""),
        ("/LOG", 404, ""),
        ("/log;a=b", 404, ""),
        ("/log%3faction=create", 404, ""),
        ("/log.csv/", 404, ""),
        ("/style.css/../log", 404, ""),
        ("/?a=b", 400, "unknown parameter a"),
        ("/mapping?a", 400, "unknown parameter a"),
        ("/log?usr=ada", 400, "unknown parameter usr; there are user, action"),
        ("/log?action=explode", 400, "action: must be one of create, update"),
        ("/log?status=x", 400, "status: must be one of"),
        ("/log?reason=x", 400, "reason: must be one of"),
        ("/log?cycle=0x1", 400, "cycle: must be a number"),
        ("/log?cycle=9999999999999999999", 400, "cycle: must be a number"),
        ("/log?since=yesterday", 400, "since: not a time"),
        ("/log?since=yesterday", 400, "value=\"yesterday\""),
        ("/log?user=a&user=b", 400, "given twice"),
        ("/log?user=%ff", 400, "not UTF-8"),
        ("/log?before=-1", 400, "before: must be a number"),
        ("/log?before=1&after=1", 400, "exclude each other"),
        ("/log.csv?before=1", 400, "before and after are for pages"),
        ("/cycles?action=create", 400, "unknown parameter action"),
        ("/log?%3Cscript%3E=1", 400, "unknown parameter &lt;script&gt;"),
        (&long, 414, "too long"),
        ("/log?user=%00&since=7d", 200, "No log entries."),
        ("/log?user='+OR+1=1+--", 200, "No log entries."),
        ("/log?before=0", 200, "No log entries."),
        ("/log?after=9223372036854775807", 200, "No log entries."),
        ("/log?cycle=9223372036854775807", 200, "No log entries."),
        ("/cycles?before=1", 200, "No cycles."),
    ] {
        let answer = served.page(path);
        assert_eq!(answer.status, status, "{path}\n{}", answer.body);
        assert!(answer.body.contains(words), "{path}\n{}", answer.body);
    }
    served.daemon.stop().await;
}

#[tokio::test]
async fn a_wrong_parameter_is_corrected_where_it_was_typed() {
    let served = paged(World::start(users(1).0).await).await;
    let id = served.world.value("SELECT entra_id FROM sync_links").await;
    // Everything that can be read is in the form again, and the wrong field is marked.
    for (query, words) in [
        (
            "user=ada&since=yesterday&status=held",
            ["since: not a time", "value=\"yesterday\" aria-describedby=\"since-hint\" aria-invalid"],
        ),
        (
            "user=ada&status=held&action=explode",
            ["action: must be one of", "<select id=\"action\" name=\"action\" aria-invalid"],
        ),
        ("user=ada&nonsense=1&status=held", ["unknown parameter nonsense", ""]),
        (
            "user=ada&status=held&user=bob",
            ["user: given twice", "name=\"user\" value=\"ada\" aria-describedby=\"user-hint\" aria-invalid"],
        ),
        ("cycle=%ff&user=ada&status=held", ["a parameter is not UTF-8", ""]),
        ("user=ada&status=held&before=1&after=2", ["before and after exclude each other", ""]),
    ] {
        for path in ["/log", "/log.csv"] {
            let answer = served.page(&format!("{path}?{query}"));
            assert_eq!(answer.status, 400, "{path}?{query}");
            let kept =
                ["action=\"/log\"", "value=\"ada\"", "<option value=\"held\" selected>", "aria-current=\"page\">Log"];
            for words in words.iter().chain(&kept).chain(&["role=\"alert\""]) {
                assert!(answer.body.contains(words), "{path}?{query}: {words}\n{}", answer.body);
            }
        }
    }
    // The pages without a form keep their place in the navigation.
    for (path, words) in [
        ("/", "aria-current=\"page\">Status"),
        ("/cycles", "aria-current=\"page\">Cycles"),
        ("/mapping", "aria-current=\"page\">Mapping"),
        (&format!("/users/{id}"), "<h1>User"),
    ] {
        let answer = served.page(&format!("{path}?nonsense=1"));
        assert_eq!(answer.status, 400, "{path}");
        let link = answer.body.split("<a href=\"").find(|link| link.contains("Load this page without parameters"));
        let link = link.unwrap_or_else(|| panic!("{path}\n{}", answer.body)).split('"').next().unwrap();
        assert_eq!(served.page(link).status, 200, "{path}: {link}");
        for words in [words, "role=\"alert\"", "unknown parameter nonsense"] {
            assert!(answer.body.contains(words), "{path}: {words}\n{}", answer.body);
        }
    }
    served.daemon.stop().await;
}

/// The document of `status --json`.
fn status(world: &World) -> Value {
    world.run_program(&["status", "--json"], 0).json()
}
