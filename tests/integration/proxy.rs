//! A forward proxy with a password: a real tinyproxy in front of a simulator with TLS. The proxy sees only the name of
//! the target.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use graph_sim::{Fault, GraphSim, Tenant};

use crate::notify::secret_file;
use crate::program::{eventually, users};
use crate::world::World;

const USER: &str = "learner-sync";
/// tinyproxy accepts no other characters.
const PASSWORD: &str = "proxy.pass-word_7";

/// A running tinyproxy; stopped when dropped.
struct Tinyproxy {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Tinyproxy {
    /// Allows connections with the password to port `target`. `None` when tinyproxy is not installed.
    async fn start(world: &World, target: u16) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (configuration, log) = (world.path("tinyproxy.conf"), world.path("tinyproxy.log"));
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nLogFile {log:?}\nLogLevel Info\n\
             BasicAuth {USER} {PASSWORD}\nConnectPort {target}\n"
        );
        std::fs::write(&configuration, text).unwrap();
        let mut command = Command::new("tinyproxy");
        command.arg("-d").arg("-c").arg(&configuration).stdin(Stdio::null()).stdout(Stdio::null());
        let Ok(child) = command.stderr(Stdio::null()).spawn() else {
            // The output of `eprintln` is hidden when the test passes.
            let _ = writeln!(std::io::stderr(), "skipped: no proxy is tested, because tinyproxy is not installed");
            return None;
        };
        let mut proxy = Self { child, port, log };
        eventually("the proxy listens", async || {
            assert_eq!(proxy.child.try_wait().unwrap(), None, "tinyproxy cannot be used");
            TcpStream::connect(("127.0.0.1", port)).ok()
        })
        .await;
        Some(proxy)
    }

    /// Its address for `entra.proxy`, with this user.
    fn address(&self, user: Option<&str>) -> String {
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        format!("http://{user}127.0.0.1:{}", self.port)
    }

    /// The first line of each request so far.
    fn requests(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let line = |line: &str| Some(line.split_once("Request (file descriptor ")?.1.split_once("): ")?.1.to_owned());
        log.lines().filter_map(line).collect()
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A world of two users whose simulator has TLS with a private authority, and the port of the simulator.
async fn world_with_https() -> (World, GraphSim, u16) {
    let sim = GraphSim::start_tls(users(2).0).await;
    let world = World::start(Tenant::default()).await;
    let authority = world.path("authority.pem");
    std::fs::write(&authority, sim.ca_pem().unwrap()).unwrap();
    std::fs::write(world.path("secret"), sim.tenant(|tenant| tenant.client_secret.clone())).unwrap();
    let plain = world.sim.url();
    world.reconfigure(|text| {
        text.replace(&plain, &sim.url()).replace("[entra]\n", &format!("[entra]\nca_file = {authority:?}\n"))
    });
    let port = sim.url().rsplit(':').next().unwrap().parse().unwrap();
    (world, sim, port)
}

/// Configures the proxy, with a file that contains `password`.
fn configure_proxy(world: &World, address: &str, password: &str) {
    use std::os::unix::fs::PermissionsExt;
    let file = world.path("proxy-password");
    std::fs::write(&file, format!("{password}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    world.reconfigure(|text| {
        let others = text.lines().filter(|line| !line.starts_with("proxy")).map(|line| format!("{line}\n"));
        let text: String = others.collect();
        text.replace("[entra]\n", &format!("[entra]\nproxy = \"{address}\"\nproxy_password_file = {file:?}\n"))
    });
}

#[tokio::test]
async fn a_configured_proxy_is_used_with_its_password_and_sees_nothing() {
    let (world, sim, port) = world_with_https().await;
    let Some(proxy) = Tinyproxy::start(&world, port).await else { return };
    for (user, password) in [(Some(USER), PASSWORD.to_owned()), (None, format!("{USER}:{PASSWORD}"))] {
        let before = (proxy.requests().len(), sim.journal().len());
        configure_proxy(&world, &proxy.address(user), &password);
        world.run_program(&["sync", "--full"], 0);
        assert!(sim.journal().len() > before.1);
        assert!(proxy.requests().len() > before.0, "nobody asked the proxy");
    }
    // A name is resolved by the proxy.
    world.reconfigure(|text| text.replace("https://127.0.0.1:", "https://localhost:"));
    let ran = world.run_program_with(&[("LEARNER_SYNC_LOG__LEVEL", "trace")], &["sync", "--full"], 0);
    assert!(!ran.stderr.contains(PASSWORD), "{ran:?}");
    assert!(proxy.requests().contains(&format!("CONNECT localhost:{port} HTTP/1.1")), "{:?}", proxy.requests());
    // Only requests for a tunnel; everything in it is encrypted.
    let tunnels = [format!("CONNECT 127.0.0.1:{port} HTTP/1.1"), format!("CONNECT localhost:{port} HTTP/1.1")];
    assert!(proxy.requests().iter().all(|request| tunnels.contains(request)), "{:?}", proxy.requests());
    assert!(sim.journal().iter().all(|call| call.header("proxy-authorization").is_none()));
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "2");
}

#[tokio::test]
async fn the_proxy_of_the_environment_is_used_except_for_no_proxy() {
    let (world, sim, port) = world_with_https().await;
    let Some(proxy) = Tinyproxy::start(&world, port).await else { return };
    let address = proxy.address(Some(&format!("{USER}:proxy%2Epass%2Dword_7")));
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let before = proxy.requests().len();
        world.run_program_with(&[(name, &address)], &["sync", "--full"], 0);
        assert!(proxy.requests().len() > before, "{name}: nobody asked the proxy");
    }
    let (asked, called) = (proxy.requests(), sim.journal().len());
    for exceptions in ["127.0.0.1", "localhost,127.0.0.0/8"] {
        world.run_program_with(&[("HTTPS_PROXY", &address), ("NO_PROXY", exceptions)], &["sync", "--full"], 0);
    }
    // The configured proxy has priority, and `no_proxy` applies to it too.
    configure_proxy(&world, &proxy.address(Some(USER)), PASSWORD);
    world.run_program_with(&[("NO_PROXY", "127.0.0.1")], &["sync", "--full"], 0);
    assert_eq!(proxy.requests(), asked);
    assert!(sim.journal().len() > called);
    world.run_program_with(&[("HTTPS_PROXY", "http://127.0.0.1:1")], &["sync", "--full"], 0);
    assert!(proxy.requests().len() > asked.len());
}

#[tokio::test]
async fn a_proxy_that_refuses_the_password_is_named() {
    let (world, sim, port) = world_with_https().await;
    let Some(proxy) = Tinyproxy::start(&world, port).await else { return };
    configure_proxy(&world, &proxy.address(Some(USER)), "letmein");
    for arguments in [&["sync"][..], &["check"]] {
        let ran = world.run_program(arguments, 1);
        assert!(ran.stdout.contains("entra.proxy_password_file"), "{arguments:?}: {ran:?}");
        assert!(!ran.stdout.contains("letmein") && !ran.stderr.contains("letmein"), "{ran:?}");
    }
    // tinyproxy answers 407 without a password, and 401 to a wrong one.
    world.reconfigure(|text| {
        text.lines().filter(|line| !line.starts_with("proxy_")).map(|line| format!("{line}\n")).collect()
    });
    let check = world.run_program(&["check"], 1).stdout;
    for line in ["FAIL network", "FAIL sign-in"] {
        assert!(check.contains(line), "{check}");
    }
    assert!(check.contains("407") && check.contains("entra.proxy_password_file"), "{check}");
    assert_eq!(sim.journal(), []);
    assert_eq!(world.cycles().await, ["command failed"]);
}

#[tokio::test]
async fn an_unreachable_proxy_is_reported_with_its_key() {
    let (world, sim, _) = world_with_https().await;
    configure_proxy(&world, "http://127.0.0.1:1", PASSWORD);
    let check = world.run_program(&["check"], 1).stdout;
    assert!(check.contains("FAIL network") && check.contains("FAIL sign-in"), "{check}");
    assert!(check.contains("Connection refused") && check.contains("entra.proxy"), "{check}");
    assert_eq!(sim.journal(), []);
}

#[tokio::test]
async fn a_webhook_uses_the_proxy_and_mail_does_not() {
    let (world, sim, port) = world_with_https().await;
    let Some(proxy) = Tinyproxy::start(&world, port).await else { return };
    configure_proxy(&world, &proxy.address(Some(USER)), PASSWORD);
    let address = |host: &str| secret_file(&world, "webhook-url", &format!("https://{host}:{port}/hooks/TOKEN"));
    let url = address("localhost");
    world.reconfigure(|text| format!("{text}[notify]\nwebhook_url_file = {url:?}\n"));
    sim.inject(Fault::on("POST", "/hooks/TOKEN").always().answer(204));
    let environment = [("LEARNER_SYNC_LOG__LEVEL", "trace")];
    let ran = world.run_program_with(&environment, &["notify", "test"], 0);
    let tunnel = format!("CONNECT localhost:{port} HTTP/1.1");
    assert_eq!((proxy.requests(), sim.journal().len()), (vec![tunnel.clone()], 1));
    assert!(!format!("{ran:?}").contains("TOKEN") && !format!("{ran:?}").contains(PASSWORD), "{ran:?}");
    let other = ("HTTPS_PROXY", &*proxy.address(Some(&format!("{USER}:proxy%2Epass%2Dword_7"))));
    let without =
        |text: String| text.lines().filter(|line| !line.starts_with("proxy")).map(|line| format!("{line}\n")).collect();
    world.reconfigure(without);
    world.run_program_with(&[other], &["notify", "test"], 0);
    assert_eq!((proxy.requests(), sim.journal().len()), (vec![tunnel.clone(); 2], 2));
    world.run_program_with(&[other, ("NO_PROXY", "localhost")], &["notify", "test"], 0);
    assert_eq!((proxy.requests().len(), sim.journal().len()), (2, 3));

    // Only the proxy needs to know the name.
    address("hooks.example.invalid");
    let check = world.run_program_with(&[other], &["check"], 0).stdout;
    assert!(check.contains("ok   notify webhook"), "{check}");
    address("localhost");
    configure_proxy(&world, &proxy.address(Some(USER)), "letmein");
    let ran = world.run_program(&["notify", "test"], 1);
    assert!(ran.stdout.contains("entra.proxy_password_file") && !format!("{ran:?}").contains("letmein"), "{ran:?}");

    configure_proxy(&world, &proxy.address(Some(USER)), PASSWORD);
    let asked = proxy.requests().len();
    let mail = "smtp_url = \"smtps://127.0.0.1:1\"\nfrom = \"sync@example.org\"\nto = [\"ops@example.org\"]";
    world.reconfigure(|text| text.replace(&format!("webhook_url_file = {url:?}"), mail));
    let ran = world.run_program(&["notify", "test"], 1);
    assert!(ran.stdout.contains("127.0.0.1:1: ") && ran.stdout.contains("Connection refused"), "{ran:?}");
    assert_eq!(proxy.requests().len(), asked);
}
