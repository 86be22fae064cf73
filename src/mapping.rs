//! Attribute mapping: the values of a learner, computed from a user of the directory. Pure: the time is a parameter.
//!
//! It is the mapping that an administrator knows from Entra's own provisioning: SCIM paths on the left, expressions (see
//! [`crate::expression`]) on the right. [`Mapping::compile`] reports every problem before a user is read.
//! [`Mapping::apply`] cannot fail: a user with unsuitable values is [`MappedUser::Rejected`].
//!
//! `target` finds the attribute of a SCIM path, `entries` compiles and checks the table, `fit` converts a value for its
//! column, `warnings` finds probable mistakes, `description` and
//! `trial` serve the commands of the administrator.

mod description;
mod entries;
mod fit;
mod target;
mod trial;
mod warnings;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use crate::expression::{EvaluationContext, EvaluationStop, Steps};
use crate::model::{Attribute, Learner, Reason, User, Values};

pub use description::{DescribedEntry, MappedValue};
use entries::CompiledEntry;
pub(crate) use target::find_target;
pub use trial::{Trial, TrialResult, is_user_document};

/// One line of the mapping as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingEntry {
    /// The SCIM path of the target attribute.
    pub path: String,
    /// The expression that gives its value.
    pub expression: String,
    /// The value of a new learner when the expression gives none.
    pub default: Option<String>,
    /// When the value is written.
    pub apply: ApplyMode,
    /// Whether a user without a value is rejected; by default only for `userName` and the e-mail address.
    pub required: Option<bool>,
}

impl MappingEntry {
    /// An entry without options.
    pub fn new(path: impl Into<String>, expression: impl Into<String>) -> Self {
        let (path, expression) = (path.into(), expression.into());
        Self { path, expression, default: None, apply: ApplyMode::Always, required: None }
    }
}

/// When a mapped value is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ApplyMode {
    /// When the learner is created, and whenever the value changes.
    #[default]
    Always,
    /// Only when the learner is created.
    OnCreate,
}

/// The mapping that is used when none is configured.
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

/// A problem with a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingProblem {
    /// The index of the entry; `usize::MAX` for the mapping as a whole.
    pub entry: usize,
    /// The path of the entry as written, or of the attribute that is not mapped.
    pub path: Option<String>,
    /// The character of the expression, counted from 1.
    pub position: Option<usize>,
    /// The problem, with a suggestion where possible.
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

/// A compiled mapping.
#[derive(Debug)]
pub struct Mapping {
    active: CompiledEntry,
    /// All other entries, in the order of their attributes.
    others: Vec<CompiledEntry>,
    redacted: BTreeSet<Attribute>,
}

/// A user after the mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MappedUser {
    /// The learner is to be active, with these values.
    Learner(Learner),
    /// The mapping of `active` says false.
    Inactive {
        /// The sign-in name, for the log.
        user_name: Option<String>,
    },
    /// A value breaks a rule. An existing learner stays unchanged.
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
    /// Maps `user` at the time `now`. All entries share `steps`, with the filters of the scope.
    ///
    /// # Panics
    /// If `user` was read with another selection than the mapping was compiled with.
    pub fn apply(&self, user: &User, now: jiff::Timestamp, steps: &Steps) -> MappedUser {
        let context = EvaluationContext { user, now, steps };
        match self.learner(context) {
            Ok(Some(learner)) => MappedUser::Learner(learner),
            Ok(None) => MappedUser::Inactive { user_name: self.user_name(context) },
            Err((reason, detail)) => MappedUser::Rejected { reason, detail, user_name: self.user_name(context) },
        }
    }

    /// The mapped attributes, in the order of [`Attribute::ALL`].
    pub fn attributes(&self) -> impl Iterator<Item = Attribute> {
        self.entries_in_order().map(|entry| entry.attribute)
    }

    /// The attributes whose values no log may show, because their expressions call `Redact`.
    pub fn redacted(&self) -> &BTreeSet<Attribute> {
        &self.redacted
    }

    /// A hash of everything that affects the result: the spelling of an expression and the order of the selection do
    /// not.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for entry in self.entries() {
            let CompiledEntry { attribute, expression, constant: _, default, apply, required } = entry;
            let line = format!("{}\t{expression}\t{default:?}\t{apply:?}\t{required}\n", attribute.path());
            hasher.update(line.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// The learner; `None` if it is to be inactive, even if other entries would reject it.
    ///
    /// # Errors
    /// The reason and the detail of a rejection.
    fn learner(&self, context: EvaluationContext<'_>) -> Result<Option<Learner>, (Reason, String)> {
        match self.active.value(context) {
            Err(EvaluationStop::Invalid { rule, .. }) => return Err(self.active.rejection(Reason::InvalidValue, rule)),
            Err(EvaluationStop::IgnoreUser) => return Err(self.active.ignored_user()),
            Ok(Some(active)) if active == "true" => {}
            Ok(Some(_)) => return Ok(None),
            // A learner is active or inactive, so the default of `active` applies to existing learners as well.
            Ok(None) | Err(EvaluationStop::IgnoreAttribute) => match self.active.default.as_deref() {
                Some("true") => {}
                Some(_) => return Ok(None),
                None => {
                    let rule = "the mapping produced no value, but true or false is required";
                    return Err(self.active.rejection(Reason::InvalidValue, rule));
                }
            },
        }
        // Most learners fit.
        let mut learner = Learner { values: Values::with_capacity(256), ..Learner::default() };
        for entry in &self.others {
            let value = entry.value(context);
            match (value, &entry.default) {
                (Err(EvaluationStop::Invalid { rule, .. }), _) => {
                    return Err(entry.rejection(Reason::InvalidValue, rule));
                }
                (Err(EvaluationStop::IgnoreUser), _) => return Err(entry.ignored_user()),
                (Ok(value @ Some(_)), _) if entry.apply == ApplyMode::OnCreate => {
                    learner.on_create.get_or_insert_default().insert(entry.attribute, value.as_deref());
                }
                (Ok(value @ Some(_)), _) => {
                    learner.values.insert(entry.attribute, value.as_deref());
                }
                (value, Some(default)) => {
                    learner.on_create.get_or_insert_default().insert(entry.attribute, Some(default));
                    // A required attribute is never cleared.
                    if value.is_ok() && entry.apply == ApplyMode::Always && !entry.required {
                        learner.values.insert(entry.attribute, None);
                    }
                }
                _ if entry.required => {
                    let rule = "required, but the mapping produced no value";
                    return Err(entry.rejection(Reason::MissingRequired, rule));
                }
                (Ok(None), None) if entry.apply == ApplyMode::Always => {
                    learner.values.insert(entry.attribute, None);
                }
                // Nothing to write: the column of a new learner is null by default.
                (Ok(None) | Err(EvaluationStop::IgnoreAttribute), None) => {}
            }
        }
        Ok(Some(learner))
    }

    /// Every entry, in the order of evaluation.
    fn entries(&self) -> impl Iterator<Item = &CompiledEntry> {
        std::iter::once(&self.active).chain(&self.others)
    }

    /// Every entry, in the order of [`Attribute::ALL`].
    fn entries_in_order(&self) -> impl Iterator<Item = &CompiledEntry> {
        Attribute::ALL.iter().filter_map(|attribute| self.entry(*attribute))
    }

    fn entry(&self, attribute: Attribute) -> Option<&CompiledEntry> {
        self.entries().find(|entry| entry.attribute == attribute)
    }

    fn user_name(&self, context: EvaluationContext<'_>) -> Option<String> {
        self.entry(Attribute::UserName)?.value(context).ok()?.map(Cow::into_owned)
    }
}

#[cfg(test)]
mod tests;
