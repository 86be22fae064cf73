//! What to do about a mail that was not accepted.

/// For a server that does not answer.
pub(super) const NO_ANSWER: &str =
    "check notify.smtp_url and the firewall; a port that begins with TLS, such as 465, needs smtps://";

/// What lettre says, and what to do. It offers no types for these causes.
const CAUSES: [(&str, &str); 7] = [
    (
        "response error",
        "this is not an answer of a mail server: check the host and the port in notify.smtp_url, and the log of the server",
    ),
    (
        "certificate",
        "the certificate of the mail server is not trusted, or has another name: check the host in notify.smtp_url, and \
         set entra.ca_file to its certificate authority",
    ),
    (
        "STARTTLS is not supported",
        "the server does not offer STARTTLS, and nothing is sent without TLS: use smtps:// in notify.smtp_url, or \
         another port",
    ),
    (
        "InvalidContentType",
        "this port does not begin with TLS: use smtp:// in notify.smtp_url, which asks for TLS with STARTTLS, or another \
         port",
    ),
    (
        "failed to lookup address",
        "this machine cannot resolve the host name: check notify.smtp_url and the machine's name server",
    ),
    (
        "No compatible authentication",
        "the server offers no sign-in with PLAIN or LOGIN over this connection: use another port or server",
    ),
    ("SMTPUTF8", "the server accepts addresses in ASCII only: correct notify.from and notify.to"),
];

/// What to do about an answer of the server, or about `words` without one.
pub(super) fn advice(status: Option<u16>, words: &str) -> &'static str {
    match status {
        Some(530) => {
            "the server wants a sign-in: add the user to notify.smtp_url, such as smtp://user@mail.example.org"
        }
        Some(534 | 535) => "check the user in notify.smtp_url and the file of notify.smtp_password_file",
        Some(500..) => {
            "the server refuses the mail: check notify.from, notify.to and whether the server relays for this machine"
        }
        Some(_) => "the server does not accept the mail at present: look at its log",
        None => {
            let known = CAUSES.iter().find(|(cause, _)| words.contains(cause));
            known.map_or("check notify.smtp_url and the firewall", |(_, advice)| advice)
        }
    }
}
