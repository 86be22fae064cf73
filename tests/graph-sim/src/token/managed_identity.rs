//! The token endpoint of the instance metadata service, for managed identities. The real one has its own address,
//! 169.254.169.254; here it is one more path.
//!
//! <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>

use serde_json::json;

use super::{Minted, Tokens};
use crate::reply::{Exchange, Reply};
use crate::request::Request;
use crate::tenant::Tenant;

const PATH: [&str; 4] = ["metadata", "identity", "oauth2", "token"];

pub(crate) fn is_request(request: &Request) -> bool {
    request.segments.iter().map(String::as_str).eq(PATH)
}

pub(crate) fn error(status: u16, code: &str, description: &str) -> Reply {
    Reply::json(status, &json!({ "error": code, "error_description": description }))
}

impl Tokens {
    pub(crate) fn issue_to_identity(&mut self, tenant: &Tenant, request: &Request, exchange: &Exchange) -> Reply {
        match requested_identity(tenant, request) {
            Ok((identity, resource)) => {
                let permissions = tenant.managed_identity_permissions.as_ref().unwrap_or(&tenant.permissions);
                let Minted { token, begins, expires } = self.mint(tenant, identity, permissions, resource, exchange);
                // This service sends numbers as texts, unlike the token endpoint.
                let seconds = tenant.token_lifetime_seconds.to_string();
                let body = json!({
                    "access_token": token,
                    "client_id": identity,
                    "expires_in": seconds,
                    "expires_on": expires.as_second().to_string(),
                    "ext_expires_in": seconds,
                    "not_before": begins.as_second().to_string(),
                    "resource": resource,
                    "token_type": "Bearer",
                });
                Reply::json(200, &body)
            }
            Err((code, description)) => error(400, code, description),
        }
    }
}

/// The requested identity and resource, or the error and its description.
fn requested_identity<'a>(
    tenant: &'a Tenant,
    request: &'a Request,
) -> Result<(&'a str, &'a str), (&'static str, &'static str)> {
    if !request.header("metadata").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(("bad_request_102", "Required metadata header not specified"));
    }
    match request.option("api-version") {
        None | Some("") => return Err(("invalid_request", "Required query variable 'api-version' is missing")),
        Some(version) if !is_date(version) => return Err(("invalid_request", "Required api-version is not supported")),
        Some(_) => {}
    }
    let resource = request.option("resource").filter(|resource| !resource.is_empty());
    let resource = resource.ok_or(("invalid_request", "Required query variable 'resource' is missing"))?;
    if !resource.starts_with("https://") && !resource.starts_with("http://") {
        let detail = "AADSTS500011: The resource principal was not found in the tenant.";
        return Err(("invalid_resource", detail));
    }
    let identities = &tenant.managed_identities;
    let identity = match request.option("client_id") {
        Some(requested) => identities.iter().find(|known| known.eq_ignore_ascii_case(requested)),
        None => match (&tenant.system_assigned_identity, identities.len()) {
            (Some(own), _) => Some(own),
            (None, 0 | 1) => identities.first(),
            (None, _) => {
                let detail = "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request";
                return Err(("invalid_request", detail));
            }
        },
    };
    Ok((identity.ok_or(("invalid_request", "Identity not found"))?, resource))
}

/// Versions are dates: `2018-02-01` and later ones.
fn is_date(version: &str) -> bool {
    version.parse::<jiff::civil::Date>().is_ok_and(|date| date >= jiff::civil::date(2018, 2, 1))
}
