//! Many readers, and a database that is locked: nobody waits for long, and the daemon itself stays reachable.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{TOKEN, page_with_token, paged};
use crate::database::{apply, on_both};
use crate::http::{Answer, Served, connect, get_from_socket, send};
use crate::program::{eventually, users};
use crate::world::World;

/// How many pages are read at a time.
const PAGES: usize = 4;
const READERS: usize = 24;

#[apply(on_both)]
async fn a_locked_database_is_a_503_within_seconds_and_the_daemon_shows_what_it_knows() {
    let served = paged(World::start(users(1).0).await).await;
    let id = served.world.value("SELECT entra_id FROM sync_links").await;
    let lock = served.world.database.shut().await;
    let user = format!("/users/{id}");
    for path in ["/log", "/log.csv", "/cycles", &user] {
        let answer = served.page(path);
        assert_eq!(answer.status, 503, "{path}\n{}", answer.body);
        assert!(answer.body.contains("learner database"), "{path}\n{}", answer.body);
    }
    let overview = served.page("/");
    assert_eq!(overview.status, 503);
    for words in ["State: blocked", "The learner database cannot be read", "1 active"] {
        assert!(overview.body.contains(words), "{words}\n{}", overview.body);
    }
    for path in ["/mapping", "/style.css", "/metrics", "/healthz"] {
        assert_eq!(served.page(path).status, 200, "{path}");
    }
    drop(lock);
    eventually("the page is back", async || (served.page("/log").status == 200).then_some(())).await;
    assert_eq!(served.page("/").status, 200);
    served.daemon.stop().await;
}

#[tokio::test]
async fn at_most_four_pages_are_read_at_a_time() {
    let world = World::start(users(1).0).await;
    world.configure(&page_with_token(&world));
    // A page that has its turn keeps it. The readers of one address would wait for the same page.
    let served = Served::start_with(world, &[("FAILPOINTS", "PageReading=pause")]).await;
    let readers: Vec<JoinHandle<Answer>> =
        (0..READERS).map(|reader| load(&served, &format!("/log?cycle={reader}"))).collect();
    while !readers.iter().all(JoinHandle::is_finished) {
        assert_eq!(served.page("/healthz").status, 200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answers: Vec<Answer> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert!(answers.iter().all(|answer| answer.status == 503), "{answers:?}");
    let with = |words: &str| answers.iter().filter(|answer| answer.body.contains(words)).count();
    let numbers = [with("its disk does not answer"), with("too many pages are being read")];
    assert_eq!(numbers, [PAGES, READERS - PAGES], "{answers:?}");
    served.daemon.stop().await;
}

/// Loads a page on a thread of its own.
pub(super) fn load(served: &Served, path: &str) -> JoinHandle<Answer> {
    let (address, request) =
        (served.address.clone(), format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{TOKEN}\r\n\r\n"));
    thread::spawn(move || send(connect(&address), &request).unwrap())
}

#[tokio::test]
async fn at_most_two_downloads_run_at_a_time() {
    let world = World::start(users(1).0).await;
    let socket = world.path("http.sock");
    world.configure(&format!("[http]\nlisten = \"unix:{}\"\npage = true", socket.display()));
    let served = Served::start_in(world).await;
    // More than the buffers between the database and a client that does not read.
    let detail = "d".repeat(1000);
    served
        .world
        .execute(&format!(
            "WITH RECURSIVE numbers(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 8000)
             INSERT INTO provisioning_log (cycle_id, at, action, status, entra_id, reason, detail, changes)
             SELECT 1, '2026-03-01T08:00:00Z', 'update', 'success', entra_id, 'drift', '{detail}', '[]'
             FROM numbers, sync_links"
        ))
        .await;
    let (mut first, second) = (begin_download(&socket), begin_download(&socket));
    let third = get_from_socket(&socket, "/log.csv");
    assert_eq!(third.status, 503, "{}", third.head);
    assert!(third.body.contains("load this page again"), "{}", third.body);
    // Pages have their own turns.
    assert_eq!(get_from_socket(&socket, "/log").status, 200);
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).unwrap();
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.ends_with("\r\n0\r\n\r\n") && rest.matches(&detail).count() > 7900, "{} bytes", rest.len());
    let fourth = get_from_socket(&socket, "/log.csv");
    assert_eq!((fourth.status, fourth.body.matches(&detail).count()), (200, 8000));
    // A client that leaves makes room as well.
    let third = begin_download(&socket);
    drop(second);
    eventually("the download of the lost client has ended", async || {
        (get_from_socket(&socket, "/log.csv").status == 200).then_some(())
    })
    .await;
    drop(third);
    served.daemon.stop().await;
}

/// A download whose client has read the first line, and then stops.
fn begin_download(socket: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"GET /log.csv HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut line = [0; 15];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"HTTP/1.1 200 OK");
    stream
}
