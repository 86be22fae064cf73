//! Random histories of a tenant, played against the whole pipeline and against a small model of it.
//!
//! `LEARNER_SYNC_HISTORIES` says how many; `LEARNER_SYNC_SEED` plays those of a failure again.

use crate::database::{apply, fewer_on_postgres, on_both};
mod entra;
mod history;
mod model;
mod stage;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt as _, StreamExt as _};
use proptest::strategy::{Strategy as _, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use self::history::{History, How, Telling};

/// So many are played at the same time: now one waits for the disk, now another one.
const ABREAST: usize = 4;
/// So often a history that fails is played again, a little shorter.
const SHORTENINGS: usize = 200;

#[expect(clippy::disallowed_methods, reason = "a test has no configuration but this")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// The rows in which a history ends. What goes wrong, be it told or a panic, comes in words.
async fn ends(history: &History) -> Result<BTreeSet<String>, String> {
    AssertUnwindSafe(stage::play(history)).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}

/// Looks for a shorter history that goes wrong as well, and tells it.
async fn tell(
    seed: u64,
    mut tree: impl ValueTree<Value = History>,
    mut why: String,
    check: impl AsyncFn(&History) -> Result<(), String>,
) -> String {
    let mut shortest = tree.current();
    let mut left = SHORTENINGS;
    'shorter: while left > 0 && tree.simplify() {
        while left > 0 {
            left -= 1;
            let candidate = tree.current();
            if let Err(again) = check(&candidate).await {
                (shortest, why) = (candidate, again);
                break;
            }
            if !tree.complicate() {
                break 'shorter;
            }
        }
    }
    format!("LEARNER_SYNC_SEED={seed} LEARNER_SYNC_HISTORIES=1, shortened:\n{shortest}goes wrong {why}\n")
}

/// Checks so many histories.
async fn check_all(count: u64, check: impl AsyncFn(&History) -> Result<(), String>) {
    let first = number("LEARNER_SYNC_SEED").unwrap_or_else(rand::random);
    let check_one = async |seed: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let tree = history::history().new_tree(&mut runner).unwrap();
        let checked = check(&tree.current()).await;
        checked.err().map(|why| (seed, tree, why))
    };
    let seeds = (0..count).map(|number| first.wrapping_add(number));
    let mut checked = futures_util::stream::iter(seeds.map(check_one)).buffer_unordered(ABREAST);
    while let Some(failure) = checked.next().await {
        if let Some((seed, tree, why)) = failure {
            panic!("{}", tell(seed, tree, why, &check).await);
        }
    }
}

fn count() -> u64 {
    number("LEARNER_SYNC_HISTORIES").unwrap_or_else(|| fewer_on_postgres(60))
}

#[apply(on_both)]
async fn every_history_goes_as_the_model_says() {
    check_all(count(), async |history| ends(history).await.map(drop)).await;
}

#[apply(on_both)]
async fn the_order_in_which_entra_tells_people_makes_no_difference() {
    let check = async |history: &History| {
        let mut one = history.clone();
        // Where exactly a cycle is given up is chance.
        for round in one.rounds.iter_mut().filter(|round| matches!(round.cycle, How::GivenUp(_))) {
            round.cycle = How::Plainly;
        }
        let Telling { seed, sparse } = one.telling;
        let other = History { telling: Telling { seed: seed + 1, sparse: !sparse }, ..one.clone() };
        let (one, other) = (ends(&one).await?, ends(&other).await?);
        let told = |rows: Vec<&String>| rows.iter().map(|row| format!("\n{row}")).collect::<String>();
        if one == other {
            return Ok(());
        }
        let (left, right) = (told(one.difference(&other).collect()), told(other.difference(&one).collect()));
        Err(format!("in another way when people are told in another order: {left}\nor{right}"))
    };
    check_all(count().div_ceil(4), check).await;
}
