//! Refusals of the token endpoint that depend on settings which the simulated tenant does not have.
//!
//! <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>

use serde_json::json;

/// Number, status, OAuth error and message.
const REFUSALS: [(u32, u16, &str, &str); 38] = [
    (50006, 401, "invalid_client", "Invalid signature."),
    (50012, 401, "invalid_client", "Authentication failed."),
    (50027, 401, "invalid_client", "JWT token is invalid or malformed."),
    (
        50059,
        400,
        "invalid_request",
        "No tenant-identifying information found in either the request or implied by any provided credentials.",
    ),
    (50194, 400, "invalid_request", "Application is not configured as a multi-tenant application."),
    (
        50196,
        400,
        "invalid_grant",
        "The server terminated an operation because it encountered a loop while processing a request.",
    ),
    (53003, 400, "invalid_grant", "Access has been blocked by Conditional Access policies."),
    (53004, 400, "invalid_grant", "The sign-in is blocked because of a risk."),
    (65001, 400, "invalid_grant", "The administrator has not consented to use the application."),
    (70001, 400, "unauthorized_client", "The application is disabled."),
    (70021, 400, "invalid_client", "No matching federated identity record found for presented assertion."),
    (90024, 400, "temporarily_unavailable", "A transient error has occurred. Please try again."),
    (90033, 400, "temporarily_unavailable", "The directory service is temporarily unavailable."),
    (500011, 400, "invalid_resource", "The resource principal was not found in the tenant."),
    (500014, 400, "invalid_resource", "The service principal for resource 'https://graph.microsoft.com' is disabled."),
    (500021, 403, "access_denied", "Access to the tenant is denied."),
    (501051, 400, "invalid_grant", "The application is not assigned to a role for the resource."),
    (700021, 401, "invalid_client", "Client assertion application identifier does not match 'client_id' parameter."),
    (700023, 401, "invalid_client", "Client assertion audience claim does not match Realm issuer."),
    (700024, 401, "invalid_client", "Client assertion is not within its valid time range."),
    (
        700025,
        401,
        "invalid_client",
        "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
    ),
    (
        700027,
        401,
        "invalid_client",
        "The certificate with identifier used to sign the client assertion is not registered on application.",
    ),
    (700030, 401, "invalid_client", "Invalid certificate: subject name in certificate is not authorized."),
    (700211, 400, "invalid_request", "No matching federated identity record found for presented assertion issuer."),
    (700212, 400, "invalid_request", "No matching federated identity record found for presented assertion audience."),
    (700213, 400, "invalid_request", "No matching federated identity record found for presented assertion subject."),
    (900382, 400, "invalid_request", "Confidential Client is not supported in Cross Cloud request."),
    (1000502, 401, "invalid_client", "The provided certificate is not within its specified validity window."),
    // Not one of Entra's: the number of a later version.
    (1234567, 400, "invalid_request", "The request is invalid."),
    (5000224, 400, "invalid_request", "We are sorry, this resource is not available."),
    (7000112, 400, "unauthorized_client", "Application is disabled."),
    (7000214, 401, "invalid_client", "Certificate has been revoked."),
    (7000229, 401, "invalid_client", "The client application is missing service principal in the tenant."),
    (7000232, 401, "invalid_client", "The identity of a managed identity must not use a client secret."),
    (7000274, 401, "invalid_client", "The certificate is not within its validity period."),
    (7000277, 401, "invalid_client", "The certificate was revoked."),
    (7002121, 400, "invalid_request", "No matching federated identity record found for presented assertion audience."),
    (7002138, 400, "invalid_request", "No matching federated identity record found: the letter case differs."),
];

/// Status and body of a refusal with this number. Panics for a number that is not in [`REFUSALS`].
pub(crate) fn refusal(code: u32) -> (u16, String) {
    let known = REFUSALS.iter().find(|(known, ..)| *known == code);
    let (_, status, error, message) = known.unwrap_or_else(|| panic!("the simulator does not know AADSTS{code}"));
    let (trace, time) = ("3f1f7c0e-5a55-4d1c-9c30-7d5d5f1b0400", "2026-03-02 08:00:00Z");
    let lines = format!("\r\nTrace ID: {trace}\r\nCorrelation ID: {trace}\r\nTimestamp: {time}");
    let body = json!({
        "error": error,
        "error_description": format!("AADSTS{code}: {message}{lines}"),
        "error_codes": [code],
        "timestamp": time,
        "trace_id": trace,
        "correlation_id": trace,
        "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
    });
    (*status, body.to_string())
}
