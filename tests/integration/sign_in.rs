//! Signing in: answers of the token endpoint, certificates, workload and managed identities.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use graph_sim::{Call, Fault, SigningCertificate, Tenant};
use jiff::Timestamp;
use learner_sync::directory::DirectoryError;
use learner_sync::model::Outcome;

use crate::program::users;
use crate::world::World;

const TOKEN: &str = "/*/oauth2/v2.0/token";

#[tokio::test]
async fn an_unexpected_answer_is_not_quoted() {
    for body in ["\"eyJhbGciOi.the.token\"", "{\"access_token\":\"eyJhbGciOi.the.token\"}", "<html>eyJhbGciOi</html>"] {
        let mut world = World::start(users(1).0).await;
        world.sim.inject(Fault::on("POST", TOKEN).always().answer(200).body(body));
        let report = world.cycle().await;
        let error = report.error.unwrap();
        assert_eq!(report.outcome, Outcome::Failed);
        assert!(error.contains("without a usable token") && !error.contains("eyJ"), "{error}");
    }
}

/// The calls of the token endpoint.
fn sign_ins(world: &World) -> Vec<Call> {
    world.sim.journal().into_iter().filter(|call| call.path.ends_with("/oauth2/v2.0/token")).collect()
}

#[tokio::test]
async fn a_throttled_token_request_is_repeated_after_retry_after() {
    let cases = [
        ("throttled", Fault::on("POST", TOKEN).retry_after("1"), 429),
        ("throttled until a date", Fault::on("POST", TOKEN).retry_after_date(1), 429),
        ("not available", Fault::on("POST", TOKEN).answer(503), 503),
        ("a gateway that speaks HTML", Fault::on("POST", TOKEN).answer(502).body("<html>Bad Gateway</html>"), 502),
        ("reset before the answer", Fault::on("POST", TOKEN).reset(), 0),
        ("reset within the answer", Fault::on("POST", TOKEN).reset_after_headers(), 200),
    ];
    let asked = cases.into_iter().map(async |(what, fault, status)| {
        let mut world = World::start(users(1).0).await;
        world.sim.inject(fault);
        let report = world.cycle().await;
        assert_eq!((report.outcome, report.counts.created), (Outcome::Success, 1), "{what}");
        let [first, second] = &sign_ins(&world)[..] else { panic!("{what}: {:?}", sign_ins(&world)) };
        assert_eq!((first.status, second.status), (status, 200), "{what}");
        let waited = second.waited_after(first).unwrap();
        assert!(waited >= Duration::from_millis(950), "{what}: {waited:?}");
    });
    join_all(asked).await;
}

/// A world with a leaver who is not yet deactivated.
async fn world_with_leaver() -> World {
    let (tenant, ids) = users(3);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 3);
    world.sim.tenant(|tenant| tenant.unassign(&ids[0]));
    world.sim.clear_journal();
    world
}

#[tokio::test]
async fn a_refused_sign_in_is_tried_once_a_cycle_and_deactivates_nobody() {
    for fault in [
        Fault::on("POST", TOKEN).answer(200).body("<html>Please log in</html>"),
        Fault::on("POST", TOKEN).answer(403).body("<html>Blocked by the proxy</html>"),
        Fault::on("POST", TOKEN)
            .answer(401)
            .body(r#"{"error":"invalid_client","error_description":"AADSTS7000222: x"}"#),
    ] {
        let mut world = world_with_leaver().await;
        let before = world.lasting().await;
        world.sim.inject(fault.always());
        for _ in 0..3 {
            assert_eq!(world.cycle().await.outcome, Outcome::Failed);
        }
        assert_eq!(world.sim.journal().len(), 3, "{:?}", world.sim.journal());
        world.unchanged_since(&before).await;
        world.sim.clear_faults();
        assert_eq!(world.cycle().await.counts.deactivated, 1);
        world.settled().await;
    }
}

#[tokio::test]
async fn an_unreachable_token_endpoint_ends_the_cycle_after_seconds() {
    let failing = async {
        let mut world = world_with_leaver().await;
        world.sim.inject(Fault::on("POST", TOKEN).always().answer(500));
        let report = world.cycle().await;
        (world, report)
    };
    let down = async {
        let mut world = world_with_leaver().await;
        let authority = format!("authority_url = \"{}\"", world.sim.url());
        // Nothing listens on port 1.
        world.reconfigure(|text| text.replace(&authority, "authority_url = \"http://127.0.0.1:1\""));
        let report = world.cycle().await;
        world.configure("");
        (world, report)
    };
    let ((failing, first), (down, second)) = tokio::join!(failing, down);
    // Waits of one, two and four seconds, each up to twice as long, within eight seconds.
    let calls = sign_ins(&failing).len();
    assert!((2..=4).contains(&calls) && calls == failing.sim.journal().len(), "{:?}", failing.sim.journal());
    assert_eq!(down.sim.journal(), []);
    for (mut world, report, cause) in [(failing, first, "answered 500"), (down, second, "is unreachable")] {
        let error = report.error.unwrap();
        assert!(report.duration < Duration::from_secs(20) && error.contains(cause), "{error}");
        assert_eq!(world.value("SELECT count(*) FROM learners WHERE active").await, "3");
        world.sim.clear_faults();
        assert_eq!(world.cycle().await.counts.deactivated, 1);
        world.settled().await;
    }
}

#[tokio::test]
async fn a_token_without_a_sensible_lifetime_is_used_for_a_day() {
    let mut world = World::start(users(1).0).await;
    let body = r#"{"token_type":"Bearer","expires_in":18446744073709551615,"access_token":"not-a-token"}"#;
    world.sim.inject(Fault::on("POST", TOKEN).always().answer(200).body(body));
    // Graph does not know the token; its lifetime causes no overflow.
    assert!(world.cycle().await.error.unwrap().contains("401"));
}

#[tokio::test]
async fn plain_http_on_loopback_never_uses_a_proxy() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let heard = std::thread::spawn(move || {
        let (stream, _) = proxy.accept().unwrap();
        BufReader::new(stream).lines().next().unwrap().unwrap()
    });
    let world = World::start(users(1).0).await;
    let mut program = world.program(&["sync"]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        program.env(name, &address);
    }
    assert!(program.output().unwrap().status.success());
    // The proxy had no connection before this one.
    std::io::Write::write_all(&mut std::net::TcpStream::connect(&address["http://".len()..]).unwrap(), b"nobody\n")
        .unwrap();
    assert_eq!(heard.join().unwrap(), "nobody");
}

/// A world with one user and these lines in `[entra.credential]`.
async fn world_signing_in(tenant: Tenant, credential: &str) -> World {
    let world = World::start(tenant).await;
    sign_in_with(&world, credential);
    world
}

fn sign_in_with(world: &World, credential: &str) {
    world.configure("");
    let secret = format!("secret_file = {:?}", world.path("secret"));
    world.reconfigure(|text| {
        assert!(text.contains(&secret));
        text.replace(&secret, credential)
    });
}

fn write_secret(world: &World, name: &str, content: &str) -> String {
    let path = world.path(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_certificate_signs_a_new_assertion_for_each_token() {
    let certificate = SigningCertificate::new("learner-sync");
    let mut tenant = users(1).0;
    tenant.register_certificate(&certificate.certificate_pem);
    tenant.client_secret.clear();
    let mut world = World::start(tenant).await;
    let (public, key) = (
        write_secret(&world, "certificate.pem", &certificate.certificate_pem),
        write_secret(&world, "key.pem", &certificate.key_pem),
    );
    sign_in_with(&world, &format!("kind = \"certificate\"\ncertificate_file = {public:?}\nprivate_key_file = {key:?}"));
    assert_eq!(world.cycle().await.outcome, Outcome::Success);
    // The simulator accepts each assertion once; a token that Graph refuses is replaced.
    world.sim.revoke_tokens();
    assert_eq!(world.cycle().await.outcome, Outcome::Success);

    // One file with both, in the credentials directory of systemd.
    let both = write_secret(&world, "both.pem", &format!("{}{}", certificate.certificate_pem, certificate.key_pem));
    sign_in_with(&world, &format!("kind = \"certificate\"\ncertificate_file = {both:?}"));
    world.run_program(&["sync"], 0);
    sign_in_with(&world, "kind = \"certificate\"");
    std::fs::create_dir(world.path("credentials")).unwrap();
    std::fs::copy(&public, world.path("credentials/certificate")).unwrap();
    std::fs::copy(&key, world.path("credentials/private-key")).unwrap();
    let directory = world.path("credentials").display().to_string();
    world.run_program_with(&[("CREDENTIALS_DIRECTORY", &directory)], &["sync"], 0);
}

#[tokio::test]
async fn an_unknown_certificate_is_explained() {
    let certificate = SigningCertificate::new("learner-sync");
    let mut world = World::start(users(1).0).await;
    let both = write_secret(&world, "both.pem", &format!("{}{}", certificate.key_pem, certificate.certificate_pem));
    sign_in_with(&world, &format!("kind = \"certificate\"\ncertificate_file = {both:?}"));
    let report = world.cycle().await;
    let error = report.error.unwrap();
    assert!(report.refused && error.contains("AADSTS700027") && error.contains("is not registered"), "{error}");
}

#[tokio::test]
async fn every_known_number_has_a_cause_and_a_fix() {
    let world = World::start(users(1).0).await;
    let certificate = SigningCertificate::new("learner-sync");
    let both = write_secret(&world, "both.pem", &format!("{}{}", certificate.key_pem, certificate.certificate_pem));
    let claims = r#"{"iss":"https://issuer.example/1","sub":"workload","aud":["other"],"exp":4070908800}"#;
    let token = write_secret(&world, "token", &format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims)));
    let by_certificate = format!("kind = \"certificate\"\ncertificate_file = {both:?}");
    let by_token = format!("kind = \"workload-identity\"\ntoken_file = {token:?}");
    let by_secret = format!("secret_file = {:?}", world.path("secret"));
    type Expected<'a> = &'a [(u32, &'a [&'a str])];
    let cases: [(&str, Expected<'_>); 3] = [
        (
            &by_secret,
            &[
                (50059, &["entra.tenant_id"]),
                (50194, &["single tenant"]),
                (50196, &["too many equal sign-ins", "entra.client_id"]),
                (53003, &["Conditional Access"]),
                (53004, &["risk", "Risky workload identities"]),
                (65001, &["admin consent"]),
                (70001, &["is disabled", "Enterprise applications"]),
                (500011, &["entra.cloud"]),
                (500014, &["Microsoft Graph is disabled", "00000003-0000-0000-c000-000000000000"]),
                (500021, &["proxy", "Restrict-Access-To-Tenants"]),
                (501051, &["Assignment required"]),
                (700023, &["scope", "entra.graph_url"]),
                (700025, &["public client"]),
                (900382, &["another Microsoft cloud", "entra.cloud"]),
                (5000224, &["blocked or was deleted", "entra.tenant_id"]),
                (7000112, &["is disabled", "Enabled for users to sign-in"]),
                (7000229, &["no enterprise application", "admin consent"]),
                (7000232, &["managed identity"]),
                (1234567, &["look up the number", "/error?code=1234567"]),
            ],
        ),
        (
            &by_certificate,
            &[
                (50012, &["thumbprint"]),
                (700021, &["another application", "entra.client_id"]),
                (700023, &["another token endpoint", "entra.authority_url"]),
                (700024, &["clock"]),
                (700027, &["not registered", "thumbprint"]),
                (700030, &["upload the certificate"]),
                (1000502, &["at this time", "clock"]),
                (7000214, &["was revoked", "request a new one"]),
                (7000274, &["at this time", "clock"]),
                (7000277, &["was revoked"]),
            ],
        ),
        (
            &by_token,
            &[
                (50027, &["JSON Web Token"]),
                (70021, &["no federated credential", "issuer https://issuer.example/1", "subject workload"]),
                (700021, &["issuer of a federated credential"]),
                (700023, &["api://AzureADTokenExchange"]),
                (700211, &["no federated credential", "issuer https://issuer.example/1"]),
                (700212, &["no federated credential", "not api://AzureADTokenExchange"]),
                (700213, &["no federated credential", "subject workload"]),
                (7002121, &["no federated credential", "audience [\"other\"]"]),
                (7002138, &["letter case matters"]),
            ],
        ),
    ];
    for (credential, numbers) in cases {
        sign_in_with(&world, credential);
        let app = world.app();
        for (number, expected) in numbers {
            world.sim.inject(Fault::refused_sign_in(*number));
            let error = app.directory.sign_in().await.unwrap_err();
            let message = learner_sync::model::chain(&error);
            let hint = DirectoryError::from(error).hint().unwrap().to_owned();
            assert!(expected.iter().all(|words| hint.contains(words)), "{number}: {hint}");
            assert!(
                message.contains(&format!("AADSTS{number}: ")) && message.contains("trace id 3f1f7c0e"),
                "{message}"
            );
            assert!(message.contains("2026-03-02 08:00:00Z") && !message.contains('\r'), "{message}");
            world.sim.clear_faults();
        }
    }
}

#[tokio::test]
async fn the_dates_of_a_certificate_explain_a_refusal_and_never_prevent_a_sign_in() {
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    for (from, to, words) in [
        ("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", "the certificate expired on 2021-01-01T00:00:00Z"),
        ("2090-01-01T00:00:00Z", "2091-01-01T00:00:00Z", "the certificate is valid only from 2090-01-01T00:00:00Z"),
    ] {
        let certificate = SigningCertificate::valid("learner-sync", time(from), time(to));
        let world = World::start(users(1).0).await;
        let both = write_secret(&world, "both.pem", &format!("{}{}", certificate.key_pem, certificate.certificate_pem));
        sign_in_with(&world, &format!("kind = \"certificate\"\ncertificate_file = {both:?}"));
        let checked = world.run_program(&["check"], 1).stdout;
        let warned = checked.lines().find(|line| line.starts_with("warn credential")).unwrap_or_default();
        assert!(warned.contains(words), "{checked}");
        // The hint of the failed sign-in.
        assert_eq!(checked.matches(words).count(), 2, "{checked}");

        // Entra's clock and its own dates decide.
        world.sim.tenant(|tenant| {
            tenant.register_certificate(&certificate.certificate_pem);
            let registered = tenant.certificates.last_mut().unwrap();
            (registered.starts_at, registered.ends_at) = (time("2020-01-01T00:00:00Z"), time("2099-01-01T00:00:00Z"));
        });
        world.run_program(&["sync"], 0);
        let checked = world.run_program(&["check"], 0).stdout;
        assert!(checked.contains("warn credential") && checked.contains(words), "{checked}");
    }
}

#[tokio::test]
async fn a_certificate_that_expires_soon_is_reported_by_check_and_status() {
    let soon = |days: i64| learner_sync::model::system_clock() + jiff::SignedDuration::from_hours(24 * days + 1);
    let begin = "2020-01-01T00:00:00Z".parse().unwrap();
    // The earlier end counts: that of the file, or that of the app registration.
    for (own, registered) in [(20, 400), (400, 20)] {
        let certificate = SigningCertificate::valid("learner-sync", begin, soon(own));
        let world = World::start(users(1).0).await;
        world.sim.tenant(|tenant| {
            tenant.register_certificate(&certificate.certificate_pem);
            tenant.certificates.last_mut().unwrap().ends_at = soon(registered);
        });
        let both = write_secret(&world, "both.pem", &format!("{}{}", certificate.key_pem, certificate.certificate_pem));
        sign_in_with(&world, &format!("kind = \"certificate\"\ncertificate_file = {both:?}"));
        assert!(world.run_program(&["check"], 0).stdout.contains("the credential expires in 20 days"));
        world.run_program(&["sync"], 0);
        assert!(world.run_program(&["status"], 0).stdout.contains("the credential expires in 20 days"));

        // A new certificate ends the warning with the next cycle.
        let new = SigningCertificate::new("learner-sync");
        world.sim.tenant(|tenant| tenant.register_certificate(&new.certificate_pem));
        write_secret(&world, "both.pem", &format!("{}{}", new.key_pem, new.certificate_pem));
        world.run_program(&["sync"], 0);
        assert!(!world.run_program(&["status"], 0).stdout.contains("expires in"));
    }
}

#[tokio::test]
async fn a_daemon_reads_its_credential_at_each_sign_in() {
    let world = World::start(users(1).0).await;
    let secret = world.path("secret");
    let daemon = world.daemon().await;
    assert_eq!(world.cycles_ended(1).await, ["startup success"]);
    world.sim.tenant(|tenant| tenant.client_secret = "the second secret".to_owned());
    world.sim.revoke_tokens();
    let refused = world.run_program(&["resync", "--wait"], 1).stdout;
    assert!(refused.contains("AADSTS7000215"), "{refused}");
    write_secret(&world, "secret", "\u{feff}the second secret\r\n");
    world.run_program(&["resync", "--wait"], 0);
    for (content, words) in [(None, "No such file"), (Some("\"the second secret\""), "a quotation mark")] {
        std::fs::remove_file(&secret).unwrap();
        if let Some(content) = content {
            write_secret(&world, "secret", content);
        }
        world.sim.revoke_tokens();
        world.sim.clear_journal();
        let said = world.run_program(&["resync", "--wait"], 1).stdout;
        assert!(said.contains("entra.credential.secret_file: ") && said.contains(words), "{said}");
        assert_eq!(sign_ins(&world), [], "an unusable secret is not sent");
        write_secret(&world, "secret", "the second secret");
        world.run_program(&["resync", "--wait"], 0);
    }
    assert!(!daemon.log().contains("second secret"), "{}", daemon.log());
    daemon.stop().await;
}

#[tokio::test]
async fn a_busy_entra_is_retried_whatever_the_status() {
    let cases = [
        (400, r#"{"error":"temporarily_unavailable","error_description":"AADSTS90033: x","error_codes":[90033]}"#),
        (401, r#"{"error":"temporarily_unavailable"}"#),
        (400, r#"{"error":"slow_down"}"#),
        (403, r#"{"error":"server_error"}"#),
        (400, r#"{"error":"invalid_grant","error_codes":[90024]}"#),
    ];
    let asked = cases.into_iter().map(async |(status, body)| {
        let mut world = World::start(users(1).0).await;
        world.sim.inject(Fault::on("POST", TOKEN).answer(status).retry_after("2").body(body));
        assert_eq!(world.cycle().await.outcome, Outcome::Success, "{body}");
        let [first, second] = &sign_ins(&world)[..] else { panic!("{body}: {:?}", sign_ins(&world)) };
        assert!(second.waited_after(first).unwrap() >= Duration::from_millis(1_950), "{body}");
    });
    join_all(asked).await;
    // A repeated sign-in would only make it worse.
    let mut world = World::start(users(1).0).await;
    world.sim.inject(Fault::refused_sign_in(50196));
    assert!(world.cycle().await.error.unwrap().contains("too many equal sign-ins"));
    assert_eq!(sign_ins(&world).len(), 1);
}

#[tokio::test]
async fn an_unusable_token_is_named_at_once() {
    for (answer, words) in [
        (r#""token_type":"Bearer","access_token":"a\nb""#, "a control character"),
        (r#""token_type":"Bearer","access_token":"a\u0007b""#, "a control character"),
        (r#""token_type":"Bearer","access_token":"a b""#, "a blank"),
        (r#""token_type":"Bearer","access_token":"ключ""#, "not ASCII"),
        (r#""token_type":"Bearer","access_token":"""#, "is empty"),
        (r#""token_type":"Bearer","access_token":7"#, "no access_token"),
        (r#""token_type":"pop\u001b","access_token":"abc""#, "not Bearer"),
        (r#""token_type":7,"access_token":"abc""#, "token_type is not a text"),
    ] {
        let mut world = World::start(users(1).0).await;
        let body = format!("{{\"expires_in\":3599,{answer}}}");
        world.sim.inject(Fault::on("POST", TOKEN).always().answer(200).body(&body));
        let error = world.cycle().await.error.unwrap();
        assert!(error.contains(words) && error.contains("without a usable token"), "{answer}: {error}");
        assert_eq!(world.sim.journal().len(), 1, "{answer}");
    }
    // An error that leaves the token usable does not matter: Graph itself refuses this one.
    for more in
        ["", ",\"expires_in\":\"3599\"", ",\"expires_in\":null", ",\"expires_in\":-1", ",\"expires_in\":\"soon\""]
    {
        let mut world = World::start(users(1).0).await;
        let body = format!("\u{feff}{{\"token_type\":\"bearer\",\"access_token\":\"not-a-token\"{more}}}");
        world.sim.inject(Fault::on("POST", TOKEN).always().answer(200).body(&body));
        assert!(world.cycle().await.error.unwrap().contains("401"), "{more}");
    }
    // A redirect is not followed, and its path is not shown.
    let mut world = World::start(users(1).0).await;
    world.sim.inject(Fault::on("POST", TOKEN).redirect(302, "https://portal.example/login?session=secret"));
    let error = world.cycle().await.error.unwrap();
    assert!(
        error.contains("302")
            && error.contains("it redirects to https://portal.example;")
            && !error.contains("session"),
        "{error}"
    );
}

#[tokio::test]
async fn the_log_names_nobody_and_no_part_of_the_secret() {
    let mut world = World::start(users(1).0).await;
    let secret = world.sim.tenant(|tenant| tenant.client_secret.clone());
    let part = &secret[..secret.len() / 2];
    let description = format!(
        "AADSTS50034: User 'ada@contoso.example' ({part}) sent eyJhbGciOi.eyJzdWIi.c2ln.\\r\\nTrace ID: 7\\r\\nTimestamp: now"
    );
    let body = format!("{{\"error\":\"invalid_grant\",\"error_description\":\"{description}\"}}");
    world.sim.inject(Fault::on("POST", TOKEN).always().answer(400).body(&body));
    let error = world.cycle().await.error.unwrap();
    assert!(error.contains("AADSTS50034: User '(address)' ((hidden)) sent (hidden)."), "{error}");
    assert!(error.contains("(invalid_grant, trace id 7, now)") && error.contains("/error?code=50034"), "{error}");
    assert!(!error.contains(part) && !error.contains("ada@") && !error.contains("eyJ"), "{error}");
}

#[tokio::test]
async fn problems_of_certificate_and_key_name_the_file() {
    let (certificate, other) = (SigningCertificate::new("learner-sync"), SigningCertificate::new("other"));
    let world = World::start(users(1).0).await;
    let public = write_secret(&world, "certificate.pem", &certificate.certificate_pem);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIE\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let broken = certificate.key_pem.replace("MII", "AAA");
    for (certificate, key, expected) in [
        (&certificate.certificate_pem, encrypted, ["private_key_file", "passphrase"]),
        (&certificate.certificate_pem, broken.as_str(), ["private_key_file", "no RSA private key"]),
        (&certificate.certificate_pem, other.key_pem.as_str(), ["private_key_file", "does not belong"]),
        (&certificate.key_pem, certificate.key_pem.as_str(), ["certificate_file", "no certificate"]),
        (&String::new(), certificate.key_pem.as_str(), ["certificate_file", "no certificate"]),
    ] {
        std::fs::write(&public, certificate).unwrap();
        let key = write_secret(&world, "key.pem", key);
        sign_in_with(
            &world,
            &format!("kind = \"certificate\"\ncertificate_file = {public:?}\nprivate_key_file = {key:?}"),
        );
        let ran = world.run_program(&["sync"], 78);
        assert!(expected.iter().all(|text| ran.stderr.contains(text)), "{expected:?} in {}", ran.stderr);
        assert!(!ran.stderr.contains("MII"), "{}", ran.stderr);
    }
    for (credential, expected) in [
        ("kind = \"certificate\"", "there is no certificate"),
        ("kind = \"workload-identity\"", "there is no token file"),
        ("kind = \"managed-identity\"\ntoken_file = \"/token\"", "has no effect"),
    ] {
        sign_in_with(&world, credential);
        let ran = world.run_program(&["sync"], 78);
        assert!(ran.stderr.contains(expected), "{expected} in {}", ran.stderr);
    }
}

#[tokio::test]
async fn the_token_file_of_a_workload_identity_is_read_each_time() {
    let mut tenant = users(1).0;
    tenant.federated_tokens = ["first".to_owned()].into();
    let world = World::start(tenant).await;
    let file = write_secret(&world, "token", "first\n");
    sign_in_with(&world, &format!("kind = \"workload-identity\"\ntoken_file = {file:?}"));
    let daemon = world.daemon().await;
    assert_eq!(world.cycles_ended(1).await, ["startup success"]);
    // The file is renewed without a reload.
    write_secret(&world, "token", "second");
    world.sim.tenant(|tenant| tenant.federated_tokens = ["second".to_owned()].into());
    world.sim.revoke_tokens();
    world.run_program(&["resync", "--wait"], 0);
    for (what, words) in [("nothing", "No such file"), ("empty", "is empty"), ("a pipe", "not a regular file")] {
        let _ = std::fs::remove_file(&file);
        match what {
            "empty" => drop(write_secret(&world, "token", " \n")),
            "a pipe" => assert!(Command::new("mkfifo").arg(&file).status().unwrap().success()),
            _ => {}
        }
        world.sim.revoke_tokens();
        let said = world.run_program(&["resync", "--wait"], 1).stdout;
        assert!(said.contains("entra.credential.token_file: ") && said.contains(words), "{what}: {said}");
    }
    daemon.stop().await;

    let other = write_secret(&world, "other", "unknown");
    sign_in_with(&world, "kind = \"workload-identity\"");
    let ran = world.run_program_with(&[("AZURE_FEDERATED_TOKEN_FILE", &other)], &["sync"], 1);
    assert!(ran.stdout.contains("no federated credential"), "{ran:?}");
}

#[tokio::test]
async fn a_managed_identity_gets_its_token_from_the_metadata_service() {
    let mut world = world_signing_in(users(1).0, "kind = \"managed-identity\"").await;
    let client = world.sim.tenant(|tenant| {
        tenant.managed_identities = [tenant.client_id.clone()].into();
        tenant.client_id.clone()
    });
    assert_eq!(world.cycle().await.outcome, Outcome::Success);
    let asked = |world: &World| {
        let calls = world.sim.journal();
        let asked: Vec<_> = calls.iter().filter(|call| call.path.contains("/metadata/identity")).collect();
        (asked.len(), asked.last().unwrap().query.contains("client_id"))
    };
    assert_eq!(asked(&world), (1, true));
    // The system-assigned identity needs no client id.
    world.reconfigure(|text| text.replace(&format!("client_id = \"{client}\""), ""));
    world.sim.tenant(|tenant| tenant.system_assigned_identity = Some(client.clone()));
    assert_eq!(world.cycle().await.outcome, Outcome::Success);
    assert_eq!(asked(&world), (2, false));

    world.sim.tenant(|tenant| {
        tenant.system_assigned_identity = None;
        tenant.managed_identities.clear();
    });
    let report = world.cycle().await;
    let error = report.error.unwrap();
    assert!(report.refused && error.contains("assign a managed identity to this virtual machine"), "{error}");
}

#[tokio::test]
async fn a_metadata_service_that_is_being_updated_is_retried() {
    for status in [404, 410, 429, 500] {
        let mut world = world_signing_in(users(1).0, "kind = \"managed-identity\"").await;
        world.sim.tenant(|tenant| tenant.managed_identities = [tenant.client_id.clone()].into());
        world.sim.inject(Fault::on("GET", "/metadata/identity/oauth2/token").answer(status));
        assert_eq!(world.cycle().await.outcome, Outcome::Success, "{status}");
    }
}
