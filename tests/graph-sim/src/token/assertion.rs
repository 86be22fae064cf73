//! Client assertions: tokens signed with a registered certificate, and tokens of a federated issuer.
//!
//! <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>

use std::collections::BTreeSet;

use jiff::Timestamp;
use jsonwebtoken::crypto::verify;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::TokenError;
use crate::clock;
use crate::encoding::base64_decode;
use crate::request::Request;
use crate::tenant::Tenant;

const KIND: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const LONGEST_LIFE_SECONDS: i64 = 24 * 3600;

/// Checks an assertion with its type, and records a valid one as used.
pub(super) fn check(
    tenant: &Tenant,
    request: &Request,
    (kind, assertion): (&str, &str),
    client: &str,
    spent: &mut BTreeSet<String>,
) -> Result<(), TokenError> {
    if kind != KIND {
        return Err(malformed(&format!("the client assertion type '{kind}' is not supported")));
    }
    if tenant.federated_tokens.contains(assertion) {
        return Ok(());
    }
    let Some(token) = Assertion::read(assertion) else {
        return Err(if tenant.federated_tokens.is_empty() {
            malformed("it does not have three parts")
        } else {
            unmatched()
        });
    };
    let Some(thumbprint) = token.header["x5t#S256"].as_str() else {
        // A certificate assertion names its certificate, a federated token its issuer.
        let foreign = token.claim("iss").is_some_and(|issuer| issuer.starts_with("https://"));
        return Err(if foreign { unmatched_subject(&token) } else { malformed("it names no certificate") });
    };
    let algorithm = match token.header["alg"].as_str() {
        Some("PS256") => Algorithm::PS256,
        Some("RS256") => Algorithm::RS256,
        other => return Err(malformed(&format!("the algorithm {other:?} is not supported"))),
    };
    verify_signature(tenant, &token, algorithm, thumbprint, client)?;
    token.check_claims(tenant, request, client)?;
    let id = token.claim("jti").filter(|id| !id.is_empty()).ok_or_else(|| malformed("it has no 'jti'"))?;
    if !spent.insert(id.to_owned()) {
        let message = format!("Assertion failed: the one with the identifier '{id}' was presented before.");
        return Err(TokenError::new(401, "invalid_client", 50013, message));
    }
    Ok(())
}

struct Assertion<'a> {
    header: Value,
    claims: Value,
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Assertion<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let object = |part| serde_json::from_slice::<Value>(&base64_decode(part)?).ok().filter(Value::is_object);
        Some(Self { header: object(header)?, claims: object(claims)?, signed, signature })
    }

    fn claim(&self, name: &str) -> Option<&str> {
        self.claims[name].as_str()
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        Timestamp::from_second(self.claims[name].as_i64()?).ok()
    }

    /// Checks issuer, audience and validity period.
    fn check_claims(&self, tenant: &Tenant, request: &Request, client: &str) -> Result<(), TokenError> {
        let refused = |code, message: &str| Err(TokenError::new(401, "invalid_client", code, message));
        if self.claim("sub") != self.claim("iss") {
            return refused(50048, "Subject must match the issuer claim in the client assertion.");
        }
        if !self.claim("iss").is_some_and(|issuer| issuer.eq_ignore_ascii_case(client)) {
            return refused(700_021, "Client assertion application identifier doesn't match 'client_id' parameter.");
        }
        let mut audiences = [&tenant.tenant_id, &tenant.domain]
            .map(|tenant| format!("{}/{tenant}/oauth2/v2.0/token", request.origin))
            .into_iter();
        if !self.claim("aud").is_some_and(|claim| audiences.any(|audience| claim.eq_ignore_ascii_case(&audience))) {
            return refused(700_023, "Client assertion audience claim does not match Realm issuer.");
        }
        let now = clock::now();
        // Entra does not require `nbf`.
        let from = self.time("nbf").unwrap_or(Timestamp::UNIX_EPOCH);
        let to = self.time("exp").ok_or_else(|| malformed("it has no 'exp'"))?;
        let too_far = to.as_second() - now.as_second() > LONGEST_LIFE_SECONDS;
        if now < from || to < now || too_far {
            let [now, from, to] = [now, from, to].map(|time| time.strftime("%Y-%m-%dT%H:%M:%S%.7fZ").to_string());
            let message = format!(
                "Client assertion is not within its valid time range. Current time: {now}, assertion valid from {from}, expiry time of assertion {to}."
            );
            return refused(700_024, &message);
        }
        Ok(())
    }
}

/// Checks the signature against the registered certificate that the assertion names.
fn verify_signature(
    tenant: &Tenant,
    token: &Assertion<'_>,
    algorithm: Algorithm,
    thumbprint: &str,
    client: &str,
) -> Result<(), TokenError> {
    let refused = |reason: &str| {
        let detail =
            "The certificate with identifier used to sign the client assertion is not registered on application.";
        let message =
            format!("{detail} [Reason - {reason}, Thumbprint of key used by client: '{thumbprint}', app '{client}'.]");
        Err(TokenError::new(401, "invalid_client", 700_027, message))
    };
    let known = tenant.certificates.iter().find(|certificate| certificate.thumbprint() == thumbprint);
    let Some(certificate) = known else { return refused("The key was not found.") };
    let now = clock::now();
    if now < certificate.starts_at || certificate.ends_at < now {
        return refused("The key used is expired.");
    }
    let (modulus, exponent) = certificate.public_key();
    let key = DecodingKey::from_rsa_raw_components(modulus, exponent);
    match verify(token.signature, token.signed.as_bytes(), &key, algorithm) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => refused("The key was found, but use of the key to verify the signature failed."),
    }
}

fn malformed(reason: &str) -> TokenError {
    TokenError::new(400, "invalid_request", 50027, format!("JWT token is invalid or malformed: {reason}."))
}

fn unmatched() -> TokenError {
    TokenError::new(
        400,
        "invalid_request",
        70021,
        "No matching federated identity record found for presented assertion.",
    )
}

fn unmatched_subject(token: &Assertion<'_>) -> TokenError {
    let subject = token.claim("sub").unwrap_or_default();
    let detail =
        "Check your federated identity credential Subject, Audience and Issuer against the presented assertion.";
    let message =
        format!("No matching federated identity record found for presented assertion subject '{subject}'. {detail}");
    TokenError::new(401, "invalid_client", 700_213, message)
}
