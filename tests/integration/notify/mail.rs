//! Mail through a real server: `aiosmtpd`, Debian's package python3-aiosmtpd.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use graph_sim::{Fault, Tenant};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{secret_file, webhook_section};
use crate::database::{apply, on_both};
use crate::machine::skipped;
use crate::notify::receiver::Receiver;
use crate::program::{eventually, users};
use crate::world::World;

const PASSWORD: &str = "pässword hunter2";
const ACCOUNT: &str = "sync@example.org:pässword hunter2";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/notify/smtp_server.py");

/// A mail server in a process of its own.
struct MailServer {
    child: Child,
    port: u16,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python that has aiosmtpd.
fn python() -> Option<&'static str> {
    let has = |python: &&str| {
        let import = Command::new(python).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        import.is_ok_and(|status| status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has);
    if found.is_none() {
        skipped("aiosmtpd is not installed; it is in the package python3-aiosmtpd");
    }
    found
}

impl MailServer {
    /// `None` when the program is not installed.
    fn start(mode: &str, certificate: Option<&PathBuf>, account: &str) -> Option<Self> {
        let certificate = certificate.map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        let mut command = Command::new(python()?);
        command.args([SCRIPT, mode, &certificate, account]).stdin(Stdio::null()).stdout(Stdio::piped());
        // It warns of the settings that a test needs.
        command.stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = output.next().unwrap().unwrap().parse().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let received = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in output.map_while(Result::ok) {
                received.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Some(Self { child, port, lines })
    }

    fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    /// The sign-ins and mails, when there are as many.
    async fn received(&self, count: usize) -> Vec<Value> {
        eventually("the mail server has received something", async || {
            let lines = self.lines();
            (lines.len() >= count).then_some(lines)
        })
        .await
    }
}

/// The files of an authority and of a server certificate with its key, for this name.
fn certificate(world: &World, name: &str) -> (PathBuf, PathBuf) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &authority).unwrap();
    let (ca, server) = (world.path(&format!("{name}-ca.pem")), world.path(&format!("{name}.pem")));
    std::fs::write(&ca, authority.pem()).unwrap();
    std::fs::write(&server, format!("{}{}", certificate.pem(), key.serialize_pem())).unwrap();
    (ca, server)
}

fn configure(world: &World, url: &str, has_password: bool, ca: Option<&PathBuf>) {
    let password = secret_file(world, "smtp-password", &format!("{PASSWORD}\n"));
    let password = if has_password { format!("smtp_password_file = {password:?}\n") } else { String::new() };
    world.configure(&format!(
        "[notify]\nsmtp_url = \"{url}\"\n{password}from = \"Learner Sync <sync@example.org>\"\n\
         to = [\"ops@example.org\", \"Zoë <zoe@example.org>\"]"
    ));
    if let Some(ca) = ca {
        world.reconfigure(|text| text.replace("[entra]\n", &format!("[entra]\nca_file = {ca:?}\n")));
    }
}

#[tokio::test]
async fn a_mail_arrives_with_starttls_and_with_smtps_after_the_sign_in() {
    let world = World::start(Tenant::default()).await;
    let (ca, server_file) = certificate(&world, "localhost");
    for (mode, scheme) in [("starttls", "smtp"), ("smtps", "smtps")] {
        let Some(server) = MailServer::start(mode, Some(&server_file), ACCOUNT) else { return };
        configure(&world, &format!("{scheme}://sync@example.org@localhost:{}", server.port), true, Some(&ca));
        let ran = world.run_program(&["notify", "test"], 0);
        assert_eq!(ran.stdout, "ok   mail     accepted the test message\n");
        let lines = server.received(4).await;
        let sign_in = json!({ "user": "sync@example.org", "password": PASSWORD, "tls": true });
        assert_eq!(lines[0], sign_in, "{mode}");
        let mail = &lines[1];
        assert_eq!((&mail["tls"], &mail["sender"]), (&json!(true), &json!("sync@example.org")));
        assert_eq!(
            [&mail["receivers"], &lines[3]["receivers"]],
            [&json!(["ops@example.org"]), &json!(["zoe@example.org"])]
        );
        let text = mail["mail"].as_str().unwrap();
        for part in [
            "Subject: learner-sync: this is a test message\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "From: \"Learner Sync\" <sync@example.org>\r\n",
            "\r\nMessage-ID: <",
            "\r\nDate: ",
            "\r\nRun: learner-sync notify test --config ",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }
}

#[tokio::test]
async fn no_password_and_no_mail_goes_to_a_server_without_verified_tls() {
    let world = World::start(Tenant::default()).await;
    let (ca, server_file) = certificate(&world, "localhost");
    let (other_ca, other_file) = certificate(&world, "mail.example.org");
    let cases = [
        ("plain", None, "smtp", Some(&ca), "STARTTLS"),
        ("starttls", Some(&server_file), "smtp", None, "the certificate of the mail server is not trusted"),
        ("smtps", Some(&server_file), "smtps", None, "the certificate of the mail server is not trusted"),
        // Its certificate has another name.
        ("starttls", Some(&other_file), "smtp", Some(&other_ca), "has another name"),
        ("smtps", Some(&other_file), "smtps", Some(&other_ca), "has another name"),
    ];
    for (mode, file, scheme, ca, reason) in cases {
        let Some(server) = MailServer::start(mode, file, ACCOUNT) else { return };
        configure(&world, &format!("{scheme}://sync@localhost:{}", server.port), true, ca);
        let ran = world.run_program(&["notify", "test"], 1);
        assert!(ran.stdout.contains("FAIL mail") && ran.stdout.contains(reason), "{mode} {scheme}: {ran:?}");
        assert_eq!(server.lines(), [Value::Null; 0], "{mode} {scheme}");
    }
}

#[tokio::test]
async fn a_refused_sign_in_names_the_files_and_no_secret() {
    let world = World::start(Tenant::default()).await;
    let (ca, server_file) = certificate(&world, "localhost");
    let Some(server) = MailServer::start("starttls", Some(&server_file), "sync:another password") else { return };
    configure(&world, &format!("smtp://sync@localhost:{}", server.port), true, Some(&ca));
    let ran = world.run_program(&["notify", "test"], 1);
    // The server repeats the password, and its encoding in two parts.
    assert!(ran.stdout.contains("notify.smtp_password_file") && ran.stdout.contains("is not shown"), "{ran:?}");
    assert!(!["hunter2", "cMOkc3N3b3"].iter().any(|part| ran.stdout.contains(part)), "{ran:?}");
    assert!(server.received(1).await.iter().all(|line| line["mail"].is_null()));
    // The file is read at each message.
    secret_file(&world, "smtp-password", "another password\n");
    world.run_program(&["notify", "test"], 0);
    configure(&world, &format!("smtp://sync@localhost:{}", server.port), false, Some(&ca));
    let ran = world.run_program(&["notify", "test"], 1);
    assert!(ran.stdout.contains("there is no password"), "{ran:?}");
    let check = world.run_program(&["check"], 1);
    assert!(check.stdout.contains("FAIL notify mail"), "{check:?}");
}

#[tokio::test]
async fn a_repeated_password_is_not_shown_however_short_or_ordinary_its_words_are() {
    let world = World::start(Tenant::default()).await;
    let (ca, server_file) = certificate(&world, "localhost");
    let Some(server) = MailServer::start("echo", Some(&server_file), "sync:another password") else { return };
    configure(&world, &format!("smtp://sync@localhost:{}", server.port), true, Some(&ca));
    for password in ["correct horse battery staple", "abcd efgh ijkl mnop", "hunter2", "q w x", "Hunter"] {
        secret_file(&world, "smtp-password", &format!("{password}\n"));
        let ran = world.run_program(&["notify", "test"], 1);
        assert!(ran.stdout.contains("is not shown") && !format!("{ran:?}").contains(password), "{password}: {ran:?}");
        assert!(ran.stdout.contains("notify.smtp_password_file"), "{password}: {ran:?}");
    }
}

#[tokio::test]
async fn a_refused_receiver_does_not_silence_the_others() {
    let world = World::start(Tenant::default()).await;
    let Some(server) = MailServer::start("plain", None, "-") else { return };
    configure(&world, &format!("smtp://127.0.0.1:{}", server.port), false, None);
    world.reconfigure(|text| text.replace("\"ops@example.org\", ", "\"refused@example.org\", "));
    let ran = world.run_program(&["notify", "test"], 0);
    assert_eq!(server.received(1).await[0]["receivers"], json!(["zoe@example.org"]));
    assert!(!format!("{ran:?}").contains("refused@example.org"), "{ran:?}");
    world.reconfigure(|text| text.replace("Zoë <zoe@example.org>", "refused@example.org"));
    let ran = world.run_program(&["notify", "test"], 1);
    assert!(ran.stdout.contains("the server refuses the mail") && !ran.stdout.contains("refused@"), "{ran:?}");
}

#[tokio::test]
async fn an_accepted_mail_is_sent_even_when_the_server_does_not_end_the_connection() {
    let world = World::start(Tenant::default()).await;
    let Some(server) = MailServer::start("mute", None, "-") else { return };
    configure(&world, &format!("smtp://127.0.0.1:{}", server.port), false, None);
    world.run_program(&["notify", "test"], 0);
    let receivers: Vec<Value> = server.received(2).await.iter().map(|mail| mail["receivers"].clone()).collect();
    assert_eq!(receivers, [json!(["ops@example.org"]), json!(["zoe@example.org"])]);
}

#[tokio::test]
async fn a_busy_server_has_advice_of_its_own_and_its_answer_is_cut() {
    let world = World::start(Tenant::default()).await;
    let Some(server) = MailServer::start("plain", None, "-") else { return };
    configure(&world, &format!("smtp://127.0.0.1:{}", server.port), false, None);
    world.reconfigure(|text| text.replace("ops@example.org", "busy@example.org").replace("zoe@", "busy@"));
    let ran = world.run_program(&["notify", "test"], 1);
    assert!(ran.stdout.contains("(451): later later") && ran.stdout.contains("does not accept the mail at present"));
    assert!(ran.stdout.len() < 1500, "{ran:?}");
}

#[tokio::test]
async fn a_server_that_sends_without_end_is_left() {
    let world = World::start(Tenant::default()).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    configure(&world, &format!("smtp://127.0.0.1:{}", listener.local_addr().unwrap().port()), false, None);
    let sent = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        // A line without an end, until the program closes the connection.
        std::iter::repeat_with(|| client.write(&[b'a'; 1 << 16])).map_while(Result::ok).sum::<usize>()
    });
    let ran = world.run_program(&["notify", "test"], 1);
    assert!(ran.stdout.contains("the server sends too much"), "{ran:?}");
    assert!(sent.join().unwrap() < 64 << 20);
}

#[tokio::test]
async fn a_server_of_another_protocol_is_named_as_such() {
    let world = World::start(Tenant::default()).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    configure(&world, &format!("smtp://127.0.0.1:{}", listener.local_addr().unwrap().port()), false, None);
    let answer =
        std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let ran = world.run_program(&["notify", "test"], 1);
    assert!(ran.stdout.contains("this is not an answer of a mail server"), "{ran:?}");
    answer.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_server_on_this_machine_may_do_without_tls_and_a_password() {
    let world = World::start(users(1).0).await;
    let Some(server) = MailServer::start("plain", None, "-") else { return };
    configure(&world, &format!("smtp://127.0.0.1:{}", server.port), false, None);
    let daemon = world.daemon().await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").always().answer(403));
    daemon.signal(Signal::USR1);
    let mail = server.received(1).await.remove(0);
    assert_eq!(mail["tls"], json!(false));
    let text = mail["mail"].as_str().unwrap();
    assert!(text.contains("Subject: learner-sync: provisioning has failed since 20"), "{text}");
    daemon.stop().await;
}

#[apply(on_both)]
async fn hostile_and_endless_names_add_no_header_and_no_line() {
    let (mut tenant, ids) = users(12);
    for (number, id) in ids.iter().enumerate() {
        let name = format!("{number}<script>alert(1)</script>@everyone{}", "a".repeat(100 << 10));
        tenant.user_mut(id).user_principal_name = Some(name);
    }
    let world = World::start(tenant).await;
    let Some(server) = MailServer::start("plain", None, "-") else { return };
    configure(&world, &format!("smtp://127.0.0.1:{}", server.port), false, None);
    let receiver = Receiver::start();
    let webhook = webhook_section(&world, &receiver);
    world.reconfigure(|text| text.replace("[notify]\n", &format!("{webhook}names = true\n")));
    let daemon = world.daemon().await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "12");
    // The program refuses such a name, but others write to the table as well.
    let mean = "\r\nBcc: eve@example.org\r\n\r\n\u{1b}[31m\u{202e}<!channel>";
    world.execute(&format!("UPDATE learners SET user_name = '{mean}' || user_name")).await;
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").always().empty_list());
    daemon.signal(Signal::USR1);
    daemon.logged("message sent", 1).await;
    daemon.stop().await;
    let mail = server.received(2).await.remove(0);
    assert_eq!(mail["receivers"], json!(["ops@example.org"]));
    let (headers, _) = mail["mail"].as_str().unwrap().split_once("\r\n\r\n").unwrap();
    let lines = headers.lines().filter(|line| !line.starts_with(' '));
    let names: BTreeSet<&str> = lines.map(|line| line.split(':').next().unwrap()).collect();
    let own = names.iter().copied().filter(|name| !name.starts_with("X-")).collect::<Vec<_>>().join(" ");
    let expected = "Auto-Submitted Content-Transfer-Encoding Content-Type Date From MIME-Version Message-ID Subject To";
    assert_eq!(own, expected, "{headers}");
    assert!(headers.contains("Subject: learner-sync: 12 users are held"), "{headers}");

    let request = receiver.requests().remove(0);
    assert!(request.body.len() < 10_000, "{}", request.body.len());
    let message = request.json();
    let text = message["text"].as_str().unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(!text.contains(['<', '\u{1b}', '\u{202e}']), "{text}");
    assert!(text.contains("Bcc: eve@\u{200b}example.org") && text.contains("‹script›"), "{text}");
    let stored = world.query("SELECT * FROM sync_notifications").await.concat().concat();
    assert!(stored.len() < 10_000, "{stored}");
}

#[tokio::test]
async fn a_server_that_hangs_never_delays_a_cycle_or_the_stop() {
    let world = World::start(users(1).0).await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    configure(&world, &format!("smtp://127.0.0.1:{}", silent.local_addr().unwrap().port()), false, None);
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").always().answer(403));
    let daemon = world.daemon().await;
    // The message of the first cycle is being sent from now on.
    let _connection = silent.accept().unwrap();
    for cycle in 2..=4 {
        daemon.signal(Signal::USR1);
        daemon.logged("waiting next_cycle.at=", cycle).await;
    }
    assert!(!daemon.log().contains("was not accepted"), "{}", daemon.log());
    daemon.stop().await;
    // The next start tries it again.
    assert_eq!(world.value("SELECT cause FROM sync_notifications WHERE next_attempt_at IS NOT NULL").await, "failing");
}
