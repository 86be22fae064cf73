//! A server on the network: `sslmode` is enforced.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use super::Server;
use super::commands::{configure_database_url, database_check};
use super::server::OWNER;
use crate::program::users;
use crate::world::World;

/// The only host name in the certificate of the server.
const NAME: &str = "localhost";

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server with a certificate of an authority.
fn encrypted_server(authority: &CertifiedIssuer<'_, KeyPair>) -> Option<&'static Server> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, authority).unwrap();
    Server::start_on_the_network(|server| {
        let certificate = server.file("server.pem", &certificate.pem());
        let key = server.file("server-key.pem", &key.serialize_pem());
        vec![
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", certificate.display()),
            format!("ssl_key_file={}", key.display()),
        ]
    })
}

/// Configures the host and the options of the connection.
fn configure_host(world: &World, server: &Server, host: &str, options: &str) {
    let url = format!("postgres://{OWNER}@{host}:{}/{}?{options}", server.port(), world.database.name());
    configure_database_url(world, &url);
}

/// A cycle succeeds, and `check` describes the connection.
#[track_caller]
fn expect_connected(world: &World, description: &str) {
    world.run_program(&["sync"], 0);
    let (ok, detail, _) = database_check(world, 0);
    assert!(ok && detail.ends_with(description), "{detail}");
}

/// The connection fails with a reason and a hint.
#[track_caller]
fn expect_refused(world: &World, why: &str) {
    let stderr = world.run_program(&["sync"], 1).stderr;
    assert!(stderr.contains("cannot connect to the learner database") && stderr.contains(why), "{stderr}");
    assert!(stderr.contains("hint: check host and sslmode in learners.database_url; sslrootcert names"), "{stderr}");
    let (ok, detail, hint) = database_check(world, 1);
    assert!(!ok && detail.contains(why) && hint.contains("sslrootcert"), "{detail} | {hint}");
}

#[tokio::test]
async fn sslmode_is_enforced() {
    let (ours, other) = (authority("Ours"), authority("Another"));
    let Some(server) = encrypted_server(&ours) else { return };
    let world = World::start_on(server, users(2).0).await;
    std::fs::write(world.path("ours.pem"), ours.pem()).unwrap();
    std::fs::write(world.path("other.pem"), other.pem()).unwrap();
    let trusting = |mode: &str, file: &str| format!("sslmode={mode}&sslrootcert={}", world.path(file).display());

    for options in
        ["sslmode=require".to_owned(), trusting("verify-ca", "ours.pem"), trusting("verify-full", "ours.pem")]
    {
        configure_host(&world, server, NAME, &options);
        expect_connected(&world, ", encrypted");
    }
    configure_host(&world, server, NAME, "sslmode=disable");
    expect_connected(&world, ", not encrypted");

    // The certificate lacks the address, which only verify-full checks.
    configure_host(&world, server, "127.0.0.1", &trusting("verify-ca", "ours.pem"));
    expect_connected(&world, ", encrypted");
    configure_host(&world, server, "127.0.0.1", &trusting("verify-full", "ours.pem"));
    expect_refused(&world, "certificate not valid for name \"127.0.0.1\"");
    for mode in ["verify-ca", "verify-full"] {
        configure_host(&world, server, NAME, &trusting(mode, "other.pem"));
        expect_refused(&world, "UnknownIssuer");
    }
    // The system does not trust the test authority.
    configure_host(&world, server, NAME, "sslmode=verify-full");
    expect_refused(&world, "UnknownIssuer");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_if_tls_is_required() {
    let Some(server) = Server::start_on_the_network(|_| Vec::new()) else { return };
    let world = World::start_on(server, users(1).0).await;
    for mode in ["require", "verify-ca", "verify-full"] {
        configure_host(&world, server, NAME, &format!("sslmode={mode}"));
        expect_refused(&world, "server does not support TLS");
    }
    // The default encrypts only if the server supports it.
    configure_host(&world, server, NAME, "");
    expect_connected(&world, ", not encrypted");
}
