//! The one place that reads the real clock: token lifetimes and the dates in error bodies. The simulated
//! directory keeps its own time (see `Tenant`), so that two runs give the same world.

use jiff::Timestamp;

/// The time now.
#[expect(clippy::disallowed_methods, reason = "the simulator's one reading of the clock: tokens really expire")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// A time as error bodies write it: `2026-01-02T03:04:05`, without a zone.
pub(crate) fn zoneless(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}
