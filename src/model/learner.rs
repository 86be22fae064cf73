//! Attributes of a learner, their values, and the fingerprint that compares them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::RowHash;
use super::blanks::{fold, trim_blanks};
use super::values::Values;

/// The kind of an attribute's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeKind {
    /// A text of any length.
    Text,
    /// True or false.
    Boolean,
}

/// Declares the attributes: variant, column, kind, SCIM path.
macro_rules! attributes {
    ($($(#[$meta:meta])* $variant:ident, $column:literal, $kind:ident, $path:literal;)+) => {
        /// A mapped attribute of a learner.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Attribute { $($(#[$meta])* $variant,)+ }

        impl Attribute {
            /// Every attribute, in a fixed order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name of the column in the default learners table.
            pub fn column(self) -> &'static str {
                match self { $(Self::$variant => $column,)+ }
            }

            /// The kind of the column.
            pub fn kind(self) -> AttributeKind {
                match self { $(Self::$variant => AttributeKind::$kind,)+ }
            }

            /// The SCIM attribute path as the Entra portal shows it.
            pub fn path(self) -> &'static str {
                match self { $(Self::$variant => $path,)+ }
            }
        }
    };
}

attributes! {
    /// The sign-in name; unique, ignoring ASCII case.
    UserName, "user_name", Text, "userName";
    /// The work e-mail address; unique where present, ignoring ASCII case.
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
    /// Whether the user is a security champion.
    SecurityChampion, "security_champion", Boolean,
        "urn:ietf:params:scim:schemas:extension:SJUserAttributes:2.0:User:security_champion";
}

impl Attribute {
    /// The attributes that are unique among learners.
    pub const UNIQUE: [Self; 2] = [Self::UserName, Self::Email];

    /// Whether two values of this attribute are equal. Unique attributes ignore ASCII case and blanks at the ends.
    pub fn same(self, left: Option<&str>, right: Option<&str>) -> bool {
        match (left, right) {
            (Some(left), Some(right)) if Self::UNIQUE.contains(&self) => {
                trim_blanks(left).eq_ignore_ascii_case(trim_blanks(right))
            }
            _ => left == right,
        }
    }

    /// A value in the form in which matching compares it: unique attributes also ignore ASCII case.
    pub fn matched(self, value: &str) -> Cow<'_, str> {
        if Self::UNIQUE.contains(&self) { fold(value) } else { trim_blanks(value).into() }
    }
}

/// The learner that the mapping produces for a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learner {
    /// The values to create and update, without `Active`.
    pub values: Values,
    /// Additional values for a new row, which override `values`: `apply = "on-create"` and defaults. A row that still has
    /// the default of an attribute which `values` clears keeps it. Most mappings have none, and a first load has a million
    /// learners.
    pub on_create: Option<Box<Values>>,
    /// The row of a list of members that was mapped to `values`, where one row says everything.
    pub row: Option<RowHash>,
}

impl Learner {
    /// The value of `attribute` in `on_create`; `None` when it is not there.
    pub fn on_create(&self, attribute: Attribute) -> Option<Option<&str>> {
        self.on_create.as_ref()?.get(attribute)
    }
}

/// A unique value, folded for comparison.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UniqueKey<'v> {
    /// `UserName` or `Email`.
    pub attribute: Attribute,
    /// The value as [`fold`] returns it.
    pub folded: Cow<'v, str>,
}

impl<'v> UniqueKey<'v> {
    /// Folds `value`.
    pub fn new(attribute: Attribute, value: &'v str) -> Self {
        Self { attribute, folded: fold(value) }
    }
}

/// A hash over mapped values. Equal fingerprints mean equal values.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

/// 32 hexadecimal digits, as `sync_failures` stores it.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).as_simple().fmt(f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        uuid::Uuid::try_parse(text).map(|uuid| Self(uuid.into_bytes()))
    }
}

impl Fingerprint {
    /// Matches no values, so that the next cycle compares the row itself.
    pub const UNKNOWN: Self = Self([0; 16]);

    /// The fingerprint of `values` without `active`, which is compared separately.
    pub fn compute(values: &Values) -> Self {
        Self::over(values.iter().filter(|(attribute, _)| *attribute != Attribute::Active))
    }

    /// The fingerprint of the unique attributes alone, with their letter case. A learner table may keep its own.
    pub fn spelling(values: &Values) -> Self {
        Self::over(values.iter().filter(|(attribute, _)| Attribute::UNIQUE.contains(attribute)))
    }

    fn over<'v>(values: impl Iterator<Item = (Attribute, Option<&'v str>)>) -> Self {
        // One long update is several times faster than many short ones.
        let mut updates = BufferedHasher { hasher: blake3::Hasher::new(), buffer: [0; 512], filled: 0 };
        for (attribute, value) in values {
            updates.update(&[attribute as u8, u8::from(value.is_some())]);
            if let Some(text) = value {
                updates.update(&(text.len() as u64).to_le_bytes());
                updates.update(text.as_bytes());
            }
        }
        Self(updates.finish())
    }
}

struct BufferedHasher {
    hasher: blake3::Hasher,
    buffer: [u8; 512],
    filled: usize,
}

impl BufferedHasher {
    fn update(&mut self, bytes: &[u8]) {
        if let Some(space) = self.buffer.get_mut(self.filled..self.filled + bytes.len()) {
            space.copy_from_slice(bytes);
            self.filled += bytes.len();
        } else {
            self.hasher.update(&self.buffer[..self.filled]);
            self.hasher.update(bytes);
            self.filled = 0;
        }
    }

    fn finish(mut self) -> [u8; 16] {
        self.hasher.update(&self.buffer[..self.filled]);
        let mut short = [0; 16];
        short.copy_from_slice(&self.hasher.finalize().as_bytes()[..16]);
        short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_distinguish_null_empty_and_missing_values() {
        let of = |value: Option<Option<&str>>| {
            Fingerprint::compute(&value.map(|v| (Attribute::Title, v)).into_iter().collect())
        };
        assert_ne!(of(None), of(Some(None)));
        assert_ne!(of(Some(None)), of(Some(Some(""))));
        assert_ne!(of(Some(Some("a"))), of(Some(Some("A"))));
    }

    #[test]
    fn fingerprints_are_those_that_databases_and_caches_store() {
        for (length, expect) in [
            (0, "8b8bdcf7acc74c685ebddc14c22c3d80"),
            (3, "f2c69ca8ae1a677c7f621eec3a4f1fc4"),
            (502, "f9c09dd2a965262fc88c6f7b66b196ec"),
            (503, "a6d9d0646bf5a67f5d60d24057a5a34b"),
            (70_000, "70e90bc63f199c9e62c711c016d171af"),
        ] {
            let text = "x".repeat(length);
            let values = Values::from([
                (Attribute::UserName, Some(text.as_str())),
                (Attribute::Active, Some("true")),
                (Attribute::Title, None),
                (Attribute::Country, Some("CH")),
            ]);
            assert_eq!(Fingerprint::compute(&values).to_string(), expect, "{length}");
        }
    }

    #[test]
    fn a_spelling_covers_the_unique_attributes_alone() {
        let values = |name: &str, title: &str| {
            Values::from([(Attribute::UserName, Some(name)), (Attribute::Title, Some(title))])
        };
        let (ada, shouted, head) = (values("ada", "Head"), values("ADA", "Head"), values("ada", "Chair"));
        assert_eq!(Fingerprint::spelling(&ada), Fingerprint::spelling(&head));
        for of in [Fingerprint::spelling, Fingerprint::compute] {
            assert_ne!(of(&ada), of(&shouted));
        }
    }
}
