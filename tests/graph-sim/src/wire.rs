//! The listening socket, whose connections can be reset. An HTTP server cannot reset a connection before the first byte
//! of an answer, so this layer does.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Wire {
    ready: mpsc::Receiver<Connection>,
}

pub(crate) struct Connection {
    stream: Stream,
    reset_handle: ResetHandle,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// Lets a handler reset its own connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResetHandle(Arc<AtomicBool>);

impl ResetHandle {
    /// Resets the connection at the next write or at its end.
    pub(crate) fn reset(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_reset(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wire {
    /// Accepts connections on the current runtime, with TLS after their handshake.
    pub(crate) fn new(mut listener: TcpListener, tls: Option<TlsAcceptor>) -> Self {
        let (sender, ready) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let (stream, _) = Listener::accept(&mut listener).await;
                let (sender, tls) = (sender.clone(), tls.clone());
                // A task per connection, so that a slow handshake does not block the others.
                tokio::spawn(async move {
                    if let Some(connection) = Connection::begin(stream, tls).await {
                        // Fails when the simulator has ended.
                        let _ = sender.send(connection).await;
                    }
                });
            }
        });
        Self { ready }
    }

    /// The next connection.
    pub(crate) async fn accept(&mut self) -> Connection {
        match self.ready.recv().await {
            Some(connection) => connection,
            // Unreachable: the sender lives as long as the runtime.
            None => std::future::pending().await,
        }
    }
}

impl Connection {
    pub(crate) fn reset_handle(&self) -> ResetHandle {
        self.reset_handle.clone()
    }

    /// A connection ready to be read, unless its handshake failed.
    async fn begin(stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Self> {
        // Sends small answers at once; a failure only makes them slower.
        let _ = stream.set_nodelay(true);
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(tls) => Stream::Tls(Box::new(timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await.ok()?.ok()?)),
        };
        Some(Self { stream, reset_handle: ResetHandle::default() })
    }

    fn stream(&mut self) -> Pin<&mut dyn Duplex> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream),
            Stream::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.reset_handle.is_reset() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.reset_handle.is_reset() {
            // Closing without linger sends a reset. If the option fails, the connection still ends early.
            let socket = match &self.stream {
                Stream::Plain(stream) => stream,
                Stream::Tls(stream) => stream.get_ref().0,
            };
            let _ = socket.set_zero_linger();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        self.stream().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(context)
    }
}
