//! Mail through an SMTP server. TLS is verified before a password is sent, and is left out on loopback only.

mod advice;
mod stream;

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout, timeout_at};

use self::advice::{NO_ANSWER, advice};
use self::stream::LimitedStream;
use super::error::DeliveryError;
use super::message::Message;
use super::secrets::{SecretFile, read_aside};
use crate::config::{SmtpConfig, SmtpSecurity};
use crate::files::SecretKind;
use crate::model::{chain, foreign_message, without_personal_data};

/// The longest time for all mails of a message, without the ends of the connections: lettre limits the connection only.
const DEADLINE: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may take to end a connection, after it has accepted the mail.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);
const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

/// The mail server, and the addresses.
#[derive(Clone, Debug)]
pub(super) struct Mailer {
    pub(super) config: SmtpConfig,
    pub(super) password: Option<SecretFile>,
    /// Trusted in addition to the system's certificates, in PEM.
    pub(super) ca_pem: Option<Vec<u8>>,
    /// How this machine greets the server.
    pub(super) host_name: String,
}

/// What a connection needs.
struct Access {
    protection: Protection,
    credentials: Option<Credentials>,
}

/// [`SmtpSecurity`] with the certificates.
enum Protection {
    Implicit(TlsParameters),
    StartTls(TlsParameters),
    None,
}

/// Why a mail was not accepted.
#[derive(Debug, thiserror::Error)]
enum MailError {
    /// There is no connection.
    #[error("cannot connect")]
    Connect(#[from] std::io::Error),
    /// The server refused something, or answered nothing sensible.
    #[error(transparent)]
    Smtp(#[from] smtp::Error),
}

impl MailError {
    /// The code of the server's answer.
    fn status(&self) -> Option<u16> {
        match self {
            Self::Connect(_) => None,
            Self::Smtp(error) => error.status().map(u16::from),
        }
    }

    /// Whether the server may accept the mail for another receiver. A refused sign-in is not repeated: accounts are locked.
    fn is_about_receiver(&self) -> bool {
        const SIGN_IN: [u16; 5] = [421, 454, 530, 534, 535];
        self.status().is_some_and(|status| !SIGN_IN.contains(&status))
    }
}

/// No person answers, and no program should: RFC 3834.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

impl Mailer {
    /// Sends a message to each address, so that a refused one does not stop the others. One accepted mail is enough.
    pub(super) async fn send(&self, message: &Message) -> Result<(), DeliveryError> {
        let (mailer, message) = (self.clone(), message.clone());
        let (mails, password, access) = read_aside(move || {
            let mails = mailer.config.to.iter().map(|to| mailer.mail(&message, to)).collect::<Result<Vec<_>, _>>()?;
            let password = mailer.password()?;
            let access = mailer.access(password.as_ref())?;
            Ok((mails, password, access))
        })
        .await?;
        let mut deadline = Instant::now() + DEADLINE;
        let (count, mut is_accepted, mut problems) = (mails.len(), false, Vec::new());
        for (number, mail) in (1..).zip(mails) {
            let (error, goes_on) = match timeout_at(deadline, self.deliver(&mail, &access)).await {
                Ok(Ok(mut connection)) => {
                    is_accepted = true;
                    // The next mails lose no time by a server that does not answer the QUIT.
                    let accepted_at = Instant::now();
                    let _ = timeout(QUIT_TIMEOUT, connection.abort()).await;
                    deadline += accepted_at.elapsed();
                    continue;
                }
                Ok(Err(error)) => (self.refused(&error, password.as_ref()), error.is_about_receiver()),
                Err(_) => (self.unanswered(), false),
            };
            problems.push((number, error));
            if !goes_on {
                break;
            }
        }
        match problems.first() {
            Some((_, error)) if !is_accepted => return Err(error.clone()),
            _ => {}
        }
        for (number, error) in problems {
            tracing::warn!("entry {number} of the {count} in notify.to was not reached: {error}");
        }
        Ok(())
    }

    fn unanswered(&self) -> DeliveryError {
        DeliveryError::new(
            format!("the mail server {} did not answer within {} s", self.config.host, DEADLINE.as_secs()),
            NO_ANSWER,
        )
    }

    /// Checks that the password and the certificates can be read.
    pub(super) fn check(&self) -> Result<(), DeliveryError> {
        self.password()?;
        if self.config.security != SmtpSecurity::None {
            self.tls()?;
        }
        Ok(())
    }

    /// The password, if there is a user.
    fn password(&self) -> Result<Option<SecretString>, DeliveryError> {
        match (&self.config.user, &self.password) {
            (None, _) => Ok(None),
            (Some(_), Some(file)) => file.read(SecretKind::Password).map(Some),
            (Some(_), None) => Err(DeliveryError::new(
                "notify.smtp_url has a user, but there is no password",
                "set notify.smtp_password_file, or add LoadCredential=smtp-password:FILE to the systemd unit",
            )),
        }
    }

    fn access(&self, password: Option<&SecretString>) -> Result<Access, DeliveryError> {
        let SmtpConfig { security, user, .. } = &self.config;
        let protection = match security {
            SmtpSecurity::Implicit => Protection::Implicit(self.tls()?),
            SmtpSecurity::StartTls => Protection::StartTls(self.tls()?),
            // Only loopback without a user.
            SmtpSecurity::None => Protection::None,
        };
        let credentials = user.clone().zip(password);
        let credentials =
            credentials.map(|(user, password)| Credentials::new(user, password.expose_secret().to_owned()));
        Ok(Access { protection, credentials })
    }

    /// Sends a mail over a connection of its own, because some servers accept one mail only. lettre's transport takes a
    /// mail for unsent when the server does not answer the QUIT after it, and the mail would be sent again and again:
    /// the caller ends the connection.
    async fn deliver(&self, mail: &lettre::Message, access: &Access) -> Result<AsyncSmtpConnection, MailError> {
        let Access { protection, credentials } = access;
        let SmtpConfig { host, port, .. } = &self.config;
        let hello = ClientId::Domain(self.host_name.clone());
        let host = host.trim_matches(['[', ']']);
        let limited = async || {
            let stream = LimitedStream::connect(host, *port, CONNECT_TIMEOUT).await?;
            Ok::<_, MailError>(AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello).await?)
        };
        let mut connection = match protection {
            Protection::None => limited().await?,
            Protection::StartTls(tls) => {
                let mut connection = limited().await?;
                connection.starttls(tls.clone(), &hello).await?;
                connection
            }
            // lettre offers no limit of bytes here: a server that has proven its name can still fill the memory until the
            // deadline.
            Protection::Implicit(tls) => {
                let (tls, longest) = (Some(tls.clone()), Some(CONNECT_TIMEOUT));
                AsyncSmtpConnection::connect_tokio1((host, *port), longest, &hello, tls, None).await?
            }
        };
        if let Some(credentials) = credentials {
            connection.auth(&MECHANISMS, credentials).await?;
        }
        connection.send(mail.envelope(), &mail.formatted()).await?;
        Ok(connection)
    }

    fn tls(&self) -> Result<TlsParameters, DeliveryError> {
        let advice = "check entra.ca_file and the certificates of the system";
        let wrong =
            |error| DeliveryError::new(format!("cannot prepare TLS for the mail server: {}", chain(&error)), advice);
        // A name in a URL has brackets around an IPv6 address, and a certificate has none.
        let mut builder = TlsParameters::builder(self.config.host.trim_matches(['[', ']']).to_owned());
        if let Some(pem) = &self.ca_pem {
            builder = builder.add_root_certificate(Certificate::from_pem(pem).map_err(wrong)?);
        }
        builder.build().map_err(wrong)
    }

    fn mail(&self, message: &Message, to: &String) -> Result<lettre::Message, DeliveryError> {
        let SmtpConfig { from, .. } = &self.config;
        let address = |text: &String| {
            text.parse::<Mailbox>().map_err(|_| {
                DeliveryError::new(
                    "an address of notify.from or notify.to is invalid",
                    "correct it in the configuration",
                )
            })
        };
        let from = address(from)?;
        // A retry after a lost answer has the same id, so that a mail server can recognise it.
        let id = blake3::hash(message.key.as_bytes()).to_hex();
        let id = format!("<{}@{}>", &id[..32], from.email.domain());
        let builder: MessageBuilder = lettre::Message::builder()
            .from(from)
            .to(address(to)?)
            .subject(message.subject())
            .message_id(Some(id))
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN)
            .header(AutoSubmitted);
        let text = format!("{}\n", message.text());
        builder.body(text).map_err(|error| {
            DeliveryError::new(format!("cannot write the mail: {}", chain(&error)), "correct notify.from and notify.to")
        })
    }

    fn refused(&self, error: &MailError, password: Option<&SecretString>) -> DeliveryError {
        let SmtpConfig { host, port, user, .. } = &self.config;
        let words = chain(error);
        let password = password.map(|password| password.expose_secret()).unwrap_or_default();
        let user = user.as_deref().unwrap_or_default();
        // A server may repeat what it was sent, and in parts that do not look like it.
        let sent = [
            password.to_owned(),
            BASE64_STANDARD.encode(password),
            BASE64_STANDARD.encode(format!("\0{user}\0{password}")),
        ];
        let secrets: Vec<&str> = sent.iter().map(String::as_str).filter(|secret| !secret.is_empty()).collect();
        let impersonal = without_personal_data(&words, &[]);
        let is_repeated = secrets.iter().any(|secret| repeats(&words, secret))
            || without_personal_data(&words, &secrets) != impersonal;
        let advice = advice(error.status(), &impersonal);
        let words = match is_repeated {
            true => "the answer is not shown, because it contains a part of the password".to_owned(),
            false => foreign_message(&impersonal),
        };
        DeliveryError::new(format!("cannot send the mail through {host}:{port}: {words}"), advice)
    }
}

/// Whether the text contains the secret, or one of its words. Capitals and the ends of lines may differ.
fn repeats(text: &str, secret: &str) -> bool {
    /// Shorter words occur in any text.
    const MIN_WORD: usize = 4;
    let (text, secret) = (text.to_lowercase(), secret.to_lowercase());
    let joined = |text: &str| text.split_whitespace().collect::<String>();
    let text = joined(&text);
    text.contains(&joined(&secret))
        || secret.split_whitespace().any(|word| word.len() >= MIN_WORD && text.contains(word))
}
