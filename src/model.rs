//! The types that all modules share: users, learners, links, and the words of the provisioning log.
//!
//! This module knows nothing of Graph, SQL or sled, and makes no decisions. Its types do not derive `Serialize`, because
//! each border (`directory::wire`, `store`, `cache`, `cli`) has its own format.

mod assignment;
mod blanks;
mod by_user;
mod chain;
mod clock;
mod daemon_place;
mod foreign_text;
mod guest;
mod impersonal;
mod learner;
mod lock_holder;
mod notification;
mod policy;
mod provisioning_state;
mod request_id;
mod restrictions;
mod row_hash;
mod shell;
mod table;
mod unreadable_row;
mod user;
mod values;
mod words;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use self::assignment::{GroupMembers, LinkedLearner, LinkedLearners, Route, Routes, UnclearPrincipal, UnclearRows};
pub use self::blanks::{fold, trim_blanks};
pub use self::by_user::ByUser;
pub use self::chain::chain;
pub use self::clock::{CLOCK_TOLERANCE, ClockFault, ClockFinding, CycleTime, DAY, GraphTime, is_valid_approval_age};
pub use self::daemon_place::DaemonPlace;
pub use self::foreign_text::{foreign_message, foreign_text, hides_something, is_visible, visible};
pub use self::guest::{home_name, stored_name_prefix};
pub use self::impersonal::without_personal_data;
pub use self::learner::{Attribute, AttributeKind, Fingerprint, Learner, UniqueKey};
pub use self::lock_holder::LockHolder;
pub use self::notification::{
    AffectedUsers, ExpiryStage, NotifiableRecords, Notification, NotificationCause, NotificationChannel,
    NotificationEvent, NotificationRow, NotificationRows, NotifiedUser, UnsentNotification,
};
pub use self::policy::{Reissued, Repair};
pub use self::provisioning_state::{DaemonFacts, Finding, ProvisioningState, StateFacts, StateReport};
pub use self::request_id::RequestId;
pub use self::restrictions::{Restrictions, UserList};
pub use self::row_hash::RowHash;
pub use self::shell::shell_word;
pub use self::table::{Column, ColumnConstant, IdGenerator, StateLabels, Table};
pub use self::unreadable_row::{RowSubject, UnreadableRow, UnreadableRows};
pub use self::user::{APP_ROLE_ASSIGNMENTS, Selection, User, Value, Verdict};
pub use self::values::Values;
pub(crate) use self::words::words;
pub use self::words::{Action, Cause, Outcome, Phase, Reason, Status, Trigger, UnknownWord};

/// A source of the current time. Time is a parameter everywhere, so that tests can control it.
pub type Clock = fn() -> jiff::Timestamp;

/// The clock of this machine.
#[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
pub fn system_clock() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The object id of a user or group in Entra ID: a GUID, printed in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntraId(uuid::Uuid);

/// The order of the bytes. One comparison of a number takes a fraction of the time of a call that compares bytes.
impl Ord for EntraId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_u128().cmp(&other.0.as_u128())
    }
}

impl PartialOrd for EntraId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl EntraId {
    /// The sixteen bytes of the GUID, as the cache stores them.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id with these sixteen bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    /// The id that a text of another program names, in any notation of a GUID: with braces, without hyphens, as a URN.
    pub fn from_any_notation(text: &str) -> Option<Self> {
        uuid::Uuid::try_parse(text.trim()).ok().map(Self)
    }
}

impl fmt::Display for EntraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for EntraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a GUID of the form `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an object id (a GUID such as 01234567-89ab-cdef-0123-456789abcdef)")]
pub struct InvalidEntraId;

impl FromStr for EntraId {
    type Err = InvalidEntraId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Uuid also accepts braces, URNs and digits without dashes, which Graph and the portal never use.
        if text.len() != 36 {
            return Err(InvalidEntraId);
        }
        uuid::Uuid::try_parse(text).map(Self).map_err(|_| InvalidEntraId)
    }
}

/// The key of a row in the learners table. The kind follows from the column; an id from outside becomes the kind of the
/// column before it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LearnerId {
    /// A whole number.
    Number(i64),
    /// A UUID.
    Uuid(uuid::Uuid),
    /// A text of any form, letter case included.
    Text(Arc<str>),
}

impl LearnerId {
    /// As the learners table has it: a number or a text.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Number(number) => (*number).into(),
            Self::Uuid(_) | Self::Text(_) => self.to_string().into(),
        }
    }
}

impl fmt::Display for LearnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Uuid(uuid) => uuid.as_hyphenated().fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// The origin of learners: one enterprise application in one tenant. Stored as `tenant/application` in the `source`
/// columns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The tenant as configured: a GUID or a verified domain, in lower case.
    pub tenant: String,
    /// The object id of the enterprise application (the service principal).
    pub application: EntraId,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.application)
    }
}

/// A random 128-bit value that every transaction renews when it writes learners. If another process writes, or a backup
/// is restored, it differs from the value in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(pub u128);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Generation {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entra_ids_are_lower_case_guids() {
        let id: EntraId = "0A1B2C3D-0000-4000-8000-00000000ABCD".parse().unwrap();
        assert_eq!(id.to_string(), "0a1b2c3d-0000-4000-8000-00000000abcd");
        assert_eq!("0a1b2c3d000040008000000000000001".parse::<EntraId>(), Err(InvalidEntraId));
        assert_eq!("{0a1b2c3d-0000-4000-8000-00000000abcd}".parse::<EntraId>(), Err(InvalidEntraId));
        for text in [
            " {0A1B2C3D-0000-4000-8000-00000000ABCD}",
            "0a1b2c3d00004000800000000000abcd",
            "urn:uuid:0a1b2c3d-0000-4000-8000-00000000abcd",
        ] {
            assert_eq!(EntraId::from_any_notation(text), Some(id), "{text}");
        }
        for text in ["", "ralf", "0a1b2c3d", "0a1b2c3d-0000-4000-8000-00000000abcd@harbourworks.example"] {
            assert_eq!(EntraId::from_any_notation(text), None, "{text}");
        }
    }
}
