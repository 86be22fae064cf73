//! Databases of another encoding than UTF-8, which cannot store every character.
//!
//! The server converts every value that a statement sends, and refuses the statement for one character. Only the server
//! knows its tables, so it is asked about each character once.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The characters that the encoding of a database is known to store.
#[derive(Debug, Default)]
pub(in crate::store::db) struct Encoding {
    /// The name; none for an encoding without limits.
    limited: Option<String>,
    known: BTreeMap<char, bool>,
}

impl Encoding {
    /// The encoding with the name that the server gives it.
    pub(in crate::store::db) fn named(name: &str) -> Self {
        // SQL_ASCII stores any bytes.
        let limited = (!matches!(name, "UTF8" | "SQL_ASCII")).then(|| name.to_owned());
        Self { limited, known: BTreeMap::new() }
    }

    /// The name of an encoding that lacks characters.
    pub(in crate::store::db) fn limited(&self) -> Option<&str> {
        self.limited.as_deref()
    }

    /// Adds the characters of `text` that the server has to be asked about.
    pub(in crate::store::db) fn add_unknown(&self, text: &str, unknown: &mut BTreeSet<char>) {
        if self.limited.is_some() && !text.is_ascii() {
            unknown.extend(text.chars().filter(|letter| !letter.is_ascii() && !self.known.contains_key(letter)));
        }
    }

    /// Remembers the answer to [`question`]: the characters that cannot be stored, in hexadecimal.
    pub(in crate::store::db) fn learn(&mut self, asked: BTreeSet<char>, lacking: &str) {
        let lacking: BTreeSet<char> =
            lacking.split(' ').filter_map(|code| u32::from_str_radix(code, 16).ok().and_then(char::from_u32)).collect();
        self.known.extend(asked.into_iter().map(|letter| (letter, !lacking.contains(&letter))));
    }

    /// Whether the database can store the text. PostgreSQL never stores NUL.
    pub(in crate::store::db) fn fits(&self, text: &str) -> bool {
        !text.contains('\0')
            && (self.limited.is_none() || text.chars().all(|letter| self.known.get(&letter) != Some(&false)))
    }

    /// The text with each character that cannot be stored as an escape such as `\u{674E}`.
    pub(in crate::store::db) fn escaped<'t>(&self, text: Cow<'t, str>, backslash: &str) -> Cow<'t, str> {
        if self.fits(&text) {
            return text;
        }
        let mut escaped = String::with_capacity(text.len() + 16);
        for letter in text.chars() {
            if letter == '\0' || self.known.get(&letter) == Some(&false) {
                // Writing to a string never fails.
                let _ = write!(escaped, "{backslash}u{{{:X}}}", u32::from(letter));
            } else {
                escaped.push(letter);
            }
        }
        Cow::Owned(escaped)
    }
}

/// The setting of the session that carries the answer.
pub(in crate::store::db) const ANSWER: &str = "SELECT current_setting('learner_sync.lacking')";

/// Statements that find out which of these characters the encoding lacks. Each is tried in a block of its own, so that a
/// refusal neither ends the transaction nor shows.
pub(in crate::store::db) fn question(letters: &BTreeSet<char>) -> String {
    let codes: Vec<String> = letters
        .iter()
        .map(|letter| {
            let bytes: String = letter.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("{byte:02x}")).collect();
            format!("['{:x}', '{bytes}']", u32::from(*letter))
        })
        .collect();
    format!(
        "DO $$ DECLARE pair text[]; lacking text := '';
         BEGIN
             FOREACH pair SLICE 1 IN ARRAY ARRAY[{}]::text[] LOOP
                 BEGIN
                     PERFORM pg_catalog.convert(decode(pair[2], 'hex'), 'UTF8', getdatabaseencoding());
                 EXCEPTION WHEN untranslatable_character OR character_not_in_repertoire THEN
                     lacking := lacking || ' ' || pair[1];
                 END;
             END LOOP;
             PERFORM set_config('learner_sync.lacking', lacking, false);
         END $$",
        codes.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_lacking_is_escaped() {
        let mut encoding = Encoding::named("LATIN1");
        let mut unknown = BTreeSet::new();
        encoding.add_unknown("Zoë 李 plain", &mut unknown);
        assert_eq!(unknown, ['ë', '李'].into());
        encoding.learn(unknown, " 674e");
        assert_eq!(encoding.escaped("Zoë 李\0".into(), "\\"), "Zoë \\u{674E}\\u{0}");
        assert!(encoding.fits("Zoë") && !encoding.fits("李") && !encoding.fits("\0"));
        assert_eq!(Encoding::named("UTF8").escaped("李\0".into(), "\\"), "李\\u{0}");
    }
}
