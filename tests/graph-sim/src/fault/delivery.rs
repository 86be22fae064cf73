//! How an answer goes over the wire when it does not go as it should: broken off, cut, in drops, without an end,
//! or far larger than it has any reason to be. What is sent is made while it is sent: nothing here needs memory.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use tokio::time::sleep;

use super::Fault;
use crate::wire::Scissors;

/// Long enough that what was sent is read before the reset comes.
const BEFORE_THE_CUT: Duration = Duration::from_millis(50);
const CHUNK: usize = 64 * 1024;
const CHUNKS_PER_MEBIBYTE: usize = 1024 * 1024 / CHUNK;

/// A bad way to send an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The connection is reset in the middle of the body.
    BrokenOff,
    /// The first half of the body, framed as if it were the whole.
    Truncated,
    /// So many bytes, a pause, and so on to the end of the body.
    Dripping { bytes: usize, pause: Duration },
    /// So many spaces, a pause, and so on for ever.
    NeverEnding { bytes: usize, pause: Duration },
    /// The body and after it so many mebibytes of white space.
    Padded { mebibytes: usize },
    /// The body with a key more, whose value has so many mebibytes.
    PaddedKey { mebibytes: usize },
}

impl Fault {
    /// Sends the status line, the headers with the `Content-Length` of the whole answer and half of its body,
    /// then resets the connection. This and the other bad ways to send an answer also go with `answer` and the
    /// edits; struck by one, a part of a `$batch` spoils the whole batch.
    pub fn reset_after_headers(self) -> Self {
        self.delivered(Delivery::BrokenOff)
    }

    /// Sends the first half of the body with a `Content-Length` that fits: whole as HTTP, broken as JSON.
    pub fn truncated(self) -> Self {
        self.delivered(Delivery::Truncated)
    }

    /// Sends the body a few bytes at a time, with a pause between them.
    pub fn dripping(self, bytes: usize, pause: Duration) -> Self {
        self.delivered(Delivery::Dripping { bytes: bytes.max(1), pause })
    }

    /// Sends spaces after the headers, so many at a time with a pause after each, until the client goes away.
    pub fn never_ending(self, bytes: usize, pause: Duration) -> Self {
        self.delivered(Delivery::NeverEnding { bytes: bytes.max(1), pause })
    }

    /// Sends the answer with so many MiB of white space after it: still valid JSON. It comes in chunks, as
    /// Graph's answers do, so that no `Content-Length` warns of it.
    pub fn padded(self, mebibytes: usize) -> Self {
        self.delivered(Delivery::Padded { mebibytes })
    }

    /// Sends the answer with a key in front that nobody knows, whose text has so many MiB; in chunks too.
    pub fn padded_key(self, mebibytes: usize) -> Self {
        self.delivered(Delivery::PaddedKey { mebibytes })
    }

    fn delivered(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }
}

/// What is done with the connection next.
enum Step {
    Send(Bytes),
    Wait(Duration),
    Cut,
}

impl Delivery {
    /// The body that does it, and the `Content-Length` to announce if there is to be one.
    pub(crate) fn body(self, whole: Vec<u8>, scissors: Scissors) -> (Body, Option<usize>) {
        let whole = Bytes::from(whole);
        let length = whole.len();
        let half = whole.slice(..length / 2);
        let send = |text: &'static [u8]| Step::Send(Bytes::from_static(text));
        match self {
            Self::BrokenOff => {
                let steps = [Step::Send(half), Step::Wait(BEFORE_THE_CUT), Step::Cut];
                (streamed(steps.into_iter(), scissors), Some(length))
            }
            Self::Truncated => (Body::from(half), None),
            Self::Dripping { bytes, pause } => {
                let drops = (0..length).step_by(bytes).map(move |start| whole.slice(start..length.min(start + bytes)));
                (streamed(drops.flat_map(move |drop| [Step::Send(drop), Step::Wait(pause)]), scissors), Some(length))
            }
            Self::NeverEnding { bytes, pause } => {
                let spaces = Bytes::from(vec![b' '; bytes]);
                let steps = std::iter::repeat_with(move || [Step::Send(spaces.clone()), Step::Wait(pause)]).flatten();
                (streamed(steps, scissors), None)
            }
            Self::Padded { mebibytes } => {
                let spaces = padding(&[b' '; CHUNK], mebibytes);
                (streamed(std::iter::once(Step::Send(whole)).chain(spaces), scissors), None)
            }
            Self::PaddedKey { mebibytes } => {
                // What is no object has no room for a key, and no fault of this kind is meant for it.
                let rest = whole.slice(usize::from(whole.starts_with(b"{"))..);
                let before = std::iter::once(send(br#"{"@simulator.padding":""#));
                let after = [send(br#"","#), Step::Send(rest)];
                (streamed(before.chain(padding(&[b'x'; CHUNK], mebibytes)).chain(after), scissors), None)
            }
        }
    }
}

/// So many mebibytes from one chunk that is never copied.
fn padding(chunk: &'static [u8; CHUNK], mebibytes: usize) -> impl Iterator<Item = Step> + Send {
    std::iter::repeat_n(Bytes::from_static(chunk), mebibytes * CHUNKS_PER_MEBIBYTE).map(Step::Send)
}

/// A body that takes the steps one by one, as fast as the client reads.
fn streamed(steps: impl Iterator<Item = Step> + Send + 'static, scissors: Scissors) -> Body {
    Body::from_stream(stream::unfold((steps, scissors), |(mut steps, scissors)| async move {
        loop {
            match steps.next()? {
                Step::Send(bytes) => return Some((Ok(bytes), (steps, scissors))),
                Step::Wait(pause) => sleep(pause).await,
                Step::Cut => {
                    scissors.cut();
                    return Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), (steps, scissors)));
                }
            }
        }
    }))
}
