//! The signals of the daemon.

use tokio::signal::unix::{SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGUSR1.
    Cycle,
    /// SIGUSR2.
    FullCycle,
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    Stop,
}

/// All of them.
pub(super) struct Signals {
    user1: tokio::signal::unix::Signal,
    user2: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next one; waiting for it can be given up and begun again without losing one.
    pub(super) async fn next(&mut self) -> Signal {
        let Self { user1, user2, hangup, terminate, interrupt } = self;
        tokio::select! {
            // A stop comes before everything else.
            biased;
            _ = terminate.recv() => Signal::Stop,
            _ = interrupt.recv() => Signal::Stop,
            _ = hangup.recv() => Signal::Reload,
            _ = user2.recv() => Signal::FullCycle,
            _ = user1.recv() => Signal::Cycle,
        }
    }
}
