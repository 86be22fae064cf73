//! Signing in.

use super::client::{Client, ask_token, form, send};
use crate::encoding::base64_decode;
use crate::{CLIENT_ID, CLIENT_SECRET, DOMAIN, GraphSim, TENANT_ID, Tenant};

#[tokio::test]
async fn credentials_are_checked_like_in_entra() {
    let sim = GraphSim::start(Tenant::default()).await;
    let good = form(CLIENT_ID, CLIENT_SECRET);
    let check = async |tenant: &str, form: &str, status: u16, error: &str, code: u32| {
        let answer = ask_token(&sim, tenant, form).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(error)), "{}", answer.text);
        assert_eq!(answer.json()["error_codes"][0], code);
        let description = answer.json()["error_description"].as_str().unwrap().to_owned();
        assert!(description.starts_with(&format!("AADSTS{code}: ")), "{description}");
    };
    check("11111111-2222-4333-8444-555555555555", &good, 400, "invalid_tenant", 90002).await;
    check(TENANT_ID, &form("11111111-2222-4333-8444-555555555555", "x"), 400, "unauthorized_client", 700_016).await;
    check(TENANT_ID, &form(CLIENT_ID, "wrong"), 401, "invalid_client", 7_000_215).await;
    check(TENANT_ID, &form(CLIENT_ID, ""), 401, "invalid_client", 7_000_218).await;
    check(TENANT_ID, &good.replace("default", "all"), 400, "invalid_scope", 70011).await;
    sim.tenant(|tenant| tenant.secret_expired = true);
    check(TENANT_ID, &good, 401, "invalid_client", 7_000_222).await;
    sim.tenant(|tenant| tenant.secret_expired = false);

    let answer = ask_token(&sim, DOMAIN, &good).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["expires_in"], 3599);
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let claims = base64_decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((&claims["appid"], &claims["tid"]), (&CLIENT_ID.into(), &TENANT_ID.into()));
    assert_eq!(claims["roles"].as_array().unwrap().len(), 3);

    let journal = sim.journal();
    assert_eq!(journal.len(), 7);
    assert_eq!(journal.iter().filter(|call| call.authorized).count(), 1);
    assert!(sim.unexpected_calls().is_empty());
}

#[tokio::test]
async fn client_id_and_secret_may_be_in_a_basic_header() {
    let sim = GraphSim::start(Tenant::default()).await;
    let basic = format!("{CLIENT_ID}:{}", crate::encoding::percent_encode(CLIENT_SECRET));
    let basic = format!("Basic {}", crate::encoding::base64url(basic.as_bytes()));
    let body = "grant_type=client_credentials&scope=https%3A%2F%2Fgraph.microsoft.com%2F.default";
    let target = format!("/{TENANT_ID}/oauth2/v2.0/token");
    let answer = send(&sim, "POST", &target, &[("Authorization", &basic)], body).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn tokens_expire_can_be_revoked_and_keep_their_permissions() {
    let mut tenant = Tenant::default();
    tenant.token_lifetime_seconds = 0;
    let sim = GraphSim::start(tenant).await;
    let expired = Client::sign_in(&sim).await.get("/users").await;
    assert_eq!((expired.status, expired.code().as_str()), (401, "InvalidAuthenticationToken"));
    assert!(expired.headers["www-authenticate"].starts_with("Bearer realm="));

    sim.tenant(|tenant| tenant.token_lifetime_seconds = 3599);
    let client = Client::sign_in(&sim).await;
    sim.tenant(|tenant| tenant.permissions.remove("User.Read.All"));
    assert_eq!(client.get("/users").await.status, 200, "permissions are frozen in the token");
    let denied = Client::sign_in(&sim).await.get("/users").await;
    assert_eq!((denied.status, denied.code().as_str()), (403, "Authorization_RequestDenied"));
    sim.revoke_tokens();
    assert_eq!(client.get("/users").await.status, 401);
    assert_eq!(send(&sim, "GET", "/v1.0/users", &[], "").await.unwrap().status, 401);
}
