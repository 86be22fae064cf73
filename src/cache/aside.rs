//! Sets an unusable cache aside under a name with the time, for later inspection.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::layout::is_only_a_cache;

/// The number of caches that are kept.
const KEPT: usize = 3;

/// Renames the cache directory and removes the oldest kept ones. Returns whether the rename succeeded.
pub(super) fn set_aside(directory: &Path, now: Timestamp) -> bool {
    let Some(name) = directory.file_name().and_then(|name| name.to_str()) else { return false };
    let prefix = format!("{name}.unusable-");
    let time = now.strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
    let mut kept = list_kept(directory, &prefix);
    // The second one within a second gets a number.
    let taken = kept.iter().filter(|(known, ..)| known.0 == time).map(|(known, ..)| known.1).max();
    let number = taken.map_or(1, |taken| taken + 1);
    let aside = directory.with_file_name(match number {
        1 => format!("{prefix}{time}"),
        number => format!("{prefix}{time}-{number}"),
    });
    match std::fs::rename(directory, &aside) {
        Ok(()) => tracing::warn!(cache.aside = %aside.display(), "set aside the unusable cache"),
        Err(error) => {
            tracing::warn!(cache.path = %directory.display(), "cannot set aside the unusable cache: {error}");
            return false;
        }
    }
    kept.push(((time, number), aside));
    kept.sort();
    for (_, path) in kept.iter().rev().skip(KEPT).filter(|(_, path)| is_only_a_cache(path)) {
        if let Err(error) = std::fs::remove_dir_all(path) {
            tracing::warn!(cache.aside = %path.display(), "cannot remove an old unusable cache: {error}");
        }
    }
    true
}

/// The kept caches, each with its time, which sorts as text, and its number within that second.
fn list_kept(directory: &Path, prefix: &str) -> Vec<((String, u32), PathBuf)> {
    let beside = directory.parent().and_then(|parent| std::fs::read_dir(parent).ok());
    let paths = beside.into_iter().flatten().flatten().map(|entry| entry.path());
    paths
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_prefix(prefix)?;
            let (time, number) = match name.rsplit_once("Z-") {
                Some((time, number)) => (format!("{time}Z"), number.parse().ok()?),
                None => (name.to_owned(), 1),
            };
            // Others may use similar names, and what is set aside may be a file of others.
            let is_time = jiff::civil::DateTime::strptime("%Y-%m-%dT%H-%M-%SZ", &time).is_ok();
            is_time.then_some(((time, number), path))
        })
        .collect()
}
