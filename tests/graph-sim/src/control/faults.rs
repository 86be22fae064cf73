//! `/control/faults`

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ControlError, ControlResult, Simulator, read};
use crate::fault::Fault;

/// A fault as JSON; the keys are the methods of `Fault`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FaultRequest {
    method: Option<String>,
    path: String,
    query_contains: Option<String>,
    mentioning: Option<String>,
    page: Option<usize>,
    nth: Option<usize>,
    times: Option<usize>,
    always: bool,
    status: Option<u16>,
    code: Option<String>,
    message: Option<String>,
    retry_after: Option<String>,
    retry_after_date: Option<i64>,
    redirect: Option<String>,
    random: Option<Random>,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    reset: bool,
    expired_page_token: bool,
    empty_list: bool,
    empty_page: bool,
    cut_short: bool,
    null_rows: bool,
    next_link: Option<String>,
    drop_key: Option<String>,
    null_key: Option<String>,
    hide_row: Option<String>,
    page_key: Option<(String, Value)>,
    add_row: Option<Value>,
    set_key: Option<(String, String, Value)>,
    repeat_row: Option<(String, String, Value)>,
    broken_text: Option<(String, String)>,
    replace_text: Option<(String, String)>,
    byte_order_mark: bool,
    endless_pages: bool,
    outer_status: Option<u16>,
    missing_part: Option<usize>,
    doubled_part: Option<usize>,
    extra_part: bool,
    reset_after_headers: bool,
    truncated: bool,
    dripping: Option<Drops>,
    never_ending: Option<Drops>,
    padded: Option<usize>,
    padded_key: Option<usize>,
}

/// The probability of a failure, and the seed of the draws.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Random {
    probability: f64,
    #[serde(default)]
    seed: u64,
}

/// A chunk size and the pause after each chunk.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Drops {
    bytes: usize,
    pause_ms: u64,
}

impl Drops {
    fn pause(self) -> Duration {
        Duration::from_millis(self.pause_ms)
    }
}

pub(super) async fn inject(State(shared): Simulator, body: Bytes) -> ControlResult {
    let fault = build(read(&body)?)?;
    shared.faults().inject(fault);
    Ok(Json(json!({ "injected": true })))
}

pub(super) async fn clear(State(shared): Simulator) -> ControlResult {
    shared.faults().clear();
    Ok(Json(json!({ "cleared": true })))
}

fn build(request: FaultRequest) -> Result<Fault, ControlError> {
    check(&request)?;
    let FaultRequest {
        method,
        path,
        query_contains,
        mentioning,
        page,
        nth,
        times,
        always,
        status,
        code,
        message,
        retry_after,
        retry_after_date,
        redirect,
        random,
        headers,
        body,
        reset,
        expired_page_token,
        empty_list,
        empty_page,
        cut_short,
        null_rows,
        next_link,
        drop_key,
        null_key,
        hide_row,
        page_key,
        add_row,
        set_key,
        repeat_row,
        broken_text,
        replace_text,
        byte_order_mark,
        endless_pages,
        outer_status,
        missing_part,
        doubled_part,
        extra_part,
        reset_after_headers,
        truncated,
        dripping,
        never_ending,
        padded,
        padded_key,
    } = request;

    type Step = fn(Fault, &str) -> Fault;
    type Switch = fn(Fault) -> Fault;
    type Count = fn(Fault, usize) -> Fault;
    let texts: [(Option<String>, Step); 9] = [
        (query_contains, |fault, text| fault.query_contains(text)),
        (mentioning, |fault, text| fault.mentioning(text)),
        (message, |fault, text| fault.message(text)),
        (retry_after, |fault, text| fault.retry_after(text)),
        (body, |fault, text| fault.body(text)),
        (next_link, |fault, text| fault.next_link(text)),
        (drop_key, |fault, text| fault.drop_key(text)),
        (null_key, |fault, text| fault.null_key(text)),
        (hide_row, |fault, text| fault.hide_row(text)),
    ];
    let switches: [(bool, Switch); 12] = [
        (always, Fault::always),
        (reset, Fault::reset),
        (expired_page_token, Fault::expired_page_token),
        (empty_list, Fault::empty_list),
        (empty_page, Fault::empty_page),
        (cut_short, Fault::cut_short),
        (null_rows, Fault::null_rows),
        (endless_pages, Fault::endless_pages),
        (extra_part, Fault::extra_part),
        (reset_after_headers, Fault::reset_after_headers),
        (truncated, Fault::truncated),
        (byte_order_mark, Fault::byte_order_mark),
    ];
    let numbers: [(Option<usize>, Count); 7] = [
        (page, Fault::page),
        (nth, Fault::nth),
        (times, Fault::times),
        (missing_part, Fault::missing_part),
        (doubled_part, Fault::doubled_part),
        (padded, Fault::padded),
        (padded_key, Fault::padded_key),
    ];

    let mut fault = Fault::on(method.as_deref().unwrap_or("GET"), &path);
    fault = match (status, code) {
        (Some(status), Some(code)) => fault.answer_error(status, &code),
        (Some(status), None) => fault.answer(status),
        (None, _) => fault,
    };
    fault = random.iter().fold(fault, |fault, Random { probability, seed }| fault.random(*probability, *seed));
    for (value, step) in numbers {
        fault = value.into_iter().fold(fault, step);
    }
    for (text, step) in texts {
        fault = text.iter().fold(fault, |fault, text| step(fault, text));
    }
    for (_, step) in switches.into_iter().filter(|(on, _)| *on) {
        fault = step(fault);
    }
    fault = page_key.into_iter().fold(fault, |fault, (key, value)| fault.page_key(&key, value));
    fault = add_row.into_iter().fold(fault, Fault::add_row);
    fault = set_key.into_iter().fold(fault, |fault, (id, key, value)| fault.set_key(&id, &key, value));
    fault = repeat_row.into_iter().fold(fault, |fault, (id, key, value)| fault.repeat_row(&id, &key, value));
    fault = broken_text.into_iter().fold(fault, |fault, (id, key)| fault.broken_text(&id, &key));
    fault = replace_text.into_iter().fold(fault, |fault, (old, new)| fault.replace_text(&old, new));
    fault = redirect.iter().fold(fault, |fault, location| fault.redirect(status.unwrap_or(302), location));
    fault = retry_after_date.into_iter().fold(fault, Fault::retry_after_date);
    fault = outer_status.into_iter().fold(fault, Fault::outer_status);
    fault = dripping.into_iter().fold(fault, |fault, drops| fault.dripping(drops.bytes, drops.pause()));
    fault = never_ending.into_iter().fold(fault, |fault, drops| fault.never_ending(drops.bytes, drops.pause()));
    Ok(headers.iter().fold(fault, |fault, (name, value)| fault.header(name, value)))
}

/// Refuses faults without an effect and combinations that exclude each other.
fn check(request: &FaultRequest) -> Result<(), ControlError> {
    if [request.status, request.outer_status].iter().flatten().any(|status| !(200..600).contains(status)) {
        return Err(ControlError::bad("status must be between 200 and 599"));
    }
    if request.path.is_empty() {
        return Err(ControlError::bad("path is required"));
    }
    if request.code.is_some() && request.status.is_none() {
        return Err(ControlError::bad("code requires status"));
    }
    let answers = request.status.is_some()
        || request.message.is_some()
        || request.retry_after.is_some()
        || request.retry_after_date.is_some()
        || request.redirect.is_some()
        || !request.headers.is_empty()
        || request.body.is_some()
        || request.expired_page_token;
    let edits = [request.empty_list, request.empty_page, request.cut_short, request.null_rows].contains(&true)
        || [&request.next_link, &request.drop_key, &request.null_key, &request.hide_row]
            .iter()
            .any(|key| key.is_some())
        || [request.set_key.is_some(), request.repeat_row.is_some(), request.page_key.is_some()].contains(&true)
        || [request.add_row.is_some(), request.broken_text.is_some(), request.replace_text.is_some()].contains(&true)
        || request.endless_pages;
    let batch = request.extra_part
        || request.outer_status.is_some()
        || [request.missing_part, request.doubled_part].iter().any(|part| part.is_some());
    let deliveries = [
        request.reset_after_headers,
        request.truncated,
        request.byte_order_mark,
        request.dripping.is_some(),
        request.never_ending.is_some(),
        request.padded.is_some(),
        request.padded_key.is_some(),
    ];
    let deliveries = deliveries.iter().filter(|on| **on).count();
    let kinds = [answers, edits, batch, request.reset, request.random.is_some()].iter().filter(|on| **on).count();
    match (kinds, deliveries) {
        (1, 0 | 1) | (0, 1) => Ok(()),
        (0, 0) => Err(ControlError::bad("the fault has no effect")),
        (_, 2..) => Err(ControlError::bad("an answer can be delivered in one way only")),
        _ => Err(ControlError::bad("choose one of: answer, reset, edit the true answer, distort a batch")),
    }
}
