//! The bare words of the language: how texts are compared, and how they stand in bytes.

/// How `InStr` and `Contains` compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CompareType {
    /// Letter by letter: Visual Basic's choice when nothing is said.
    #[default]
    Binary,
    /// Letter case ignored.
    Text,
}

impl CompareType {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Binary => "vbBinaryCompare",
            Self::Text => "vbTextCompare",
        }
    }

    pub(super) fn parse(word: &str) -> Result<Self, String> {
        let is = |known: &str| word.trim().eq_ignore_ascii_case(known);
        if is("vbBinaryCompare") || is("CaseSensitive") {
            Ok(Self::Binary)
        } else if is("vbTextCompare") || is("CaseInsensitive") {
            Ok(Self::Text)
        } else {
            Err(format!("`{word}` is no comparison: write vbTextCompare or vbBinaryCompare"))
        }
    }
}

/// How a text stands in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// UTF-16 with the low byte first, which .NET calls Unicode.
    #[default]
    Unicode,
    Utf8,
    Ascii,
}

impl Encoding {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unicode => "Unicode",
            Self::Utf8 => "UTF8",
            Self::Ascii => "ASCII",
        }
    }

    pub(super) fn parse(word: &str) -> Result<Self, String> {
        let is = |known: &str| word.trim().eq_ignore_ascii_case(known);
        if is("Unicode") || is("UTF16") || is("UTF-16") {
            Ok(Self::Unicode)
        } else if is("UTF8") || is("UTF-8") {
            Ok(Self::Utf8)
        } else if is("ASCII") || is("US-ASCII") {
            Ok(Self::Ascii)
        } else {
            Err(format!("`{word}` is no encoding: write UTF8, ASCII or Unicode"))
        }
    }

    /// The text that `bytes` are. What is no letter becomes the sign that .NET puts there.
    pub(super) fn decode(self, bytes: &[u8]) -> String {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Self::Ascii => bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }).collect(),
            Self::Unicode => {
                let (pairs, rest) = bytes.as_chunks::<2>();
                let mut text =
                    String::from_utf16_lossy(&pairs.iter().copied().map(u16::from_le_bytes).collect::<Vec<_>>());
                text.extend(rest.first().map(|_| char::REPLACEMENT_CHARACTER));
                text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_known_in_any_case() {
        for compare in [CompareType::Binary, CompareType::Text] {
            assert_eq!(CompareType::parse(&compare.as_str().to_uppercase()), Ok(compare));
        }
        for encoding in [Encoding::Unicode, Encoding::Utf8, Encoding::Ascii] {
            assert_eq!(Encoding::parse(&encoding.as_str().to_lowercase()), Ok(encoding));
        }
        assert!(CompareType::parse("fuzzy").is_err() && Encoding::parse("latin1").is_err());
    }

    #[test]
    fn bytes_become_text() {
        assert_eq!(Encoding::Unicode.decode(b"\xc5\0s\0a\0"), "Åsa");
        assert_eq!(Encoding::Unicode.decode(b"\x00\xd8a"), "\u{fffd}\u{fffd}");
        assert_eq!(Encoding::Utf8.decode(b"\xc3\x85s\xff"), "Ås\u{fffd}");
        assert_eq!(Encoding::Ascii.decode(b"A\xc5"), "A?");
    }
}
