//! What an administrator may choose about learners that somebody else has changed, or that have left.

/// What is put right when a learner was changed by hand: `safety.repair`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Attributes, but not whether the learner is switched on.
    Attributes,
    /// The switch as well.
    All,
    /// Nothing: it is only logged.
    Log,
}

/// What happens when a user wants a user name or an address that a learner who was switched off still has:
/// `learners.reissued`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reissued {
    /// The user waits until an administrator has decided.
    Conflict,
    /// The values of the former learner are moved aside.
    Free,
}
