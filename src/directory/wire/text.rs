//! The text of an answer. One bad byte must not make a whole page unreadable.

use serde::de::IgnoredAny;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Whatever precedes or follows them in a string, these escapes cannot be decoded.
const BROKEN: &[u8] = br"\udc00\udc00";

/// The text of a body, without its byte order mark. Bytes that a JSON string cannot contain become escapes that cannot be
/// decoded, so that only the value that contains them is lost.
pub(in crate::directory) fn body_text(mut body: Vec<u8>) -> String {
    if body.starts_with(BYTE_ORDER_MARK) {
        body.drain(..BYTE_ORDER_MARK.len());
    }
    match String::from_utf8(body) {
        Ok(text) if has_plain_strings(&text) || serde_json::from_str::<IgnoredAny>(&text).is_ok() => text,
        Ok(text) => with_marked_strings(text.as_bytes()),
        Err(error) => with_marked_strings(error.as_bytes()),
    }
}

/// Whether no string of the text can be broken: it has no escapes and no control characters.
fn has_plain_strings(text: &str) -> bool {
    // Without an early end, the bytes of a chunk are compared at once.
    let is_plain = |chunk: &[u8]| chunk.iter().fold(true, |plain, byte| plain & (*byte != b'\\') & (*byte >= 0x20));
    text.as_bytes().chunks(64).all(is_plain)
}

/// Replaces what a JSON string cannot contain. Never adds or removes a quotation mark, so a truncated body stays invalid.
fn with_marked_strings(body: &[u8]) -> String {
    let mut marked = Vec::with_capacity(body.len());
    let (mut rest, mut in_string) = (body, false);
    while let Some(first) = rest.first() {
        let length = match first {
            b'"' => {
                in_string = !in_string;
                Some(1)
            }
            _ if !in_string => Some(1),
            b'\\' => escape_length(rest),
            0..0x20 => None,
            _ => character_length(rest),
        };
        marked.extend_from_slice(length.map_or(BROKEN, |length| &rest[..length]));
        rest = &rest[length.unwrap_or(1)..];
    }
    // Between strings, a replacement character is a syntax error.
    String::from_utf8_lossy(&marked).into_owned()
}

fn escape_length(text: &[u8]) -> Option<usize> {
    match text.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => text.get(2..6)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

fn character_length(text: &[u8]) -> Option<usize> {
    (1..=4).find(|length| text.get(..*length).is_some_and(|bytes| std::str::from_utf8(bytes).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that can be decoded, in order.
    #[track_caller]
    fn check(body: &[u8], expect: &[Option<&str>]) {
        let text = body_text(body.to_vec());
        let values: Vec<&serde_json::value::RawValue> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let decoded: Vec<Option<String>> = values.iter().map(|value| serde_json::from_str(value.get()).ok()).collect();
        assert_eq!(decoded.iter().map(Option::as_deref).collect::<Vec<_>>(), expect, "{text}");
    }

    #[test]
    fn only_the_string_with_a_bad_byte_is_lost() {
        for bad in [
            &b"\xff"[..],
            b"\xc3",
            b"\xed\xa0\xbd",
            b"\x01",
            b"\n",
            b"\\x",
            b"\\u12",
            b"\\u12g4",
            b"\\ud83d",
            b"\\udc00",
            b"\\ud83d\xff",
            b"\\\xff",
            b"\\\\\xff\xff",
        ] {
            let body = [br#"["a","b "#, bad, br#" c","\u00e9\"\\","\ud83d\ude00"]"#].concat();
            check(&body, &[Some("a"), None, Some("é\"\\"), Some("😀")]);
        }
        check("\u{feff}[\"a\"]".as_bytes(), &[Some("a")]);
    }

    #[test]
    fn a_damaged_structure_stays_damaged() {
        for body in [
            &b"[\"a\",\"b\xff"[..],
            b"[\"a\",\xff\"b\"]",
            b"[\"a\",\"b\\\"]",
            b"[\"a\"]\xff",
            b"\xef\xbb\xbf\xef\xbb\xbf[]",
        ] {
            assert!(serde_json::from_str::<IgnoredAny>(&body_text(body.to_vec())).is_err(), "{body:?}");
        }
    }
}
