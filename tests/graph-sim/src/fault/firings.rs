//! Counts how often faults take effect, so that a random test can prove that each of its kinds does.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::Fault;

/// The number of times that faults took effect, by kind. Clones share the counts.
#[derive(Debug, Clone)]
pub struct Firings(Arc<watch::Sender<BTreeMap<&'static str, usize>>>);

/// Where the effects of one fault are counted.
#[derive(Debug, Clone)]
pub(crate) struct Counter {
    firings: Firings,
    kind: &'static str,
}

impl Default for Firings {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }
}

impl Firings {
    /// The counts so far.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.0.borrow().clone()
    }

    /// Waits until a fault of this kind has taken effect.
    pub async fn fired(&self, kind: &str) {
        // Cannot fail: `self` keeps the sender.
        let _ = self.0.subscribe().wait_for(|counts| counts.contains_key(kind)).await;
    }
}

impl Counter {
    pub(crate) fn add(&self) {
        self.firings.0.send_modify(|counts| *counts.entry(self.kind).or_default() += 1);
    }
}

impl Fault {
    /// Counts under `kind` how often this fault takes effect: an edit only when it changes the answer.
    pub fn counted(mut self, firings: &Firings, kind: &'static str) -> Self {
        self.counter = Some(Counter { firings: firings.clone(), kind });
        self
    }
}
