//! The words every other module shares: who a person is, what a learner has, and what may happen to one.
//!
//! Nothing here knows Graph, SQL or sled, and nothing here decides. Serialisation belongs to the borders
//! (`directory::wire`, `store`, `cache`, `cli`), so these types do not derive it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The clock. Time is a parameter everywhere; whoever starts a cycle passes one in.
pub type Clock = fn() -> jiff::Timestamp;

/// The machine's clock.
#[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
pub fn system_clock() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The object id of a user or group in Entra ID: a GUID, printed in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntraId(uuid::Uuid);

impl EntraId {
    /// The sixteen bytes of the GUID, as the cache stores them.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id that these sixteen bytes spell.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
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

/// The text is no GUID of the form `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an object id (a GUID such as 01234567-89ab-cdef-0123-456789abcdef)")]
pub struct NotAnEntraId;

impl FromStr for EntraId {
    type Err = NotAnEntraId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Uuid also reads braces, URNs and undashed digits, none of which Graph or the portal ever shows.
        if text.len() != 36 {
            return Err(NotAnEntraId);
        }
        uuid::Uuid::try_parse(text).map(Self).map_err(|_| NotAnEntraId)
    }
}

/// The key of a row in the learners table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LearnerId(pub i64);

impl fmt::Display for LearnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whose learners these are: one enterprise application in one tenant.
///
/// Written `tenant/application` in the `source` columns.
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
        /// It could not be done for this person.
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
        /// An existing, unlinked learner with the same match attribute became this person's.
        Adopted = "adopted",
        /// Mapped attributes differ.
        AttributesChanged = "attributes-changed",
        /// No longer assigned, seen twice.
        Unassigned = "unassigned",
        /// The account is disabled in Entra ID.
        AccountDisabled = "account-disabled",
        /// The account is deleted in Entra ID.
        AccountDeleted = "account-deleted",
        /// A scoping filter leaves the person out.
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
        /// The database refused this person's row.
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

/// What kind of column an attribute goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text of any length.
    Text,
    /// True or false.
    Boolean,
}

/// Declares the attribute table of the design: variant, column, kind, SCIM path.
macro_rules! attributes {
    ($($(#[$meta:meta])* $variant:ident, $column:literal, $kind:ident, $path:literal;)+) => {
        /// A mapped attribute of a learner.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Attribute { $($(#[$meta])* $variant,)+ }

        impl Attribute {
            /// Every attribute, in the order of the design's table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The column of the default learners table.
            pub fn column(self) -> &'static str {
                match self { $(Self::$variant => $column,)+ }
            }

            /// The kind of its column.
            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)+ }
            }

            /// The SCIM attribute path as the Entra portal shows it.
            pub fn path(self) -> &'static str {
                match self { $(Self::$variant => $path,)+ }
            }
        }
    };
}

attributes! {
    /// The sign-in name; unique, ASCII letter case ignored.
    UserName, "user_name", Text, "userName";
    /// The work e-mail address; unique where present, ASCII letter case ignored.
    Email, "email", Text, "emails[type eq \"work\"].value";
    /// Whether the learner may use the platform.
    Active, "active", Boolean, "active";
    /// Given name.
    FirstName, "first_name", Text, "name.givenName";
    /// Surname.
    LastName, "last_name", Text, "name.familyName";
    /// Job title.
    Title, "title", Text, "title";
    /// Country.
    Country, "country", Text, "addresses[0].country";
    /// Employee number.
    EmployeeNumber, "employee_number", Text,
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber";
    /// Department.
    Department, "department", Text, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
    /// The platform's own job role.
    JobRole, "job_role", Text, "urn:ietf:params:scim:schemas:extension:SJUserAttributes:2.0:User:job_role";
    /// The platform's own company.
    Company, "company", Text, "urn:ietf:params:scim:schemas:extension:SJUserAttributes:2.0:User:company";
    /// The platform's own business unit.
    BusinessUnit, "business_unit", Text,
        "urn:ietf:params:scim:schemas:extension:SJUserAttributes:2.0:User:business_unit";
    /// The platform's own team name.
    TeamName, "team_name", Text, "urn:ietf:params:scim:schemas:extension:SJUserAttributes:2.0:User:team_name";
    /// Whether the person champions security in the team.
    SecurityChampion, "security_champion", Boolean,
        "urn:ietf:params:scim:schemas:extension:SJUserAttributes:2.0:User:security_champion";
}

impl Attribute {
    /// The attributes whose value no two learners may share.
    pub const UNIQUE: [Self; 2] = [Self::UserName, Self::Email];

    /// Whether two values of this attribute are the same: `userName` and the e-mail ignore ASCII letter case.
    pub fn same(self, left: Option<&str>, right: Option<&str>) -> bool {
        match (left, right) {
            (Some(left), Some(right)) if Self::UNIQUE.contains(&self) => left.eq_ignore_ascii_case(right),
            _ => left == right,
        }
    }
}

/// Mapped values by attribute. A missing key is an attribute that does not flow for this person and is left
/// alone; `None` is a cleared one. Booleans are `"true"` or `"false"`.
pub type Values = BTreeMap<Attribute, Option<String>>;

/// A person as a learner should be, by the mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learner {
    /// What flows whenever it differs. `Active` is not among them.
    pub values: Values,
    /// What flows only when the row is made, over `values`: `apply = "on-create"` and defaults.
    pub on_create: Values,
}

/// A value that must be unique, with the ASCII letter case folded as every comparison of it does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UniqueKey {
    /// `UserName` or `Email`.
    pub attribute: Attribute,
    /// The folded value.
    pub folded: String,
}

impl UniqueKey {
    /// The key of `value`.
    pub fn new(attribute: Attribute, value: &str) -> Self {
        Self { attribute, folded: value.to_ascii_lowercase() }
    }
}

/// A hash over mapped values: equal fingerprints mean there is nothing to change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", uuid::Uuid::from_bytes(self.0).as_simple())
    }
}

impl Fingerprint {
    /// The fingerprint of `values`; ASCII letter case of the unique attributes does not count.
    ///
    /// `active` is left out: whether a learner is switched on is compared by itself.
    pub fn of(values: &Values) -> Self {
        let mut hasher = blake3::Hasher::new();
        // Values are few and short: one buffer and one update is several times faster than many updates.
        let mut bytes = Vec::with_capacity(256);
        for (attribute, value) in values.iter().filter(|(attribute, _)| **attribute != Attribute::Active) {
            bytes.push(*attribute as u8);
            match value {
                None => bytes.push(0),
                Some(text) => {
                    bytes.push(1);
                    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
                    let start = bytes.len();
                    bytes.extend_from_slice(text.as_bytes());
                    if Attribute::UNIQUE.contains(attribute) {
                        bytes[start..].make_ascii_lowercase();
                    }
                }
            }
        }
        hasher.update(&bytes);
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(short)
    }
}

/// A random 128-bit value that every transaction renews when it writes learners: a database restored from a
/// backup, or written by another process, has another one than the cache was made from.
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

/// Which members of an assigned group count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupMembers {
    /// Direct members, as Entra's own provisioning counts them.
    Direct,
    /// Members of nested groups as well.
    Transitive,
    /// None: only users that are assigned themselves.
    None,
}

/// One way a person is assigned to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// The user itself is assigned.
    Direct,
    /// A member of this assigned group.
    Group(EntraId),
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Group(id) => id.fmt(f),
        }
    }
}

impl FromStr for Route {
    type Err = NotAnEntraId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "direct" { Ok(Self::Direct) } else { text.parse().map(Self::Group) }
    }
}

/// All the ways a person is assigned: `sync_links.via`. Sorted and without duplicates; cheap to clone, because
/// thousands of people share the same few.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Via(Arc<[Route]>);

impl Via {
    /// The routes, `direct` first, then groups by id.
    pub fn routes(&self) -> &[Route] {
        &self.0
    }
}

impl FromIterator<Route> for Via {
    fn from_iter<I: IntoIterator<Item = Route>>(routes: I) -> Self {
        Self(routes.into_iter().collect::<BTreeSet<_>>().into_iter().collect())
    }
}

/// What is known of a linked learner without asking the database: the entry of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The learner row.
    pub learner: LearnerId,
    /// Whether it is switched on.
    pub active: bool,
    /// The fingerprint of the values it has.
    pub fingerprint: Fingerprint,
    /// The ways through which the person was last seen.
    pub via: Via,
}

/// Everybody linked by this source.
pub type KnownLearners = BTreeMap<EntraId, Known>;

/// A value of an Entra attribute as Graph delivered it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Cleared, or never set.
    Null,
    /// Text; dates and GUIDs are text as well.
    Text(String),
    /// True or false.
    Boolean(bool),
    /// A number, in the digits of the wire.
    Number(String),
    /// A multi-valued attribute.
    List(Vec<Self>),
    /// A complex attribute such as `employeeOrgData`.
    Complex(BTreeMap<String, Self>),
}

/// The Graph user properties that a mapping and a scope need: what `$select` asks for, in a fixed order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    properties: Vec<String>,
}

impl Selection {
    /// The slot of `property`, added when it is not there yet. Graph's property names are case-sensitive.
    pub fn slot(&mut self, property: &str) -> usize {
        self.position(property).unwrap_or_else(|| {
            self.properties.push(property.to_owned());
            self.properties.len() - 1
        })
    }

    /// The slot of `property`, when it is selected.
    pub fn position(&self, property: &str) -> Option<usize> {
        self.properties.iter().position(|known| known == property)
    }

    /// The properties in slot order.
    pub fn properties(&self) -> &[String] {
        &self.properties
    }
}

/// A user of the directory, every selected property told.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Object id.
    pub id: EntraId,
    /// `accountEnabled`.
    pub enabled: bool,
    /// One value for each property of the [`Selection`], in its order.
    pub values: Vec<Value>,
}

/// What the second look at a leaver found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The account exists and is disabled.
    Disabled,
    /// The account exists, is enabled, and is still not assigned when the assignments are read again.
    Unassigned,
    /// The account exists, is enabled and assigned: the first look was stale.
    Present,
    /// The account is in the deleted items.
    Deleted,
    /// Neither among the users nor in the deleted items.
    NotFound,
    /// The account cannot be read well enough to tell; says what was missing.
    Unreadable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entra_ids_are_lower_case_guids() {
        let id: EntraId = "0A1B2C3D-0000-4000-8000-00000000ABCD".parse().unwrap();
        assert_eq!(id.to_string(), "0a1b2c3d-0000-4000-8000-00000000abcd");
        assert_eq!("0a1b2c3d000040008000000000000001".parse::<EntraId>(), Err(NotAnEntraId));
        assert_eq!("{0a1b2c3d-0000-4000-8000-00000000abcd}".parse::<EntraId>(), Err(NotAnEntraId));
    }

    #[test]
    fn fingerprints_tell_null_from_empty_and_from_absent() {
        let of = |value: Option<Option<&str>>| {
            Fingerprint::of(&value.map(|v| (Attribute::Title, v.map(str::to_owned))).into_iter().collect())
        };
        assert_ne!(of(None), of(Some(None)));
        assert_ne!(of(Some(None)), of(Some(Some(""))));
        assert_ne!(of(Some(Some("a"))), of(Some(Some("A"))));
    }

    #[test]
    fn fingerprints_ignore_the_case_of_names_that_are_unique() {
        let of = |name: &str| Fingerprint::of(&Values::from([(Attribute::UserName, Some(name.to_owned()))]));
        assert_eq!(of("Ada@example.org"), of("ada@example.org"));
        assert_ne!(of("ÅSA@example.org"), of("åsa@example.org"));
    }
}
