//! How long a mail server may take: on a paused clock.

use std::time::Duration;

use learner_sync::auth::{Network, http_client};
use learner_sync::config::{NotifyConfig, SmtpConfig, SmtpSecurity};
use learner_sync::model::{NotificationChannel, NotificationEvent};
use learner_sync::notify::{DeliveryError, Message, MessageOrigin, Notifier, NotifierParts};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};

use super::now;

/// Sends a test message to this server without TLS.
async fn send_to(port: u16) -> Result<(), DeliveryError> {
    let smtp = SmtpConfig {
        security: SmtpSecurity::None,
        user: None,
        host: "127.0.0.1".to_owned(),
        port,
        password_file: None,
        from: "sync@example.org".to_owned(),
        to: vec!["ops@example.org".to_owned()],
    };
    let config = NotifyConfig {
        webhook_url_file: None,
        webhook_secret_file: None,
        smtp: Some(smtp),
        names: false,
        events: NotificationEvent::ALL.iter().copied().collect(),
    };
    let network = Network {
        ca_pem: None,
        proxy: None,
        proxy_password: None,
        no_proxy: None,
        request_deadline: Duration::from_secs(30),
    };
    let parts = NotifierParts {
        http: http_client(&network).unwrap(),
        has_proxy: false,
        ca_pem: None,
        host_name: "localhost".to_owned(),
        environment: &Default::default(),
    };
    let notifier = Notifier::new(&config, parts).unwrap();
    let origin = MessageOrigin { source: "a/b".to_owned(), options: String::new(), has_names: false };
    notifier.send(NotificationChannel::Mail, &Message::test(now(), &origin), now()).await
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_up_after_half_a_minute() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let begun = tokio::time::Instant::now();
    let sent = send_to(silent.local_addr().unwrap().port()).await;
    assert!(sent.unwrap_err().advice.contains("check notify.smtp_url"));
    assert!(begun.elapsed().as_secs() <= 31, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_mail_accepted_at_the_last_moment_is_sent_although_the_connection_ends_later() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // A paused clock goes on while an answer is on its way, except when a thread is busy.
    let (release, held) = std::sync::mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || held.recv());
    tokio::spawn(async move {
        let mut release = Some(release);
        let (reading, mut writing) = listener.accept().await.unwrap().0.into_split();
        let mut lines = tokio::io::BufReader::new(reading).lines();
        writing.write_all(b"220 ready\r\n").await.unwrap();
        while let Some(line) = lines.next_line().await.unwrap() {
            let answer: &[u8] = match line.split([' ', ':']).next().unwrap() {
                "EHLO" | "MAIL" | "RCPT" => b"250 ok\r\n",
                "DATA" => b"354 go on\r\n",
                "." => {
                    tokio::time::advance(Duration::from_secs(29)).await;
                    b"250 accepted\r\n"
                }
                // There is no answer, and the clock goes on.
                "QUIT" => {
                    release = None;
                    continue;
                }
                _ => continue,
            };
            writing.write_all(answer).await.unwrap();
        }
        drop(release);
    });
    send_to(port).await.unwrap();
}
