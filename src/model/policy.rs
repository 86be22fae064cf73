//! Policies for changed and former learners.

/// The repairs of a full comparison after a manual change: `safety.repair`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Attributes other than `active`.
    Attributes,
    /// All attributes and `active`.
    All,
    /// Nothing; the change is only logged.
    Log,
}

/// The handling of a new user who needs the user name or e-mail of an inactive learner: `learners.reissued`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reissued {
    /// The new user is rejected until an administrator decides.
    Conflict,
    /// The values of the inactive learner change, so that the new user can have them.
    Free,
}
