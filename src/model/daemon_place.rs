//! Where a daemon runs.

use std::fmt;

/// A machine and a state directory on it, which two daemons never share: a restarted daemon has the same place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DaemonPlace {
    /// The name of the machine.
    pub host: String,
    /// `state.directory`.
    pub state_directory: String,
}

impl fmt::Display for DaemonPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.host, self.state_directory)
    }
}
