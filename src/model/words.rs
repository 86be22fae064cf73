//! The fixed words in the database, in JSON, in the configuration and on the command line.

/// Declares an enum whose variants are fixed words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// Every variant, in a fixed order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The fixed word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::model::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::model::UnknownWord { expected: &[$($word,)+] }),
                }
            }
        }
    };
}
pub(crate) use words;

/// The text is not one of the expected words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not one of: {}", expected.join(", "))]
pub struct UnknownWord {
    /// The valid words.
    pub expected: &'static [&'static str],
}

words! {
    /// A change of a learner.
    Action {
        /// A new learner row.
        Create = "create",
        /// Changed attributes of an active learner, or the adoption of a learner.
        Update = "update",
        /// `active` becomes false; the row stays.
        Deactivate = "deactivate",
        /// `active` becomes true, together with all attribute changes.
        Reactivate = "reactivate",
    }
}

words! {
    /// The result of an action.
    Status {
        /// The learner was changed.
        Success = "success",
        /// The user was rejected, or the database refused the change.
        Failure = "failure",
        /// The user is intentionally not changed.
        Skipped = "skipped",
        /// The change needs the approval of an administrator.
        Held = "held",
    }
}

words! {
    /// The reason of an action, as in `provisioning_log.reason`.
    Reason {
        /// A newly assigned user.
        Assigned = "assigned",
        /// An unlinked learner with the same match attribute was linked to the user.
        Adopted = "adopted",
        /// Mapped attributes differ.
        AttributesChanged = "attributes-changed",
        /// No longer assigned, and confirmed.
        Unassigned = "unassigned",
        /// The account is disabled in Entra ID.
        AccountDisabled = "account-disabled",
        /// The account is deleted in Entra ID.
        AccountDeleted = "account-deleted",
        /// The user matches no scoping filter.
        OutOfScope = "out-of-scope",
        /// The mapped value of `active` is false.
        MappedInactive = "mapped-inactive",
        /// Assigned again after a deactivation.
        Reassigned = "reassigned",
        /// An administrator linked the learner to another account.
        Relinked = "relinked",
        /// The learner row was changed outside learner-sync.
        Drift = "drift",
        /// A required attribute has no value.
        MissingRequired = "missing-required",
        /// Another learner or user has, or needs, the same unique value.
        Conflict = "conflict",
        /// A mapped value does not fit its column.
        InvalidValue = "invalid-value",
        /// Graph's answer lacks a property that determines the state of the account.
        Unreadable = "unreadable",
        /// Assigned, but Graph does not return the account yet.
        NotReadableYet = "not-readable-yet",
        /// A leaver whose waiting time has not passed.
        Waiting = "waiting",
        /// Listed in `safety.protected`.
        Protected = "protected",
        /// Too many changes at once.
        Threshold = "threshold",
        /// A group that had members is empty.
        EmptyGroup = "empty-group",
        /// The database refused the row of this user.
        DatabaseError = "database-error",
    }
}

impl Reason {
    /// The reasons with which a user fails. Every other user without a change is skipped or held.
    pub const FAILURES: [Self; 4] = [Self::Conflict, Self::InvalidValue, Self::Unreadable, Self::DatabaseError];

    /// Whether a user with this reason fails; otherwise it is skipped or held.
    pub fn is_failure(self) -> bool {
        Self::FAILURES.contains(&self)
    }

    /// Whether it says why a change is held, and not why there is a change.
    pub fn is_hold(self) -> bool {
        matches!(self, Self::Threshold | Self::EmptyGroup | Self::Unreadable)
    }
}

words! {
    /// The part of a hold that a row of the provisioning log records.
    Phase {
        /// The hold begins, or changes its reason.
        Begun = "begun",
        /// The hold ends.
        Ended = "ended",
    }
}

words! {
    /// The cause of a cycle.
    Trigger {
        /// The start of the daemon.
        Startup = "startup",
        /// The schedule.
        Schedule = "schedule",
        /// SIGUSR1 or SIGUSR2.
        Signal = "signal",
        /// `learner-sync sync` or `provision`.
        Command = "command",
    }
}

words! {
    /// The result of a cycle.
    Outcome {
        /// Every change was applied.
        Success = "success",
        /// Some users failed.
        Partial = "partial",
        /// Some users are held until an administrator approves.
        Held = "held",
        /// The cycle ended early.
        Failed = "failed",
        /// A signal or a kill stopped the cycle.
        Interrupted = "interrupted",
    }
}

words! {
    /// The cause behind a reason, where the next cycle or `status` needs it.
    Cause {
        /// The user is still assigned, but its account is neither among the users nor in the deleted items.
        AccountMissing = "account-missing",
        /// `safety.deactivate_after` has not passed yet.
        DeactivateAfter = "deactivate-after",
        /// An assignment of unknown type names an id that no object has.
        PrincipalMissing = "principal-missing",
        /// A `conflict`: the account may have been deleted and created again.
        Recreated = "recreated",
    }
}
