//! Lets signals, the deadline and other requests run while the rows of pages are mapped.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Mapping a page takes milliseconds, unless the mapping takes up to a fifth of a second for each user.
const LENGTH: Duration = Duration::from_millis(10);

/// The turn of the lists that are read at once. They share one, because one task polls them all: with a turn for each
/// list, other work would wait for all of them.
#[derive(Debug)]
pub(super) struct Turns(Mutex<Turn>);

#[derive(Clone, Copy, Debug)]
struct Turn {
    number: u64,
    started: Instant,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Turn { number: 0, started: Instant::now() }))
    }

    /// Yields when the turn has lasted long enough.
    pub(super) async fn offer(&self) {
        while let Some(over) = self.over() {
            tokio::task::yield_now().await;
            self.start_after(over);
        }
    }

    /// The number of the turn, if it has to end.
    fn over(&self) -> Option<u64> {
        let turn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (turn.started.elapsed() >= LENGTH).then_some(turn.number)
    }

    /// Starts the next turn, unless another list already has.
    fn start_after(&self, over: u64) {
        let mut turn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turn.number == over {
            *turn = Turn { number: over + 1, started: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::StreamExt as _;
    use futures_util::stream::FuturesUnordered;

    use super::*;

    #[tokio::test]
    async fn other_work_waits_for_one_slow_row_however_many_lists_there_are() {
        let (turns, mapped) = (Turns::new(), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&mapped);
        let other_work = tokio::spawn(async move {
            let (mut before, mut most) = (0, 0);
            while before < 8 {
                let now = seen.load(Ordering::Relaxed);
                most = most.max(now - before);
                before = now;
                tokio::task::yield_now().await;
            }
            most
        });
        let list = || async {
            for _ in 0..2 {
                turns.offer().await;
                std::thread::sleep(LENGTH);
                mapped.fetch_add(1, Ordering::Relaxed);
            }
        };
        (0..4).map(|_| list()).collect::<FuturesUnordered<_>>().collect::<()>().await;
        assert_eq!(other_work.await.unwrap(), 1);
    }
}
