//! Replacement texts of .NET: `$1`, `${name}`, `$&`, `$$` and their relatives. What names no group stands for itself.

use std::ops::Range;

use fancy_regex::Captures;

use super::translate::Groups;

pub(super) struct Replacement<'a> {
    pieces: Vec<Piece<'a>>,
}

#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    Group(usize),
    /// `` $` ``
    Before,
    /// `$'`
    After,
    /// `$_`
    Subject,
}

impl<'a> Replacement<'a> {
    pub(super) fn parse(text: &'a str, groups: &Groups) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            pieces.push(Piece::Text(&rest[..at]));
            rest = &rest[at..];
            let (piece, length) = piece(rest, groups).unwrap_or((Piece::Text("$"), 1));
            pieces.push(piece);
            rest = &rest[length..];
        }
        pieces.push(Piece::Text(rest));
        Self { pieces }
    }

    /// Appends the text that replaces the match at `range`.
    pub(super) fn append_to(
        &self,
        text: &mut String,
        captures: &Captures<'_, str>,
        subject: &str,
        range: Range<usize>,
    ) {
        for piece in &self.pieces {
            text.push_str(match piece {
                Piece::Text(literal) => literal,
                Piece::Group(index) => captures.get(*index).map_or("", |caught| caught.as_str()),
                Piece::Before => &subject[..range.start],
                Piece::After => &subject[range.end..],
                Piece::Subject => subject,
            });
        }
    }
}

/// The piece that starts with the `$` of `text`, and its length; nothing when it stands for itself.
fn piece<'a>(text: &'a str, groups: &Groups) -> Option<(Piece<'a>, usize)> {
    let behind = &text[1..];
    match behind.chars().next()? {
        '$' => Some((Piece::Text("$"), 2)),
        '&' => Some((Piece::Group(0), 2)),
        '`' => Some((Piece::Before, 2)),
        '\'' => Some((Piece::After, 2)),
        '_' => Some((Piece::Subject, 2)),
        '+' => Some((Piece::Group(groups.index(&groups.count().to_string())?), 2)),
        '{' => {
            let name = &behind[1..behind.find('}')?];
            Some((Piece::Group(groups.index(name)?), name.len() + 3))
        }
        '0'..='9' => {
            let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
            Some((Piece::Group(groups.index(&behind[..digits])?), digits + 1))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pattern;

    #[test]
    fn every_substitution() {
        let pattern = Pattern::parse(r"(?<word>[a-z]+)(\d)").unwrap();
        for (replacement, expected) in [
            ("<$1>", "-<1>-"),
            ("<$2>", "-<ab>-"),
            ("<${word}${1}>", "-<ab1>-"),
            ("<$&$0>", "-<ab1ab1>-"),
            ("<$`|$'|$_>", "-<-|-|-ab1->-"),
            ("<$+>", "-<ab>-"),
            ("$$1$", "-$1$-"),
            ("$9${none}${wo", "-$9${none}${wo-"),
            ("$12", "-$12-"),
            ("${1}2", "-12-"),
            ("$é", "-$é-"),
        ] {
            assert_eq!(pattern.replace("-ab1-", replacement).unwrap(), expected, "{replacement}");
        }
    }
}
