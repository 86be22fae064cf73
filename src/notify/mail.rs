//! Mail through an SMTP server. TLS is verified before a password is sent, and is left out on loopback only.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::error::DeliveryError;
use super::message::Message;
use super::secrets::{SecretFile, read_aside};
use crate::config::{SmtpConfig, SmtpSecurity};
use crate::files::SecretKind;
use crate::model::{chain, visible, without_personal_data};

/// The longest time for a mail: lettre limits the connection only.
const DEADLINE: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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
        let (mails, password, transport) = read_aside(move || {
            let mails = mailer.config.to.iter().map(|to| mailer.mail(&message, to)).collect::<Result<Vec<_>, _>>()?;
            let password = mailer.password()?;
            let transport = mailer.transport(password.as_ref())?;
            Ok((mails, password, transport))
        })
        .await?;
        let deadline = Instant::now() + DEADLINE;
        let (count, mut is_accepted, mut problems) = (mails.len(), false, Vec::new());
        for (number, mail) in (1..).zip(mails) {
            let (error, goes_on) = match tokio::time::timeout_at(deadline, transport.send(mail)).await {
                Ok(Ok(_)) => {
                    is_accepted = true;
                    continue;
                }
                Ok(Err(error)) => (self.refused(&error, password.as_ref()), is_about_receiver(&error)),
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
            "check notify.smtp_url and the firewall",
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

    fn transport(&self, password: Option<&SecretString>) -> Result<AsyncSmtpTransport<Tokio1Executor>, DeliveryError> {
        let SmtpConfig { security, user, host, port, .. } = &self.config;
        let tls = match security {
            SmtpSecurity::Implicit => Tls::Wrapper(self.tls()?),
            SmtpSecurity::StartTls => Tls::Required(self.tls()?),
            // Only loopback without a user.
            SmtpSecurity::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.trim_matches(['[', ']']))
            .port(*port)
            .tls(tls)
            .hello_name(ClientId::Domain(self.host_name.clone()))
            .timeout(Some(CONNECT_TIMEOUT));
        if let (Some(user), Some(password)) = (user, password) {
            let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
            builder = builder.credentials(credentials).authentication(vec![Mechanism::Plain, Mechanism::Login]);
        }
        Ok(builder.build())
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
            .header(ContentType::TEXT_PLAIN)
            .header(AutoSubmitted);
        let text = format!("{}\n", message.text());
        builder.body(text).map_err(|error| {
            DeliveryError::new(format!("cannot write the mail: {}", chain(&error)), "correct notify.from and notify.to")
        })
    }

    fn refused(&self, error: &lettre::transport::smtp::Error, password: Option<&SecretString>) -> DeliveryError {
        let SmtpConfig { host, port, user, .. } = &self.config;
        let words = chain(error);
        let password = password.map(|password| password.expose_secret()).unwrap_or_default();
        let user = user.as_deref().unwrap_or_default();
        // A server may repeat what it was sent.
        let sent = [
            password.to_owned(),
            BASE64_STANDARD.encode(password),
            BASE64_STANDARD.encode(format!("\0{user}\0{password}")),
        ];
        let secrets: Vec<&str> = sent.iter().map(String::as_str).filter(|secret| !secret.is_empty()).collect();
        let words = without_personal_data(&words, &secrets);
        let words = visible(&words);
        let code = error.status().map(u16::from).unwrap_or_default();
        let advice = if words.contains("certificate") {
            "the certificate of the mail server is not trusted, or has another name: check the host in notify.smtp_url, and \
             set entra.ca_file to its certificate authority"
        } else if code == 535 || code == 534 {
            "check the user in notify.smtp_url and the file of notify.smtp_password_file"
        } else if error.is_client() && words.contains("STARTTLS") {
            "the server does not offer STARTTLS, and nothing is sent without TLS: use smtps:// in notify.smtp_url, or \
             another port"
        } else if error.is_permanent() {
            "the server refuses the mail: check notify.from, notify.to and whether the server relays for this machine"
        } else {
            "check notify.smtp_url and the firewall"
        };
        DeliveryError::new(format!("cannot send the mail through {host}:{port}: {words}"), advice)
    }
}

/// Whether the server may accept the mail for another receiver. A refused sign-in is not repeated: accounts are locked.
fn is_about_receiver(error: &lettre::transport::smtp::Error) -> bool {
    const SIGN_IN: [u16; 5] = [421, 454, 530, 534, 535];
    error.status().is_some_and(|status| !SIGN_IN.contains(&u16::from(status)))
}
