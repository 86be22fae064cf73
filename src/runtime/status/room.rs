//! The room that is left for the learner database and the state directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::{Config, DatabaseConfig};
use crate::files::{self, Room};
use crate::runtime::Paths;

/// The log of SQLite takes 64 MiB between cycles, beside the tables and the cache. A cycle with many changes needs more.
const FEW_BYTES: u64 = 100 << 20;
const FEW_FILES: u64 = 100;

/// A disk with little room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowRoom {
    /// The room and the disk.
    pub detail: String,
    /// Whether cycles fail for it.
    pub is_failure: bool,
}

/// The room on a disk.
#[derive(Debug)]
pub struct DiskRoom {
    /// The closest directory that exists.
    path: PathBuf,
    room: Room,
    /// Whether a cycle fails without room.
    is_needed: bool,
    is_state: bool,
}

/// The room for the file of the learner database.
pub fn database_room(file: &Path) -> Option<DiskRoom> {
    let (path, room) = files::room(files::directory_of(file).unwrap_or(Path::new(".")))?;
    Some(DiskRoom { path: path.to_owned(), room, is_needed: true, is_state: false })
}

/// The room for the state directory. Without room for the cache each cycle compares in full. A new file needs an inode.
pub fn state_room(directory: &Path) -> Option<DiskRoom> {
    let (path, room) = files::room(directory)?;
    let is_needed = !Paths::daemon_lock_in(directory).exists();
    Some(DiskRoom { path: path.to_owned(), room, is_needed, is_state: true })
}

/// The room on each disk of a configuration, for a thread that may wait for them.
pub(super) fn rooms(config: &Config) -> Vec<DiskRoom> {
    let database = match &config.learners.database {
        DatabaseConfig::Sqlite { path } => database_room(path),
        DatabaseConfig::Postgres { .. } => None,
    };
    database.into_iter().chain(state_room(&config.state.directory)).collect()
}

/// The disks with little room, each once.
pub fn low_room(rooms: impl IntoIterator<Item = DiskRoom>) -> Vec<LowRoom> {
    let mut disks = BTreeSet::new();
    let rooms = rooms.into_iter().filter(|found| disks.insert(found.room.disk));
    rooms.filter_map(|DiskRoom { path, room, is_needed, is_state }| judge(&path, room, is_needed, is_state)).collect()
}

/// `is_needed` says that a cycle fails without room; `is_state` that it fails only without inodes.
fn judge(path: &Path, room: Room, is_needed: bool, is_state: bool) -> Option<LowRoom> {
    let Room { bytes, files, disk: _ } = room;
    let no_files = files == Some(0);
    let is_full = bytes < Room::MINIMUM || no_files;
    if !is_full && bytes >= FEW_BYTES && files.is_none_or(|files| files >= FEW_FILES) {
        return None;
    }
    let inodes = files.map(|files| format!(" and {files} inodes")).unwrap_or_default();
    let detail = format!("{} MiB{inodes} are free on the disk of {}", bytes >> 20, path.display());
    Some(LowRoom { detail, is_failure: is_full && is_needed && (no_files || !is_state) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_room_is_a_warning_and_none_a_failure() {
        let judged = |bytes, files, is_needed, is_state| {
            let room = judge(Path::new("/data"), Room { bytes, files, disk: 1 }, is_needed, is_state);
            room.map(|room| (!room.is_failure, room.detail))
        };
        assert_eq!(judged(FEW_BYTES, None, true, false), None);
        assert_eq!(judged(FEW_BYTES, Some(FEW_FILES), true, false), None);
        let shown = |ok, room: &str| Some((ok, format!("{room} are free on the disk of /data")));
        assert_eq!(judged(50 << 20, None, true, false), shown(true, "50 MiB"));
        assert_eq!(judged(1 << 40, Some(99), true, false), shown(true, "1048576 MiB and 99 inodes"));
        assert_eq!(judged(4096, Some(99), true, false), shown(false, "0 MiB and 99 inodes"));
        assert_eq!(judged(1 << 40, Some(0), true, false), shown(false, "1048576 MiB and 0 inodes"));
        // The state directory.
        assert_eq!(judged(0, Some(99), true, true), shown(true, "0 MiB and 99 inodes"));
        assert_eq!(judged(0, Some(0), true, true), shown(false, "0 MiB and 0 inodes"));
        assert_eq!(judged(0, Some(0), false, true), shown(true, "0 MiB and 0 inodes"));
    }
}
