//! The channels of messages: their files, their addresses, and whether their hosts have one.

use std::time::Duration;

use super::Check;
use crate::model::NotificationChannel;
use crate::notify::ChannelTarget;
use crate::runtime::App;

const TIMEOUT: Duration = Duration::from_secs(5);

/// A check for each configured channel. Nothing is sent.
pub(super) async fn message_checks(app: &App) -> Vec<Check> {
    let Some(notifier) = &app.notifier else { return Vec::new() };
    let mut checks = Vec::new();
    for channel in NotificationChannel::ALL {
        let name = match channel {
            NotificationChannel::Webhook => "notify webhook",
            NotificationChannel::Mail => "notify mail",
        };
        checks.extend(match notifier.target(*channel) {
            None => None,
            Some(Err(error)) => Some(Check::refused(name, error.problem, error.advice)),
            Some(Ok(target)) => Some(resolve(name, target).await),
        });
    }
    checks
}

async fn resolve(name: &'static str, ChannelTarget { host, port, is_behind_proxy }: ChannelTarget) -> Check {
    let shown = format!("{host}:{port}; to send a message: learner-sync notify test");
    // The proxy resolves the name.
    if is_behind_proxy {
        return Check::passed(name, shown);
    }
    let address = (host.trim_matches(['[', ']']), port);
    let found = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host(address)).await;
    let hint = "check the host name in the configuration and the machine's name server";
    match found {
        Ok(Ok(_)) => Check::passed(name, shown),
        Ok(Err(error)) => Check::refused(name, format!("cannot resolve the host {host}: {error}"), hint),
        Err(_) => Check::refused(name, format!("the name server does not answer for the host {host}"), hint),
    }
}
