//! What goes wrong with the envelope of a `$batch`, whatever its parts say. That the parts come in another order
//! than they were sent needs no fault: they always do.

use super::Fault;

/// One thing that is wrong with the answer to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distortion {
    /// Another status around the true parts.
    Status(u16),
    /// No answer to the part with this place, counted from zero.
    Missing(usize),
    /// Two answers to the part with this place.
    Doubled(usize),
    /// One answer that belongs to no part.
    Extra,
}

/// The id of the answer that belongs to no part.
const EXTRA_ID: &str = "nobody-asked";

impl Fault {
    /// Sends the parts of a `$batch` under another status: 424 is what the documentation announces where one of
    /// them was throttled, 200 is what comes. Like the following, for `Fault::on("POST", "/v1.0/$batch")`.
    pub fn outer_status(self, status: u16) -> Self {
        self.distorted(Distortion::Status(status))
    }

    /// Leaves out the answer to the `number`th part that was sent, counted from one.
    pub fn missing_part(self, number: usize) -> Self {
        self.distorted(Distortion::Missing(number.saturating_sub(1)))
    }

    /// Answers the `number`th part twice.
    pub fn doubled_part(self, number: usize) -> Self {
        self.distorted(Distortion::Doubled(number.saturating_sub(1)))
    }

    /// Adds an answer with an id that no part has; with `missing_part` it comes in place of a true one.
    pub fn extra_part(self) -> Self {
        self.distorted(Distortion::Extra)
    }

    fn distorted(mut self, distortion: Distortion) -> Self {
        self.distortions.push(distortion);
        self
    }
}

impl Distortion {
    /// Changes the status and the answers, which are in the order in which their parts were sent.
    pub(crate) fn all<R: Clone>(distortions: &[Self], status: &mut u16, answers: &mut Vec<(String, R)>) {
        let sent = std::mem::take(answers);
        for (place, answer) in sent.iter().enumerate() {
            let copies = if distortions.contains(&Self::Doubled(place)) { 2 } else { 1 };
            let copies = if distortions.contains(&Self::Missing(place)) { 0 } else { copies };
            answers.extend(std::iter::repeat_n(answer, copies).cloned());
        }
        for distortion in distortions {
            match (distortion, sent.first()) {
                (Self::Status(other), _) => *status = *other,
                (Self::Extra, Some((_, like))) => answers.push((EXTRA_ID.to_owned(), like.clone())),
                _ => {}
            }
        }
    }
}
