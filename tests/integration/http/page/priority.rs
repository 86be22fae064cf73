//! The priority of the threads that read for pages.

use super::busy::load;
use super::paged;
use crate::http::{Served, get_from_socket};
use crate::program::{eventually, users};
use crate::world::World;

/// The names of threads that read for one page: its own, that of its disk work, and those of SQLite.
const OF_PAGES: [&str; 3] = ["page", "page-disk", "sqlx-sqlite"];

#[tokio::test]
async fn answers_are_made_with_the_lowest_priority() {
    let served = paged(World::start(users(1).0).await).await;
    let lock = served.world.database.shut().await;
    let reader = load(&served, "/log");
    // The second one is SQLite's.
    eventually("two threads read with the lowest priority", async || {
        let threads = niceness(&served);
        let of = |name: &str| threads.iter().any(|(thread, niceness)| thread.starts_with(name) && *niceness == 19);
        (of("page") && of("sqlx-sqlite")).then_some(())
    })
    .await;
    drop(lock);
    reader.join().unwrap();
    served.daemon.stop().await;
}

#[tokio::test]
async fn a_page_lowers_the_priority_of_no_other_thread() {
    let world = World::start(users(1).0).await;
    let socket = world.path("http.sock");
    // Without a token, whose file an idle thread would read.
    world.configure(&format!("[http]\nlisten = \"unix:{}\"\npage = true", socket.display()));
    let served = Served::start_in(world).await;
    // The disk work of the overview then needs a new thread, which inherits the priority of the one that starts it.
    eventually("the idle threads of the daemon have ended", async || {
        let threads = niceness(&served);
        (threads.iter().filter(|(thread, _)| thread.starts_with("tokio")).count() == 1).then_some(())
    })
    .await;
    assert_eq!(get_from_socket(&socket, "/").status, 200);
    let threads = niceness(&served);
    let lowered: Vec<&(String, i32)> = threads
        .iter()
        .filter(|(thread, niceness)| *niceness == 19 && !OF_PAGES.iter().any(|name| thread.starts_with(name)))
        .collect();
    assert!(lowered.is_empty(), "{lowered:?}");
    served.daemon.stop().await;
}

/// The names of the daemon's threads, and their niceness.
fn niceness(served: &Served) -> Vec<(String, i32)> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", served.daemon.pid())).unwrap();
    // A thread may end meanwhile.
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    let of = |stat: String| {
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        // The 19th field; the third one comes after the name.
        Some((name.to_owned(), rest.split(' ').nth(16)?.parse().ok()?))
    };
    stats.filter_map(of).collect()
}
