//! `learner-sync pause` and `resume`. The state is in the learner database.

use jiff::Timestamp;

use super::Context;
use super::output::{DONE, Failure, print_sentences};

pub(super) async fn run(context: Context, paused: bool, now: Timestamp) -> Result<u8, Failure> {
    let actor = super::actor(&context.environment);
    let store = context.open_current_store().await?;
    let before = store.state().await?.paused;
    if before != paused {
        store.set_paused(paused, &actor, now).await?;
    }
    store.close().await?;
    print_sentences(match (before, paused) {
        (true, true) => "Provisioning is already paused.",
        (false, true) => {
            "Provisioning is paused: cycles are skipped until `learner-sync resume`. A running cycle stops before its next batch."
        }
        (true, false) => "Provisioning resumed.",
        (false, false) => "Provisioning is not paused.",
    })?;
    Ok(DONE)
}
