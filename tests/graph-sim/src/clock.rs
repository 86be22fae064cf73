//! The only place that reads the real clock, for token lifetimes, the `Date` header and the dates in error bodies. The tenant keeps its
//! own time, so that two runs produce the same tenant.

use std::time::Instant;

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

/// The `Date` header of Graph's answers. Answers of the token endpoint keep the real time.
#[derive(Debug, Clone, Default)]
pub enum DateHeader {
    /// The real time.
    #[default]
    Real,
    /// A clock that showed a time at an instant, and goes on from there.
    Clock(Timestamp, Instant),
    /// No header.
    Missing,
    /// These values, each in a header of its own.
    Text(Vec<String>),
    /// The real time, with the `Age` of a cached answer.
    Cached,
}

impl DateHeader {
    /// A clock that shows `time` now.
    pub fn clock(time: Timestamp) -> Self {
        Self::Clock(time, Instant::now())
    }

    /// The headers of an answer that is sent now.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let date = |text: String| ("Date".to_owned(), text);
        match self {
            Self::Real => vec![date(whole_date(now()))],
            Self::Clock(time, since) => {
                let passed = SignedDuration::try_from(since.elapsed()).unwrap_or_default();
                vec![date(whole_date(time.checked_add(passed).unwrap_or(*time)))]
            }
            Self::Missing => Vec::new(),
            Self::Text(texts) => texts.iter().cloned().map(date).collect(),
            Self::Cached => vec![date(whole_date(now())), ("Age".to_owned(), "1".to_owned())],
        }
    }
}

/// An HTTP date, without the fraction of a second.
fn whole_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
