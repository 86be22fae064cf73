//! Signing in: what the token endpoint says stays between it and us.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;

use graph_sim::Fault;
use learner_sync::model::Outcome;

use crate::program::people;
use crate::world::World;

const TOKEN: &str = "/*/oauth2/v2.0/token";

#[tokio::test]
async fn an_answer_that_is_no_token_answer_is_not_repeated() {
    for body in ["\"eyJhbGciOi.the.token\"", "{\"access_token\":\"eyJhbGciOi.the.token\"}", "<html>eyJhbGciOi</html>"] {
        let mut world = World::start(people(1).0).await;
        world.sim.inject(Fault::on("POST", TOKEN).always().answer(200).body(body));
        let report = world.cycle().await;
        let error = report.error.unwrap();
        assert_eq!(report.outcome, Outcome::Failed);
        assert!(error.contains("no usable token") && !error.contains("eyJ"), "{error}");
    }
}

#[tokio::test]
async fn a_token_that_is_good_for_ever_is_good_for_a_day() {
    let mut world = World::start(people(1).0).await;
    let body = r#"{"token_type":"Bearer","expires_in":18446744073709551615,"access_token":"not-a-token"}"#;
    world.sim.inject(Fault::on("POST", TOKEN).always().answer(200).body(body));
    // Graph does not know it, but nothing breaks on the way there.
    assert!(world.cycle().await.error.unwrap().contains("401"));
}

#[tokio::test]
async fn plain_http_on_the_loopback_never_goes_to_a_proxy() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let heard = std::thread::spawn(move || {
        let (stream, _) = proxy.accept().unwrap();
        BufReader::new(stream).lines().next().unwrap().unwrap()
    });
    let world = World::start(people(1).0).await;
    let mut program = world.program(&["sync"]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        program.env(name, &address);
    }
    assert!(program.output().unwrap().status.success());
    // Nobody has spoken to the proxy before this.
    std::io::Write::write_all(&mut std::net::TcpStream::connect(&address["http://".len()..]).unwrap(), b"nobody\n")
        .unwrap();
    assert_eq!(heard.join().unwrap(), "nobody");
}
