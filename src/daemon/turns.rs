//! Whose turn the next cycle is: a server may have several daemons for one source, and its clock judges.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinError;

use super::timer::draw_wait;
use super::unrecorded_plan::UnrecordedPlan;
use super::{Daemon, DaemonError, DaemonRecord};
use crate::model::{Trigger, chain};
use crate::runtime::locked_cycle::CycleClaim;
use crate::runtime::{App, configured_source, daemon_place, is_shared, turn_limits};
use crate::store::{Access, Store, StoreError, Turn};

/// How long the learner database may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What follows a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterCycle {
    /// This daemon plans the next one.
    Plan { has_failed: bool },
    /// It waits, and leaves the plan as it is: no cycle has begun, and another daemon may be able to run one.
    Wait,
    /// Another daemon has run a cycle, and it waits for this time.
    Standby(Duration),
}

/// The answer of the learner database; `None` when it is unavailable, which a cycle reports.
pub(super) type AskedTurn = Option<Turn>;

impl Daemon {
    /// The timer has fired: asks whether a cycle is due. A file has one daemon, whose turn it always is.
    pub(super) fn ask_turn(&mut self) {
        // A request that is still to be served does not depend on the turn.
        if self.owed.is_some() || !is_shared(&self.app.config) {
            self.request_cycle(Trigger::Schedule, false, CycleClaim::IfDue);
        } else if self.asking.is_none() {
            self.asking = Some(tokio::spawn(ask(Arc::clone(&self.app))));
        }
    }

    pub(super) async fn take_turn(&mut self, asked: Result<AskedTurn, JoinError>) -> Result<(), DaemonError> {
        // A request came meanwhile, and its cycle plans the next one.
        if self.running.is_some() || self.pending.is_some() {
            return Ok(());
        }
        match asked.ok().flatten() {
            Some(Turn::NotDue { wait, next_cycle_at, is_standby }) => {
                self.timer.arm(wait).await?;
                if is_standby {
                    self.stand_by(next_cycle_at);
                }
            }
            Some(Turn::Due(_)) | None => self.request_cycle(Trigger::Schedule, false, CycleClaim::IfDue),
        }
        Ok(())
    }

    fn stand_by(&mut self, next_cycle_at: Option<Timestamp>) {
        self.is_standby = true;
        // The other daemon has changed what this one shows.
        if self.observing.is_none() {
            self.request_observation();
        }
        let Some(next) = next_cycle_at else { return };
        self.status_reporter.scheduled(next);
        tracing::info!(next_cycle.at = %format!("{next:.0}"), "standby: another daemon runs the cycles");
    }

    /// Waits for the next cycle.
    pub(super) async fn schedule_next(&mut self, after: AfterCycle) -> Result<(), DaemonError> {
        let drawn = draw_wait(&self.app.config.schedule, self.refusals);
        let wait = self.longest_wait.map_or(drawn, |longest| drawn.min(longest));
        let now = (self.app.clock)();
        self.unrecorded_plan = None;
        let (wait, planned) = match after {
            AfterCycle::Plan { has_failed } => {
                let recorded = self.try_record(DaemonRecord::NextCycle { wait, has_failed }).await;
                if recorded.is_err() {
                    self.unrecorded_plan = Some(UnrecordedPlan::new(wait, has_failed, self.presence.started()));
                }
                (wait, recorded.ok().flatten())
            }
            AfterCycle::Wait => (wait, None),
            AfterCycle::Standby(wait) => {
                self.is_standby = true;
                (wait, None)
            }
        };
        self.timer.arm(wait).await?;
        let local = SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok()).unwrap_or(now);
        // The planned time is the server's, whatever the clock of this machine says.
        let next = planned.unwrap_or(local);
        self.status_reporter.scheduled(next);
        self.keep_schedule();
        Ok(())
    }

    /// Waits on for the planned time.
    pub(super) fn keep_schedule(&self) {
        if let Some(next) = self.status_reporter.next_cycle_at().filter(|_| !self.skips_quietly) {
            tracing::info!(next_cycle.at = %format!("{next:.0}"), "waiting");
        }
    }
}

async fn ask(app: Arc<App>) -> AskedTurn {
    let asked = async {
        let store = Store::open(&app.learners, Access::ReadOnly).await?;
        let source = configured_source(&app.config, &store.state().await?);
        let turn = store.turn(&source, &daemon_place(&app.config), turn_limits(&app.config.schedule)).await?;
        // Only read, so nothing is lost.
        let _ = store.close().await;
        Ok::<_, StoreError>(turn)
    };
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(turn)) => Some(turn),
        Ok(Err(error)) => {
            tracing::debug!("cannot ask whether a cycle is due: {}", chain(&error));
            None
        }
        Err(_) => {
            tracing::debug!("cannot ask whether a cycle is due: the learner database does not answer");
            None
        }
    }
}
