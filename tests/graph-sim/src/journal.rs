//! What the simulator was asked, in the order in which it was asked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

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
    /// Whether the call carried an authorization of any kind.
    pub authorization: bool,
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
    /// When the call arrived. The parts of a `$batch` arrive one after the other as they are answered.
    pub arrived: Instant,
    /// When its answer was ready to be sent, or its connection to be reset; none as long as it waits at a gate.
    pub answered: Option<Instant>,
}

impl Call {
    /// A request header, whatever the case of its letters; never the authorization.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    /// The id that the caller gave the call, which Graph repeats and Microsoft's support asks for.
    pub fn client_request_id(&self) -> Option<&str> {
        self.header("client-request-id")
    }

    /// The name that the caller gave itself.
    pub fn user_agent(&self) -> Option<&str> {
        self.header("user-agent")
    }

    /// How long after the answer to an earlier call this one arrived: what is left of a wait that was asked for.
    /// None when the earlier one had no answer by then.
    pub fn waited_after(&self, earlier: &Self) -> Option<Duration> {
        self.arrived.checked_duration_since(earlier.answered?)
    }

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

    /// The call as the control API shows it.
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
            call.answered = Some(Instant::now());
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
