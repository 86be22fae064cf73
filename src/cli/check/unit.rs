//! Whether the systemd unit of the daemon may write where this configuration needs it.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Check;
use super::sandbox::{PROPERTIES, Permission, Sandbox, advice};
use crate::cli::DEFAULT_CONFIG;
use crate::config::{Config, unit_of};
use crate::files;
use crate::model::shell_word;
use crate::runtime::Paths;

const NAME: &str = "unit";
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_OUTPUT: u64 = 64 << 10;

/// Empty without systemd, without the unit, or when the unit has all that it needs.
pub(super) async fn unit_checks(config: &Config) -> Vec<Check> {
    let unit = unit_of(&config.path);
    let Some(properties) = show(&unit).await else { return Vec::new() };
    let Some(sandbox) = Sandbox::parse(&properties, resolve) else { return Vec::new() };
    let Paths { database, state_directory, .. } = Paths::new(config);
    let database = database.map(|file| {
        // SQLite and the lock need the directory of the file that a link leads to.
        let file = resolve(&file);
        ("the directory of the learner database", files::directory_of(&file).unwrap_or(Path::new("/")).to_owned())
    });
    let directories = database.into_iter().chain([("state.directory", resolve(&state_directory))]);
    let is_our_unit = reads(&sandbox.command, &config.path);
    directories
        .filter_map(|(what, directory)| directory_check(&config.path, &sandbox, what, &directory, is_our_unit))
        .collect()
}

fn directory_check(config: &Path, sandbox: &Sandbox, what: &str, directory: &Path, is_our_unit: bool) -> Option<Check> {
    let (unit, shown) = (unit_of(config), directory.display());
    let permission = sandbox.permission(directory);
    let cause = match permission {
        Permission::Writable => return other_user_check(&unit, sandbox, what, directory),
        Permission::ReadOnly => "it is read-only there".to_owned(),
        Permission::Hidden(property) => format!("it is hidden there by {property}"),
    };
    let hint = Some(advice(config, directory, permission));
    let detail = format!("{unit} cannot write to {what} {shown}: {cause}");
    Some(if is_our_unit {
        Check { ok: false, hint, ..Check::passed(NAME, detail) }
    } else {
        Check { hint, ..Check::passed(NAME, format!("{detail} (the unit reads another configuration file now)")) }
    })
}

/// A warning: rights may come from a group.
fn other_user_check(unit: &str, sandbox: &Sandbox, what: &str, directory: &Path) -> Option<Check> {
    let user = sandbox.user.as_deref().filter(|user| *user != "root")?;
    let owner = directory.metadata().ok()?.uid();
    let name = files::user_name(owner).unwrap_or_else(|| owner.to_string());
    if name == user || owner.to_string() == user {
        return None;
    }
    let detail = format!("{unit} runs as {user}, but {what} {} belongs to {name}", directory.display());
    let hint = format!("make sure that {user} can write there, or set User= with: systemctl edit {}", shell_word(unit));
    Some(Check { hint: Some(hint), ..Check::passed(NAME, detail) })
}

/// Whether the unit starts the daemon with this configuration file.
fn reads(command: &str, config: &Path) -> bool {
    let config = resolve(config);
    let arguments: Vec<&str> = command.split_whitespace().collect();
    let named = arguments.windows(2).find_map(|pair| match pair {
        ["--config", path] => Some(*path),
        [_, word] => word.strip_prefix("--config="),
        _ => None,
    });
    resolve(Path::new(named.unwrap_or(DEFAULT_CONFIG))) == config
}

/// The absolute path without symbolic links, as far as it exists.
fn resolve(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for existing in path.ancestors() {
        if let (Ok(found), Ok(rest)) = (existing.canonicalize(), path.strip_prefix(existing)) {
            return if rest.as_os_str().is_empty() { found } else { found.join(rest) };
        }
    }
    path
}

/// The properties of the unit; `None` when they cannot be read, for example without systemd.
async fn show(unit: &str) -> Option<String> {
    let mut command = Command::new("systemctl");
    command.args(["show", "--no-pager", unit, "--property", PROPERTIES]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let output = child.stdout.take()?;
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        output.take(MAX_OUTPUT).read_to_string(&mut text).ok().map(|_| text)
    });
    let text = tokio::time::timeout(TIMEOUT, read).await;
    // It has ended, or it is stuck.
    let _ = child.kill();
    let _ = child.wait();
    text.ok()?.ok()?
}
