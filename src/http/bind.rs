//! Listening on an address or a socket file.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};

use crate::config::ListenAddress;

/// The owner and the group of the socket file may connect.
const SOCKET_MODE: u32 = 0o660;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;
/// How long another process may take to accept a connection.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Nothing listens on the address.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The directory of the socket is missing.
    #[error("the directory {} does not exist; create it, or use RuntimeDirectory= of the unit", .0.display())]
    NoDirectory(PathBuf),
    /// The path is used for something else.
    #[error("{} exists and is not a socket; remove it, or change http.listen", .0.display())]
    NotASocket(PathBuf),
    /// The socket file belongs to another user.
    #[error("the socket {} belongs to another user; remove it, or change http.listen", .0.display())]
    Foreign(PathBuf),
    /// Another process listens there.
    #[error("another process listens there; stop it, or change http.listen")]
    InUse,
    /// The system refuses the address.
    #[error(transparent)]
    Refused(#[from] io::Error),
}

/// A connection.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for C {}

/// A bound address. Dropping it removes the socket file.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile),
}

impl Bound {
    pub(super) async fn bind(address: &ListenAddress) -> Result<Self, ListenError> {
        match address {
            ListenAddress::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(refusal)?;
                let bound = listener.local_addr()?;
                Ok(Self::Tcp(listener, bound))
            }
            ListenAddress::Unix(path) => bind_socket_file(path).await,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match self {
            Self::Tcp(listener, _) => Box::new(listener.accept().await?.0),
            Self::Unix(listener, _) => Box::new(listener.accept().await?.0),
        })
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, address) => address.fmt(f),
            Self::Unix(_, file) => write!(f, "unix:{}", file.path.display()),
        }
    }
}

fn refusal(error: io::Error) -> ListenError {
    if error.kind() == io::ErrorKind::AddrInUse { ListenError::InUse } else { error.into() }
}

async fn bind_socket_file(path: &Path) -> Result<Bound, ListenError> {
    if let Some(directory) = path.parent().filter(|directory| !directory.is_dir()) {
        return Err(ListenError::NoDirectory(directory.to_owned()));
    }
    remove_stale(path).await?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(path).map_err(refusal)?;
    let file = SocketFile::new(path)?;
    // Nobody can connect before `listen`.
    std::fs::set_permissions(path, PermissionsExt::from_mode(SOCKET_MODE))?;
    Ok(Bound::Unix(socket.listen(BACKLOG)?, file))
}

/// Removes a socket file of our own on which nobody listens, as a kill leaves it.
async fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !found.file_type().is_socket() {
        return Err(ListenError::NotASocket(path.to_owned()));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(ListenError::Foreign(path.to_owned()));
    }
    match tokio::time::timeout(PROBE_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(std::fs::remove_file(path)?),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(ListenError::InUse),
    }
}

/// A socket file that this process has created.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(&std::fs::symlink_metadata(path)?) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have replaced it.
        let is_own = std::fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity);
        if is_own && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!("cannot remove the socket {}: {error}", self.path.display());
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
