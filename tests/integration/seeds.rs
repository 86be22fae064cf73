//! Random tests: a failure prints its seed, and `LEARNER_SYNC_SEED` repeats it.
//!
//! A normal run has a fixed budget. These variables set a longer one: `LEARNER_SYNC_FAULTS` (scenarios of
//! `faults::random`), `LEARNER_SYNC_HISTORIES` (histories), `LEARNER_SYNC_CRASH_ROUNDS` (rounds of `crash::instants`), and
//! `LEARNER_SYNC_TAKE_OVER_ROUNDS` (rounds of `two_daemons::random`). `LEARNER_SYNC_FAILOVER_ROUNDS` (rounds of
//! `failover::rounds`) has no default budget.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// A number from an environment variable.
#[expect(clippy::disallowed_methods, reason = "the budget and the seed of a test run are not configuration")]
pub(crate) fn from_environment(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// The first seed of a test run.
pub(crate) fn first_seed() -> u64 {
    from_environment("LEARNER_SYNC_SEED").unwrap_or_else(rand::random)
}

/// The seeds of `count` cases.
pub(crate) fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let first = first_seed();
    (0..count).map(move |number| first.wrapping_add(number))
}

/// The case of a seed.
pub(crate) fn generate<S: Strategy>(seed: u64, strategy: &S) -> S::Tree {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    strategy.new_tree(&mut TestRunner::new_with_rng(Config::default(), rng)).unwrap()
}

/// Turns a panic into an error, so that the failing case can be printed.
pub(crate) async fn catch_panic<T>(check: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    AssertUnwindSafe(check).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}
