//! Policies for changed and former learners.

/// What a full comparison repairs after a manual change: `safety.repair`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Attributes other than `active`.
    Attributes,
    /// All attributes and `active`.
    All,
    /// Nothing; the change is only logged.
    Log,
}

/// What happens when a new user needs the user name or e-mail of an inactive learner: `learners.reissued`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reissued {
    /// The new user is rejected until an administrator decides.
    Conflict,
    /// The values of the inactive learner change, so that the new user can have them.
    Free,
}
