//! State belongs to one system user. Another user, such as root, would create files that the daemon cannot open, so a
//! command of another user is refused with the `sudo` line to use instead.
//!
//! A path may be mistyped, so no hint changes the owner of files that are not clearly ours.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access as FileAccess, access};

use super::output::{CONFIGURATION, Failure};
use crate::config::Config;
use crate::files;
use crate::model::shell_word;
use crate::runtime::preflight::{on_database_disk, on_state_disk};
use crate::runtime::{Paths, used_databases};
use crate::store::{Access, DatabaseLocation, LearnerDatabase, Store, StoreError, UsedDatabases};

const DATABASE_URL: &str = "learners.database_url";
/// The first bytes of every SQLite database.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Refuses a learner database or state directory of another user. A lost database is reported when it is opened: until its
/// disk is mounted again, root may own the directory in its place.
pub(super) async fn check_owner(config: &Config, environment: &BTreeMap<String, String>) -> Result<(), Failure> {
    check_owners(config, Some(used_databases(config, environment))).await
}

/// Like [`check_owner`], for a command that creates a lost database again.
pub(super) async fn check_owner_to_create(config: &Config) -> Result<(), Failure> {
    check_owners(config, None).await
}

async fn check_owners(config: &Config, used: Option<UsedDatabases>) -> Result<(), Failure> {
    // First, because a lost database is looked up in this directory.
    let checked = config.clone();
    let state = on_state_disk(config, move |directory| check_state_directory(&checked, directory)).await?;
    let checked = config.clone();
    let other = on_database_disk(config, move |path| {
        let is_lost = used.is_some_and(|used| used.has_lost(path));
        (!is_lost)
            .then(|| other_database_owner(&checked, path).map(|owner| owner.map(|owner| (path.to_owned(), owner))))
    });
    match other.await? {
        None => state,
        Some(None) => Ok(()),
        Some(Some(other)) => match other? {
            None => state,
            Some((path, owner)) => Err(database_belongs_to(config, &path, owner).await),
        },
    }
}

fn check_state_directory(config: &Config, directory: &Path) -> Result<(), Failure> {
    match other_owner(directory) {
        Some(0) if !is_clearly_ours(config) => {
            let what = "and contains no files of learner-sync";
            Err(perhaps_mistyped("state.directory", format!("{} belongs to root {what}", directory.display())))
        }
        Some(owner) => Err(belongs_to(config, directory, owner)),
        None => Ok(()),
    }
}

/// The owner of the learner database, unless it is the present user.
fn other_database_owner(config: &Config, path: &Path) -> Result<Option<u32>, Failure> {
    let Some(owner) = other_owner(path) else { return check_parent_directory(config, path).map(|()| None) };
    match is_database(path) {
        Ok(true) => Ok(Some(owner)),
        Ok(false) => Err(StoreError::NotADatabase { path: path.to_owned() }.into()),
        // The owner can read it, and sudo does no harm.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && owner != 0 => Ok(Some(owner)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let what = format!("{} cannot read it to check that it is a learner database", user_name(me()));
            Err(perhaps_mistyped(DATABASE_URL, format!("{} belongs to root, and {what}", path.display())))
        }
        Err(source) => {
            let error = StoreError::CannotOpen { path: path.to_owned(), source: source.into() };
            Err(Failure { hint: Some(format!("name another file in {DATABASE_URL}")), ..error.into() })
        }
    }
}

async fn database_belongs_to(config: &Config, path: &Path, owner: u32) -> Failure {
    if owner == 0 {
        // Other programs have databases too.
        let place = DatabaseLocation::File(path.to_owned());
        let database = LearnerDatabase { place, table: config.learners.table.clone(), used: None };
        if let Err(error) = Store::inspect(database, Access::ReadOnly).await {
            return error.into();
        }
    }
    belongs_to(config, path, owner)
}

/// Refuses a missing database whose directory belongs to another user.
fn check_parent_directory(config: &Config, path: &Path) -> Result<(), Failure> {
    let Some(directory) = files::directory_of(path) else { return Ok(()) };
    let is_missing = path.try_exists().is_ok_and(|exists| !exists);
    let Some(owner) = other_owner(directory).filter(|_| is_missing && directory != config.state.directory) else {
        return Ok(());
    };
    if access(directory, FileAccess::WRITE_OK).is_ok() {
        return Ok(());
    }
    let (path, directory) = (path.display(), directory.display());
    let (owner, me) = (user_name(owner), user_name(me()));
    let message =
        format!("the learner database {path} does not exist and {me} cannot create it: {directory} belongs to {owner}");
    Err(perhaps_mistyped(DATABASE_URL, message))
}

/// The owner, unless it is the present user.
fn other_owner(path: &Path) -> Option<u32> {
    path.metadata().ok().map(|metadata| metadata.uid()).filter(|owner| *owner != me())
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether the file is empty or an SQLite database; an error when it is not a file or unreadable.
fn is_database(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    files::open_regular(path)?.take(MAGIC.len() as u64).read_to_end(&mut head)?;
    Ok(head.is_empty() || head == MAGIC)
}

/// Whether the state directory is empty, or clearly ours by its name or its files.
fn is_clearly_ours(config: &Config) -> bool {
    let directory = config.state.directory.as_path();
    let is_empty = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    let Paths { daemon_lock, cycle_lock, database, .. } = Paths::new(config);
    let ours = [daemon_lock, cycle_lock].into_iter().chain(database);
    is_empty
        || directory.file_name().is_some_and(|name| name == "learner-sync")
        || ours.into_iter().any(|path| files::directory_of(&path) == Some(directory) && path.exists())
}

fn belongs_to(config: &Config, path: &Path, owner: u32) -> Failure {
    let (shown, name) = (path.display(), user_name(owner));
    if owner == 0 {
        let (owner, path) = (shell_word(&user_and_group()), shell_word(&shown.to_string()));
        return Failure::new(CONFIGURATION, format!("{shown} belongs to root; change its owner: chown {owner} {path}"));
    }
    let mut command =
        vec!["sudo".to_owned(), "-u".to_owned(), shell_word(&sudo_user(owner)), "learner-sync".to_owned()];
    let mut arguments: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    // sudo does not pass the variable on that may have named the file.
    let names_config = arguments.iter().any(|word| word == "--config" || word.starts_with("--config="));
    if !names_config && config.path != Path::new(super::DEFAULT_CONFIG) {
        arguments.extend(["--config".to_owned(), config.path.display().to_string()]);
    }
    command.extend(arguments.iter().map(|word| shell_word(word)));
    let message = format!("{shown} belongs to {name}; run it as that user: {}", command.join(" "));
    Failure::new(CONFIGURATION, message)
}

/// A refusal of a path that may have nothing to do with us; `key` names it.
fn perhaps_mistyped(key: &str, message: String) -> Failure {
    let hint = format!("check {key}: the path must belong to {}", user_name(me()));
    Failure { hint: Some(hint), ..Failure::new(CONFIGURATION, message) }
}

/// The name of a user, or its number.
pub(super) fn user_name(uid: u32) -> String {
    files::user_name(uid).unwrap_or_else(|| format!("the user with the id {uid}"))
}

/// A user as sudo accepts it.
fn sudo_user(uid: u32) -> String {
    files::user_name(uid).unwrap_or_else(|| format!("#{uid}"))
}

/// The present user and its group as chown accepts them: only a user with a name has a login group.
fn user_and_group() -> String {
    match files::user_name(me()) {
        Some(name) => format!("{name}:"),
        None => format!("{}:{}", me(), rustix::process::getegid().as_raw()),
    }
}
