//! White space as people see it: every character without ink, many of which come from copied text.

/// Whether a character has no ink: white space, or one of the characters that only affect their neighbours or their
/// direction.
pub fn is_blank(character: char) -> bool {
    character.is_whitespace() || is_invisible(character)
}

/// Whether a character has neither ink nor width.
pub fn is_invisible(character: char) -> bool {
    matches!(
        character,
        // Soft hyphen, grapheme joiner, Arabic letter mark, Hangul fillers, Khmer and Mongolian marks.
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
        // Zero-width spaces and joiners, marks and embeddings of direction, invisible operators.
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        // Braille blank, Hangul fillers, byte order mark.
        | '\u{2800}' | '\u{3164}' | '\u{FFA0}' | '\u{FEFF}'
    )
}

/// `text` without blanks at its ends.
pub fn trim_blanks(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// A user name or an address in the form in which equal ones are the same text: without blanks at its ends, and in
/// ASCII lower case. Other letters keep their case, because no two databases fold them alike.
pub fn fold(text: &str) -> String {
    trim_blanks(text).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_trimmed_and_ascii_letters_folded() {
        for (text, folded) in [
            (" Ada@X\t", "ada@x"),
            ("\u{A0}\u{3000}ada\u{200B}\u{2060}\u{FEFF}\u{AD}\r\n", "ada"),
            ("\u{202A}ada@x\u{202C}", "ada@x"),
            ("Ada\u{A0}Lovelace", "ada\u{A0}lovelace"),
            ("İSTANBUL", "İstanbul"),
            ("STRAẞE", "straẞe"),
            ("\u{200B} \u{200E}", ""),
            ("", ""),
        ] {
            assert_eq!(fold(text), folded, "{text:?}");
        }
        assert!("aÉ_-李é".chars().all(|character| !is_blank(character)));
    }
}
