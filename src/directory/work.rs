//! Parsing and mapping beside the event loop, which stays free for signals, the deadline and requests.

use std::num::NonZero;
use std::sync::{Arc, Weak};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::GraphError;

/// More threads would wait for Graph, or for each other.
const MAX_THREADS: usize = 4;

/// As many threads as there are processors. An answer waits for one of them, so few of them are in memory.
#[derive(Debug)]
pub(super) struct Workers(Arc<Semaphore>);

/// Work that was started.
pub(super) struct Work<T>(JoinHandle<T>);

/// Something for which work is done. The work ends early when it is dropped: a user may take a fifth of a second.
#[derive(Debug, Default)]
pub(super) struct Purpose(Arc<()>);

/// Whether the result is still needed.
#[derive(Clone, Debug)]
pub(super) struct Need(Weak<()>);

impl Workers {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self(Arc::new(Semaphore::new(processors.min(MAX_THREADS))))
    }

    /// Starts `work` as soon as a thread is free.
    pub(super) async fn start<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Work<T> {
        let permit = Arc::clone(&self.0).acquire_owned().await;
        Work(tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        }))
    }
}

impl<T> Work<T> {
    /// # Errors
    /// The work panicked.
    pub(super) async fn result(self, what: &str) -> Result<T, GraphError> {
        self.0.await.map_err(|_| GraphError::Panicked { what: what.to_owned() })
    }
}

impl Purpose {
    pub(super) fn need(&self) -> Need {
        Need(Arc::downgrade(&self.0))
    }
}

impl Need {
    pub(super) fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_fails_the_work_and_frees_the_thread() {
        let workers = Workers(Arc::new(Semaphore::new(1)));
        for _ in 0..3 {
            let work = workers.start(|| assert_eq!(1, 2, "an expected panic")).await;
            assert!(matches!(work.result("testing").await, Err(GraphError::Panicked { .. })));
        }
        assert_eq!(workers.start(|| 7).await.result("testing").await.unwrap(), 7);
    }

    #[tokio::test]
    async fn work_notices_that_its_purpose_is_over() {
        let purpose = Purpose::default();
        let need = purpose.need();
        assert!(!need.is_over());
        let work = Workers::new().start(move || while !need.is_over() {}).await;
        drop(purpose);
        work.result("testing").await.unwrap();
    }
}
