//! `learner-sync run`

use super::output::{DONE, Failure};
use super::{Context, LogFormat};
use crate::daemon;
use crate::model::Clock;

pub(super) async fn run(context: Context, clock: Clock) -> Result<u8, Failure> {
    let Context { config, environment } = context;
    let format = config.log.format;
    let ended = daemon::run(config, environment, clock).await.map_err(Failure::from);
    if let (Err(failure), LogFormat::Journald) = (&ended, format) {
        // Standard error may go nowhere then.
        tracing::error!("{failure:?}");
    }
    ended.map(|()| DONE)
}
