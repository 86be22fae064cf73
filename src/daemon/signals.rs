//! The signals of the daemon.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The request of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalRequest {
    /// SIGUSR1.
    Cycle,
    /// SIGUSR2.
    FullCycle,
    /// SIGHUP.
    Reload,
    /// SIGURG: a command has changed the learner database. Without a handler the system ignores this signal, so an older
    /// daemon does too.
    Observe,
    /// SIGTERM or SIGINT.
    Stop,
}

pub(super) struct Signals {
    user1: Signal,
    user2: Signal,
    hangup: Signal,
    urgent: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            hangup: signal(SignalKind::hangup())?,
            urgent: signal(SignalKind::from_raw(rustix::process::Signal::URG.as_raw()))?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Resolves at SIGTERM or SIGINT. The other signals stay for [`Self::next`].
    pub(super) async fn stop(&mut self) {
        let Self { user1: _, user2: _, hangup: _, urgent: _, terminate, interrupt } = self;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }

    /// The next request. Dropping the future loses no signal.
    pub(super) async fn next(&mut self) -> SignalRequest {
        let Self { user1, user2, hangup, urgent, terminate, interrupt } = self;
        tokio::select! {
            // A stop comes first.
            biased;
            _ = terminate.recv() => SignalRequest::Stop,
            _ = interrupt.recv() => SignalRequest::Stop,
            _ = hangup.recv() => SignalRequest::Reload,
            _ = user2.recv() => SignalRequest::FullCycle,
            _ = user1.recv() => SignalRequest::Cycle,
            _ = urgent.recv() => SignalRequest::Observe,
        }
    }
}
