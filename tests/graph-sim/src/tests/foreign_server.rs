//! The foreign server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::ForeignServer;

fn send(server: &ForeignServer, text: &str) -> String {
    let mut stream = TcpStream::connect(server.url().replace("http://", "")).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_foreign_server_records_what_it_receives() {
    let server = ForeignServer::start();
    assert_eq!((server.connections(), server.heads().len()), (0, 0));
    let get = "GET /v1.0/users?$top=5 HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer secret\r\n\r\n";
    assert!(send(&server, get).ends_with(r#"{"value":[]}"#));
    let body = "x".repeat(200_000);
    let head = format!("POST /token HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
    assert!(send(&server, &format!("{head}{body}")).starts_with("HTTP/1.1 200"));
    send(&server, "");
    send(&server, "no HTTP at all");
    assert_eq!(server.heads(), [get, &head, "no HTTP at all"]);
    assert_eq!(server.connections(), 4);
}
