//! Why a channel has not accepted a message. No text contains a secret, an address of a webhook, or a name.

/// A failed delivery.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {advice}")]
pub struct DeliveryError {
    /// What failed.
    pub problem: String,
    /// What to do.
    pub advice: String,
}

impl DeliveryError {
    pub(super) fn new(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { problem: problem.into(), advice: advice.into() }
    }
}
