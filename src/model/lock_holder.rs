//! The holder of a lock, for messages.

use std::fmt;

/// The process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// The process id, when the holder runs on this machine and its lock file names it.
    pub pid: Option<u32>,
    /// The command, such as `learner-sync sync`; for a server it includes the machine.
    pub command: String,
}

impl LockHolder {
    /// An unknown holder.
    pub fn unknown() -> Self {
        Self { pid: None, command: "another process".to_owned() }
    }
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "{} (pid {pid})", self.command),
            None => write!(f, "{}", self.command),
        }
    }
}
