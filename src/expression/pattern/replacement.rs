//! Replacement texts of .NET: `$1`, `${name}`, `$&`, `$$` and so on. A reference to an unknown group is literal.

use std::ops::Range;

use super::engine::Captures;
use super::translate::CaptureGroups;

#[derive(Debug, PartialEq)]
pub(super) enum ReplacementPart<'a> {
    Text(&'a str),
    Group(usize),
    /// `` $` ``
    Before,
    /// `$'`
    After,
    /// `$_`
    Subject,
}

pub(super) fn parse<'a>(text: &'a str, groups: &CaptureGroups) -> Vec<ReplacementPart<'a>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        parts.push(ReplacementPart::Text(&rest[..at]));
        rest = &rest[at..];
        let (part, length) = part(rest, groups).unwrap_or((ReplacementPart::Text("$"), 1));
        parts.push(part);
        rest = &rest[length..];
    }
    parts.push(ReplacementPart::Text(rest));
    parts
}

impl<'a> ReplacementPart<'a> {
    /// The text that replaces the match at `range`.
    pub(super) fn text(&self, captures: &Captures, subject: &'a str, range: &Range<usize>) -> &'a str {
        match self {
            Self::Text(literal) => literal,
            Self::Group(index) => captures.get(*index).map_or("", |captured| &subject[captured]),
            Self::Before => &subject[..range.start],
            Self::After => &subject[range.end..],
            Self::Subject => subject,
        }
    }
}

/// The substitution at the `$` of `text`, and its length; `None` when the `$` is literal.
fn part<'a>(text: &'a str, groups: &CaptureGroups) -> Option<(ReplacementPart<'a>, usize)> {
    let after = &text[1..];
    match after.chars().next()? {
        '$' => Some((ReplacementPart::Text("$"), 2)),
        '&' => Some((ReplacementPart::Group(0), 2)),
        '`' => Some((ReplacementPart::Before, 2)),
        '\'' => Some((ReplacementPart::After, 2)),
        '_' => Some((ReplacementPart::Subject, 2)),
        '+' => Some((ReplacementPart::Group(groups.index(&groups.count().to_string())?), 2)),
        '{' => {
            let name = &after[1..after.find('}')?];
            Some((ReplacementPart::Group(groups.index(name)?), name.len() + 3))
        }
        '0'..='9' => {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            Some((ReplacementPart::Group(groups.index(&after[..digits])?), digits + 1))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Pattern, Steps};

    #[test]
    fn substitutions() {
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
            assert_eq!(
                pattern.replace("-ab1-", replacement, &Steps::for_one_user()).unwrap(),
                expected,
                "{replacement}"
            );
        }
    }
}
