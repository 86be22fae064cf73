//! Signing in as the managed identity of the Azure virtual machine this runs on: its metadata service hands out tokens.
//!
//! <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>

use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;
use serde::Deserialize;

use super::{AuthError, Granted, MAX_ANSWER, place_of};
use crate::retry::{Attempt, BRIEF};

/// Longer than the service is down while it is updated (70 s).
const UPDATING: Duration = Duration::from_secs(90);
/// It asks callers to be this patient with an identity that was assigned a moment ago, and with errors of its own.
const PATIENT: Duration = Duration::from_secs(52);

/// The identity of this machine.
#[derive(Clone, Debug)]
pub(super) struct ManagedIdentity {
    pub(super) endpoint: Url,
}

/// The numbers are texts here.
#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    expires_in: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
    error_description: String,
}

impl ManagedIdentity {
    /// The identity assigned by the user as `client_id`, else the one that the machine has by itself, for tokens of
    /// `graph`.
    pub(super) fn new(service: &Url, graph: &str, client_id: Option<&str>) -> Self {
        let mut endpoint = service.clone();
        endpoint.set_path("/metadata/identity/oauth2/token");
        endpoint.query_pairs_mut().append_pair("api-version", "2018-02-01").append_pair("resource", graph);
        if let Some(client_id) = client_id {
            endpoint.query_pairs_mut().append_pair("client_id", client_id);
        }
        Self { endpoint }
    }

    /// Asks once.
    pub(super) async fn request(&self, http: &reqwest::Client) -> Attempt<Granted, AuthError> {
        let unreachable = |source: reqwest::Error| Attempt::Again {
            patience: BRIEF,
            error: AuthError::NoMetadataService(source.without_url()),
            after: None,
        };
        let sent = http.get(self.endpoint.clone()).header("Metadata", "true").timeout(Duration::from_secs(30)).send();
        let mut answer = match sent.await {
            Ok(answer) => answer,
            Err(source) => return unreachable(source),
        };
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER => body.extend_from_slice(&chunk),
                Ok(_) => break,
                Err(source) => return unreachable(source),
            }
        }
        if status == 200 {
            let unusable = |detail| Attempt::Ended(Err(AuthError::Unusable { status, detail }));
            return match serde_json::from_slice::<Answer>(&body) {
                Ok(Answer { access_token, expires_in }) => match expires_in.parse() {
                    Ok(seconds) => {
                        Attempt::Ended(Ok(Granted { token: access_token, lifetime: Duration::from_secs(seconds) }))
                    }
                    Err(_) => unusable("expires_in is no number".to_owned()),
                },
                Err(error) => unusable(place_of(&error)),
            };
        }
        let Refusal { error: code, error_description } = serde_json::from_slice(&body).unwrap_or_default();
        let error = AuthError::NoIdentity { status, code, description: error_description };
        match status {
            410 => Attempt::Again { error, after: None, patience: UPDATING },
            404 | 429 | 500..=599 => Attempt::Again { error, after: None, patience: PATIENT },
            _ => Attempt::Ended(Err(error)),
        }
    }
}
