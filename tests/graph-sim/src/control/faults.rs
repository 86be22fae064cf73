//! `/control/faults`

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Refusal, Simulator, read};
use crate::fault::Fault;

/// A fault as JSON: the names are those of the methods of `Fault`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultRequest {
    #[serde(default = "get")]
    method: String,
    path: String,
    query_contains: Option<String>,
    page: Option<usize>,
    nth: Option<usize>,
    times: Option<usize>,
    #[serde(default)]
    always: bool,
    status: Option<u16>,
    code: Option<String>,
    retry_after: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    #[serde(default)]
    reset: bool,
    #[serde(default)]
    expired_page_token: bool,
    #[serde(default)]
    empty_list: bool,
    #[serde(default)]
    empty_page: bool,
    #[serde(default)]
    cut_short: bool,
    #[serde(default)]
    null_rows: bool,
    next_link: Option<String>,
    drop_key: Option<String>,
    null_key: Option<String>,
    hide_row: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

pub(super) async fn inject(State(shared): Simulator, body: Bytes) -> Answer {
    let fault = build(read(&body)?)?;
    shared.faults().inject(fault);
    Ok(Json(json!({ "injected": true })))
}

pub(super) async fn clear(State(shared): Simulator) -> Answer {
    shared.faults().clear();
    Ok(Json(json!({ "cleared": true })))
}

fn build(request: FaultRequest) -> Result<Fault, Refusal> {
    let FaultRequest {
        method,
        path,
        query_contains,
        page,
        nth,
        times,
        always,
        status,
        code,
        retry_after,
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
    } = request;
    if status.is_some_and(|status| !(200..600).contains(&status)) {
        return Err(Refusal::bad("status must be between 200 and 599"));
    }
    if code.is_some() && status.is_none() {
        return Err(Refusal::bad("a code needs a status"));
    }
    let answers =
        status.is_some() || retry_after.is_some() || !headers.is_empty() || body.is_some() || expired_page_token;
    let edits = [empty_list, empty_page, cut_short, null_rows].contains(&true)
        || [&next_link, &drop_key, &null_key, &hide_row].iter().any(|edit| edit.is_some());
    if usize::from(answers) + usize::from(edits) + usize::from(reset) != 1 {
        return Err(Refusal::bad("a fault either answers, or resets, or edits the true answer"));
    }

    type Step = fn(Fault, &str) -> Fault;
    type Switch = fn(Fault) -> Fault;
    type Count = fn(Fault, usize) -> Fault;
    let texts: [(Option<String>, Step); 7] = [
        (query_contains, |fault, text| fault.query_contains(text)),
        (retry_after, |fault, text| fault.retry_after(text)),
        (body, |fault, text| fault.body(text)),
        (next_link, |fault, text| fault.next_link(text)),
        (drop_key, |fault, text| fault.drop_key(text)),
        (null_key, |fault, text| fault.null_key(text)),
        (hide_row, |fault, text| fault.hide_row(text)),
    ];
    let switches: [(bool, Switch); 7] = [
        (always, Fault::always),
        (reset, Fault::reset),
        (expired_page_token, Fault::expired_page_token),
        (empty_list, Fault::empty_list),
        (empty_page, Fault::empty_page),
        (cut_short, Fault::cut_short),
        (null_rows, Fault::null_rows),
    ];
    let numbers: [(Option<usize>, Count); 3] = [(page, Fault::page), (nth, Fault::nth), (times, Fault::times)];

    let mut fault = Fault::on(&method, &path);
    fault = match (status, code) {
        (Some(status), Some(code)) => fault.answer_error(status, &code),
        (Some(status), None) => fault.answer(status),
        (None, _) => fault,
    };
    for (value, step) in numbers {
        fault = value.into_iter().fold(fault, step);
    }
    for (text, step) in texts {
        fault = text.iter().fold(fault, |fault, text| step(fault, text));
    }
    for (_, step) in switches.into_iter().filter(|(on, _)| *on) {
        fault = step(fault);
    }
    Ok(headers.iter().fold(fault, |fault, (name, value)| fault.header(name, value)))
}
