//! `$select` on users: the attributes of an answer, and how its rows are written.

use super::Context;
use crate::encoding::push_json;
use crate::property::Property;
use crate::reply::GraphError;
use crate::token::Roles;
use crate::user::User;

/// Graph's attributes without `$select`.
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
/// The attributes that User.ReadBasic.All allows.
const BASIC_PROFILE: &[&str] = &["displayName", "givenName", "surname", "mail", "userPrincipalName"];
/// Attributes stored outside the directory: readable for one user, never in a list.
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

/// The attributes of users that a token may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadAccess {
    Nothing,
    Basic,
    Full,
}

impl ReadAccess {
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

/// The kind of answer; Graph's rules differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerKind {
    List,
    Single,
    Members,
    DeletedItem,
}

/// The selected attributes in request order; the id always comes first.
pub(super) struct Selection {
    properties: Vec<(Property, bool)>,
    /// The value of `$select`, for `@odata.context`.
    requested: Option<String>,
    access: ReadAccess,
    omit_nulls: bool,
    typed: bool,
}

impl Selection {
    pub(super) fn requested(context: &Context<'_>, kind: AnswerKind) -> Result<Self, GraphError> {
        let requested = context.request.option("$select").filter(|text| !text.trim().is_empty());
        let names: Vec<&str> = match requested {
            Some(text) => text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect(),
            None => DEFAULT_SET.to_vec(),
        };
        let is_directory_object = matches!(kind, AnswerKind::Members | AnswerKind::DeletedItem);
        let mut properties: Vec<(Property, bool)> = Vec::new();
        for name in names {
            let outside = NOT_IN_LISTS.iter().any(|known| known.eq_ignore_ascii_case(name));
            match Property::named(name) {
                Some(property) if property.name == "id" => {}
                // A duplicate is answered once.
                Some(property) if properties.iter().any(|(known, _)| known.name == property.name) => {}
                Some(property) => {
                    let basic = BASIC_PROFILE.contains(&property.name.as_str());
                    properties.push((property, basic));
                }
                None if outside && kind == AnswerKind::List => {
                    let message = "This operation target is not yet supported.";
                    return Err(GraphError::new(501, "NotImplemented", message));
                }
                // A directoryObject is an open type: unknown attributes are omitted.
                None if outside || is_directory_object => {}
                None => {
                    let message = format!("Could not find a property named '{name}' on type 'microsoft.graph.user'.");
                    return Err(GraphError::bad_request(message));
                }
            }
        }
        Ok(Self {
            properties,
            requested: requested.map(str::to_owned),
            access: ReadAccess::of(context.roles),
            omit_nulls: kind == AnswerKind::Members && context.tenant.members_omit_nulls,
            typed: is_directory_object,
        })
    }

    /// The selection in `@odata.context`, for example `users(id,mail)`.
    pub(super) fn metadata(&self, set: &str) -> String {
        self.requested.as_ref().map_or_else(|| set.to_owned(), |requested| format!("{set}({requested})"))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.properties.iter().any(|(property, _)| property.name == name)
    }

    /// Appends a user as `"key":value` pairs, without braces.
    pub(super) fn write_pairs(&self, user: &User, out: &mut Vec<u8>) {
        // A list of users names the type only where it is a more special one.
        match user.agent {
            true => out.extend_from_slice(b"\"@odata.type\":\"#microsoft.graph.agentUser\","),
            false if self.typed => out.extend_from_slice(b"\"@odata.type\":\"#microsoft.graph.user\","),
            false => {}
        }
        out.extend_from_slice(b"\"id\":\"");
        out.extend_from_slice(user.id.as_bytes());
        out.push(b'"');
        for (property, basic) in &self.properties {
            let readable = self.access == ReadAccess::Full || (*basic && self.access == ReadAccess::Basic);
            if readable && self.omit_nulls && property.value(user).is_null() {
                continue;
            }
            // Names are Graph's or checked to be plain, so they need no escaping.
            out.extend_from_slice(b",\"");
            out.extend_from_slice(property.name.as_bytes());
            out.extend_from_slice(b"\":");
            if readable { property.write(user, out) } else { out.extend_from_slice(b"null") }
        }
    }

    pub(super) fn write_row(&self, user: &User, out: &mut Vec<u8>) {
        out.push(b'{');
        self.write_pairs(user, out);
        out.push(b'}');
    }

    /// Appends a member that is not a user; its only selectable attribute is the name.
    pub(super) fn write_other(&self, id: &str, odata_type: &str, display_name: Option<&str>, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{{\"@odata.type\":\"{odata_type}\",\"id\":\"{id}\"").as_bytes());
        if self.has("displayName") {
            out.extend_from_slice(b",\"displayName\":");
            push_json(out, &display_name);
        }
        out.push(b'}');
    }
}
