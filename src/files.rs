//! The permissions of the file system, checked before anything is written, so that a refusal leaves nothing behind; and
//! the only place where files are opened.

mod create;
mod disk;
mod pem;
mod regular;
mod secret;

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};
use rustix::io::Errno;

pub(crate) use self::create::{create_new, replace_document};
pub(crate) use self::disk::{DiskFault, caught, is_silent, last_on_disk_of, on_disk, on_disk_of, silent_disk_hint};
pub use self::pem::PemFile;
pub(crate) use self::pem::{PemBlock, converting};
pub(crate) use self::regular::{
    MAX_DOCUMENT, MAX_SECRET, check_own, check_regular, create_own, foreign_content, open_directory, open_own,
    open_own_to_read, open_regular, read, read_text, replace_own,
};
pub use self::secret::SecretSource;
pub(crate) use self::secret::{SecretKind, check_secret, is_utf16, read_secret, suspicious_password};

/// Checks that `directory` is writable, or could be created. It is not created: root may check first, and the service
/// user could not write to a directory of root's.
pub(crate) fn check_creatable(directory: &Path) -> io::Result<()> {
    let existing = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let with_path = |error: io::Error| {
        if existing == directory {
            return error;
        }
        let (directory, existing) = (directory.display(), existing.display());
        io::Error::new(error.kind(), format!("cannot create {directory} in {existing}: {error}"))
    };
    if !existing.is_dir() {
        return Err(with_path(io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory")));
    }
    check_writable(existing).map_err(with_path)
}

/// Checks that the file or directory `path` can be written, if it exists.
pub(crate) fn check_writable(path: &Path) -> io::Result<()> {
    let wanted = if path.is_dir() { Access::WRITE_OK | Access::EXEC_OK } else { Access::WRITE_OK };
    match access(path, wanted).map_err(io::Error::from) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let what = if path.is_dir() { "directory" } else { "file" };
            Err(io::Error::new(error.kind(), format!("cannot write to the {what}: {error}")))
        }
        _ => Ok(()),
    }
}

/// Whether the system lacks something at present: descriptors, memory, space, or a device that answers. Nothing is wrong
/// with the path.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let shortages = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::AGAIN,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::IO,
        Errno::NOBUFS,
        Errno::NOLCK,
        Errno::STALE,
        Errno::TIMEDOUT,
        Errno::NOTCONN,
        Errno::HOSTDOWN,
        Errno::INTR,
        Errno::BUSY,
        Errno::NODEV,
    ];
    Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
        || matches!(
            error.kind(),
            io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::OutOfMemory
                // A file system becomes read-only after a fault of its disk.
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::TimedOut
        )
}

/// Whether this process or the system has too many open files. SQLite reports it like a wrong path.
pub(crate) fn are_descriptors_exhausted() -> bool {
    regular::is_openable_device().is_err_and(|error| is_shortage(&error))
}

/// The room on a disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) bytes: u64,
    /// How many files can be created, where their number is limited.
    pub(crate) files: Option<u64>,
    pub(crate) disk: u64,
}

impl Room {
    /// SQLite extends a file by this much at once.
    pub(crate) const MINIMUM: u64 = 64 << 10;
}

/// The room in `directory`, or in the directory in which it would be created. `None` for a disk that is read-only or has
/// no size.
pub(crate) fn room(directory: &Path) -> Option<(&Path, Room)> {
    let existing = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let disk = statvfs(existing).ok()?;
    if disk.f_blocks == 0 || disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return None;
    }
    let files = (disk.f_files > 0).then_some(disk.f_favail);
    let bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    Some((existing, Room { bytes, files, disk: existing.metadata().ok()?.dev() }))
}

/// Whether the disk of `file` is full.
pub(crate) fn disk_is_full(file: &Path) -> bool {
    room(directory_of(file).unwrap_or(Path::new(".")))
        .is_some_and(|(_, room)| room.files == Some(0) || room.bytes < Room::MINIMUM)
}

/// Advice on a read-only file system; `None` for any other error. `path` is a file or a directory on it.
pub(crate) fn read_only_hint(path: &Path, error: &(dyn Error + 'static)) -> Option<String> {
    let error = error.downcast_ref::<io::Error>()?;
    if error.kind() != io::ErrorKind::ReadOnlyFilesystem {
        return None;
    }
    let directory = if path.is_dir() { Some(path) } else { directory_of(path) }.unwrap_or(Path::new("."));
    Some(format!(
        "mount the file system of {0} writable; if the systemd unit makes it read-only (ProtectSystem=strict), run: \
         systemctl edit learner-sync (or learner-sync@NAME), and add the lines [Service] and ReadWritePaths={0}",
        directory.display()
    ))
}

/// The directory of a file; `None` for the current directory.
pub(crate) fn directory_of(file: &Path) -> Option<&Path> {
    file.parent().filter(|directory| !directory.as_os_str().is_empty())
}

/// The path of `file` with `suffix` appended.
pub(crate) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Why a file cannot be read: where a permission is missing, with the owner and the mode of the file or directory.
pub(crate) fn describe_unreadable(path: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error.to_string();
    }
    let is_closed =
        |directory: &&Path| !directory.as_os_str().is_empty() && access(*directory, Access::EXEC_OK).is_err();
    let place = path.ancestors().skip(1).filter(is_closed).last().unwrap_or(path);
    let Ok(metadata) = place.metadata() else { return error.to_string() };
    let me = rustix::process::geteuid().as_raw();
    let name = |database: &str, id: u32| name_in(database, id).unwrap_or_else(|| id.to_string());
    let (owner, group) = (name(USERS, metadata.uid()), name(GROUPS, metadata.gid()));
    let (mode, me) = (metadata.mode() & 0o7777, name(USERS, me));
    let what = if place == path { String::new() } else { format!("the directory {}: ", place.display()) };
    format!("permission denied: {what}owner {owner}, group {group}, mode {mode:04o}; this process runs as {me}")
}

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// The name of a system user.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    name_in(USERS, uid)
}

/// The name of an id: both files have it in the third field.
fn name_in(file: &str, id: u32) -> Option<String> {
    let lines = read_text(Path::new(file), MAX_DOCUMENT).ok()?;
    let named = lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    });
    named.map(str::to_owned)
}
