//! A server on the network: what `sslmode` asks for is what has to hold.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use super::Server;
use super::commands::database_line;
use super::server::OWNER;
use crate::program::users;
use crate::world::World;

/// The one name that the certificate of the server is good for.
const NAME: &str = "localhost";

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server with a certificate of this authority.
fn encrypted_server(authority: &CertifiedIssuer<'_, KeyPair>) -> Option<&'static Server> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, authority).unwrap();
    let server = Server::start_on_the_network(|server| {
        let certificate = server.file("server.pem", &certificate.pem());
        let key = server.file("server-key.pem", &key.serialize_pem());
        vec![
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", certificate.display()),
            format!("ssl_key_file={}", key.display()),
        ]
    })?;
    Some(Box::leak(Box::new(server)))
}

/// Has the configuration name the server by `host`, with `options`.
fn reach(world: &World, server: &Server, host: &str, options: &str) {
    let url = format!("postgres://{OWNER}@{host}:{}/{}?{options}", server.port(), world.database.name());
    world.reconfigure(|text| {
        let line = |line: &str| match line.starts_with("database_url") {
            true => format!("database_url = \"{url}\"\n"),
            false => format!("{line}\n"),
        };
        text.lines().map(line).collect()
    });
}

/// A cycle runs, and `check` says this of the way.
#[track_caller]
fn reached(world: &World, way: &str) {
    world.run_program(&["sync"], 0);
    let (ok, detail, _) = database_line(world, 0);
    assert!(ok && detail.ends_with(way), "{detail}");
}

/// Nothing is said to the server, and the administrator is told why and what to look at.
#[track_caller]
fn refused(world: &World, why: &str) {
    let told = world.run_program(&["sync"], 1).stderr;
    assert!(told.contains("cannot connect to the learner database") && told.contains(why), "{told}");
    assert!(told.contains("hint: look at host and sslmode in learners.database_url; sslrootcert names"), "{told}");
    let (ok, detail, hint) = database_line(world, 1);
    assert!(!ok && detail.contains(why) && hint.contains("sslrootcert"), "{detail} | {hint}");
}

#[tokio::test]
async fn what_sslmode_asks_for_has_to_hold() {
    let (ours, other) = (authority("Ours"), authority("Another"));
    let Some(server) = encrypted_server(&ours) else { return };
    let world = World::start_on(server, users(2).0).await;
    std::fs::write(world.path("ours.pem"), ours.pem()).unwrap();
    std::fs::write(world.path("other.pem"), other.pem()).unwrap();
    let trusting = |mode: &str, file: &str| format!("sslmode={mode}&sslrootcert={}", world.path(file).display());

    for options in
        ["sslmode=require".to_owned(), trusting("verify-ca", "ours.pem"), trusting("verify-full", "ours.pem")]
    {
        reach(&world, server, NAME, &options);
        reached(&world, ", encrypted");
    }
    reach(&world, server, NAME, "sslmode=disable");
    reached(&world, ", not encrypted");

    // By its address the server is another one, unless nobody asks for its name.
    reach(&world, server, "127.0.0.1", &trusting("verify-ca", "ours.pem"));
    reached(&world, ", encrypted");
    reach(&world, server, "127.0.0.1", &trusting("verify-full", "ours.pem"));
    refused(&world, "certificate not valid for name \"127.0.0.1\"");
    for mode in ["verify-ca", "verify-full"] {
        reach(&world, server, NAME, &trusting(mode, "other.pem"));
        refused(&world, "UnknownIssuer");
    }
    // Nor do the authorities of the system know ours.
    reach(&world, server, NAME, "sslmode=verify-full");
    refused(&world, "UnknownIssuer");
}

#[tokio::test]
async fn a_server_that_does_not_encrypt_is_refused_where_that_is_asked_for() {
    let Some(server) = Server::start_on_the_network(|_| Vec::new()) else { return };
    let server: &'static Server = Box::leak(Box::new(server));
    let world = World::start_on(server, users(1).0).await;
    for mode in ["require", "verify-ca", "verify-full"] {
        reach(&world, server, NAME, &format!("sslmode={mode}"));
        refused(&world, "server does not support TLS");
    }
    // What is asked for when nothing is: encrypted if the server can.
    reach(&world, server, NAME, "");
    reached(&world, ", not encrypted");
}
