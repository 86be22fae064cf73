//! Signs in to Entra ID as an application and keeps the access token until shortly before it expires.
//!
//! Client credentials grant, with a secret, a certificate or the token of another issuer:
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>; or the managed identity of
//! the machine.

mod certificate;
mod error;
mod managed_identity;
mod network;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use oauth2::basic::BasicClient;
use oauth2::{AsyncHttpClient, AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet, Scope, TokenUrl};
use oauth2::{RequestTokenError, TokenResponse};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

pub use self::certificate::{Certificate, CertificateError};
pub use self::error::AuthError;
use self::managed_identity::ManagedIdentity;
pub(crate) use self::network::unreachable_hint;
pub use self::network::{Http, Network, NetworkError, http_client};

use crate::model::Clock;
use crate::retry::{Attempt, BRIEF, PATIENT, Waits, patience, retry_after};

/// A token is renewed this long before it expires, so that none expires on the way.
const EXPIRY_MARGIN: Duration = Duration::from_secs(300);
/// No token is good for longer, whatever the answer says.
const LONGEST_LIFETIME: Duration = Duration::from_hours(24);
/// A token answer is a few kilobytes.
const MAX_ANSWER: usize = 1 << 20;

/// Who signs in, and where.
pub struct Credential {
    /// The tenant: a GUID or a verified domain.
    pub tenant: String,
    /// The application (client) id; a managed identity may have none.
    pub client_id: Option<String>,
    /// How the application proves who it is.
    pub proof: Proof,
    /// The origin of the token endpoint, such as `https://login.microsoftonline.com`; for a managed identity that of the
    /// metadata service.
    pub authority: String,
    /// The origin of Graph: the token is asked for `{graph}/.default`.
    pub graph: String,
}

/// How an application proves who it is.
pub enum Proof {
    /// A client secret.
    Secret(SecretString),
    /// A certificate that is registered on the app registration.
    Certificate(Box<Certificate>),
    /// A file with the token of an issuer that the app registration trusts; whoever keeps it renews it there.
    WorkloadIdentity {
        /// The file.
        token_file: PathBuf,
    },
    /// The managed identity of this Azure virtual machine.
    ManagedIdentity,
}

/// How long a credential is good for.
#[derive(Debug)]
pub enum Validity {
    /// Nobody has to renew it by hand.
    Unlimited,
    /// A certificate says it itself.
    Until(Timestamp),
    /// A secret does not; the app registration lists its secrets by the letters they begin with.
    Listed {
        /// The application (client) id of the registration.
        client_id: String,
        /// What the secret begins with.
        hint: SecretString,
    },
}

type TokenClient = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// What is wrong with an answer and where, without a word of it: serde_json's own text can quote a value.
pub(crate) fn place_of(error: &serde_json::Error) -> String {
    format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column())
}

/// Hands out access tokens.
pub struct Authenticator {
    way: Way,
    http: Http,
    clock: Clock,
    kept: tokio::sync::Mutex<Kept>,
}

/// Where tokens come from.
enum Way {
    Endpoint { client: Box<TokenClient>, scope: Scope, proof: Proof },
    Machine(ManagedIdentity),
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<Token>,
    /// Whoever waited while somebody else was refused does not ask again.
    failed: Option<(Instant, Arc<AuthError>)>,
}

#[derive(Clone, Debug)]
struct Token {
    secret: SecretString,
    renew_at: Instant,
}

/// What an answer grants.
#[derive(Debug)]
struct Granted {
    token: SecretString,
    lifetime: Duration,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Signs in when the first token is asked for.
    ///
    /// # Errors
    /// The authority and tenant make no URL.
    pub fn new(credential: Credential, http: Http, clock: Clock) -> Result<Self, NetworkError> {
        const KEY: &str = "entra.authority_url";
        let Credential { tenant, client_id, proof, authority, graph } = credential;
        let way = if matches!(proof, Proof::ManagedIdentity) {
            let service = reqwest::Url::parse(&authority).map_err(|source| NetworkError::new(KEY, source))?;
            Way::Machine(ManagedIdentity::new(&service, &graph, client_id.as_deref()))
        } else {
            let endpoint = TokenUrl::new(format!("{authority}/{tenant}/oauth2/v2.0/token"))
                .map_err(|source| NetworkError::new(KEY, source))?;
            let client = BasicClient::new(ClientId::new(client_id.unwrap_or_default()))
                // In the body: the Basic header would want the secret form-encoded, which not every proxy leaves alone.
                .set_auth_type(AuthType::RequestBody)
                .set_token_uri(endpoint);
            let client = match &proof {
                Proof::Secret(secret) => client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned())),
                Proof::Certificate(_) | Proof::WorkloadIdentity { .. } | Proof::ManagedIdentity => client,
            };
            Way::Endpoint { client: Box::new(client), scope: Scope::new(format!("{graph}/.default")), proof }
        };
        Ok(Self { way, http, clock, kept: tokio::sync::Mutex::default() })
    }

    /// A token that is good for some minutes yet.
    ///
    /// # Errors
    /// When Entra refuses, or cannot be reached within the retries.
    pub async fn token(&self) -> Result<SecretString, Arc<AuthError>> {
        let asked_at = Instant::now();
        let mut kept = self.kept.lock().await;
        if let Some(token) = kept.token.as_ref().filter(|token| Instant::now() < token.renew_at) {
            return Ok(token.secret.clone());
        }
        if let Some((at, error)) = &kept.failed
            && *at >= asked_at
        {
            return Err(Arc::clone(error));
        }
        let mut waits = Waits::new(self.http.request_deadline);
        let granted = loop {
            let begun = Instant::now();
            let attempt = match &self.way {
                Way::Endpoint { client, scope, proof } => self.exchange(client, scope, proof).await,
                Way::Machine(identity) => identity.request(&self.http.client).await,
            };
            waits.tried(begun.elapsed());
            if let Some(result) = waits.settle("sign-in", attempt).await {
                break result.map(|granted| (begun, granted));
            }
        };
        match granted {
            Ok((begun, Granted { token, lifetime })) => {
                let lifetime = lifetime.min(LONGEST_LIFETIME);
                let renew_at = begun + lifetime.saturating_sub(EXPIRY_MARGIN).max(lifetime / 2);
                *kept = Kept { token: Some(Token { secret: token.clone(), renew_at }), failed: None };
                Ok(token)
            }
            Err(error) => {
                let error = Arc::new(error);
                kept.failed = Some((Instant::now(), Arc::clone(&error)));
                Err(error)
            }
        }
    }

    /// How long the credential is good for, as far as it tells itself.
    pub fn validity(&self) -> Validity {
        let Way::Endpoint { client, proof, .. } = &self.way else { return Validity::Unlimited };
        match proof {
            Proof::Certificate(certificate) => Validity::Until(certificate.not_after()),
            Proof::Secret(secret) => Validity::Listed {
                client_id: client.client_id().to_string(),
                hint: secret.expose_secret().chars().take(3).collect::<String>().into(),
            },
            Proof::WorkloadIdentity { .. } | Proof::ManagedIdentity => Validity::Unlimited,
        }
    }

    /// The application permissions that the token carries; `None` when it does not tell. Tokens for Graph are opaque by
    /// contract, so this is for diagnosis only.
    ///
    /// # Errors
    /// When signing in fails.
    pub async fn granted(&self) -> Result<Option<BTreeSet<String>>, Arc<AuthError>> {
        #[derive(Deserialize)]
        struct Claims {
            #[serde(default)]
            roles: BTreeSet<String>,
        }
        let token = self.token().await?;
        let payload = token.expose_secret().split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
        Ok(payload.and_then(|payload| serde_json::from_slice::<Claims>(&payload).ok()).map(|claims| claims.roles))
    }

    /// Forgets `refused`, which Graph did not accept, unless it was renewed meanwhile.
    pub async fn discard(&self, refused: &SecretString) {
        let mut kept = self.kept.lock().await;
        if kept.token.as_ref().is_some_and(|token| token.secret.expose_secret() == refused.expose_secret()) {
            kept.token = None;
        }
    }

    async fn exchange(&self, client: &TokenClient, scope: &Scope, proof: &Proof) -> Attempt<Granted, AuthError> {
        let http = TokenHttp { http: &self.http.client, clock: self.clock, answered: std::sync::Mutex::default() };
        let mut request = client.exchange_client_credentials().add_scope(scope.clone());
        match self.assertion(client, proof) {
            Ok(None) => {}
            Ok(Some(assertion)) => {
                request = request
                    .add_extra_param("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                    .add_extra_param("client_assertion", assertion);
            }
            Err(error) => return Attempt::Ended(Err(error)),
        }
        let result = request.request_async(&http).await;
        let answered = http.answered();
        let again = |error| match patience(answered.status) {
            Some(patience) => Attempt::Again { error, after: answered.retry_after, patience },
            None => Attempt::Ended(Err(error)),
        };
        match result {
            Ok(answer) => Attempt::Ended(Ok(Granted {
                lifetime: answer.expires_in().unwrap_or(EXPIRY_MARGIN),
                token: SecretString::from(answer.access_token().secret().clone()),
            })),
            Err(RequestTokenError::Request(source)) => Attempt::Again {
                patience: if source.is_connect() { BRIEF } else { PATIENT },
                error: AuthError::Unreachable {
                    endpoint: client.token_uri().to_string(),
                    source: source.without_url(),
                },
                after: None,
            },
            Err(RequestTokenError::ServerResponse(refusal)) => again(AuthError::Refused {
                code: refusal.error().to_string(),
                description: refusal.error_description().cloned().unwrap_or_default(),
            }),
            // The body is not shown: a proxy's page says nothing useful, a token would say too much.
            Err(RequestTokenError::Parse(error, _)) => {
                again(AuthError::Unusable { status: answered.status, detail: place_of(error.inner()) })
            }
            Err(RequestTokenError::Other(detail)) => again(AuthError::Unusable { status: answered.status, detail }),
        }
    }

    /// What stands in for a secret. Made, or read, anew each time: a certificate's is good once, and the file of a
    /// workload identity is renewed by somebody else.
    fn assertion(&self, client: &TokenClient, proof: &Proof) -> Result<Option<String>, AuthError> {
        match proof {
            Proof::Secret(_) | Proof::ManagedIdentity => Ok(None),
            Proof::Certificate(certificate) => certificate
                .assertion(client.client_id().as_str(), client.token_uri().as_str(), (self.clock)())
                .map(Some)
                .map_err(AuthError::Signature),
            Proof::WorkloadIdentity { token_file: path } => {
                token_in(path).map(Some).map_err(|source| AuthError::TokenFile { path: path.clone(), source })
            }
        }
    }
}

/// The token in a file that somebody else renews.
fn token_in(path: &Path) -> std::io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        // Reading a pipe would wait for whoever writes into it.
        return Err(std::io::Error::other("it is no regular file"));
    }
    let token = std::fs::read_to_string(path)?.trim().to_owned();
    if token.is_empty() { Err(std::io::Error::other("it is empty")) } else { Ok(token) }
}

/// Lets the oauth2 crate speak through our client, and keeps what it does not hand on: the status and
/// `Retry-After`.
struct TokenHttp<'c> {
    http: &'c reqwest::Client,
    clock: Clock,
    answered: std::sync::Mutex<Answered>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Answered {
    status: u16,
    retry_after: Option<Duration>,
}

impl TokenHttp<'_> {
    fn answered(&self) -> Answered {
        *self.answered.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<'c> AsyncHttpClient<'c> for TokenHttp<'_> {
    type Error = reqwest::Error;
    type Future = Pin<Box<dyn Future<Output = Result<oauth2::HttpResponse, Self::Error>> + Send + Sync + 'c>>;

    fn call(&'c self, request: oauth2::HttpRequest) -> Self::Future {
        Box::pin(async move {
            let mut answer = self.http.execute(reqwest::Request::try_from(request)?).await?;
            let retry_after = answer
                .headers()
                .get(reqwest::header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| retry_after(value, (self.clock)()));
            let status = answer.status();
            *self.answered.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                Answered { status: status.as_u16(), retry_after };
            let mut response = oauth2::HttpResponse::new(Vec::new());
            *response.status_mut() = status;
            *response.headers_mut() = answer.headers().clone();
            while let Some(chunk) = answer.chunk().await? {
                if response.body().len() + chunk.len() > MAX_ANSWER {
                    // What is cut off here does not parse, and is reported as an unusable answer.
                    break;
                }
                response.body_mut().extend_from_slice(&chunk);
            }
            Ok(response)
        })
    }
}
