//! A server at a foreign origin: the target of links and redirects that no credential may be sent to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

const LARGEST_HEAD: usize = 64 * 1024;
/// An empty last page, so that a client has no reason to ask again.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{\"value\":[]}";

/// Listens on a port of 127.0.0.1 until it is dropped and records the head of every request.
#[derive(Debug)]
pub struct ForeignServer {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    runtime: Option<Runtime>,
}

#[derive(Debug, Default)]
struct Received {
    connections: usize,
    heads: Vec<String>,
}

impl ForeignServer {
    /// Starts listening.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub fn start() -> Self {
        Self::listen().unwrap_or_else(|error| panic!("the foreign server cannot listen: {error}"))
    }

    fn listen() -> std::io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("foreign-server").enable_all().build()?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let received = Arc::new(Mutex::new(Received::default()));
        let bookkeeping = Arc::clone(&received);
        runtime.spawn(async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                lock(&bookkeeping).connections += 1;
                tokio::spawn(serve(stream, Arc::clone(&bookkeeping)));
            }
        });
        Ok(Self { address, received, runtime: Some(runtime) })
    }

    /// Its origin, for instance `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Number of connections, with or without a request.
    pub fn connections(&self) -> usize {
        lock(&self.received).connections
    }

    /// Request line and headers of each request, unchanged.
    pub fn heads(&self) -> Vec<String> {
        lock(&self.received).heads.clone()
    }
}

impl Drop for ForeignServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn lock(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads and answers one request. Input that is not HTTP is recorded when it ends.
async fn serve(mut stream: TcpStream, received: Arc<Mutex<Received>>) {
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
        lock(&received).heads.push(head);
    }
    // Read the body, because an unread one would turn the answer into a reset.
    while bytes.len() < end + length && matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {}
    // The client may be gone already.
    let _ = stream.write_all(ANSWER).await;
    let _ = stream.shutdown().await;
}
