//! Random histories of a tenant, run through the whole pipeline and through a small model of it.
//!
//! `LEARNER_SYNC_HISTORIES` sets the number of histories; see `seeds` for repeating a failure.

mod damage;
mod entra;
mod history;
mod model;
mod run;

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use proptest::strategy::ValueTree;

use self::history::{CycleVariant, History, Representation, Request};
use crate::database::{apply, fewer_on_postgres, on_both};
use crate::seeds::{catch_panic, from_environment, generate, seeds};

/// Histories that run concurrently, because each of them often waits for the disk.
const CONCURRENT: usize = 4;
/// Maximum number of runs to find a shorter failing history.
const MAX_SHRINK_RUNS: usize = 200;

/// The rows of the database at the end of a history.
async fn final_rows(history: &History) -> Result<BTreeSet<String>, String> {
    catch_panic(run::run_history(history)).await
}

/// Looks for a shorter history that fails as well, and describes it.
async fn shrink(
    seed: u64,
    mut tree: impl ValueTree<Value = History>,
    mut why: String,
    check: impl AsyncFn(&History) -> Result<(), String>,
) -> String {
    let mut shortest = tree.current();
    let mut left = MAX_SHRINK_RUNS;
    'shorter: while left > 0 && tree.simplify() {
        while left > 0 {
            left -= 1;
            let candidate = tree.current();
            if let Err(repeat) = check(&candidate).await {
                (shortest, why) = (candidate, repeat);
                break;
            }
            if !tree.complicate() {
                break 'shorter;
            }
        }
    }
    format!("LEARNER_SYNC_SEED={seed} LEARNER_SYNC_HISTORIES=1, shortened:\n{shortest}fails {why}\n")
}

async fn check_all(count: u64, check: impl AsyncFn(&History) -> Result<(), String>) {
    let check_one = async |seed: u64| {
        let tree = generate(seed, &history::history());
        let checked = check(&tree.current()).await;
        checked.err().map(|why| (seed, tree, why))
    };
    let mut checked = futures_util::stream::iter(seeds(count).map(check_one)).buffer_unordered(CONCURRENT);
    while let Some(failure) = checked.next().await {
        if let Some((seed, tree, why)) = failure {
            panic!("{}", shrink(seed, tree, why, &check).await);
        }
    }
}

fn history_count() -> u64 {
    from_environment("LEARNER_SYNC_HISTORIES").unwrap_or_else(|| fewer_on_postgres(24))
}

#[apply(on_both)]
async fn every_history_matches_the_model() {
    check_all(history_count(), async |history| final_rows(history).await.map(drop)).await;
}

#[apply(on_both)]
async fn the_order_of_users_in_answers_makes_no_difference() {
    let check = async |history: &History| {
        let mut one = history.clone();
        // A dropped cycle ends at a different place in each run, and rows that lack keys make a cycle read users directly.
        let differs =
            |cycle: &CycleVariant| matches!(cycle, CycleVariant::Dropped(_) | CycleVariant::Fails(Request::Users, _));
        for round in one.rounds.iter_mut().filter(|round| differs(&round.cycle)) {
            round.cycle = CycleVariant::Normal;
        }
        let Representation { seed, sparse } = one.representation;
        let other = History { representation: Representation { seed: seed + 1, sparse: !sparse }, ..one.clone() };
        let (one, other) = (final_rows(&one).await?, final_rows(&other).await?);
        let lines = |rows: Vec<&String>| rows.iter().map(|row| format!("\n{row}")).collect::<String>();
        if one == other {
            return Ok(());
        }
        let (left, right) = (lines(one.difference(&other).collect()), lines(other.difference(&one).collect()));
        Err(format!("because another order of users gives other rows: {left}\nor{right}"))
    };
    check_all(history_count().div_ceil(4), check).await;
}
