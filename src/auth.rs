//! Signs in to Entra ID as an application and caches the access token until shortly before it expires.
//!
//! The client credentials grant takes a secret, a certificate or a federated token:
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>. On an Azure virtual machine,
//! its managed identity works as well.

mod advice;
mod answer;
mod certificate;
mod error;
mod managed_identity;
mod network;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use oauth2::basic::BasicClient;
use oauth2::{AsyncHttpClient, AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet, Scope, TokenUrl};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use self::advice::Evidence;
pub use self::certificate::{Certificate, CertificateError, PemFile};
pub use self::error::{AuthError, Refusal};
pub use self::network::{Http, Network, NetworkError, http_client};
pub(crate) use self::network::{proxy_hint, unreachable_hint};

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
    /// The identity, with its proof.
    pub identity: Identity,
    /// The origin of the token endpoint, such as `https://login.microsoftonline.com`. For a managed identity, the origin
    /// of the metadata service.
    pub authority: String,
    /// The origin of Graph; the token's scope is `{graph}/.default`.
    pub graph: String,
}

/// The cause of a failed [`ReadProof`].
pub type ReadError = Box<dyn std::error::Error + Send + Sync>;
/// Reads the proof of the identity. Files are replaced while the daemon runs, so this happens at each sign-in.
pub type ReadProof = Arc<dyn Fn() -> Result<Proof, ReadError> + Send + Sync>;

/// The kind of identity that signs in.
pub enum Identity {
    /// An app registration.
    Application(ReadProof),
    /// The managed identity of this Azure virtual machine.
    Managed,
}

/// The secret, certificate or token that authenticates an application.
pub enum Proof {
    /// A client secret.
    Secret(SecretString),
    /// A certificate of the app registration.
    Certificate(Box<Certificate>),
    /// A token of another issuer, trusted by a federated credential of the app registration.
    FederatedToken(SecretString),
}

/// The expiry of a credential.
#[derive(Debug)]
pub enum Validity {
    /// Something else renews it, or it cannot be read.
    Unknown,
    /// The certificate has its own end; the app registration lists another one beside its thumbprint.
    Certificate {
        /// The application (client) id of the registration.
        client_id: String,
        /// The SHA-1 thumbprint.
        thumbprint: String,
        /// The end of the certificate.
        until: Timestamp,
    },
    /// The expiry of a secret is known to the app registration only, which lists secrets by their first characters.
    Secret {
        /// The application (client) id of the registration.
        client_id: String,
        /// The first characters of the secret.
        hint: SecretString,
    },
}

type TokenClient = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// The kind and position of a JSON error. serde_json's own message can quote a value, so it is not used.
pub(crate) fn json_error_position(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        Category::Eof => "the JSON ends early",
        Category::Syntax | Category::Io => "invalid JSON",
        Category::Data => "unexpected JSON",
    };
    format!("{kind}, at line {} column {}", error.line(), error.column())
}

/// Hands out access tokens.
pub struct Authenticator {
    source: TokenSource,
    http: Http,
    clock: Clock,
    cache: tokio::sync::Mutex<TokenCache>,
}

enum TokenSource {
    Endpoint(Box<TokenEndpoint>),
    ManagedIdentity(reqwest::Url),
}

struct TokenEndpoint {
    client: TokenClient,
    scope: Scope,
    authority: String,
    read_proof: ReadProof,
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
        let Credential { tenant, client_id, identity, authority, graph } = credential;
        let source = match identity {
            Identity::Managed => {
                let service = reqwest::Url::parse(&authority).map_err(|source| NetworkError::new(KEY, source))?;
                TokenSource::ManagedIdentity(managed_identity::token_url(service, &graph, client_id.as_deref()))
            }
            Identity::Application(read_proof) => {
                let endpoint = TokenUrl::new(format!("{authority}/{tenant}/oauth2/v2.0/token"))
                    .map_err(|source| NetworkError::new(KEY, source))?;
                let client = BasicClient::new(ClientId::new(client_id.unwrap_or_default()))
                    // The Basic header would need a form-encoded secret, which some proxies change.
                    .set_auth_type(AuthType::RequestBody)
                    .set_token_uri(endpoint);
                let scope = Scope::new(format!("{graph}/.default"));
                TokenSource::Endpoint(Box::new(TokenEndpoint { client, scope, authority, read_proof }))
            }
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
                TokenSource::Endpoint(endpoint) => self.exchange(endpoint).await,
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
        let TokenSource::Endpoint(endpoint) = &self.source else { return Validity::Unknown };
        let client_id = endpoint.client.client_id().to_string();
        match (endpoint.read_proof)() {
            Ok(Proof::Certificate(certificate)) => Validity::Certificate {
                client_id,
                thumbprint: certificate.thumbprint(),
                until: certificate.not_after(),
            },
            Ok(Proof::Secret(secret)) => {
                Validity::Secret { client_id, hint: secret.expose_secret().chars().take(3).collect::<String>().into() }
            }
            Ok(Proof::FederatedToken(_)) | Err(_) => Validity::Unknown,
        }
    }

    /// Why the certificate is not valid at `now`, by its own dates.
    pub fn certificate_problem(&self, now: Timestamp) -> Option<String> {
        let TokenSource::Endpoint(endpoint) = &self.source else { return None };
        match (endpoint.read_proof)() {
            Ok(Proof::Certificate(certificate)) => certificate.date_problem(now),
            _ => None,
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
        Ok(jwt_claims::<AccessTokenClaims>(&token).map(|claims| claims.roles))
    }

    /// Drops the token `refused` by Graph, unless it has been renewed meanwhile.
    pub async fn discard(&self, refused: &SecretString) {
        let mut cache = self.cache.lock().await;
        if cache.token.as_ref().is_some_and(|token| token.secret.expose_secret() == refused.expose_secret()) {
            cache.token = None;
        }
    }

    async fn exchange(&self, endpoint: &TokenEndpoint) -> Attempt<GrantedToken, AuthError> {
        let TokenEndpoint { client, scope, authority, read_proof } = endpoint;
        // The disk of the file may not answer, which must not stop the task.
        let read_proof = Arc::clone(read_proof);
        let read = tokio::task::spawn_blocking(move || read_proof()).await;
        let proof = match read.unwrap_or_else(|panic| Err(panic.into())) {
            Ok(proof) => proof,
            Err(source) => return Attempt::Done(Err(AuthError::Credential(source))),
        };
        let (client, assertion) = match &proof {
            Proof::Secret(secret) => {
                (client.clone().set_client_secret(ClientSecret::new(secret.expose_secret().to_owned())), None)
            }
            Proof::FederatedToken(token) => (client.clone(), Some(token.clone())),
            // A signed assertion is valid once.
            Proof::Certificate(certificate) => {
                let (id, audience) = (client.client_id().as_str(), client.token_uri().as_str());
                match certificate.assertion(id, audience, (self.clock)()) {
                    Ok(assertion) => (client.clone(), Some(assertion.into())),
                    Err(error) => return Attempt::Done(Err(AuthError::Signature(error))),
                }
            }
        };
        let mut request = client.exchange_client_credentials().add_scope(scope.clone());
        if let Some(assertion) = &assertion {
            request = request
                .add_extra_param("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                .add_extra_param("client_assertion", assertion.expose_secret().to_owned());
        }
        let http = TokenHttp { http: &self.http.client, answer: Mutex::default() };
        let result = request.request_async(&http).await;
        if let Err(oauth2::RequestTokenError::Request(source)) = result {
            return Attempt::Retry {
                budget: if source.is_connect() { RetryBudget::Short } else { RetryBudget::Full },
                error: AuthError::Unreachable {
                    endpoint: client.token_uri().to_string(),
                    source: source.without_url(),
                },
                after: None,
            };
        }
        // The crate knows neither Entra's numbers and ids nor `Retry-After`, so its reading of the answer is not used.
        let answer = http.answer.into_inner().unwrap_or_else(PoisonError::into_inner);
        let now = (self.clock)();
        let evidence = Evidence { proof: &proof, authority, now, clock_ahead: answer.clock_ahead(now) };
        answer.judge(&evidence, assertion.as_ref())
    }
}

/// The claims of a token; `None` when it is not a readable JSON Web Token.
fn jwt_claims<T: DeserializeOwned>(token: &SecretString) -> Option<T> {
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.expose_secret().split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// The body of an answer, truncated if it is too large. A truncated body does not parse and is reported as unusable.
async fn limited_body(answer: &mut reqwest::Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await?.filter(|chunk| body.len() + chunk.len() <= MAX_ANSWER) {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The HTTP client of the oauth2 crate. It keeps the answer.
struct TokenHttp<'c> {
    http: &'c reqwest::Client,
    answer: Mutex<EndpointAnswer>,
}

/// An answer of the token endpoint.
#[derive(Clone, Debug, Default)]
struct EndpointAnswer {
    status: u16,
    retry_after: Option<String>,
    date: Option<String>,
    location: Option<String>,
    body: Vec<u8>,
}

impl EndpointAnswer {
    /// How far the clock of this machine is ahead of the endpoint's.
    fn clock_ahead(&self, now: Timestamp) -> Option<SignedDuration> {
        let date = DateTimeParser::new().parse_timestamp(self.date.as_ref()?).ok()?;
        Some(now.duration_since(date))
    }

    fn judge(&self, evidence: &Evidence<'_>, assertion: Option<&SecretString>) -> Attempt<GrantedToken, AuthError> {
        let Self { status, retry_after: asked, date: _, location, body } = self;
        let status = *status;
        let unusable = |detail| AuthError::Unusable { status, detail };
        if status == 200 {
            return Attempt::Done(answer::granted(body).map_err(unusable));
        }
        let secret = match evidence.proof {
            Proof::Secret(secret) => Some(secret),
            Proof::Certificate(_) | Proof::FederatedToken(_) => assertion,
        };
        let secrets: Vec<&str> = secret.iter().map(|secret| secret.expose_secret()).collect();
        let refusal = answer::refusal(status, body, &secrets);
        let budget = answer::retry_budget(status, refusal.as_ref());
        let error = match (refusal, location) {
            (Some(refusal), _) => AuthError::Refused { advice: advice::advice(&refusal, evidence), refusal },
            (None, Some(location)) if (300..400).contains(&status) => {
                unusable(format!("it redirects to {}", redirect_target(location)))
            }
            (None, _) => unusable("it is not an error message of Entra".to_owned()),
        };
        match budget {
            Some(budget) => {
                let after = asked.as_deref().and_then(|asked| retry_after(asked, evidence.now));
                Attempt::Retry { error, after, budget }
            }
            None => Attempt::Done(Err(error)),
        }
    }
}

/// The origin of a redirect; its path may contain a token.
fn redirect_target(location: &str) -> String {
    match reqwest::Url::parse(location) {
        Ok(url) => foreign_text(&url.origin().ascii_serialization()),
        Err(_) => "another path of the same host".to_owned(),
    }
}

impl<'c> AsyncHttpClient<'c> for TokenHttp<'_> {
    type Error = reqwest::Error;
    type Future = Pin<Box<dyn Future<Output = Result<oauth2::HttpResponse, Self::Error>> + Send + Sync + 'c>>;

    fn call(&'c self, request: oauth2::HttpRequest) -> Self::Future {
        Box::pin(async move {
            let mut answer = self.http.execute(reqwest::Request::try_from(request)?).await?;
            let status = answer.status();
            let header = |name| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
            let (retry_after, date, location) = (
                header(reqwest::header::RETRY_AFTER),
                header(reqwest::header::DATE),
                header(reqwest::header::LOCATION),
            );
            let body = limited_body(&mut answer).await?;
            *self.answer.lock().unwrap_or_else(PoisonError::into_inner) =
                EndpointAnswer { status: status.as_u16(), retry_after, date, location, body: body.clone() };
            let mut response = oauth2::HttpResponse::new(body);
            *response.status_mut() = status;
            Ok(response)
        })
    }
}
