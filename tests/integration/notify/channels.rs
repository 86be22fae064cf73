//! `notify test` and `check`.

use std::io::{Read as _, Write as _};

use graph_sim::{GraphSim, Tenant};
use serde_json::json;

use super::receiver::Receiver;
use super::{configure_webhook, secret_file};
use crate::program::users;
use crate::world::World;

#[tokio::test]
async fn a_test_message_shows_whether_the_webhook_accepts_it() {
    let world = World::start(Tenant::default()).await;
    let missing = world.run_program(&["notify", "test"], 78);
    assert!(missing.stderr.contains("[notify] is missing") && missing.stdout.is_empty(), "{missing:?}");
    world.run_program(&["notify", "test", "--json"], 78).json();
    let receiver = Receiver::start();
    configure_webhook(&world, &receiver, "");
    let ran = world.run_program(&["notify", "test"], 0);
    assert_eq!(ran.stdout, "ok   webhook  accepted the test message\n");
    assert_eq!(receiver.events(), ["test"]);
    assert_eq!(receiver.requests()[0].json()["count"], json!(0));
    assert!(!world.path("learners.db").exists());
    for (status, advice) in
        [(302, "redirects are not followed"), (404, "check the address"), (500, "look at the service")]
    {
        receiver.clear();
        receiver.answer([status]);
        let ran = world.run_program(&["notify", "test"], 1);
        assert!(ran.stdout.contains(&format!("FAIL webhook  the webhook answered {status}\n")), "{ran:?}");
        assert!(ran.stdout.contains(advice) && !ran.stdout.contains("TOKEN"), "{ran:?}");
        assert_eq!(receiver.requests().len(), 1, "{status} was followed");
    }
    receiver.answer([500]);
    let document = world.run_program(&["notify", "test", "--json"], 1).json();
    let expected = json!({
        "ok": false,
        "channels": [{
            "channel": "webhook", "ok": false, "error": "the webhook answered 500",
            "hint": "look at the service that the file of notify.webhook_url_file names",
        }],
    });
    assert_eq!(document, expected);
}

#[tokio::test]
async fn a_wrong_file_is_a_reason_and_never_shown() {
    let world = World::start(Tenant::default()).await;
    let receiver = Receiver::start();
    configure_webhook(&world, &receiver, "");
    for (content, reason) in [
        ("http://hooks.example.org/TOKEN", "must begin with https://"),
        ("ftp://hooks.example.org/TOKEN", "must begin with https://"),
        ("TOKEN", "is not a URL"),
        ("", "is empty"),
        ("https://a.example/TOKEN\nhttps://b.example/TOKEN", "more than one line"),
    ] {
        secret_file(&world, "webhook-url", content);
        let ran = world.run_program(&["notify", "test"], 1);
        assert!(ran.stdout.contains(reason), "{content}: {ran:?}");
        let check = world.run_program(&["check"], 1);
        assert!(check.stdout.contains("FAIL notify webhook") && check.stdout.contains(reason), "{check:?}");
        assert!(!format!("{ran:?}{check:?}").contains("TOKEN"), "{ran:?}");
    }
    std::fs::remove_file(world.path("webhook-url")).unwrap();
    let ran = world.run_program(&["notify", "test"], 1);
    assert!(ran.stdout.contains("cannot read") && ran.stdout.contains("webhook-url"), "{ran:?}");
    // The file is read at each message.
    secret_file(&world, "webhook-url", &receiver.url());
    world.run_program(&["notify", "test"], 0);
    std::fs::remove_file(world.path("webhook-secret")).unwrap();
    let ran = world.run_program(&["notify", "test"], 1);
    assert!(ran.stdout.contains("notify.webhook_secret_file: cannot read"), "{ran:?}");
}

#[tokio::test]
async fn the_certificate_of_a_webhook_is_verified_and_may_have_a_private_authority() {
    let sim = GraphSim::start_tls(users(1).0).await;
    let world = World::start(Tenant::default()).await;
    let url = secret_file(&world, "webhook-url", &format!("{}/hook", sim.url()));
    world.configure(&format!("[notify]\nwebhook_url_file = {url:?}"));
    let ran = world.run_program(&["notify", "test"], 1);
    assert!(ran.stdout.contains("the certificate is not trusted") && ran.stderr.is_empty(), "{ran:?}");
    assert_eq!(sim.requests(), 0);
    let authority = world.path("authority.pem");
    std::fs::write(&authority, sim.ca_pem().unwrap()).unwrap();
    world.reconfigure(|text| text.replace("[entra]\n", &format!("[entra]\nca_file = {authority:?}\n")));
    let ran = world.run_program(&["notify", "test"], 1);
    assert!(ran.stdout.contains("the webhook answered 4"), "{ran:?}");
    assert_eq!(sim.requests(), 1);
}

#[tokio::test]
async fn a_webhook_may_answer_without_end_and_not_in_part() {
    let world = World::start(Tenant::default()).await;
    for (answer, code) in [("HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n", 0), ("HTTP/1.1 200", 1), ("", 1)]
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/TOKEN", listener.local_addr().unwrap());
        let url = secret_file(&world, "webhook-url", &url);
        world.configure(&format!("[notify]\nwebhook_url_file = {url:?}"));
        let service = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = [0; 1 << 16];
            assert!(client.read(&mut request).unwrap() > 0);
            client.write_all(answer.as_bytes()).unwrap();
            // A body without end, until the program closes the connection.
            let blocks = if code == 0 { usize::MAX } else { 0 };
            let blocks = (0..blocks).map_while(|_| client.write(&[b'a'; 1 << 16]).ok());
            blocks.sum::<usize>()
        });
        let ran = world.run_program(&["notify", "test"], code);
        let advice = "the service gave no complete answer";
        assert_eq!(ran.stdout.contains(advice), code == 1, "{ran:?}");
        assert!(!format!("{ran:?}").contains("TOKEN"), "{ran:?}");
        assert!(service.join().unwrap() < 64 << 20);
    }
}

#[tokio::test]
async fn check_tests_the_channels_without_a_message() {
    let world = World::start(users(1).0).await;
    let receiver = Receiver::start();
    configure_webhook(&world, &receiver, "");
    let check = world.run_program(&["check"], 0);
    assert!(check.stdout.contains("ok   notify webhook") && !check.stdout.contains("TOKEN"), "{check:?}");
    assert_eq!(receiver.requests().len(), 0);
}

#[tokio::test]
async fn credentials_of_the_unit_replace_the_files() {
    let world = World::start(Tenant::default()).await;
    let receiver = Receiver::start();
    let directory = world.path("credentials");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("webhook-url"), receiver.url()).unwrap();
    std::fs::write(directory.join("webhook-secret"), super::KEY).unwrap();
    let environment = [("CREDENTIALS_DIRECTORY", directory.to_str().unwrap())];
    world.run_program_with(&environment, &["notify", "test"], 0);
    assert!(receiver.requests()[0].headers.contains_key("x-learner-sync-signature"));
}
