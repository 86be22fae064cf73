//! The JSON of Graph.
//!
//! User rows are decoded into one slot for each property of the [`Selection`]. A map for each of a hundred thousand rows
//! would cost more than the rest of an unchanged cycle. The slot of a missing key stays `None`; a cleared property is
//! `Value::Null`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::{EntraId, Selection, Value};

/// A page of a list: <https://learn.microsoft.com/graph/paging>.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    #[serde(rename = "value")]
    pub(super) rows: Vec<T>,
    #[serde(rename = "@odata.nextLink")]
    pub(super) next: Option<String>,
}

/// The type of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowType {
    User,
    Other,
}

/// A user row, which may be incomplete: <https://learn.microsoft.com/graph/api/resources/user>.
#[derive(Debug)]
pub(super) struct UserRow {
    pub(super) kind: RowType,
    pub(super) id: EntraId,
    /// One value for each slot of the selection.
    pub(super) values: Vec<Option<Value>>,
}

/// A row of `appRoleAssignedTo`:
/// <https://learn.microsoft.com/graph/api/resources/approleassignment>.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AssignmentRow {
    pub(super) principal_id: String,
    pub(super) principal_type: String,
    pub(super) principal_display_name: Option<String>,
    pub(super) app_role_id: Option<String>,
}

/// A service principal: <https://learn.microsoft.com/graph/api/resources/serviceprincipal>.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServicePrincipal {
    pub(super) id: String,
    pub(super) app_id: String,
    pub(super) display_name: Option<String>,
    #[serde(default)]
    pub(super) app_roles: Vec<AppRoleRow>,
}

/// An app role: <https://learn.microsoft.com/graph/api/resources/approle>.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AppRoleRow {
    pub(super) id: String,
    pub(super) value: Option<String>,
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
}

/// A client secret: <https://learn.microsoft.com/graph/api/resources/passwordcredential>.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PasswordCredential {
    /// The first three characters of the secret.
    pub(super) hint: Option<String>,
    pub(super) end_date_time: Option<String>,
}

/// A group: <https://learn.microsoft.com/graph/api/resources/group>.
#[derive(Debug, Deserialize)]
pub(super) struct GroupRow {
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
    pub(super) code: Option<String>,
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
    #[serde(default)]
    pub(super) headers: BTreeMap<String, serde_json::Value>,
    pub(super) body: Option<Box<serde_json::value::RawValue>>,
}

/// Decodes a page of users or members.
pub(super) fn user_page(json: &[u8], selection: &Selection) -> Result<Page<UserRow>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let page = PageSeed(selection).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(page)
}

/// Decodes a single user.
pub(super) fn user(json: &[u8], selection: &Selection) -> Result<UserRow, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let row = RowSeed(selection).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(row)
}

#[derive(Clone, Copy)]
struct PageSeed<'s>(&'s Selection);

impl<'de> DeserializeSeed<'de> for PageSeed<'_> {
    type Value = Page<UserRow>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PageSeed<'_> {
    type Value = Page<UserRow>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page of users")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut rows, mut next) = (None, None);
        while let Some(key) = map.next_key::<JsonKey<'_>>()? {
            match &*key.0 {
                "value" => rows = Some(map.next_value_seed(RowsSeed(self.0))?),
                "@odata.nextLink" => next = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        // A page without `value` is malformed, not empty.
        let rows = rows.ok_or_else(|| serde::de::Error::missing_field("value"))?;
        Ok(Page { rows, next })
    }
}

struct RowsSeed<'s>(&'s Selection);

impl<'de> DeserializeSeed<'de> for RowsSeed<'_> {
    type Value = Vec<UserRow>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowsSeed<'_> {
    type Value = Vec<UserRow>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of users")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut rows = Vec::new();
        while let Some(row) = list.next_element_seed(RowSeed(self.0))? {
            rows.push(row);
        }
        Ok(rows)
    }
}

struct RowSeed<'s>(&'s Selection);

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = UserRow;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = UserRow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a user")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut id: Option<EntraId> = None;
        // Rows of /users have no type.
        let mut kind = RowType::User;
        let mut values = vec![None; self.0.properties().len()];
        while let Some(key) = map.next_key::<JsonKey<'_>>()? {
            let slot = self.0.position(&key.0);
            match (&*key.0, slot) {
                ("id", slot) => {
                    let text: String = map.next_value()?;
                    id = Some(text.parse().map_err(serde::de::Error::custom)?);
                    if let Some(slot) = slot {
                        values[slot] = Some(Value::Text(text));
                    }
                }
                ("@odata.type", _) => {
                    let text: String = map.next_value()?;
                    kind = if text == "#microsoft.graph.user" { RowType::User } else { RowType::Other };
                }
                (_, Some(slot)) => values[slot] = Some(to_value(map.next_value()?)),
                (_, None) => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let id = id.ok_or_else(|| serde::de::Error::missing_field("id"))?;
        Ok(UserRow { kind, id, values })
    }
}

/// A key of an object, borrowed if it has no escapes.
#[derive(Deserialize)]
struct JsonKey<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

fn to_value(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Boolean(value),
        serde_json::Value::Number(number) => Value::Number(match number.as_f64() {
            // JSON would add `.0` to a whole one.
            Some(decimal) if number.is_f64() => decimal.to_string(),
            _ => number.to_string(),
        }),
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(elements) => Value::List(elements.into_iter().map(to_value).collect()),
        serde_json::Value::Object(members) => {
            Value::Complex(members.into_iter().map(|(name, value)| (name, to_value(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_keys_differ_from_null_and_types_are_kept() {
        let mut selection = Selection::default();
        for property in ["accountEnabled", "department", "mail", "employeeOrgData", "otherMails"] {
            selection.slot(property);
        }
        let json = br##"{"@odata.context":"x","value":[
            {"@odata.type":"#microsoft.graph.user","id":"0A1B2C3D-0000-4000-8000-000000000001","accountEnabled":true,
             "department":null,"employeeOrgData":{"division":"\u00c5"},"otherMails":["a@example.org"],"unasked":{"a":[1]}},
            {"@odata.type":"#microsoft.graph.device","id":"0a1b2c3d-0000-4000-8000-000000000002"}],
            "@odata.nextLink":"https://graph.example/next"}"##;
        let page = user_page(json, &selection).unwrap();
        assert_eq!(page.next.as_deref(), Some("https://graph.example/next"));
        assert_eq!(page.rows[1].kind, RowType::Other);
        let row = &page.rows[0];
        assert_eq!(row.id.to_string(), "0a1b2c3d-0000-4000-8000-000000000001");
        assert_eq!(
            row.values,
            [
                Some(Value::Boolean(true)),
                Some(Value::Null),
                None,
                Some(Value::Complex([("division".to_owned(), Value::Text("Å".to_owned()))].into())),
                Some(Value::List(vec![Value::Text("a@example.org".to_owned())])),
            ]
        );
    }

    #[test]
    fn keys_have_escapes_and_numbers_keep_no_trailing_zeros() {
        let mut selection = Selection::default();
        selection.slot("mail");
        let json = br#"{"id":"0a1b2c3d-0000-4000-8000-000000000001","\u006dail":[7,-3,18446744073709551615,1.50,1e3]}"#;
        let numbers = ["7", "-3", "18446744073709551615", "1.5", "1000"].map(|digits| Value::Number(digits.to_owned()));
        assert_eq!(user(json, &selection).unwrap().values, [Some(Value::List(numbers.into()))]);
    }

    #[test]
    fn a_page_without_value_is_refused() {
        assert!(user_page(b"{}", &Selection::default()).is_err());
        assert!(user_page(b"{\"value\":[]}", &Selection::default()).unwrap().rows.is_empty());
        assert!(user_page(b"{\"value\":[{\"displayName\":null}]}", &Selection::default()).is_err());
        assert!(user_page(b"{\"value\":[]", &Selection::default()).is_err());
    }
}
