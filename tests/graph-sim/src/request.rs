//! A parsed request, received over HTTP or as a part of a `$batch`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::encoding::{form_pairs, percent_decode};
use crate::graph::page;

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path as sent, for next-page links.
    pub(crate) raw_path: String,
    pub(crate) segments: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
    /// Header names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Scheme and authority of the links in the answer.
    pub(crate) origin: String,
}

impl Request {
    pub(crate) fn new(
        method: &str,
        target: &str,
        headers: BTreeMap<String, String>,
        body: Vec<u8>,
        origin: String,
    ) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method: method.to_ascii_uppercase(),
            raw_path: path.to_owned(),
            segments: path.split('/').filter(|part| !part.is_empty()).map(percent_decode).collect(),
            query: form_pairs(query),
            headers,
            body,
            origin,
        }
    }

    pub(crate) fn path(&self) -> String {
        format!("/{}", self.segments.join("/"))
    }

    pub(crate) fn readable_query(&self) -> String {
        let pairs = self.query.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("&")
    }

    /// A query option; the case of its name is ignored, because Graph also writes `$skipToken`.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The requested page of a list, counted from one.
    pub(crate) fn page_number(&self) -> usize {
        self.option("$skiptoken").and_then(page::Cursor::decode).map_or(1, |cursor| cursor.number)
    }

    /// Whether the request is an advanced query (`ConsistencyLevel: eventual`).
    pub(crate) fn is_eventual(&self) -> bool {
        self.header("consistencylevel").is_some_and(|level| level.eq_ignore_ascii_case("eventual"))
    }
}
