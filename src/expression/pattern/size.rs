//! The size of a pattern: how many alternatives a search may have to follow for each byte of the subject.

use std::iter::Peekable;
use std::str::Chars;

/// A class or a category of Unicode takes several bytes, and each of them has many ranges.
const CLASS: u64 = 4;

/// The size of a pattern in the syntax of `translate`; counts multiply.
pub(super) fn size(translated: &str) -> u64 {
    let mut letters = translated.chars().peekable();
    // The sizes of the open groups, then of the part that is quantified next.
    let (mut sizes, mut last) = (vec![1_u64], 0);
    while let Some(letter) = letters.next() {
        let added = match letter {
            '(' if open(&mut letters) => {
                sizes.push(2);
                continue;
            }
            '(' => continue,
            ')' => {
                last = sizes.pop().unwrap_or_default();
                last
            }
            '{' => {
                let counts: String = letters.by_ref().take_while(|letter| *letter != '}').collect();
                // A count that is too large for a number is refused when the pattern is compiled.
                let most = counts.split(',').filter_map(|count| count.parse().ok()).max().unwrap_or(1_u64);
                let more = last.saturating_mul(most.saturating_sub(1));
                last = last.saturating_add(more);
                more
            }
            '*' | '+' | '?' => {
                last = last.saturating_add(1);
                1
            }
            letter => {
                last = atom(letter, &mut letters);
                last
            }
        };
        match sizes.last_mut() {
            Some(size) => *size = size.saturating_add(added),
            None => sizes.push(added),
        }
    }
    sizes.into_iter().fold(0, u64::saturating_add)
}

/// Reads the kind of a group after its `(`. `(?i)` is not a group.
fn open(letters: &mut Peekable<Chars<'_>>) -> bool {
    letters.next_if_eq(&'?').is_none()
        || letters.by_ref().find(|letter| matches!(letter, ':' | '=' | '!' | '>' | ')')) != Some(')')
}

fn atom(letter: char, letters: &mut Peekable<Chars<'_>>) -> u64 {
    match letter {
        '\\' => match letters.next() {
            Some('p' | 'P') => {
                letters.find(|letter| *letter == '}');
                CLASS
            }
            Some('d' | 'D' | 'w' | 'W' | 's' | 'S' | 'b' | 'B') => CLASS,
            _ => 1,
        },
        '[' => {
            let mut depth = 1;
            while depth > 0
                && let Some(letter) = letters.next()
            {
                match letter {
                    '\\' => drop(letters.next()),
                    '[' => depth += 1,
                    ']' => depth -= 1,
                    _ => {}
                }
            }
            CLASS
        }
        '.' => CLASS,
        letter => letter.len_utf8() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_multiply() {
        for (translated, expected) in [
            ("", 1),
            ("ab", 3),
            ("é", 3),
            (r"\.\p{Lu}[a-z[\]b]&&[^a]]c", 11),
            ("a{3}", 4),
            ("a{2,5}?b", 8),
            ("(?i)a{0}", 2),
            ("(?:a?){10}", 41),
            ("((a{10}){10}){10}", 1 + 10 * (2 + 10 * (2 + 10))),
            ("(?=a)(?<!b)", 7),
            ("(?:a{4294967296}){4294967296}", u64::MAX),
        ] {
            assert_eq!(size(translated), expected, "{translated}");
        }
    }
}
