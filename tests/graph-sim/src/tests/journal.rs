//! The journal of calls.

use std::time::Duration;

use super::client::{Client, ask_token, form, send};
use crate::{CLIENT_ID, Fault, Gate, GraphSim, Tenant};

#[tokio::test]
async fn headers_are_recorded_without_the_authorization() {
    let sim = GraphSim::start(Tenant::default()).await;
    let client = Client::sign_in(&sim).await;
    sim.clear_journal();
    let mine = [("Client-Request-Id", "0f0f0f0f-1111-4222-8333-444444444444"), ("User-Agent", "tests/1.0")];
    client.get_with("/users", &mine).await;
    ask_token(&sim, crate::TENANT_ID, &form(CLIENT_ID, "wrong")).await;
    send(&sim, "GET", "/v1.0/users", &[("Authorization", "Basic YTpi")], "").await.unwrap();
    let journal = sim.journal();
    assert_eq!(journal[0].client_request_id(), Some(mine[0].1));
    assert_eq!((journal[0].user_agent(), journal[0].header("User-AGENT")), (Some("tests/1.0"), Some("tests/1.0")));
    assert_eq!((journal[1].client_request_id(), journal[1].user_agent()), (None, None));
    let noted: Vec<_> = journal.iter().map(|call| (call.authorization, call.bearer)).collect();
    assert_eq!(noted, [(true, true), (false, false), (true, false)]);
    assert!(journal.iter().all(|call| call.header("authorization").is_none()));
}

#[tokio::test]
async fn the_journal_measures_how_long_a_caller_waited() {
    const PAUSE: Duration = Duration::from_millis(60);
    let sim = GraphSim::start(Tenant::default()).await;
    let client = Client::sign_in(&sim).await;
    sim.clear_journal();
    let gate = Gate::new();
    sim.inject(Fault::on("GET", "/v1.0/users").answer(429).hold_until(&gate));
    let test = async {
        gate.reached().await;
        assert_eq!(sim.journal()[0].answered, None);
        tokio::time::sleep(PAUSE).await;
        gate.release();
    };
    tokio::join!(client.get("/users"), test);
    tokio::time::sleep(PAUSE).await;
    client.get("/users").await;
    let [first, second] = sim.journal().try_into().unwrap();
    assert!(first.answered.unwrap() - first.arrived >= PAUSE, "the wait at the gate belongs to the call");
    let waited = second.waited_after(&first).unwrap();
    assert!(waited >= PAUSE && waited <= second.arrived - first.arrived - PAUSE, "{waited:?}");
    assert_eq!(first.waited_after(&second), None);
}
