//! Paging: `$top`, opaque `$skiptoken`s and absolute next-page links.

use super::Context;
use crate::encoding::{base64_decode, base64url, percent_encode, push_json};
use crate::reply::{GraphError, Reply};
use crate::request::Request;
use crate::sequence::checksum;

const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 999;

/// The start of a page: after a key, so that rows added or removed in between do not shift it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) number: usize,
    after: String,
    epoch: u64,
    check: u64,
}

impl Cursor {
    /// Decodes a token; `None` when it is malformed.
    pub(crate) fn decode(token: &str) -> Option<Self> {
        let text = String::from_utf8(base64_decode(token)?).ok()?;
        let mut parts = text.splitn(4, '|');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (page, epoch, check) = (number()?, number()?, number()?);
        Some(Self { number: usize::try_from(page).ok()?, after: parts.next()?.to_owned(), epoch, check })
    }

    /// A page of an endless list, valid only with the fault that generates it.
    pub(crate) fn endless(number: usize) -> Self {
        Self { number, after: String::new(), epoch: 0, check: 0 }
    }

    fn encode(&self) -> String {
        let Self { number, after, epoch, check } = self;
        base64url(format!("{number}|{epoch}|{check}|{after}").as_bytes())
    }
}

pub(super) struct Page<'a> {
    context: &'a Context<'a>,
    size: usize,
    number: usize,
    after: Option<String>,
    check: u64,
}

impl<'a> Page<'a> {
    pub(super) fn requested(context: &'a Context<'a>) -> Result<Self, GraphError> {
        let request = context.request;
        let top = match request.option("$top") {
            None => DEFAULT_PAGE,
            Some(text) => text.parse().ok().filter(|top| (1..=LARGEST_PAGE).contains(top)).ok_or_else(|| {
                let range = format!("Must be between 1 and {LARGEST_PAGE} inclusive.");
                GraphError::bad_request(format!("Invalid page size specified: '{text}'. {range}"))
            })?,
        };
        // A token is valid only for the list that issued it.
        let check = checksum(&request.path());
        let mut page = Self {
            context,
            size: context.tenant.page_cap.map_or(top, |cap| top.min(cap.max(1))),
            number: 1,
            after: None,
            check,
        };
        if let Some(token) = request.option("$skiptoken") {
            let cursor = Cursor::decode(token);
            let cursor = cursor.filter(|cursor| cursor.check == check && cursor.epoch == context.page_epoch);
            let cursor = cursor.ok_or_else(GraphError::expired_page_token)?;
            page.number = cursor.number;
            page.after = Some(cursor.after);
        }
        Ok(page)
    }

    /// The key after which the rows start.
    pub(super) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Writes the page from the rows after the key; each row comes with its own key.
    pub(super) fn write<K: Into<String>, R>(
        &self,
        metadata: &str,
        rows: impl Iterator<Item = (K, R)>,
        mut write_row: impl FnMut(&mut Vec<u8>, R),
    ) -> Reply {
        let mut value = Vec::with_capacity(self.size * 256);
        let mut last = None;
        let mut rows = rows.peekable();
        for (key, row) in rows.by_ref().take(self.size) {
            if !value.is_empty() {
                value.push(b',');
            }
            write_row(&mut value, row);
            last = Some(key);
        }
        let more = rows.peek().is_some();
        super::entity(&self.context.metadata(metadata), |body| {
            if let Some(last) = last.filter(|_| more) {
                body.extend_from_slice(b"\"@odata.nextLink\":");
                push_json(body, &self.next_link(last.into()));
                body.push(b',');
            }
            body.extend_from_slice(b"\"value\":[");
            body.extend_from_slice(&value);
            body.push(b']');
        })
    }

    fn next_link(&self, after: String) -> String {
        let cursor = Cursor { number: self.number + 1, after, epoch: self.context.page_epoch, check: self.check };
        link(self.context.request, &cursor)
    }
}

/// The target of the request with another token.
pub(crate) fn link(request: &Request, cursor: &Cursor) -> String {
    let mut link = format!("{}{}?", request.origin, request.raw_path);
    for (name, value) in request.query.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("$skiptoken")) {
        link.push_str(&format!("{}={}&", percent_encode(name), percent_encode(value)));
    }
    link.push_str("$skiptoken=");
    link.push_str(&cursor.encode());
    link
}
