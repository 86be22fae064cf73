//! Whose directory it is, and which layout its content has, told without opening it.
//!
//! The layout stands in a small file of its own: sled writes even when it is only opened, and a newer one might keep
//! its files in another way altogether. That file never changes its form: a line that ends with the version, lines
//! that a later version may add, and a checksum over all of it. Without a fitting checksum no version is believed, so
//! that a flipped bit is damage, which costs time, and not a newer version, which is refused.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Changes with the layout of what is stored.
const VERSION: u32 = 3;
const FILE: &str = "layout";
const NEW_FILE: &str = "layout.new";
const FIRST_LINE: &str = "learner-sync cache, layout ";

/// A directory that is not touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheRefused {
    /// A newer learner-sync wrote it.
    #[error("the cache in {} has layout {found}; this learner-sync knows up to {VERSION}", path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its layout.
        found: u32,
    },
    /// Somebody keeps other files there.
    #[error("{} is where the cache would be, and holds files of another make, such as {example}", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the files.
        example: String,
    },
}

impl CacheRefused {
    /// What the administrator can do.
    pub fn hint(&self) -> String {
        match self {
            Self::Newer { path, .. } => format!(
                "this learner-sync is older than the one that wrote it: install the newer one, or remove {}, which \
                 costs no more than time",
                path.display()
            ),
            Self::Foreign { .. } => "move them away, or name another state.directory".to_owned(),
        }
    }
}

/// What is in the place of the cache.
#[derive(Debug)]
pub(super) enum Found {
    /// No directory, or one with nothing in it.
    Nothing,
    /// A cache of this layout.
    Ours,
    /// Something that is set aside, and why.
    Unusable(String),
    /// Something that is left as it is.
    Refused(CacheRefused),
}

/// Looks at `directory` without changing anything.
pub(super) fn look(directory: &Path) -> Found {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries.flatten().collect::<Vec<_>>(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
        Err(error) => return Found::Unusable(error.to_string()),
    };
    let Some(first) = entries.first() else { return Found::Nothing };
    if !entries.iter().any(of_a_cache) {
        let example = first.file_name().to_string_lossy().into_owned();
        return Found::Refused(CacheRefused::Foreign { path: directory.to_owned(), example });
    }
    let text = match std::fs::read_to_string(directory.join(FILE)) {
        Ok(text) => text,
        // As in the first layout.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Found::Unusable("it does not tell its layout".to_owned());
        }
        Err(error) => return Found::Unusable(format!("its file {FILE}: {error}")),
    };
    match version(&text) {
        Some(VERSION) => Found::Ours,
        Some(found) if found > VERSION => Found::Refused(CacheRefused::Newer { path: directory.to_owned(), found }),
        Some(found) => Found::Unusable(format!("it has the older layout {found}, not {VERSION}")),
        None => Found::Unusable(format!("its file {FILE} is damaged")),
    }
}

/// Whether only sled, or this module, makes an entry like this one.
fn of_a_cache(entry: &std::fs::DirEntry) -> bool {
    let name = entry.file_name();
    let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
    match name.to_str() {
        Some("conf" | "db" | FILE | NEW_FILE) => is_file,
        Some("blobs") => !is_file,
        Some(name) => is_file && name.starts_with("snap."),
        None => false,
    }
}

fn version(text: &str) -> Option<u32> {
    let (content, checksum) = text.trim_end().rsplit_once('\n')?;
    if blake3::hash(content.as_bytes()).to_hex().as_str() != checksum {
        return None;
    }
    content.lines().next()?.strip_prefix(FIRST_LINE)?.parse().ok()
}

fn text(version: u32) -> String {
    let content = format!("{FIRST_LINE}{version}");
    format!("{content}\n{}\n", blake3::hash(content.as_bytes()).to_hex())
}

/// Makes `directory`, with the layout of this program in it.
pub(super) fn make(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let new = directory.join(NEW_FILE);
    let mut file = File::create(&new)?;
    file.write_all(text(VERSION).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, directory.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_believed_with_its_checksum_alone() {
        assert_eq!(version(&text(7)), Some(7));
        // Lines that a later version adds.
        let content = format!("{FIRST_LINE}9\nmore of it");
        assert_eq!(version(&format!("{content}\n{}\n", blake3::hash(content.as_bytes()).to_hex())), Some(9));
        assert_eq!(version(&text(7).replace("layout 7", "layout 8")), None);
        let whole = text(VERSION).into_bytes();
        for place in 0..whole.len() - 1 {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[place] ^= 1 << bit;
                let flipped = String::from_utf8(bytes).ok().and_then(|text| version(&text));
                assert!(flipped.is_none(), "byte {place}, bit {bit}");
            }
        }
        for length in 0..whole.len() - 1 {
            assert_eq!(version(&text(VERSION)[..length]), None, "{length} bytes");
        }
    }
}
