//! The control API.

use serde_json::{Value, json};

use super::client::{Client, send};
use crate::{GraphSim, Tenant};

#[tokio::test]
async fn a_person_runs_the_world_with_curl() {
    let mut tenant = Tenant::with_people(50, 3);
    let group = tenant.add_group("Night watch");
    let sim = GraphSim::start(tenant).await;
    let control = async |method: &str, path: &str, body: Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = send(&sim, method, &format!("/control{path}"), &[], &body).await.unwrap();
        (answer.status, answer.json())
    };
    let before = control("GET", "/summary", Value::Null).await.1;
    let hired =
        json!({ "givenName": "Ada", "surname": "Lovelace", "jobTitle": "Analyst", "assign": true, "group": group });
    let (status, user) = control("POST", "/users", hired).await;
    assert_eq!((status, &user["jobTitle"]), (200, &"Analyst".into()));
    let id = user["id"].as_str().unwrap();
    let name = user["userPrincipalName"].as_str().unwrap();
    let (_, user) =
        control("PATCH", &format!("/users/{name}"), json!({ "jobTitle": null, "accountEnabled": false })).await;
    assert!(user["jobTitle"].is_null() && user["accountEnabled"] == false);
    let (status, refused) = control("PATCH", &format!("/users/{id}"), json!({ "accountEnabled": "no" })).await;
    assert_eq!((status, &refused["error"]), (400, &"accountEnabled must be true or false or null".into()));
    assert_eq!(control("GET", &format!("/groups/{group}"), Value::Null).await.1["members"][0]["id"], id);
    assert_eq!(control("DELETE", &format!("/groups/{group}/members/{id}"), Value::Null).await.0, 200);
    assert_eq!(control("POST", &format!("/groups/{group}/members/{name}"), Value::Null).await.0, 200);
    assert_eq!(control("DELETE", &format!("/assignments/{id}"), Value::Null).await.0, 200);
    assert_eq!(control("POST", "/assignments", json!({ "principal": group })).await.0, 200);
    let after = control("GET", "/summary", Value::Null).await.1;
    assert_eq!(after["users"], before["users"].as_u64().unwrap() + 1);
    assert_eq!(after["assignments"], before["assignments"].as_u64().unwrap() + 1);
    assert_eq!(control("DELETE", &format!("/users/{id}"), Value::Null).await.0, 200);
    assert_eq!(control("GET", &format!("/users/{name}"), Value::Null).await.0, 404);
    assert_eq!(control("POST", &format!("/users/{id}/restore"), Value::Null).await.1["userPrincipalName"], name);
    assert_eq!(control("DELETE", &format!("/users/{id}?purge=true"), Value::Null).await.0, 200);
    assert_eq!(control("POST", &format!("/users/{id}/restore"), Value::Null).await.0, 404);

    let granted =
        control("POST", "/permissions", json!({ "grant": ["Member.Read.Hidden"], "revoke": ["User.Read.All"] }));
    assert_eq!(granted.await.1["permissions"].as_array().unwrap().len(), 3);
    assert_eq!(control("POST", "/faults", json!({ "path": "/v1.0/groups/*", "status": 503, "times": 1 })).await.0, 200);
    assert_eq!(control("POST", "/faults", json!({ "path": "/v1.0/groups/*" })).await.0, 400);
    let client = Client::sign_in(&sim).await;
    assert_eq!(client.get(&format!("/groups/{group}")).await.status, 503);
    assert_eq!(client.get(&format!("/groups/{group}")).await.status, 200);
    let (_, journal) = control("GET", "/journal", Value::Null).await;
    assert_eq!(journal["total"], 3, "control calls are not in it");
}
