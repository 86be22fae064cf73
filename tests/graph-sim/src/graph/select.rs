//! `$select` on users: which attributes an answer has, and how a row of them is written.

use super::Context;
use crate::encoding::push_json;
use crate::property::Property;
use crate::reply::GraphError;
use crate::token::Roles;
use crate::user::User;

/// What Graph answers without `$select`.
const DEFAULT_SET: &[&str] = &[
    "businessPhones",
    "displayName",
    "givenName",
    "jobTitle",
    "mail",
    "mobilePhone",
    "officeLocation",
    "preferredLanguage",
    "surname",
    "userPrincipalName",
];
/// What User.ReadBasic.All lets read.
const BASIC_PROFILE: &[&str] = &["displayName", "givenName", "surname", "mail", "userPrincipalName"];
/// Attributes kept outside the directory: readable for one user, never in a list.
const NOT_IN_LISTS: &[&str] = &[
    "aboutMe",
    "birthday",
    "hireDate",
    "interests",
    "mailboxSettings",
    "mySite",
    "pastProjects",
    "preferredName",
    "responsibilities",
    "schools",
    "skills",
];

/// How much of a user a token may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Nothing,
    Basic,
    Full,
}

impl Reach {
    /// The reach of a token.
    pub(super) fn of(roles: &Roles) -> Self {
        let full = ["User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"];
        if roles.any(&full) {
            Self::Full
        } else if roles.any(&["User.ReadBasic.All"]) {
            Self::Basic
        } else {
            Self::Nothing
        }
    }
}

/// What kind of answer the rows are for; Graph's rules differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    List,
    Single,
    Members,
    DeletedItem,
}

/// The attributes of a row, in the order asked for; the id always comes first.
pub(super) struct Selection {
    properties: Vec<(Property, bool)>,
    /// The selection as it was asked for, for `@odata.context`.
    asked: Option<String>,
    reach: Reach,
    omit_nulls: bool,
    typed: bool,
}

impl Selection {
    /// Reads `$select`.
    pub(super) fn asked(context: &Context<'_>, place: Place) -> Result<Self, GraphError> {
        let asked = context.request.option("$select").filter(|text| !text.trim().is_empty());
        let names: Vec<&str> = match asked {
            Some(text) => text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect(),
            None => DEFAULT_SET.to_vec(),
        };
        let is_directory_object = matches!(place, Place::Members | Place::DeletedItem);
        let mut properties: Vec<(Property, bool)> = Vec::new();
        for name in names {
            let outside = NOT_IN_LISTS.iter().any(|known| known.eq_ignore_ascii_case(name));
            match Property::named(name) {
                Some(property) if property.name == "id" => {}
                // Asked for twice, answered once.
                Some(property) if properties.iter().any(|(known, _)| known.name == property.name) => {}
                Some(property) => {
                    let basic = BASIC_PROFILE.contains(&property.name.as_str());
                    properties.push((property, basic));
                }
                None if outside && place == Place::List => {
                    let told = "This operation target is not yet supported.";
                    return Err(GraphError::new(501, "NotImplemented", told));
                }
                // A directoryObject is of an open type: what it does not have is left out.
                None if outside || is_directory_object => {}
                None => {
                    let told = format!("Could not find a property named '{name}' on type 'microsoft.graph.user'.");
                    return Err(GraphError::bad_request(told));
                }
            }
        }
        Ok(Self {
            properties,
            asked: asked.map(str::to_owned),
            reach: Reach::of(context.roles),
            omit_nulls: place == Place::Members && context.tenant.members_omit_nulls,
            typed: is_directory_object,
        })
    }

    /// The selection as `@odata.context` repeats it, for instance `users(id,mail)`.
    pub(super) fn metadata(&self, set: &str) -> String {
        self.asked.as_ref().map_or_else(|| set.to_owned(), |asked| format!("{set}({asked})"))
    }

    /// Whether an attribute is part of the answer.
    pub(super) fn has(&self, name: &str) -> bool {
        self.properties.iter().any(|(property, _)| property.name == name)
    }

    /// Appends a user as `"key":value` pairs, without braces.
    pub(super) fn write_pairs(&self, user: &User, out: &mut Vec<u8>) {
        if self.typed {
            out.extend_from_slice(b"\"@odata.type\":\"#microsoft.graph.user\",");
        }
        out.extend_from_slice(b"\"id\":\"");
        out.extend_from_slice(user.id.as_bytes());
        out.push(b'"');
        for (property, basic) in &self.properties {
            let readable = self.reach == Reach::Full || (*basic && self.reach == Reach::Basic);
            if readable && self.omit_nulls && property.value(user).is_null() {
                continue;
            }
            // Names are Graph's own or checked to be plain, so they need no escaping.
            out.extend_from_slice(b",\"");
            out.extend_from_slice(property.name.as_bytes());
            out.extend_from_slice(b"\":");
            if readable { property.write(user, out) } else { out.extend_from_slice(b"null") }
        }
    }

    /// Appends a user as an object.
    pub(super) fn write_row(&self, user: &User, out: &mut Vec<u8>) {
        out.push(b'{');
        self.write_pairs(user, out);
        out.push(b'}');
    }

    /// Appends a member that is no user: of what was asked for, it has a name at most.
    pub(super) fn write_other(&self, id: &str, odata_type: &str, display_name: Option<&str>, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{{\"@odata.type\":\"{odata_type}\",\"id\":\"{id}\"").as_bytes());
        if self.has("displayName") {
            out.extend_from_slice(b",\"displayName\":");
            push_json(out, &display_name);
        }
        out.push(b'}');
    }
}
