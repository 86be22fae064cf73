//! `[notify]`: messages to administrators.

use std::collections::BTreeSet;
use std::path::PathBuf;

use lettre::message::Mailbox;
use percent_encoding::percent_decode_str;

use super::formats::{is_host, is_loopback};
use super::reader::Reader;
use crate::model::NotificationEvent;
use crate::nearest::{did_you_mean, nearest};

/// The ports of mail servers: for programs that sign in, with TLS from the first byte, and between servers.
const SUBMISSION: u16 = 587;
const SUBMISSIONS: u16 = 465;
const RELAY: u16 = 25;

/// `[notify]`: messages to administrators. Without a webhook and a mail server there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyConfig {
    /// The file with the address of the webhook. Default: the systemd credential, or no webhook.
    pub webhook_url_file: Option<PathBuf>,
    /// The file with the key that signs webhooks. Default: the systemd credential, or no signature.
    pub webhook_secret_file: Option<PathBuf>,
    /// The mail server and the addresses.
    pub smtp: Option<SmtpConfig>,
    /// Whether messages name users. Default: no.
    pub names: bool,
    /// The wanted messages. Default: all.
    pub events: BTreeSet<NotificationEvent>,
}

/// A mail server, and the addresses of its mails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpConfig {
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// The user who signs in.
    pub user: Option<String>,
    /// The server; an IPv6 address is in brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The file with the password. Default: the systemd credential.
    pub password_file: Option<PathBuf>,
    /// The sender.
    pub from: String,
    /// The receivers.
    pub to: Vec<String>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// TLS from the first byte.
    Implicit,
    /// STARTTLS, without which nothing is sent.
    StartTls,
    /// Nothing: the server is this machine, and there is no password.
    None,
}

/// The parts of `smtp_url`.
struct SmtpUrl {
    security: SmtpSecurity,
    user: Option<String>,
    host: String,
    port: u16,
}

/// The section.
pub(super) fn read(reader: &mut Reader<'_>) -> NotifyConfig {
    let webhook_url_file = reader.path("notify.webhook_url_file");
    let webhook_secret_file = reader.path("notify.webhook_secret_file");
    NotifyConfig {
        webhook_url_file,
        webhook_secret_file,
        smtp: smtp(reader),
        names: reader.flag("notify.names", false),
        events: events(reader),
    }
}

fn smtp(reader: &mut Reader<'_>) -> Option<SmtpConfig> {
    let is_given = reader.present("notify.smtp_url");
    let url = reader.text("notify.smtp_url", smtp_url);
    let password_file = reader.path("notify.smtp_password_file");
    let from = reader.text("notify.from", mail_address);
    let to = reader.list("notify.to");
    for (number, text) in (1..).zip(&to) {
        if let Err(problem) = mail_address(text) {
            reader.refuse("notify.to", format!("entry {number} {problem}"));
        }
    }
    for key in ["notify.smtp_password_file", "notify.from", "notify.to"] {
        if reader.present(key) && !is_given {
            reader.refuse(key, "has no effect without notify.smtp_url");
        }
    }
    if !is_given {
        return None;
    }
    if !reader.present("notify.from") {
        reader.refuse("notify.from", "required with notify.smtp_url; set it to the address of the sender");
    }
    if !reader.present("notify.to") {
        reader.refuse("notify.to", "required with notify.smtp_url; set it to a list of addresses");
    } else if to.is_empty() {
        reader.refuse("notify.to", "must have at least one address");
    }
    let SmtpUrl { security, user, host, port } = url?;
    if user.is_none() && password_file.is_some() {
        reader.refuse("notify.smtp_password_file", "has no effect without a user in notify.smtp_url");
    }
    Some(SmtpConfig { security, user, host, port, password_file, from: from?, to })
}

fn events(reader: &mut Reader<'_>) -> BTreeSet<NotificationEvent> {
    const KEY: &str = "notify.events";
    let all = NotificationEvent::ALL.iter().copied();
    if !reader.present(KEY) {
        return all.collect();
    }
    let list = reader.list(KEY);
    let mut events = BTreeSet::new();
    for (number, word) in (1..).zip(&list) {
        match word.parse() {
            Ok(event) => drop(events.insert(event)),
            Err(_) => {
                let words: Vec<&str> = all.clone().map(NotificationEvent::as_str).collect();
                let meant = did_you_mean(nearest(word, words.iter().copied()));
                reader.refuse(KEY, format!("entry {number} must be one of {}{meant}", words.join(", ")));
            }
        }
    }
    if list.is_empty() {
        reader.refuse(KEY, "must name at least one event; without this key there is a message for each");
    }
    events
}

fn smtp_url(text: &str) -> Result<SmtpUrl, String> {
    const FORM: &str = "such as smtp://user@mail.example.org:587, or smtps:// for TLS from the first byte";
    let (scheme, rest) = text.split_once("://").ok_or(format!("must be a URL {FORM}"))?;
    let is_implicit = match scheme.to_ascii_lowercase().as_str() {
        "smtp" => false,
        "smtps" => true,
        _ => return Err(format!("must be a URL {FORM}")),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => {
            return Err("contains a password: write it to a file and set notify.smtp_password_file".to_owned());
        }
        Some(("", _)) => return Err("the user before @ is missing".to_owned()),
        Some((user, place)) => {
            let user = percent_decode_str(user).decode_utf8().map_err(|_| "the user is not UTF-8".to_owned())?;
            (Some(user.into_owned()), place)
        }
        None => (None, rest),
    };
    if place.contains(['/', '?', '#', '\\']) {
        return Err("must consist of scheme, user, host and port only".to_owned());
    }
    let (host, port) = match place.rsplit_once(':') {
        // The colons in the brackets of an IPv6 address do not precede a port.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (place, None),
    };
    if !is_host(host) {
        return Err("the host is missing or invalid".to_owned());
    }
    let host = host.to_ascii_lowercase();
    let security = match (is_implicit, &user) {
        (true, _) => SmtpSecurity::Implicit,
        (false, None) if is_loopback(&host) => SmtpSecurity::None,
        (false, _) => SmtpSecurity::StartTls,
    };
    let own_port = match security {
        SmtpSecurity::Implicit => SUBMISSIONS,
        SmtpSecurity::StartTls => SUBMISSION,
        SmtpSecurity::None => RELAY,
    };
    let port = match port.map(str::parse::<u16>) {
        None => own_port,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return Err("the port must be a number from 1 to 65535".to_owned()),
    };
    Ok(SmtpUrl { security, user, host, port })
}

/// A mail address, with an optional name before it.
fn mail_address(text: &str) -> Result<String, String> {
    match text.parse::<Mailbox>() {
        Ok(_) if !text.contains(char::is_control) => Ok(text.to_owned()),
        _ => Err("must be a mail address such as ops@example.org or Operations <ops@example.org>".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_mail_server_says_how_it_is_protected() {
        use SmtpSecurity::{Implicit, None as Plain, StartTls};
        for (text, security, user, host, port) in [
            ("smtp://mail.example.org", StartTls, None, "mail.example.org", 587),
            ("smtp://sync@mail.example.org", StartTls, Some("sync"), "mail.example.org", 587),
            ("smtp://sync@Mail.example.org:25/", StartTls, Some("sync"), "mail.example.org", 25),
            ("SMTPS://sync@example.org@mail.example.org", Implicit, Some("sync@example.org"), "mail.example.org", 465),
            (
                "smtps://sync%40example.org@[2001:db8::1]:2465",
                Implicit,
                Some("sync@example.org"),
                "[2001:db8::1]",
                2465,
            ),
            ("smtp://localhost", Plain, None, "localhost", 25),
            ("smtp://[::1]:2525", Plain, None, "[::1]", 2525),
            ("smtp://sync@127.0.0.1", StartTls, Some("sync"), "127.0.0.1", 587),
        ] {
            let url = smtp_url(text).unwrap();
            let found = (url.security, url.user.as_deref(), url.host.as_str(), url.port);
            assert_eq!(found, (security, user, host, port), "{text}");
        }
        for wrong in [
            "",
            "mail.example.org",
            "https://mail.example.org",
            "smtp://",
            "smtp://@mail.example.org",
            "smtp://mail.example.org:0",
            "smtp://mail.example.org:70000",
            "smtp://mail.example.org/inbox",
            "smtp://mail example.org",
        ] {
            assert!(smtp_url(wrong).is_err(), "{wrong}");
        }
        let message = smtp_url("smtp://sync:hunter2@mail.example.org").err().unwrap();
        assert!(message.contains("notify.smtp_password_file") && !message.contains("hunter2"), "{message}");
    }

    #[test]
    fn addresses_may_have_names_and_never_a_line_break() {
        for right in ["ops@example.org", "Operations <ops@example.org>", "\"Ops, Team\" <ops@example.org>"] {
            assert_eq!(mail_address(right), Ok(right.to_owned()));
        }
        for wrong in ["", "ops", "ops@", "a@b@c", "ops@example.org\r\nBcc: eve@example.org", "ops@exa mple.org"] {
            assert!(mail_address(wrong).is_err(), "{wrong}");
        }
    }
}
