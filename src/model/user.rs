//! A user of the directory, and what a second look at one can find.

use std::collections::BTreeMap;

use super::EntraId;

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

/// No property of a user in Graph: the names of the app roles that somebody is assigned in.
pub const APP_ROLE_ASSIGNMENTS: &str = "appRoleAssignments";

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
