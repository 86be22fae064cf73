//! Character classes. In .NET only `]`, `\`, a leading `^` and `-` between two characters are special, and a final `-[..]`
//! subtracts a class.

use super::translate::{Letters, character, property};

/// Enough for any real pattern, and bounds the recursion.
const MAX_DEPTH: usize = 20;

/// Translates a class after its `[`.
pub(super) fn translate(letters: &mut Letters, depth: usize) -> Result<String, String> {
    const OPEN: &str = "the closing `]` of a class is missing";
    if depth > MAX_DEPTH {
        return Err(format!("classes are nested more than {MAX_DEPTH} deep"));
    }
    let negated = if letters.next_if_eq(&'^').is_some() { "^" } else { "" };
    let mut items = String::new();
    loop {
        let letter = letters.next().ok_or(OPEN)?;
        if letter == ']' && !items.is_empty() {
            return Ok(format!("[{negated}{items}]"));
        }
        if letter == '-' && !items.is_empty() && letters.next_if_eq(&'[').is_some() {
            let taken = translate(letters, depth + 1)?;
            letters.next_if_eq(&']').ok_or("a class subtraction must end the class")?;
            return Ok(format!("[[{negated}{items}]--{taken}]"));
        }
        let first = match item(letter, letters)? {
            Item::Letter(letter) => letter,
            Item::Set(set) => {
                items.push_str(&set);
                continue;
            }
        };
        items.push_str(&literal(first));
        let mut ahead = letters.clone();
        if ahead.next_if_eq(&'-').is_some() && !matches!(ahead.peek(), Some(']' | '[') | None) {
            letters.next();
            let last = letters.next().ok_or(OPEN)?;
            match item(last, letters)? {
                Item::Letter(last) if last >= first => items.push_str(&format!("-{}", literal(last))),
                Item::Letter(_) => return Err("a range ends before it starts".to_owned()),
                Item::Set(_) => return Err("a range ends with a class".to_owned()),
            }
        }
    }
}

enum Item {
    Letter(char),
    Set(String),
}

fn item(letter: char, letters: &mut Letters) -> Result<Item, String> {
    if letter != '\\' {
        return Ok(Item::Letter(letter));
    }
    match letters.next() {
        None => Err("nothing follows the last `\\`".to_owned()),
        Some(letter @ ('d' | 'D' | 'w' | 'W' | 's' | 'S')) => Ok(Item::Set(format!("\\{letter}"))),
        Some(letter @ ('p' | 'P')) => property(letter, letters).map(Item::Set),
        // A backspace; outside a class, `\b` is a word boundary.
        Some('b') => Ok(Item::Letter('\u{8}')),
        Some(letter) => character(letter, letters).map(Item::Letter),
    }
}

/// A literal character within a class: `[`, `&&`, `--` and `~~` are special in `fancy-regex`.
fn literal(letter: char) -> String {
    if letter.is_ascii_alphanumeric() || !letter.is_ascii() {
        letter.to_string()
    } else {
        format!("\\x{:02x}", u32::from(letter))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Pattern, Steps};
    use super::*;

    fn translated(class: &str) -> Result<String, String> {
        translate(&mut class.chars().skip(1).collect::<Vec<_>>().into_iter().peekable(), 0)
    }

    #[test]
    fn classes_are_translated() {
        for (class, expected) in [
            ("[a-z_]", r"[a-z\x5f]"),
            ("[^a]", "[^a]"),
            ("[]a]", r"[\x5da]"),
            ("[a-]", r"[a\x2d]"),
            (r"[\d-x]", r"[\d\x2dx]"),
            (r"[\-\]]", r"[\x2d\x5d]"),
            ("[a-z-[aeiou]]", "[[a-z]--[aeiou]]"),
            (r"[\b]", r"[\x08]"),
        ] {
            assert_eq!(translated(class).as_deref(), Ok(expected), "{class}");
        }
        for class in ["[", "[a", "[]", "[z-a]", r"[a-\d]", "[a-[b]c]", r"[\q]"] {
            assert!(translated(class).is_err(), "{class}");
        }
    }

    #[test]
    fn translated_classes_match_as_in_dotnet() {
        let removed =
            |class: &str, text: &str| Pattern::parse(class).unwrap().replace(text, "", &Steps::for_one_user()).unwrap();
        assert_eq!(removed("[[:&&~~-]", "a[:b&~-"), "ab");
        assert_eq!(removed("[a-z-[aeiou]]", "audit"), "aui");
        assert_eq!(removed("[^a-c-[x]]", "abxy"), "abx");
        assert_eq!(removed(r"[\p{Lu}\s^]", "aB c^"), "ac");
        assert_eq!(removed("(?i)[a-b]", "aBc"), "c");
    }
}
