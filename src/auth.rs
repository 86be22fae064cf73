//! Signs in to Entra ID as an application and caches the access token until shortly before it expires.
//!
//! The client credentials grant takes a secret, a certificate or a federated token:
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>. On an Azure virtual machine,
//! its managed identity works as well.

mod certificate;
mod error;
mod managed_identity;
mod network;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
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
pub(crate) use self::network::unreachable_hint;
pub use self::network::{Http, Network, NetworkError, http_client};

use crate::files;
use crate::model::{Clock, foreign_text};
use crate::retry::{Attempt, RetryBudget, RetryWaits, retry_after};

/// A token is renewed this long before it expires, so that it does not expire in transit.
const EXPIRY_MARGIN: Duration = Duration::from_secs(300);
/// The longest lifetime accepted from an answer.
const MAX_LIFETIME: Duration = Duration::from_hours(24);
/// Token answers have a few kilobytes.
const MAX_ANSWER: usize = 1 << 20;

/// The identity that signs in, and its endpoints.
pub struct Credential {
    /// The tenant: a GUID or a verified domain.
    pub tenant: String,
    /// The application (client) id; a managed identity may have none.
    pub client_id: Option<String>,
    /// The proof of the identity.
    pub proof: Proof,
    /// The origin of the token endpoint, such as `https://login.microsoftonline.com`. For a managed identity, the origin
    /// of the metadata service.
    pub authority: String,
    /// The origin of Graph; the token's scope is `{graph}/.default`.
    pub graph: String,
}

/// The secret, certificate or identity that authenticates an application.
pub enum Proof {
    /// A client secret.
    Secret(SecretString),
    /// A certificate of the app registration.
    Certificate(Box<Certificate>),
    /// A token of another issuer, trusted by a federated credential of the app registration.
    WorkloadIdentity {
        /// The file with the token; the platform renews its content.
        token_file: PathBuf,
    },
    /// The managed identity of this Azure virtual machine.
    ManagedIdentity,
}

/// The expiry of a credential.
#[derive(Debug)]
pub enum Validity {
    /// The platform renews it.
    Unlimited,
    /// The end of the certificate.
    Until(Timestamp),
    /// The expiry of a secret is known to the app registration only, which lists secrets by their first characters.
    Listed {
        /// The application (client) id of the registration.
        client_id: String,
        /// The first characters of the secret.
        hint: SecretString,
    },
}

type TokenClient = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// The kind and position of a JSON error. serde_json's own message can quote a value, so it is not used.
pub(crate) fn json_error_position(error: &serde_json::Error) -> String {
    format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column())
}

/// Hands out access tokens.
pub struct Authenticator {
    source: TokenSource,
    http: Http,
    clock: Clock,
    cache: tokio::sync::Mutex<TokenCache>,
}

enum TokenSource {
    Endpoint { client: Box<TokenClient>, scope: Scope, proof: Proof },
    ManagedIdentity(reqwest::Url),
}

#[derive(Debug, Default)]
struct TokenCache {
    token: Option<CachedToken>,
    /// The last failure. Callers that waited for the lock meanwhile share it, and do not ask again.
    failed: Option<(Instant, Arc<AuthError>)>,
}

#[derive(Clone, Debug)]
struct CachedToken {
    secret: SecretString,
    renew_at: Instant,
}

#[derive(Debug)]
struct GrantedToken {
    token: SecretString,
    lifetime: Duration,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Prepares the sign-in, which happens at the first [`Self::token`].
    ///
    /// # Errors
    /// The authority and tenant do not form a URL.
    pub fn new(credential: Credential, http: Http, clock: Clock) -> Result<Self, NetworkError> {
        const KEY: &str = "entra.authority_url";
        let Credential { tenant, client_id, proof, authority, graph } = credential;
        let source = if matches!(proof, Proof::ManagedIdentity) {
            let service = reqwest::Url::parse(&authority).map_err(|source| NetworkError::new(KEY, source))?;
            TokenSource::ManagedIdentity(managed_identity::token_url(service, &graph, client_id.as_deref()))
        } else {
            let endpoint = TokenUrl::new(format!("{authority}/{tenant}/oauth2/v2.0/token"))
                .map_err(|source| NetworkError::new(KEY, source))?;
            let client = BasicClient::new(ClientId::new(client_id.unwrap_or_default()))
                // The Basic header would need a form-encoded secret, which some proxies change.
                .set_auth_type(AuthType::RequestBody)
                .set_token_uri(endpoint);
            let client = match &proof {
                Proof::Secret(secret) => client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned())),
                Proof::Certificate(_) | Proof::WorkloadIdentity { .. } | Proof::ManagedIdentity => client,
            };
            TokenSource::Endpoint { client: Box::new(client), scope: Scope::new(format!("{graph}/.default")), proof }
        };
        Ok(Self { source, http, clock, cache: tokio::sync::Mutex::default() })
    }

    /// A token that stays valid for some minutes.
    ///
    /// # Errors
    /// Entra refuses the sign-in, or is unreachable until the retries end.
    pub async fn token(&self) -> Result<SecretString, Arc<AuthError>> {
        let asked_at = Instant::now();
        let mut cache = self.cache.lock().await;
        if let Some(token) = cache.token.as_ref().filter(|token| Instant::now() < token.renew_at) {
            return Ok(token.secret.clone());
        }
        if let Some((at, error)) = &cache.failed
            && *at >= asked_at
        {
            return Err(Arc::clone(error));
        }
        let mut waits = RetryWaits::new(self.http.request_deadline);
        let granted = loop {
            let begun = Instant::now();
            let attempt = match &self.source {
                TokenSource::Endpoint { client, scope, proof } => self.exchange(client, scope, proof).await,
                TokenSource::ManagedIdentity(url) => {
                    managed_identity::request_token(&self.http.client, url.clone()).await
                }
            };
            waits.add_attempt(begun.elapsed());
            if let Some(result) = waits.finish_or_wait("sign-in", attempt).await {
                break result.map(|granted| (begun, granted));
            }
        };
        match granted {
            Ok((begun, GrantedToken { token, lifetime })) => {
                let lifetime = lifetime.min(MAX_LIFETIME);
                let renew_at = begun + lifetime.saturating_sub(EXPIRY_MARGIN).max(lifetime / 2);
                *cache = TokenCache { token: Some(CachedToken { secret: token.clone(), renew_at }), failed: None };
                Ok(token)
            }
            Err(error) => {
                let error = Arc::new(error);
                cache.failed = Some((Instant::now(), Arc::clone(&error)));
                Err(error)
            }
        }
    }

    /// The expiry of the credential, as far as it is known locally.
    pub fn validity(&self) -> Validity {
        let TokenSource::Endpoint { client, proof, .. } = &self.source else { return Validity::Unlimited };
        match proof {
            Proof::Certificate(certificate) => Validity::Until(certificate.not_after),
            Proof::Secret(secret) => Validity::Listed {
                client_id: client.client_id().to_string(),
                hint: secret.expose_secret().chars().take(3).collect::<String>().into(),
            },
            Proof::WorkloadIdentity { .. } | Proof::ManagedIdentity => Validity::Unlimited,
        }
    }

    /// The application permissions in the token; `None` when the token is not a readable JWT. Microsoft declares tokens
    /// for Graph opaque, so use this for diagnosis only.
    ///
    /// # Errors
    /// The sign-in fails.
    pub async fn granted_permissions(&self) -> Result<Option<BTreeSet<String>>, Arc<AuthError>> {
        #[derive(Deserialize)]
        struct AccessTokenClaims {
            #[serde(default)]
            roles: BTreeSet<String>,
        }
        let token = self.token().await?;
        let payload = token.expose_secret().split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
        let claims = payload.and_then(|payload| serde_json::from_slice::<AccessTokenClaims>(&payload).ok());
        Ok(claims.map(|claims| claims.roles))
    }

    /// Drops the token `refused` by Graph, unless it has been renewed meanwhile.
    pub async fn discard(&self, refused: &SecretString) {
        let mut cache = self.cache.lock().await;
        if cache.token.as_ref().is_some_and(|token| token.secret.expose_secret() == refused.expose_secret()) {
            cache.token = None;
        }
    }

    async fn exchange(&self, client: &TokenClient, scope: &Scope, proof: &Proof) -> Attempt<GrantedToken, AuthError> {
        let http = TokenHttp { http: &self.http.client, clock: self.clock, response_meta: Mutex::default() };
        let mut request = client.exchange_client_credentials().add_scope(scope.clone());
        match self.assertion(client, proof) {
            Ok(None) => {}
            Ok(Some(assertion)) => {
                request = request
                    .add_extra_param("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                    .add_extra_param("client_assertion", assertion);
            }
            Err(error) => return Attempt::Done(Err(error)),
        }
        let result = request.request_async(&http).await;
        let response_meta = http.response_meta.into_inner().unwrap_or_else(PoisonError::into_inner);
        let retry = |error| match RetryBudget::for_status(response_meta.status) {
            Some(budget) => Attempt::Retry { error, after: response_meta.retry_after, budget },
            None => Attempt::Done(Err(error)),
        };
        match result {
            Ok(answer) => Attempt::Done(Ok(GrantedToken {
                lifetime: answer.expires_in().unwrap_or(EXPIRY_MARGIN),
                token: SecretString::from(answer.access_token().secret().clone()),
            })),
            Err(RequestTokenError::Request(source)) => Attempt::Retry {
                budget: if source.is_connect() { RetryBudget::Short } else { RetryBudget::Full },
                error: AuthError::Unreachable {
                    endpoint: client.token_uri().to_string(),
                    source: source.without_url(),
                },
                after: None,
            },
            Err(RequestTokenError::ServerResponse(refusal)) => retry(AuthError::Refused {
                code: foreign_text(refusal.error().as_ref()),
                description: first_line(refusal.error_description()),
            }),
            // The body may hold a token, so it is not shown.
            Err(RequestTokenError::Parse(error, _)) => {
                retry(AuthError::Unusable { status: response_meta.status, detail: json_error_position(error.inner()) })
            }
            Err(RequestTokenError::Other(detail)) => {
                retry(AuthError::Unusable { status: response_meta.status, detail })
            }
        }
    }

    /// The assertion that replaces a secret. It is created for each sign-in: a signed assertion is valid once, and the
    /// platform renews the token file of a workload identity.
    fn assertion(&self, client: &TokenClient, proof: &Proof) -> Result<Option<String>, AuthError> {
        match proof {
            Proof::Secret(_) | Proof::ManagedIdentity => Ok(None),
            Proof::Certificate(certificate) => certificate
                .assertion(client.client_id().as_str(), client.token_uri().as_str(), (self.clock)())
                .map(Some)
                .map_err(AuthError::Signature),
            Proof::WorkloadIdentity { token_file: path } => {
                read_token_file(path).map(Some).map_err(|source| AuthError::TokenFile { path: path.clone(), source })
            }
        }
    }
}

fn read_token_file(path: &Path) -> std::io::Result<String> {
    let token = files::read_text(path, files::MAX_SECRET)?.trim().to_owned();
    if token.is_empty() { Err(std::io::Error::other("the file is empty")) } else { Ok(token) }
}

/// The first line of Entra's message; trace id and time follow.
fn first_line(description: Option<&String>) -> String {
    description.and_then(|text| text.lines().next()).map(foreign_text).unwrap_or_default()
}

/// The body of an answer, truncated if it is too large. A truncated body does not parse and is reported as unusable.
async fn limited_body(answer: &mut reqwest::Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await?.filter(|chunk| body.len() + chunk.len() <= MAX_ANSWER) {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The HTTP client of the oauth2 crate. It keeps the status and `Retry-After`, which that crate drops.
struct TokenHttp<'c> {
    http: &'c reqwest::Client,
    clock: Clock,
    response_meta: Mutex<ResponseMeta>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ResponseMeta {
    status: u16,
    retry_after: Option<Duration>,
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
            *self.response_meta.lock().unwrap_or_else(PoisonError::into_inner) =
                ResponseMeta { status: status.as_u16(), retry_after };
            let mut response = oauth2::HttpResponse::new(Vec::new());
            *response.status_mut() = status;
            *response.headers_mut() = answer.headers().clone();
            *response.body_mut() = limited_body(&mut answer).await?;
            Ok(response)
        })
    }
}
