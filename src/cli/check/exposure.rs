//! Files and directories that other users could replace: they could send the secret elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Check;
use crate::config::Config;
use crate::files;
use crate::model::shell_word;
use crate::runtime::preflight::{on_database_disk, on_state_disk};

const NAME: &str = "files";
/// The user of the shipped unit.
const SERVICE_USER: &str = "learner-sync";

/// A warning for each path that others could change.
pub(super) async fn exposure_checks(config: &Config) -> Vec<Check> {
    // A platform on the same machine may share the directory of the database: learner-sync guide backup.
    let shared = on_database_disk(config, |file| files::directory_of(file)?.canonicalize().ok()).await;
    let checked = config.clone();
    // When the disk of the database does not answer, another check says so.
    let shared = shared.ok().flatten().flatten();
    let found = on_state_disk(config, move |directory| check_exposure(&checked, directory, shared.as_deref())).await;
    found.unwrap_or_else(|error| vec![Check::failed(NAME, &error, error.hint())])
}

fn check_exposure(config: &Config, state_directory: &Path, shared: Option<&Path>) -> Vec<Check> {
    let me = rustix::process::geteuid().as_raw();
    let owner = |path: &Path| path.metadata().ok().map(|metadata| metadata.uid());
    // In a container without root, the owner of `/` stands for root.
    let trusted: BTreeSet<u32> =
        [0, me].into_iter().chain(owner(state_directory)).chain(owner(Path::new("/"))).collect();
    let is_trusted = |uid| trusted.contains(&uid) || files::user_name(uid).as_deref() == Some(SERVICE_USER);
    let named = config.trusted_files().into_iter().chain([state_directory.to_owned()]);
    let paths: BTreeSet<PathBuf> = named.flat_map(|path| with_ancestors(&path)).collect();
    // Each once, although links give it several names.
    let mut seen = BTreeMap::new();
    for path in paths {
        if let Ok(metadata) = path.metadata() {
            seen.entry((metadata.dev(), metadata.ino())).or_insert((path, metadata));
        }
    }
    let mut found: Vec<_> = seen.into_values().collect();
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    let warning = |(path, metadata): &(PathBuf, Metadata)| {
        let is_shared = shared.is_some() && path.canonicalize().ok().as_deref() == shared;
        warn(path, FileRights::of(metadata, is_shared), is_trusted)
    };
    found.iter().filter_map(warning).collect()
}

/// The path, the target of its links, and the directories of both.
fn with_ancestors(path: &Path) -> BTreeSet<PathBuf> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let target = path.canonicalize().unwrap_or_else(|_| path.clone());
    path.ancestors().chain(target.ancestors()).map(Path::to_owned).collect()
}

/// The accounts that may change a file or directory.
#[derive(Clone, Copy)]
struct FileRights {
    mode: u32,
    owner: u32,
    is_directory: bool,
    /// Whether its group may write to it.
    is_shared: bool,
}

impl FileRights {
    fn of(metadata: &Metadata, is_shared: bool) -> Self {
        Self { mode: metadata.mode() & 0o7777, owner: metadata.uid(), is_directory: metadata.is_dir(), is_shared }
    }
}

fn warn(path: &Path, access: FileRights, is_trusted: impl Fn(u32) -> bool) -> Option<Check> {
    let FileRights { mode, owner, is_directory, is_shared } = access;
    let (shown, word) = (path.display(), shell_word(&path.display().to_string()));
    // In a sticky directory, users can replace only their own files.
    let is_sticky = is_directory && mode & 0o1000 != 0;
    let writers = match mode & if is_shared { 0o002 } else { 0o022 } {
        _ if is_sticky => None,
        0 => None,
        0o020 => Some(("its group", "g-w")),
        0o002 => Some(("every user of this machine", "o-w")),
        _ => Some(("its group and every user of this machine", "go-w")),
    };
    let (detail, hint) = if let Some((writers, change)) = writers {
        let danger = "and could replace the settings or send the secret elsewhere";
        (format!("{writers} can write to {shown} (mode {mode:04o}), {danger}"), format!("run: chmod {change} {word}"))
    } else if !is_trusted(owner) {
        let name = files::user_name(owner).unwrap_or_else(|| format!("the user with the id {owner}"));
        let detail = format!("{shown} belongs to {name}, who is neither root nor the service user");
        (detail, format!("use another directory, or run: chown root {word}"))
    } else {
        return None;
    };
    Some(Check { hint: Some(hint), ..Check::passed(NAME, detail) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_others_can_change_is_a_warning() {
        for (mode, owner, is_directory, expected) in [
            (0o755, 0, true, None),
            (0o640, 0, false, None),
            (0o600, 7, false, None),
            (0o1777, 0, true, None),
            (0o1777, 0, false, Some("chmod go-w /a")),
            (0o777, 0, true, Some("chmod go-w /a")),
            (0o2775, 7, true, Some("chmod g-w /a")),
            (0o660, 0, false, Some("chmod g-w /a")),
            (0o642, 0, false, Some("chmod o-w /a")),
            (0o755, 8, true, Some("chown root /a")),
            (0o1777, 8, true, Some("chown root /a")),
            (0o600, 8, false, Some("chown root /a")),
            (0o666, 8, false, Some("chmod go-w /a")),
        ] {
            let access = FileRights { mode, owner, is_directory, is_shared: false };
            let check = warn(Path::new("/a"), access, |uid| uid == 0 || uid == 7);
            assert!(check.as_ref().is_none_or(|check| check.ok), "a warning");
            let hint = check.and_then(|check| check.hint);
            let is_expected = match (&hint, expected) {
                (Some(hint), Some(expected)) => hint.contains(expected),
                (None, None) => true,
                _ => false,
            };
            assert!(is_expected, "{mode:o} {owner}: {hint:?}");
        }
        let shared = |mode| FileRights { mode, owner: 0, is_directory: true, is_shared: true };
        assert!(warn(Path::new("/a"), shared(0o2770), |_| true).is_none());
        assert!(warn(Path::new("/a"), shared(0o2777), |_| true).is_some());
    }
}
