//! The active faults, and their effects on a call.

use std::borrow::Cow;

use serde_json::Value;

use super::firings::Counter;
use super::{Action, Delivery, Distortion, Edit, Fault, Gate, Substitute, endless};
use crate::clock::{self, DateHeader};
use crate::reply::{Exchange, GraphError, PLAIN_JSON, Reply};
use crate::request::Request;
use crate::token;

/// The active faults, in the order of injection.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

/// The combined effects of all faults on one call.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) gates: Vec<Gate>,
    pub(crate) distortions: Vec<Distortion>,
    pub(crate) delivery: Option<Delivery>,
    pub(crate) date: Option<DateHeader>,
    distorting: Vec<Counter>,
    edits: Vec<(Edit, Option<Counter>)>,
    endless: bool,
    replacement: Option<Action>,
}

impl Faults {
    pub(crate) fn inject(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts a call against every matching fault, up to the first that answers or resets.
    pub(crate) fn effects_on(&mut self, request: &Request, in_batch: bool) -> Effects {
        let mut effects = Effects::default();
        for fault in &mut self.0 {
            if !fault.matches(request) || !fault.applies() {
                continue;
            }
            effects.gates.extend(fault.gate.clone());
            effects.distortions.extend(&fault.distortions);
            effects.endless |= fault.endless;
            effects.delivery = effects.delivery.or(fault.delivery);
            effects.date = effects.date.or_else(|| fault.date.clone());
            let is_edit = matches!(fault.action, Action::Edit(_));
            match &fault.counter {
                Some(counter) if !fault.distortions.is_empty() => effects.distorting.push(counter.clone()),
                Some(counter) if !is_edit || fault.delivery.is_some() => counter.add(),
                _ => {}
            }
            match &fault.action {
                Action::Pass => continue,
                Action::Edit(edits) => {
                    effects.edits.extend(edits.iter().map(|edit| (edit.clone(), fault.counter.clone())));
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

pub(crate) enum Outcome {
    Reply(Reply),
    Reset,
}

impl Effects {
    /// The substituted result, if any.
    pub(crate) fn replacement(&self, request: &Request, exchange: &Exchange) -> Option<Outcome> {
        let answer = match self.replacement.as_ref()? {
            Action::Reset => return Some(Outcome::Reset),
            Action::Answer(answer) => answer,
            Action::Pass | Action::Edit(_) | Action::AnyFailure => return None,
        };
        let Substitute { status, error, headers, retry_date, body } = answer;
        let error = match error {
            Some((code, message)) => GraphError::new(*status, code, message.as_str()),
            None => GraphError::for_status(*status),
        };
        let mut reply = if token::is_identity_request(request) {
            token::identity_error(*status, &error.code, &error.message)
        } else {
            error.reply(exchange)
        };
        if let Some(body) = body {
            let html = body.trim_start().starts_with('<');
            reply.content_type = if html { "text/html; charset=utf-8" } else { PLAIN_JSON }.to_owned();
            reply.body = body.clone().into_bytes();
        }
        // A header of the fault replaces the usual one.
        reply.headers.retain(|(name, _)| !headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)));
        reply.headers.extend(headers.iter().cloned());
        let date = retry_date.map(|seconds| clock::http_date(clock::now(), seconds));
        Some(Outcome::Reply(date.iter().fold(reply, |reply, date| reply.header("Retry-After", date))))
    }

    /// The request that the true answer is generated for.
    pub(crate) fn tenant_request<'a>(&self, request: &'a Request) -> Cow<'a, Request> {
        if self.endless { Cow::Owned(endless::first_page(request)) } else { Cow::Borrowed(request) }
    }

    pub(crate) fn edit(&self, reply: Reply, request: &Request, exchange: &Exchange) -> Reply {
        let nothing = self.edits.is_empty() && !self.endless;
        if nothing || reply.status != 200 {
            return reply;
        }
        let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) else { return reply };
        if self.endless && body["value"].is_array() {
            endless::continue_list(&mut body, request);
        }
        for (edit, counter) in &self.edits {
            let before = counter.as_ref().map(|_| body.clone());
            let edited = edit.apply(&mut body);
            if let (Some(counter), Some(before)) = (counter, before)
                && (edited.is_err() || before != body)
            {
                counter.add();
            }
            if let Err(error) = edited {
                return error.reply(exchange);
            }
        }
        let mut body = body.to_string().into_bytes();
        for (edit, counter) in &self.edits {
            let before = counter.as_ref().map(|_| body.clone());
            edit.apply_to_text(&mut body);
            if let (Some(counter), Some(before)) = (counter, before)
                && before != body
            {
                counter.add();
            }
        }
        Reply { body, ..reply }
    }

    /// Counts the faults that distorted a batch.
    pub(crate) fn count_distortions(&self) {
        self.distorting.iter().for_each(Counter::add);
    }
}
