//! The server at another origin.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::Stranger;

fn say(stranger: &Stranger, text: &str) -> String {
    let mut stream = TcpStream::connect(stranger.url().replace("http://", "")).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_stranger_writes_down_what_arrives() {
    let stranger = Stranger::start();
    assert_eq!((stranger.connections(), stranger.heads().len()), (0, 0));
    let get = "GET /v1.0/users?$top=5 HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer secret\r\n\r\n";
    assert!(say(&stranger, get).ends_with(r#"{"value":[]}"#));
    let body = "x".repeat(200_000);
    let head = format!("POST /token HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
    assert!(say(&stranger, &format!("{head}{body}")).starts_with("HTTP/1.1 200"));
    say(&stranger, "");
    say(&stranger, "no HTTP at all");
    assert_eq!(stranger.heads(), [get, &head, "no HTTP at all"]);
    assert_eq!(stranger.connections(), 4);
}
