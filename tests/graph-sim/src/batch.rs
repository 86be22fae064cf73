//! `POST /$batch`: up to twenty requests in one, each answered as if sent alone.
//!
//! <https://learn.microsoft.com/graph/json-batching>

use std::collections::{BTreeMap, BTreeSet};

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::encoding::push_json;
use crate::fault::{Delivery, Distortion, Effects, Outcome};
use crate::reply::{Exchange, GraphError, ODATA_JSON, PLAIN_JSON, Reply};
use crate::request::Request;
use crate::sequence::checksum;
use crate::server::{self, Shared};
use crate::token::Roles;

const MAX_PARTS: usize = 20;

struct Part {
    id: String,
    request: Request,
}

/// Answers a batch whose token has `roles`. A reset or bad delivery of one part affects the whole batch.
pub(crate) async fn respond(
    shared: &Shared,
    request: &Request,
    exchange: &Exchange,
    roles: &Roles,
    effects: &Effects,
) -> Outcome {
    if request.method != "POST" {
        return Outcome::Reply(GraphError::wrong_method().reply(exchange));
    }
    let parts = match parts(request) {
        Ok(parts) => parts,
        Err(error) => return Outcome::Reply(error.reply(exchange)),
    };
    let mut answers = Vec::with_capacity(parts.len());
    let mut delivery: Option<Delivery> = None;
    for part in parts {
        match server::respond(shared, &part.request, Some(roles)).await {
            Outcome::Reply(reply) => {
                delivery = Delivery::of_batch(delivery, reply.delivery);
                answers.push((part.id, reply));
            }
            Outcome::Reset => return Outcome::Reset,
        }
    }
    let mut status = 200;
    let ids = |answers: &[(String, Reply)]| answers.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    let sent = ids(&answers);
    Distortion::apply_all(&effects.distortions, &mut status, &mut answers);
    if status != 200 || sent != ids(&answers) {
        effects.count_distortions();
    }
    // Graph does not guarantee an order, so a caller that relies on one must fail.
    answers.sort_by_key(|(id, _)| checksum(id));
    let mut body = b"{\"responses\":[".to_vec();
    for (index, (id, reply)) in answers.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        write_part(&mut body, id, reply);
    }
    body.extend_from_slice(b"]}");
    Outcome::Reply(Reply { status, content_type: PLAIN_JSON.to_owned(), delivery, ..Reply::odata(body) })
}

fn parts(request: &Request) -> Result<Vec<Part>, GraphError> {
    let refused = |message: &str| GraphError::new(400, "BadRequest", message);
    let body = request.json().ok_or_else(|| refused("Invalid batch payload format."))?;
    let sent = body["requests"].as_array().ok_or_else(|| refused("Invalid batch payload format."))?;
    if sent.is_empty() {
        return Err(refused("The batch has no request steps."));
    }
    if sent.len() > MAX_PARTS {
        return Err(refused(&format!("Number of batch request steps exceeds the maximum value of {MAX_PARTS}.")));
    }
    let mut ids = BTreeSet::new();
    let mut parts = Vec::with_capacity(sent.len());
    for part in sent {
        let text = |key: &str| part[key].as_str();
        let (Some(id), Some(method), Some(url)) = (text("id"), text("method"), text("url")) else {
            return Err(refused("Every request step needs an id, a method and a url."));
        };
        if !ids.insert(id) {
            return Err(refused(&format!("Duplicate request id found in batch request: '{id}'.")));
        }
        let headers = part["headers"].as_object().into_iter().flatten();
        let headers: BTreeMap<_, _> =
            headers.filter_map(|(name, value)| Some((name.to_ascii_lowercase(), value.as_str()?.to_owned()))).collect();
        let target = format!("/v1.0/{}", url.trim_start_matches('/'));
        let body = if part["body"].is_null() { Vec::new() } else { part["body"].to_string().into_bytes() };
        let request = Request::new(method, &target, headers, body, request.origin.clone());
        parts.push(Part { id: id.to_owned(), request });
    }
    Ok(parts)
}

fn write_part(out: &mut Vec<u8>, id: &str, reply: &Reply) {
    let mut headers: serde_json::Map<String, Value> =
        reply.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    headers.insert("Content-Type".to_owned(), reply.content_type.as_str().into());
    // The body is JSON already and may be a page of a thousand rows, so it is copied and not parsed.
    out.extend_from_slice(b"{\"id\":");
    push_json(out, id);
    out.extend_from_slice(format!(",\"status\":{},\"headers\":", reply.status).as_bytes());
    push_json(out, &headers);
    out.extend_from_slice(b",\"body\":");
    // The body of a fault may be anything; inside a batch invalid JSON becomes a text.
    let own = reply.content_type == ODATA_JSON;
    if own || serde_json::from_slice::<IgnoredAny>(&reply.body).is_ok() {
        out.extend_from_slice(&reply.body);
    } else {
        push_json(out, &String::from_utf8_lossy(&reply.body));
    }
    out.push(b'}');
}
