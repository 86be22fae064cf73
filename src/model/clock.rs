//! Elapsed time by two clocks: that of this machine and Graph's. Either may be wrong, so a rule that lets something
//! happen needs both, and a rule that protects needs one.

use jiff::{SignedDuration, Timestamp};

use super::words::words;

/// How long an approval is valid, and how far back deactivations are counted.
pub const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Entra, like Kerberos, tolerates a clock difference of five minutes.
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// HTTP dates and stored times have whole seconds, so an age can seem negative by this much.
const ROUNDING: SignedDuration = SignedDuration::from_secs(2);

words! {
    /// Why the `Date` headers of a cycle are not used.
    ClockFault {
        /// An answer has no date, or a cache sent all of them.
        Missing = "missing",
        /// An answer has several dates.
        Repeated = "repeated",
        /// A date cannot be parsed, or lies in another century.
        Unreadable = "unreadable",
        /// Two answers contradict each other.
        Contradictory = "contradictory",
        /// The last complete cycle ran later.
        BeforeLastCycle = "before-last-cycle",
    }
}

/// The result of comparing the clocks in a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockFinding {
    /// The clocks agree.
    Agree,
    /// The clock of this machine is ahead of Graph's by more than [`CLOCK_TOLERANCE`], or behind when negative.
    Differ(SignedDuration),
    /// Graph's clock is unknown.
    Unknown(ClockFault),
}

impl ClockFinding {
    /// Compares the clock of this machine with Graph's.
    pub fn compare(local: Timestamp, graph: Timestamp) -> Self {
        let ahead = local.duration_since(graph);
        if ahead.unsigned_abs() > CLOCK_TOLERANCE.unsigned_abs() { Self::Differ(ahead) } else { Self::Agree }
    }

    /// The finding in words.
    pub fn description(self) -> String {
        match self {
            Self::Agree => "the clocks of this machine and of Graph agree".to_owned(),
            Self::Differ(ahead) => {
                let direction = if ahead.is_negative() { "behind" } else { "ahead of" };
                format!("the clock of this machine is {} s {direction} Graph's", ahead.unsigned_abs().as_secs())
            }
            Self::Unknown(fault) => match fault {
                ClockFault::Missing => "Graph's answers have no Date header, or come from a cache",
                ClockFault::Repeated => "an answer of Graph has several Date headers",
                ClockFault::Unreadable => "an answer of Graph has an invalid Date header",
                ClockFault::Contradictory => "the Date headers of Graph's answers contradict each other",
                ClockFault::BeforeLastCycle => "Graph's Date is earlier than the last complete cycle",
            }
            .to_owned(),
        }
    }

    /// Advice for the administrator, when the clocks do not agree.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::Agree => None,
            Self::Differ(_) => Some(
                "set the clock of this machine (timedatectl set-ntp true); approvals, safety.deactivate_after and \
                 log.retention need both clocks, and Entra may refuse the sign-in",
            ),
            Self::Unknown(ClockFault::BeforeLastCycle) => Some(
                "the next cycle accepts this date if the clock of this machine agrees; otherwise check that clock and the \
                 proxy: until then approvals, safety.deactivate_after and log.retention have no effect",
            ),
            Self::Unknown(_) => Some(
                "check the clock of this machine and the proxy; until then approvals, safety.deactivate_after and \
                 log.retention have no effect",
            ),
        }
    }

    /// Whether a cycle may accept an approval that is given now.
    pub fn lets_approve(self) -> bool {
        match self {
            Self::Agree => true,
            Self::Differ(ahead) => is_valid_approval_age(-ahead),
            // The clocks may agree: then this cycle has replaced the record that contradicted them.
            Self::Unknown(fault) => fault == ClockFault::BeforeLastCycle,
        }
    }

    /// The warning for an administrator, when there is one.
    pub fn warning(self) -> Option<String> {
        self.advice().map(|advice| format!("{}: {advice}", self.description()))
    }

    /// As the learner database stores it.
    pub fn to_text(self) -> String {
        match self {
            Self::Agree => "agree".to_owned(),
            Self::Differ(ahead) => format!("differ {}", ahead.as_secs()),
            Self::Unknown(fault) => fault.to_string(),
        }
    }

    /// The reverse of [`Self::to_text`]; `None` for an unknown text.
    pub fn from_text(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            None if text == "agree" => Some(Self::Agree),
            None => text.parse().ok().map(Self::Unknown),
            Some(("differ", seconds)) => {
                seconds.parse().ok().map(|seconds| Self::Differ(SignedDuration::from_secs(seconds)))
            }
            Some(_) => None,
        }
    }
}

/// Graph's time, by the answer that says the earliest and by the one that says the latest. Either may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphTime {
    /// The earliest time.
    pub earliest: Timestamp,
    /// The latest time.
    pub latest: Timestamp,
}

impl GraphTime {
    /// The time that all answers agree on.
    pub fn at(time: Timestamp) -> Self {
        Self { earliest: time, latest: time }
    }
}

/// The start of a cycle by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CycleTime {
    local: Timestamp,
    /// None while it is unknown, or not to be trusted: then nothing has elapsed.
    graph: Option<GraphTime>,
    recorded: Timestamp,
    finding: Option<ClockFinding>,
}

impl CycleTime {
    /// `graph` is what the answers of the cycle say, `None` before the first one; `last` is the start of the last complete
    /// cycle.
    pub fn new(local: Timestamp, graph: Option<Result<GraphTime, ClockFault>>, last: Option<Timestamp>) -> Self {
        // Recorded times never go back with a wrong clock: what happens now would seem to be long ago.
        let latest = last.map_or(local, |last| last.max(local));
        let unknown = |fault, recorded| {
            let finding = Some(ClockFinding::Unknown(fault));
            Self { local, graph: None, recorded, finding }
        };
        match graph {
            None => Self { local, graph: None, recorded: latest, finding: None },
            Some(Err(fault)) => unknown(fault, latest),
            Some(Ok(graph)) => {
                // Recorded late, a deactivation stays recent for longer, and a wait begins later.
                let recorded = graph.latest;
                let finding = ClockFinding::compare(local, recorded);
                if last.is_some_and(|last| is_negative(recorded.duration_since(last))) {
                    // Two clocks that agree outvote the record, which the next cycle is then compared with.
                    let agree = finding == ClockFinding::Agree;
                    unknown(ClockFault::BeforeLastCycle, if agree { recorded } else { latest })
                } else {
                    Self { local, graph: Some(graph), recorded, finding: Some(finding) }
                }
            }
        }
    }

    /// The time to record: Graph's where it is known.
    pub fn recorded(self) -> Timestamp {
        self.recorded
    }

    /// How the clocks compare; `None` when no answer was received.
    pub fn finding(self) -> Option<ClockFinding> {
        self.finding
    }

    /// Whether `span` has passed since `at`, by both clocks.
    pub fn has_elapsed(self, at: Timestamp, span: SignedDuration) -> bool {
        self.ages(at).is_some_and(|ages| ages.iter().all(|age| !age.is_negative() && *age >= span))
    }

    /// The earliest time that is not more than `span` ago by either clock.
    pub fn recent_since(self, span: SignedDuration) -> Timestamp {
        self.before(span).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The time before which everything is more than `span` ago by both clocks; `None` when nothing is.
    pub fn before(self, span: SignedDuration) -> Option<Timestamp> {
        self.local.min(self.graph?.earliest).checked_sub(span).ok()
    }

    /// Whether an approval of this time is valid, by both clocks.
    pub fn is_valid_approval(self, at: Timestamp) -> bool {
        self.ages(at).is_some_and(|ages| ages.into_iter().all(is_valid_approval_age))
    }

    /// Whether something done at `at` is due again after `span`. A time in the future was recorded by a wrong clock.
    pub fn is_due_again(self, at: Timestamp, span: SignedDuration) -> bool {
        let by = |now: Timestamp| is_negative(now.duration_since(at));
        by(self.local) || self.graph.is_some_and(|graph| by(graph.earliest)) || self.has_elapsed(at, span)
    }

    fn ages(self, at: Timestamp) -> Option<[SignedDuration; 3]> {
        let GraphTime { earliest, latest } = self.graph?;
        Some([self.local, earliest, latest].map(|now| now.duration_since(at)))
    }
}

/// Whether an approval of this age is valid by one clock.
pub fn is_valid_approval_age(age: SignedDuration) -> bool {
    (-CLOCK_TOLERANCE..=DAY + CLOCK_TOLERANCE).contains(&age)
}

fn is_negative(age: SignedDuration) -> bool {
    age < -ROUNDING
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn now() -> Timestamp {
        "2026-03-02T08:00:00Z".parse().unwrap()
    }

    /// The clocks this far from [`now`].
    fn clocks(local: SignedDuration, graph: SignedDuration) -> CycleTime {
        CycleTime::new(now() + local, Some(Ok(GraphTime::at(now() + graph))), None)
    }

    #[test]
    fn a_span_has_elapsed_only_by_both_clocks() {
        let year = HOUR * 24 * 365;
        // The clocks relative to a time, and whether a day has elapsed since.
        for (local, graph, elapsed) in [
            (DAY, DAY, true),
            (DAY * 2, HOUR, false),
            (HOUR, DAY * 2, false),
            (-year, DAY * 2, false),
            (DAY * 2, -year, false),
            (year, year, true),
            (-HOUR, -HOUR, false),
        ] {
            let time = clocks(local, graph);
            assert_eq!(time.has_elapsed(now(), DAY), elapsed, "{local} {graph}");
            // Recent by either clock; a time of the future is recent.
            assert_eq!(now() >= time.recent_since(DAY), !elapsed || local.min(graph) == DAY, "{local} {graph}");
            // A wait of no time passes at once, but not backwards.
            assert_eq!(time.has_elapsed(now(), SignedDuration::ZERO), local.min(graph) >= SignedDuration::ZERO);
        }
    }

    #[test]
    fn nothing_has_elapsed_while_graphs_clock_is_unknown() {
        for graph in [None, Some(Err(ClockFault::Missing)), Some(Ok(GraphTime::at(now() - DAY)))] {
            let time = CycleTime::new(now(), graph, Some(now() - HOUR));
            let long_ago = now() - DAY * 100;
            assert!(!time.has_elapsed(long_ago, DAY), "{graph:?}");
            assert!(long_ago >= time.recent_since(DAY), "{graph:?}");
            assert_eq!(time.before(DAY), None);
            assert!(!time.is_valid_approval(now()), "{graph:?}");
            assert!(!time.is_due_again(long_ago, DAY), "{graph:?}");
        }
    }

    #[test]
    fn an_approval_needs_an_age_of_a_day_at_most_by_both_clocks() {
        let minutes = SignedDuration::from_mins;
        for (local, graph, valid) in [
            (HOUR, HOUR, true),
            (minutes(-5), minutes(-5), true),
            (DAY + minutes(5), DAY, true),
            (minutes(-6), HOUR, false),
            (HOUR, minutes(-6), false),
            (DAY + minutes(6), HOUR, false),
            (HOUR, DAY + minutes(6), false),
            (DAY * 400, HOUR, false),
        ] {
            assert_eq!(clocks(local, graph).is_valid_approval(now()), valid, "{local} {graph}");
        }
    }

    #[test]
    fn answers_that_differ_let_nothing_happen_that_one_of_them_forbids() {
        let minutes = SignedDuration::from_mins;
        let time = |earliest, latest| {
            let graph = GraphTime { earliest: now() + earliest, latest: now() + latest };
            CycleTime::new(now() + DAY * 2, Some(Ok(graph)), None)
        };
        let spread = time(DAY - minutes(2), DAY + minutes(2));
        assert!(!spread.has_elapsed(now(), DAY));
        assert!(now() >= spread.recent_since(DAY));
        assert_eq!(spread.recorded(), now() + DAY + minutes(2));
        // The clock of this machine agrees with Graph's.
        let approval = |earliest, latest| {
            let graph = GraphTime { earliest: now() + earliest, latest: now() + latest };
            CycleTime::new(now(), Some(Ok(graph)), None).is_valid_approval(now())
        };
        assert!(approval(minutes(-4), minutes(1)));
        assert!(!approval(minutes(-6), minutes(-2)));
        assert!(!approval(DAY + minutes(3), DAY + minutes(7)));
    }

    #[test]
    fn a_comparison_is_due_after_its_span_and_when_its_age_is_negative() {
        let second = SignedDuration::from_secs(1);
        for (local, graph, due) in [
            (DAY, DAY, true),
            (DAY, HOUR, false),
            (HOUR, DAY, false),
            (-HOUR, HOUR, true),
            (HOUR, -HOUR, true),
            (-second, SignedDuration::ZERO, false),
        ] {
            assert_eq!(clocks(local, graph).is_due_again(now(), DAY), due, "{local} {graph}");
        }
    }

    #[test]
    fn recorded_times_are_graphs_and_never_go_back_with_a_wrong_clock() {
        let (last, day) = (now() - HOUR, DAY);
        let fault = Some(Err(ClockFault::Unreadable));
        // Local clock, Graph's date, and what is recorded.
        for (local, graph, recorded) in [
            (now(), Some(Ok(now())), now()),
            (now() + day, Some(Ok(now())), now()),
            (now() - day, Some(Ok(now())), now()),
            (now(), Some(Ok(now() + day)), now() + day),
            (now(), fault, now()),
            (now() - day, fault, last),
            (now() - day, None, last),
            (now(), Some(Ok(now() - day)), now()),
            // Both clocks say that the last cycle was recorded by a wrong one.
            (now() - day, Some(Ok(now() - day)), now() - day),
        ] {
            let graph = graph.map(|graph| graph.map(GraphTime::at));
            assert_eq!(CycleTime::new(local, graph, Some(last)).recorded(), recorded, "{local} {graph:?}");
        }
    }

    #[test]
    fn clocks_may_differ_by_five_minutes() {
        let minutes = SignedDuration::from_mins;
        let finding = |local| clocks(local, SignedDuration::ZERO).finding().unwrap();
        assert_eq!(finding(minutes(5)), ClockFinding::Agree);
        assert_eq!(finding(minutes(-5)), ClockFinding::Agree);
        assert_eq!(finding(minutes(6)), ClockFinding::Differ(minutes(6)));
        assert_eq!(finding(minutes(-6)), ClockFinding::Differ(minutes(-6)));
        let faults = ClockFault::ALL.iter().copied().map(ClockFinding::Unknown);
        for finding in faults.chain([ClockFinding::Agree, finding(HOUR), finding(-HOUR)]) {
            assert_eq!(ClockFinding::from_text(&finding.to_text()), Some(finding));
            assert_eq!(finding.warning().is_none(), finding == ClockFinding::Agree);
        }
        assert_eq!(ClockFinding::from_text("differ much"), None);
        for (ahead, valid) in [(minutes(6), false), (minutes(-6), true), (DAY, false), (-DAY * 2, false)] {
            let finding = finding(ahead);
            assert_eq!(finding.lets_approve(), valid, "{ahead}");
            assert_eq!(clocks(ahead, SignedDuration::ZERO).is_valid_approval(now() + ahead), valid, "{ahead}");
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        for (local, graph) in
            [(Timestamp::MIN, Timestamp::MAX), (Timestamp::MAX, Timestamp::MIN), (Timestamp::MIN, Timestamp::MIN)]
        {
            let time = CycleTime::new(local, Some(Ok(GraphTime::at(graph))), None);
            for at in [Timestamp::MIN, Timestamp::MAX] {
                assert!(!time.is_valid_approval(at) || local == graph);
                let _ = (time.has_elapsed(at, SignedDuration::MAX), time.is_due_again(at, SignedDuration::MAX));
            }
            let _ = (time.recent_since(SignedDuration::MAX), time.finding().and_then(ClockFinding::warning));
        }
    }
}
