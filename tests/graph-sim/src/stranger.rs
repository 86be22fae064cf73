//! A server at an origin that is none of the simulator's: where a link or a redirect may lead, and where no
//! credential must ever arrive.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// More than any head has.
const LARGEST_HEAD: usize = 64 * 1024;
/// An answer that looks like the end of a list, so that who asks has no reason to ask again.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{\"value\":[]}";

/// Listens on a port of 127.0.0.1 until it is dropped and writes down the head of every request.
#[derive(Debug)]
pub struct Stranger {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    runtime: Option<Runtime>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    heads: Vec<String>,
}

impl Stranger {
    /// Listens.
    ///
    /// # Panics
    ///
    /// When there is no port to be had.
    pub fn start() -> Self {
        Self::listen().unwrap_or_else(|error| panic!("the stranger cannot listen: {error}"))
    }

    fn listen() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("stranger").enable_all().build()?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let bookkeeping = Arc::clone(&seen);
        runtime.spawn(async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                lock(&bookkeeping).connections += 1;
                tokio::spawn(serve(stream, Arc::clone(&bookkeeping)));
            }
        });
        Ok(Self { address, seen, runtime: Some(runtime) })
    }

    /// Its origin, for instance `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often somebody connected, whatever was said then.
    pub fn connections(&self) -> usize {
        lock(&self.seen).connections
    }

    /// Request line and headers of each request, as they came.
    pub fn heads(&self) -> Vec<String> {
        lock(&self.seen).heads.clone()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one request and answers it. What is no HTTP is written down when it ends.
async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break end + 4;
        }
        match stream.read_buf(&mut bytes).await {
            Ok(1..) if bytes.len() < LARGEST_HEAD => {}
            _ => break bytes.len(),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let length = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.filter_map(|(_, value)| value.trim().parse().ok()).next().unwrap_or(0);
    if !head.is_empty() {
        lock(&seen).heads.push(head);
    }
    // A body that is left unread would turn the answer into a reset.
    while bytes.len() < end + length && matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {}
    // Whoever has gone does not need the answer.
    let _ = stream.write_all(ANSWER).await;
    let _ = stream.shutdown().await;
}
