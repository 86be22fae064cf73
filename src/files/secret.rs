//! Secrets in files and variables: what is around a secret by mistake is reported before the secret is sent.
//!
//! No message contains any part of the content.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::{MAX_SECRET, beside, describe_unreadable, read};
use crate::model::shell_word;

/// Longer than any client secret or password.
const MAX_LENGTH: usize = 1024;

/// The characters that a secret may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecretKind {
    /// A client secret: visible ASCII, and never a GUID.
    ClientSecret,
    /// A token of another issuer: visible ASCII.
    Token,
    /// A password that people chose: any visible text.
    Password,
}

/// Where a secret comes from. A file is read at each use, because it can be replaced at any time.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// A file with nothing else.
    File(PathBuf),
    /// The environment, which stays as it is.
    Fixed(SecretString),
}

impl SecretSource {
    /// The secret as it is now.
    ///
    /// # Errors
    /// Why the file is unusable.
    pub(crate) fn read(&self, kind: SecretKind) -> Result<SecretString, String> {
        match self {
            Self::File(path) => read_secret(path, kind),
            Self::Fixed(secret) => Ok(secret.clone()),
        }
    }
}

/// The secret in a file, without a byte order mark and trailing line breaks.
pub(crate) fn read_secret(path: &Path, kind: SecretKind) -> Result<SecretString, String> {
    let shown = path.display();
    let bytes = read(path, MAX_SECRET)
        .map_err(|error| format!("cannot read {shown}: {}", describe_unreadable(path, &error)))?;
    if is_utf16(&bytes) {
        let [old, new] = [path.to_owned(), beside(path, ".utf8")].map(|path| shell_word(&path.display().to_string()));
        // The new file must not be readable by others, not even for a moment.
        return Err(format!(
            "{shown} is UTF-16 text; convert it: (umask 077 && iconv -f UTF-16 -t UTF-8 {old} > {new} && cat {new} > \
             {old} && rm {new})"
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{shown} is not text in UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = if kind == SecretKind::Token { text.trim() } else { text.trim_end_matches(['\r', '\n']) };
    check_secret(text, kind).map_err(|problem| format!("{shown} {problem}"))?;
    Ok(text.into())
}

/// Whether the bytes are UTF-16 text, with or without a byte order mark.
pub(crate) fn is_utf16(bytes: &[u8]) -> bool {
    let zeros = |first: usize| bytes.len() >= 4 && bytes[first..].iter().step_by(2).take(16).all(|byte| *byte == 0);
    bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || zeros(0) || zeros(1)
}

/// Checks a secret without trailing line breaks.
///
/// # Errors
/// The problem, for a message that begins with the name of its source.
pub(crate) fn check_secret(text: &str, kind: SecretKind) -> Result<(), String> {
    const ONLY: &str = "it must contain only the secret, on a single line";
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if text.contains(['\r', '\n']) {
        let pem = if text.contains("-----BEGIN ") { ", and looks like a certificate or a key" } else { "" };
        return Err(format!("has more than one line{pem}; {ONLY}"));
    }
    if kind != SecretKind::Token && text.chars().count() > MAX_LENGTH {
        return Err(format!("has {} characters, more than any secret; {ONLY}", text.chars().count()));
    }
    if let Some((number, found)) = unusual(text, kind) {
        return Err(format!("has {found} as character {number}; {ONLY}"));
    }
    if kind == SecretKind::Password {
        return Ok(());
    }
    let (first, last) = (text.chars().next(), text.chars().next_back());
    if text.trim() != text {
        return Err(format!("has a blank at its beginning or end; {ONLY}"));
    }
    if [first, last].into_iter().flatten().any(|letter| matches!(letter, '"' | '\'' | '`')) {
        return Err(format!("has a quotation mark at its beginning or end; {ONLY}"));
    }
    if first == Some('{') {
        return Err(format!("looks like JSON; {ONLY}"));
    }
    if first == Some('<') && last == Some('>') {
        return Err("still holds a placeholder; replace it with the secret".to_owned());
    }
    if let Some((name, rest)) = text.split_once(['=', ':'])
        && !rest.trim_matches('=').is_empty()
        && is_setting_name(name)
    {
        return Err(format!("begins with the name of a setting; {ONLY}"));
    }
    if kind == SecretKind::ClientSecret && uuid::Uuid::try_parse(text).is_ok() {
        return Err(
            "looks like the ID of a secret, which is a GUID; copy the secret's value instead. Entra shows it only \
                    once: add a new secret if it is lost"
                .to_owned(),
        );
    }
    Ok(())
}

/// Whether the word before `=` or `:` names a secret, as in `client_secret=`.
fn is_setting_name(name: &str) -> bool {
    let is_word = name.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.'));
    let name = name.to_ascii_lowercase();
    is_word && ["secret", "password", "passwd", "token", "key", "value"].iter().any(|word| name.contains(word))
}

/// The first character that cannot belong to the secret, with its number from 1.
fn unusual(text: &str, kind: SecretKind) -> Option<(usize, &'static str)> {
    let found = |letter: char| {
        Some(match letter {
            '!'..='~' => return None,
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => "a control character",
            _ if !crate::model::is_visible(letter) => "an invisible character",
            // A password may contain these, and a secret that people chose a blank.
            _ if kind == SecretKind::Password || (kind == SecretKind::ClientSecret && letter == ' ') => return None,
            _ if letter.is_whitespace() => "a blank",
            _ => "a character that is not ASCII",
        })
    };
    (1..).zip(text.chars()).find_map(|(number, letter)| Some((number, found(letter)?)))
}

/// A warning about a password that is valid, but probably not what was meant.
pub(crate) fn suspicious_password(text: &str) -> Option<&'static str> {
    let quoted = |mark| text.len() > 1 && text.starts_with(mark) && text.ends_with(mark);
    if quoted('"') || quoted('\'') {
        Some("is in quotation marks, which are sent as part of the password")
    } else if text.trim() != text {
        Some("begins or ends with a blank, which is sent as part of the password")
    } else if text.split_once('=').is_some_and(|(name, rest)| !rest.is_empty() && is_setting_name(name)) {
        Some("begins with the name of a setting, which is sent as part of the password")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    const SECRET: &str = "abc8Q~0dskfHJ.kd_83-fkdlsJWQeiur8347fhAb";

    fn read_as(kind: SecretKind, content: &[u8]) -> Result<String, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, content).unwrap();
        let read = read_secret(&path, kind).map(|secret| secret.expose_secret().to_owned());
        read.map_err(|message| message.replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn text_around_a_client_secret_is_reported_and_never_sent() {
        for content in
            [SECRET.to_owned(), format!("{SECRET}\n"), format!("{SECRET}\r\n\r\n"), format!("\u{feff}{SECRET}\r\n")]
        {
            assert_eq!(read_as(SecretKind::ClientSecret, content.as_bytes()), Ok(SECRET.to_owned()));
        }
        // Older secrets are base64, or were chosen by people.
        assert!(read_as(SecretKind::ClientSecret, b"four words without quotes").is_ok());
        assert!(read_as(SecretKind::ClientSecret, b"k3y+/abcdefghijklmnopqrstuvwxyz0123456789ABC=").is_ok());
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let wrong: [(Vec<u8>, &str); 25] = [
            (Vec::new(), "is empty"),
            (b" \n".to_vec(), "is empty"),
            ("\u{feff}\n".into(), "is empty"),
            (utf16(&format!("\u{feff}{SECRET}\r\n")), "iconv -f UTF-16 -t UTF-8"),
            (utf16(SECRET), "iconv"),
            (format!("\u{feff}{SECRET}").encode_utf16().flat_map(u16::to_be_bytes).collect(), "iconv"),
            (b"caf\xe9".to_vec(), "not text in UTF-8"),
            (format!("\"{SECRET}\"\n").into(), "a quotation mark"),
            (format!("'{SECRET}'").into(), "a quotation mark"),
            (format!("\u{201c}{SECRET}\u{201d}").into(), "not ASCII as character 1"),
            (format!(" {SECRET}").into(), "a blank at its beginning"),
            (format!("{SECRET} \n").into(), "a blank at its beginning"),
            (format!("{SECRET}\u{a0}").into(), "a blank as character 41"),
            (format!("{SECRET}\t").into(), "a control character"),
            (format!("\u{200b}{SECRET}").into(), "an invisible character as character 1"),
            (format!("abc\u{ad}{SECRET}").into(), "an invisible character as character 4"),
            (format!("client_secret={SECRET}").into(), "the name of a setting"),
            (format!("AZURE_CLIENT_SECRET={SECRET}").into(), "the name of a setting"),
            (format!("LEARNER_SYNC_CLIENT_SECRET='{SECRET}'").into(), "quotation mark"),
            (format!("Value:{SECRET}").into(), "the name of a setting"),
            (format!("{{\"password\":\"{SECRET}\"}}").into(), "JSON"),
            (format!("{SECRET}\n{SECRET}\n").into(), "more than one line"),
            (b"-----BEGIN PRIVATE KEY-----\nAAAA\n".to_vec(), "a certificate or a key"),
            (b"<the secret>".to_vec(), "placeholder"),
            (b"8c95acf1-cc04-40a1-ad14-481862cf1801\n".to_vec(), "the ID of a secret"),
        ];
        for (content, expected) in wrong {
            let message = read_as(SecretKind::ClientSecret, &content).unwrap_err();
            assert!(message.contains(expected) && !message.contains("abc8Q"), "{expected}: {message}");
            assert!(message.contains("FILE"), "{message}");
        }
        assert!(
            read_as(SecretKind::ClientSecret, "x".repeat(2000).as_bytes()).unwrap_err().contains("2000 characters")
        );
    }

    #[test]
    fn passwords_may_contain_what_people_type() {
        for password in ["pässword ☃", " a b ", "\"quoted\"", "a=b", "8c95acf1-cc04-40a1-ad14-481862cf1801"] {
            assert_eq!(read_as(SecretKind::Password, format!("{password}\n").as_bytes()), Ok(password.to_owned()));
        }
        assert_eq!(read_as(SecretKind::Password, "\u{feff}secret\r\n".as_bytes()), Ok("secret".to_owned()));
        for (content, expected) in [
            ("one\ntwo", "more than one line"),
            ("a\u{200b}b", "an invisible character as character 2"),
            ("a\u{1b}b", "a control character as character 2"),
            ("", "is empty"),
        ] {
            assert!(read_as(SecretKind::Password, content.as_bytes()).unwrap_err().contains(expected), "{expected}");
        }
        for (password, suspicious) in [
            ("a b", false),
            ("\"a\"", true),
            ("'a'", true),
            (" a", true),
            ("PGPASSWORD=a", true),
            ("a=b", false),
            ("\"", false),
        ] {
            assert_eq!(suspicious_password(password).is_some(), suspicious, "{password}");
        }
    }

    #[test]
    fn tokens_are_one_word() {
        assert_eq!(read_as(SecretKind::Token, b"\xef\xbb\xbf eyJ.eyJ.abc \n\n"), Ok("eyJ.eyJ.abc".to_owned()));
        for (content, expected) in [
            ("a b", "a blank"),
            ("\"a\"", "quotation"),
            ("{\"access_token\":\"a\"}", "JSON"),
            ("a\nb", "more than one line"),
        ] {
            assert!(read_as(SecretKind::Token, content.as_bytes()).unwrap_err().contains(expected), "{expected}");
        }
    }
}
