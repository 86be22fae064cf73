//! Attribute mapping: what a learner gets, computed from a user of the directory.
//!
//! The same mapping that an administrator sets up for Entra's own provisioning: SCIM paths on the left,
//! expressions on the right. [`Mapping::compile`] finds everything that is wrong before a user is looked at;
//! [`Mapping::apply`] cannot fail, a user whose values do not fit is [`Mapped::Rejected`]. Pure: no I/O, and
//! the time is a parameter.
//!
//! On the way from text to value: `parse` -> `syntax` -> `expression` (with `functions`, and `constant` for what is not
//! text: `dates`, `words`) -> `evaluate` -> `column`; `entries` holds the rules of the table as a
//! whole (with `target`).

mod column;
mod constant;
mod dates;
mod description;
mod entries;
mod evaluate;
mod expression;
mod functions;
mod parse;
mod syntax;
mod target;
mod trial;
mod words;

use std::collections::BTreeSet;
use std::fmt;

use crate::model::{Attribute, Learner, Reason, Selection, User};

pub use description::{Described, MappedValue, OnTime};
use entries::Row;
use evaluate::{Context, Stop};
pub use trial::{Trial, TrialResult};

/// One line of the mapping as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The SCIM path of the target attribute.
    pub path: String,
    /// Where its value comes from.
    pub expression: String,
    /// What a new learner gets when the expression gives nothing.
    pub default: Option<String>,
    /// When the value is written.
    pub apply: Apply,
    /// Whether a user without a value is rejected; `None` is the design's choice: `userName` and the e-mail.
    pub required: Option<bool>,
}

impl Entry {
    /// A line without options.
    pub fn new(path: impl Into<String>, expression: impl Into<String>) -> Self {
        let (path, expression) = (path.into(), expression.into());
        Self { path, expression, default: None, apply: Apply::Always, required: None }
    }

    /// The target, when nothing is wrong with this line alone; or everything that is.
    pub fn attribute(&self) -> Result<Attribute, Vec<String>> {
        entries::check(self)
    }
}

/// When a mapped value is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Apply {
    /// When the learner is made, and whenever the value changes.
    #[default]
    Always,
    /// Only when the learner is made.
    OnCreate,
}

/// The mapping that holds without a configured one.
pub fn default_entries() -> Vec<Entry> {
    [
        (Attribute::UserName, "[userPrincipalName]"),
        (Attribute::Email, "[mail]"),
        (Attribute::Active, "Switch([IsSoftDeleted], , \"False\", \"True\", \"True\", \"False\")"),
        (Attribute::FirstName, "[givenName]"),
        (Attribute::LastName, "[surname]"),
        (Attribute::Title, "[jobTitle]"),
        (Attribute::Country, "[country]"),
        (Attribute::EmployeeNumber, "[employeeId]"),
        (Attribute::Department, "[department]"),
    ]
    .map(|(attribute, expression)| Entry::new(attribute.path(), expression))
    .into()
}

/// Something that is wrong with a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The index of the entry; `usize::MAX` when it concerns the mapping as a whole.
    pub entry: usize,
    /// The path of the entry as it is written, or of the attribute that has none.
    pub path: Option<String>,
    /// The character of the expression that it is about, counted from 1.
    pub position: Option<usize>,
    /// What is wrong, and where possible what was meant.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.message)?;
        self.position.map_or(Ok(()), |position| write!(f, " (at character {position})"))
    }
}

/// A mapping in which everything is resolved: applying it only reads slots and calls functions.
#[derive(Debug)]
pub struct Mapping {
    active: Row,
    /// All others, in the order of their attributes.
    rows: Vec<Row>,
    redacted: BTreeSet<Attribute>,
}

/// What a mapping makes of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapped {
    /// An active learner.
    Learner(Learner),
    /// The mapping of `active` says false.
    Inactive {
        /// The sign-in name, for the log.
        user_name: Option<String>,
    },
    /// The values break a rule; the learner, if there is one, is to be left as it is.
    Rejected {
        /// `MissingRequired` or `InvalidValue`.
        reason: Reason,
        /// The attribute and the rule, never the value.
        detail: String,
        /// The sign-in name, for the log.
        user_name: Option<String>,
    },
}

impl Mapping {
    /// Compiles `entries`, adding the properties that they read to `selection`; or every problem at once, with
    /// `selection` as it was.
    pub fn compile(entries: &[Entry], selection: &mut Selection) -> Result<Self, Vec<Problem>> {
        entries::compile(entries, selection)
    }

    /// The learner that `user` is mapped to, at the time `now`.
    ///
    /// # Panics
    ///
    /// When `user` lacks values of the selection that the mapping was compiled with.
    pub fn apply(&self, user: &User, now: jiff::Timestamp) -> Mapped {
        let context = Context { user, now };
        match self.learner(context) {
            Ok(Some(learner)) => Mapped::Learner(learner),
            Ok(None) => Mapped::Inactive { user_name: self.user_name(context) },
            Err(Rejection { reason, attribute, rule }) => {
                let detail = format!("{}: {rule}", attribute.path());
                Mapped::Rejected { reason, detail, user_name: self.user_name(context) }
            }
        }
    }

    /// The mapped targets, in the order of the design's table.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute> {
        Attribute::ALL.iter().copied().filter(|attribute| self.row(*attribute).is_some())
    }

    /// The targets whose values no log may show: `Redact` is somewhere in their expressions.
    pub fn redacted(&self) -> &BTreeSet<Attribute> {
        &self.redacted
    }

    /// A hash of everything that decides what a user is mapped to, and of nothing else: how an expression is
    /// spelled and where the selection keeps a property do not count.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for row in std::iter::once(&self.active).chain(&self.rows) {
            let Row { attribute, expression, default, apply, required } = row;
            let line = format!("{}\t{expression}\t{default:?}\t{apply:?}\t{required}\n", attribute.path());
            hasher.update(line.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// The learner, or nothing when it is to be inactive, whatever else is wrong with it.
    fn learner(&self, context: Context<'_>) -> Result<Option<Learner>, Rejection> {
        match self.active.value(context) {
            Err(Stop::Invalid { rule, .. }) => return Err(self.active.rejection(Reason::InvalidValue, rule)),
            Err(Stop::AssignedUser) => return Err(self.active.left_alone()),
            Ok(Some(active)) if active == "true" => {}
            Ok(Some(_)) => return Ok(None),
            // There is no third state that a learner could be left in, so the default counts for updates as well.
            Ok(None) | Err(Stop::Nothing) => match self.active.default.as_deref() {
                Some("true") => {}
                Some(_) => return Ok(None),
                None => {
                    let rule = "the mapping gives no value, and it must be true or false";
                    return Err(self.active.rejection(Reason::InvalidValue, rule));
                }
            },
        }
        let mut learner = Learner::default();
        for row in &self.rows {
            let value = row.value(context);
            match (value, &row.default) {
                (Err(Stop::Invalid { rule, .. }), _) => return Err(row.rejection(Reason::InvalidValue, rule)),
                (Err(Stop::AssignedUser), _) => return Err(row.left_alone()),
                (Ok(value @ Some(_)), _) if row.apply == Apply::OnCreate => {
                    learner.on_create.insert(row.attribute, value);
                }
                (Ok(value @ Some(_)), _) => {
                    learner.values.insert(row.attribute, value);
                }
                // A default is for new learners and is not cleared later: for all others nothing flows.
                (_, Some(default)) => {
                    learner.on_create.insert(row.attribute, Some(default.clone()));
                }
                _ if row.required => {
                    let rule = "a value is required, and the mapping gives none";
                    return Err(row.rejection(Reason::MissingRequired, rule));
                }
                (Ok(None), None) if row.apply == Apply::Always => {
                    learner.values.insert(row.attribute, None);
                }
                // Nothing to write: the column of a new learner is null anyway.
                (Ok(None) | Err(Stop::Nothing), None) => {}
            }
        }
        Ok(Some(learner))
    }

    fn row(&self, attribute: Attribute) -> Option<&Row> {
        std::iter::once(&self.active).chain(&self.rows).find(|row| row.attribute == attribute)
    }

    fn user_name(&self, context: Context<'_>) -> Option<String> {
        self.row(Attribute::UserName)?.value(context).ok()?
    }
}

/// Why a user is rejected.
struct Rejection {
    reason: Reason,
    attribute: Attribute,
    rule: std::borrow::Cow<'static, str>,
}

#[cfg(test)]
mod tests;
