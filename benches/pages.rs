//! Reading the pages of a group, from the request to the decoded user. The simulator serves ready-made pages over the
//! loopback, so most of the time is parsing; `benches/scale.rs` measures the bare download.

#![expect(clippy::unwrap_used, reason = "a failure ends the measurement")]

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use graph_sim::{CLIENT_ID, CLIENT_SECRET, GraphSim, LargeTenant, TENANT_ID};
use learner_sync::config;
use learner_sync::directory::assess_each;
use learner_sync::model::system_clock;
use learner_sync::runtime::App;

/// Ten full pages.
const USERS: usize = 9_990;

fn pages(criterion: &mut Criterion) {
    let sim = GraphSim::start_large(LargeTenant { users: USERS, groups: 1, latency: Duration::ZERO }).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("learner-sync.toml");
    let (url, application) = (sim.url(), sim.tenant(|tenant| tenant.application.object_id.clone()));
    let text = format!(
        "[entra]\ntenant_id = \"{TENANT_ID}\"\nclient_id = \"{CLIENT_ID}\"\nauthority_url = \"{url}\"\n\
         graph_url = \"{url}\"\n[app]\nenterprise_app = \"{application}\"\n\
         [learners]\ndatabase_url = \"sqlite:///nowhere/learners.db\"\n"
    );
    std::fs::write(&path, text).unwrap();
    let environment = BTreeMap::from([("LEARNER_SYNC_CLIENT_SECRET".to_owned(), CLIENT_SECRET.to_owned())]);
    let App { directory, rules, .. } =
        App::new(config::load(&path, &environment).unwrap(), &environment, system_clock).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let application = runtime.block_on(directory.application(rules.application)).unwrap();
    let named = BTreeSet::new();
    let mut group = criterion.benchmark_group("pages");
    group.throughput(Throughput::Elements(USERS as u64));
    group.bench_function("read ten pages", |bencher| {
        bencher.iter(|| {
            let assess = assess_each(|read, _| {
                black_box(read);
            });
            let read = directory.read(application.clone(), &rules.selection, &named, &assess, |_, ()| {});
            assert_eq!(runtime.block_on(read).unwrap().users(), USERS);
        });
    });
    group.finish();
}

criterion_group!(benches, pages);
criterion_main!(benches);
