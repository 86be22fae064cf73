//! The HTTP listener of a running daemon.

mod limits;
mod listening;
mod metrics;
mod page;
mod requests;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::program::{Daemon, eventually, users};
use crate::world::World;

/// Any free port.
const ANY_PORT: &str = "[http]\nlisten = \"127.0.0.1:0\"";
/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer to a request.
#[derive(Debug)]
struct Answer {
    status: u16,
    /// The headers, with names in lower case.
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Sends the bytes of a request and reads the answer; `None` when the connection is closed without one.
fn send(mut stream: impl Read + Write, request: &str) -> Option<Answer> {
    // The server may have closed the connection, or stopped reading.
    let _ = stream.write_all(request.as_bytes());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (first, headers) = head.split_once("\r\n").unwrap();
    let status = first.split(' ').nth(1).unwrap().parse().unwrap();
    let lower = |line: &str| line.split_once(": ").map(|(name, value)| format!("{}: {value}\n", name.to_lowercase()));
    let head: String = headers.lines().filter_map(lower).collect();
    let body = if head.contains("transfer-encoding: chunked\n") { joined(body) } else { body.to_owned() };
    Some(Answer { status, head, body })
}

/// The body that was sent in chunks. Each has its length before it, and the last one has none.
fn joined(mut chunks: &str) -> String {
    let mut body = String::new();
    loop {
        let (length, rest) = chunks.split_once("\r\n").unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return body;
        }
        body.push_str(&rest[..length]);
        chunks = &rest[length + 2..];
    }
}

/// A daemon with its address.
struct Served {
    world: World,
    daemon: Daemon,
    address: String,
}

impl Served {
    /// A world with `count` users and this configuration, and its daemon after the first cycle.
    async fn start(count: usize, configuration: &str) -> Self {
        let world = World::start(users(count).0).await;
        world.configure(configuration);
        Self::start_in(world).await
    }

    async fn start_in(world: World) -> Self {
        Self::start_with(world, &[]).await
    }

    /// Like the above, with environment variables.
    async fn start_with(world: World, environment: &[(&str, &str)]) -> Self {
        let daemon = world.daemon_with(environment).await;
        daemon.logged("waiting next_cycle.at=", 1).await;
        let address = listening(&daemon, 1).await;
        Self { world, daemon, address }
    }

    fn connect(&self) -> TcpStream {
        connect(&self.address)
    }

    fn send(&self, request: &str) -> Option<Answer> {
        send(self.connect(), request)
    }

    fn get(&self, path: &str) -> Answer {
        get(&self.address, path)
    }

    /// GETs with another header.
    fn get_with(&self, path: &str, header: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n")).unwrap()
    }

    async fn waits_for(&self, path: &str, status: u16, body: &str) {
        eventually(&format!("{path} answers {status} {body}"), async || {
            let answer = self.get(path);
            (answer.status == status && answer.body.contains(body)).then_some(())
        })
        .await;
    }
}

/// The address that the log names for the `times`-th time.
pub(crate) async fn listening(daemon: &Daemon, times: usize) -> String {
    const LISTENING: &str = "listening for HTTP on ";
    daemon.logged(LISTENING, times).await;
    let log = daemon.log();
    let named = log.split(LISTENING).nth(times).unwrap();
    named.split_whitespace().next().unwrap().to_owned()
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn get(address: &str, path: &str) -> Answer {
    send(connect(address), &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")).unwrap()
}

/// GETs through a socket file, under a name that no loopback address has.
fn get_from_socket(path: &std::path::Path, target: &str) -> Answer {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    send(stream, &format!("GET {target} HTTP/1.1\r\nHost: status.example.org\r\n\r\n")).unwrap()
}
