//! The faults that wait, and what they make of a call.

use std::borrow::Cow;

use serde_json::Value;

use super::{Action, Delivery, Distortion, Edit, Fault, Gate, Substitute, endless};
use crate::clock;
use crate::reply::{Exchange, GraphError, PLAIN_JSON, Reply};
use crate::request::Request;
use crate::token;

/// The faults that are waiting to happen, in the order in which they were injected.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

/// What is to happen to one call.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) gates: Vec<Gate>,
    pub(crate) distortions: Vec<Distortion>,
    pub(crate) delivery: Option<Delivery>,
    edits: Vec<Edit>,
    endless: bool,
    replacement: Option<Action>,
}

impl Faults {
    /// Adds a fault.
    pub(crate) fn inject(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Removes all faults. Calls that wait at a gate go on waiting.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts a call against every fault that matches it. The first one that answers or resets ends the
    /// search: what comes after it would not have been reached.
    pub(crate) fn strike(&mut self, request: &Request, in_batch: bool) -> Effects {
        let mut effects = Effects::default();
        for fault in &mut self.0 {
            if !fault.matches(request) || !fault.strikes() {
                continue;
            }
            effects.gates.extend(fault.gate.clone());
            effects.distortions.extend(&fault.distortions);
            effects.endless |= fault.endless;
            effects.delivery = effects.delivery.or(fault.delivery);
            match &fault.action {
                Action::Pass => continue,
                Action::Edit(edits) => {
                    effects.edits.extend(edits.iter().cloned());
                    continue;
                }
                Action::AnyFailure => effects.replacement = Some(fault.any_failure(in_batch)),
                action @ (Action::Reset | Action::Answer(_)) => effects.replacement = Some(action.clone()),
            }
            break;
        }
        effects
    }
}

/// The end of a call: an answer, or a connection that breaks.
pub(crate) enum Outcome {
    Reply(Reply),
    Reset,
}

impl Effects {
    /// What is answered without asking the tenant, if anything.
    pub(crate) fn replacement(&self, request: &Request, exchange: &Exchange) -> Option<Outcome> {
        let answer = match self.replacement.as_ref()? {
            Action::Reset => return Some(Outcome::Reset),
            Action::Answer(answer) => answer,
            Action::Pass | Action::Edit(_) | Action::AnyFailure => return None,
        };
        let Substitute { status, error, headers, retry_date, body } = answer;
        let error = match error {
            Some((code, message)) => GraphError::new(*status, code, message.as_str()),
            None => GraphError::of_status(*status),
        };
        let mut reply = if token::asks_for_identity(request) {
            token::identity_error(*status, &error.code, &error.message)
        } else {
            error.reply(exchange)
        };
        if let Some(body) = body {
            let html = body.trim_start().starts_with('<');
            reply.content_type = if html { "text/html; charset=utf-8" } else { PLAIN_JSON }.to_owned();
            reply.body = body.clone().into_bytes();
        }
        // A header that the fault gives replaces the usual one.
        reply.headers.retain(|(name, _)| !headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)));
        reply.headers.extend(headers.iter().cloned());
        let date = retry_date.map(|seconds| clock::http_date(clock::now(), seconds));
        Some(Outcome::Reply(date.iter().fold(reply, |reply, date| reply.header("Retry-After", date))))
    }

    /// The request that the tenant is asked for the true answer.
    pub(crate) fn asked<'a>(&self, request: &'a Request) -> Cow<'a, Request> {
        if self.endless { Cow::Owned(endless::first_page(request)) } else { Cow::Borrowed(request) }
    }

    /// Applies the edits to a true answer.
    pub(crate) fn edit(&self, reply: Reply, request: &Request, exchange: &Exchange) -> Reply {
        let nothing = self.edits.is_empty() && !self.endless;
        if nothing || reply.status != 200 {
            return reply;
        }
        let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) else { return reply };
        if self.endless && body["value"].is_array() {
            endless::continued(&mut body, request);
        }
        for edit in &self.edits {
            if let Err(error) = edit.apply(&mut body) {
                return error.reply(exchange);
            }
        }
        Reply { body: body.to_string().into_bytes(), ..reply }
    }
}
