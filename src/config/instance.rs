//! The systemd unit of a configuration: `learner-sync`, or `learner-sync@NAME` for one of several tenants.

use std::path::Path;

use crate::model::shell_word;

/// The directory of the configurations that the units read.
const CONFIG_DIRECTORY: &str = "/etc/learner-sync";
/// The state directory of the main unit; those of the others are in it.
const STATE_DIRECTORY: &str = "/var/lib/learner-sync";
/// The name of the only, or first, configuration and of its unit.
const MAIN: &str = "learner-sync";

/// The tenant that `learner-sync@NAME.service` serves with this configuration.
pub(crate) fn instance_of(config: &Path) -> Option<String> {
    let config = std::path::absolute(config).ok()?;
    let name = config.file_name()?.to_str()?.strip_suffix(".toml")?;
    (config.parent() == Some(Path::new(CONFIG_DIRECTORY)) && name != MAIN).then(|| name.to_owned())
}

/// Whether a unit reads this configuration, without changes on this machine.
pub(crate) fn has_unit(config: &Path) -> bool {
    let main = Path::new(CONFIG_DIRECTORY).join(MAIN).with_extension("toml");
    instance_of(config).is_some() || std::path::absolute(config).is_ok_and(|config| config == main)
}

/// Whether commands read this configuration without `--config`.
fn is_default(config: &Path) -> bool {
    has_unit(config) && instance_of(config).is_none()
}

/// What follows a command, so that it reads this configuration: ` --config PATH`, or nothing for the default one.
pub(crate) fn command_options(config: &Path) -> String {
    if is_default(config) {
        return String::new();
    }
    let path = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    format!(" --config {}", shell_word(&path.display().to_string()))
}

/// The unit that reads this configuration; the main unit, if it is not known.
pub(crate) fn unit_of(config: &Path) -> String {
    instance_of(config).map_or_else(|| format!("{MAIN}.service"), |name| format!("{MAIN}@{name}.service"))
}

/// The file of a secret, such as `client-secret`, that the unit of this configuration reads.
pub(crate) fn secret_file_of(config: &Path, name: &str) -> String {
    let prefix = instance_of(config).map_or_else(String::new, |instance| format!("{instance}-"));
    format!("{CONFIG_DIRECTORY}/{prefix}{name}")
}

/// The state directory that the unit of this configuration may write to.
pub(crate) fn state_directory_of(config: &Path) -> String {
    instance_of(config).map_or_else(|| STATE_DIRECTORY.to_owned(), |name| format!("{STATE_DIRECTORY}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_in_the_directory_of_the_package_is_an_instance() {
        for (path, unit, is_known) in [
            ("/etc/learner-sync/learner-sync.toml", "learner-sync.service", true),
            ("/etc/learner-sync/harbourworks.toml", "learner-sync@harbourworks.service", true),
            ("/etc/learner-sync/backup/harbourworks.toml", "learner-sync.service", false),
            ("/home/ada/harbourworks.toml", "learner-sync.service", false),
            ("/etc/learner-sync/harbourworks", "learner-sync.service", false),
        ] {
            assert_eq!((&*unit_of(Path::new(path)), has_unit(Path::new(path))), (unit, is_known), "{path}");
        }
    }

    #[test]
    fn an_instance_has_files_of_its_own() {
        for (config, secret, state) in [
            ("/etc/learner-sync/learner-sync.toml", "/etc/learner-sync/client-secret", "/var/lib/learner-sync"),
            ("/etc/learner-sync/b.toml", "/etc/learner-sync/b-client-secret", "/var/lib/learner-sync/b"),
        ] {
            let config = Path::new(config);
            assert_eq!((&*secret_file_of(config, "client-secret"), &*state_directory_of(config)), (secret, state));
        }
    }
}
