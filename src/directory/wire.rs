//! The JSON of Graph.
//!
//! Lists keep their rows as text until each is needed: a bad row costs one user, and a page of large values is never in
//! memory as a tree.

mod assignment;
mod object;
mod page;
mod text;
mod user;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub(super) use self::assignment::{AssignmentRow, PrincipalType, assignment};
use self::object::{Members, decode};
pub(super) use self::page::{Page, page};
pub(super) use self::text::body_text;
pub(super) use self::user::{InvalidRow, RowProblem, RowType, Texts, UserRow, apparent_id, member, user};
use crate::model::foreign_text;

/// A service principal: <https://learn.microsoft.com/graph/api/resources/serviceprincipal>.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServicePrincipal {
    pub(super) id: String,
    pub(super) app_id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) display_name: Option<String>,
    #[serde(default)]
    pub(super) app_roles: Vec<AppRoleRow>,
}

/// Any object.
#[derive(Debug, Deserialize)]
pub(super) struct Identified {
    pub(super) id: String,
}

/// An app role: <https://learn.microsoft.com/graph/api/resources/approle>.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AppRoleRow {
    pub(super) id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) value: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) display_name: Option<String>,
}

/// An app registration: <https://learn.microsoft.com/graph/api/resources/application>.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Registration {
    #[serde(default)]
    pub(super) app_id: String,
    #[serde(default)]
    pub(super) password_credentials: Vec<PasswordCredential>,
    #[serde(default)]
    pub(super) key_credentials: Vec<KeyCredential>,
}

/// A client secret: <https://learn.microsoft.com/graph/api/resources/passwordcredential>.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PasswordCredential {
    /// The first three characters of the secret.
    pub(super) hint: Option<String>,
    pub(super) end_date_time: Option<String>,
}

/// A certificate: <https://learn.microsoft.com/graph/api/resources/keycredential>.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyCredential {
    /// The thumbprint in hexadecimal digits, unless the registration was given another value.
    pub(super) custom_key_identifier: Option<String>,
    pub(super) end_date_time: Option<String>,
}

/// A group: <https://learn.microsoft.com/graph/api/resources/group>.
#[derive(Debug, Deserialize)]
pub(super) struct GroupRow {
    pub(super) id: String,
    // Null for most groups. Where it is missing, the members may be hidden.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(super) visibility: Option<String>,
}

impl GroupRow {
    /// Whether only members, and applications with a special permission, see the members.
    pub(super) fn hides_members(&self) -> bool {
        self.visibility.as_ref().is_some_and(|visibility| visibility.eq_ignore_ascii_case("HiddenMembership"))
    }
}

/// An error body: <https://learn.microsoft.com/graph/errors>.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: ErrorDetail,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorDetail {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) code: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) message: Option<String>,
}

/// The answer of `$batch`: <https://learn.microsoft.com/graph/json-batching>.
#[derive(Debug, Deserialize)]
pub(super) struct BatchAnswer {
    pub(super) responses: Vec<BatchPart>,
}

#[derive(Debug, Deserialize)]
pub(super) struct BatchPart {
    pub(super) id: String,
    pub(super) status: u16,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) headers: Option<BTreeMap<String, serde_json::Value>>,
    pub(super) body: Option<Box<RawValue>>,
}

/// A text that is not needed to understand the rest: `None` when it cannot be decoded.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_str(Box::<RawValue>::deserialize(deserializer)?.get()).ok().flatten())
}

/// Decodes a single object.
///
/// # Errors
/// The text is not such an object, or reports an error; says why, without any part of it.
pub(super) fn object<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    let Members(members) = decode(json)?;
    match members.iter().find(|(key, _)| key.eq_ignore_ascii_case("error")) {
        Some((_, error)) => Err(error_beside_data(error)),
        None => decode(json),
    }
}

/// Says that an answer with status 200 reports an error.
fn error_beside_data(error: &RawValue) -> String {
    let code = serde_json::from_str(error.get()).ok().and_then(|ErrorDetail { code, message: _ }| code);
    let code = foreign_text(&code.unwrap_or_default());
    if code.is_empty() { "it reports an error".to_owned() } else { format!("it reports the error {code}") }
}
