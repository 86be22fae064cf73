//! User and member rows, decoded into one slot for each property of the [`Selection`]. The slot of a missing key stays
//! `None`; a cleared property is `Value::Null`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use serde_json::value::RawValue;

use super::object::Key;
use crate::auth::json_error_position;
use crate::directory::AccountRead;
use crate::model::{EntraId, Selection, Value};

/// A larger value rejects its user.
const MAX_VALUE: usize = 1 << 20;
/// From here on a decimal number is not exact.
const MAX_NUMBER: f64 = u64::MAX as f64;

/// The type of a row: <https://learn.microsoft.com/graph/api/resources/directoryobject>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::directory) enum RowType {
    User,
    /// The account of an agent: <https://learn.microsoft.com/graph/api/resources/agentuser>.
    Agent,
    /// Not a user; says what it is.
    Other(&'static str),
    /// Can be a user.
    Unknown,
}

impl RowType {
    fn of(value: &RawValue) -> Self {
        let name = text_of(value).unwrap_or_default();
        if name == "#microsoft.graph.user" {
            return Self::User;
        }
        match name.to_ascii_lowercase().strip_prefix("#microsoft.graph.") {
            Some("user") => Self::User,
            Some("agentuser") => Self::Agent,
            Some("device") => Self::Other("a device"),
            Some("group") => Self::Other("a group"),
            Some("orgcontact") => Self::Other("a contact"),
            Some("serviceprincipal") => Self::Other("a service principal"),
            _ => Self::Unknown,
        }
    }
}

/// A user row, which may be incomplete: <https://learn.microsoft.com/graph/api/resources/user>.
#[derive(Debug)]
pub(in crate::directory) struct UserRow {
    pub(in crate::directory) kind: RowType,
    pub(in crate::directory) id: EntraId,
    /// One value for each slot of the selection.
    pub(in crate::directory) values: Vec<Option<Value>>,
    /// Why a value could not be taken; its slot is empty.
    pub(in crate::directory) problem: Option<RowProblem>,
}

/// Why a value of a row could not be taken.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::directory) struct RowProblem {
    pub(in crate::directory) detail: String,
    /// Whether the same value would be as bad, and costly, in another answer.
    pub(in crate::directory) is_oversized: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum ValueFault {
    #[error("is larger than 1 MiB")]
    Oversized,
    #[error("cannot be decoded")]
    Undecodable,
    #[error("occurs twice")]
    Repeated,
}

/// A row that does not identify its object.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::directory) enum InvalidRow {
    /// Graph reports an error in place of a row: the list ends early.
    Failed(String),
    /// It is not an object with an id.
    NoObject(String),
    /// Its id is unclear; says why.
    Bad(String),
}

/// Texts of users that were read, whose space the next ones take.
#[derive(Debug, Default)]
pub(in crate::directory) struct Texts(Vec<String>);

/// Longer texts give their space back.
const MAX_KEPT: usize = 256;

impl Texts {
    /// Takes the texts of an account that is not needed any more.
    pub(in crate::directory) fn recycle(&mut self, read: AccountRead) {
        let AccountRead::User(user) = read else { return };
        for value in user.values {
            if let Value::Text(mut text) = value
                && text.capacity() <= MAX_KEPT
            {
                text.clear();
                self.0.push(text);
            }
        }
    }

    fn copy(&mut self, text: &str) -> String {
        let mut copy = self.0.pop().unwrap_or_default();
        copy.push_str(text);
        copy
    }
}

/// Decodes a row of `/users`, or a single user.
pub(in crate::directory) fn user(json: &str, selection: &Selection, texts: &mut Texts) -> Result<UserRow, InvalidRow> {
    // These rows have no type, unless they are of a more special one.
    row(json, selection, RowType::User, texts)
}

/// Decodes a row of a list of members.
pub(in crate::directory) fn member(
    json: &str,
    selection: &Selection,
    texts: &mut Texts,
) -> Result<UserRow, InvalidRow> {
    row(json, selection, RowType::Unknown, texts)
}

/// The id that a row seems to have, without decoding it.
pub(in crate::directory) fn apparent_id(json: &str) -> Option<EntraId> {
    let (_, behind) = json.split_once(r#""id":""#)?;
    behind.split_once('"')?.0.parse().ok()
}

fn row(json: &str, selection: &Selection, untyped: RowType, texts: &mut Texts) -> Result<UserRow, InvalidRow> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let visitor = RowVisitor { selection, untyped, texts };
    let row = deserializer.deserialize_map(visitor).and_then(|row| deserializer.end().map(|()| row));
    row.unwrap_or_else(|error| Err(InvalidRow::NoObject(json_error_position(&error))))
}

struct RowVisitor<'s> {
    selection: &'s Selection,
    untyped: RowType,
    texts: &'s mut Texts,
}

impl<'de> Visitor<'de> for RowVisitor<'_> {
    type Value = Result<UserRow, InvalidRow>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self { selection, untyped, texts } = self;
        let mut draft = RowDraft { values: vec![None; selection.properties().len()], ..RowDraft::default() };
        while let Some(Key(key)) = map.next_key()? {
            if let Err(invalid) = draft.add(&key, map.next_value()?, selection, texts) {
                // Also the rest of the object must be one.
                while map.next_entry::<Key<'_>, IgnoredAny>()?.is_some() {}
                return Ok(Err(invalid));
            }
        }
        Ok(draft.complete(untyped))
    }
}

#[derive(Default)]
struct RowDraft {
    id: Option<EntraId>,
    has_other_id: bool,
    kind: Option<RowType>,
    values: Vec<Option<Value>>,
    problem: Option<RowProblem>,
    repeated_id: Option<RowProblem>,
}

impl RowDraft {
    fn add(&mut self, key: &str, value: &RawValue, selection: &Selection, texts: &mut Texts) -> Result<(), InvalidRow> {
        match key {
            "error" => return Err(InvalidRow::Failed(super::error_beside_data(value))),
            // A row with two types has none.
            "@odata.type" => {
                let kind = if self.kind.is_none() { RowType::of(value) } else { RowType::Unknown };
                self.kind = Some(kind);
            }
            "id" => {
                let id = text_of(value).and_then(|text| text.parse().ok());
                let id = id.ok_or_else(|| InvalidRow::Bad("its id is not the id of an object".to_owned()))?;
                match self.id.replace(id) {
                    None => {}
                    Some(known) if known == id => {
                        let detail = "id occurs twice".to_owned();
                        self.repeated_id = Some(RowProblem { detail, is_oversized: false });
                    }
                    Some(_) => self.has_other_id = true,
                }
            }
            _ => {}
        }
        let Some(slot) = selection.position(key) else { return Ok(()) };
        let taken = match &self.values[slot] {
            Some(_) => Err(ValueFault::Repeated),
            None => self::value(value, texts),
        };
        match taken {
            Ok(value) => self.values[slot] = Some(value),
            Err(fault) => {
                let is_oversized = fault == ValueFault::Oversized;
                self.problem = Some(RowProblem { detail: format!("{key} {fault}"), is_oversized });
            }
        }
        Ok(())
    }

    fn complete(self, untyped: RowType) -> Result<UserRow, InvalidRow> {
        let Self { id, has_other_id, kind, values, problem, repeated_id } = self;
        let Some(id) = id else { return Err(InvalidRow::NoObject("it has no id".to_owned())) };
        if has_other_id {
            return Err(InvalidRow::Bad("it has several ids".to_owned()));
        }
        Ok(UserRow { kind: kind.unwrap_or(untyped), id, values, problem: repeated_id.or(problem) })
    }
}

/// The content of a string without escapes.
fn plain_text(json: &RawValue) -> Option<&str> {
    json.get().strip_prefix('"')?.strip_suffix('"').filter(|text| !text.contains('\\'))
}

fn text_of(json: &RawValue) -> Option<Cow<'_, str>> {
    plain_text(json).map(Cow::Borrowed).or_else(|| serde_json::from_str(json.get()).ok().map(Cow::Owned))
}

/// Decodes a value, or says why it cannot be taken.
fn value(json: &RawValue, texts: &mut Texts) -> Result<Value, ValueFault> {
    if json.get().len() > MAX_VALUE {
        return Err(ValueFault::Oversized);
    }
    if let Some(text) = plain_text(json) {
        return Ok(Value::Text(texts.copy(text)));
    }
    let Decoded(value) = serde_json::from_str(json.get()).map_err(|_| ValueFault::Undecodable)?;
    Ok(value)
}

struct Decoded(Value);

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // JSON would add `.0` to a whole number.
        if value.abs() < MAX_NUMBER { Ok(Value::Number(value.to_string())) } else { Err(E::custom("out of range")) }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(Decoded(element)) = list.next_element()? {
            elements.push(element);
        }
        Ok(Value::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members: BTreeMap<String, Value> = BTreeMap::new();
        while let Some((name, Decoded(value))) = map.next_entry()? {
            match members.entry(name) {
                Entry::Vacant(entry) => drop(entry.insert(value)),
                Entry::Occupied(_) => return Err(A::Error::custom("a key occurs twice")),
            }
        }
        Ok(Value::Complex(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0a1b2c3d-0000-4000-8000-000000000001";

    fn user(json: &str, selection: &Selection) -> Result<UserRow, InvalidRow> {
        super::user(json, selection, &mut Texts::default())
    }

    fn member(json: &str, selection: &Selection) -> Result<UserRow, InvalidRow> {
        super::member(json, selection, &mut Texts::default())
    }

    fn selection(properties: &[&str]) -> Selection {
        let mut selection = Selection::default();
        for property in properties {
            selection.slot(property);
        }
        selection
    }

    #[test]
    fn missing_keys_differ_from_null_and_types_are_kept() {
        let selection = selection(&["accountEnabled", "department", "mail", "employeeOrgData", "otherMails"]);
        let json = r##"{"@odata.type":"#microsoft.graph.user","id":"0A1B2C3D-0000-4000-8000-000000000001",
            "accountEnabled":true,"department":null,"employeeOrgData":{"division":"\u00c5"},
            "otherMails":["a@example.org"],"unasked":{"a":[1]}}"##;
        let row = user(json, &selection).unwrap();
        assert_eq!((row.id.to_string().as_str(), row.kind, row.problem), (ID, RowType::User, None));
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
        let selection = selection(&["mail"]);
        let json = format!(r#"{{"id":"{ID}","\u006dail":[7,-3,18446744073709551615,1.50,1e3]}}"#);
        let numbers = ["7", "-3", "18446744073709551615", "1.5", "1000"].map(|digits| Value::Number(digits.to_owned()));
        assert_eq!(user(&json, &selection).unwrap().values, [Some(Value::List(numbers.into()))]);
    }

    #[test]
    fn a_value_that_cannot_be_taken_leaves_its_slot_empty() {
        let selection = selection(&["jobTitle", "mail"]);
        let digits = "9".repeat(400);
        let long = "x".repeat(MAX_VALUE);
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        for bad in [
            r#""Head \ud83d""#,
            r#""\udc00""#,
            r#"["ok","\ud83d"]"#,
            r#"{"\ud83d":1}"#,
            r#"{"a":1,"a":2}"#,
            "123456789012345678901234567890",
            "1e400",
            &digits,
            &format!("[{digits}]"),
            &format!("\"{long}\""),
            &deep,
            r#""a","jobTitle":"b""#,
        ] {
            let json = format!(r#"{{"id":"{ID}","jobTitle":{bad},"mail":"a@example.org"}}"#);
            let row = user(&json, &selection).unwrap();
            assert!(row.problem.as_ref().unwrap().detail.starts_with("jobTitle "), "{:?}", row.problem);
            assert_eq!(row.values[1], Some(Value::Text("a@example.org".to_owned())));
        }
        let json = format!(r#"{{"id":"{ID}","jobTitle":"{}"}}"#, &long[2..]);
        assert_eq!(user(&json, &selection).unwrap().problem, None);
        // Properties that nobody asked for do not matter.
        let json = format!(r#"{{"id":"{ID}","x":"\ud83d","y":{digits},"z":"{long}"}}"#);
        assert_eq!(user(&json, &selection).unwrap().problem, None);
    }

    #[test]
    fn a_row_without_one_id_is_bad_and_an_error_in_its_place_ends_the_list() {
        let other = "0a1b2c3d-0000-4000-8000-000000000002";
        for bad in [
            "null".to_owned(),
            "7".to_owned(),
            "[]".to_owned(),
            "\"text\"".to_owned(),
            "{}".to_owned(),
            r#"{"id":null}"#.to_owned(),
            r#"{"id":7}"#.to_owned(),
            r#"{"id":""}"#.to_owned(),
            r#"{"id":"\ud83d"}"#.to_owned(),
            r#"{"displayName":"Ada"}"#.to_owned(),
            format!(r#"{{"id":"{ID}","id":"{other}"}}"#),
            format!(r#"{{"id":"{ID}","\ud83d":1}}"#),
        ] {
            let row = member(&bad, &Selection::default());
            assert!(matches!(row, Err(InvalidRow::Bad(_) | InvalidRow::NoObject(_))), "{bad}");
        }
        for failed in
            [r#"{"error":{"code":"InternalServerError"}}"#.to_owned(), format!(r#"{{"id":"{ID}","error":null}}"#)]
        {
            assert!(matches!(member(&failed, &Selection::default()), Err(InvalidRow::Failed(_))), "{failed}");
        }
    }

    #[test]
    fn only_known_types_are_not_read_as_users() {
        let kind = |json: &str| member(&format!(r#"{{"id":"{ID}"{json}}}"#), &Selection::default()).unwrap().kind;
        for (name, expect) in [
            ("user", RowType::User),
            ("User", RowType::User),
            ("agentUser", RowType::Agent),
            ("device", RowType::Other("a device")),
            ("servicePrincipal", RowType::Other("a service principal")),
            ("robot", RowType::Unknown),
        ] {
            assert_eq!(kind(&format!(r##","@odata.type":"#microsoft.graph.{name}""##)), expect, "{name}");
        }
        for json in ["", r#","@odata.type":null"#, r#","@odata.type":7"#, r#","@odata.type":"\ud83d""#] {
            assert_eq!(kind(json), RowType::Unknown, "{json}");
        }
    }
}
