//! The systemd unit of a configuration: `learner-sync`, or `learner-sync@NAME` for one of several tenants.

use std::path::Path;

/// The directory of the configurations that the units read.
pub(super) const CONFIG_DIRECTORY: &str = "/etc/learner-sync";
/// The name of the only, or first, configuration and of its unit.
pub(super) const MAIN: &str = "learner-sync";

/// The tenant that `learner-sync@NAME.service` serves with this configuration.
pub(super) fn instance_of(config: &Path) -> Option<&str> {
    let name = config.file_name()?.to_str()?.strip_suffix(".toml")?;
    (config.parent() == Some(Path::new(CONFIG_DIRECTORY)) && name != MAIN).then_some(name)
}

/// The unit that reads this configuration; the main unit, if it is not known.
pub(super) fn unit_of(config: &Path) -> String {
    instance_of(config).map_or_else(|| format!("{MAIN}.service"), |name| format!("{MAIN}@{name}.service"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_in_the_directory_of_the_package_is_an_instance() {
        for (path, expected) in [
            ("/etc/learner-sync/learner-sync.toml", "learner-sync.service"),
            ("/etc/learner-sync/harbourworks.toml", "learner-sync@harbourworks.service"),
            ("/etc/learner-sync/backup/harbourworks.toml", "learner-sync.service"),
            ("/home/ada/harbourworks.toml", "learner-sync.service"),
            ("/etc/learner-sync/harbourworks", "learner-sync.service"),
        ] {
            assert_eq!(unit_of(Path::new(path)), expected, "{path}");
        }
    }
}
