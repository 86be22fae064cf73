//! Writes the record for `learner-sync status` outside of the loop: its disk may not answer.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::runtime::status::StatusRecord;

/// How long the loop waits for a write, so that the journal follows the record. A disk usually takes a millisecond.
const USUAL_TIME: Duration = Duration::from_millis(100);
/// How long the end of the daemon waits for the last write.
const TIME_AT_STOP: Duration = Duration::from_secs(2);

/// Writes records one at a time. The newest replaces those that wait.
pub(super) struct RecordWriter {
    queue: Arc<WriteQueue>,
}

type WriteRecord = Box<dyn Fn(&StatusRecord) -> io::Result<()> + Send + Sync>;

struct WriteQueue {
    write: WriteRecord,
    state: Mutex<QueueState>,
    idle: Condvar,
}

#[derive(Default)]
struct QueueState {
    newest: Option<StatusRecord>,
    is_writing: bool,
    is_failure_logged: bool,
}

impl RecordWriter {
    pub(super) fn new(write: impl Fn(&StatusRecord) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let queue = WriteQueue { write: Box::new(write), state: Mutex::default(), idle: Condvar::new() };
        Self { queue: Arc::new(queue) }
    }

    /// Writes `record`. Returns when it is written, or soon, while the disk does not answer.
    pub(super) fn write(&self, record: StatusRecord) {
        let mut state = self.queue.lock();
        state.newest = Some(record);
        // A disk that has not answered before is not waited for again.
        if !std::mem::replace(&mut state.is_writing, true) {
            drop(state);
            let queue = Arc::clone(&self.queue);
            tokio::task::spawn_blocking(move || queue.write_all());
            self.queue.wait(USUAL_TIME);
        }
    }

    /// Waits for the last record, but not for ever.
    pub(super) fn finish(&self) {
        if !self.queue.wait(TIME_AT_STOP) {
            tracing::warn!("cannot write the last status record: the disk does not answer");
        }
    }
}

impl WriteQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every record is written; false when that takes longer.
    fn wait(&self, time: Duration) -> bool {
        let waited = self.idle.wait_timeout_while(self.lock(), time, |state| state.is_writing);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.is_writing
    }

    fn write_all(&self) {
        loop {
            let mut state = self.lock();
            let Some(record) = state.newest.take() else {
                state.is_writing = false;
                self.idle.notify_all();
                return;
            };
            drop(state);
            let written = (self.write)(&record);
            let mut state = self.lock();
            let was_logged = std::mem::replace(&mut state.is_failure_logged, written.is_err());
            drop(state);
            if let (Err(error), false) = (written, was_logged) {
                tracing::warn!("cannot write the status record for `learner-sync status`: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn record(number: u32) -> StatusRecord {
        let at = jiff::Timestamp::UNIX_EPOCH;
        StatusRecord {
            version: StatusRecord::VERSION,
            config: "/c".into(),
            lock: "/l".into(),
            pid: number,
            program: String::new(),
            settings: None,
            database: String::new(),
            started_at: at,
            written_at: at,
            stopped_at: None,
            loaded_at: at,
            rejected: None,
            trouble: None,
            failure: None,
            not_begun: None,
            http: None,
            is_cycle_running: false,
            progress: None,
            next_cycle_at: None,
            is_standby: false,
            max_interval: 1,
            enabled: true,
            state: String::new(),
            since: None,
            reason: String::new(),
            summary: None,
        }
    }

    /// A writer whose disk answers each write with what the sender gives, and the records that it has begun to write.
    fn slow_disk() -> (RecordWriter, mpsc::Sender<()>, mpsc::Receiver<u32>) {
        let ((answer, answers), (seen, begun)) = (mpsc::channel(), mpsc::channel());
        let (answers, seen) = (Mutex::new(answers), Mutex::new(seen));
        let writer = RecordWriter::new(move |record| {
            seen.lock().unwrap().send(record.pid).unwrap();
            answers.lock().unwrap().recv().map_err(io::Error::other)
        });
        (writer, answer, begun)
    }

    #[tokio::test]
    async fn each_record_is_written_in_its_turn() {
        let (writer, answer, begun) = slow_disk();
        for number in 1..=3 {
            answer.send(()).unwrap();
            writer.write(record(number));
            writer.finish();
        }
        assert_eq!(begun.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_disk_that_hangs_delays_neither_the_loop_nor_the_end_and_gets_the_newest_record() {
        let (writer, answer, begun) = slow_disk();
        writer.write(record(1));
        assert_eq!(begun.recv().unwrap(), 1);
        for number in 2..=200 {
            writer.write(record(number));
        }
        writer.finish();
        assert!(begun.try_recv().is_err());
        answer.send(()).unwrap();
        answer.send(()).unwrap();
        writer.finish();
        assert_eq!(begun.try_iter().collect::<Vec<_>>(), [200]);
    }
}
