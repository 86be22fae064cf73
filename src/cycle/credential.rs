//! A client secret or certificate that is about to expire is told of before everything stops.

use jiff::{SignedDuration, Timestamp};

use super::CycleContext;
use crate::model::chain;
use crate::store::{CredentialNote, StoreError};

/// It is told of so long before.
const NOTICE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// It is looked up, and told of in the log, so often.
const EVERY: SignedDuration = SignedDuration::from_hours(24);

/// What to do about a credential that ends at `end`, when that is soon.
pub fn ends_soon(end: Timestamp, now: Timestamp) -> Option<String> {
    let left = end.duration_since(now);
    (left < NOTICE).then(|| {
        let when = match left.as_hours() / 24 {
            _ if left.is_negative() => "has expired".to_owned(),
            0 => "expires within a day".to_owned(),
            days => format!("expires in {days} days"),
        };
        format!("the credential {when}: add a new one under Certificates & secrets of the app registration")
    })
}

/// Once a day: looks when the credential ends, writes it down for `status`, and warns when that is soon. Only the
/// database can fail here; when Graph cannot be asked, what is known stays, and the next cycle asks again.
pub(super) async fn watch(parts: CycleContext<'_>, now: Timestamp) -> Result<(), StoreError> {
    let CycleContext { directory, store, .. } = parts;
    let looked = store.state().await?.credential.map(|note| now.duration_since(note.looked_at));
    if looked.is_some_and(|ago| !ago.is_negative() && ago < EVERY) {
        return Ok(());
    }
    let ends_at = match directory.credential_end(now).await {
        Ok(end) => end,
        Err(error) => {
            tracing::debug!("when the credential expires cannot be told: {}", chain(&error));
            return Ok(());
        }
    };
    store.note_credential(CredentialNote { looked_at: now, ends_at }).await?;
    if let Some(hint) = ends_at.and_then(|end| ends_soon(end, now)) {
        tracing::warn!(credential.ends_at = %ends_at.unwrap_or(now), "{hint}");
    }
    Ok(())
}
