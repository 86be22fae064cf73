//! The webhook: a signed POST of JSON.

use aws_lc_rs::hmac;
use jiff::Timestamp;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use super::error::DeliveryError;
use super::message::Message;
use super::secrets::{SecretFile, read_aside};
use crate::auth::{Http, proxy_hint};
use crate::config::is_loopback;
use crate::files::SecretKind;
use crate::model::chain;

const TIMESTAMP: &str = "x-learner-sync-timestamp";
const SIGNATURE: &str = "x-learner-sync-signature";

/// The webhook. Its address contains a token in most services, and is a secret.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    pub(super) http: Http,
    /// Whether the client uses a proxy beyond loopback.
    pub(super) has_proxy: bool,
    pub(super) url: SecretFile,
    pub(super) secret: Option<SecretFile>,
}

impl Webhook {
    /// Sends a message.
    pub(super) async fn send(&self, message: &Message, now: Timestamp) -> Result<(), DeliveryError> {
        let files = self.clone();
        let (url, secret) = read_aside(move || {
            let secret = files.secret.as_ref().map(|file| file.read(SecretKind::Password)).transpose()?;
            Ok((files.address()?, secret))
        })
        .await?;
        let body = message.to_json().to_string();
        let timestamp = now.as_second().to_string();
        let mut request = self.http.client.post(url).header("content-type", "application/json");
        if let Some(secret) = secret {
            request = request.header(SIGNATURE, signature(&secret, &timestamp, &body));
        }
        let answer = request.header(TIMESTAMP, timestamp).body(body).send().await.map_err(unreachable)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let advice = match status.as_u16() {
            300..400 => "redirects are not followed: write the final address into the file of notify.webhook_url_file",
            401 | 403 | 404 | 410 => {
                "check the address in the file of notify.webhook_url_file, and whether the webhook still exists"
            }
            400 | 413 | 415 | 422 => {
                "the service does not accept the JSON of learner-sync: learner-sync guide monitoring"
            }
            _ => "look at the service that the file of notify.webhook_url_file names",
        };
        Err(DeliveryError::new(format!("the webhook answered {}", status.as_u16()), advice))
    }

    /// Checks that the key can be read, if there is one.
    pub(super) fn check_secret(&self) -> Result<(), DeliveryError> {
        self.secret.as_ref().map_or(Ok(()), |file| file.read(SecretKind::Password).map(drop))
    }

    /// The address, as the file has it now.
    pub(super) fn address(&self) -> Result<Url, DeliveryError> {
        let text = self.url.read(SecretKind::Token)?;
        let wrong = |problem: &str| {
            DeliveryError::new(
                format!("the address in {} {problem}", self.url),
                "write the address of the webhook into it",
            )
        };
        // The error would name a part of it.
        let url: Url = text.expose_secret().parse().map_err(|_| wrong("is not a URL"))?;
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        match url.scheme() {
            _ if host.is_empty() => Err(wrong("has no host")),
            "https" => Ok(url),
            "http" if is_loopback(&host) => Ok(url),
            "http" => Err(wrong("must begin with https://; http is allowed for 127.0.0.0/8, ::1 and localhost only")),
            _ => Err(wrong("must begin with https://")),
        }
    }
}

/// `sha256=` and the HMAC-SHA256 of `timestamp.body` in hexadecimal digits.
fn signature(secret: &SecretString, timestamp: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let tag = hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

/// Without the address.
fn unreachable(error: reqwest::Error) -> DeliveryError {
    let error = error.without_url();
    let words = chain(&error);
    let hint = if error.is_timeout() {
        "the service did not answer in time: check it, the firewall and entra.proxy"
    } else if words.contains("dns error") {
        "this machine cannot resolve the host name: check the address in the file of notify.webhook_url_file, and the \
         machine's name server; if only a proxy resolves names, set entra.proxy"
    } else if let Some(hint) = proxy_hint(&words) {
        hint
    } else if error.is_connect() {
        "check the address in the file of notify.webhook_url_file, the firewall and entra.proxy"
    } else {
        "the service gave no complete answer: check it, and the address in the file of notify.webhook_url_file"
    };
    DeliveryError::new(format!("cannot reach the webhook: {words}"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_other_programs() {
        // printf 1772438400.{} | openssl dgst -sha256 -hmac 'key of the webhook'
        let expected = "sha256=3330ddb5f67d65ca869c641d4e6368bca35561bdcbb4cb8fb4f41615e006b0f6";
        assert_eq!(signature(&"key of the webhook".into(), "1772438400", "{}"), expected);
    }
}
