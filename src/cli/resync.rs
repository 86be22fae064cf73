//! `learner-sync resync`: signals the running daemon.

use std::time::Duration;

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::Context;
use super::output::{DONE, FAILED, Failure, print, print_labelled};
use super::sync::exit_code;
use crate::model::{Outcome, Trigger};
use crate::runtime::lock::Lock;
use crate::runtime::locked_cycle::LockedCycleError;
use crate::runtime::preflight::{inspect_disks, on_state_disk};
use crate::runtime::status::{RecordPlaces, with_hint};
use crate::runtime::{Paths, configured_source};
use crate::store::{Access, CycleRow, RowRange, Store};

/// How long the command waits for a locked learner database before it requests the cycle.
const AUDIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many later cycles are searched for the requested one.
const MAX_CYCLES: u32 = 1000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Ignore the cache and compare with the whole learner database.
    #[arg(long)]
    full: bool,
    /// Wait for the cycle to end, and exit with the code that `sync` would return.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(context: Context, arguments: Arguments, now: Timestamp) -> Result<u8, Failure> {
    let Arguments { full, wait } = arguments;
    let failed = |message: &str| Failure::new(FAILED, message);
    let path = Paths::new(&context.config).daemon_lock;
    // The pid in the file counts only while the lock is held.
    let holder = Lock::holder(&path).await.map_err(LockedCycleError::from)?;
    let pid = holder.and_then(|holder| holder.pid).and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).ok_or_else(
        || failed("no daemon is running on this state.directory; `learner-sync sync` runs a cycle without one"),
    )?;
    if wait && is_paused(&context).await? {
        return Err(failed("provisioning is paused, so no cycle will run; resume it with `learner-sync resume`"));
    }
    if wait && !context.config.provisioning.users {
        return Err(LockedCycleError::Disabled.into());
    }
    let before = if wait { last_cycles(&context).await? } else { Vec::new() };
    record_request(&context, full, now).await;
    let signal = if full { Signal::USR2 } else { Signal::USR1 };
    kill_process(pid, signal).map_err(|error| {
        let error = std::io::Error::from(error);
        failed(&format!("cannot signal the daemon (pid {}): {error}", pid.as_raw_nonzero()))
    })?;
    let cycle = if full { "full cycle" } else { "cycle" };
    print(&format!("Requested a {cycle} from the daemon (pid {}).", pid.as_raw_nonzero()))?;
    if !wait {
        return Ok(DONE);
    }
    let places = RecordPlaces::new(&context.config.path, Some(&context.config.state.directory), &context.environment);
    loop {
        let requested = requested_cycle(&context, &before).await?;
        if let Some(row) = &requested
            && let Some(outcome) = row.outcome
        {
            print(&format!("Cycle {} ended: {outcome}.", row.id))?;
            if let Some(error) = &row.error {
                print_labelled("  ", error)?;
            }
            return Ok(exit_code(outcome));
        }
        // A cycle that has begun has a row, and its end is awaited.
        if requested.is_none() && is_paused(&context).await? {
            return Err(failed("provisioning was paused meanwhile, so no cycle will run"));
        }
        let places = places.clone();
        let record = on_state_disk(&context.config, move |_| places.read()).await?;
        let not_begun = record.and_then(|record| record.not_begun);
        if let Some(found) = not_begun.filter(|found| found.since.is_some_and(|since| since >= now)) {
            return Err(failed(&format!("the daemon cannot begin a cycle: {}", found.reason)));
        }
        // The daemon may be unable to record even that.
        if let Err(trouble) = inspect_disks(&context.config, true).await
            && requested.is_none()
        {
            return Err(failed(&format!("the daemon cannot begin a cycle: {}", with_hint(&trouble))));
        }
        if Lock::holder(&path).await.map_err(LockedCycleError::from)?.is_none() {
            return Err(failed("the daemon has stopped"));
        }
        // Only the database shows the end of a cycle.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The daemon runs the cycle even if the request cannot be recorded.
async fn record_request(context: &Context, full: bool, now: Timestamp) {
    let recorded = async {
        let store = context.open_current_store().await?;
        let detail = json!({ "full": full }).to_string();
        store.audit(&super::actor(&context.environment), "resync", Some(&detail), now).await?;
        Ok::<_, Failure>(store.close().await?)
    };
    match tokio::time::timeout(AUDIT_TIMEOUT, recorded).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => tracing::warn!("cannot record the request in the audit log: {}", failure.message),
        Err(_) => tracing::warn!("cannot record the request in the audit log: the learner database is locked"),
    }
}

async fn is_paused(context: &Context) -> Result<bool, Failure> {
    Ok(Store::open(context.learners()?, Access::ReadOnly).await?.state().await?.paused)
}

/// The first cycle after those of `before` that a signal has requested.
async fn requested_cycle(context: &Context, before: &[CycleRow]) -> Result<Option<CycleRow>, Failure> {
    let store = Store::open(context.learners()?, Access::ReadOnly).await?;
    let source = configured_source(&context.config, &store.state().await?);
    let range = RowRange { after: Some(0), limit: Some(MAX_CYCLES), ..RowRange::default() };
    let range = match before.last() {
        None => range,
        Some(last) if store.cycle(last.id).await?.is_some_and(|found| is_same(&found, last)) => {
            RowRange { after: Some(last.id.0), ..range }
        }
        // After a failover or a restore the database may lack it, and give its number to a later cycle.
        Some(last) => RowRange { since: Some(last.started_at), ..range },
    };
    let mut later = store.cycles(range).await?.rows.into_iter();
    let is_known = |row: &CycleRow| before.iter().any(|known| is_same(row, known));
    Ok(later.find(|row| row.trigger == Trigger::Signal && row.source == source && !is_known(row)))
}

/// Whether `found` is the cycle `before`, which may have ended meanwhile.
fn is_same(found: &CycleRow, before: &CycleRow) -> bool {
    let was_open = matches!(before.outcome, None | Some(Outcome::Interrupted));
    let has_same_end = was_open || found.finished_at == before.finished_at;
    found.id == before.id && found.trigger == before.trigger && has_same_end
}

/// The last cycle, after those that began at the same time.
async fn last_cycles(context: &Context) -> Result<Vec<CycleRow>, Failure> {
    let store = Store::open(context.learners()?, Access::ReadOnly).await?;
    let source = configured_source(&context.config, &store.state().await?);
    let Some(last) = store.last_cycle(Some(&source)).await? else { return Ok(Vec::new()) };
    let range = RowRange { since: Some(last.started_at), limit: Some(MAX_CYCLES), ..RowRange::default() };
    let mut rows = store.cycles(range).await?.rows;
    rows.retain(|row| row.id < last.id);
    rows.push(last);
    Ok(rows)
}
