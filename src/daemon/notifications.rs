//! Sends messages to administrators, in a task of its own: a server that does not answer never delays a cycle.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::runtime::{App, CycleNews, NotificationMemory, channel_problems, handle_notifications};

/// How long the end of the daemon waits for a message that is being sent. The next start tries it again.
const TIME_AT_STOP: Duration = Duration::from_secs(2);

/// Decides about messages after each cycle, and tries unsent ones again.
pub(super) struct Notifications {
    /// `None` after the stop.
    sender: Option<mpsc::UnboundedSender<Work>>,
    task: JoinHandle<()>,
}

enum Work {
    /// The configuration was loaded.
    Configured(Arc<App>),
    /// A cycle has ended.
    Cycle(Arc<App>, CycleNews),
}

impl Notifications {
    pub(super) fn start(app: &Arc<App>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let started = Self { sender: Some(sender), task: tokio::spawn(serve(receiver)) };
        started.configured(app);
        started
    }

    /// The daemon uses this configuration from now on.
    pub(super) fn configured(&self, app: &Arc<App>) {
        self.send(Work::Configured(Arc::clone(app)));
    }

    pub(super) fn cycle_ended(&self, app: &Arc<App>, news: CycleNews) {
        self.send(Work::Cycle(Arc::clone(app), news));
    }

    fn send(&self, work: Work) {
        // A panic of the task ends the messages, and not the cycles.
        let _ = self.sender.as_ref().map(|sender| sender.send(work));
    }

    pub(super) async fn stop(&mut self) {
        // The task ends after the present work.
        self.sender = None;
        if tokio::time::timeout(TIME_AT_STOP, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn serve(mut receiver: mpsc::UnboundedReceiver<Work>) {
    let mut memory = NotificationMemory::default();
    let mut app: Option<Arc<App>> = None;
    let mut next: Option<Instant> = None;
    loop {
        let work = tokio::select! {
            work = receiver.recv() => match work {
                Some(work) => Some(work),
                None => return,
            },
            () = elapsed(next) => None,
        };
        let news = match work {
            Some(Work::Configured(configured)) => {
                let problems = Arc::clone(&configured);
                // The files may be on a disk that does not answer.
                tokio::task::spawn_blocking(move || {
                    for problem in channel_problems(&problems) {
                        tracing::warn!("messages cannot be sent: {problem}");
                    }
                });
                app = Some(configured);
                None
            }
            Some(Work::Cycle(ended, news)) => {
                app = Some(ended);
                Some(news)
            }
            None => None,
        };
        let Some(app) = &app else { continue };
        let wait = handle_notifications(app, &mut memory, news.as_ref(), &app.clock).await;
        next = wait.map(|wait| Instant::now() + wait);
    }
}

/// Resolves at this time; never, when there is none.
async fn elapsed(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}
