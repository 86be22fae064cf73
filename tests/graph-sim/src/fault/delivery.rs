//! Bad ways to send an answer: reset, truncated, slow, endless or oversized. Bodies are streamed, so their size costs no
//! memory.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use tokio::time::sleep;

use super::Fault;
use crate::wire::ResetHandle;

/// Long enough for the client to read the first half before the reset.
const PAUSE_BEFORE_RESET: Duration = Duration::from_millis(50);
const CHUNK: usize = 64 * 1024;
const CHUNKS_PER_MEBIBYTE: usize = 1024 * 1024 / CHUNK;

/// A bad way to send an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Reset the connection in the middle of the body.
    BrokenOff,
    /// Send only the first half of the body, with a matching length.
    Truncated,
    /// Send the body in small chunks, with a pause after each.
    Dripping { bytes: usize, pause: Duration },
    /// Send spaces in small chunks without end, with a pause after each.
    NeverEnding { bytes: usize, pause: Duration },
    /// Append white space to the body.
    Padded { mebibytes: usize },
    /// Insert a key with a long text into the body.
    PaddedKey { mebibytes: usize },
    /// Put a byte order mark in front of the body.
    Marked,
}

impl Fault {
    /// Sends the headers with the `Content-Length` of the whole answer and half of the body, then resets the
    /// connection. The faults of this module combine with `answer` and the edits; on a part of a `$batch` they affect
    /// the whole batch.
    pub fn reset_after_headers(self) -> Self {
        self.delivered(Delivery::BrokenOff)
    }

    /// Sends the first half of the body with a matching `Content-Length`: valid HTTP, invalid JSON.
    pub fn truncated(self) -> Self {
        self.delivered(Delivery::Truncated)
    }

    /// Sends the body `bytes` at a time, with a pause after each.
    pub fn dripping(self, bytes: usize, pause: Duration) -> Self {
        self.delivered(Delivery::Dripping { bytes: bytes.max(1), pause })
    }

    /// Sends `bytes` spaces at a time after the headers, with a pause after each, until the client disconnects.
    pub fn never_ending(self, bytes: usize, pause: Duration) -> Self {
        self.delivered(Delivery::NeverEnding { bytes: bytes.max(1), pause })
    }

    /// Appends white space to the answer, which stays valid JSON. Like Graph's answers it is chunked, without a
    /// `Content-Length`.
    pub fn padded(self, mebibytes: usize) -> Self {
        self.delivered(Delivery::Padded { mebibytes })
    }

    /// Inserts an unknown key with a long text in front of the answer, also chunked.
    pub fn padded_key(self, mebibytes: usize) -> Self {
        self.delivered(Delivery::PaddedKey { mebibytes })
    }

    /// Puts a UTF-8 byte order mark in front of the answer, whatever it is.
    pub fn byte_order_mark(self) -> Self {
        self.delivered(Delivery::Marked)
    }

    fn delivered(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }
}

/// The next step of a streamed answer.
enum Step {
    Send(Bytes),
    Wait(Duration),
    Reset,
}

impl Delivery {
    /// The delivery of a batch that has another part: white space adds up, otherwise the first one counts.
    pub(crate) fn of_batch(before: Option<Self>, part: Option<Self>) -> Option<Self> {
        match (before, part) {
            (Some(Self::Padded { mebibytes }), Some(Self::Padded { mebibytes: more })) => {
                Some(Self::Padded { mebibytes: mebibytes + more })
            }
            (before, part) => before.or(part),
        }
    }

    /// The body and the `Content-Length` to announce, if any.
    pub(crate) fn body(self, whole: Vec<u8>, reset_handle: ResetHandle) -> (Body, Option<usize>) {
        let whole = Bytes::from(whole);
        let length = whole.len();
        let half = whole.slice(..length / 2);
        let send = |text: &'static [u8]| Step::Send(Bytes::from_static(text));
        match self {
            Self::BrokenOff => {
                let steps = [Step::Send(half), Step::Wait(PAUSE_BEFORE_RESET), Step::Reset];
                (streamed(steps.into_iter(), reset_handle), Some(length))
            }
            Self::Truncated => (Body::from(half), None),
            Self::Marked => (Body::from([&b"\xef\xbb\xbf"[..], &whole].concat()), None),
            Self::Dripping { bytes, pause } => {
                let drops = (0..length).step_by(bytes).map(move |start| whole.slice(start..length.min(start + bytes)));
                (
                    streamed(drops.flat_map(move |drop| [Step::Send(drop), Step::Wait(pause)]), reset_handle),
                    Some(length),
                )
            }
            Self::NeverEnding { bytes, pause } => {
                let spaces = Bytes::from(vec![b' '; bytes]);
                let steps = std::iter::repeat_with(move || [Step::Send(spaces.clone()), Step::Wait(pause)]).flatten();
                (streamed(steps, reset_handle), None)
            }
            Self::Padded { mebibytes } => {
                let spaces = padding(&[b' '; CHUNK], mebibytes);
                (streamed(std::iter::once(Step::Send(whole)).chain(spaces), reset_handle), None)
            }
            Self::PaddedKey { mebibytes } => {
                // This fault is meant for JSON objects only.
                let rest = whole.slice(usize::from(whole.starts_with(b"{"))..);
                let before = std::iter::once(send(br#"{"@simulator.padding":""#));
                let after = [send(br#"","#), Step::Send(rest)];
                (streamed(before.chain(padding(&[b'x'; CHUNK], mebibytes)).chain(after), reset_handle), None)
            }
        }
    }
}

/// Repeats one chunk, without copies.
fn padding(chunk: &'static [u8; CHUNK], mebibytes: usize) -> impl Iterator<Item = Step> + Send {
    std::iter::repeat_n(Bytes::from_static(chunk), mebibytes * CHUNKS_PER_MEBIBYTE).map(Step::Send)
}

/// A body that performs the steps as fast as the client reads.
fn streamed(steps: impl Iterator<Item = Step> + Send + 'static, reset_handle: ResetHandle) -> Body {
    Body::from_stream(stream::unfold((steps, reset_handle), |(mut steps, reset_handle)| async move {
        loop {
            match steps.next()? {
                Step::Send(bytes) => return Some((Ok(bytes), (steps, reset_handle))),
                Step::Wait(pause) => sleep(pause).await,
                Step::Reset => {
                    reset_handle.reset();
                    return Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), (steps, reset_handle)));
                }
            }
        }
    }))
}
