//! `$batch`.

use serde_json::{Value, json};

use super::client::Client;
use crate::{Fault, GraphSim, Tenant, User};

#[tokio::test]
async fn each_part_has_its_own_answer() {
    let mut tenant = Tenant::default();
    let ada = tenant.add_user(User::named("Ada", "Lovelace"));
    let unknown = tenant.new_id();
    let sim = GraphSim::start(tenant).await;
    let client = Client::sign_in(&sim).await;
    sim.clear_journal();
    sim.inject(Fault::on("GET", "/v1.0/users").retry_after("2.5"));
    sim.inject(Fault::on("GET", "/v1.0/groups/*").body("<html>proxy</html>"));
    let part = |id: &str, url: &str| json!({ "id": id, "method": "GET", "url": url });
    let body = json!({ "requests": [
        part("1", &format!("/users/{ada}?$select=displayName")),
        part("2", &format!("users/{unknown}")),
        part("3", &format!("/users?$filter=id in ('{ada}')&$select=id")),
        part("4", &format!("/groups/{unknown}")),
        json!({ "id": "5", "method": "DELETE", "url": format!("/users/{ada}") }),
    ] });
    let answer = client.batch(&body).await.unwrap();
    assert_eq!(answer.status, 200);
    let responses = answer.json()["responses"].as_array().unwrap().clone();
    let order: Vec<_> = responses.iter().map(|part| part["id"].as_str().unwrap()).collect();
    assert_ne!(order, ["1", "2", "3", "4", "5"], "the order differs from the request");
    let part = |id: &str| responses.iter().find(|part| part["id"] == id).cloned().unwrap();
    assert_eq!(part("1")["body"]["displayName"], "Ada Lovelace");
    assert_eq!(part("2")["body"]["error"]["code"], "Request_ResourceNotFound");
    assert_eq!((&part("3")["status"], &part("3")["headers"]["Retry-After"]), (&429.into(), &"2.5".into()));
    assert_eq!(part("4")["body"], "<html>proxy</html>");
    assert_eq!(part("5")["status"], 405);

    let journal = sim.journal();
    assert_eq!(journal.iter().map(|call| call.in_batch).collect::<Vec<_>>(), [false, true, true, true, true, true]);
    assert_eq!(journal[0].body, Some(body));
    assert_eq!(journal[3].query, format!("$filter=id in ('{ada}')&$select=id"));
    assert_eq!(sim.unexpected_calls().len(), 1);
}

#[tokio::test]
async fn an_invalid_batch_is_refused() {
    let sim = GraphSim::start(Tenant::default()).await;
    let client = Client::sign_in(&sim).await;
    let part = |id: usize| json!({ "id": id.to_string(), "method": "GET", "url": "/users" });
    let check = async |requests: Vec<Value>, status: u16| {
        let answer = client.batch(&json!({ "requests": requests })).await.unwrap();
        assert_eq!(answer.status, status, "{}", answer.text);
    };
    check((0..20).map(part).collect(), 200).await;
    check((0..21).map(part).collect(), 400).await;
    check(vec![part(1), part(1)], 400).await;
    check(vec![], 400).await;
    sim.revoke_tokens();
    check(vec![part(1)], 401).await;
}

#[tokio::test]
async fn faults_distort_the_envelope_of_a_batch() {
    let mut tenant = Tenant::default();
    let ids: Vec<_> = (0..3).map(|_| tenant.add_user(User::named("Ada", "Lovelace"))).collect();
    let sim = GraphSim::start(tenant).await;
    let client = Client::sign_in(&sim).await;
    let part = |(place, id): (usize, &String)| json!({ "id": (place + 1).to_string(), "method": "GET", "url": format!("/users/{id}") });
    let body = json!({ "requests": ids.iter().enumerate().map(part).collect::<Vec<_>>() });
    let check = async |fault: Fault, status: u16, expect: &[&str]| {
        sim.inject(fault);
        let answer = client.batch(&body).await.unwrap();
        let responses = answer.json()["responses"].as_array().unwrap().clone();
        let mut answered: Vec<_> = responses.iter().map(|part| part["id"].as_str().unwrap()).collect();
        answered.sort_unstable();
        assert_eq!((answer.status, answered.as_slice()), (status, expect));
        assert!(responses.iter().all(|part| part["status"] == 200));
    };
    let batch = || Fault::on("POST", "/v1.0/$batch");
    check(batch().missing_part(2), 200, &["1", "3"]).await;
    check(batch().doubled_part(2), 200, &["1", "2", "2", "3"]).await;
    check(batch().extra_part(), 200, &["1", "2", "3", "unknown-part"]).await;
    check(batch().missing_part(1).extra_part(), 200, &["2", "3", "unknown-part"]).await;
    check(batch().outer_status(424), 424, &["1", "2", "3"]).await;
    check(batch().nth(2).outer_status(424), 200, &["1", "2", "3"]).await;
}
