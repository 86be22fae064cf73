//! Starting over: a plan is worth nothing once the database is not the one that it was made from.

use super::{CycleContext, CycleError, CycleOptions, Report, StopSignal, begin, stopped};
use crate::model::chain;
use crate::progress::Stage;
use crate::store::{CycleId, StoreError};

/// Prepares the second attempt after `error`: connects again if the connection was lost, and counts what the cycle has
/// committed as the database has it now. Returns the cycle.
///
/// # Errors
/// `error` itself when another attempt is useless or impossible, or the learner database fails again.
pub(super) async fn start_over(
    context: CycleContext<'_>,
    options: CycleOptions<'_>,
    cycle: CycleId,
    error: CycleError,
    report: &mut Report,
    stop: &mut StopSignal,
) -> Result<CycleId, CycleError> {
    let store = context.store;
    match error {
        CycleError::Store(StoreError::WrittenByOther) => {
            tracing::warn!(cycle.id = %cycle, "another process has written learners; the cycle starts over");
        }
        CycleError::Store(error) if error.is_lost_session() => {
            tracing::warn!(cycle.id = %cycle, "{}; connecting again", chain(&error));
            if !reconnect(context, stop).await {
                return Err(if *stop.borrow() { CycleError::Interrupted } else { error.into() });
            }
            tracing::warn!(cycle.id = %cycle, "connected to the learner database again; the cycle starts over");
        }
        error => return Err(error),
    }
    // A standby that was promoted may lack the last transactions, and the whole cycle with them.
    let is_known = store.has_cycle(cycle).await?;
    let again = if is_known { cycle } else { begin(context, options).await?.1 };
    if !is_known {
        tracing::warn!(cycle.id = %again, cycle.lost = %cycle, "the learner database lacks the cycle; it begins again");
    }
    report.start_over(again, &store.committed_changes(again).await?);
    Ok(again)
}

/// Records the end of a cycle, with another connection if this one is lost. After a failover or a restore, the database may
/// lack the row of the cycle, which then gets another one, or its changes, which make it a failed cycle.
pub(super) async fn record_end(
    context: CycleContext<'_>,
    options: CycleOptions<'_>,
    cycle: CycleId,
    report: &mut Report,
    stop: &mut StopSignal,
) -> Result<(), StoreError> {
    let store = context.store;
    match store.finish_cycle(cycle, &report.cycle_end()).await {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        // Otherwise the cycle has tried to connect before, and failed because of it.
        Err(error) if error.is_lost_session() && report.database_failure.is_none() => {
            if !reconnect(context, stop).await {
                return Err(error);
            }
        }
        Err(error) => return Err(error),
    }
    // Another cycle may have its number now, and changes of its own.
    let is_known = store.has_cycle(cycle).await?;
    let is_reused = !is_known && store.cycle(cycle).await?.is_some();
    let committed = if is_reused { Vec::new() } else { store.committed_changes(cycle).await? };
    if committed.len() as u64 != report.counts.applied() {
        let lost = StoreError::ChangesLost;
        tracing::error!(cycle.id = %cycle, "{lost}; the next cycle makes them again");
        report.start_over(cycle, &committed);
        if report.error.is_none() {
            report.fail(&lost, lost.hint());
        }
    }
    if store.finish_cycle(cycle, &report.cycle_end()).await? {
        return Ok(());
    }
    let (_, again) = begin(context, options).await?;
    tracing::warn!(cycle.id = %again, cycle.lost = %cycle, "the learner database lacks the cycle; it is recorded again");
    report.cycle = Some(again);
    store.finish_cycle(again, &report.cycle_end()).await?;
    Ok(())
}

/// Connects again, unless the process is asked to stop; returns whether that has succeeded.
async fn reconnect(context: CycleContext<'_>, stop: &mut StopSignal) -> bool {
    context.directory.progress().enter(Stage::Reconnecting);
    tokio::select! {
        connected = context.store.reconnect() => connected,
        () = stopped(stop) => false,
    }
}
