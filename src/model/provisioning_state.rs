//! The state of provisioning in one word: the same for `status`, for systemd and in the journal.

use jiff::{SignedDuration, Timestamp};

use super::{CLOCK_TOLERANCE, words};

/// How long a daemon that ran is expected to run.
const DAEMON_EXPECTED: SignedDuration = SignedDuration::from_hours(7 * 24);

words! {
    /// The state of provisioning. The first that applies is the state.
    ProvisioningState {
        /// No cycle has begun.
        NeverRun = "never-run",
        /// The learner database or the disk is unusable.
        Blocked = "blocked",
        /// The last cycle failed.
        Failing = "failing",
        /// No cycle has ended for a long time.
        Stale = "stale",
        /// A daemon ran in the last days, and none runs.
        Stopped = "stopped",
        /// The last cycle was stopped before its end.
        Interrupted = "interrupted",
        /// No cycle runs until an administrator allows it.
        Paused = "paused",
        /// The daemon works with an older configuration.
        ReloadRejected = "reload-rejected",
        /// Changes wait for an approval.
        Held = "held",
        /// Some users fail.
        Partial = "partial",
        /// A cycle is running.
        Running = "running",
        /// The last cycle applied every change.
        Ok = "ok",
    }
}

impl ProvisioningState {
    /// The code of `status --exit-code`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::NeverRun | Self::Blocked | Self::Failing | Self::Stale | Self::Stopped | Self::Interrupted => 1,
            Self::Paused | Self::ReloadRejected | Self::Held | Self::Partial => 3,
            Self::Running | Self::Ok => 0,
        }
    }
}

/// A finding with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
    /// The reason as a sentence.
    pub reason: String,
}

impl Finding {
    /// A finding.
    pub fn new(since: Option<Timestamp>, reason: impl Into<String>) -> Self {
        Self { since, reason: reason.into() }
    }
}

/// The state, since when, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateReport {
    /// The state.
    pub state: ProvisioningState,
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
    /// Why.
    pub reason: String,
}

/// The daemon, as far as it matters for the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonFacts {
    /// Whether it runs.
    pub runs: bool,
    /// Whether another daemon of the source runs, on this machine or another one.
    pub runs_elsewhere: bool,
    /// The last sign of life.
    pub seen_at: Option<Timestamp>,
    /// When it was stopped in order.
    pub stopped_at: Option<Timestamp>,
}

/// The facts that make the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFacts {
    /// The present time.
    pub now: Timestamp,
    /// The longest wait between two cycles.
    pub max_interval: SignedDuration,
    /// Whether a cycle has begun, or may have begun.
    pub has_run: bool,
    /// The running cycle.
    pub running: Option<Finding>,
    /// Why the learner database or the disk is unusable.
    pub trouble: Option<Finding>,
    /// Why cycles fail.
    pub failing: Option<Finding>,
    /// When the last cycle ended, or began if none has ended.
    pub last_cycle_at: Option<Timestamp>,
    /// Whether the last cycle was requested by a daemon.
    pub last_by_daemon: bool,
    /// When the last pause ended.
    pub resumed_at: Option<Timestamp>,
    /// The daemon.
    pub daemon: DaemonFacts,
    /// When the last cycle was interrupted, if it was.
    pub interrupted: Option<Finding>,
    /// Why no cycle may run.
    pub paused: Option<Finding>,
    /// Why the last reload was rejected.
    pub rejected: Option<Finding>,
    /// The held users.
    pub held: Option<Finding>,
    /// The failing users.
    pub partial: Option<Finding>,
    /// Since when everything is fine.
    pub ok_since: Option<Timestamp>,
}

impl StateFacts {
    /// The first state that applies.
    pub fn report(&self) -> StateReport {
        use ProvisioningState::{
            Blocked, Failing, Held, Interrupted, NeverRun, Ok, Partial, Paused, ReloadRejected, Running, Stale, Stopped,
        };
        // A cycle that begins during a pause is skipped.
        let may_run = self.running.is_some() && self.paused.is_none();
        let never_run = (!self.has_run && !may_run).then(|| Finding::new(None, "no cycle has run yet"));
        let candidates = [
            (NeverRun, never_run),
            (Blocked, self.trouble.clone()),
            (Failing, self.failing.clone()),
            (Stale, self.stale()),
            (Stopped, self.stopped()),
            (Interrupted, self.interrupted.clone()),
            (Paused, self.paused.clone()),
            (ReloadRejected, self.rejected.clone()),
            (Held, self.held.clone()),
            (Partial, self.partial.clone()),
            (Running, self.running.clone()),
        ];
        let first = candidates.into_iter().find_map(|(state, finding)| Some((state, finding?)));
        let (state, Finding { since, reason }) =
            first.unwrap_or_else(|| (Ok, Finding::new(self.ok_since, "the last cycle applied every change")));
        StateReport { state, since, reason }
    }

    /// Whether a clock was wrong when the last cycle ran, or is wrong now: its age says nothing.
    pub fn is_last_cycle_in_the_future(&self) -> bool {
        self.last_cycle_at.is_some_and(|at| at.duration_since(self.now) > CLOCK_TOLERANCE)
    }

    fn stale(&self) -> Option<Finding> {
        if self.paused.is_some() {
            return None;
        }
        let last = self.last_cycle_at?;
        let runs = self.daemon.runs || self.daemon.runs_elsewhere;
        let is_due = runs || self.last_by_daemon || self.is_daemon_recent();
        let waiting_since = self.resumed_at.map_or(last, |resumed| resumed.max(last));
        let limit = self.max_interval.saturating_mul(2);
        (is_due && self.now.duration_since(waiting_since) > limit).then(|| {
            let daemon = if runs { "" } else { "; no daemon is running" };
            let reason = format!("no cycle has ended for longer than two intervals{daemon}");
            Finding::new(Some(waiting_since), reason)
        })
    }

    fn stopped(&self) -> Option<Finding> {
        if self.daemon.runs || self.daemon.runs_elsewhere || !self.is_daemon_recent() {
            return None;
        }
        Some(match self.daemon.stopped_at {
            Some(at) => Finding::new(Some(at), "the daemon was stopped"),
            None => Finding::new(self.daemon.seen_at, "the daemon ended without a stop, or never started again"),
        })
    }

    fn is_daemon_recent(&self) -> bool {
        let last = self.daemon.seen_at.max(self.daemon.stopped_at);
        last.is_some_and(|at| self.now.duration_since(at) <= DAEMON_EXPECTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-03-10T12:00:00Z";

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn found(reason: &str) -> Option<Finding> {
        Some(Finding::new(None, reason))
    }

    /// A daemon that runs, with a good cycle five minutes ago.
    fn fine() -> StateFacts {
        StateFacts {
            now: time(NOW),
            max_interval: SignedDuration::from_mins(40),
            has_run: true,
            running: None,
            trouble: None,
            failing: None,
            last_cycle_at: Some(time("2026-03-10T11:55:00Z")),
            last_by_daemon: true,
            resumed_at: None,
            daemon: DaemonFacts { runs: true, runs_elsewhere: false, seen_at: Some(time(NOW)), stopped_at: None },
            interrupted: None,
            paused: None,
            rejected: None,
            held: None,
            partial: None,
            ok_since: Some(time("2026-03-01T00:00:00Z")),
        }
    }

    fn word(facts: &StateFacts) -> &'static str {
        facts.report().state.as_str()
    }

    #[test]
    fn the_first_state_that_applies_is_the_state() {
        type Step = (&'static str, u8, fn(&mut StateFacts));
        // From the last to the first: each step adds one fact and keeps all others.
        let steps: [Step; 11] = [
            ("ok", 0, |_| {}),
            ("running", 0, |facts| facts.running = found("a cycle is running")),
            ("partial", 3, |facts| facts.partial = found("2 users fail")),
            ("held", 3, |facts| facts.held = found("3 users are held")),
            ("reload-rejected", 3, |facts| facts.rejected = found("unknown key")),
            ("paused", 3, |facts| facts.paused = found("paused by an administrator")),
            ("interrupted", 1, |facts| facts.interrupted = found("stopped before its end")),
            ("stopped", 1, |facts| facts.daemon.runs = false),
            ("stale", 1, |facts| {
                facts.paused = None;
                facts.last_cycle_at = Some(time("2026-03-10T10:39:59Z"));
            }),
            ("failing", 1, |facts| facts.failing = found("Graph is unreachable")),
            ("blocked", 1, |facts| facts.trouble = found("the disk is full")),
        ];
        let mut facts = fine();
        for (expected, code, change) in steps {
            change(&mut facts);
            let report = facts.report();
            assert_eq!((report.state.as_str(), report.state.exit_code()), (expected, code));
            assert!(!report.reason.is_empty());
        }
        (facts.has_run, facts.running) = (false, None);
        assert_eq!(word(&facts), "never-run");
        assert_eq!(facts.report().state.exit_code(), 1);
        // A first cycle that a pause will skip changes nothing.
        let first = StateFacts { has_run: false, running: found("a cycle is running"), ..fine() };
        assert_eq!(word(&first), "running");
        assert_eq!(word(&StateFacts { paused: found("paused"), ..first }), "never-run");
    }

    #[test]
    fn a_cycle_is_missed_after_two_intervals_unless_paused_or_without_a_daemon() {
        let late =
            |minutes: i64| StateFacts { last_cycle_at: Some(time(NOW) - SignedDuration::from_mins(minutes)), ..fine() };
        assert_eq!((word(&late(80)), word(&late(81))), ("ok", "stale"));
        assert_eq!(late(81).report().since, Some(time("2026-03-10T10:39:00Z")));
        assert_eq!(word(&StateFacts { paused: found("paused"), ..late(500) }), "paused");
        // A pause does not count.
        let resumed_at = Some(time(NOW) - SignedDuration::from_mins(79));
        assert_eq!(word(&StateFacts { resumed_at, ..late(500) }), "ok");
        let by_hand = StateFacts { daemon: DaemonFacts::default(), last_by_daemon: false, ..late(5000) };
        assert_eq!(word(&by_hand), "ok");
        // A daemon that ended long ago is not replaced by silence.
        let abandoned = StateFacts { daemon: DaemonFacts::default(), ..late(60 * 24 * 30) };
        assert_eq!(word(&abandoned), "stale");
        let future = StateFacts { last_cycle_at: Some(time("2026-03-10T12:05:01Z")), ..by_hand };
        assert_eq!(word(&future), "ok", "a negative age has not elapsed");
        assert!(future.is_last_cycle_in_the_future());
    }

    #[test]
    fn a_daemon_is_missed_for_seven_days() {
        let ended = |hours: i64, stopped: bool| {
            let at = time(NOW) - SignedDuration::from_hours(hours);
            let stopped_at = stopped.then_some(at);
            let daemon = DaemonFacts { runs: false, runs_elsewhere: false, seen_at: Some(at), stopped_at };
            StateFacts { daemon, last_by_daemon: false, ..fine() }
        };
        assert_eq!(word(&ended(7 * 24, true)), "stopped");
        assert_eq!(word(&ended(7 * 24 + 1, true)), "ok");
        assert_eq!(ended(1, true).report().reason, "the daemon was stopped");
        assert!(ended(1, false).report().reason.contains("without a stop"));
        let mut elsewhere = ended(1, true);
        elsewhere.daemon.runs_elsewhere = true;
        assert_eq!(word(&elsewhere), "ok", "another machine provisions");
    }
}
