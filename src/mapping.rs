//! Attribute mapping: what a learner gets, computed from a user of the directory.
//!
//! The same mapping that an administrator sets up for Entra's own provisioning: SCIM paths on the left,
//! expressions on the right. [`Mapping::compile`] finds everything that is wrong before a user is looked at;
//! [`Mapping::apply`] cannot fail, a user whose values do not fit is [`MappedUser::Rejected`]. Pure: no I/O, and
//! the time is a parameter.
//!
//! On the way from text to value: `parse` -> `syntax` -> `expression` (with `functions`, and `constant` for what is not
//! text: `dates`, `words`) -> `evaluate` -> `column`; `entries` holds the rules of the table as a
//! whole (with `target`).

mod description;
mod entries;
mod fit;
mod target;
mod trial;

use std::collections::BTreeSet;
use std::fmt;

use crate::expression::{EvaluationContext, EvaluationStop};
use crate::model::{Attribute, Learner, Reason, Selection, User};

pub use description::{DescribedEntry, MappedValue};
use entries::CompiledEntry;
pub use trial::{Trial, TrialResult};

/// One line of the mapping as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingEntry {
    /// The SCIM path of the target attribute.
    pub path: String,
    /// Where its value comes from.
    pub expression: String,
    /// What a new learner gets when the expression gives nothing.
    pub default: Option<String>,
    /// When the value is written.
    pub apply: ApplyMode,
    /// Whether a user without a value is rejected; `None` is the design's choice: `userName` and the e-mail.
    pub required: Option<bool>,
}

impl MappingEntry {
    /// A line without options.
    pub fn new(path: impl Into<String>, expression: impl Into<String>) -> Self {
        let (path, expression) = (path.into(), expression.into());
        Self { path, expression, default: None, apply: ApplyMode::Always, required: None }
    }

    /// The target, when nothing is wrong with this line alone; or everything that is.
    pub fn attribute(&self) -> Result<Attribute, Vec<String>> {
        entries::check(self)
    }
}

/// When a mapped value is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ApplyMode {
    /// When the learner is made, and whenever the value changes.
    #[default]
    Always,
    /// Only when the learner is made.
    OnCreate,
}

/// The mapping that holds without a configured one.
pub fn default_entries() -> Vec<MappingEntry> {
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
    .map(|(attribute, expression)| MappingEntry::new(attribute.path(), expression))
    .into()
}

/// Something that is wrong with a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingProblem {
    /// The index of the entry; `usize::MAX` when it concerns the mapping as a whole.
    pub entry: usize,
    /// The path of the entry as it is written, or of the attribute that has none.
    pub path: Option<String>,
    /// The character of the expression that it is about, counted from 1.
    pub position: Option<usize>,
    /// What is wrong, and where possible what was meant.
    pub message: String,
}

impl fmt::Display for MappingProblem {
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
    active: CompiledEntry,
    /// All others, in the order of their attributes.
    rows: Vec<CompiledEntry>,
    redacted: BTreeSet<Attribute>,
}

/// What a mapping makes of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MappedUser {
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
    pub fn compile(entries: &[MappingEntry], selection: &mut Selection) -> Result<Self, Vec<MappingProblem>> {
        entries::compile(entries, selection)
    }

    /// The learner that `user` is mapped to, at the time `now`.
    ///
    /// # Panics
    ///
    /// When `user` lacks values of the selection that the mapping was compiled with.
    pub fn apply(&self, user: &User, now: jiff::Timestamp) -> MappedUser {
        let context = EvaluationContext { user, now };
        match self.learner(context) {
            Ok(Some(learner)) => MappedUser::Learner(learner),
            Ok(None) => MappedUser::Inactive { user_name: self.user_name(context) },
            Err(RejectedEntry { reason, attribute, rule }) => {
                let detail = format!("{}: {rule}", attribute.path());
                MappedUser::Rejected { reason, detail, user_name: self.user_name(context) }
            }
        }
    }

    /// The mapped targets, in the order of the design's table.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute> {
        Attribute::ALL.iter().copied().filter(|attribute| self.compiled_entry(*attribute).is_some())
    }

    /// The targets whose values no log may show: `Redact` is somewhere in their expressions.
    pub fn redacted(&self) -> &BTreeSet<Attribute> {
        &self.redacted
    }

    /// A hash of everything that decides what a user is mapped to, and of nothing else: how an expression is
    /// spelled and where the selection keeps a property do not count.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for compiled_entry in std::iter::once(&self.active).chain(&self.rows) {
            let CompiledEntry { attribute, expression, default, apply, required } = compiled_entry;
            let line = format!("{}\t{expression}\t{default:?}\t{apply:?}\t{required}\n", attribute.path());
            hasher.update(line.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// The learner, or nothing when it is to be inactive, whatever else is wrong with it.
    fn learner(&self, context: EvaluationContext<'_>) -> Result<Option<Learner>, RejectedEntry> {
        match self.active.value(context) {
            Err(EvaluationStop::Invalid { rule, .. }) => return Err(self.active.rejection(Reason::InvalidValue, rule)),
            Err(EvaluationStop::IgnoreUser) => return Err(self.active.left_alone()),
            Ok(Some(active)) if active == "true" => {}
            Ok(Some(_)) => return Ok(None),
            // There is no third state that a learner could be left in, so the default counts for updates as well.
            Ok(None) | Err(EvaluationStop::IgnoreAttribute) => match self.active.default.as_deref() {
                Some("true") => {}
                Some(_) => return Ok(None),
                None => {
                    let rule = "the mapping gives no value, and it must be true or false";
                    return Err(self.active.rejection(Reason::InvalidValue, rule));
                }
            },
        }
        let mut learner = Learner::default();
        for compiled_entry in &self.rows {
            let value = compiled_entry.value(context);
            match (value, &compiled_entry.default) {
                (Err(EvaluationStop::Invalid { rule, .. }), _) => {
                    return Err(compiled_entry.rejection(Reason::InvalidValue, rule));
                }
                (Err(EvaluationStop::IgnoreUser), _) => return Err(compiled_entry.left_alone()),
                (Ok(value @ Some(_)), _) if compiled_entry.apply == ApplyMode::OnCreate => {
                    learner.on_create.insert(compiled_entry.attribute, value);
                }
                (Ok(value @ Some(_)), _) => {
                    learner.values.insert(compiled_entry.attribute, value);
                }
                // A default is for new learners and is not cleared later: for all others nothing flows.
                (_, Some(default)) => {
                    learner.on_create.insert(compiled_entry.attribute, Some(default.clone()));
                }
                _ if compiled_entry.required => {
                    let rule = "a value is required, and the mapping gives none";
                    return Err(compiled_entry.rejection(Reason::MissingRequired, rule));
                }
                (Ok(None), None) if compiled_entry.apply == ApplyMode::Always => {
                    learner.values.insert(compiled_entry.attribute, None);
                }
                // Nothing to write: the column of a new learner is null anyway.
                (Ok(None) | Err(EvaluationStop::IgnoreAttribute), None) => {}
            }
        }
        Ok(Some(learner))
    }

    fn compiled_entry(&self, attribute: Attribute) -> Option<&CompiledEntry> {
        std::iter::once(&self.active).chain(&self.rows).find(|compiled_entry| compiled_entry.attribute == attribute)
    }

    fn user_name(&self, context: EvaluationContext<'_>) -> Option<String> {
        self.compiled_entry(Attribute::UserName)?.value(context).ok()?
    }
}

/// Why a user is rejected.
struct RejectedEntry {
    reason: Reason,
    attribute: Attribute,
    rule: std::borrow::Cow<'static, str>,
}

#[cfg(test)]
mod tests;
