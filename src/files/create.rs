//! Creates a file as a whole, or not at all.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::Path;

use super::{MAX_DOCUMENT, directory_of, read_text};

/// Creates the file `path` with `content` and `mode`, for `group` if this process is root. Returns false if it is root, but
/// the group does not exist.
///
/// # Errors
/// `AlreadyExists` when something is at `path`, and any other error of the system. Nothing is left behind.
pub(crate) fn create_new(path: &Path, content: &str, mode: u32, group: &str) -> io::Result<bool> {
    let directory = directory_of(path).unwrap_or(Path::new("."));
    // Readable by nobody else until it is complete.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content.as_bytes())?;
    let mut has_group = true;
    if rustix::process::geteuid().is_root() {
        match group_id(group) {
            Some(group) => fchown(file.as_file(), Some(0), Some(group))?,
            None => has_group = false,
        }
    }
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    File::open(directory)?.sync_all()?;
    Ok(has_group)
}

/// Writes a document that everybody may read into the file `path`, and replaces what is there.
pub(crate) fn replace_document(path: &Path, content: &str) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(directory_of(path).unwrap_or(Path::new(".")))?;
    file.write_all(content.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

/// The number of a system group.
fn group_id(name: &str) -> Option<u32> {
    let groups = read_text(Path::new("/etc/group"), MAX_DOCUMENT).ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_is_created_as_a_whole_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        create_new(&path, "first", 0o640, "nogroup").unwrap();
        let metadata = path.metadata().unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o640);
        if rustix::process::geteuid().is_root() {
            assert_eq!((metadata.uid(), metadata.gid()), (0, group_id("nogroup").unwrap_or(metadata.gid())));
        }
        let error = create_new(&path, "second", 0o640, "nogroup").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
        let error = create_new(&directory.path().join("link"), "third", 0o640, "nogroup").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
        assert_eq!(group_id("no such group"), None);
        let without = create_new(&directory.path().join("without"), "fourth", 0o640, "no such group").unwrap();
        assert_eq!(without, !rustix::process::geteuid().is_root());
    }
}
