//! State belongs to one system user. Another one, root above all, would leave files behind that the daemon cannot
//! open any more; so it is refused, with the line that does it right.
//!
//! A path may be mistyped: nobody is told to change the owner of anything that is not plainly ours.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, access};

use super::output::{CONFIGURATION, Failure};
use crate::config::Config;
use crate::files;
use crate::runtime::Paths;
use crate::store::{self, Store, StoreError};

const DATABASE_URL: &str = "learners.database_url";
/// How every SQLite database begins.
const HEAD: &[u8] = b"SQLite format 3\0";

/// Refuses when the learner database, or the state directory, belongs to another user.
pub(super) async fn check(config: &Config) -> Result<(), Failure> {
    if let Some(path) = Paths::new(config).database {
        database(config, &path).await?;
    }
    let directory = config.state.directory.as_path();
    match other_owner(directory) {
        Some(0) if !is_state(config) => {
            let what = "and nothing of learner-sync is to be seen in it";
            Err(perhaps_mistyped("state.directory", format!("{} belongs to root, {what}", directory.display())))
        }
        Some(owner) => Err(belongs_to(directory, owner)),
        None => Ok(()),
    }
}

async fn database(config: &Config, path: &Path) -> Result<(), Failure> {
    let Some(owner) = other_owner(path) else { return directory_of_none(config, path) };
    match is_database(path) {
        Ok(true) => {}
        Ok(false) => return Err(StoreError::NotADatabase { path: path.to_owned() }.into()),
        // The owner sees more, and sudo harms nothing.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && owner != 0 => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let what = format!("{} may not read it to see whether it is a learner database", user_name(me()));
            return Err(perhaps_mistyped(DATABASE_URL, format!("{} belongs to root, and {what}", path.display())));
        }
        Err(source) => {
            let error = StoreError::CannotOpen { path: path.to_owned(), source: source.into() };
            return Err(Failure::from(error).with_hint(format!("name another file in {DATABASE_URL}")));
        }
    }
    if owner == 0 {
        // Other programs have databases too.
        Store::inspect(path, config.learners.table.as_ref(), store::Access::ReadOnly).await?;
    }
    Err(belongs_to(path, owner))
}

/// Refuses a directory of somebody else in which the database, which is missing, would have to be made.
fn directory_of_none(config: &Config, path: &Path) -> Result<(), Failure> {
    let Some(directory) = files::directory_of(path) else { return Ok(()) };
    let is_missing = path.try_exists().is_ok_and(|exists| !exists);
    let Some(owner) = other_owner(directory).filter(|_| is_missing && directory != config.state.directory) else {
        return Ok(());
    };
    if access(directory, Access::WRITE_OK).is_ok() {
        return Ok(());
    }
    let (path, directory) = (path.display(), directory.display());
    let (owner, me) = (user_name(owner), user_name(me()));
    let message =
        format!("there is no learner database {path}, and {me} cannot make it: {directory} belongs to {owner}");
    Err(perhaps_mistyped(DATABASE_URL, message))
}

/// Who owns it, when that is not us.
fn other_owner(path: &Path) -> Option<u32> {
    path.metadata().ok().map(|metadata| metadata.uid()).filter(|owner| *owner != me())
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether there is an SQLite database in a file, or nothing yet. An error for what is no file, or cannot be read.
fn is_database(path: &Path) -> io::Result<bool> {
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "it is a directory" } else { "it is not a file" };
        return Err(io::Error::other(what));
    }
    let mut head = Vec::new();
    File::open(path)?.take(HEAD.len() as u64).read_to_end(&mut head)?;
    Ok(head.is_empty() || head == HEAD)
}

/// Whether the state directory is empty, or shows by its name or by what is in it that it is ours.
fn is_state(config: &Config) -> bool {
    let directory = config.state.directory.as_path();
    let is_empty = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    let Paths { daemon_lock, cycle_lock, database, .. } = Paths::new(config);
    let ours = [daemon_lock, cycle_lock].into_iter().chain(database);
    is_empty
        || directory.file_name().is_some_and(|name| name == "learner-sync")
        || ours.into_iter().any(|path| files::directory_of(&path) == Some(directory) && path.exists())
}

fn belongs_to(path: &Path, owner: u32) -> Failure {
    let (shown, name) = (path.display(), user_name(owner));
    if owner == 0 {
        let me = user_name(me());
        return Failure::new(CONFIGURATION, format!("{shown} belongs to root; give it back: chown {me}: {shown}"));
    }
    let command: Vec<String> = std::env::args().skip(1).collect();
    let command = command.join(" ");
    let message = format!("{shown} belongs to {name}; run it as that user: sudo -u {name} learner-sync {command}");
    Failure::new(CONFIGURATION, message)
}

/// For what may have nothing to do with us; `key` names it.
fn perhaps_mistyped(key: &str, message: String) -> Failure {
    let hint = format!("is {key} mistyped? what it names has to be {}'s own", user_name(me()));
    Failure::new(CONFIGURATION, message).with_hint(hint)
}

/// The name of a user, or `#` and its number, which sudo takes as well.
pub(super) fn user_name(uid: u32) -> String {
    files::user_name(uid).unwrap_or_else(|| format!("'#{uid}'"))
}
