//! Many small requests in one: `$batch`, whose parts are retried and fail each by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesOrdered;

use super::client::{Answer, GraphClient, Reply, decode};
use super::error::{GraphError, answered, malformed};
use super::wire::{self, BatchAnswer, BatchPart};
use crate::retry::{RetryBudget, RetryWaits, retry_after};

/// The most parts of a `$batch`.
pub(super) const BATCH: usize = 20;

/// How often the parts of an answer that is too large are halved. Each such answer is downloaded up to the limit.
const HALVINGS: usize = 2;

/// The result of one part of a `$batch`.
pub(super) type BatchReply = Result<Reply, GraphError>;

/// How the open parts of a `$batch` are retried.
struct BatchRetry {
    /// The longest `Retry-After`.
    asked: Option<Duration>,
    budget: RetryBudget,
    /// The result of each part when no wait is left.
    errors: Vec<(usize, GraphError)>,
}

impl GraphClient {
    /// GETs all `paths` in `$batch` requests of 20 parts and returns the results in the order of the paths. A part that
    /// fails, after its retries, does not fail the others.
    /// <https://learn.microsoft.com/graph/json-batching>
    pub(super) async fn batch(&self, what: &str, paths: &[String]) -> Result<Vec<BatchReply>, GraphError> {
        let batches: FuturesOrdered<_> = paths.chunks(BATCH).map(|chunk| self.one_batch(what, chunk)).collect();
        let answers: Vec<Vec<BatchReply>> = batches.try_collect().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// GETs up to 20 paths in one `$batch`, and retries the parts that may be retried. When the answer is too large, the
    /// parts are split, until only a part that is too large by itself fails. All these batches share one deadline.
    async fn one_batch(&self, what: &str, chunk: &[String]) -> Result<Vec<BatchReply>, GraphError> {
        let mut answers: Vec<Option<BatchReply>> = chunk.iter().map(|_| None).collect();
        let mut waits = RetryWaits::new(self.http.request_deadline);
        let mut batches: Vec<(BTreeSet<usize>, usize)> = vec![((0..chunk.len()).collect(), 0)];
        while let Some((mut open, splits)) = batches.pop() {
            let (parts, retry) = match self.batch_once(what, chunk, &open, &mut waits).await {
                Err(error @ GraphError::TooLarge { .. }) => {
                    let smaller = split(&open, splits);
                    if smaller.len() > 1 {
                        batches.extend(smaller.into_iter().map(|open| (open, splits + 1)));
                    } else if let Some(index) = open.first() {
                        answers[*index] = Some(Err(error));
                    }
                    continue;
                }
                sent => sent?,
            };
            for (index, answer) in parts {
                open.remove(&index);
                answers[index] = Some(answer);
            }
            if let Some(BatchRetry { asked, budget, errors }) = retry {
                let Some(wait) = waits.next_wait(asked, budget) else {
                    for (index, error) in errors {
                        open.remove(&index);
                        answers[index] = Some(Err(error));
                    }
                    refuse_unanswered(what, chunk, &open)?;
                    continue;
                };
                let first = errors.first().map(|(_, error)| error.to_string()).unwrap_or_default();
                let wait_ms = wait.as_millis() as u64;
                tracing::warn!(
                    request = what,
                    parts = errors.len(),
                    retry.wait_ms = wait_ms,
                    "{first}; retrying inside $batch"
                );
                if asked.is_some() {
                    self.pause_for(wait.min(self.http.request_deadline));
                }
                tokio::time::sleep(wait).await;
                self.traffic.add_retry();
                batches.push((open, splits));
            } else {
                refuse_unanswered(what, chunk, &open)?;
            }
        }
        // Callers pair the results with their paths by position.
        let all: Option<Vec<BatchReply>> = answers.into_iter().collect();
        all.ok_or_else(|| malformed(what, "a part of the batch has no result"))
    }

    /// Sends one `$batch`. Returns the final results and, when parts must be retried, how.
    async fn batch_once(
        &self,
        what: &str,
        chunk: &[String],
        open: &BTreeSet<usize>,
        waits: &mut RetryWaits,
    ) -> Result<(Vec<(usize, BatchReply)>, Option<BatchRetry>), GraphError> {
        let requests: Vec<serde_json::Value> = open
            .iter()
            .map(|index| serde_json::json!({"id": index.to_string(), "method": "GET", "url": chunk[*index]}))
            .collect();
        let body = serde_json::json!({ "requests": requests });
        let answer = self.send(what, self.url("/$batch")?, Some(&body), waits).await?;
        let request_id = answer.request_id.clone();
        let decode = move |what: &str| {
            let Answer { body, request_id: _, place: _place } = answer;
            decode::<BatchAnswer>(what, &wire::body_text(body))
        };
        let work = self
            .workers
            .start({
                let what = what.to_owned();
                move || decode(&what)
            })
            .await;
        let answer = work.result(what).await??;
        let mut results = Vec::new();
        let mut retry: Option<BatchRetry> = None;
        let mut unanswered = open.clone();
        for part in answer.responses {
            let index = part.id.parse().ok().filter(|index| unanswered.remove(index));
            let index = index.ok_or_else(|| malformed(what, "an answer to an unknown part"))?;
            let BatchPart { id: _, status, headers, body } = part;
            let body = body.map(|body| String::from(Box::<str>::from(body))).unwrap_or_default();
            if let Some(budget) = batch_budget(status) {
                let asked = headers
                    .iter()
                    .flatten()
                    .find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))
                    .and_then(|(_, value)| value.as_str().map(str::to_owned).or_else(|| Some(value.to_string())))
                    .and_then(|value| retry_after(&value, (self.clock)()));
                let error = answered(what, status, &body, &request_id);
                // The parts are retried together, with the longest wait and the largest budget.
                let retry = retry.get_or_insert(BatchRetry { asked, budget, errors: Vec::new() });
                retry.asked = retry.asked.max(asked);
                if retry.budget.limit() < budget.limit() {
                    retry.budget = budget;
                }
                retry.errors.push((index, error));
            } else {
                let answer = if status == 200 {
                    Ok(Reply { body, request_id: request_id.clone() })
                } else {
                    Err(answered(what, status, &body, &request_id))
                };
                results.push((index, answer));
            }
        }
        Ok((results, retry))
    }
}

/// # Errors
/// A part among `open` has no answer.
fn refuse_unanswered(what: &str, chunk: &[String], open: &BTreeSet<usize>) -> Result<(), GraphError> {
    let Some(missing) = open.first() else { return Ok(()) };
    // The query can be long.
    let missing = chunk[*missing].split('?').next().unwrap_or_default();
    let detail = format!("{} of {} parts of the batch have no answer, {missing} first", open.len(), chunk.len());
    Err(malformed(what, detail))
}

/// The retries of a `$batch` or a part of it. Graph documents 424 for a batch that contains a throttled part.
pub(super) fn batch_budget(status: u16) -> Option<RetryBudget> {
    if status == 424 { Some(RetryBudget::Full) } else { RetryBudget::for_status(status) }
}

/// The batches that replace one with these parts, whose answer is too large: its halves, or each part after
/// [`HALVINGS`].
fn split(open: &BTreeSet<usize>, splits: usize) -> Vec<BTreeSet<usize>> {
    let size = if splits < HALVINGS { open.len().div_ceil(2) } else { 1 };
    let parts: Vec<usize> = open.iter().copied().collect();
    parts.chunks(size.max(1)).map(|parts| parts.iter().copied().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_is_too_large_is_halved_twice_and_then_taken_apart() {
        // The parts of a batch, and the sizes of all batches when no answer fits.
        for (parts, sizes) in [
            (1, &[1][..]),
            (2, &[2, 1, 1]),
            (3, &[3, 2, 1, 1, 1]),
            (12, &[12, 6, 3, 1, 1, 1, 3, 1, 1, 1, 6, 3, 1, 1, 1, 3, 1, 1, 1]),
        ] {
            let (mut found, mut batches) = (Vec::new(), vec![((0..parts).collect::<BTreeSet<usize>>(), 0)]);
            while let Some((open, splits)) = batches.pop() {
                found.push(open.len());
                let smaller = split(&open, splits);
                if smaller.len() > 1 {
                    batches.extend(smaller.into_iter().rev().map(|open| (open, splits + 1)));
                }
            }
            assert_eq!(found, sizes, "{parts}");
        }
    }
}
