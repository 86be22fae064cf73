//! The fixed words of the database, of JSON and of the command line.

use std::fmt;
use std::str::FromStr;

/// Declares an enum whose variants are fixed words in the database, in JSON and on the command line.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// Every word, in the order of the design.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word as it stands in the database and in JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { expected: &[$($word,)+] }),
                }
            }
        }
    };
}

/// A text that is none of the words of its vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not one of: {}", expected.join(", "))]
pub struct UnknownWord {
    /// The words it could have been.
    pub expected: &'static [&'static str],
}

words! {
    /// What happens, or would have happened, to a learner.
    Action {
        /// A learner row is made.
        Create = "create",
        /// Attributes of an active learner change, or an existing learner is adopted.
        Update = "update",
        /// The learner is switched off; the row stays.
        Deactivate = "deactivate",
        /// The learner is switched on again, with all attribute changes.
        Reactivate = "reactivate",
    }
}

words! {
    /// How an action ended.
    Status {
        /// It was done.
        Success = "success",
        /// It could not be done for this user.
        Failure = "failure",
        /// It was left undone on purpose.
        Skipped = "skipped",
        /// It waits for an administrator.
        Held = "held",
    }
}

words! {
    /// Why: the vocabulary of `provisioning_log.reason`.
    Reason {
        /// Assigned to the application and new here.
        Assigned = "assigned",
        /// An existing, unlinked learner with the same match attribute became this user's.
        Adopted = "adopted",
        /// Mapped attributes differ.
        AttributesChanged = "attributes-changed",
        /// No longer assigned, seen twice.
        Unassigned = "unassigned",
        /// The account is disabled in Entra ID.
        AccountDisabled = "account-disabled",
        /// The account is deleted in Entra ID.
        AccountDeleted = "account-deleted",
        /// A scoping filter leaves the user out.
        OutOfScope = "out-of-scope",
        /// The mapping of `active` says false.
        MappedInactive = "mapped-inactive",
        /// Assigned again after having been switched off.
        Reassigned = "reassigned",
        /// An administrator gave this learner to another account.
        Relinked = "relinked",
        /// The learner row had been changed by somebody else.
        Drift = "drift",
        /// A required attribute has no value.
        MissingRequired = "missing-required",
        /// Somebody else holds, or also wants, a value that must be unique.
        Conflict = "conflict",
        /// A mapped value cannot go into its column.
        InvalidValue = "invalid-value",
        /// Graph shows the account without the attributes that would tell its state.
        Unreadable = "unreadable",
        /// Assigned, but Graph does not know the account yet.
        NotReadableYet = "not-readable-yet",
        /// Gone, but not yet for long enough.
        Waiting = "waiting",
        /// Named in `safety.protected`.
        Protected = "protected",
        /// Too many at once.
        Threshold = "threshold",
        /// A group that had members has none.
        EmptyGroup = "empty-group",
        /// The database refused this user's row.
        DatabaseError = "database-error",
    }
}

words! {
    /// What asked for a cycle.
    Trigger {
        /// The daemon has just started.
        Startup = "startup",
        /// The drawn time has come.
        Schedule = "schedule",
        /// SIGUSR1 or SIGUSR2.
        Signal = "signal",
        /// `learner-sync sync` or `provision`.
        Command = "command",
    }
}

words! {
    /// How a cycle ended.
    Outcome {
        /// Everything that was to be done is done.
        Success = "success",
        /// Some users failed.
        Partial = "partial",
        /// Somebody is held back until an administrator approves.
        Held = "held",
        /// It ended early.
        Failed = "failed",
        /// A signal or a kill stopped it.
        Interrupted = "interrupted",
    }
}

words! {
    /// Why a `waiting` user waits.
    Cause {
        /// The user is still assigned, but its account is neither among the users nor in the deleted items.
        AccountMissing = "account-missing",
        /// `safety.deactivate_after` has not passed yet.
        DeactivateAfter = "deactivate-after",
    }
}
