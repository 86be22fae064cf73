//! Notifications to systemd: ready, reloading, stopping, the status line and the watchdog.
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>

use std::time::Duration;

use sd_notify::NotifyState;

use crate::model::visible;

fn notify(states: &[NotifyState<'_>]) {
    // Without systemd there is no socket, which is not an error.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("cannot notify systemd: {error}");
    }
}

pub(super) fn notify_ready() {
    notify(&[NotifyState::Ready]);
}

/// With a timestamp, so that `systemctl reload` waits for the `READY=1` that follows.
pub(super) fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

pub(super) fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

/// The line that `systemctl status` shows.
pub(super) fn notify_status(text: &str) {
    // A newline would end the message.
    notify(&[NotifyState::Status(&visible(text))]);
}

/// Notifies systemd twice per `WatchdogSec` that the loop is alive.
pub(super) struct Watchdog {
    interval: Option<tokio::time::Interval>,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        let half = |period: Duration| tokio::time::interval(period / 2);
        Self { interval: sd_notify::watchdog_enabled().map(half) }
    }

    /// Resolves after each notification; never, when the unit has no watchdog.
    pub(super) async fn notified(&mut self) {
        match &mut self.interval {
            None => std::future::pending().await,
            Some(interval) => {
                interval.tick().await;
                notify(&[NotifyState::Watchdog]);
            }
        }
    }
}
