//! Recognises rows of Graph that say what they said in an earlier cycle.

use std::num::NonZeroU64;

/// A hash over the text of a row in an answer of Graph. It has 64 bits, because a cache holds one for each learner: a changed
/// row is taken for the earlier one once in 2⁶⁴ times, and the next full comparison notices it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowHash(NonZeroU64);

impl RowHash {
    /// The hash of a row as Graph sent it, under rules with this key; `None` for one row in 2⁶⁴, which is never recognised.
    pub fn compute(key: &[u8; 32], row: &str) -> Option<Self> {
        let hash = blake3::keyed_hash(key, row.as_bytes());
        hash.as_bytes().first_chunk().and_then(|bytes| Self::from_bytes(*bytes))
    }

    /// The bytes that [`RowHash::to_bytes`] returned; `None` when all are zero.
    pub fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        NonZeroU64::new(u64::from_le_bytes(bytes)).map(Self)
    }

    /// The bytes, which are not all zero.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_letter_and_the_rules_count_and_bytes_keep_them() {
        let hash = RowHash::compute(&[1; 32], "{}").unwrap();
        assert_eq!(RowHash::compute(&[1; 32], "{}"), Some(hash));
        assert_ne!(RowHash::compute(&[1; 32], "{ }"), Some(hash));
        assert_ne!(RowHash::compute(&[2; 32], "{}"), Some(hash));
        assert_eq!(RowHash::from_bytes(hash.to_bytes()), Some(hash));
        assert_eq!(RowHash::from_bytes([0; 8]), None);
    }
}
