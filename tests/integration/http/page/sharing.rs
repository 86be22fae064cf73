//! Readers of one page share answers, which are at most a second old while a cycle runs, and otherwise new.

use std::thread::{self, JoinHandle};
use std::time::Instant;

use graph_sim::{Fault, Gate};
use rustix::process::Signal;

use super::{TOKEN, page_with_token};
use crate::database::{apply, on_both};
use crate::http::{Answer, Served, connect, send};
use crate::program::{eventually, users};
use crate::world::World;

/// More readers than are answered at a time.
const READERS: usize = 12;

/// A daemon whose second cycle waits for Graph until the gate is released.
async fn paged_in_cycle() -> (Served, Gate) {
    let world = World::start(users(1).0).await;
    let configuration = format!("{}\n[log]\nlevel = \"learner_sync=debug\"", page_with_token(&world));
    world.configure(&configuration);
    let served = Served::start_in(world).await;
    let gate = Gate::new();
    served.world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").hold_until(&gate));
    served.daemon.signal(Signal::USR1);
    gate.reached().await;
    (served, gate)
}

/// How many pages were read from the learner database.
fn readings(served: &Served) -> u64 {
    served.daemon.log().matches("a page is read from the learner database").count() as u64
}

/// Loads a page `times` times on a thread of its own.
fn load(served: &Served, path: &str, times: usize) -> JoinHandle<Vec<Answer>> {
    let (address, request) =
        (served.address.clone(), format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{TOKEN}\r\n\r\n"));
    thread::spawn(move || (0..times).map(|_| send(connect(&address), &request).unwrap()).collect())
}

fn answers(readers: Vec<JoinHandle<Vec<Answer>>>) -> Vec<Answer> {
    readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
}

#[tokio::test]
async fn readers_who_ask_at_the_same_moment_wait_for_one_reading() {
    let world = World::start(users(1).0).await;
    world.configure(&page_with_token(&world));
    // A page that has its turn keeps it, so that as many readings would have none.
    let served = Served::start_with(world, &[("FAILPOINTS", "PageReading=pause")]).await;
    let readers = (0..READERS).map(|_| load(&served, "/log", 1)).collect();
    for answer in answers(readers) {
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("its disk does not answer"), "{}", answer.body);
    }
    served.daemon.stop().await;
}

#[apply(on_both)]
async fn a_page_that_is_loaded_again_and_again_is_read_once_a_second() {
    let (served, gate) = paged_in_cycle().await;
    let id = served.world.value("SELECT entra_id FROM sync_links").await;
    let (before, begun) = (readings(&served), Instant::now());
    let readers: Vec<_> = (0..READERS).map(|_| load(&served, "/log", 10)).collect();
    while !readers.iter().all(JoinHandle::is_finished) {
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(served.page(path).status, 200, "{path}");
        }
    }
    let link = format!("/users/{id}");
    assert!(answers(readers).iter().all(|answer| answer.status == 200 && answer.body.contains(&link)));
    let (read, seconds) = (readings(&served) - before, begun.elapsed().as_secs());
    assert!((1..=seconds + 1).contains(&read), "{read} readings in {seconds} seconds");
    // The next reading shows what has changed meanwhile.
    served
        .world
        .execute(&format!(
            "INSERT INTO provisioning_log (cycle_id, at, action, status, entra_id, reason, detail, changes)
             VALUES (1, '2026-03-01T08:00:00Z', 'update', 'success', '{id}', 'drift', 'by a platform', '[]')"
        ))
        .await;
    eventually("the page shows the change", async || served.page("/log").body.contains("by a platform").then_some(()))
        .await;
    // No answer outlasts the cycle.
    let running = served.page("/");
    assert!(running.body.contains("Running cycle"), "{}", running.body);
    gate.release();
    served.daemon.logged("waiting next_cycle.at=", 2).await;
    let ended = served.page("/");
    assert!(!ended.body.contains("Running cycle"), "{}", ended.body);
    let before = readings(&served);
    assert_eq!(answers(vec![load(&served, "/log", 3)]).len(), 3);
    assert_eq!(readings(&served), before + 3);
    served.daemon.stop().await;
}

#[tokio::test]
async fn a_shared_answer_needs_the_token_and_is_that_of_its_address() {
    let (served, gate) = paged_in_cycle().await;
    let id = served.world.value("SELECT entra_id FROM sync_links").await;
    let user = format!("/users/{id}");
    for path in ["/", "/log", "/cycles", "/mapping", &user] {
        assert_eq!(served.page(path).status, 200, "{path}");
        assert_eq!(served.get(path).status, 401, "{path}");
        assert_eq!(served.get_with(path, "Authorization: Bearer sesame").status, 401, "{path}");
        assert_eq!(served.page(path).status, 200, "{path}");
    }
    for (path, status, words) in [
        ("/log?action=create", 200, &*user),
        ("/log?action=update", 200, "No log entries."),
        ("/log?action=explode", 400, "action: must be one of"),
        ("/log", 200, &*user),
        ("/?a=b", 400, "unknown parameter a"),
        ("/users/00000000-0000-4000-8000-0000000000ff", 404, "no user with this id"),
        ("/unknown", 404, "No page has this address."),
    ] {
        for _ in 0..2 {
            let answer = served.page(path);
            assert_eq!(answer.status, status, "{path}");
            assert!(answer.body.contains(words), "{path}\n{}", answer.body);
        }
    }
    gate.release();
    served.daemon.stop().await;
}

#[tokio::test]
async fn head_and_get_agree_about_a_shared_answer() {
    let (served, gate) = paged_in_cycle().await;
    for path in ["/log", "/cycles", "/mapping", "/log?action=explode", "/log.csv", "/style.css"] {
        let head = || served.send(&format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n{TOKEN}\r\n\r\n")).unwrap();
        // Each of them may be the first one that asks for this page.
        let (first, page, last) = (head(), served.page(path), head());
        assert!(!page.body.is_empty(), "{path}");
        for head in [first, last] {
            assert_eq!((head.status, &*head.body), (page.status, ""), "{path}");
            for header in ["content-type", "content-length", "content-security-policy", "cache-control"] {
                assert_eq!(head.header(header), page.header(header), "{path}: {header}");
            }
        }
    }
    gate.release();
    served.daemon.stop().await;
}
