//! Text from outside, made safe to read: in a log, on a terminal, in the record of a failure.
//!
//! Escape sequences move the cursor, direction marks reorder a line, and invisible characters make two names look alike.

use std::borrow::Cow;

/// The most characters of a foreign text in a message.
const MAX_TEXT: usize = 300;
/// The most characters of a message that quotes foreign texts.
const MAX_MESSAGE: usize = 1000;

/// A foreign text for a message: visible, on one line and short.
pub fn foreign_text(text: &str) -> String {
    visible_start(text, MAX_TEXT)
}

/// A message that quotes foreign texts: visible, on one line and not endless.
pub fn foreign_message(text: &str) -> String {
    visible_start(text, MAX_MESSAGE)
}

/// The first `most` characters of the visible text; an ellipsis stands for the others.
fn visible_start(text: &str, most: usize) -> String {
    let start = text.char_indices().nth(most).map(|(end, _)| &text[..end]);
    let visible = visible(start.unwrap_or(text));
    match visible.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &visible[..end]),
        None if start.is_some() => format!("{visible}…"),
        None => visible.into_owned(),
    }
}

/// The text with every character that is invisible, or that changes how the others appear, as an escape such as
/// `\u{202e}`. Tabs and line breaks become spaces.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !hides_something(text) {
        return Cow::Borrowed(text);
    }
    let (mut shown, mut last, mut rest) = (String::with_capacity(text.len()), None, text.chars());
    while let Some(letter) = rest.next() {
        match letter {
            '\n' if last == Some('\r') => {}
            '\t' | '\r' | '\n' => shown.push(' '),
            _ if is_visible(letter) || joins(last, letter, rest.clone().next()) => shown.push(letter),
            _ => shown.extend(letter.escape_unicode()),
        }
        last = Some(letter);
    }
    Cow::Owned(shown)
}

/// Whether [`visible`] changes the text.
pub fn hides_something(text: &str) -> bool {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~');
    if text.as_bytes().iter().all(is_plain) {
        return false;
    }
    let mut last = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if !is_visible(letter) && !joins(last, letter, letters.peek().copied()) {
            return true;
        }
        last = Some(letter);
    }
    false
}

/// Whether the character can be seen, or at least leaves a space.
pub fn is_visible(letter: char) -> bool {
    match letter {
        ' '..='~' => true,
        // Letters by category, but blank: fillers, and vowels that are never shown.
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}' => false,
        _ if letter.is_whitespace() => !letter.is_control() && !matches!(letter, '\u{2028}' | '\u{2029}'),
        _ => {
            // Debug text leaves printable characters alone, and combining marks behind another character.
            let mut bytes = [b'a'; 5];
            letter.encode_utf8(&mut bytes[1..]);
            let pair = std::str::from_utf8(&bytes[..=letter.len_utf8()]).unwrap_or_default();
            pair.escape_debug().nth(1) == Some(letter)
        }
    }
}

/// Whether the character joins or separates two letters or emoji. Between ASCII it would only hide.
fn joins(before: Option<char>, letter: char, after: Option<char>) -> bool {
    let joined = |letter: Option<char>| letter.is_some_and(|letter| !letter.is_ascii() && is_visible(letter));
    matches!(letter, '\u{200c}' | '\u{200d}') && joined(before) && joined(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_hide_or_rearrange_text_become_visible() {
        let hidden = "\0\u{7}\u{8}\u{b}\u{c}\u{1b}\u{7f}\u{80}\u{85}\u{9b}\u{9f}\u{ad}\u{34f}\u{61c}\u{115f}\u{180e}\
                      \u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2060}\
                      \u{2064}\u{2066}\u{2067}\u{2068}\u{2069}\u{206f}\u{3164}\u{d7ff}\u{e000}\u{fdd0}\u{feff}\u{ffa0}\u{fff9}\u{ffff}\
                      \u{e0001}\u{e0041}\u{f0000}\u{10ffff}";
        for letter in hidden.chars() {
            let text = format!("ada{letter}nimda");
            assert_eq!(visible(&text), format!("ada\\u{{{:x}}}nimda", u32::from(letter)));
            assert!(hides_something(&text), "{letter:?}");
        }
        assert_eq!(visible("a\r\nb\nc\td\re"), "a b c d e");
        assert_eq!(visible("\u{1b}[2J\u{1b}]0;x\u{7}"), "\\u{1b}[2J\\u{1b}]0;x\\u{7}");
    }

    #[test]
    fn names_keep_their_letters() {
        // Right-to-left letters, marks, wide letters and spaces, and joiners that words and emoji need.
        for text in [
            "Åsa Öberg",
            "A\u{30a}sa",
            "محمد",
            "דוד",
            "می\u{200c}خواهم",
            "👩\u{200d}🎓 Crew",
            "❤\u{fe0f}",
            "李小龙",
            "葛\u{e0100}城",
            "ไทย",
            "a\u{a0}b",
            "李\u{3000}龙",
            "C:\\temp",
            "\u{fffd}",
        ] {
            assert_eq!(visible(text), text);
            assert!(!hides_something(text), "{text}");
        }
    }

    #[test]
    fn foreign_texts_are_short() {
        assert_eq!(foreign_text(&"é".repeat(300)), "é".repeat(300));
        assert_eq!(foreign_text(&"é".repeat(301)), format!("{}…", "é".repeat(300)));
        assert_eq!(foreign_text(&"\u{202e}".repeat(1000)).chars().count(), 301);
        assert_eq!(foreign_text(""), "");
        assert_eq!(foreign_message(&"a".repeat(1_000_000)).chars().count(), 1001);
    }
}
