//! Warns before a client secret or certificate expires.

use jiff::{SignedDuration, Timestamp};

use super::CycleContext;
use crate::model::{CycleTime, chain};
use crate::store::{CredentialCheck, StoreError};

/// How long before expiry the warning starts.
const NOTICE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How often the expiry is read, and the warning logged.
const INTERVAL: SignedDuration = SignedDuration::from_hours(24);

/// A warning about a credential that expires at `end`, when that is soon.
pub fn ends_soon(end: Timestamp, now: Timestamp) -> Option<String> {
    let left = end.duration_since(now);
    (left < NOTICE).then(|| {
        let when = match left.as_hours() / 24 {
            _ if left.is_negative() => "has expired".to_owned(),
            0 => "expires within a day".to_owned(),
            1 => "expires in 1 day".to_owned(),
            days => format!("expires in {days} days"),
        };
        format!("the credential {when}: add a new one under Certificates & secrets of the app registration")
    })
}

/// Once a day, records when the credential expires for `status`, and warns when that is soon. Only the database can fail
/// here: when Graph does not answer, the recorded time stays, and the next cycle asks again.
pub(super) async fn record_expiry(context: CycleContext<'_>, time: CycleTime) -> Result<(), StoreError> {
    let CycleContext { directory, store, .. } = context;
    let now = time.recorded();
    let recent = store.state().await?.credential.filter(|check| !time.is_due_again(check.looked_at, INTERVAL));
    // A new credential ends the warning of `status` at the next cycle.
    let is_warned = |end: Timestamp| ends_soon(end, now).is_some();
    if recent.as_ref().is_some_and(|check| !check.ends_at.is_some_and(is_warned)) {
        return Ok(());
    }
    let ends_at = match directory.credential_end(now).await {
        Ok(end) => end,
        Err(error) => {
            tracing::debug!("cannot read when the credential expires: {}", chain(&error));
            return Ok(());
        }
    };
    // The database keeps whole seconds.
    let seconds = |end: Option<Timestamp>| end.map(Timestamp::as_second);
    if recent.is_some_and(|check| seconds(check.ends_at) == seconds(ends_at)) {
        return Ok(());
    }
    store.record_credential_check(CredentialCheck { looked_at: now, ends_at }).await?;
    if let Some(hint) = ends_at.and_then(|end| ends_soon(end, now)) {
        tracing::warn!(credential.ends_at = %ends_at.unwrap_or(now), "{hint}");
    }
    Ok(())
}
