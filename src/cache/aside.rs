//! What cannot be used is kept for a while, under a name that tells since when.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// How many are kept for a look at them.
const KEPT: usize = 3;

/// Renames an unusable cache to a name with the time, and removes the oldest of those kept before. Answers whether
/// its place is free.
pub(super) fn set_aside(directory: &Path, now: Timestamp) -> bool {
    let Some(name) = directory.file_name().and_then(|name| name.to_str()) else { return false };
    let prefix = format!("{name}.unusable-");
    let time = now.strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
    let mut kept = kept(directory, &prefix);
    // Two within a second: the second one gets a number.
    let taken = kept.iter().filter(|(known, ..)| known.0 == time).map(|(known, ..)| known.1).max();
    let number = taken.map_or(1, |taken| taken + 1);
    let aside = directory.with_file_name(match number {
        1 => format!("{prefix}{time}"),
        number => format!("{prefix}{time}-{number}"),
    });
    match std::fs::rename(directory, &aside) {
        Ok(()) => tracing::warn!(cache.aside = %aside.display(), "the unusable cache is set aside"),
        Err(error) => {
            tracing::warn!(cache.path = %directory.display(), "the unusable cache cannot be set aside: {error}");
            return false;
        }
    }
    kept.push(((time, number), aside));
    kept.sort();
    for (_, path) in kept.iter().rev().skip(KEPT) {
        let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        if let Err(error) = removed {
            tracing::warn!(cache.aside = %path.display(), "an old unusable cache cannot be removed: {error}");
        }
    }
    true
}

/// Those that are kept already, each with its time, which sorts as text, and its number within that second.
fn kept(directory: &Path, prefix: &str) -> Vec<((String, u32), PathBuf)> {
    let beside = directory.parent().and_then(|parent| std::fs::read_dir(parent).ok());
    let paths = beside.into_iter().flatten().flatten().map(|entry| entry.path());
    paths
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_prefix(prefix)?;
            let (time, number) = match name.rsplit_once("Z-") {
                Some((time, number)) => (format!("{time}Z"), number.parse().ok()?),
                None => (name.to_owned(), 1),
            };
            Some(((time, number), path))
        })
        .collect()
}
