//! The settings that a daemon records, so that commands reach its learner database while the file cannot be used.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::reader::PREFIX;
use super::{Config, ConfigError, DatabaseConfig, parse};

/// The sections that say which database it is, what its tables look like, and when cycles run. The others may name people.
const SECTIONS: [&str; 6] = ["entra", "app", "provisioning", "mapping", "learners", "schedule"];
/// The keys of `[entra]` that name the application and are required.
const ENTRA_KEYS: [&str; 3] = ["tenant_id", "client_id", "credential"];
/// Keys that take effect after a restart only, so that the daemon may have another value than the file.
const OF_THE_START: [&str; 2] = ["database_url", "password_file"];

/// A part of a valid configuration. It has no comments, and no secret: a valid one has only the paths of their files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedSettings {
    /// The sections of the file.
    toml: String,
    /// The settings of the environment, and those of the start, which come first.
    variables: BTreeMap<String, String>,
}

impl RecordedSettings {
    /// The part of a valid file and environment.
    pub(super) fn of(text: &str, environment: &BTreeMap<String, String>) -> Self {
        let mut table: Table = toml::from_str(text).unwrap_or_default();
        table.retain(|section, _| SECTIONS.contains(&section));
        retain(&mut table, "entra", |key| ENTRA_KEYS.contains(&key));
        retain(&mut table, "learners", |key| !OF_THE_START.contains(&key));
        let is_recorded = |name: &str| {
            let Some(setting) = name.strip_prefix(PREFIX) else { return false };
            let setting = setting.to_ascii_lowercase();
            match setting.split_once("__") {
                Some(("entra", key)) => ENTRA_KEYS.iter().any(|known| key.starts_with(known)),
                Some(("learners", key)) => !OF_THE_START.contains(&key),
                Some((section, _)) => SECTIONS.contains(&section),
                None => false,
            }
        };
        let variables = environment.iter().filter(|(name, _)| is_recorded(name));
        Self {
            toml: table.to_string(),
            variables: variables.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }
}

fn retain(table: &mut Table, section: &str, is_kept: impl Fn(&str) -> bool) {
    if let Some(Value::Table(section)) = table.get_mut(section) {
        section.retain(|key, _| is_kept(key));
    }
}

impl Config {
    /// The settings for the record, with what this process uses.
    pub fn settings_to_record(&self) -> RecordedSettings {
        let RecordedSettings { toml, mut variables } = self.recordable.clone();
        let mut set = |key: &str, value: String| drop(variables.insert(format!("{PREFIX}{key}"), value));
        set("STATE__DIRECTORY", self.state.directory.display().to_string());
        set(
            "LEARNERS__DATABASE_URL",
            match &self.learners.database {
                DatabaseConfig::Sqlite { path } => format!("sqlite://{}", path.display()),
                DatabaseConfig::Postgres { url } => url.clone(),
            },
        );
        if let Some(file) = &self.learners.password_file {
            set("LEARNERS__PASSWORD_FILE", file.display().to_string());
        }
        RecordedSettings { toml, variables }
    }
}

/// The configuration of the daemon that has recorded `settings`, as far as commands need it that do not ask Graph.
///
/// # Errors
/// When another version of the program has recorded them.
pub fn load_recorded(path: &Path, settings: &RecordedSettings) -> Result<Config, ConfigError> {
    parse(path, &settings.toml, &settings.variables)
}
