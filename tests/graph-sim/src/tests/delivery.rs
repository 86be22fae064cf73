//! Bad deliveries of answers.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::Client;
use crate::{Fault, GraphSim, Tenant, User};

/// A simulator with one user, and the user's path.
async fn sim_with_user() -> (GraphSim, String) {
    let mut tenant = Tenant::default();
    let ada = tenant.add_user(User::named("Ada", "Lovelace"));
    (GraphSim::start(tenant).await, format!("/users/{ada}"))
}

fn head_and_body(bytes: &[u8]) -> (String, String) {
    let answer = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

/// Gets a path, reads `count` bytes and disconnects.
async fn read_some(sim: &GraphSim, client: &Client<'_>, path: &str, count: usize) -> Vec<u8> {
    let host = sim.url().replace("http://", "");
    let authorization = client.authorization();
    let request = format!("GET /v1.0{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\n\r\n");
    let read = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(&host).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = vec![0; count];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    });
    read.await.unwrap()
}

#[tokio::test]
async fn a_connection_is_reset_in_the_middle_of_a_body() {
    let (sim, path) = sim_with_user().await;
    let client = Client::sign_in(&sim).await;
    let whole = client.get(&path).await.text;
    sim.inject(Fault::on("GET", "/v1.0/users/*").times(2).reset_after_headers());
    let (bytes, end) = client.raw(&path).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let (head, body) = head_and_body(&bytes);
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains(&format!("content-length: {}", whole.len())), "{head}");
    assert_eq!(body, whole[..whole.len() / 2]);
    let batch = json!({ "requests": [{ "id": "1", "method": "GET", "url": path }] });
    assert!(client.batch(&batch).await.is_err(), "a reset of a part resets the batch");
    assert_eq!(client.get(&path).await.text, whole);
}

#[tokio::test]
async fn a_truncated_body_is_valid_http_and_invalid_json() {
    let (sim, path) = sim_with_user().await;
    let client = Client::sign_in(&sim).await;
    let whole = client.get(&path).await.text;
    sim.inject(Fault::on("GET", "/v1.0/users/*").truncated());
    let cut = client.get(&path).await;
    assert_eq!(cut.headers["content-length"], cut.text.len().to_string());
    assert_eq!((cut.status, cut.text.as_str()), (200, &whole[..whole.len() / 2]));
    assert!(serde_json::from_str::<Value>(&cut.text).is_err());
}

#[tokio::test]
async fn a_dripping_body_is_slow_and_complete() {
    let (sim, path) = sim_with_user().await;
    let client = Client::sign_in(&sim).await;
    let whole = client.get(&path).await.text;
    let pauses = whole.len().div_ceil(50) - 1;
    sim.inject(Fault::on("GET", "/v1.0/users/*").dripping(50, Duration::from_millis(20)));
    let start = Instant::now();
    assert_eq!(client.get(&path).await.text, whole);
    assert!(start.elapsed() >= Duration::from_millis(20) * u32::try_from(pauses).unwrap());

    sim.inject(Fault::on("GET", "/v1.0/users/*").answer(503).dripping(50, Duration::from_millis(1)));
    assert_eq!(client.get(&path).await.status, 503);
}

#[tokio::test]
async fn an_endless_body_lasts_until_the_client_disconnects() {
    let (sim, path) = sim_with_user().await;
    let client = Client::sign_in(&sim).await;
    sim.inject(Fault::on("GET", "/v1.0/users/*").never_ending(1, Duration::from_millis(1)));
    let (head, body) = head_and_body(&read_some(&sim, &client, &path, 2000).await);
    assert!(head.starts_with("http/1.1 200") && head.contains("transfer-encoding: chunked"), "{head}");
    assert!(body.contains("1\r\n \r\n1\r\n \r\n"), "{body}");
    assert!(!body.contains('{'), "{body}");
    assert_eq!(client.get(&path).await.status, 200, "other calls are served meanwhile");
}

#[tokio::test]
async fn padding_is_valid_json_of_the_requested_size() {
    let (sim, path) = sim_with_user().await;
    let client = Client::sign_in(&sim).await;
    let whole = client.get(&path).await.json();
    sim.inject(Fault::on("GET", "/v1.0/users/*").padded(3));
    let padded = client.get(&path).await;
    assert_eq!(padded.headers.get("content-length"), None);
    assert!((3 << 20..4 << 20).contains(&padded.text.len()));
    assert_eq!(padded.json(), whole);

    sim.inject(Fault::on("GET", "/v1.0/users/*").padded_key(3));
    let mut padded = client.get(&path).await.json();
    let padding = padded.as_object_mut().unwrap().remove("@simulator.padding").unwrap();
    assert_eq!(padding.as_str().unwrap().len(), 3 << 20);
    assert_eq!(padded, whole);
}

#[tokio::test]
async fn padding_is_streamed() {
    let (sim, path) = sim_with_user().await;
    let client = Client::sign_in(&sim).await;
    // More than any machine's memory.
    sim.inject(Fault::on("GET", "/v1.0/users/*").padded(1 << 30));
    let bytes = read_some(&sim, &client, &path, 1 << 20).await;
    assert!(bytes.starts_with(b"HTTP/1.1 200"));
}
