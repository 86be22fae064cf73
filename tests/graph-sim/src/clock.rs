//! The only place that reads the real clock, for token lifetimes and the dates in error bodies. The tenant keeps its
//! own time, so that two runs produce the same tenant.

use jiff::{SignedDuration, Timestamp};

#[expect(clippy::disallowed_methods, reason = "the simulator's only reading of the clock: tokens really expire")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// A time as error bodies write it: `2026-01-02T03:04:05`, without a zone.
pub(crate) fn zoneless(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

/// The HTTP date a number of seconds after a time, rounded up to a full second.
pub(crate) fn http_date(time: Timestamp, seconds: i64) -> String {
    let date = time.checked_add(SignedDuration::new(seconds, 999_999_999)).unwrap_or(time);
    date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
