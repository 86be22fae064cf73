//! Holds calls until a test releases them, so that a test can inspect or kill a daemon at a known point without
//! sleeping.

use std::sync::Arc;

use tokio::sync::watch;

/// A gate that calls wait at. Clones share its state; once released it stays open.
#[derive(Debug, Clone)]
pub struct Gate(Arc<GateState>);

#[derive(Debug)]
struct GateState {
    arrivals: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(GateState { arrivals: watch::Sender::new(0), open: watch::Sender::new(false) }))
    }

    /// Waits until a call has arrived.
    pub async fn reached(&self) {
        self.reached_by(1).await;
    }

    /// Waits until `count` calls have arrived.
    pub async fn reached_by(&self, count: usize) {
        // Cannot fail: the sender lives as long as the gate.
        let _ = self.0.arrivals.subscribe().wait_for(|arrivals| *arrivals >= count).await;
    }

    /// Number of calls that have arrived.
    pub fn arrivals(&self) -> usize {
        *self.0.arrivals.borrow()
    }

    /// Releases the waiting calls and all later ones.
    pub fn release(&self) {
        self.0.open.send_replace(true);
    }

    /// Counts the arrival of a call and waits for the release.
    pub(crate) async fn hold(&self) {
        self.0.arrivals.send_modify(|arrivals| *arrivals += 1);
        let _ = self.0.open.subscribe().wait_for(|open| *open).await;
    }
}
