//! `learner-sync run`

use super::output::{DONE, Failure};
use super::{Context, LogFormat};
use crate::daemon;
use crate::model::Clock;

pub(super) async fn run(context: Context, clock: Clock) -> Result<u8, Failure> {
    let Context { config, environment } = context;
    let format = config.log.format;
    match daemon::run(config, environment, clock).await {
        Ok(()) => Ok(DONE),
        Err(error) => {
            let failure = Failure::from(error);
            if format == LogFormat::Journald {
                // Standard error may go nowhere then.
                tracing::error!("{failure:?}");
            }
            Err(failure)
        }
    }
}
