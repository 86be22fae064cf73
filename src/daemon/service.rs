//! What systemd is told: ready, reloading, stopping, status, and that the loop still turns.
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>

use std::time::Duration;

use sd_notify::NotifyState;

fn notify(states: &[NotifyState<'_>]) {
    // Without systemd there is no socket, and that is no error.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd cannot be told: {error}");
    }
}

pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// With its time, so that `systemctl reload` waits for the `ready` that follows.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// The line that `systemctl status` shows.
pub(super) fn status(text: &str) {
    // A newline would end the message.
    notify(&[NotifyState::Status(&text.replace('\n', " "))]);
}

/// Tells systemd twice an interval that the loop still turns, when the unit has `WatchdogSec`.
pub(super) struct Watchdog {
    interval: Option<tokio::time::Interval>,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        let half = |period: Duration| tokio::time::interval(period / 2);
        Self { interval: sd_notify::watchdog_enabled().map(half) }
    }

    /// Resolves when the loop should turn once more; never, without a watchdog.
    pub(super) async fn due(&mut self) {
        match &mut self.interval {
            None => std::future::pending().await,
            Some(interval) => {
                interval.tick().await;
                notify(&[NotifyState::Watchdog]);
            }
        }
    }
}
