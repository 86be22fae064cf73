//! Tokens of the Azure virtual machine's managed identity, from its metadata service.
//!
//! <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>

use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use super::{AuthError, GrantedToken, answer, limited_body};
use crate::model::{foreign_text, without_personal_data};
use crate::retry::{Attempt, RetryBudget};

/// An update of the service takes up to 70 s.
const UPDATE_BUDGET: RetryBudget = RetryBudget::Within(Duration::from_secs(90));
/// The retry time that Microsoft recommends for a newly assigned identity and for internal errors:
/// <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#retry-guidance>.
const SERVICE_BUDGET: RetryBudget = RetryBudget::Within(Duration::from_secs(52));

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenRefusal {
    error: String,
    error_description: String,
}

/// The URL that gives tokens with the audience `graph` for the user-assigned identity `client_id`, or for the
/// system-assigned one.
pub(super) fn token_url(mut service: Url, graph: &str, client_id: Option<&str>) -> Url {
    service.set_path("/metadata/identity/oauth2/token");
    service.query_pairs_mut().append_pair("api-version", "2018-02-01").append_pair("resource", graph);
    if let Some(client_id) = client_id {
        service.query_pairs_mut().append_pair("client_id", client_id);
    }
    service
}

pub(super) async fn request_token(http: &reqwest::Client, url: Url) -> Attempt<GrantedToken, AuthError> {
    let unreachable = |source: reqwest::Error| Attempt::Retry {
        budget: RetryBudget::Short,
        error: AuthError::NoMetadataService(source.without_url()),
        after: None,
    };
    let sent = http.get(url).header("Metadata", "true").timeout(Duration::from_secs(30)).send();
    let mut answer = match sent.await {
        Ok(answer) => answer,
        Err(source) => return unreachable(source),
    };
    let status = answer.status().as_u16();
    let body = match limited_body(&mut answer).await {
        Ok(body) => body,
        Err(source) => return unreachable(source),
    };
    if status == 200 {
        return Attempt::Done(answer::granted(&body).map_err(|detail| AuthError::Unusable { status, detail }));
    }
    let TokenRefusal { error: code, error_description } = serde_json::from_slice(&body).unwrap_or_default();
    let public = |text: &str| foreign_text(&without_personal_data(text, &[]));
    let (code, description) = (public(&code), public(&error_description));
    let error = AuthError::NoIdentity { status, code, description };
    match status {
        410 => Attempt::Retry { error, after: None, budget: UPDATE_BUDGET },
        404 | 429 | 500..=599 => Attempt::Retry { error, after: None, budget: SERVICE_BUDGET },
        _ => Attempt::Done(Err(error)),
    }
}
