//! The control API.

use serde_json::{Value, json};

use super::client::{Client, raw, send};
use crate::{GraphSim, Tenant};

#[tokio::test]
async fn the_control_api_changes_the_tenant() {
    let mut tenant = Tenant::with_users(50, 3);
    let group = tenant.add_group("Night watch");
    let sim = GraphSim::start(tenant).await;
    let control = async |method: &str, path: &str, body: Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = send(&sim, method, &format!("/control{path}"), &[], &body).await.unwrap();
        (answer.status, answer.json())
    };
    let before = control("GET", "/summary", Value::Null).await.1;
    let ada =
        json!({ "givenName": "Ada", "surname": "Lovelace", "jobTitle": "Analyst", "assign": true, "group": group });
    let (status, user) = control("POST", "/users", ada).await;
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
    assert_eq!(journal["total"], 3, "control calls are not recorded");
}

#[tokio::test]
async fn the_control_api_injects_every_kind_of_fault() {
    let sim = GraphSim::start(Tenant::default()).await;
    let check = async |fault: Value, status: u16| {
        let mut body = json!({ "path": "/v1.0/users" });
        body.as_object_mut().unwrap().extend(fault.as_object().unwrap().clone());
        let answer = send(&sim, "POST", "/control/faults", &[], &body.to_string()).await.unwrap();
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
    };
    for fault in [
        json!({ "reset": true }),
        json!({ "reset_after_headers": true, "status": 503 }),
        json!({ "truncated": true }),
        json!({ "dripping": { "bytes": 10, "pause_ms": 5 }, "drop_key": "mail" }),
        json!({ "never_ending": { "bytes": 1, "pause_ms": 5 } }),
        json!({ "padded": 2 }),
        json!({ "padded_key": 2 }),
        json!({ "endless_pages": true }),
        json!({ "status": 400, "message": "no" }),
        json!({ "retry_after_date": 5 }),
        json!({ "redirect": "http://127.0.0.2/", "status": 307 }),
        json!({ "random": { "probability": 0.3, "seed": 7 } }),
        json!({ "outer_status": 424, "missing_part": 1, "extra_part": true }),
        json!({ "mentioning": "ada", "hide_row": "1", "times": 1 }),
    ] {
        check(fault, 200).await;
    }
    for fault in [
        json!({ "padded": 2, "truncated": true }),
        json!({ "random": { "probability": 0.3 }, "status": 503 }),
        json!({ "missing_part": 1, "drop_key": "mail" }),
        json!({ "outer_status": 42 }),
        json!({ "times": 5 }),
    ] {
        check(fault, 400).await;
    }
    sim.clear_faults();
    check(json!({ "redirect": "http://127.0.0.2/", "status": 307 }), 200).await;
    check(json!({ "truncated": true, "status": 503, "message": "no", "retry_after_date": 5 }), 200).await;
    let client = Client::sign_in(&sim).await;
    let (first, second) = (client.get("/users").await, client.get("/users").await);
    assert_eq!((first.status, first.headers["location"].as_str()), (307, "http://127.0.0.2/"));
    assert!(second.status == 503 && second.headers["retry-after"].ends_with("GMT"));
    assert!(serde_json::from_str::<Value>(&second.text).is_err());
}

#[tokio::test]
async fn the_date_of_answers_can_be_wrong_or_missing() {
    let sim = GraphSim::start(Tenant::default()).await;
    let headers = async |request: Value| {
        send(&sim, "POST", "/control/date", &[], &request.to_string()).await.unwrap();
        let (bytes, _) = raw(&sim, "GET", "/v1.0/users", &[], "").await;
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        ["\r\ndate: ", "\r\nage: "].map(|name| text.matches(name).count())
    };
    assert_eq!(headers(json!({ "ahead": 3600 })).await, [1, 0]);
    assert_eq!(headers(json!("missing")).await, [0, 0]);
    assert_eq!(headers(json!({ "values": ["soon", "later"] })).await, [2, 0]);
    assert_eq!(headers(json!("cached")).await, [1, 1]);
}
