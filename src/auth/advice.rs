//! Advice for a refused sign-in, by the AADSTS number and by what this machine knows about its credential.
//!
//! Nothing else depends on these numbers: <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>.

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde::Deserialize;

use super::certificate::Certificate;
use super::error::Refusal;
use super::{Proof, jwt_claims};
use crate::model::{CLOCK_TOLERANCE, foreign_text};

/// The audience that Entra expects in the token of another issuer.
const AUDIENCE: &str = "api://AzureADTokenExchange";

/// The facts about a refused sign-in that this machine knows.
pub(super) struct Evidence<'e> {
    pub(super) proof: &'e Proof,
    /// The origin of the token endpoint.
    pub(super) authority: &'e str,
    pub(super) now: Timestamp,
    /// How far the local clock is ahead of the clock of the endpoint.
    pub(super) clock_ahead: Option<SignedDuration>,
}

/// Cause and fix. Where several numbers mean the same, the order is that of Entra's documentation.
const ADVICE: [(&[u32], &str); 31] = [
    (
        &[70002, 7000215],
        "the client secret is wrong: copy the secret's value, not its ID, from Certificates & secrets of the app \
         registration",
    ),
    (
        &[7000222],
        "the client secret has expired: add a new one under Certificates & secrets of the app registration, and replace \
         the old one; a running daemon reads it at its next sign-in",
    ),
    (
        &[700011, 700016],
        "entra.client_id is unknown in this tenant: copy the Application (client) ID from the Overview page of the app \
         registration, and check entra.tenant_id",
    ),
    (
        &[90002, 900021, 900023],
        "entra.tenant_id is unknown in this cloud: copy the Directory (tenant) ID from the Overview page of the app \
         registration, and check entra.cloud",
    ),
    (
        &[50059, 50128, 90019],
        "the sign-in names no tenant: set entra.tenant_id to the Directory (tenant) ID from the Overview page of the app \
         registration, and check entra.authority_url",
    ),
    (
        &[50194, 90124, 90130, 9001023],
        "entra.tenant_id does not name a single tenant: set it to the Directory (tenant) ID from the Overview page of the \
         app registration",
    ),
    (
        &[7000229],
        "the app registration has no enterprise application in this tenant: open API permissions of the app registration \
         and give admin consent, which creates it",
    ),
    (
        &[70001, 1000031, 7000112],
        "the application of entra.client_id is disabled: set Enabled for users to sign-in to Yes under Enterprise \
         applications > the application > Properties",
    ),
    (
        &[50105, 501051],
        "the application requires an assignment: set Assignment required to No under Enterprise applications > the \
         application > Properties, or assign the application that signs in",
    ),
    (
        &[65001, 65005, 650056, 90008, 90094],
        "the application has no consent in this tenant: open API permissions of the app registration and give admin \
         consent",
    ),
    (
        &[90038, 90051, 900382, 900432],
        "the tenant belongs to another Microsoft cloud: set entra.cloud to the cloud of the tenant, and remove \
         entra.authority_url and entra.graph_url if they name another cloud",
    ),
    (
        &[28002, 50001, 70011, 500011, 650057, 700022],
        "entra.cloud or entra.graph_url does not belong to this tenant's cloud",
    ),
    (
        &[500014],
        "Microsoft Graph is disabled in this tenant, or a subscription of the tenant has ended: under Enterprise \
         applications, find the application id 00000003-0000-0000-c000-000000000000 and set Enabled for users to sign-in \
         to Yes, and check the subscriptions of the tenant",
    ),
    (
        &[5000224],
        "the tenant is blocked or was deleted: check entra.tenant_id and the subscriptions of the tenant, and ask \
         Microsoft support",
    ),
    (
        &[50002, 500021, 500022],
        "a proxy restricts the tenants that this machine may use (Restrict-Access-To-Tenants): let it allow the tenant of \
         entra.tenant_id",
    ),
    (
        &[53003, 530032, 530035],
        "a Conditional Access policy for workload identities blocks this machine: find it under Entra ID > Sign-in logs > \
         Service principal sign-ins, and allow the address of this machine",
    ),
    (
        &[53004, 53011],
        "ID Protection blocks the application because of a risk: look at ID Protection > Risky workload identities, add a \
         new credential, and dismiss the risk or change the policy",
    ),
    (
        &[700027],
        "the certificate is not registered on the app registration: upload the one of entra.credential under Certificates \
         & secrets > Certificates",
    ),
    (
        &[7000214, 7000277],
        "the certificate was revoked by its issuer: request a new one, upload it under Certificates & secrets > \
         Certificates, and replace the files of entra.credential",
    ),
    (
        &[1000502, 7000274],
        "Entra does not accept the certificate at this time, although its dates are valid here: check the clock of this \
         machine, and the dates of the certificate under Certificates & secrets > Certificates",
    ),
    (
        &[50006, 50012, 700030],
        "Entra does not accept the certificate or its signature: upload the certificate of entra.credential under \
         Certificates & secrets > Certificates, and remove older ones of the same name",
    ),
    (&[50032], "the RSA key of the certificate is too weak: create a certificate with a key of 2048 bits or more"),
    (&[700024], "the clock of this machine is wrong, or the token in entra.credential.token_file has expired"),
    (
        &[50048, 700021],
        "the signed assertion names another application than entra.client_id: check entra.client_id, and with \
         entra.credential.kind = \"workload-identity\" that the token comes from the issuer of a federated credential",
    ),
    (
        &[50013, 50027, 50120, 900384],
        "Entra cannot read or verify the signed assertion: with entra.credential.kind = \"workload-identity\", the token \
         file must contain an unexpired JSON Web Token of the issuer of a federated credential",
    ),
    (
        &[70021, 700211, 700212, 700213, 7002121, 7002138],
        "no federated credential of the app registration matches the issuer, subject and audience of the token in \
         entra.credential.token_file; letter case matters",
    ),
    (
        &[700229, 700231],
        "the token in entra.credential.token_file cannot be used for a federated credential: it must come from the \
         issuer itself, for an application and not for a user, and not from another federated credential",
    ),
    (
        &[700025],
        "the app registration is a public client, which has no credential: set Allow public client flows to No under \
         Authentication",
    ),
    (
        &[7000232],
        "entra.client_id belongs to a managed identity, which has no secret: set entra.credential.kind = \
         \"managed-identity\"",
    ),
    (
        &[90014, 900144, 7000216, 7000218],
        "the sign-in arrived without its credential: check entra.proxy and any firewall that may remove the body of a \
         request",
    ),
    (
        &[50196],
        "Entra saw too many equal sign-ins in a short time: look for other programs that sign in as entra.client_id, such \
         as a loop that starts learner-sync; the next cycle tries again",
    ),
];

/// The cause of a refusal and its fix, or where to look them up.
pub(super) fn advice(refusal: &Refusal, evidence: &Evidence<'_>) -> String {
    let mut numbers = refusal.numbers.iter().copied();
    if let Some(advice) = numbers.clone().find_map(|number| for_number(number, evidence)) {
        return advice;
    }
    if super::answer::retry_budget(refusal.status, Some(refusal)).is_some() {
        return "Entra is busy or unavailable at the moment: the next cycle tries again".to_owned();
    }
    match numbers.next() {
        Some(number) => format!("look up the number: {}/error?code={number}", evidence.authority),
        None => "look for the sign-in under Entra ID > Sign-in logs > Service principal sign-ins".to_owned(),
    }
}

fn for_number(number: u32, evidence: &Evidence<'_>) -> Option<String> {
    let (_, general) = ADVICE.iter().find(|(numbers, _)| numbers.contains(&number)).copied().unzip();
    let local = match (number, evidence.proof) {
        (50006 | 50012 | 700024 | 700027 | 700030 | 1000502 | 7000274, Proof::Certificate(certificate)) => {
            wrong_clock(evidence).or_else(|| dates(certificate, evidence.now)).or_else(|| match general {
                Some(general) if number != 700024 => {
                    Some(format!("{general}; its thumbprint is {}", certificate.thumbprint()))
                }
                _ => None,
            })
        }
        (700024, _) => wrong_clock(evidence).or_else(|| expired_token(evidence)),
        (50013 | 50027 | 900384, Proof::FederatedToken(_)) => expired_token(evidence).or_else(|| wrong_clock(evidence)),
        (70021 | 700211 | 700212 | 700213 | 7002121 | 7002138, Proof::FederatedToken(token)) => {
            TokenClaims::of(token).map(|claims| format!("{}: {}", general.unwrap_or_default(), claims.in_words()))
        }
        // The number has another meaning for each kind of credential.
        (700023, Proof::Secret(_)) => {
            Some("the scope of the sign-in is invalid: check entra.cloud and entra.graph_url".to_owned())
        }
        (700023, Proof::Certificate(_)) => Some(
            "the signed assertion is for another token endpoint: check entra.cloud and entra.authority_url, which must \
             be the host that Entra itself answers under"
                .to_owned(),
        ),
        (700023, Proof::FederatedToken(_)) => {
            Some(format!("the token in entra.credential.token_file has another audience than {AUDIENCE}"))
        }
        _ => None,
    };
    local.or_else(|| general.map(str::to_owned))
}

fn wrong_clock(evidence: &Evidence<'_>) -> Option<String> {
    let ahead = evidence.clock_ahead.filter(|ahead| ahead.abs() > CLOCK_TOLERANCE)?;
    let (seconds, direction) = (ahead.as_secs().unsigned_abs(), if ahead.is_negative() { "behind" } else { "ahead" });
    Some(format!(
        "the clock of this machine is {seconds} s {direction}: set it, for example with timedatectl set-ntp true"
    ))
}

/// The certificate is not valid now, by the clock of this machine.
fn dates(certificate: &Certificate, now: Timestamp) -> Option<String> {
    let problem = certificate.date_problem(now)?;
    Some(format!(
        "the certificate {problem}: create a new one, upload it under Certificates & secrets > Certificates of the app \
         registration, and replace the files of entra.credential; or correct the clock of this machine"
    ))
}

/// The claims that a federated credential is compared with.
#[derive(Deserialize)]
struct TokenClaims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    sub: String,
    #[serde(default)]
    aud: serde_json::Value,
    exp: Option<i64>,
}

impl TokenClaims {
    fn of(token: &SecretString) -> Option<Self> {
        jwt_claims(token)
    }

    fn in_words(&self) -> String {
        let Self { iss, sub, aud, exp: _ } = self;
        let audience = aud.as_str().map_or_else(|| aud.to_string(), str::to_owned);
        let [issuer, subject, audience] = [iss, sub, &audience].map(|claim| foreign_text(claim));
        let expected = if audience == AUDIENCE { String::new() } else { format!(", not {AUDIENCE}") };
        format!("the token has issuer {issuer}, subject {subject} and audience {audience}{expected}")
    }
}

fn expired_token(evidence: &Evidence<'_>) -> Option<String> {
    let Proof::FederatedToken(token) = evidence.proof else { return None };
    let end = Timestamp::from_second(TokenClaims::of(token)?.exp?).ok().filter(|end| *end <= evidence.now)?;
    Some(format!(
        "the token in entra.credential.token_file expired at {end}: find out why its issuer, or the program that writes \
         the file, does not renew it"
    ))
}
