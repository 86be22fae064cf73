//! When the next cycle is due.
//!
//! The scheduler only sends a message: tokio-cron-scheduler runs its jobs without an overlap guard, and its shutdown
//! neither waits nor cancels.
//!
//! It compares with the clock of this machine, which may be set back while it waits. A monotonic clock therefore waits
//! beside it, and the first of the two fires. A monotonic clock stands still while a machine is suspended; the scheduler
//! notices afterwards that its time has passed.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::config::ScheduleConfig;
use crate::runtime::MAX_BACKOFF;

/// A timer that fires once each time it is armed.
pub(super) struct CycleTimer {
    scheduler: JobScheduler,
    job: Option<uuid::Uuid>,
    /// When it fires at the latest; `None` while it is not armed.
    due: Option<Instant>,
    sender: mpsc::Sender<()>,
    receiver: mpsc::Receiver<()>,
}

impl CycleTimer {
    pub(super) async fn start() -> Result<Self, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        scheduler.start().await?;
        let (sender, receiver) = mpsc::channel(1);
        Ok(Self { scheduler, job: None, due: None, sender, receiver })
    }

    /// Fires after `wait`, and no longer when it was to fire before.
    pub(super) async fn arm(&mut self, wait: Duration) -> Result<(), JobSchedulerError> {
        self.disarm().await;
        self.due = Some(Instant::now() + wait);
        let sender = self.sender.clone();
        let job = Job::new_one_shot_async(wait, move |_, _| {
            let sender = sender.clone();
            Box::pin(async move {
                // A full channel means that it has fired already.
                let _ = sender.try_send(());
            })
        })?;
        self.job = Some(self.scheduler.add(job).await?);
        Ok(())
    }

    pub(super) async fn disarm(&mut self) {
        self.due = None;
        if let Some(job) = self.job.take()
            // A job that has fired no longer exists.
            && let Err(error) = self.scheduler.remove(&job).await
        {
            tracing::debug!("the timer no longer exists: {error}");
        }
        while self.receiver.try_recv().is_ok() {}
    }

    pub(super) fn is_armed(&self) -> bool {
        self.due.is_some()
    }

    /// Resolves when the timer fires. Dropping the future loses nothing.
    pub(super) async fn fired(&mut self) {
        let due = self.due;
        let elapsed = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(elapsed);
        loop {
            tokio::select! {
                // It never closes, because `sender` lives as long. A job may still send while it is removed.
                _ = self.receiver.recv() => if due.is_some() { break },
                () = &mut elapsed => break,
            }
        }
        self.due = None;
    }

    pub(super) async fn shut_down(&mut self) {
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::debug!("the scheduler does not shut down: {error}");
        }
    }
}

/// The longest waits after a start, until a cycle succeeds: the cause is often cured a few minutes after a boot.
const FIRST_WAITS: [Duration; 4] =
    [Duration::from_mins(1), Duration::from_mins(2), Duration::from_mins(5), Duration::from_mins(10)];

/// The longest wait after the first `failures` cycles of a daemon have failed; `None` when the schedule counts.
pub(super) fn first_wait(failures: u32) -> Option<Duration> {
    FIRST_WAITS.get(usize::try_from(failures).ok()?.checked_sub(1)?).copied()
}

/// How long to wait for the next cycle after `refusals` cycles in a row that Entra has refused.
pub(super) fn draw_wait(schedule: &ScheduleConfig, refusals: u32) -> Duration {
    let ScheduleConfig { min_interval, max_interval, full_every: _ } = schedule;
    // Random, so that many machines do not ask at the same time.
    back_off(refusals, rand::random_range(*min_interval..=*max_interval.max(min_interval)))
}

/// Doubles the wait for each refusal in a row, up to an hour: an administrator has to act first, and then sends a signal.
fn back_off(refusals: u32, wait: Duration) -> Duration {
    wait.max(wait.saturating_mul(2_u32.saturating_pow(refusals)).min(MAX_BACKOFF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_timer_fires_once_while_the_clock_of_the_machine_stands_still() {
        const WAIT: Duration = Duration::from_hours(1);
        // Time passes only for the monotonic clock here, so the job of the scheduler never runs.
        let mut timer = CycleTimer::start().await.unwrap();
        timer.arm(WAIT / 2).await.unwrap();
        timer.arm(WAIT).await.unwrap();
        let begun = Instant::now();
        timer.fired().await;
        assert!((WAIT..WAIT * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        for _ in 0..2 {
            assert!(!timer.is_armed());
            let again = tokio::time::timeout(WAIT * 3, timer.fired()).await;
            assert!(again.is_err(), "it fires again");
            timer.arm(WAIT).await.unwrap();
            timer.disarm().await;
        }
    }

    #[tokio::test]
    async fn the_timer_fires_when_the_scheduler_finds_its_time_passed() {
        let mut timer = CycleTimer::start().await.unwrap();
        timer.arm(Duration::ZERO).await.unwrap();
        // As after a suspension, in which the monotonic clock stood still.
        timer.due = Some(Instant::now() + Duration::from_hours(1));
        timer.fired().await;
        assert!(!timer.is_armed());
    }

    #[test]
    fn the_first_failures_after_a_start_shorten_the_wait() {
        let minutes = |failures| first_wait(failures).map(|wait| wait.as_secs() / 60);
        assert_eq!([0, 1, 2, 3, 4, 5, u32::MAX].map(minutes), [None, Some(1), Some(2), Some(5), Some(10), None, None]);
    }

    #[test]
    fn refusals_lengthen_the_wait_up_to_an_hour_and_never_shorten_it() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!(back_off(0, minutes(25)), minutes(25));
        assert_eq!(back_off(1, minutes(25)), minutes(50));
        assert_eq!(back_off(2, minutes(25)), minutes(60));
        assert_eq!(back_off(40, minutes(25)), minutes(60));
        assert_eq!(back_off(3, minutes(90)), minutes(90));
    }
}
