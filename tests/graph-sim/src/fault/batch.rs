//! Faults of the envelope of a `$batch`. The order of the parts needs no fault: it always differs from the request.

use super::Fault;

/// One change to the answer of a batch. Places count from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distortion {
    /// Another status around the true parts.
    Status(u16),
    /// No answer to the part at this place.
    Missing(usize),
    /// Two answers to the part at this place.
    Doubled(usize),
    /// An additional answer with an unknown id.
    Extra,
}

const EXTRA_ID: &str = "unknown-part";

impl Fault {
    /// Changes the status of a `$batch`. The documentation announces 424 when a part is throttled; Graph answers 200.
    /// For `Fault::on("POST", "/v1.0/$batch")`, like the other faults of this module.
    pub fn outer_status(self, status: u16) -> Self {
        self.distorted(Distortion::Status(status))
    }

    /// Omits the answer to the `number`th part of the request, counted from one.
    pub fn missing_part(self, number: usize) -> Self {
        self.distorted(Distortion::Missing(number.saturating_sub(1)))
    }

    /// Answers the `number`th part twice.
    pub fn doubled_part(self, number: usize) -> Self {
        self.distorted(Distortion::Doubled(number.saturating_sub(1)))
    }

    /// Adds an answer with an unknown id; with `missing_part` it replaces a true one.
    pub fn extra_part(self) -> Self {
        self.distorted(Distortion::Extra)
    }

    fn distorted(mut self, distortion: Distortion) -> Self {
        self.distortions.push(distortion);
        self
    }
}

impl Distortion {
    /// Changes the status and the answers, which are in the order of the request.
    pub(crate) fn apply_all<R: Clone>(distortions: &[Self], status: &mut u16, answers: &mut Vec<(String, R)>) {
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
