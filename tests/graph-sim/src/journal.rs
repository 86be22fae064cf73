//! The calls that the simulator received, in order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::request::Request;

/// Maximum number of calls; a full journal drops its older half.
const CAPACITY: usize = 200_000;

/// One call, alone or as a part of a `$batch`.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The HTTP method in upper case.
    pub method: String,
    /// The decoded path, for instance `/v1.0/users/ada@harbourworks.example`.
    pub path: String,
    /// The decoded query, for instance `$top=999&$select=id`.
    pub query: String,
    /// The `request-id` of the answer; those of the parts of a `$batch` are not sent.
    pub request_id: String,
    /// The request headers without `authorization`, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The status of the answer; 0 before it and after a reset.
    pub status: u16,
    /// Whether the call had an `authorization` header.
    pub authorization: bool,
    /// Whether the call had a bearer token, valid or not.
    pub bearer: bool,
    /// Whether the token or the credentials were valid.
    pub authorized: bool,
    /// Whether the call was a part of a `$batch`.
    pub in_batch: bool,
    /// Whether the simulator supports the call.
    pub expected: bool,
    /// The JSON body of a `$batch`.
    pub body: Option<Value>,
    /// Time of arrival. The parts of a `$batch` arrive one by one as they are answered.
    pub arrived: Instant,
    /// Time when the answer or reset was ready; `None` while the call waits at a gate.
    pub answered: Option<Instant>,
}

impl Call {
    /// A request header by name, ignoring case; never the authorization.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    /// The caller's id of the call, which Graph repeats.
    pub fn client_request_id(&self) -> Option<&str> {
        self.header("client-request-id")
    }

    /// The `user-agent` header.
    pub fn user_agent(&self) -> Option<&str> {
        self.header("user-agent")
    }

    /// Time between the answer to an earlier call and this one; `None` when the earlier one was not answered by then.
    pub fn waited_after(&self, earlier: &Self) -> Option<Duration> {
        self.arrived.checked_duration_since(earlier.answered?)
    }

    pub(crate) fn of(request: &Request, request_id: String, in_batch: bool) -> Self {
        let mut headers = request.headers.clone();
        let authorization = headers.remove("authorization");
        let path = request.path();
        Self {
            method: request.method.clone(),
            query: request.readable_query(),
            request_id,
            headers,
            status: 0,
            authorization: authorization.is_some(),
            bearer: authorization.is_some_and(|value| value.starts_with("Bearer ")),
            authorized: false,
            in_batch,
            expected: true,
            body: if path.ends_with("/$batch") { request.json() } else { None },
            path,
            arrived: Instant::now(),
            answered: None,
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "status": self.status,
            "authorized": self.authorized,
            "in_batch": self.in_batch,
            "client_request_id": self.client_request_id(),
            "user_agent": self.user_agent(),
            "expected": self.expected,
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Journal {
    calls: Vec<Call>,
    /// Number of dropped calls.
    forgotten: usize,
}

impl Journal {
    /// Records a call on arrival, so that unanswered calls appear too; returns its number.
    pub(crate) fn enter(&mut self, call: Call) -> usize {
        if self.calls.len() >= CAPACITY {
            self.forget(CAPACITY / 2);
        }
        self.calls.push(call);
        self.forgotten + self.calls.len() - 1
    }

    /// Records the answer of a call, unless the call was dropped.
    pub(crate) fn finish(&mut self, number: usize, status: u16, authorized: bool, expected: bool) {
        let index = number.checked_sub(self.forgotten);
        if let Some(call) = index.and_then(|index| self.calls.get_mut(index)) {
            (call.status, call.authorized, call.expected) = (status, authorized, expected);
            call.answered = Some(Instant::now());
        }
    }

    pub(crate) fn calls(&self) -> &[Call] {
        &self.calls
    }

    pub(crate) fn clear(&mut self) {
        self.forget(self.calls.len());
    }

    fn forget(&mut self, count: usize) {
        self.calls.drain(..count);
        self.forgotten += count;
    }
}
