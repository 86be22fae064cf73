//! A place where calls stop until a test lets them go on: the way to look at, or kill, a daemon at a known
//! moment without sleeping.

use std::sync::Arc;

use tokio::sync::watch;

/// A gate; clones are the same gate. Once released it stays open.
#[derive(Debug, Clone)]
pub struct Gate(Arc<State>);

#[derive(Debug)]
struct State {
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
        Self(Arc::new(State { arrivals: watch::Sender::new(0), open: watch::Sender::new(false) }))
    }

    /// Waits until a call has arrived.
    pub async fn reached(&self) {
        self.reached_by(1).await;
    }

    /// Waits until so many calls have arrived.
    pub async fn reached_by(&self, count: usize) {
        // The sender lives as long as the gate, so the wait cannot end for want of it.
        let _ = self.0.arrivals.subscribe().wait_for(|arrivals| *arrivals >= count).await;
    }

    /// How many calls have arrived.
    pub fn arrivals(&self) -> usize {
        *self.0.arrivals.borrow()
    }

    /// Lets all calls go on, those still to come too.
    pub fn release(&self) {
        self.0.open.send_replace(true);
    }

    /// Arrives and waits.
    pub(crate) async fn hold(&self) {
        self.0.arrivals.send_modify(|arrivals| *arrivals += 1);
        let _ = self.0.open.subscribe().wait_for(|open| *open).await;
    }
}
