//! The metrics. Counters run since the start of the process; gauges are what the daemon knew last.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::cycle::Report;
use crate::directory::{GraphTraffic, TrafficCounts};
use crate::model::{Outcome, Reason};
use crate::runtime::status::{LearnerNumbers, ReasonNumbers, StatusRecord};

const PREFIX: &str = "learner_sync";
/// From a cycle without changes to a first load of a large tenant, in seconds.
const DURATIONS: [f64; 13] = [0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0];
/// The reasons of holds. They are shown as 0 when nobody is held, so that alerts end.
const HOLDS: [Reason; 3] = [Reason::Threshold, Reason::EmptyGroup, Reason::Unreadable];
/// The status of a request without an answer.
const NO_ANSWER: &str = "none";

/// A format of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricsFormat {
    OpenMetrics,
    /// The older format of Prometheus, for programs that read nothing else.
    PrometheusText,
}

impl MetricsFormat {
    /// The format for a client that accepts these media types.
    pub(super) fn accepted(media_types: &str) -> Self {
        let is_old = media_types.contains("text/plain") && !media_types.contains("openmetrics");
        if is_old { Self::PrometheusText } else { Self::OpenMetrics }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::PrometheusText => prometheus_text::CONTENT_TYPE,
        }
    }
}

type Labels = Vec<(&'static str, String)>;

/// The counters of the process.
#[derive(Debug)]
pub struct Metrics {
    traffic: Arc<GraphTraffic>,
    cycles: Family<Labels, Counter>,
    durations: Histogram,
    changes: Family<Labels, Counter>,
}

impl Metrics {
    /// Counters at zero, except those of `traffic`.
    pub fn new(traffic: Arc<GraphTraffic>) -> Self {
        let cycles = Family::<Labels, Counter>::default();
        for outcome in Outcome::ALL {
            drop(cycles.get_or_create(&label("outcome", outcome.as_str())));
        }
        Self { traffic, cycles, durations: Histogram::new(DURATIONS), changes: Family::default() }
    }

    /// Counts a cycle.
    pub fn cycle_ended(&self, report: &Report) {
        self.count_outcome(report.outcome);
        self.durations.observe(report.duration.as_secs_f64());
        for ((action, reason), number) in &report.changes {
            let labels = vec![("action", action.to_string()), ("reason", reason.to_string())];
            self.changes.get_or_create(&labels).inc_by(*number);
        }
    }

    /// Counts a cycle that could not start, or panicked.
    pub fn cycle_lost(&self) {
        self.count_outcome(Outcome::Failed);
    }

    fn count_outcome(&self, outcome: Outcome) {
        self.cycles.get_or_create(&label("outcome", outcome.as_str())).inc();
    }

    /// All metrics.
    pub(super) fn encode(
        &self,
        format: MetricsFormat,
        record: &StatusRecord,
        now: Timestamp,
    ) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix(PREFIX);
        let version = label("version", env!("CARGO_PKG_VERSION"));
        registry.register("build", "The version of the program", Info::new(version));
        registry.register("cycles", "Cycles by outcome", self.cycles.clone());
        registry.register("cycle_duration_seconds", "Duration of cycles in seconds", self.durations.clone());
        registry.register("changes", "Applied changes of learners", self.changes.clone());
        register_traffic(&mut registry, self.traffic.counts());
        register_gauges(&mut registry, record, now);
        let mut written = String::new();
        match format {
            MetricsFormat::OpenMetrics => text::encode(&mut written, &registry)?,
            MetricsFormat::PrometheusText => prometheus_text::encode(&mut written, &registry)?,
        }
        Ok(written)
    }
}

fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

fn register_traffic(registry: &mut Registry, TrafficCounts { requests, retries, throttled }: TrafficCounts) {
    let by_status = Family::<Labels, Counter>::default();
    for (status, number) in requests {
        let status = status.map_or_else(|| NO_ANSWER.to_owned(), |status| status.to_string());
        by_status.get_or_create(&label("status", &status)).inc_by(number);
    }
    registry.register(
        "graph_requests",
        "Requests to Microsoft Graph by HTTP status, or none without an answer",
        by_status,
    );
    let paused = Counter::<f64, AtomicU64>::default();
    paused.inc_by(throttled.as_secs_f64());
    registry.register("graph_throttled_seconds", "Seconds for which Microsoft Graph paused all requests", paused);
    let repeated = Counter::<u64>::default();
    repeated.inc_by(retries);
    registry.register("graph_retries", "Repeated requests to Microsoft Graph", repeated);
}

fn register_gauges(registry: &mut Registry, record: &StatusRecord, now: Timestamp) {
    if let Some(summary) = &record.summary {
        let LearnerNumbers { active, inactive, linked, active_unlinked: _ } = summary.learners;
        let learners = [("active", active), ("inactive", inactive), ("linked", linked)];
        registry.register("learners", "Learners by state", gauges("state", learners));
        let held = by_reason(&HOLDS, &summary.held);
        registry.register("held", "Users whose changes wait for an approval", held);
        let failing = by_reason(&Reason::FAILURES, &summary.failing);
        registry.register("failing", "Users that cannot be provisioned", failing);
        let last_success = summary.last_success.as_ref().and_then(|cycle| cycle.finished_at);
        register_time(registry, "last_success", "End of the last cycle with the outcome success", last_success);
        register_time(registry, "credential_expiry", "Expiry of the credential", summary.credential_ends_at);
    }
    register_time(registry, "next_cycle", "Start of the next cycle", record.next_cycle_at);
    let is_paused = record.situation(true).facts(now).paused.is_some();
    for (name, help, is) in [
        ("paused", "1 while provisioning is paused or disabled", is_paused),
        ("running", "1 while a cycle is running", record.is_cycle_running),
        ("leader", "1 for a daemon alone, or the one that ran the last cycle", !record.is_standby),
    ] {
        registry.register(name, help, gauge(i64::from(is)));
    }
}

fn gauge(value: i64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

/// A time that is unknown is left out: every number would be a time.
fn register_time(registry: &mut Registry, name: &str, help: &str, time: Option<Timestamp>) {
    if let Some(time) = time {
        registry.register(format!("{name}_timestamp_seconds"), help, gauge(time.as_second()));
    }
}

fn gauges<'n>(name: &'static str, values: impl IntoIterator<Item = (&'n str, u64)>) -> Family<Labels, Gauge> {
    let family = Family::<Labels, Gauge>::default();
    for (value, number) in values {
        family.get_or_create(&label(name, value)).set(i64::try_from(number).unwrap_or(i64::MAX));
    }
    family
}

/// The numbers of users, with 0 for each of `reasons` that no user has.
fn by_reason(reasons: &[Reason], numbers: &[ReasonNumbers]) -> Family<Labels, Gauge> {
    let zeros = reasons.iter().map(|reason| (reason.as_str(), 0));
    gauges("reason", zeros.chain(numbers.iter().map(|number| (number.reason.as_str(), number.users))))
}
