//! Readers get answers at a limited rate, and all who ask for a page at the same moment wait for one answer. While a cycle
//! runs, they share it for a second.
//!
//! The priority of a reading thread does not help against browsers that load a page again and again: each answer also costs
//! its connection and its client, which run with the priority of the cycle, on the same machine. Keeping answers is not
//! enough: a browser that has its answer sooner asks again sooner.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::response::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::reader::PageError;
use crate::runtime::status::StatusRecord;

/// How long an answer is shared, from the moment at which it was begun.
const MAX_AGE: Duration = Duration::from_secs(1);
/// How many answers begin in each [`INTERVAL`], also between cycles: the next one may begin at any time. A reader waits only
/// where others load pages again and again.
const ANSWERS: usize = 4;
const INTERVAL: Duration = Duration::from_millis(50);
/// How many answers are kept.
const MAX_KEPT: usize = 16;
/// The longest answer that is kept. With 100 rows, a page usually has 100 kB.
const MAX_LENGTH: usize = 256 << 10;

/// An answer that many readers wait for.
type SharedAnswer = Shared<BoxFuture<'static, (Parts, Bytes)>>;

/// What the requests of all readers have in common.
#[derive(Clone, Debug)]
pub(super) struct Sharing {
    record: watch::Receiver<StatusRecord>,
    turns: Arc<Semaphore>,
    kept: Arc<Mutex<KeptAnswers>>,
}

impl Sharing {
    pub(super) fn new(record: watch::Receiver<StatusRecord>) -> Self {
        Self { record, turns: Arc::new(Semaphore::new(ANSWERS)), kept: Arc::default() }
    }

    /// Otherwise no answer is kept: a reader sees at once what a command has changed.
    fn is_cycle_running(&self) -> bool {
        self.record.borrow().is_cycle_running
    }

    fn kept(&self) -> MutexGuard<'_, KeptAnswers> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Limits the rate of all answers.
pub(super) async fn pace(State(sharing): State<Sharing>, request: Request, next: Next) -> Response {
    // The semaphore is never closed.
    if let Ok(turn) = Arc::clone(&sharing.turns).acquire_owned().await {
        tokio::spawn(async move {
            tokio::time::sleep(INTERVAL).await;
            drop(turn);
        });
    }
    next.run(request).await
}

/// Gives a reader the answer that another one waits for, or has just had.
pub(super) async fn share(State(sharing): State<Sharing>, mut request: Request, next: Next) -> Response {
    // An answer to HEAD has the body here, and loses it later.
    *request.method_mut() = Method::GET;
    let address = request.uri().to_string();
    let is_kept = sharing.is_cycle_running();
    let make = || begin(whole(request, next));
    let (answer, is_new) = sharing.kept().answer(&address, is_kept, Instant::now(), make);
    if is_new {
        let sharing = sharing.clone();
        // It shows names of people, and nobody may ask again.
        tokio::spawn(async move {
            tokio::time::sleep(MAX_AGE).await;
            sharing.kept().expire(Instant::now());
        });
    }
    let (parts, body) = answer.await;
    if body.len() > MAX_LENGTH {
        sharing.kept().0.remove(&address);
    }
    Response::from_parts(parts, Body::from(body))
}

/// Begins an answer in a task of its own, which also ends when all readers have gone. Otherwise, an answer that waits for its
/// turn would get it, and keep it from the others.
fn begin(answer: impl Future<Output = (Parts, Bytes)> + Send + 'static) -> SharedAnswer {
    let made = tokio::spawn(answer);
    async { made.await.unwrap_or_else(|_| panicked()) }.boxed().shared()
}

async fn whole(request: Request, next: Next) -> (Parts, Bytes) {
    let (parts, body) = next.run(request).await.into_parts();
    // A page is in memory as a whole, so that reading it cannot fail.
    (parts, to_bytes(body, usize::MAX).await.unwrap_or_default())
}

fn panicked() -> (Parts, Bytes) {
    let (parts, _) = PageError::Panicked.into_response().into_parts();
    (parts, Bytes::new())
}

/// The answers by address.
#[derive(Debug, Default)]
struct KeptAnswers(BTreeMap<String, (Instant, SharedAnswer)>);

impl KeptAnswers {
    /// The answer for `address`, and whether it is new. One that is complete counts only if it `is_kept`.
    fn answer(
        &mut self,
        address: &str,
        is_kept: bool,
        now: Instant,
        make: impl FnOnce() -> SharedAnswer,
    ) -> (SharedAnswer, bool) {
        self.expire(now);
        let found = self.0.get(address).filter(|(_, answer)| is_kept || answer.peek().is_none());
        if let Some((_, answer)) = found {
            return (answer.clone(), false);
        }
        if self.0.len() >= MAX_KEPT {
            let oldest = self.0.iter().min_by_key(|(_, (begun, _))| *begun).map(|(address, _)| address.clone());
            // Those who wait for it have it as well.
            oldest.and_then(|address| self.0.remove(&address));
        }
        let answer = make();
        self.0.insert(address.to_owned(), (now, answer.clone()));
        (answer, true)
    }

    fn expire(&mut self, now: Instant) {
        self.0.retain(|_, (begun, _)| now.duration_since(*begun) < MAX_AGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> SharedAnswer {
        async { (Response::new(()).into_parts().0, Bytes::new()) }.boxed().shared()
    }

    #[test]
    fn an_answer_is_shared_for_a_second_from_its_beginning() {
        let (mut kept, begun) = (KeptAnswers::default(), Instant::now());
        let mut is_new = |address: &str, later: Duration| kept.answer(address, true, begun + later, answer).1;
        let almost = MAX_AGE - Duration::from_millis(1);
        assert!(is_new("/log", Duration::ZERO) && is_new("/log?status=held", Duration::ZERO));
        assert!(!is_new("/log", almost) && !is_new("/log?status=held", almost));
        // Use does not prolong it.
        assert!(is_new("/log", MAX_AGE));
        kept.expire(begun + MAX_AGE + MAX_AGE);
        assert_eq!(kept.0.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_whose_readers_have_gone_keeps_no_turn() {
        let turns = Arc::new(Semaphore::new(1));
        let taken = turns.acquire().await.unwrap();
        let waiting = Arc::clone(&turns);
        let mut kept = begin(async move {
            let _turn = waiting.acquire().await;
            answer().await
        });
        // A reader that asks once, and goes.
        assert!((&mut kept).now_or_never().is_none());
        tokio::task::yield_now().await;
        drop(taken);
        assert!(tokio::time::timeout(MAX_AGE, turns.acquire()).await.is_ok());
        assert_eq!(kept.now_or_never().map(|(_, body)| body), Some(Bytes::new()));
    }

    #[test]
    fn between_cycles_an_answer_is_shared_until_it_is_complete() {
        let (mut kept, begun) = (KeptAnswers::default(), Instant::now());
        let (first, is_new) = kept.answer("/log", false, begun, answer);
        assert!(is_new && !kept.answer("/log", false, begun, answer).1);
        assert!(first.now_or_never().is_some());
        assert!(kept.answer("/log", false, begun, answer).1);
    }

    #[test]
    fn the_oldest_of_too_many_answers_leaves() {
        let (mut kept, begun) = (KeptAnswers::default(), Instant::now());
        for number in 10..100 {
            let later = Duration::from_micros(number);
            assert!(kept.answer(&format!("/log?cycle={number}"), true, begun + later, answer).1);
        }
        let addresses: Vec<&str> = kept.0.keys().map(String::as_str).collect();
        let newest: Vec<String> = (100 - MAX_KEPT..100).map(|number| format!("/log?cycle={number}")).collect();
        assert_eq!(addresses, newest);
    }
}
