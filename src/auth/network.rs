//! The HTTP client for the token endpoint and Graph: no redirects, optional proxy and certificate authorities.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::model::chain;

/// The connect timeout; a shorter request deadline applies as well.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The network settings for Entra ID and Graph. They can hold a password, so there is no `Debug`.
#[derive(Clone)]
pub struct Network {
    /// A PEM bundle of further certificate authorities.
    pub ca_pem: Option<Vec<u8>>,
    /// An HTTP CONNECT proxy, with an optional user name.
    pub proxy: Option<String>,
    /// The password for the proxy, or `user:password` when `proxy` has no user name.
    pub proxy_password: Option<SecretString>,
    /// Hosts and networks that are reached without the proxy, separated by commas.
    pub no_proxy: Option<String>,
    /// The longest time for one request, including retries and waits.
    pub request_deadline: Duration,
}

/// The HTTP client and its request deadline.
#[derive(Clone, Debug)]
pub struct Http {
    pub(crate) client: reqwest::Client,
    pub(crate) request_deadline: Duration,
}

/// The HTTP client cannot be built from the configuration.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {key}")]
pub struct NetworkError {
    /// The configuration key.
    key: &'static str,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl NetworkError {
    pub(crate) fn new(key: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { key, source: Box::new(source) }
    }
}

/// Advice for an unreachable server or an incomplete answer. reqwest offers no types for
/// these causes, so the hint depends on the message; nothing else does.
pub(crate) fn unreachable_hint(error: &reqwest::Error) -> &'static str {
    let message = chain(error);
    if message.contains("dns error") {
        "this machine cannot resolve the host name: check its spelling (entra.cloud, entra.authority_url, entra.graph_url) \
         and the machine's name server; if only a proxy resolves names, set entra.proxy"
    } else {
        proxy_hint(&message)
            .unwrap_or("check the network, the firewall, entra.proxy and the host name in the configuration")
    }
}

/// Advice for `message` when a proxy or a certificate is the cause.
pub(crate) fn proxy_hint(message: &str) -> Option<&'static str> {
    let says = |words: &str| message.contains(words);
    Some(if says("proxy authorization required") {
        "the proxy answered 407 (authentication required): put user:password into the file of \
         entra.proxy_password_file, or into HTTPS_PROXY"
    } else if says("tunnel error") {
        "the proxy refuses the tunnel; its log says why (401 or 407: wrong user or password). Check entra.proxy and \
         entra.proxy_password_file (or HTTPS_PROXY), and that the proxy allows CONNECT to this host and port"
    } else if says("certificate") {
        "the certificate is not trusted: if a proxy inspects TLS, set entra.ca_file to its certificate authority"
    } else {
        return None;
    })
}

/// Builds the HTTP client: no redirects, because a token must not follow one, and a timeout for every step.
///
/// # Errors
/// A setting of `network` is unusable.
pub fn http_client(network: &Network) -> Result<Http, NetworkError> {
    let Network { ca_pem, proxy, proxy_password, no_proxy, request_deadline } = network;
    let request_deadline = *request_deadline;
    let fault = |key| move |source: reqwest::Error| NetworkError::new(key, source);
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        // The configuration reads the proxy variables. Plain http is for the loopback only and never uses a proxy, which
        // could read the secret.
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT.min(request_deadline))
        // Silence for half the deadline leaves time for a second attempt. A slow answer may use all of it.
        .read_timeout(request_deadline / 2)
        .timeout(request_deadline)
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
            // Only a URL without a host refuses these.
            let _ = user.map(|user| url.set_username(user));
            let _ = url.set_password(Some(password));
        }
        let exceptions = no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
        builder = builder.proxy(reqwest::Proxy::https(url).map_err(fault("entra.proxy"))?.no_proxy(exceptions));
    }
    let client = builder.build().map_err(fault("entra"))?;
    Ok(Http { client, request_deadline })
}
