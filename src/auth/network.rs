//! The one HTTP client, for the token endpoint and for Graph: no redirects, a proxy and further certificate authorities
//! where configured.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::model::chain;

/// Whoever has not answered a connection by then does not answer at all.
const LONGEST_CONNECT: Duration = Duration::from_secs(10);

/// How to reach Entra ID and Graph. It can hold a password, so there is no `Debug`.
#[derive(Clone)]
pub struct Network {
    /// A PEM bundle of further certificate authorities.
    pub ca_pem: Option<Vec<u8>>,
    /// An HTTP CONNECT proxy, perhaps with a user name.
    pub proxy: Option<String>,
    /// The password for the proxy; `user:password` when the proxy has no user name.
    pub proxy_password: Option<SecretString>,
    /// Hosts and networks that are reached without the proxy, separated by commas.
    pub no_proxy: Option<String>,
    /// How long one request may take, with all its attempts and the waits between them.
    pub request_deadline: Duration,
}

/// The one HTTP client, and how long a request may take.
#[derive(Clone, Debug)]
pub struct Http {
    pub(crate) client: reqwest::Client,
    pub(crate) request_deadline: Duration,
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

/// What to look at when nothing answers, or not to the end. The words of the layers below are all there is to tell by.
pub(crate) fn unreachable_hint(error: &reqwest::Error) -> &'static str {
    let told = chain(error);
    let says = |words: &str| told.contains(words);
    if says("dns error") {
        "the name is not known here: check it in the configuration (entra.cloud, entra.authority_url, entra.graph_url) and \
         the name server of this machine; where only a proxy resolves names, set entra.proxy"
    } else if says("proxy authorization required") {
        "the proxy answered 407, it wants a user and a password, or other ones: put user:password into the file that \
         entra.proxy_password_file names, or into HTTPS_PROXY"
    } else if says("tunnel error") {
        "the proxy refuses the tunnel (its log says why; 407 or 401 is about user and password): check entra.proxy and \
         entra.proxy_password_file, or HTTPS_PROXY, and that it allows CONNECT to this host and port"
    } else if says("certificate") {
        "the certificate is not trusted: where something inspects TLS on the way, name its certificate authority with \
         entra.ca_file"
    } else {
        "check the network, a firewall on the way and entra.proxy, and that the address in the configuration is right"
    }
}

/// The one HTTP client: no redirects, because a token must not follow one; bounded times.
///
/// # Errors
/// When a part of `network` cannot be used.
pub fn http_client(network: &Network) -> Result<Http, NetworkError> {
    let Network { ca_pem, proxy, proxy_password, no_proxy, request_deadline } = network;
    let request_deadline = *request_deadline;
    let fault = |key| move |source: reqwest::Error| NetworkError::new(key, source);
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        // The environment has its say through the configuration, and plain http never goes to a proxy: it is for the
        // loopback only, and a proxy would read the secret.
        .no_proxy()
        .connect_timeout(LONGEST_CONNECT.min(request_deadline))
        // Nothing at all for half of it leaves time for another attempt; an answer that drips away has all of it.
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
            // Only a URL without a host refuses these, and a proxy has one.
            let _ = user.map(|user| url.set_username(user));
            let _ = url.set_password(Some(password));
        }
        let exceptions = no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
        builder = builder.proxy(reqwest::Proxy::https(url).map_err(fault("entra.proxy"))?.no_proxy(exceptions));
    }
    let client = builder.build().map_err(fault("entra"))?;
    Ok(Http { client, request_deadline })
}
