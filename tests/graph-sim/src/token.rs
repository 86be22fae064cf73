//! Entra's token endpoint for client credentials, and the issued tokens.
//!
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>

mod assertion;
mod managed_identity;
mod refusals;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::clock;
use crate::encoding::{base64_decode, base64url, form_decode, form_pairs};
use crate::reply::{Exchange, GraphError, Reply};
use crate::request::Request;
use crate::tenant::Tenant;

pub(crate) use managed_identity::{error as identity_error, is_request as is_identity_request};
pub(crate) use refusals::refusal;

#[derive(Debug, Clone, Default)]
pub(crate) struct Roles(BTreeSet<String>);

impl Roles {
    /// Whether the token carries one of several permissions.
    pub(crate) fn any(&self, permissions: &[&str]) -> bool {
        permissions.iter().any(|permission| self.0.contains(*permission))
    }
}

/// The issued tokens, and the assertions used to get them.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    issued: BTreeMap<String, Issued>,
    spent: BTreeSet<String>,
}

#[derive(Debug)]
struct Issued {
    roles: Roles,
    expires: Timestamp,
    revoked: bool,
}

impl Tokens {
    pub(crate) fn check(&self, request: &Request) -> Result<Roles, GraphError> {
        let refused = |message: &str| GraphError::new(401, "InvalidAuthenticationToken", message);
        let header = request.header("authorization").ok_or_else(|| refused("Access token is empty."))?;
        let token = header.strip_prefix("Bearer ").ok_or_else(|| refused("Access token is empty."))?;
        match self.issued.get(token) {
            None => Err(refused("CompactToken parsing failed with error code: 80049217")),
            Some(issued) if issued.revoked => {
                Err(refused("CompactToken validation failed with reason code: 80049228."))
            }
            Some(issued) if issued.expires <= clock::now() => {
                Err(refused("Lifetime validation failed, the token is expired."))
            }
            Some(issued) => Ok(issued.roles.clone()),
        }
    }

    /// Revokes every token issued so far.
    pub(crate) fn revoke_all(&mut self) {
        self.issued.values_mut().for_each(|issued| issued.revoked = true);
    }

    pub(crate) fn issue(&mut self, tenant: &Tenant, request: &Request, exchange: &Exchange) -> Reply {
        match grant(tenant, request, &mut self.spent) {
            Ok(audience) => {
                let minted = self.mint(tenant, &tenant.client_id, &tenant.permissions, &audience, exchange);
                let seconds = tenant.token_lifetime_seconds;
                let body = json!({
                    "token_type": "Bearer",
                    "expires_in": seconds,
                    "ext_expires_in": seconds,
                    "access_token": minted.token,
                });
                Reply::json(200, &body)
            }
            Err(refusal) => refusal.reply(exchange),
        }
        .header("Cache-Control", "no-store, no-cache")
        .header("x-ms-request-id", &exchange.request_id)
    }

    /// Issues a token that the simulated Graph accepts.
    fn mint(
        &mut self,
        tenant: &Tenant,
        client_id: &str,
        permissions: &BTreeSet<String>,
        audience: &str,
        exchange: &Exchange,
    ) -> Minted {
        let begins = clock::now();
        let lifetime = SignedDuration::from_secs(tenant.token_lifetime_seconds.into());
        let expires = begins.checked_add(lifetime).unwrap_or(Timestamp::MAX);
        let claims = json!({
            "aud": audience,
            "iss": format!("https://sts.windows.net/{}/", tenant.tenant_id),
            "iat": begins.as_second(),
            "nbf": begins.as_second(),
            "exp": expires.as_second(),
            "appid": client_id,
            "idtyp": "app",
            "roles": permissions,
            "tid": tenant.tenant_id,
            "uti": exchange.request_id,
            "ver": "1.0",
        });
        // Only the simulator checks the token, so a placeholder serves as signature.
        let parts = [r#"{"typ":"JWT","alg":"none"}"#, &claims.to_string(), &exchange.request_id];
        let token = parts.map(|part| base64url(part.as_bytes())).join(".");
        let roles = Roles(permissions.clone());
        self.issued.insert(token.clone(), Issued { roles, expires, revoked: false });
        Minted { token, begins, expires }
    }
}

struct Minted {
    token: String,
    begins: Timestamp,
    expires: Timestamp,
}

struct TokenError {
    status: u16,
    error: &'static str,
    code: u32,
    message: String,
}

impl TokenError {
    fn new(status: u16, error: &'static str, code: u32, message: impl Into<String>) -> Self {
        Self { status, error, code, message: message.into() }
    }

    fn reply(self, exchange: &Exchange) -> Reply {
        let Self { status, error, code, message } = self;
        let timestamp = clock::now().strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let trace = &exchange.request_id;
        let correlation = exchange.client_request_id.as_ref().unwrap_or(trace);
        let description = format!(
            "AADSTS{code}: {message}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {timestamp}"
        );
        let body = json!({
            "error": error,
            "error_description": description,
            "error_codes": [code],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
        });
        Reply::json(status, &body)
    }
}

/// Checks the credentials in Entra's order and returns the audience.
fn grant(tenant: &Tenant, request: &Request, spent: &mut BTreeSet<String>) -> Result<String, TokenError> {
    let name = request.segments.first().map(String::as_str).unwrap_or_default();
    if !name.eq_ignore_ascii_case(&tenant.tenant_id) && !name.eq_ignore_ascii_case(&tenant.domain) {
        let hint = "Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.";
        return Err(TokenError::new(400, "invalid_tenant", 90002, format!("Tenant '{name}' not found. {hint}")));
    }
    let form: BTreeMap<_, _> = form_pairs(&String::from_utf8_lossy(&request.body)).into_iter().collect();
    let missing = |name: &str| {
        let message = format!("The request body must contain the following parameter: '{name}'.");
        TokenError::new(400, "invalid_request", 900_144, message)
    };
    let grant_type = form.get("grant_type").ok_or_else(|| missing("grant_type"))?;
    if grant_type != "client_credentials" {
        let message = format!("The app requested an unsupported grant type '{grant_type}'.");
        return Err(TokenError::new(400, "unsupported_grant_type", 70003, message));
    }
    let basic = request.header("authorization").and_then(basic_credentials);
    let (client, secret) = match &basic {
        Some((client, secret)) => (Some(client), Some(secret)),
        None => (form.get("client_id"), form.get("client_secret")),
    };
    let client = client.ok_or_else(|| missing("client_id"))?;
    if !client.eq_ignore_ascii_case(&tenant.client_id) {
        let detail = "This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.";
        let message = format!(
            "Application with identifier '{client}' was not found in the directory '{}'. {detail}",
            tenant.display_name
        );
        return Err(TokenError::new(400, "unauthorized_client", 700_016, message));
    }
    let scope = form.get("scope").ok_or_else(|| missing("scope"))?;
    let audience = scope.strip_suffix("/.default").filter(|audience| !audience.is_empty());
    let audience = audience.filter(|audience| !audience.contains(' ')).ok_or_else(|| {
        let message =
            format!("The provided value for the input parameter 'scope' is not valid. The scope {scope} is not valid.");
        TokenError::new(400, "invalid_scope", 70011, message)
    })?;
    if let Some(assertion) = form.get("client_assertion") {
        let kind = form.get("client_assertion_type").ok_or_else(|| missing("client_assertion_type"))?;
        assertion::check(tenant, request, (kind, assertion), client, spent)?;
        return Ok(audience.to_owned());
    }
    let secret = secret.filter(|secret| !secret.is_empty()).ok_or_else(|| {
        let message = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
        TokenError::new(401, "invalid_client", 7_000_218, message)
    })?;
    if *secret != tenant.client_secret {
        let detail = "Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app";
        let message = format!("Invalid client secret provided. {detail} '{client}'.");
        return Err(TokenError::new(401, "invalid_client", 7_000_215, message));
    }
    if tenant.secret_expired {
        let detail = "Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.";
        let message = format!("The provided client secret keys for app '{client}' are expired. {detail}");
        return Err(TokenError::new(401, "invalid_client", 7_000_222, message));
    }
    Ok(audience.to_owned())
}

/// Client id and secret of a Basic header; both are form-encoded (RFC 6749, 2.3.1).
fn basic_credentials(header: &str) -> Option<(String, String)> {
    let text = String::from_utf8(base64_decode(header.strip_prefix("Basic ")?)?).ok()?;
    let (client, secret) = text.split_once(':')?;
    Some((form_decode(client), form_decode(secret)))
}
