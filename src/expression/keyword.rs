//! The bare words of the language: comparison types and encodings.

/// How `InStr` and `Contains` compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CompareType {
    /// Case-sensitive, the default of Visual Basic.
    #[default]
    Binary,
    /// Case-insensitive.
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
        match word.trim().to_ascii_lowercase().as_str() {
            "vbbinarycompare" | "casesensitive" => Ok(Self::Binary),
            "vbtextcompare" | "caseinsensitive" => Ok(Self::Text),
            _ => Err(format!("`{word}` is not a comparison type; write vbTextCompare or vbBinaryCompare")),
        }
    }
}

/// A text encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// UTF-16, little endian: .NET calls it Unicode.
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
        match word.trim().to_ascii_lowercase().as_str() {
            "unicode" | "utf16" | "utf-16" => Ok(Self::Unicode),
            "utf8" | "utf-8" => Ok(Self::Utf8),
            "ascii" | "us-ascii" => Ok(Self::Ascii),
            _ => Err(format!("`{word}` is not an encoding; write UTF8, ASCII or Unicode")),
        }
    }

    /// Invalid bytes become the replacement character that .NET uses.
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
    fn words_are_case_insensitive() {
        for compare in [CompareType::Binary, CompareType::Text] {
            assert_eq!(CompareType::parse(&compare.as_str().to_uppercase()), Ok(compare));
        }
        for encoding in [Encoding::Unicode, Encoding::Utf8, Encoding::Ascii] {
            assert_eq!(Encoding::parse(&encoding.as_str().to_lowercase()), Ok(encoding));
        }
        assert!(CompareType::parse("fuzzy").is_err() && Encoding::parse("latin1").is_err());
    }

    #[test]
    fn decoding() {
        assert_eq!(Encoding::Unicode.decode(b"\xc5\0s\0a\0"), "Åsa");
        assert_eq!(Encoding::Unicode.decode(b"\x00\xd8a"), "\u{fffd}\u{fffd}");
        assert_eq!(Encoding::Utf8.decode(b"\xc3\x85s\xff"), "Ås\u{fffd}");
        assert_eq!(Encoding::Ascii.decode(b"A\xc5"), "A?");
    }
}
