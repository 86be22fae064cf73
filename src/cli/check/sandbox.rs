//! The directories that the systemd unit of the daemon may write to, from the properties that `systemctl show` prints.
//! <https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#Sandboxing>

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::{state_directory_of, unit_of};
use crate::model::shell_word;

/// The properties that are needed.
pub(super) const PROPERTIES: &str = "LoadState,ExecStart,User,DynamicUser,ProtectSystem,ProtectHome,PrivateTmp,\
     StateDirectory,CacheDirectory,ReadWritePaths,ReadOnlyPaths,InaccessiblePaths,BindPaths";

/// The rights of the unit in a directory and below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Writable,
    ReadOnly,
    /// The unit sees nothing there, or other files.
    Hidden(&'static str),
}

const PRIVATE_TMP: &str = "PrivateTmp=yes";
const PROTECT_HOME: &str = "ProtectHome=yes";

/// The unit's view of the file system.
#[derive(Debug)]
pub(super) struct Sandbox {
    rules: Vec<(PathBuf, Permission)>,
    /// The system user, unless systemd chooses it.
    pub(super) user: Option<String>,
    /// The command line.
    pub(super) command: String,
}

impl Sandbox {
    /// Reads lines of `NAME=VALUE`; `resolve` follows symbolic links. `None` when the unit is not loaded.
    pub(super) fn parse(properties: &str, resolve: impl Fn(&Path) -> PathBuf) -> Option<Self> {
        let properties: BTreeMap<&str, &str> = properties.lines().filter_map(|line| line.split_once('=')).collect();
        let value = |name: &str| properties.get(name).map_or("", |value| value.trim());
        if value("LoadState") != "loaded" {
            return None;
        }
        let mut rules = Vec::new();
        let mut add = |path: &str, permission| rules.push((resolve(Path::new(path)), permission));
        let read_only: &[&str] = match value("ProtectSystem") {
            "strict" => &["/"],
            "full" => &["/usr", "/boot", "/efi", "/etc"],
            "yes" | "true" | "1" => &["/usr", "/boot", "/efi"],
            _ => &[],
        };
        read_only.iter().for_each(|path| add(path, Permission::ReadOnly));
        let home = match value("ProtectHome") {
            "yes" | "true" | "1" => Some(Permission::Hidden(PROTECT_HOME)),
            "tmpfs" => Some(Permission::Hidden("ProtectHome=tmpfs")),
            "read-only" => Some(Permission::ReadOnly),
            _ => None,
        };
        home.into_iter().for_each(|home| ["/home", "/root", "/run/user"].iter().for_each(|path| add(path, home)));
        if !matches!(value("PrivateTmp"), "" | "no" | "false" | "0") {
            ["/tmp", "/var/tmp"].iter().for_each(|path| add(path, Permission::Hidden(PRIVATE_TMP)));
        }
        for (name, root) in [("StateDirectory", "/var/lib"), ("CacheDirectory", "/var/cache")] {
            for directory in value(name).split_whitespace() {
                // `NAME:LINK` also creates a link.
                let name = directory.split(':').next().unwrap_or(directory);
                add(&format!("{root}/{name}"), Permission::Writable);
            }
        }
        for (name, permission) in [
            ("ReadOnlyPaths", Permission::ReadOnly),
            ("InaccessiblePaths", Permission::Hidden("InaccessiblePaths=")),
            ("ReadWritePaths", Permission::Writable),
        ] {
            // `-` ignores a missing path, `+` is relative to the root of the unit.
            words(value(name)).iter().for_each(|path| add(path.trim_start_matches(['-', '+']), permission));
        }
        for bind in words(value("BindPaths")) {
            let mut parts = bind.trim_start_matches('-').split(':');
            let source = parts.next().unwrap_or_default();
            // Elsewhere the unit sees it under another name.
            if parts.next().is_none_or(|target| target == source) {
                add(source, Permission::Writable);
            }
        }
        let user = Some(value("User")).filter(|_| !matches!(value("DynamicUser"), "yes" | "true" | "1"));
        let user = user.map(|user| if user.is_empty() { "root" } else { user }.to_owned());
        Some(Self { rules, user, command: value("ExecStart").to_owned() })
    }

    /// The rights of the unit in `directory`, an absolute path without symbolic links.
    pub(super) fn permission(&self, directory: &Path) -> Permission {
        // The longest path decides, and the last of equal ones.
        let rules = self.rules.iter().filter(|(path, _)| directory.starts_with(path));
        rules.max_by_key(|(path, _)| path.components().count()).map_or(Permission::Writable, |(_, found)| *found)
    }
}

/// The paths of a list; systemd quotes those with blanks.
fn words(list: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for letter in list.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            letter => words.last_mut().into_iter().for_each(|word| word.push(letter)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// How to let the unit of `config` write to `directory`.
pub(super) fn advice(config: &Path, directory: &Path, permission: Permission) -> String {
    let path = directory.display().to_string().replace('%', "%%");
    let path = if path.contains(' ') { format!("\"{path}\"") } else { path };
    let drop_in = |lines: &str| {
        let unit = unit_of(config);
        let unit = shell_word(unit.trim_end_matches(".service"));
        format!("run: systemctl edit {unit}, add the lines {lines} and restart it; the directory must exist")
    };
    let move_it = format!("move it to {}", state_directory_of(config));
    match permission {
        Permission::Hidden(PRIVATE_TMP) => format!("{move_it}: the unit has its own /tmp, emptied when it stops"),
        Permission::Hidden(PROTECT_HOME) => {
            format!("{move_it}, or {}", drop_in(&format!("[Service], ProtectHome=read-only and ReadWritePaths={path}")))
        }
        Permission::Hidden(_) => format!("{move_it}, or {}", drop_in(&format!("[Service] and BindPaths={path}"))),
        Permission::ReadOnly | Permission::Writable => drop_in(&format!("[Service] and ReadWritePaths={path}")),
    }
}

#[cfg(test)]
mod tests {
    use super::Permission::{Hidden, ReadOnly, Writable};
    use super::*;

    /// The unit that is shipped, with `more` properties, which replace the first.
    fn shipped(more: &str) -> Sandbox {
        let properties = format!(
            "LoadState=loaded\nUser=learner-sync\nDynamicUser=no\nProtectSystem=strict\nProtectHome=yes\nPrivateTmp=yes\n\
             StateDirectory=learner-sync\nReadWritePaths=\nReadOnlyPaths=\n{more}"
        );
        Sandbox::parse(&properties, Path::to_owned).unwrap()
    }

    #[test]
    fn the_longest_path_of_the_unit_decides() {
        for (more, directory, expected) in [
            ("", "/var/lib/learner-sync", Writable),
            ("", "/var/lib/learner-sync/cache", Writable),
            ("", "/var/lib/learner-sync2", ReadOnly),
            ("", "/var/lib", ReadOnly),
            ("", "/srv/training", ReadOnly),
            ("", "/home/ada/training", Hidden(PROTECT_HOME)),
            ("", "/root", Hidden(PROTECT_HOME)),
            ("", "/tmp", Hidden(PRIVATE_TMP)),
            ("", "/var/tmp/training", Hidden(PRIVATE_TMP)),
            ("PrivateTmp=disconnected", "/tmp/training", Hidden(PRIVATE_TMP)),
            ("PrivateTmp=no", "/tmp/training", ReadOnly),
            ("ReadWritePaths=/srv/training", "/srv/training", Writable),
            ("ReadWritePaths=-/srv/other +/srv/training", "/srv/training/data", Writable),
            ("ReadWritePaths=\"/srv/our training\" /mnt", "/srv/our training", Writable),
            ("ReadWritePaths=\"/srv/our training\" /mnt", "/srv/our", ReadOnly),
            ("ReadWritePaths=/srv\nReadOnlyPaths=/srv/training", "/srv/training", ReadOnly),
            ("ReadWritePaths=/srv\nInaccessiblePaths=/srv/training", "/srv/training", Hidden("InaccessiblePaths=")),
            ("ReadWritePaths=/", "/srv/training", Writable),
            ("ReadWritePaths=/", "/home/ada", Hidden(PROTECT_HOME)),
            ("ProtectHome=read-only", "/home/ada", ReadOnly),
            ("ProtectHome=read-only\nReadWritePaths=/home/ada", "/home/ada", Writable),
            ("ProtectHome=tmpfs\nBindPaths=/home/ada", "/home/ada", Writable),
            ("ProtectHome=tmpfs\nBindPaths=/srv/ada:/home/ada:rbind", "/home/ada", Hidden("ProtectHome=tmpfs")),
            ("ProtectHome=no\nProtectSystem=full", "/home/ada", Writable),
            ("ProtectSystem=full", "/etc/learner-sync", ReadOnly),
            ("ProtectSystem=yes", "/etc/learner-sync", Writable),
            ("ProtectSystem=yes", "/usr/share/training", ReadOnly),
            ("ProtectSystem=no", "/usr/share/training", Writable),
            ("StateDirectory=learner-sync training:link", "/var/lib/training", Writable),
            ("CacheDirectory=training", "/var/cache/training", Writable),
        ] {
            assert_eq!(shipped(more).permission(Path::new(directory)), expected, "{directory} with {more}");
        }
    }

    #[test]
    fn a_unit_that_is_not_loaded_is_not_judged() {
        for properties in ["", "LoadState=not-found\nProtectSystem=no", "LoadState=masked", "Failed to connect to bus"]
        {
            assert!(Sandbox::parse(properties, Path::to_owned).is_none(), "{properties}");
        }
        assert_eq!(shipped("").user.as_deref(), Some("learner-sync"));
        assert_eq!(shipped("User=").user.as_deref(), Some("root"));
        assert_eq!(shipped("DynamicUser=yes").user, None);
    }

    #[test]
    fn links_of_the_unit_are_resolved() {
        let resolve = |path: &Path| match path.strip_prefix("/var/lib/learner-sync") {
            Ok(rest) => Path::new("/data/learner-sync").join(rest),
            Err(_) => path.to_owned(),
        };
        let properties = "LoadState=loaded\nProtectSystem=strict\nStateDirectory=learner-sync";
        let sandbox = Sandbox::parse(properties, resolve).unwrap();
        assert_eq!(sandbox.permission(Path::new("/data/learner-sync")), Writable);
    }

    #[test]
    fn the_advice_names_the_lines_of_a_drop_in() {
        for (directory, permission, expected) in [
            ("/srv/training", ReadOnly, "[Service] and ReadWritePaths=/srv/training "),
            ("/srv/our training", ReadOnly, "ReadWritePaths=\"/srv/our training\" "),
            ("/srv/50%", ReadOnly, "ReadWritePaths=/srv/50%% "),
            ("/home/ada", Hidden(PROTECT_HOME), "ProtectHome=read-only and ReadWritePaths=/home/ada "),
            ("/tmp/a", Hidden(PRIVATE_TMP), "move it to /var/lib/learner-sync"),
            ("/srv/a", Hidden("InaccessiblePaths="), "BindPaths=/srv/a "),
        ] {
            let advice = advice(Path::new("/etc/learner-sync/learner-sync.toml"), Path::new(directory), permission);
            assert!(advice.contains(expected) && !advice.contains('@'), "{advice}");
        }
        let advice = advice(Path::new("/etc/learner-sync/b.toml"), Path::new("/home/ada"), Hidden(PROTECT_HOME));
        assert!(advice.contains("systemctl edit learner-sync@b, "), "{advice}");
        assert!(advice.contains("move it to /var/lib/learner-sync/b, "), "{advice}");
    }
}
