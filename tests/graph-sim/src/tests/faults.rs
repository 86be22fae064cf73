//! Things that go wrong when told to.

use serde_json::json;

use super::client::{Client, send};
use crate::{Fault, Gate, GraphSim, Tenant, User};

async fn staffed() -> (GraphSim, String, String) {
    let mut tenant = Tenant::default();
    let group = tenant.add_group("Staff");
    let ids: Vec<_> = (0..5).map(|_| tenant.hire(User::named("Ada", "Lovelace"))).collect();
    for id in &ids {
        tenant.add_member(&group, id);
    }
    tenant.page_cap = Some(2);
    (GraphSim::start(tenant).await, format!("/groups/{group}/members"), ids[0].clone())
}

#[tokio::test]
async fn faults_strike_where_and_as_often_as_told() {
    let (sim, members, _) = staffed().await;
    let client = Client::sign_in(&sim).await;
    let place = "/v1.0/groups/{id}/members";
    sim.inject(Fault::on("GET", place).page(2).times(2).answer(503));
    let first = client.get(&members).await;
    let second = first.json()["@odata.nextLink"].as_str().unwrap().to_owned();
    assert_eq!(client.get(&members).await.status, 200);
    let statuses =
        [client.get(&second).await.status, client.get(&second).await.status, client.get(&second).await.status];
    assert_eq!(statuses, [503, 503, 200]);

    sim.inject(Fault::on("*", place).nth(2).answer_error(403, "Authorization_RequestDenied"));
    assert_eq!(client.get(&members).await.status, 200);
    assert_eq!(client.get(&members).await.code(), "Authorization_RequestDenied");
    assert_eq!(client.get(&members).await.status, 200);

    sim.inject(Fault::on("GET", place).page(2).expired_page_token());
    assert_eq!(client.get(&second).await.code(), "Directory_ExpiredPageToken");

    sim.inject(Fault::on("GET", "/v1.0/**").always().answer(502).retry_after("0.25").body("<h1>Bad gateway</h1>"));
    for _ in 0..3 {
        let answer = client.get(&members).await;
        assert_eq!((answer.status, answer.text.as_str()), (502, "<h1>Bad gateway</h1>"));
        assert_eq!(answer.headers["retry-after"], "0.25");
        assert!(answer.headers["content-type"].starts_with("text/html"));
    }
    sim.clear_faults();
    assert_eq!(client.get(&members).await.status, 200);

    sim.inject(Fault::on("POST", "/*/oauth2/v2.0/token").answer(500));
    let form = super::client::form("x", "y");
    assert_eq!(super::client::ask_token(&sim, crate::TENANT_ID, &form).await.status, 500);
}

#[tokio::test]
async fn answers_are_edited() {
    let (sim, members, ada) = staffed().await;
    let client = Client::sign_in(&sim).await;
    let place = "/v1.0/groups/{id}/members";
    let select = format!("{members}?$select=accountEnabled,displayName");
    sim.inject(Fault::on("GET", place).drop_key("accountEnabled").null_key("displayName"));
    let row = client.get(&select).await.json()["value"][0].clone();
    assert!(row.get("accountEnabled").is_none() && row["displayName"].is_null());
    sim.inject(Fault::on("GET", place).null_rows());
    let row = client.get(&select).await.json()["value"][0].clone();
    assert!(row["accountEnabled"].is_null() && row["displayName"].is_null() && row["id"].is_string());
    sim.inject(Fault::on("GET", place).empty_list());
    assert_eq!(client.all(&members).await, [Vec::<String>::new()]);
    sim.inject(Fault::on("GET", place).empty_page());
    assert_eq!(client.all(&members).await.iter().map(Vec::len).collect::<Vec<_>>(), [0, 2, 1]);
    sim.inject(Fault::on("GET", place).page(2).cut_short());
    assert_eq!(client.all(&members).await.len(), 2);
    sim.inject(Fault::on("GET", place).next_link("http://elsewhere.example/v1.0/users"));
    assert_eq!(client.get(&members).await.json()["@odata.nextLink"], "http://elsewhere.example/v1.0/users");

    sim.inject(Fault::missing_user(&ada));
    assert_eq!(client.get(&format!("/users/{ada}")).await.code(), "Request_ResourceNotFound");
    assert!(client.get(&format!("/users?$filter=id in ('{ada}')")).await.ids().is_empty());
    assert!(client.all(&members).await.concat().contains(&ada));
}

#[tokio::test]
async fn a_connection_is_reset_before_the_answer() {
    let (sim, members, _) = staffed().await;
    let client = Client::sign_in(&sim).await;
    sim.clear_journal();
    sim.inject(Fault::on("GET", "/v1.0/groups/{id}/members").times(2).reset());
    assert!(send(&sim, "GET", &format!("/v1.0{members}"), &[], "").await.is_err());
    let body = json!({ "requests": [{ "id": "1", "method": "GET", "url": members }] });
    assert!(client.batch(&body).await.is_err());
    assert_eq!(client.batch(&body).await.unwrap().status, 200);
    assert_eq!(sim.journal()[0].status, 0);
}

#[tokio::test]
async fn a_gate_holds_until_released() {
    let (sim, members, ada) = staffed().await;
    let client = Client::sign_in(&sim).await;
    let gate = Gate::new();
    sim.inject(Fault::on("GET", "/v1.0/groups/{id}/members").page(2).hold_until(&gate));
    let test = async {
        gate.reached().await;
        assert_eq!(sim.journal().last().unwrap().status, 0, "entered, not answered yet");
        sim.tenant(|tenant| tenant.purge_user(&ada));
        gate.release();
    };
    let (pages, ()) = tokio::join!(client.all(&members), test);
    assert!(pages.concat().len() >= 4);
    assert_eq!(gate.arrivals(), 1);
}

#[test]
fn the_simulator_answers_while_a_test_blocks_and_stops_when_dropped() {
    use std::io::{Read, Write};
    let sim = GraphSim::launch(Tenant::default(), ([127, 0, 0, 1], 0).into()).unwrap();
    let address = sim.url().replace("http://", "");
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    for _ in 0..2 {
        // The same connection twice: it is kept alive.
        stream.write_all(b"GET /control/summary HTTP/1.1\r\nHost: sim\r\n\r\n").unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        let mut rest = [0; 4096];
        assert!(stream.read(&mut rest).unwrap() > 0);
    }
    drop(sim);
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).is_err() || rest.is_empty(), "open connections end");
    assert!(GraphSim::launch(Tenant::default(), ([0, 0, 0, 0], 0).into()).is_err(), "loopback only");
}
