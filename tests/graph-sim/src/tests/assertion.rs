//! Signing in with a certificate or with the token of a federated issuer.

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::client::{Answer, ask_token};
use crate::{CLIENT_ID, GraphSim, SigningCertificate, TENANT_ID, Tenant, clock};

const KIND: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

// Shared, because generating RSA keys is slow.
static ADA: LazyLock<SigningCertificate> = LazyLock::new(|| SigningCertificate::new("ada"));
static EVE: LazyLock<SigningCertificate> = LazyLock::new(|| SigningCertificate::new("eve"));

/// A simulator with Ada's certificate registered, and the header and claims of a valid assertion.
async fn sim_with_certificate() -> (GraphSim, Header, Value) {
    let mut tenant = Tenant::default();
    tenant.register_certificate(&ADA.certificate_pem);
    let thumbprint = tenant.certificates[0].thumbprint();
    let sim = GraphSim::start(tenant).await;
    let now = clock::now().as_second();
    let claims = json!({
        "aud": format!("{}/{TENANT_ID}/oauth2/v2.0/token", sim.url()),
        "iss": CLIENT_ID,
        "sub": CLIENT_ID,
        "jti": "1d4f0f6e-6f9b-4f0e-a1c5-3a0f86a4f1b7",
        "nbf": now,
        "exp": now + 600,
    });
    let header = Header { x5t_s256: Some(thumbprint), ..Header::new(Algorithm::PS256) };
    (sim, header, claims)
}

fn signed(header: &Header, claims: &Value, with: &SigningCertificate) -> String {
    encode(header, claims, &EncodingKey::from_rsa_pem(with.key_pem.as_bytes()).unwrap()).unwrap()
}

async fn present(sim: &GraphSim, kind: &str, assertion: &str) -> Answer {
    let form = format!(
        "grant_type=client_credentials&client_id={CLIENT_ID}&client_assertion_type={kind}&client_assertion={assertion}&scope=https://graph.microsoft.com/.default"
    );
    ask_token(sim, TENANT_ID, &form).await
}

async fn refused(sim: &GraphSim, assertion: &str, status: u16, error: &str, code: u32) {
    let answer = present(sim, KIND, assertion).await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(error)), "{}", answer.text);
    assert_eq!(answer.json()["error_codes"], json!([code]), "{}", answer.text);
}

#[tokio::test]
async fn each_assertion_of_a_registered_certificate_signs_in_once() {
    for algorithm in [Algorithm::PS256, Algorithm::RS256] {
        let (sim, header, claims) = sim_with_certificate().await;
        let assertion = signed(&Header { alg: algorithm, ..header }, &claims, &ADA);
        let answer = present(&sim, KIND, &assertion).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let authorization = format!("Bearer {}", answer.json()["access_token"].as_str().unwrap());
        let headers = [("Authorization", authorization.as_str())];
        assert_eq!(super::client::send(&sim, "GET", "/v1.0/users", &headers, "").await.unwrap().status, 200);
        refused(&sim, &assertion, 401, "invalid_client", 50013).await;
    }
}

#[tokio::test]
async fn a_signature_needs_a_registered_and_valid_certificate() {
    let (sim, header, claims) = sim_with_certificate().await;
    let eve = {
        let mut tenant = Tenant::default();
        tenant.register_certificate(&EVE.certificate_pem);
        tenant.certificates[0].thumbprint()
    };
    refused(&sim, &signed(&header, &claims, &EVE), 401, "invalid_client", 700_027).await;
    let unknown = Header { x5t_s256: Some(eve), ..header.clone() };
    refused(&sim, &signed(&unknown, &claims, &EVE), 401, "invalid_client", 700_027).await;
    let mut tampered = signed(&header, &claims, &ADA);
    let other = signed(&header, &json!({ "iss": CLIENT_ID }), &ADA);
    let (signed_part, signature) = (other.rsplit_once('.').unwrap().0, tampered.rsplit_once('.').unwrap().1.to_owned());
    tampered = format!("{signed_part}.{signature}");
    refused(&sim, &tampered, 401, "invalid_client", 700_027).await;

    let hour = SignedDuration::from_hours(1);
    sim.tenant(|tenant| tenant.certificates[0].ends_at = clock::now() - hour);
    refused(&sim, &signed(&header, &claims, &ADA), 401, "invalid_client", 700_027).await;
    sim.tenant(|tenant| tenant.certificates[0].ends_at = clock::now() + hour);
    sim.tenant(|tenant| tenant.certificates[0].starts_at = clock::now() + hour);
    refused(&sim, &signed(&header, &claims, &ADA), 401, "invalid_client", 700_027).await;
    sim.tenant(|tenant| tenant.certificates[0].starts_at = Timestamp::UNIX_EPOCH);
    assert_eq!(
        present(&sim, KIND, &signed(&header, &claims, &ADA)).await.status,
        200,
        "refused assertions are not used up"
    );
}

#[tokio::test]
async fn each_claim_is_checked() {
    let (sim, header, claims) = sim_with_certificate().await;
    let now = clock::now().as_second();
    let check = async |changes: Value, code: u32| {
        let mut claims = claims.clone();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        let (status, error) = if code == 50027 { (400, "invalid_request") } else { (401, "invalid_client") };
        refused(&sim, &signed(&header, &claims, &ADA), status, error, code).await;
    };
    let elsewhere = "https://login.microsoftonline.com/common/oauth2/v2.0/token";
    check(json!({ "aud": elsewhere }), 700_023).await;
    check(json!({ "aud": [claims["aud"]] }), 700_023).await;
    check(json!({ "aud": null }), 700_023).await;
    check(json!({ "sub": "11111111-2222-4333-8444-555555555555" }), 50048).await;
    let other = "11111111-2222-4333-8444-555555555555";
    check(json!({ "sub": other, "iss": other }), 700_021).await;
    check(json!({ "exp": now - 1 }), 700_024).await;
    check(json!({ "nbf": now + 60 }), 700_024).await;
    check(json!({ "exp": now + 25 * 3600 }), 700_024).await;
    check(json!({ "exp": null }), 50027).await;
    check(json!({ "jti": null }), 50027).await;
    let mut without_nbf = claims.clone();
    without_nbf.as_object_mut().unwrap().remove("nbf");
    assert_eq!(present(&sim, KIND, &signed(&header, &without_nbf, &ADA)).await.status, 200);
}

#[tokio::test]
async fn invalid_assertions_are_malformed() {
    let (sim, header, claims) = sim_with_certificate().await;
    refused(&sim, "nonsense", 400, "invalid_request", 50027).await;
    refused(&sim, "a.b.c", 400, "invalid_request", 50027).await;
    refused(&sim, &signed(&Header { x5t_s256: None, ..header.clone() }, &claims, &ADA), 400, "invalid_request", 50027)
        .await;
    refused(
        &sim,
        &signed(&Header { alg: Algorithm::RS512, ..header.clone() }, &claims, &ADA),
        400,
        "invalid_request",
        50027,
    )
    .await;
    let good = signed(&header, &claims, &ADA);
    assert_eq!(present(&sim, "urn:something:else", &good).await.json()["error_codes"][0], 50027);
    assert_eq!(present(&sim, KIND, &good).await.status, 200);
}

#[tokio::test]
async fn only_configured_federated_tokens_are_accepted() {
    let (sim, header, _) = sim_with_certificate().await;
    sim.tenant(|tenant| tenant.federated_tokens.insert("first-token".to_owned()));
    for _ in 0..2 {
        assert_eq!(present(&sim, KIND, "first-token").await.status, 200, "a federated token is reusable");
    }
    refused(&sim, "second-token", 400, "invalid_request", 70021).await;
    sim.tenant(|tenant| tenant.federated_tokens = ["second-token".to_owned()].into());
    refused(&sim, "first-token", 400, "invalid_request", 70021).await;
    assert_eq!(present(&sim, KIND, "second-token").await.status, 200);
    let foreign = json!({ "iss": "https://cluster.example", "sub": "system:serviceaccount:learners:sync" });
    let foreign = signed(&Header { x5t_s256: None, ..header }, &foreign, &EVE);
    refused(&sim, &foreign, 401, "invalid_client", 700_213).await;
}

#[test]
fn certificates_are_registered_from_pem_and_der_with_their_validity() {
    let (from, to) = (Timestamp::constant(1_767_225_600, 0), Timestamp::constant(1_798_761_600, 0));
    let made = SigningCertificate::valid("sync of learners", from, to);
    let mut tenant = Tenant::default();
    let key_id = tenant.register_certificate(format!("{}{}", made.key_pem, made.certificate_pem));
    let body = made.certificate_pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>();
    tenant.register_certificate(crate::encoding::base64_decode(&body).unwrap());
    let [one, other] = tenant.certificates.as_slice() else { panic!("two certificates") };
    assert_eq!((one.starts_at, one.ends_at, one.display_name.as_str()), (from, to, "CN=sync of learners"));
    assert_eq!((&one.key_id, one.thumbprint()), (&key_id, other.thumbprint()));
    assert_ne!(one.key_id, other.key_id);
    assert_eq!((one.thumbprint().len(), one.hexadecimal_thumbprint().len()), (43, 40));
    assert!(!format!("{made:?}").contains("PRIVATE"));
}

#[test]
#[should_panic(expected = "not a certificate with an RSA key")]
fn an_invalid_certificate_is_not_registered() {
    Tenant::default().register_certificate("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----");
}
