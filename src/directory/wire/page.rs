//! A page of a list: <https://learn.microsoft.com/graph/paging>. Whatever makes it doubtful that the page is whole makes it
//! invalid, because the users of a missing row would look as if they had left.

use serde_json::value::RawValue;

use super::object::{Members, decode};

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
    let Members(members) = decode(json)?;
    let (mut rows, mut next, mut count, mut context): (Option<Vec<&RawValue>>, _, _, _) = (None, None, None, None);
    for (key, value) in members {
        // Services that follow OData 4.01 may leave out the prefix, and a proxy may change the case.
        let name = key.trim_start_matches('@').to_ascii_lowercase();
        let is_duplicate = match name.strip_prefix("odata.").unwrap_or(&name) {
            "error" => return Err(super::error_beside_data(value)),
            "value" => {
                let list = serde_json::from_str(value.get()).map_err(|_| "`value` is not a list".to_owned())?;
                rows.replace(list).is_some()
            }
            "nextlink" => {
                let link: Option<String> = serde_json::from_str(value.get()).ok();
                let link = link.filter(|link| !link.trim().is_empty());
                next.replace(link.ok_or("the nextLink is not a link")?).is_some()
            }
            "count" => {
                // OData may write a number of 64 bits as a string.
                let digits = value.get().trim_matches('"');
                count.replace(digits.parse().map_err(|_| "the count is not a number".to_owned())?).is_some()
            }
            "context" => {
                context = serde_json::from_str(value.get()).ok();
                false
            }
            _ => false,
        };
        if is_duplicate {
            return Err(format!("the page has two {name} keys"));
        }
    }
    let rows = rows.ok_or("the page has no `value`")?;
    Ok(Page { rows, next, count, context })
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
