//! Injected faults.

use serde_json::json;

use super::client::{Client, send};
use crate::{Fault, Gate, GraphSim, Tenant, User};

/// A simulator with a group of five users on three pages, the path of its members, and the id of one of them.
async fn sim_with_group() -> (GraphSim, String, String) {
    let mut tenant = Tenant::default();
    let group = tenant.add_group("Staff");
    let ids: Vec<_> = (0..5).map(|_| tenant.add_user(User::named("Ada", "Lovelace"))).collect();
    for id in &ids {
        tenant.add_member(&group, id);
    }
    tenant.page_cap = Some(2);
    (GraphSim::start(tenant).await, format!("/groups/{group}/members"), ids[0].clone())
}

#[tokio::test]
async fn faults_apply_to_the_selected_calls_only() {
    let (sim, members, _) = sim_with_group().await;
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
    let (sim, members, ada) = sim_with_group().await;
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

    let application = sim.tenant(|tenant| {
        tenant.assign_user(&ada);
        tenant.application.object_id.clone()
    });
    let assigned = format!("/servicePrincipals/{application}/appRoleAssignedTo");
    sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").hide_row(&ada));
    let lengths = [client.get(&assigned).await.ids().len(), client.get(&assigned).await.ids().len()];
    assert_eq!(lengths, [0, 1], "an assignment is hidden by its principal id");
}

#[tokio::test]
async fn a_late_user_is_found_after_some_reads() {
    let (sim, members, ada) = sim_with_group().await;
    let client = Client::sign_in(&sim).await;
    let other = client.all(&members).await.concat().into_iter().find(|id| *id != ada).unwrap();
    sim.inject(Fault::late_user(&ada, 2));
    assert_eq!(client.get(&format!("/users/{other}")).await.status, 200, "reads of other users do not count");
    assert_eq!(client.get(&format!("/users/{ada}")).await.status, 404);
    let both = format!("/users?$filter=id in ('{ada}','{other}')");
    assert_eq!(client.get(&both).await.ids(), [other]);
    assert_eq!(client.get(&both).await.ids().len(), 2);
}

#[tokio::test]
async fn an_endless_list_has_new_rows_on_every_page() {
    let (sim, members, _) = sim_with_group().await;
    let client = Client::sign_in(&sim).await;
    let (mut link, mut seen) = (members.clone(), std::collections::BTreeSet::new());
    sim.inject(Fault::on("GET", "/v1.0/groups/{id}/members").endless_pages());
    for _ in 0..50 {
        let page = client.get(&link).await;
        assert_eq!(page.ids().len(), 2);
        seen.extend(page.ids());
        let next = page.json()["@odata.nextLink"].as_str().unwrap().to_owned();
        assert_ne!(next, link);
        link = next;
    }
    assert_eq!(seen.len(), 100, "other users on every page");
    sim.inject(Fault::on("GET", "/v1.0/groups/{id}/members").page(51).answer(503));
    assert_eq!(client.get(&link).await.status, 503, "its pages have numbers");
    sim.clear_faults();
    assert_eq!(client.get(&link).await.code(), "Directory_ExpiredPageToken");
    assert_eq!(client.all(&members).await.len(), 3);
}

#[tokio::test]
async fn answers_redirect_have_retry_dates_and_long_messages() {
    let (sim, members, _) = sim_with_group().await;
    let client = Client::sign_in(&sim).await;
    let place = || Fault::on("GET", "/v1.0/groups/{id}/members");
    sim.inject(place().redirect(307, "http://127.0.0.2:9/v1.0/users"));
    let away = client.get(&members).await;
    assert_eq!((away.status, away.headers["location"].as_str()), (307, "http://127.0.0.2:9/v1.0/users"));

    sim.inject(place().answer(503).retry_after_date(90));
    let late = client.get(&members).await;
    let date = jiff::fmt::strtime::parse("%a, %d %b %Y %H:%M:%S GMT", &late.headers["retry-after"]).unwrap();
    let date = jiff::tz::TimeZone::UTC.to_timestamp(date.to_datetime().unwrap()).unwrap();
    let wait = date.as_second() - crate::clock::now().as_second();
    assert!(late.status == 503 && (89..=91).contains(&wait), "{wait} s: {:?}", late.headers);
    sim.inject(place().retry_after_date(-5));
    assert_eq!(client.get(&members).await.status, 429);

    sim.inject(place().answer(403).message(&"x".repeat(100_000)));
    let long = client.get(&members).await;
    assert_eq!(long.code(), "Authorization_RequestDenied");
    assert_eq!(long.json()["error"]["message"].as_str().unwrap().len(), 100_000);
}

#[tokio::test]
async fn random_faults_follow_their_probability_and_seed() {
    let run = async || {
        let (sim, members, _) = sim_with_group().await;
        let client = Client::sign_in(&sim).await;
        sim.inject(Fault::on("*", "/v1.0/**").random(0.3, 4));
        let mut ends = Vec::new();
        for _ in 0..200 {
            let (bytes, end) = client.raw(&members).await;
            ends.push(end.map_or(0, |()| super::client::read_answer(&bytes).unwrap().status));
        }
        ends
    };
    let ends = run().await;
    let count = |status| ends.iter().filter(|end| **end == status).count();
    assert!((120..160).contains(&count(200)), "{ends:?}");
    assert!(count(429) > 10 && count(503) > 10 && count(0) > 10, "{ends:?}");
    assert_eq!(count(200) + count(429) + count(503) + count(0), 200);
    assert_eq!(run().await, ends);

    let (sim, members, _) = sim_with_group().await;
    let client = Client::sign_in(&sim).await;
    sim.inject(Fault::on("GET", "/v1.0/groups/**").random(1.0, 4));
    let part = |id: usize| json!({ "id": id.to_string(), "method": "GET", "url": members });
    let answer = client.batch(&json!({ "requests": (0..20).map(part).collect::<Vec<_>>() })).await.unwrap().json();
    for part in answer["responses"].as_array().unwrap() {
        let throttled = part["status"] == 429 && part["headers"]["Retry-After"] == "0.1";
        assert!(throttled || part["status"] == 503, "{part}");
    }
}

#[tokio::test]
async fn a_connection_is_reset_before_the_answer() {
    let (sim, members, _) = sim_with_group().await;
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
async fn a_gate_holds_a_call_until_it_is_released() {
    let (sim, members, ada) = sim_with_group().await;
    let client = Client::sign_in(&sim).await;
    let gate = Gate::new();
    sim.inject(Fault::on("GET", "/v1.0/groups/{id}/members").page(2).hold_until(&gate));
    let test = async {
        gate.reached().await;
        assert_eq!(sim.journal().last().unwrap().status, 0, "recorded but not answered yet");
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
    let sim = GraphSim::start_on(Tenant::default(), ([127, 0, 0, 1], 0).into()).unwrap();
    let address = sim.url().replace("http://", "");
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    for _ in 0..2 {
        // Twice, because connections are kept alive.
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
    assert!(GraphSim::start_on(Tenant::default(), ([0, 0, 0, 0], 0).into()).is_err(), "loopback only");
}
