//! Messages to administrators: a webhook and mail.
//!
//! `decision` decides which messages a cycle causes, `message` has their words, `webhook` and `mail` send them, and
//! `schedule` says when a message is tried again. Nothing here touches the learner database.

mod decision;
mod error;
mod mail;
mod message;
mod schedule;
mod secrets;
mod webhook;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

pub use self::decision::{CycleResult, NotificationFacts, NotificationPolicy, decide};
pub use self::error::DeliveryError;
use self::mail::Mailer;
pub use self::message::{Message, MessageOrigin};
pub use self::schedule::{is_due, is_too_old, wait_after};
use self::secrets::SecretFile;
use self::webhook::Webhook;
use crate::auth::Http;
use crate::config::{NotifyConfig, is_loopback};
use crate::model::{NotificationChannel, NotificationEvent};

/// The configured channels.
#[derive(Clone, Debug)]
pub struct Notifier {
    webhook: Option<Webhook>,
    mailer: Option<Mailer>,
    has_names: bool,
    events: BTreeSet<NotificationEvent>,
}

/// What all channels have in common.
#[derive(Clone, Debug)]
pub struct NotifierParts<'a> {
    /// The client for the webhook, with a short deadline.
    pub http: Http,
    /// Whether the client uses a proxy beyond loopback.
    pub has_proxy: bool,
    /// Trusted in addition to the system's certificates, in PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// How this machine greets a mail server.
    pub host_name: String,
    /// For the systemd credentials.
    pub environment: &'a BTreeMap<String, String>,
}

/// The part of a channel that can be checked without a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelTarget {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether the host is reached through the proxy, which resolves its name.
    pub is_behind_proxy: bool,
}

impl Notifier {
    /// The channels of `config`; `None` when there are none. No file is read yet.
    pub fn new(config: &NotifyConfig, parts: NotifierParts<'_>) -> Option<Self> {
        let NotifyConfig { webhook_url_file, webhook_secret_file, smtp, names, events } = config;
        let NotifierParts { http, has_proxy, ca_pem, host_name, environment } = parts;
        let find = |key, file: Option<&_>, credential| SecretFile::find(key, file, credential, environment);
        let url = find("notify.webhook_url_file", webhook_url_file.as_ref(), "webhook-url");
        let webhook = url.map(|url| Webhook {
            http,
            has_proxy,
            url,
            secret: find("notify.webhook_secret_file", webhook_secret_file.as_ref(), "webhook-secret"),
        });
        let mailer = smtp.as_ref().map(|smtp| Mailer {
            config: smtp.clone(),
            password: find("notify.smtp_password_file", smtp.password_file.as_ref(), "smtp-password"),
            ca_pem,
            host_name,
        });
        let has_channel = webhook.is_some() || mailer.is_some();
        has_channel.then(|| Self { webhook, mailer, has_names: *names, events: events.clone() })
    }

    /// The configured channels.
    pub fn channels(&self) -> BTreeSet<NotificationChannel> {
        let webhook = self.webhook.is_some().then_some(NotificationChannel::Webhook);
        webhook.into_iter().chain(self.mailer.is_some().then_some(NotificationChannel::Mail)).collect()
    }

    /// The wanted messages and their channels.
    pub fn policy(&self) -> NotificationPolicy {
        NotificationPolicy { events: self.events.clone(), channels: self.channels() }
    }

    /// Whether messages name users.
    pub fn has_names(&self) -> bool {
        self.has_names
    }

    /// Sends `message` by `channel`.
    ///
    /// # Errors
    /// Why the channel has not accepted it.
    pub async fn send(
        &self,
        channel: NotificationChannel,
        message: &Message,
        now: Timestamp,
    ) -> Result<(), DeliveryError> {
        match (channel, &self.webhook, &self.mailer) {
            (NotificationChannel::Webhook, Some(webhook), _) => webhook.send(message, now).await,
            (NotificationChannel::Mail, _, Some(mailer)) => mailer.send(message).await,
            (NotificationChannel::Webhook, None, _) | (NotificationChannel::Mail, _, None) => {
                Err(DeliveryError::new("it is not configured", "learner-sync guide monitoring"))
            }
        }
    }

    /// Checks the files and addresses of `channel`; `None` when it is not configured.
    ///
    /// # Errors
    /// What an administrator has to correct.
    pub fn target(&self, channel: NotificationChannel) -> Option<Result<ChannelTarget, DeliveryError>> {
        match channel {
            NotificationChannel::Webhook => self.webhook.as_ref().map(|webhook| {
                let url = webhook.address()?;
                webhook.check_secret()?;
                let host = url.host_str().unwrap_or_default().to_owned();
                let is_behind_proxy = webhook.has_proxy && !is_loopback(&host);
                Ok(ChannelTarget { port: url.port_or_known_default().unwrap_or_default(), is_behind_proxy, host })
            }),
            NotificationChannel::Mail => self.mailer.as_ref().map(|mailer| {
                mailer.check()?;
                let (host, port) = (mailer.config.host.clone(), mailer.config.port);
                Ok(ChannelTarget { host, port, is_behind_proxy: false })
            }),
        }
    }
}
