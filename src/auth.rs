//! Signs in to Entra ID as an application and keeps the access token until shortly before it expires.
//!
//! Client credentials grant:
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use oauth2::basic::BasicClient;
use oauth2::{AsyncHttpClient, AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet, Scope, TokenUrl};
use oauth2::{RequestTokenError, TokenResponse};
use secrecy::{ExposeSecret, SecretString};

use crate::model::Clock;
use crate::retry::{Attempt, BRIEF, PATIENT, Waits, patience, retry_after};

/// A token is renewed this long before it expires, so that none expires on the way.
const EXPIRY_MARGIN: Duration = Duration::from_secs(300);
/// No token is good for longer, whatever the answer says.
const LONGEST_LIFETIME: Duration = Duration::from_hours(24);
/// A token answer is a few kilobytes.
const MAX_ANSWER: usize = 1 << 20;

/// How to reach Entra ID and Graph. It can hold a password, so there is no `Debug`.
#[derive(Clone, Default)]
pub struct Network {
    /// A PEM bundle of further certificate authorities.
    pub ca_pem: Option<Vec<u8>>,
    /// An HTTP CONNECT proxy, perhaps with a user name.
    pub proxy: Option<String>,
    /// The password for the proxy; `user:password` when the proxy has no user name.
    pub proxy_password: Option<SecretString>,
    /// Hosts and networks that are reached without the proxy, separated by commas.
    pub no_proxy: Option<String>,
}

/// The HTTP client could not be made of the configuration.
#[derive(Debug, thiserror::Error)]
#[error("{key} cannot be used")]
pub struct NetworkError {
    /// The configuration key.
    key: &'static str,
    /// Why.
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl NetworkError {
    pub(crate) fn new(key: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { key, source: Box::new(source) }
    }
}

/// The one HTTP client: no redirects, because a token must not follow one; bounded times.
///
/// # Errors
/// When a part of `network` cannot be used.
pub fn http_client(network: &Network) -> Result<reqwest::Client, NetworkError> {
    let Network { ca_pem, proxy, proxy_password, no_proxy } = network;
    let fault = |key| move |source: reqwest::Error| NetworkError::new(key, source);
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        // The environment has its say through the configuration, and plain http never goes to a proxy: it is for the
        // loopback only, and a proxy would read the secret.
        .no_proxy()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(60))
        .timeout(Duration::from_secs(120))
        .user_agent(concat!("learner-sync/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = ca_pem {
        builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem).map_err(fault("entra.ca_file"))?);
    }
    if let Some(url) = proxy {
        let mut url = reqwest::Url::parse(url).map_err(|source| NetworkError::new("entra.proxy", source))?;
        if let Some(password) = proxy_password {
            let content = password.expose_secret();
            let (user, password) = match content.split_once(':') {
                Some((user, password)) if url.username().is_empty() => (Some(user), password),
                _ => (None, content),
            };
            // Only a URL without a host refuses these, and a proxy has one.
            let _ = user.map(|user| url.set_username(user));
            let _ = url.set_password(Some(password));
        }
        let exceptions = no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
        builder = builder.proxy(reqwest::Proxy::https(url).map_err(fault("entra.proxy"))?.no_proxy(exceptions));
    }
    builder.build().map_err(fault("entra"))
}

/// Who signs in, and where.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The tenant: a GUID or a verified domain.
    pub tenant: String,
    /// The application (client) id.
    pub client_id: String,
    /// The client secret.
    pub secret: SecretString,
    /// The origin of the token endpoint, such as `https://login.microsoftonline.com`.
    pub authority: String,
    /// The origin of Graph: the token is asked for `{graph}/.default`.
    pub graph: String,
}

/// Signing in failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Entra answered and said no.
    #[error("Entra refused the sign-in: {} ({code})", first_line(description))]
    Refused {
        /// The OAuth error code, such as `invalid_client`.
        code: String,
        /// Entra's own words; starts with the AADSTS number.
        description: String,
    },
    /// The endpoint answered with something that is no token answer.
    #[error("the token endpoint answered {status} with no usable token: {detail}")]
    Unusable {
        /// The HTTP status.
        status: u16,
        /// What was wrong with the body.
        detail: String,
    },
    /// The endpoint could not be reached.
    #[error("the token endpoint {endpoint} cannot be reached")]
    Unreachable {
        /// Its URL.
        endpoint: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

impl AuthError {
    /// What the administrator can do, where the AADSTS number tells. The numbers are hints only: nothing branches
    /// on them, see <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>.
    pub fn hint(&self) -> Option<&'static str> {
        let Self::Refused { description, .. } = self else {
            return matches!(self, Self::Unreachable { .. })
                .then_some("check the network, entra.proxy and entra.ca_file, and that entra.authority_url is right");
        };
        let number: String = description.strip_prefix("AADSTS")?.chars().take_while(char::is_ascii_digit).collect();
        Some(match number.as_str() {
            "7000215" => {
                "the client secret is wrong: use the secret's value, not its id, from Certificates & secrets of the \
                 app registration"
            }
            "7000222" => "the client secret has expired: add a new one under Certificates & secrets",
            "700016" => {
                "entra.client_id is unknown in this tenant: copy the application (client) id, and check entra.tenant_id"
            }
            "90002" | "900023" => "entra.tenant_id names no tenant of this cloud: copy the directory (tenant) id",
            "700027" => "the certificate is not registered on the app registration, or its signature is wrong",
            "700024" => "the clock of this machine is wrong",
            "53003" => "a Conditional Access policy blocks this sign-in",
            "70011" | "500011" => "entra.cloud or entra.graph_url does not belong to this tenant's cloud",
            "7000216" | "7000218" => "the sign-in carried no secret",
            _ => return None,
        })
    }
}

type TokenClient = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// What is wrong with an answer and where, without a word of it: serde_json's own text can quote a value.
pub(crate) fn place_of(error: &serde_json::Error) -> String {
    format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column())
}

/// Hands out access tokens.
#[derive(Debug)]
pub struct Authenticator {
    client: TokenClient,
    scope: Scope,
    http: reqwest::Client,
    clock: Clock,
    token: tokio::sync::Mutex<Option<Token>>,
}

#[derive(Clone, Debug)]
struct Token {
    secret: SecretString,
    renew_at: Instant,
}

impl Authenticator {
    /// Signs in when the first token is asked for.
    ///
    /// # Errors
    /// The authority and tenant make no URL.
    pub fn new(credential: &Credential, http: reqwest::Client, clock: Clock) -> Result<Self, NetworkError> {
        let Credential { tenant, client_id, secret, authority, graph } = credential;
        let endpoint = TokenUrl::new(format!("{authority}/{tenant}/oauth2/v2.0/token"))
            .map_err(|source| NetworkError::new("entra.authority_url", source))?;
        let client = BasicClient::new(ClientId::new(client_id.clone()))
            .set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
            // In the body: the Basic header would want the secret form-encoded, which not every proxy leaves alone.
            .set_auth_type(AuthType::RequestBody)
            .set_token_uri(endpoint);
        let scope = Scope::new(format!("{graph}/.default"));
        Ok(Self { client, scope, http, clock, token: tokio::sync::Mutex::new(None) })
    }

    /// A token that is good for some minutes yet.
    ///
    /// # Errors
    /// When Entra refuses, or cannot be reached within the retries.
    pub async fn token(&self) -> Result<SecretString, AuthError> {
        let mut kept = self.token.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| Instant::now() < token.renew_at) {
            return Ok(token.secret.clone());
        }
        let mut waits = Waits::new();
        let token = loop {
            if let Some(result) = waits.settle("sign-in", self.request().await).await {
                break result?;
            }
        };
        let secret = token.secret.clone();
        *kept = Some(token);
        Ok(secret)
    }

    /// Forgets `refused`, which Graph did not accept, unless it was renewed meanwhile.
    pub async fn discard(&self, refused: &SecretString) {
        let mut kept = self.token.lock().await;
        if kept.as_ref().is_some_and(|token| token.secret.expose_secret() == refused.expose_secret()) {
            *kept = None;
        }
    }

    async fn request(&self) -> Attempt<Token, AuthError> {
        let http = TokenHttp { http: &self.http, clock: self.clock, answered: std::sync::Mutex::default() };
        let asked_at = Instant::now();
        let result = self.client.exchange_client_credentials().add_scope(self.scope.clone()).request_async(&http).await;
        let answered = http.answered();
        let again = |error| match patience(answered.status) {
            Some(patience) => Attempt::Again { error, after: answered.retry_after, patience },
            None => Attempt::Ended(Err(error)),
        };
        match result {
            Ok(answer) => {
                let lifetime = answer.expires_in().unwrap_or(EXPIRY_MARGIN).min(LONGEST_LIFETIME);
                Attempt::Ended(Ok(Token {
                    secret: SecretString::from(answer.access_token().secret().clone()),
                    renew_at: asked_at + lifetime.saturating_sub(EXPIRY_MARGIN).max(lifetime / 2),
                }))
            }
            Err(RequestTokenError::Request(source)) => Attempt::Again {
                patience: if source.is_connect() { BRIEF } else { PATIENT },
                error: AuthError::Unreachable {
                    endpoint: self.client.token_uri().to_string(),
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
