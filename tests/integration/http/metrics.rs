//! Metrics, health and readiness.

use std::collections::BTreeSet;

use graph_sim::Fault;
use rustix::process::Signal;

use super::{ANY_PORT, Served};
use crate::database::{apply, on_both};
use crate::program::{eventually, users};
use crate::world::World;

const ASSIGNMENTS: &str = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
/// The metrics of the contract, as their samples are named.
const SAMPLES: [&str; 18] = [
    "learner_sync_build_info",
    "learner_sync_changes_total",
    "learner_sync_credential_expiry_timestamp_seconds",
    "learner_sync_cycle_duration_seconds_bucket",
    "learner_sync_cycle_duration_seconds_count",
    "learner_sync_cycle_duration_seconds_sum",
    "learner_sync_cycles_total",
    "learner_sync_failing",
    "learner_sync_graph_requests_total",
    "learner_sync_graph_retries_total",
    "learner_sync_graph_throttled_seconds_total",
    "learner_sync_held",
    "learner_sync_last_success_timestamp_seconds",
    "learner_sync_leader",
    "learner_sync_learners",
    "learner_sync_next_cycle_timestamp_seconds",
    "learner_sync_paused",
    "learner_sync_running",
];

/// The value of a sample, such as `paused` or `held{reason="threshold"}`.
fn sample(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("learner_sync_")?.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

/// Every word of `text` that begins like a metric.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("learner_sync_")).map(str::to_owned).collect()
}

/// The names of the samples.
fn sample_names(text: &str) -> BTreeSet<String> {
    named(&text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n"))
}

#[apply(on_both)]
async fn metrics_count_cycles_changes_and_requests() {
    let world = World::start(users(2).0).await;
    world.configure(ANY_PORT);
    world.sim.inject(Fault::on("GET", ASSIGNMENTS).answer(429).retry_after("1"));
    let served = Served::start_in(world).await;
    let answer = served.get("/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{answer:?}"
    );
    let text = &answer.body;
    assert!(text.ends_with("# EOF\n"), "{text}");
    for (name, value) in [
        (&*format!("build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
        ("cycles_total{outcome=\"success\"}", 1.0),
        ("cycles_total{outcome=\"failed\"}", 0.0),
        ("cycle_duration_seconds_count", 1.0),
        ("changes_total{action=\"create\",reason=\"assigned\"}", 2.0),
        ("graph_requests_total{status=\"429\"}", 1.0),
        ("graph_retries_total", 1.0),
        ("graph_throttled_seconds_total", 1.0),
        ("learners{state=\"active\"}", 2.0),
        ("learners{state=\"inactive\"}", 0.0),
        ("learners{state=\"linked\"}", 2.0),
        ("held{reason=\"threshold\"}", 0.0),
        ("failing{reason=\"conflict\"}", 0.0),
        ("paused", 0.0),
        ("running", 0.0),
        ("leader", 1.0),
    ] {
        assert_eq!(sample(text, name), Some(value), "{name}\n{text}");
    }
    let requests = text.lines().filter(|line| line.starts_with("learner_sync_graph_requests_total{"));
    let requests: u64 = requests.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(requests.to_string(), served.world.value("SELECT requests FROM sync_cycles").await);
    let seconds = |time: String| time.parse::<jiff::Timestamp>().unwrap().as_second() as f64;
    let status = served.world.run_program(&["status", "--json"], 0).json();
    for (name, time) in [
        ("last_success_timestamp_seconds", &status["last_success"]["finished_at"]),
        ("next_cycle_timestamp_seconds", &status["next_cycle_at"]),
        ("credential_expiry_timestamp_seconds", &status["credential_ends_at"]),
    ] {
        assert_eq!(sample(text, name), Some(seconds(time.as_str().unwrap().to_owned())), "{name}");
    }
    assert!(!text.to_lowercase().contains("ada.") && !text.contains("Number") && !text.contains('@'), "{text}");
    served.daemon.stop().await;
}

#[tokio::test]
async fn a_reload_keeps_the_counters_and_the_listener() {
    let served = Served::start(1, ANY_PORT).await;
    let requests = "graph_requests_total{status=\"200\"}";
    let before = sample(&served.get("/metrics").body, requests).unwrap();
    served.world.configure(&format!("{ANY_PORT}\n[safety]\nmax_deactivations = 7"));
    served.daemon.signal(Signal::HUP);
    served.daemon.logged("configuration reloaded", 1).await;
    served.daemon.signal(Signal::USR1);
    eventually("the second cycle is counted", async || {
        (sample(&served.get("/metrics").body, "cycles_total{outcome=\"success\"}") == Some(2.0)).then_some(())
    })
    .await;
    let after = sample(&served.get("/metrics").body, requests).unwrap();
    assert!(after > before, "{before} {after}");
    served.daemon.stop().await;
}

#[tokio::test]
async fn a_client_can_ask_for_the_older_text_format() {
    let served = Served::start(1, ANY_PORT).await;
    for (accept, is_old) in [
        ("*/*", false),
        ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", false),
        ("text/plain", true),
        ("text/plain;version=0.0.4, */*;q=0.1", true),
    ] {
        let answer = served.get_with("/metrics", &format!("Accept: {accept}"));
        let content_type = answer.header("content-type").unwrap();
        assert_eq!(content_type.starts_with("text/plain; version=0.0.4"), is_old, "{accept}: {content_type}");
        // Programs that read the older format know no other type and no end.
        assert_eq!(answer.body.contains("# TYPE learner_sync_cycles_total counter"), is_old, "{accept}");
        assert_eq!(answer.body.contains("# EOF"), !is_old, "{accept}");
        assert_eq!(sample_names(&answer.body), SAMPLES.map(str::to_owned).into(), "{accept}");
    }
    served.daemon.stop().await;
}

#[tokio::test]
async fn readiness_follows_the_state() {
    let served = Served::start(1, ANY_PORT).await;
    let ready = served.get("/readyz");
    assert_eq!((ready.status, &*ready.body), (200, "ok\n"));
    served.world.run_program(&["pause"], 0);
    served.waits_for("/readyz", 200, "paused").await;
    served.waits_for("/metrics", 200, "learner_sync_paused 1").await;
    served.world.run_program(&["resume"], 0);
    served.waits_for("/readyz", 200, "ok").await;
    served.world.sim.inject(Fault::on("GET", ASSIGNMENTS).answer(403));
    served.daemon.signal(Signal::USR1);
    served.waits_for("/readyz", 503, "failing").await;
    assert_eq!(served.get("/healthz").status, 200);
    let failed = served.get("/metrics").body;
    assert_eq!(sample(&failed, "cycles_total{outcome=\"failed\"}"), Some(1.0), "{failed}");
    served.daemon.signal(Signal::USR1);
    served.waits_for("/readyz", 200, "ok").await;
    served.daemon.stop().await;
}

#[tokio::test]
async fn rules_and_dashboard_name_only_exported_metrics() {
    let served = Served::start(1, ANY_PORT).await;
    let exported = sample_names(&served.get("/metrics").body);
    served.daemon.stop().await;
    let promised: BTreeSet<String> = SAMPLES.map(str::to_owned).into();
    assert_eq!(exported, promised);
    let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for (file, at_least) in [("prometheus-alerts.yml", 8), ("grafana-dashboard.json", 12)] {
        let text = std::fs::read_to_string(config.join(file)).unwrap();
        let names = named(&text);
        assert!(names.len() >= at_least, "{file} names {names:?}");
        assert_eq!(names.difference(&exported).collect::<Vec<_>>(), [""; 0], "{file}");
        if file.ends_with(".json") {
            let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(dashboard["panels"].as_array().unwrap().len() >= 8);
        }
    }
}
