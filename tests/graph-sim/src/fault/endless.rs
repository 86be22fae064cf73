//! Endless lists: every page links to another one, generated from the first.

use serde_json::{Map, Value};

use super::Fault;
use crate::encoding::base64url;
use crate::graph::page;
use crate::request::Request;
use crate::sequence::{Sequence, is_guid};

impl Fault {
    /// Makes every page of the list link to another one. From the second page on the rows are those of the first with
    /// new ids.
    pub fn endless_pages(mut self) -> Self {
        self.endless = true;
        self.always()
    }
}

/// The request for the first page, from which every page of an endless list is generated.
pub(super) fn first_page(request: &Request) -> Request {
    let mut first = request.clone();
    first.query.retain(|(name, _)| !name.eq_ignore_ascii_case("$skiptoken"));
    first
}

/// Turns the first page into the requested one.
pub(super) fn continue_list(page: &mut Value, request: &Request) {
    let number = request.page_number();
    if number > 1 {
        let mut ids = Sequence::new(number as u64);
        let rows = page.get_mut("value").and_then(Value::as_array_mut).into_iter().flatten();
        rows.filter_map(Value::as_object_mut).for_each(|row| renew(row, &mut ids));
    }
    page["@odata.nextLink"] = page::link(request, &page::Cursor::endless(number + 1)).into();
}

fn renew(row: &mut Map<String, Value>, ids: &mut Sequence) {
    for key in ["id", "principalId"] {
        if let Some(Value::String(id)) = row.get_mut(key) {
            *id = if is_guid(id) { ids.guid() } else { base64url(&ids.bytes::<32>()) };
        }
    }
}
