//! What the file system would say, asked before anything is written, so that a refusal leaves nothing behind.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

/// Whether `directory` is one to write to, or there is one to make it in. Nothing is made: root may ask first, and
/// what root made the service user could not write to.
pub(crate) fn can_be_made(directory: &Path) -> io::Result<()> {
    let there = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let about = |error: io::Error| {
        if there == directory {
            return error;
        }
        io::Error::new(error.kind(), format!("{} cannot be made in {}: {error}", directory.display(), there.display()))
    };
    if !there.is_dir() {
        return Err(about(io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory")));
    }
    writable(there).map_err(about)
}

/// Whether `path`, a file or a directory, can be written when it is there.
pub(crate) fn writable(path: &Path) -> io::Result<()> {
    let wanted = if path.is_dir() { Access::WRITE_OK | Access::EXEC_OK } else { Access::WRITE_OK };
    match access(path, wanted).map_err(io::Error::from) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let what = if path.is_dir() { "the directory" } else { "the file" };
            Err(io::Error::new(error.kind(), format!("{what} cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Whether nothing more can be written beside `file`.
pub(crate) fn disk_is_full(file: &Path) -> bool {
    // What SQLite makes at once.
    const LITTLE: u64 = 64 << 10;
    statvfs(directory_of(file).unwrap_or(Path::new("."))).is_ok_and(|disk| {
        let out_of_files = disk.f_files > 0 && disk.f_favail == 0;
        out_of_files || disk.f_bavail.saturating_mul(disk.f_frsize) < LITTLE
    })
}

/// The directory of a file; none when that is the current one.
pub(crate) fn directory_of(file: &Path) -> Option<&Path> {
    file.parent().filter(|directory| !directory.as_os_str().is_empty())
}

/// The file whose name is that of `file` with `suffix` behind it.
pub(crate) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The name of a user of this system.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    named.map(str::to_owned)
}
