//! A page of a list: <https://learn.microsoft.com/graph/paging>. Whatever makes it doubtful that the page is whole makes it
//! invalid, because the users of a missing row would look as if they had left.

use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::object::{Key, decode};

/// The rows of a page, not decoded yet.
#[derive(Debug)]
pub(in crate::directory) struct Page<'a> {
    pub(in crate::directory) rows: Vec<&'a RawValue>,
    pub(in crate::directory) next: Option<String>,
    /// The number of rows of the whole list, which Graph only returns when it is asked to.
    pub(in crate::directory) count: Option<u64>,
    /// The address of the schema, which can name the object that the list belongs to.
    pub(in crate::directory) context: Option<String>,
}

/// Parses a page.
///
/// # Errors
/// The text is not a complete page; says why, without any part of it.
pub(in crate::directory) fn page(json: &str) -> Result<Page<'_>, String> {
    let Parsed(page) = decode(json)?;
    page
}

/// A page, or why the object is none.
struct Parsed<'a>(Result<Page<'a>, String>);

impl<'de> Deserialize<'de> for Parsed<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PageVisitor)
    }
}

struct PageVisitor;

impl<'de> Visitor<'de> for PageVisitor {
    type Value = Parsed<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut draft = Draft::default();
        while let Some(Key(key)) = map.next_key()? {
            if let Err(why) = draft.add(&key, &mut map)? {
                // The text must be whole, whatever it says.
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Parsed(Err(why)));
            }
        }
        let Draft { rows, next, count, context } = draft;
        let rows = rows.ok_or_else(|| "the page has no `value`".to_owned());
        Ok(Parsed(rows.map(|rows| Page { rows, next, count, context })))
    }
}

#[derive(Default)]
struct Draft<'a> {
    rows: Option<Vec<&'a RawValue>>,
    next: Option<String>,
    count: Option<u64>,
    context: Option<String>,
}

impl<'a> Draft<'a> {
    /// Adds a member of the page. The inner error says why this is not a page.
    fn add<A: MapAccess<'a>>(&mut self, key: &str, map: &mut A) -> Result<Result<(), String>, A::Error> {
        // Services that follow OData 4.01 may leave out the prefix, and a proxy may change the case.
        let name = key.trim_start_matches('@').to_ascii_lowercase();
        let name = name.strip_prefix("odata.").unwrap_or(&name);
        if name == "value" {
            let Rows(rows) = map.next_value()?;
            return Ok(match rows {
                None => Err("`value` is not a list".to_owned()),
                Some(rows) => set(&mut self.rows, rows, name),
            });
        }
        let value: &RawValue = map.next_value()?;
        Ok(match name {
            "error" => Err(super::error_beside_data(value)),
            "nextlink" => {
                let link: Option<String> = serde_json::from_str(value.get()).ok();
                let link = link.filter(|link| !link.trim().is_empty());
                link.ok_or_else(|| "the nextLink is not a link".to_owned())
                    .and_then(|link| set(&mut self.next, link, name))
            }
            // It ends a list of changes, which is not what was asked for.
            "deltalink" => Err("the page belongs to a list of changes".to_owned()),
            "count" => {
                // OData may write a number of 64 bits as a string.
                let count = value.get().trim_matches('"').parse();
                count
                    .map_err(|_| "the count is not a number".to_owned())
                    .and_then(|count| set(&mut self.count, count, name))
            }
            "context" => {
                self.context = serde_json::from_str(value.get()).ok();
                Ok(())
            }
            _ => Ok(()),
        })
    }
}

fn set<T>(place: &mut Option<T>, value: T, name: &str) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("the page has two {name} keys")),
    }
}

/// The elements of a list; `None` for any other value.
struct Rows<'a>(Option<Vec<&'a RawValue>>);

impl<'de> Deserialize<'de> for Rows<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RowsVisitor).map(Self)
    }
}

struct RowsVisitor;

impl<'de> Visitor<'de> for RowsVisitor {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut rows = Vec::new();
        while let Some(row) = list.next_element()? {
            rows.push(row);
        }
        Ok(Some(rows))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubtful_page_is_invalid() {
        let good = [
            (r#"{"value":[]}"#, 0),
            (
                r#"{"@odata.context":"x","value":[null,1,{}],"@odata.nextLink":"https://graph.example/n","unasked":[]}"#,
                3,
            ),
            (r#"{"@odata.count":2,"value":[{},{}]}"#, 2),
        ];
        for (json, rows) in good {
            assert_eq!(page(json).unwrap().rows.len(), rows, "{json}");
        }
        let bad = [
            "",
            "null",
            "[]",
            "[{}]",
            "\"text\"",
            "<html>",
            "{}",
            r#"{"value":null}"#,
            r#"{"value":{}}"#,
            r#"{"value":"rows"}"#,
            r#"{"Values":[]}"#,
            r#"{"value":[]"#,
            r#"{"value":[{}"#,
            r#"{"value":[]}{"value":[]}"#,
            r#"{"value":[]} x"#,
            r#"{"value":[],"value":[{}]}"#,
            r#"{"value":[],"Value":[{}]}"#,
            r#"{"value":[],"\u0076alue":[]}"#,
            r#"{"value":[],"error":{"code":"InternalServerError"}}"#,
            r#"{"error":{},"value":[]}"#,
            r#"{"value":[],"error":null}"#,
            r#"{"value":[],"Error":"no"}"#,
            r#"{"value":[],"@odata.error":{}}"#,
            r#"{"value":[],"@odata.nextLink":""}"#,
            r#"{"value":[],"@odata.nextLink":" "}"#,
            r#"{"value":[],"@odata.nextLink":null}"#,
            r#"{"value":[],"@odata.nextLink":7}"#,
            r#"{"value":[],"@odata.nextLink":["https://graph.example"]}"#,
            r#"{"value":[],"@odata.nextLink":"\ud800"}"#,
            r#"{"value":[],"@odata.nextLink":"a","@odata.nextLink":"a"}"#,
            r#"{"value":[],"@odata.nextLink":"a","@odata.nextlink":"b"}"#,
            r#"{"value":[],"@odata.deltaLink":"https://graph.example/d"}"#,
            r#"{"value":[],"@odata.count":null}"#,
            r#"{"value":[],"@odata.count":1,"@odata.count":0}"#,
            r#"{"value":[],"\ud800":1}"#,
        ];
        for json in bad {
            assert!(page(json).is_err(), "{json}");
        }
        // Another spelling of the link still leads to the rest of the list.
        for key in ["@odata.nextlink", "@nextLink", "odata.nextLink", "nextLink"] {
            assert!(page(&format!(r#"{{"value":[],"{key}":"a"}}"#)).unwrap().next.is_some(), "{key}");
        }
    }
}
