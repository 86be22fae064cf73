//! HTTPS.

use std::io;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::client::{Answer, form, read_answer};
use crate::{CLIENT_ID, CLIENT_SECRET, Fault, GraphSim, TENANT_ID, Tenant, User};

/// Sends one request to the simulator by a host name, trusting one authority.
async fn ask(sim: &GraphSim, authority: &str, name: &str, head: &str, body: &str) -> io::Result<Answer> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let address = sim.url().replace("https://", "");
    let stream = TcpStream::connect(&address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let request =
        format!("{head}\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    read_answer(&bytes)
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_connects() {
    let mut tenant = Tenant::default();
    for _ in 0..3 {
        tenant.add_user(User::named("Ada", "Lovelace"));
    }
    let sim = GraphSim::start_tls(tenant).await;
    let authority = sim.ca_pem().unwrap().to_owned();
    assert!(sim.url().starts_with("https://127.0.0.1:"), "{}", sim.url());
    let head = format!("POST /{TENANT_ID}/oauth2/v2.0/token HTTP/1.1");
    let token = ask(&sim, &authority, "127.0.0.1", &head, &form(CLIENT_ID, CLIENT_SECRET)).await.unwrap();
    let token = token.json()["access_token"].as_str().unwrap().to_owned();
    let head = format!("GET /v1.0/users?$top=2 HTTP/1.1\r\nAuthorization: Bearer {token}");
    let users = ask(&sim, &authority, "localhost", &head, "").await.unwrap();
    assert_eq!(users.ids().len(), 2);
    let next: Value = users.json()["@odata.nextLink"].clone();
    assert!(next.as_str().unwrap().starts_with(&format!("{}/v1.0/users?", sim.url())), "{next}");

    sim.inject(Fault::on("GET", "/v1.0/users").reset());
    assert!(ask(&sim, &authority, "localhost", &head, "").await.is_err());
    assert_eq!(ask(&sim, &authority, "localhost", &head, "").await.unwrap().status, 200);
    assert_eq!(GraphSim::start(Tenant::default()).await.ca_pem(), None);
}

#[tokio::test]
async fn a_client_that_expects_another_authority_or_name_fails() {
    let (sim, other) = (GraphSim::start_tls(Tenant::default()).await, GraphSim::start_tls(Tenant::default()).await);
    let ask = async |authority: &str, name: &str| {
        ask(&sim, authority, name, "GET /v1.0/users HTTP/1.1", "").await.map(|answer| answer.status)
    };
    assert!(ask(other.ca_pem().unwrap(), "localhost").await.is_err(), "each simulator has its own authority");
    assert!(ask(sim.ca_pem().unwrap(), "graph.microsoft.com").await.is_err());
    assert!(sim.journal().is_empty());
    // A connection without a handshake must not block others.
    let _silent = TcpStream::connect(sim.url().replace("https://", "")).await.unwrap();
    assert_eq!(ask(sim.ca_pem().unwrap(), "localhost").await.unwrap(), 401);
}
