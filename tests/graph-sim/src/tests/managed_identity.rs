//! Tokens for managed identities.

use serde_json::Value;

use super::client::{Answer, send};
use crate::encoding::base64_decode;
use crate::{Fault, GraphSim, SYSTEM_ASSIGNED_CLIENT_ID, Tenant};

const FIRST: &str = "0d2c7b18-5b6e-4a0f-8a35-0f6f3f0a9c11";
const SECOND: &str = "e8a54f02-77c9-4f9b-9b5c-6a1d2b3c4d22";
const PATH: &str = "/metadata/identity/oauth2/token";
const RIGHT: &str = "?api-version=2018-02-01&resource=https%3A%2F%2Fgraph.microsoft.com%2F";

async fn ask(sim: &GraphSim, query: &str) -> Answer {
    send(sim, "GET", &format!("{PATH}{query}"), &[("Metadata", "true")], "").await.unwrap()
}

fn errors(answer: &Answer) -> (u16, String, String) {
    let text = |key: &str| answer.json()[key].as_str().unwrap().to_owned();
    (answer.status, text("error"), text("error_description"))
}

async fn read_users(sim: &GraphSim, token: &Answer) -> u16 {
    let authorization = format!("Bearer {}", token.json()["access_token"].as_str().unwrap());
    send(sim, "GET", "/v1.0/users", &[("Authorization", &authorization)], "").await.unwrap().status
}

#[tokio::test]
async fn graph_accepts_the_token_of_a_managed_identity() {
    let sim = GraphSim::start(Tenant::default()).await;
    let answer = ask(&sim, RIGHT).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let token = answer.json();
    let number = |key: &str| token[key].as_str().unwrap().parse::<i64>().unwrap();
    assert_eq!((number("expires_in"), number("expires_on") - number("not_before")), (3599, 3599));
    assert_eq!((&token["resource"], &token["token_type"]), (&"https://graph.microsoft.com/".into(), &"Bearer".into()));
    assert_eq!(read_users(&sim, &answer).await, 200);
    let claims = base64_decode(token["access_token"].as_str().unwrap().split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((&claims["appid"], &claims["aud"]), (&SYSTEM_ASSIGNED_CLIENT_ID.into(), &token["resource"]));

    sim.tenant(|tenant| tenant.managed_identity_permissions = Some(["Application.Read.All".to_owned()].into()));
    assert_eq!(read_users(&sim, &ask(&sim, RIGHT).await).await, 403, "a managed identity has its own permissions");
    assert!(sim.unexpected_calls().is_empty());
    sim.revoke_tokens();
    assert_eq!(read_users(&sim, &answer).await, 401);
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let sim = GraphSim::start(Tenant::default()).await;
    let without = send(&sim, "GET", &format!("{PATH}{RIGHT}"), &[], "").await.unwrap();
    let expected = (400, "bad_request_102".to_owned(), "Required metadata header not specified".to_owned());
    assert_eq!(errors(&without), expected);
    for query in [
        "?resource=https://graph.microsoft.com/",
        "?api-version=1.0&resource=https://graph.microsoft.com/",
        "?api-version=2018-02-01",
        "?api-version=2018-02-01&resource=",
    ] {
        assert_eq!(errors(&ask(&sim, query).await).1, "invalid_request", "{query}");
    }
    let scope = ask(&sim, "?api-version=2018-02-01&resource=.default").await;
    assert_eq!(errors(&scope).1, "invalid_resource");
    let posted = send(&sim, "POST", &format!("{PATH}{RIGHT}"), &[("Metadata", "true")], "").await.unwrap();
    assert_eq!(posted.status, 405);
}

#[tokio::test]
async fn the_client_id_selects_an_identity() {
    let sim = GraphSim::start(Tenant::default()).await;
    let check = async |client_id: Option<&str>, expect: Result<&str, &str>| {
        let query = client_id.map_or_else(String::new, |id| format!("&client_id={id}"));
        let answer = ask(&sim, &format!("{RIGHT}{query}")).await;
        match expect {
            Ok(identity) => assert_eq!(answer.json()["client_id"], identity, "{}", answer.text),
            Err(expected) => {
                let (status, error, description) = errors(&answer);
                assert_eq!((status, error.as_str()), (400, "invalid_request"));
                assert!(description.contains(expected), "{description}");
            }
        }
    };
    check(None, Ok(SYSTEM_ASSIGNED_CLIENT_ID)).await;
    check(Some(FIRST), Err("Identity not found")).await;
    sim.tenant(|tenant| tenant.managed_identities = [FIRST.to_owned(), SECOND.to_owned()].into());
    check(Some(FIRST), Ok(FIRST)).await;
    check(Some(&SECOND.to_uppercase()), Ok(SECOND)).await;
    check(None, Ok(SYSTEM_ASSIGNED_CLIENT_ID)).await;
    sim.tenant(|tenant| tenant.system_assigned_identity = None);
    check(None, Err("Multiple user assigned identities exist")).await;
    sim.tenant(|tenant| tenant.managed_identities.remove(SECOND));
    check(None, Ok(FIRST)).await;
    sim.tenant(|tenant| tenant.managed_identities.clear());
    check(None, Err("Identity not found")).await;
}

#[tokio::test]
async fn faults_have_the_error_format_of_the_metadata_service() {
    let sim = GraphSim::start(Tenant::default()).await;
    for status in [404, 410, 429, 500] {
        sim.inject(Fault::on("GET", PATH).answer(status));
        let answer = ask(&sim, RIGHT).await;
        assert_eq!(answer.status, status);
        assert!(answer.json()["error"].is_string(), "{}", answer.text);
    }
    sim.inject(Fault::on("GET", PATH).answer_error(500, "unknown").retry_after("1"));
    let answer = ask(&sim, RIGHT).await;
    assert_eq!((errors(&answer).1.as_str(), answer.headers["retry-after"].as_str()), ("unknown", "1"));
    assert_eq!(ask(&sim, RIGHT).await.status, 200);
}
