//! Users of the directory, and the results of a confirmation.

use std::collections::BTreeMap;

use super::EntraId;

/// A value of an Entra attribute, as received from Graph.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Value {
    /// An attribute without a value.
    Null,
    /// A text, including dates and GUIDs.
    Text(String),
    /// True or false.
    Boolean(bool),
    /// A number, as its digits in the JSON.
    Number(String),
    /// A multi-valued attribute.
    List(Vec<Self>),
    /// A complex attribute such as `employeeOrgData`.
    Complex(BTreeMap<String, Self>),
}

/// The Graph user properties that the mapping and the scope need, in the order of their slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    properties: Vec<String>,
}

impl Selection {
    /// The slot of `property`, which is added if necessary. Property names are case-sensitive.
    pub fn slot(&mut self, property: &str) -> usize {
        self.position(property).unwrap_or_else(|| {
            self.properties.push(property.to_owned());
            self.properties.len() - 1
        })
    }

    /// The slot of `property`, if it is selected.
    pub fn position(&self, property: &str) -> Option<usize> {
        self.properties.iter().position(|known| known == property)
    }

    /// All properties, in the order of their slots.
    pub fn properties(&self) -> &[String] {
        &self.properties
    }
}

/// A pseudo property: the names of the user's app roles, which come from the assignments.
pub const APP_ROLE_ASSIGNMENTS: &str = "appRoleAssignments";

/// A user of the directory, with every selected property.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// The object id.
    pub id: EntraId,
    /// `accountEnabled`.
    pub enabled: bool,
    /// Whether the account is an agent's: <https://learn.microsoft.com/graph/api/resources/agentuser>.
    pub is_agent: bool,
    /// One value for each slot of the [`Selection`].
    pub values: Vec<Value>,
}

/// The result of confirming a leaver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The account exists and is disabled.
    Disabled,
    /// The account exists, is enabled, and is still unassigned after the assignments were read again.
    Unassigned,
    /// The account exists, is enabled and assigned: the snapshot was outdated.
    Present,
    /// The account is in the deleted items.
    Deleted,
    /// The account is neither among the users nor in the deleted items.
    NotFound,
    /// The answer does not show the state of the account; says what is missing.
    Unreadable(String),
}
