//! The time of a cycle, by the clock of this machine and by Graph's.

use super::{CycleContext, CycleOptions};
use crate::model::{ClockFinding, CycleTime};
use crate::store::StoreError;

/// The time of this cycle, by Graph's answers so far.
pub(super) async fn cycle_time(
    context: CycleContext<'_>,
    options: CycleOptions<'_>,
    source: &str,
) -> Result<CycleTime, StoreError> {
    let last = context.store.last_complete_cycle(source).await?;
    Ok(CycleTime::new(options.now, context.directory.time_at_start(), last))
}

/// Warns in each cycle in which the clocks do not agree.
pub(super) fn log_finding(time: CycleTime) {
    if let Some(warning) = time.finding().and_then(ClockFinding::warning) {
        tracing::warn!("{warning}");
    }
}
