//! Opens files: only regular ones, and reads them only up to a limit.
//!
//! Anything can be in the place of a file. Opening a FIFO waits for a writer, a device may never end, and a file may be
//! larger than the memory. The target of a link in the place of a file of ours belongs to others.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Limit of a configuration, of certificates and of the list of system users.
pub(crate) const MAX_DOCUMENT: u64 = 16 << 20;
/// Limit of a secret, a token or a line of state.
pub(crate) const MAX_SECRET: u64 = 64 << 10;

/// Opens a regular file, or a link to one, without ever waiting for it.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    // Opening a device can have an effect, such as rewinding a tape. The file may be replaced between the two checks.
    check_regular(&std::fs::metadata(path)?)?;
    open_checked(OpenOptions::new().read(true), path, OFlags::empty())
}

/// Opens a file of our own to read and write, and creates it if it is missing. Never follows a link, and never changes
/// what is in the file.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    check_own(path)?;
    open_checked(OpenOptions::new().read(true).write(true).create(true).truncate(false), path, OFlags::NOFOLLOW)
}

/// Opens a file of our own to read.
pub(crate) fn open_own_to_read(path: &Path) -> io::Result<File> {
    check_own(path)?;
    open_checked(OpenOptions::new().read(true), path, OFlags::NOFOLLOW)
}

/// Creates a file of our own that does not exist yet.
pub(crate) fn create_own(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Replaces a file of our own as a whole: a reader sees the old content or the new one. Only its owner can read it.
pub(crate) fn replace_own(path: &Path, content: &[u8]) -> io::Result<()> {
    check_own(path)?;
    let new = super::beside(path, ".new");
    let mut options = OpenOptions::new();
    // A kill may have left it.
    let mut file = open_checked(options.write(true).create(true).truncate(true).mode(0o600), &new, OFlags::NOFOLLOW)?;
    let written = file.write_all(content);
    drop(file);
    written.and_then(|()| std::fs::rename(&new, path)).inspect_err(|_| {
        // A part of it, on a full disk for instance. The first error matters.
        let _ = std::fs::remove_file(&new);
    })
}

/// Checks that a file of our own is missing or regular.
pub(crate) fn check_own(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => check_regular(&metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a directory, to lock it. Never follows a link.
pub(crate) fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

fn open_checked(options: &mut OpenOptions, path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | flags;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    check_regular(&file.metadata()?)?;
    Ok(file)
}

/// Opens a device that every system has and nobody waits for.
pub(super) fn is_openable_device() -> io::Result<()> {
    File::open("/dev/null").map(drop)
}

/// The refusal of a file with a content that is not ours.
pub(crate) fn foreign_content() -> io::Error {
    invalid("learner-sync did not write its content".to_owned())
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    check_size(file.metadata()?.len(), limit)?;
    // The length is that of a moment ago: a file can grow, and files in /proc have a content but no length.
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    check_size(bytes.len() as u64, limit)?;
    Ok(bytes)
}

/// Reads a regular file of UTF-8 text of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|_| invalid("it is not UTF-8 text".to_owned()))
}

fn check_size(size: u64, limit: u64) -> io::Result<()> {
    if size <= limit {
        return Ok(());
    }
    let limit = if limit < 1 << 20 { format!("{} KiB", limit >> 10) } else { format!("{} MiB", limit >> 20) };
    Err(invalid(format!("it is larger than {limit}")))
}

pub(crate) fn check_regular(metadata: &Metadata) -> io::Result<()> {
    match unusual_type(metadata.file_type()) {
        None => Ok(()),
        Some(found) => Err(invalid(format!("it is {found}, not a regular file"))),
    }
}

fn unusual_type(file: FileType) -> Option<&'static str> {
    let kinds = [
        (file.is_file(), None),
        (file.is_dir(), Some("a directory")),
        (file.is_symlink(), Some("a symbolic link")),
        (file.is_fifo(), Some("a FIFO")),
        (file.is_socket(), Some("a socket")),
        (file.is_char_device() || file.is_block_device(), Some("a device")),
    ];
    kinds.into_iter().find(|(is_kind, _)| *is_kind).map_or(Some("a special file"), |(_, found)| found)
}

/// Has no error number of the system, so it is never mistaken for a lack of resources.
fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink(at("link"), at("second-link")).unwrap();
        for name in ["file", "link", "second-link"] {
            assert_eq!(read_text(&at(name), 4).unwrap(), "text", "{name}");
        }
        // Without a length, but not without a content.
        assert!(read_text(Path::new("/proc/self/status"), MAX_DOCUMENT).unwrap().contains("Pid:"));

        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RWXU).unwrap();
        symlink(at("fifo"), at("link-to-fifo")).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        symlink(at("loop"), at("loop")).unwrap();
        symlink(at("nothing"), at("dangling")).unwrap();
        File::create(at("huge")).unwrap().set_len(3 << 30).unwrap();
        std::fs::write(at("latin1"), b"caf\xe9").unwrap();
        for (name, expected) in [
            ("fifo", "it is a FIFO, not a regular file"),
            ("link-to-fifo", "it is a FIFO, not a regular file"),
            ("socket", "it is a socket, not a regular file"),
            (".", "it is a directory, not a regular file"),
            ("/dev/zero", "it is a device, not a regular file"),
            ("loop", "Too many levels of symbolic links"),
            ("dangling", "No such file or directory"),
            ("missing", "No such file or directory"),
            ("file/below", "Not a directory"),
            ("huge", "it is larger than 64 KiB"),
            ("latin1", "it is not UTF-8 text"),
        ] {
            let error = read_text(&at(name), MAX_SECRET).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{name}: {error}");
        }
        assert!(read(&at("file"), 3).is_err());
        assert!(read(Path::new("/proc/self/status"), 8).is_err(), "a content beyond the length");
    }
}
