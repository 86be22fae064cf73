//! What the simulator was asked, in the order in which it was asked.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::request::Request;

/// A simulator that serves for days keeps only so many calls, dropping the older half when full.
const CAPACITY: usize = 200_000;

/// One call, of a `$batch` or on its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The HTTP method in capitals.
    pub method: String,
    /// The decoded path, for instance `/v1.0/users/ada@harbourworks.example`.
    pub path: String,
    /// The decoded query, for instance `$top=999&$select=id`.
    pub query: String,
    /// The request headers, names in lower case, without the authorization.
    pub headers: BTreeMap<String, String>,
    /// The answer's status; 0 as long as there is none and after a reset.
    pub status: u16,
    /// Whether the call carried a bearer token, valid or not.
    pub bearer: bool,
    /// Whether the call was let in: with a valid token, or with credentials that got one.
    pub authorized: bool,
    /// Whether the call was a part of a `$batch`.
    pub in_batch: bool,
    /// Whether the simulator knows such a call at all.
    pub expected: bool,
    /// The JSON body of a `$batch`.
    pub body: Option<Value>,
}

impl Call {
    /// The call that a request makes.
    pub(crate) fn of(request: &Request, in_batch: bool) -> Self {
        let mut headers = request.headers.clone();
        let authorization = headers.remove("authorization");
        let path = request.path();
        Self {
            method: request.method.clone(),
            query: request.readable_query(),
            headers,
            status: 0,
            bearer: authorization.is_some_and(|value| value.starts_with("Bearer ")),
            authorized: false,
            in_batch,
            expected: true,
            body: if path.ends_with("/$batch") { request.json() } else { None },
            path,
        }
    }

    /// The call as the control API shows it.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "status": self.status,
            "authorized": self.authorized,
            "in_batch": self.in_batch,
            "expected": self.expected,
        })
    }
}

/// The calls so far.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    calls: Vec<Call>,
    /// How many calls were forgotten before the first that is kept.
    forgotten: usize,
}

impl Journal {
    /// Enters a call when it arrives, so that calls which are never answered show too; returns its number.
    pub(crate) fn enter(&mut self, call: Call) -> usize {
        if self.calls.len() >= CAPACITY {
            self.forget(CAPACITY / 2);
        }
        self.calls.push(call);
        self.forgotten + self.calls.len() - 1
    }

    /// Notes the answer of a call, unless it is forgotten by now.
    pub(crate) fn finish(&mut self, number: usize, status: u16, authorized: bool, expected: bool) {
        let index = number.checked_sub(self.forgotten);
        if let Some(call) = index.and_then(|index| self.calls.get_mut(index)) {
            (call.status, call.authorized, call.expected) = (status, authorized, expected);
        }
    }

    /// The calls that are kept.
    pub(crate) fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// Forgets all calls.
    pub(crate) fn clear(&mut self) {
        self.forget(self.calls.len());
    }

    fn forget(&mut self, count: usize) {
        self.calls.drain(..count);
        self.forgotten += count;
    }
}
