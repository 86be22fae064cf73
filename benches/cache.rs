//! Recording and recalling the cache: what every cycle does at its end and at its start.

#![expect(clippy::unwrap_used, reason = "a failure ends the measurement")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use learner_sync::cache::{self, Origin};
use learner_sync::model::{EntraId, Fingerprint, Generation, LearnerId, LinkedLearner, LinkedLearners, Route, Routes};

const LEARNERS: u64 = 100_000;

/// Ids that are spread like Entra's.
fn id(number: u64) -> EntraId {
    EntraId::from_bytes(u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes())
}

fn linked() -> LinkedLearners {
    let routes: Routes = [Route::Group(id(LEARNERS + 1))].into_iter().collect();
    let learner = |number: u64| LinkedLearner {
        learner: LearnerId::Number(number.cast_signed()),
        active: true,
        outside: false,
        fingerprint: Fingerprint((u128::from(number) << 64).to_be_bytes()),
        row: None,
        routes: routes.clone(),
    };
    (1..=LEARNERS).map(|number| (id(number), learner(number))).collect()
}

fn cache(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("cache");
    let origin = Origin { generation: Generation(7), source: "source".to_owned(), mapping: [7; 32], text_ids: false };
    let now = Timestamp::UNIX_EPOCH;
    let mut linked = linked();
    let mut group = criterion.benchmark_group("cache");
    group.sample_size(10).throughput(Throughput::Elements(LEARNERS));
    group.bench_function("record, unchanged", |bencher| {
        bencher.iter(|| runtime.block_on(cache::record(&directory, &origin, &linked, now, now)).unwrap());
    });
    let mut round = 0u128;
    group.bench_function("record, all changed", |bencher| {
        bencher.iter(|| {
            round += 1;
            linked.retain(|_, learner| {
                learner.fingerprint = Fingerprint(round.to_be_bytes());
                true
            });
            runtime.block_on(cache::record(&directory, &origin, &linked, now, now)).unwrap();
        });
    });
    group.bench_function("recall", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(cache::recall(&directory, &origin, now)).unwrap()));
    });
    group.finish();
}

criterion_group!(benches, cache);
criterion_main!(benches);
