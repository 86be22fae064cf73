//! The webhook of a running daemon, and its signature.

use std::io::Write as _;
use std::process::{Command, Stdio};

use graph_sim::Fault;
use rustix::process::Signal;
use serde_json::json;

use super::configure_webhook;
use super::receiver::{Received, Receiver};
use crate::database::{apply, on_both};
use crate::machine::skipped;
use crate::program::{Daemon, eventually, keys, users};
use crate::world::World;

/// The example of the guide between ```` ```LANGUAGE ```` and ```` ``` ````, with the file of the key in this world.
fn example(world: &World, language: &str) -> String {
    let guide = include_str!("../../../src/cli/guide/monitoring.md");
    let words = if language == "python" { "import hmac" } else { "openssl dgst" };
    let fence = format!("```{language}\n");
    let mut blocks = guide.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = blocks.find(|block| block.contains(words)).unwrap();
    block.replace("/etc/learner-sync/webhook-secret", &world.path("webhook-secret").display().to_string())
}

/// Both examples of the guide accept the signature, and no other.
fn verify_signature(world: &World, request: &Received) {
    let (timestamp, signature) =
        (&request.headers["x-learner-sync-timestamp"], &request.headers["x-learner-sync-signature"]);
    let accepts = |body: &[u8]| {
        let mut python = Command::new("python3");
        python.arg("-c").arg(example(world, "python")).args([timestamp, signature]).stdin(Stdio::piped());
        let Ok(mut python) = python.spawn() else {
            skipped("python3 is not installed");
            return None;
        };
        python.stdin.take().unwrap().write_all(body).unwrap();
        Some(python.wait().unwrap().success())
    };
    assert_ne!(accepts(&request.body), Some(false));
    assert_ne!(accepts(b"{}"), Some(true));
    std::fs::write(world.path("body.json"), &request.body).unwrap();
    let mut shell = Command::new("sh");
    let shell = shell.arg("-c").arg(example(world, "sh")).env("timestamp", timestamp).current_dir(world.path(""));
    let output = String::from_utf8(shell.output().unwrap().stdout).unwrap();
    match output.trim() {
        "" => skipped("openssl is not installed"),
        found => assert_eq!(found, signature),
    }
}

/// Nothing that the program wrote has a part of the address or the key.
fn tells_no_secret(world: &World, text: &str) {
    for secret in ["TOKEN-a1b2c3", "SIGNATURE-d4e5", super::KEY] {
        assert!(!text.contains(secret), "{text}");
    }
    let files = world.files().into_iter().filter(|(name, _)| !name.contains("webhook-"));
    for (name, content) in files {
        let content = String::from_utf8_lossy(&content);
        assert!(!content.contains("TOKEN-a1b2c3") && !content.contains(super::KEY), "{name}");
    }
}

async fn cycle(daemon: &Daemon, ended: usize) {
    daemon.signal(Signal::USR1);
    daemon.logged("waiting next_cycle.at=", ended).await;
}

async fn received(receiver: &Receiver, count: usize) -> Vec<Received> {
    eventually("a webhook arrives", async || {
        let requests = receiver.requests();
        (requests.len() >= count).then_some(requests)
    })
    .await
}

#[apply(on_both)]
async fn held_users_are_told_without_names_unless_they_are_wanted() {
    let world = World::start(users(12).0).await;
    let receiver = Receiver::start();
    configure_webhook(&world, &receiver, "");
    let daemon = world.daemon().await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    assert_eq!(receiver.events(), [""; 0]);
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").always().empty_list());
    cycle(&daemon, 2).await;
    let request = received(&receiver, 1).await.remove(0);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hooks/TOKEN-a1b2c3"));
    assert!(request.headers["content-type"].starts_with("application/json"), "{request:?}");
    let message = request.json();
    assert_eq!(keys(&message), ["at", "command", "count", "event", "source", "text", "users"].into(), "{message:#}");
    assert_eq!((&message["event"], &message["count"]), (&json!("held"), &json!(12)));
    let command = message["command"].as_str().unwrap();
    assert_eq!(command, format!("learner-sync approve --config {}", world.config_path().display()));
    let status = world.run_program(&["status", "--json"], 0).json();
    assert_eq!(message["source"], status["source"]);
    let held: Vec<_> = status["held"].as_array().unwrap().iter().map(|user| user["entra_id"].clone()).collect();
    assert_eq!(message["users"], json!(held[..5]));
    assert!(!message.to_string().to_lowercase().contains("ada"), "{message:#}");
    verify_signature(&world, &request);
    // The same users are still held.
    cycle(&daemon, 3).await;
    world.reconfigure(|text| format!("{text}names = true\n"));
    daemon.signal(Signal::HUP);
    daemon.logged("configuration reloaded", 1).await;
    world.execute("DELETE FROM sync_notifications").await;
    cycle(&daemon, 4).await;
    let message = received(&receiver, 2).await[1].json();
    assert!(message["users"][0]["name"].as_str().unwrap().starts_with("ada.number"), "{message:#}");
    assert_eq!(message["users"][0]["id"], held[0]);
    tells_no_secret(&world, &daemon.log());
    daemon.stop().await;
    assert_eq!(receiver.requests().len(), 2);
}

#[apply(on_both)]
async fn a_daemon_reports_failing_cycles_and_their_end_and_status_an_unsent_message() {
    let world = World::start(users(1).0).await;
    let receiver = Receiver::start();
    configure_webhook(&world, &receiver, "");
    let daemon = world.daemon().await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    receiver.answer([500]);
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").always().answer(403));
    cycle(&daemon, 2).await;
    daemon.logged("a message was not accepted", 1).await;
    let status = world.run_program(&["status", "--json"], 0).json();
    let unsent = &status["unsent_messages"][0];
    assert_eq!((&unsent["event"], &unsent["attempts"]), (&json!("failing"), &json!(1)), "{status:#}");
    assert!(unsent["error"].as_str().unwrap().starts_with("webhook: the webhook answered 500; "), "{unsent:#}");
    let screen = world.run_program(&["status"], 0).stdout;
    assert!(
        screen.contains("Message") && screen.contains("is not accepted after 1 attempt; next attempt at "),
        "{screen}"
    );
    cycle(&daemon, 3).await;
    assert_eq!(receiver.events(), ["failing"]);
    world.sim.clear_faults();
    cycle(&daemon, 4).await;
    // Nobody knows of the first failures, and nobody needs to know now.
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").always().answer(403));
    cycle(&daemon, 5).await;
    received(&receiver, 2).await;
    daemon.logged("message sent", 1).await;
    world.sim.clear_faults();
    cycle(&daemon, 6).await;
    received(&receiver, 3).await;
    assert_eq!(receiver.events(), ["failing", "failing", "recovered"]);
    daemon.logged("message sent", 2).await;
    let status = world.run_program(&["status", "--json"], 0).json();
    assert_eq!(status["unsent_messages"].as_array().map(Vec::len).unwrap_or_default(), 0, "{status:#}");
    tells_no_secret(&world, &daemon.log());
    daemon.stop().await;
}
