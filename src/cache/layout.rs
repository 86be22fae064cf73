//! Recognises a cache directory and its layout version without opening it.
//!
//! The version is in a small file beside sled's files: sled writes even when it only opens a directory, and a newer sled
//! may use other files. The format of that file is fixed: a line that ends with the version, lines that a later version
//! may add, and a checksum. A wrong checksum means damage, which only costs time. Without the checksum, a flipped bit
//! could look like a newer version, which is refused.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::files;

/// Increases with each change of the stored format.
const VERSION: u32 = 7;
const FILE: &str = "layout";
const NEW_FILE: &str = "layout.new";
const FIRST_LINE: &str = "learner-sync cache, layout ";

/// A directory that must not be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheRefused {
    /// A newer learner-sync wrote it.
    #[error("the cache in {} has layout {found}; this learner-sync knows up to {VERSION}", path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
        /// The layout version.
        found: u32,
    },
    /// The directory contains other files.
    #[error("the cache directory {} contains files that learner-sync did not create, such as {example}", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The name of one file.
        example: String,
    },
}

impl CacheRefused {
    /// Advice for the administrator.
    pub fn hint(&self) -> String {
        match self {
            Self::Newer { path, .. } => format!(
                "a newer learner-sync wrote this cache: install that version, or remove {}; the next cycle then only takes \
                 longer",
                path.display()
            ),
            Self::Foreign { .. } => "move these files, or set state.directory to another directory".to_owned(),
        }
    }
}

/// The content of the cache directory.
#[derive(Debug)]
pub(super) enum CacheState {
    /// There is no directory, or it is empty.
    Absent,
    /// A cache with this program's layout.
    Usable,
    /// The system cannot read it at present, with the reason.
    Unavailable(String),
    /// A damaged or older cache, with the reason.
    Unusable(String),
    /// A directory that must not be changed.
    Refused(CacheRefused),
}

/// Classifies `directory` without changing it.
pub(super) fn classify_directory(directory: &Path) -> CacheState {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries.flatten().collect::<Vec<_>>(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return CacheState::Absent,
        Err(error) if files::is_shortage(&error) => return CacheState::Unavailable(error.to_string()),
        Err(error) => return CacheState::Unusable(error.to_string()),
    };
    let Some(first) = entries.first() else { return CacheState::Absent };
    if !entries.iter().any(is_cache_file) {
        let example = first.file_name().to_string_lossy().into_owned();
        return CacheState::Refused(CacheRefused::Foreign { path: directory.to_owned(), example });
    }
    // sled would follow a link and wait for a FIFO.
    if let Some(odd) = entries.iter().find(|entry| has_cache_name(entry) && !is_cache_file(entry)) {
        return CacheState::Unusable(format!("{} is not the file of a cache", odd.file_name().display()));
    }
    let text = match files::read_text(&directory.join(FILE), files::MAX_SECRET) {
        Ok(text) => text,
        // The first layout had no such file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return CacheState::Unusable("the layout file is missing".to_owned());
        }
        Err(error) if files::is_shortage(&error) => return CacheState::Unavailable(error.to_string()),
        Err(error) => return CacheState::Unusable(format!("cannot read the file {FILE}: {error}")),
    };
    match version(&text) {
        Some(VERSION) => CacheState::Usable,
        Some(found) if found > VERSION => {
            CacheState::Refused(CacheRefused::Newer { path: directory.to_owned(), found })
        }
        Some(found) => CacheState::Unusable(format!("the layout {found} is older than {VERSION}")),
        None => CacheState::Unusable(format!("the file {FILE} is damaged")),
    }
}

/// Whether the entry is one that only sled or this module creates.
fn is_cache_file(entry: &std::fs::DirEntry) -> bool {
    let is_directory = entry.file_name() == "blobs";
    has_cache_name(entry)
        && entry.file_type().is_ok_and(|kind| if is_directory { kind.is_dir() } else { kind.is_file() })
}

fn has_cache_name(entry: &std::fs::DirEntry) -> bool {
    let name = entry.file_name();
    let is_snapshot = || name.to_str().is_some_and(|name| name.starts_with("snap."));
    ["conf", "db", "blobs", FILE, NEW_FILE].iter().any(|known| name == *known) || is_snapshot()
}

/// The files of `directory`, each with what changes when it is written or replaced.
pub(super) fn file_states(directory: &Path) -> BTreeSet<(OsString, u64, u64, i64, i64)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let states = entries.map(|entry| {
        let name = entry.file_name();
        entry.metadata().map_or((name.clone(), 0, 0, 0, 0), |found| {
            (name, found.ino(), found.len(), found.mtime(), found.mtime_nsec())
        })
    });
    states.collect()
}

/// Whether `directory` contains nothing but a cache.
pub(super) fn is_only_a_cache(directory: &Path) -> bool {
    let is_directory = std::fs::symlink_metadata(directory).is_ok_and(|metadata| metadata.is_dir());
    is_directory
        && std::fs::read_dir(directory)
            .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| is_cache_file(&entry))))
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

/// Creates `directory` with the layout file.
pub(super) fn create(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let new = directory.join(NEW_FILE);
    let mut file = files::create_own(&new)?;
    file.write_all(text(VERSION).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, directory.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_needs_a_valid_checksum() {
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
