//! Messages to administrators: real receivers of webhooks and mail.

mod channels;
mod days;
mod mail;
mod mail_deadline;
pub(crate) mod receiver;
mod webhook;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use learner_sync::notify::CycleResult;
use learner_sync::runtime::{App, CycleNews, NotificationMemory, handle_notifications};

use self::receiver::Receiver;
use crate::database::{apply, on_both};
use crate::postgres::shared;
use crate::program::users;
use crate::world::World;

/// The key of webhooks.
const KEY: &str = "the key of the webhook";
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// Writes a file that nobody else can read.
pub(crate) fn secret_file(world: &World, name: &str, content: &str) -> PathBuf {
    let path = world.path(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Configures the receiver as the webhook, followed by `more`.
fn configure_webhook(world: &World, receiver: &Receiver, more: &str) {
    world.configure(&format!("{}{more}", webhook_section(world, receiver)));
}

/// The section for this receiver.
pub(crate) fn webhook_section(world: &World, receiver: &Receiver) -> String {
    let url = secret_file(world, "webhook-url", &format!("{}\n", receiver.url()));
    let key = secret_file(world, "webhook-secret", &format!("{KEY}\n"));
    format!("[notify]\nwebhook_url_file = {url:?}\nwebhook_secret_file = {key:?}\n")
}

fn now() -> Timestamp {
    "2026-03-02T08:00:00Z".parse().unwrap()
}

fn news(result: CycleResult) -> CycleNews {
    CycleNews { result, took_over: None, is_standby: false }
}

fn failed() -> CycleNews {
    news(CycleResult::Failed { since: Some(now()), error: "Graph answered 503".to_owned() })
}

/// What a daemon does after a cycle, at this time.
async fn look(
    app: &App,
    memory: &mut NotificationMemory,
    news: Option<&CycleNews>,
    now: Timestamp,
) -> Option<Duration> {
    handle_notifications(app, memory, news, &|| now).await
}

/// What a daemon does after a cycle that was started again since the last one.
async fn after_restart(app: &App, news: Option<&CycleNews>, now: Timestamp) {
    look(app, &mut NotificationMemory::default(), news, now).await;
}

#[apply(on_both)]
async fn a_day_of_failing_cycles_has_two_messages_even_when_each_is_after_a_restart() {
    let mut world = World::start(users(1).0).await;
    world.cycle().await;
    let receiver = Receiver::start();
    configure_webhook(&world, &receiver, "");
    let app = world.app();
    let mut at = now();
    for _ in 0..36 {
        after_restart(&app, Some(&failed()), at).await;
        at += MINUTE * 40;
    }
    after_restart(&app, Some(&news(CycleResult::Completed)), at).await;
    after_restart(&app, Some(&news(CycleResult::Completed)), at + MINUTE).await;
    assert_eq!(receiver.events(), ["failing", "recovered"]);
    assert!(receiver.requests()[0].json()["text"].as_str().unwrap().contains("Graph answered 503"));
}

#[apply(on_both)]
async fn an_unsent_message_is_tried_again_after_longer_and_longer_waits_and_a_restart() {
    let mut world = World::start(users(1).0).await;
    world.cycle().await;
    let receiver = Receiver::start();
    configure_webhook(&world, &receiver, "");
    let app = world.app();
    let (mut memory, begun) = (NotificationMemory::default(), now());
    receiver.answer([500, 503, 429]);
    let wait = look(&app, &mut memory, Some(&failed()), begun).await.unwrap();
    assert_eq!((wait.as_secs(), receiver.requests().len()), (60, 1));
    // Another cycle does not shorten the wait, and neither does a restart.
    look(&app, &mut memory, Some(&failed()), begun + MINUTE / 2).await;
    after_restart(&app, None, begun + MINUTE - SignedDuration::from_secs(1)).await;
    assert_eq!(receiver.requests().len(), 1);
    after_restart(&app, None, begun + MINUTE).await;
    assert_eq!(receiver.requests().len(), 2);
    after_restart(&app, None, begun + MINUTE * 2).await;
    assert_eq!(receiver.requests().len(), 2);
    let wait = look(&app, &mut memory, None, begun + MINUTE * 3).await.unwrap();
    assert_eq!((wait.as_secs(), receiver.requests().len()), (240, 3));
    assert_eq!(look(&app, &mut memory, None, begun + MINUTE * 7).await, None);
    assert_eq!(receiver.events(), ["failing"; 4]);
    let texts: Vec<_> = receiver.requests().iter().map(|request| request.json()["at"].clone()).collect();
    assert!(texts.iter().all(|at| *at == texts[0]), "{texts:?}");
    assert_eq!(world.value("SELECT count(*) FROM sync_notifications WHERE next_attempt_at IS NOT NULL").await, "0");
}

#[tokio::test]
async fn two_daemons_on_one_server_send_each_message_once() {
    let Some(server) = shared() else { return };
    let mut world = World::start_on(server, users(1).0).await;
    world.cycle().await;
    let receiver = Receiver::start();
    configure_webhook(&world, &receiver, "");
    let (one, two) = (world.app(), world.app());
    let mut memories = (NotificationMemory::default(), NotificationMemory::default());
    let mut at = now();
    for round in 0..10 {
        let (result, event) = match round % 2 {
            0 => (failed(), "failing"),
            _ => (news(CycleResult::Completed), "recovered"),
        };
        tokio::join!(look(&one, &mut memories.0, Some(&result), at), look(&two, &mut memories.1, Some(&result), at),);
        assert_eq!(receiver.events(), [event], "round {round}");
        receiver.clear();
        at += MINUTE * 60 * 24;
    }
    // An unsent message is tried by one of them.
    receiver.answer([500]);
    let result = failed();
    tokio::join!(look(&one, &mut memories.0, Some(&result), at), look(&two, &mut memories.1, Some(&result), at),);
    assert_eq!(receiver.events(), ["failing"]);
    at += MINUTE;
    tokio::join!(look(&one, &mut memories.0, None, at), look(&two, &mut memories.1, None, at),);
    assert_eq!(receiver.events(), ["failing"; 2]);
}

#[tokio::test]
async fn a_message_about_an_unavailable_database_is_sent_without_it_and_written_later() {
    let mut world = World::start(users(1).0).await;
    world.cycle().await;
    let receiver = Receiver::start();
    configure_webhook(&world, &receiver, "");
    let app = world.app();
    let (file, moved) = (world.path("learners.db"), world.path("moved.db"));
    std::fs::rename(&file, &moved).unwrap();
    let mut memory = NotificationMemory::default();
    let standby = CycleNews { is_standby: true, ..failed() };
    let mut own = NotificationMemory::default();
    look(&app, &mut own, Some(&standby), now()).await;
    look(&app, &mut own, Some(&standby), now() + MINUTE * 40).await;
    assert_eq!(receiver.events(), [""; 0], "the other daemon sends it");
    look(&app, &mut own, Some(&standby), now() + MINUTE * 41).await;
    assert_eq!(receiver.events(), ["failing"], "the other daemon is lost together with the learner database");
    receiver.clear();
    for _ in 0..3 {
        look(&app, &mut memory, Some(&failed()), now()).await;
    }
    assert_eq!(receiver.events(), ["failing"]);
    assert!(!file.exists(), "the file was created");
    std::fs::rename(&moved, &file).unwrap();
    look(&app, &mut memory, Some(&news(CycleResult::Completed)), now() + MINUTE).await;
    assert_eq!(receiver.events(), ["failing", "recovered"]);
    after_restart(&app, Some(&failed()), now() + MINUTE * 2).await;
    assert_eq!(receiver.events(), ["failing", "recovered"]);
}

#[apply(on_both)]
async fn a_message_waits_for_a_daemon_that_has_its_channel_and_for_none_when_no_channel_is_left() {
    let mut world = World::start(users(1).0).await;
    world.cycle().await;
    let receiver = Receiver::start();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    drop(silent);
    configure_webhook(
        &world,
        &receiver,
        &format!("smtp_url = \"smtp://127.0.0.1:{port}\"\nfrom = \"sync@example.org\"\nto = [\"ops@example.org\"]\n"),
    );
    receiver.answer([500]);
    after_restart(&world.app(), Some(&failed()), now()).await;
    // This one has no mail.
    configure_webhook(&world, &receiver, "");
    let app = world.app();
    let mut memory = NotificationMemory::default();
    assert_eq!(look(&app, &mut memory, None, now() + MINUTE * 5).await, None);
    assert_eq!(look(&app, &mut memory, None, now() + MINUTE * 100).await, None);
    assert_eq!(receiver.events(), ["failing"; 2]);
    let unsent = "SELECT count(*) FROM sync_notifications WHERE next_attempt_at IS NOT NULL";
    assert_eq!(world.value(unsent).await, "1");
    world.configure("");
    look(&world.app(), &mut NotificationMemory::default(), None, now() + MINUTE * 100).await;
    assert_eq!(world.value(unsent).await, "1", "the first cycle comes before");
    look(&world.app(), &mut NotificationMemory::default(), Some(&failed()), now() + MINUTE * 100).await;
    assert_eq!(world.value(unsent).await, "0");
}
