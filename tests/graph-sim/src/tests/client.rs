//! A minimal HTTP client with a connection per request.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::GraphSim;
use crate::encoding::percent_encode;

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(super) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", self.text);
        let rows = self.json()["value"].as_array().unwrap().clone();
        rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// Sends one request and reads its whole answer; fails when the connection breaks.
pub(super) async fn send(
    sim: &GraphSim,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Answer> {
    let (bytes, end) = raw(sim, method, target, headers, body).await;
    end?;
    read_answer(&bytes)
}

/// Sends one request and returns the received bytes and the result of the read.
pub(super) async fn raw(
    sim: &GraphSim,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (Vec<u8>, io::Result<()>) {
    let host = sim.url().replace("http://", "");
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    let exchange = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        let mut exchange = || {
            let mut stream = TcpStream::connect(&host)?;
            stream.write_all(request.as_bytes())?;
            stream.read_to_end(&mut bytes)
        };
        let end = exchange().map(drop);
        (bytes, end)
    });
    exchange.await.unwrap()
}

pub(super) fn read_answer(bytes: &[u8]) -> io::Result<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<_, _> = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let chunked = headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked");
    let text = if chunked { without_chunks(body) } else { body.to_owned() };
    Ok(Answer { status, headers, text })
}

fn without_chunks(mut rest: &str) -> String {
    let mut text = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        text.push_str(&tail[..size]);
        rest = tail[size..].trim_start_matches("\r\n");
    }
    text
}

pub(super) struct Client<'a> {
    sim: &'a GraphSim,
    authorization: String,
}

impl<'a> Client<'a> {
    pub(super) async fn sign_in(sim: &'a GraphSim) -> Self {
        let form = sim.tenant(|tenant| form(&tenant.client_id, &tenant.client_secret));
        let answer = ask_token(sim, crate::TENANT_ID, &form).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        Self { sim, authorization: format!("Bearer {token}") }
    }

    /// Gets a path below `/v1.0`, or a full link.
    pub(super) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub(super) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let (bytes, end) = self.raw_with(path, headers).await;
        end.unwrap();
        read_answer(&bytes).unwrap()
    }

    /// Like `get`, but returns the received bytes and the result of the read.
    pub(super) async fn raw(&self, path: &str) -> (Vec<u8>, io::Result<()>) {
        self.raw_with(path, &[]).await
    }

    async fn raw_with(&self, path: &str, headers: &[(&str, &str)]) -> (Vec<u8>, io::Result<()>) {
        let target = match path.strip_prefix(&self.sim.url()) {
            Some(target) => target.to_owned(),
            None => format!("/v1.0{}", path.replace(' ', "%20")),
        };
        let headers = [headers, &[("Authorization", self.authorization.as_str())]].concat();
        raw(self.sim, "GET", &target, &headers, "").await
    }

    pub(super) fn authorization(&self) -> &str {
        &self.authorization
    }

    /// The ids on each page of a list.
    pub(super) async fn all(&self, path: &str) -> Vec<Vec<String>> {
        let (mut pages, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(link) = next {
            let answer = self.get(&link).await;
            pages.push(answer.ids());
            next = answer.json()["@odata.nextLink"].as_str().map(str::to_owned);
        }
        pages
    }

    pub(super) async fn batch(&self, body: &Value) -> io::Result<Answer> {
        let headers = [("Authorization", self.authorization.as_str()), ("Content-Type", "application/json")];
        send(self.sim, "POST", "/v1.0/$batch", &headers, &body.to_string()).await
    }
}

pub(super) fn form(client: &str, secret: &str) -> String {
    let scope = percent_encode("https://graph.microsoft.com/.default");
    let secret = percent_encode(secret);
    format!("grant_type=client_credentials&client_id={client}&client_secret={secret}&scope={scope}")
}

pub(super) async fn ask_token(sim: &GraphSim, tenant: &str, form: &str) -> Answer {
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    send(sim, "POST", &format!("/{tenant}/oauth2/v2.0/token"), &headers, form).await.unwrap()
}
