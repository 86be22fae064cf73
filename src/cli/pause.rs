//! `learner-sync pause` and `resume`: the provisioning status switch, kept in the learner database.

use jiff::Timestamp;

use super::Context;
use super::output::{DONE, Failure, print};
use crate::store::{Access, Store};

pub(super) async fn run(context: Context, paused: bool, now: Timestamp) -> Result<u8, Failure> {
    let actor = super::actor(&context.environment);
    let store = Store::open(context.learners()?, Access::ReadWrite).await?;
    let before = store.state().await?.paused;
    if before != paused {
        store.set_paused(paused, &actor, now).await?;
    }
    store.close().await?;
    print(match (before, paused) {
        (true, true) => "Provisioning is paused already.",
        (false, true) => {
            "Provisioning is paused: cycles are skipped until `learner-sync resume`. One that is running now ends as usual."
        }
        (true, false) => "Provisioning is switched on again.",
        (false, false) => "Provisioning is switched on already.",
    })?;
    Ok(DONE)
}
