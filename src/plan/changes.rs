//! The attributes that a decision changes, in few bytes: a plan may have a million newcomers.

use std::fmt;
use std::sync::Arc;

use super::decision::REDACTED;
use crate::model::{Attribute, Learner, Values};

/// An attribute before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributeChange<'c> {
    /// The attribute that changes.
    pub attribute: Attribute,
    /// The value before; `None` is null.
    pub old: Option<&'c str>,
    /// The value after; `None` is null.
    pub new: Option<&'c str>,
    /// Whether logs hide the values.
    pub redacted: bool,
}

impl<'c> AttributeChange<'c> {
    /// A change whose values may be logged.
    pub fn new(attribute: Attribute, old: Option<&'c str>, new: Option<&'c str>) -> Self {
        Self { attribute, old, new, redacted: false }
    }

    /// The change of `active` itself.
    pub(super) fn active(old: Option<bool>, new: bool) -> Self {
        Self::new(Attribute::Active, old.map(boolean_text), Some(boolean_text(new)))
    }

    /// The values before and after, as logs show them.
    pub fn shown(&self) -> (Option<&'c str>, Option<&'c str>) {
        let Self { attribute: _, old, new, redacted } = *self;
        if redacted { (old.map(|_| REDACTED), new.map(|_| REDACTED)) } else { (old, new) }
    }

    /// Whether only the spelling of the value changes.
    pub(super) fn is_same(&self) -> bool {
        self.attribute.same(self.old, self.new)
    }
}

/// The columns that a decision writes, or would write. Includes `Active` where it changes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Changes {
    values: ChangedValues,
    /// The change of `Active`.
    active: Option<(Option<bool>, bool)>,
    /// The redacted attributes, a bit for each.
    redacted: u16,
}

const _: () = assert!(Attribute::ALL.len() <= u16::BITS as usize, "each attribute has a bit");

#[derive(Clone, Default, PartialEq, Eq)]
enum ChangedValues {
    #[default]
    None,
    /// Those of a new row, shared with what the mapping produced. A new row gets no null.
    New(Arc<Learner>),
    Updated(Box<Updated>),
}

#[derive(Clone, Default, PartialEq, Eq)]
struct Updated {
    old: Values,
    new: Values,
}

impl Changes {
    /// The values of a new row, which is active.
    pub(super) fn creation(learner: Arc<Learner>) -> Self {
        Self { values: ChangedValues::New(learner), active: Some((None, true)), redacted: 0 }
    }

    /// The changes in the order of [`Attribute::ALL`], with `Active` as the last.
    pub fn iter(&self) -> impl Iterator<Item = AttributeChange<'_>> + Clone {
        let (old, new, is_new) = match &self.values {
            ChangedValues::None => (None, None, false),
            ChangedValues::New(learner) => (None, Some(&learner.values), true),
            ChangedValues::Updated(updated) => (Some(&updated.old), Some(&updated.new), false),
        };
        let new = new.into_iter().flatten().filter(move |(_, value)| !is_new || value.is_some());
        let values = new
            .map(move |(attribute, new)| AttributeChange::new(attribute, old.and_then(|old| old.text(attribute)), new));
        let active = self.active.map(|(old, new)| AttributeChange::active(old, new));
        values
            .chain(active)
            .map(|change| AttributeChange { redacted: self.redacted & bit(change.attribute) != 0, ..change })
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The user name of a new row, as logs show it.
    pub(super) fn new_user_name(&self) -> Option<&str> {
        let ChangedValues::New(learner) = &self.values else { return None };
        let name = learner.values.text(Attribute::UserName)?;
        Some(if self.redacted & bit(Attribute::UserName) == 0 { name } else { REDACTED })
    }

    pub(super) fn redact(&mut self, redacted: impl IntoIterator<Item = Attribute>) {
        self.redacted = redacted.into_iter().fold(0, |all, attribute| all | bit(attribute));
    }

    fn push(&mut self, change: AttributeChange<'_>) {
        let AttributeChange { attribute, old, new, redacted } = change;
        if redacted {
            self.redacted |= bit(attribute);
        }
        if attribute == Attribute::Active {
            self.active = Some((old.map(|old| old == TRUE), new == Some(TRUE)));
            return;
        }
        if !matches!(self.values, ChangedValues::Updated(_)) {
            self.values = ChangedValues::Updated(Box::default());
        }
        if let ChangedValues::Updated(updated) = &mut self.values {
            if old.is_some() {
                updated.old.insert(attribute, old);
            }
            updated.new.insert(attribute, new);
        }
    }
}

impl<'c> FromIterator<AttributeChange<'c>> for Changes {
    fn from_iter<I: IntoIterator<Item = AttributeChange<'c>>>(changes: I) -> Self {
        let mut all = Self::default();
        changes.into_iter().for_each(|change| all.push(change));
        if let ChangedValues::Updated(updated) = &mut all.values {
            updated.old.shrink_to_fit();
            updated.new.shrink_to_fit();
        }
        all
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

const TRUE: &str = "true";

fn boolean_text(value: bool) -> &'static str {
    if value { TRUE } else { "false" }
}

fn bit(attribute: Attribute) -> u16 {
    1 << attribute as u16
}
