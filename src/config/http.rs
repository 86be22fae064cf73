//! `[http]`: the listener for metrics, health and the status page.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::reader::Reader;

/// The longest path of a socket: `sockaddr_un` has 108 bytes, the last of which is zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// `[http]`: metrics, health and the status page over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where it listens.
    pub listen: ListenAddress,
    /// The file with the token that requests need. Required beyond loopback.
    pub token_file: Option<PathBuf>,
    /// Whether it has the status page, which shows names of people.
    pub page: bool,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address and a port; port 0 is any free one.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether other machines can connect.
    pub fn is_beyond_loopback(&self) -> bool {
        matches!(self, Self::Tcp(address) if !address.ip().to_canonical().is_loopback())
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The section; `None` when there is no listener.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<HttpConfig> {
    let is_given = reader.present("http.listen");
    let listen = reader.text("http.listen", listen_address);
    let token_file = reader.path("http.token_file");
    let page = reader.flag("http.page", false);
    if !is_given && page {
        reader.refuse("http.page", "has no effect without http.listen");
    }
    if !is_given && reader.present("http.token_file") {
        reader.refuse("http.token_file", "has no effect without http.listen");
    }
    let listen = listen?;
    if listen.is_beyond_loopback() && !reader.present("http.token_file") {
        let message = "required, because other machines can reach the address in http.listen; set it to a file with a \
                       token, or listen on 127.0.0.1";
        reader.refuse("http.token_file", message);
    }
    if page && !matches!(listen, ListenAddress::Unix(_)) && !reader.present("http.token_file") {
        let message = "shows names of people, so that it needs a token or a socket; set http.token_file to a file with a \
                       token, or http.listen to a socket such as unix:/run/learner-sync/http.sock";
        reader.refuse("http.page", message);
    }
    Some(HttpConfig { listen, token_file, page })
}

fn listen_address(text: &str) -> Result<ListenAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        if !Path::new(path).is_absolute() || path.ends_with('/') {
            return Err("the path after unix: must be the absolute path of a file".to_owned());
        }
        if path.len() > LONGEST_SOCKET_PATH {
            return Err(format!("the path of a socket must not be longer than {LONGEST_SOCKET_PATH} bytes"));
        }
        return Ok(ListenAddress::Unix(path.into()));
    }
    text.parse().map(ListenAddress::Tcp).map_err(|_| {
        "must be an address with a port, such as 127.0.0.1:9464, or a socket, such as \
         unix:/run/learner-sync/http.sock"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_has_an_address_or_a_socket() {
        for (text, beyond) in [
            ("127.0.0.1:9464", false),
            ("127.3.4.5:1", false),
            ("[::1]:9464", false),
            ("[::ffff:127.0.0.1]:9464", false),
            ("unix:/run/learner-sync/http.sock", false),
            ("0.0.0.0:9464", true),
            ("[::]:9464", true),
            ("192.0.2.1:9464", true),
        ] {
            let address = listen_address(text).unwrap();
            assert_eq!((address.is_beyond_loopback(), address.to_string()), (beyond, text.to_owned()));
        }
        let long = format!("unix:/{}", "a".repeat(107));
        for wrong in [
            "",
            "9464",
            ":9464",
            "localhost:9464",
            "127.0.0.1",
            "127.0.0.1:70000",
            "unix:",
            "unix:http.sock",
            "unix:/run/",
            "http://127.0.0.1:9464",
            &long,
        ] {
            assert!(listen_address(wrong).is_err(), "{wrong:?}");
        }
    }
}
