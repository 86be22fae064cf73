//! Reads the answers of the token endpoint: a token, or a refusal with Entra's codes and ids.
//!
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow#error-response>

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::{EXPIRY_MARGIN, GrantedToken, json_error_position};
use crate::auth::error::Refusal;
use crate::model::{foreign_text, without_personal_data};
use crate::retry::RetryBudget;

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
    token_type: Option<String>,
    /// Some proxies and older endpoints send it as a text.
    expires_in: Option<Value>,
}

/// Every field is optional: a gateway may send its own.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RefusalAnswer {
    error: Option<String>,
    error_description: Option<String>,
    error_codes: Option<Vec<Value>>,
    trace_id: Option<String>,
    timestamp: Option<String>,
}

/// The token in the body of an answer with status 200.
///
/// # Errors
/// Why there is no usable token, without any part of the body.
pub(super) fn granted(body: &[u8]) -> Result<GrantedToken, String> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let answer: Value = serde_json::from_slice(body).map_err(|error| json_error_position(&error))?;
    if answer.get("access_token").is_none_or(|token| !token.is_string()) {
        return Err("it has no access_token".to_owned());
    }
    let TokenAnswer { access_token, token_type, expires_in } =
        serde_json::from_value(answer).map_err(|_| "token_type is not a text".to_owned())?;
    check_token(access_token.expose_secret())?;
    match token_type {
        Some(name) if name.eq_ignore_ascii_case("Bearer") => {}
        Some(other) => return Err(format!("token_type is {:?}, not Bearer", foreign_text(&other))),
        None => return Err("it has no token_type".to_owned()),
    }
    let seconds = expires_in.as_ref().and_then(|value| match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    });
    Ok(GrantedToken { token: access_token, lifetime: seconds.map_or(EXPIRY_MARGIN, Duration::from_secs) })
}

/// Checks that a token can be sent in a header: <https://datatracker.ietf.org/doc/html/rfc6750#section-2.1>.
pub(super) fn check_token(token: &str) -> Result<(), String> {
    let problem = |letter: char| match letter {
        '!'..='~' => None,
        ' ' => Some("a blank"),
        letter if letter.is_control() => Some("a control character"),
        _ => Some("a character that is not ASCII"),
    };
    match token.chars().find_map(problem) {
        Some(problem) => Err(format!("the access token contains {problem}")),
        None if token.is_empty() => Err("the access token is empty".to_owned()),
        None => Ok(()),
    }
}

/// The refusal in the body of any other answer; `None` when the body is not an OAuth error. A word that is part of one
/// of `secrets` is not kept.
pub(super) fn refusal(status: u16, body: &[u8], secrets: &[&str]) -> Option<Refusal> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let RefusalAnswer { error, error_description, error_codes, trace_id, timestamp } =
        serde_json::from_slice(body).ok()?;
    let (code, description) = (error?, error_description.unwrap_or_default());
    let mut numbers: Vec<u32> = error_codes.iter().flatten().filter_map(number).collect();
    let in_text = description.split("AADSTS").skip(1).filter_map(|rest| {
        let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
        rest[..digits].parse().ok()
    });
    for found in in_text {
        if !numbers.contains(&found) {
            numbers.push(found);
        }
    }
    numbers.truncate(8);
    let public = |text: &str| foreign_text(&without_personal_data(text, secrets));
    // The trace id, the correlation id and the time follow in lines of their own.
    let line = description.lines().next().unwrap_or_default();
    let from_text = |label: &str| {
        let rest = description.split_once(label)?.1.trim_start();
        Some(rest.lines().next()?.trim().to_owned())
    };
    Some(Refusal {
        status,
        code: public(&code),
        numbers,
        description: public(line),
        trace_id: trace_id.or_else(|| from_text("Trace ID:")).map(|id| public(&id)),
        timestamp: timestamp.or_else(|| from_text("Timestamp:")).map(|time| public(&time)),
    })
}

fn number(value: &Value) -> Option<u32> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().and_then(|number| u32::try_from(number).ok()),
    }
}

/// How long a refusal is worth retrying; `None` when it is final.
pub(super) fn retry_budget(status: u16, refusal: Option<&Refusal>) -> Option<RetryBudget> {
    /// The service is busy or unavailable for the moment: MsodsServiceUnavailable and its kind.
    const TRANSIENT: [u32; 9] = [50033, 90006, 90012, 90024, 90033, 90055, 90090, 90091, 90092];
    RetryBudget::for_status(status).or_else(|| {
        let refusal = refusal?;
        match refusal.code.as_str() {
            "temporarily_unavailable" | "slow_down" => Some(RetryBudget::Full),
            "server_error" => Some(RetryBudget::Short),
            _ if refusal.numbers.iter().any(|number| TRANSIENT.contains(number)) => Some(RetryBudget::Full),
            _ => None,
        }
    })
}
