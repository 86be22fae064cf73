//! Graph's ids of answers, for a support case.

use std::fmt;
use std::sync::Arc;

/// Graph's id of one answer, if it has one. The users of a page share it, so it takes no more than a pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestId(Option<Arc<String>>);

impl RequestId {
    /// The id in the header of an answer.
    pub fn new(id: String) -> Self {
        Self(Some(Arc::new(id)))
    }

    /// The text; `None` when the answer has no id.
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_ref().map(|id| id.as_str())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str().unwrap_or("none"))
    }
}
