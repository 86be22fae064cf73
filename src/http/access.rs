//! The requests that are answered: method, form, host and token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::routes::{HEALTH, READINESS};
use crate::config::{ListenAddress, is_loopback};
use crate::files::{SecretKind, SecretSource};

/// Headers of every answer that has no others of these names: a browser may open anything.
const HEADERS: [(&str, &str); 4] = [
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];

/// The clients that can connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Users who may open the socket file.
    Socket,
    /// Programs on this machine, which include a browser that shows a foreign page.
    Loopback,
    /// Other machines.
    Network,
}

/// The rules of a listener.
#[derive(Debug)]
pub(super) struct AccessRules {
    reach: Reach,
    /// Read at each request, because the file can be replaced at any time; one at a time, because the disk may not answer.
    token: Option<Arc<Mutex<TokenFile>>>,
}

#[derive(Debug)]
struct TokenFile {
    source: SecretSource,
    /// The problem that the log already has.
    logged: Option<String>,
}

/// A request that is refused.
#[derive(Debug, PartialEq, Eq)]
struct RefusedRequest {
    status: StatusCode,
    message: &'static str,
}

fn refuse(status: StatusCode, message: &'static str) -> Result<(), RefusedRequest> {
    Err(RefusedRequest { status, message })
}

/// Answers an admitted request.
pub(super) async fn admit(State(access): State<Arc<AccessRules>>, request: Request, next: Next) -> Response {
    let (parts, _) = request.into_parts();
    let mut response = match access.check(&parts).await {
        // No route reads a body.
        Ok(()) => next.run(Request::from_parts(parts, Body::empty())).await,
        Err(refusal) => refusal.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

impl IntoResponse for RefusedRequest {
    fn into_response(self) -> Response {
        let Self { status, message } = self;
        let mut response = (status, format!("{message}\n")).into_response();
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        if status == StatusCode::UNAUTHORIZED {
            for scheme in ["Bearer realm=\"learner-sync\"", "Basic realm=\"learner-sync\", charset=\"UTF-8\""] {
                response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
            }
        }
        response
    }
}

impl AccessRules {
    pub(super) fn new(address: &ListenAddress, token: Option<SecretSource>) -> Self {
        let reach = match address {
            ListenAddress::Unix(_) => Reach::Socket,
            ListenAddress::Tcp(_) if address.is_beyond_loopback() => Reach::Network,
            ListenAddress::Tcp(_) => Reach::Loopback,
        };
        Self { reach, token: token.map(TokenFile::shared) }
    }

    async fn check(&self, request: &Parts) -> Result<(), RefusedRequest> {
        check_form(request)?;
        check_host(self.reach, &request.headers)?;
        match &self.token {
            Some(file) if ![HEALTH, READINESS].contains(&request.uri.path()) => {
                let Some(given) = given_token(&request.headers) else {
                    return refuse(StatusCode::UNAUTHORIZED, "a token is required");
                };
                let expected = read_token(file).await?;
                // Hashes are compared in constant time, whatever the lengths are.
                if blake3::hash(given.as_bytes()) == blake3::hash(expected.expose_secret().as_bytes()) {
                    Ok(())
                } else {
                    refuse(StatusCode::UNAUTHORIZED, "the token is wrong")
                }
            }
            _ => Ok(()),
        }
    }
}

fn check_form(request: &Parts) -> Result<(), RefusedRequest> {
    if ![Method::GET, Method::HEAD].contains(&request.method) {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are supported");
    }
    if request.uri.authority().is_some() {
        return refuse(StatusCode::BAD_REQUEST, "this is not a proxy");
    }
    let length = request.headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    if length || request.headers.contains_key(TRANSFER_ENCODING) {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "a request has no body");
    }
    Ok(())
}

/// A browser that shows a foreign page can be led here by a name of that page's owner, who controls its address. It then
/// sends that name.
fn check_host(reach: Reach, headers: &HeaderMap) -> Result<(), RefusedRequest> {
    if reach == Reach::Socket {
        return Ok(());
    }
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return refuse(StatusCode::BAD_REQUEST, "a request has one Host header");
    };
    let host = host.to_str().ok().filter(|host| !host.contains('@')).and_then(|host| host.parse::<Authority>().ok());
    let Some(host) = host.map(|host| host.host().to_ascii_lowercase()) else {
        return refuse(StatusCode::BAD_REQUEST, "the Host header is invalid");
    };
    if is_loopback(&host) || reach == Reach::Network && is_of_this_machine(&host) {
        return Ok(());
    }
    let message = match reach {
        Reach::Network => "the Host must be an address, localhost or the name of this machine",
        _ => "the Host must be localhost or a loopback address",
    };
    refuse(StatusCode::MISDIRECTED_REQUEST, message)
}

/// Whether the host is an address, which nobody can redirect, or the name of this machine.
fn is_of_this_machine(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let system = rustix::system::uname();
    address.parse::<IpAddr>().is_ok() || system.nodename().to_str().is_ok_and(|name| name.eq_ignore_ascii_case(host))
}

/// The token of `Bearer`, or the password of `Basic`.
fn given_token(headers: &HeaderMap) -> Option<String> {
    let (scheme, value) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(value.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

impl TokenFile {
    fn shared(source: SecretSource) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { source, logged: None }))
    }

    /// The token, or nothing after a line in the log. Requests come often, so that the same problem is logged once.
    fn read(&mut self) -> Option<SecretString> {
        match self.source.read(SecretKind::Token) {
            Ok(token) => {
                self.logged = None;
                Some(token)
            }
            Err(error) => {
                if self.logged.as_ref() != Some(&error) {
                    tracing::warn!("http.token_file: {error}");
                    self.logged = Some(error);
                }
                None
            }
        }
    }
}

async fn read_token(file: &Arc<Mutex<TokenFile>>) -> Result<SecretString, RefusedRequest> {
    let mut file = Arc::clone(file).lock_owned().await;
    // The thread keeps the lock: it may still wait for the disk when the request has timed out.
    let read = tokio::task::spawn_blocking(move || file.read()).await;
    // A panic is logged where it happens.
    read.ok().flatten().ok_or(RefusedRequest {
        status: StatusCode::SERVICE_UNAVAILABLE,
        message: "the token cannot be read; see the log",
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        list.iter().map(header).collect()
    }

    fn host_status(reach: Reach, host: &str) -> u16 {
        let checked = check_host(reach, &headers(&[("host", host)]));
        checked.err().map_or(200, |refusal| refusal.status.as_u16())
    }

    #[test]
    fn the_host_must_be_this_machine() {
        for host in ["localhost", "LOCALHOST:9464", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:9464"] {
            assert_eq!(host_status(Reach::Loopback, host), 200, "{host}");
        }
        for host in [
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "192.0.2.1:9464",
            "0.0.0.0",
            "[::]",
            "2130706433",
            "localhost.",
        ] {
            assert_eq!(host_status(Reach::Loopback, host), 421, "{host}");
            assert_eq!(host_status(Reach::Socket, host), 200, "{host}");
        }
        for host in ["", "a@localhost", "local host", "localhost:x:y", "ü", "localhost/", "[::1"] {
            assert_eq!(host_status(Reach::Loopback, host), 400, "{host}");
        }
        for host in ["192.0.2.1:9464", "[2001:db8::1]", "localhost"] {
            assert_eq!(host_status(Reach::Network, host), 200, "{host}");
        }
        assert_eq!(host_status(Reach::Network, "example.org"), 421);
        let missing = check_host(Reach::Loopback, &headers(&[])).unwrap_err();
        let twice = check_host(Reach::Loopback, &headers(&[("host", "localhost"), ("host", "localhost")])).unwrap_err();
        assert_eq!((missing.status.as_u16(), twice.status.as_u16()), (400, 400));
    }

    #[test]
    fn a_token_is_a_bearer_or_a_password() {
        let token = |value: &str| given_token(&headers(&[("authorization", value)]));
        let secret = Some("s3cr:t".to_owned());
        assert_eq!(token("Bearer s3cr:t"), secret);
        assert_eq!(token("bearer  s3cr:t "), secret);
        assert_eq!(token("Basic cHJvbTpzM2NyOnQ="), secret);
        assert_eq!(token("basic OnMzY3I6dA=="), secret);
        for wrong in ["", "Bearer", "Basic", "Basic ?", "Basic cHJvbQ==", "Digest a=b", "s3cr:t"] {
            assert_eq!(token(wrong), None, "{wrong}");
        }
    }
}
