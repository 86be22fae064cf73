//! The configuration: typed, and validated completely before use.
//!
//! [`load`] reads the TOML file and the environment into a [`Config`], or returns every problem with its line.
//! `config/learner-sync.toml` documents the keys for administrators.
//!
//! `reader` finds typed values and their positions, `sections` defines the keys, `formats` and `database` parse values,
//! `mapping`, `filters`, `table`, `http` and `notify` read their sections, `secrets` reads the files of secrets, `instance`
//! names the unit of a configuration and its files, `recorded` is what a daemon records of it, and `first` writes the
//! configuration of a new installation.

mod database;
mod filters;
mod first;
mod formats;
mod http;
mod instance;
mod mapping;
mod notify;
mod problem;
mod reader;
mod recorded;
mod secrets;
mod sections;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::files;
use crate::mapping::MappingEntry;
use crate::model::{Attribute, EntraId, GroupMembers, Reissued, Repair, Table};
use crate::scope::FilterEntry;
pub(crate) use first::{FirstConfig, FirstKey, quoted};
pub(crate) use formats::is_loopback;
pub use http::{HttpConfig, ListenAddress};
pub(crate) use instance::{command_options, has_unit, instance_of, secret_file_of, state_directory_of, unit_of};
pub use notify::{NotifyConfig, SmtpConfig, SmtpSecurity};
pub use problem::{ConfigError, ConfigPosition, ConfigProblem};
use reader::Reader;
pub use recorded::{RecordedSettings, load_recorded};
pub(crate) use secrets::systemd_credential;

/// All settings. Secrets are not part of it, only the paths of their files.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The configuration file.
    pub path: PathBuf,
    /// `[entra]`: the connection to Entra ID and Graph.
    pub entra: EntraConfig,
    /// `[app]`: the enterprise application.
    pub app: AppConfig,
    /// `[scope]`: the users in scope.
    pub scope: ScopeConfig,
    /// `[provisioning]`: what is provisioned.
    pub provisioning: ProvisioningConfig,
    /// `[mapping]`: the attribute mapping, which compiles.
    pub mapping: Vec<MappingEntry>,
    /// `[learners]`: the learner database.
    pub learners: LearnersConfig,
    /// `[schedule]`: the times of cycles.
    pub schedule: ScheduleConfig,
    /// `[safety]`: the limits beyond which changes are held.
    pub safety: SafetyConfig,
    /// `[state]`: the daemon's own files.
    pub state: StateConfig,
    /// `[http]`: metrics and health over HTTP. Default: off.
    pub http: Option<HttpConfig>,
    /// `[notify]`: messages to administrators. Default: none.
    pub notify: NotifyConfig,
    /// `[log]`: the logs.
    pub log: LogConfig,
    /// Problems that do not prevent operation, to be logged once.
    pub warnings: Vec<String>,
    /// The part of the settings that the daemon may record.
    recordable: RecordedSettings,
}

/// `[entra]`: the connection to Entra ID and Graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntraConfig {
    /// The tenant, a GUID or a domain, in lower case. Required.
    pub tenant_id: String,
    /// The application that signs in, a GUID in lower case. Required, except for a managed identity, where it selects a
    /// user-assigned one.
    pub client_id: Option<String>,
    /// The origin of the token endpoint, without a trailing slash: from `authority_url`, or else from `cloud`.
    pub authority: String,
    /// The origin of Microsoft Graph, without a trailing slash: from `graph_url`, or else from `cloud`.
    pub graph: String,
    /// A PEM file of certificates that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The URL of the proxy, with an optional user name.
    pub proxy: Option<String>,
    /// The file with `user:password`, or only the password, for the proxy.
    pub proxy_password_file: Option<PathBuf>,
    /// The longest time to read the directory in one cycle. Default 30 minutes.
    pub cycle_deadline: Duration,
    /// The longest time for one request, including retries and waits. Default 2 minutes.
    pub request_deadline: Duration,
    /// The number of concurrent requests to Graph. Default 8.
    pub concurrency: usize,
    /// The credential of the application.
    pub credential: CredentialConfig,
}

impl EntraConfig {
    /// The configured files that a sign-in reads.
    pub fn credential_files(&self) -> impl Iterator<Item = &Path> {
        let files = match &self.credential {
            CredentialConfig::ClientSecret { secret_file } => [secret_file.as_ref(), None],
            CredentialConfig::Certificate { certificate_file, private_key_file } => {
                [certificate_file.as_ref(), private_key_file.as_ref()]
            }
            CredentialConfig::ManagedIdentity => [None, None],
            CredentialConfig::WorkloadIdentity { token_file } => [token_file.as_ref(), None],
        };
        files.into_iter().flatten().map(PathBuf::as_path)
    }
}

/// `[entra.credential]`: the credential of the application. [`Config::read_secret`] and [`Config::read_certificate`] read
/// the secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialConfig {
    /// A client secret.
    ClientSecret {
        /// The file with the secret. Default: the systemd credential, then the environment.
        secret_file: Option<PathBuf>,
    },
    /// A certificate. Default: the systemd credentials.
    Certificate {
        /// The file with the certificate.
        certificate_file: Option<PathBuf>,
        /// The file with the private key.
        private_key_file: Option<PathBuf>,
    },
    /// The managed identity of this virtual machine.
    ManagedIdentity,
    /// A token of another issuer, trusted by the app registration.
    WorkloadIdentity {
        /// The file with the token. Default: `AZURE_FEDERATED_TOKEN_FILE` from the environment.
        token_file: Option<PathBuf>,
    },
}

/// `[app]`: the enterprise application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppConfig {
    /// The object id of the service principal, or its application (client) id. Required.
    pub enterprise_app: EntraId,
}

/// `[scope]`: the users in scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeConfig {
    /// Which members of an assigned group count. Default: direct members.
    pub group_members: GroupMembers,
    /// The app roles whose assignments count, by id or value. Default: all.
    pub app_roles: Vec<String>,
    /// Whether the accounts of agents count as users. Default: no.
    pub agent_users: bool,
    /// `[[scope.filter]]`: a user in scope matches at least one. Default: all users are in scope.
    pub filters: Vec<FilterEntry>,
    /// If not empty, only these users change: object ids of users or groups, user names.
    pub only: Vec<String>,
    /// Users that never change: object ids of users or groups, user names.
    pub ignore: Vec<String>,
}

/// `[provisioning]`: what is provisioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvisioningConfig {
    /// Whether users are provisioned. If false, cycles do nothing. Default true.
    pub users: bool,
}

/// `[learners]`: the learner database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnersConfig {
    /// The location. Default `/var/lib/learner-sync/learners.db`.
    pub database: DatabaseConfig,
    /// The position of `database_url`, such as `learner-sync.toml:12:16`.
    pub database_position: String,
    /// The file with the password of a database server. Default: the systemd credential, then the environment.
    pub password_file: Option<PathBuf>,
    /// An external table. Default: the table `learners`, created when missing.
    pub table: Option<Table>,
    /// The attribute that matches unlinked learners; a mapped text. Default `userName`.
    pub match_attribute: Attribute,
    /// The handling of a new user who needs the address of an inactive learner. Default: a conflict.
    pub reissued: Reissued,
}

/// A learner database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseConfig {
    /// An SQLite file, created when missing.
    Sqlite {
        /// The absolute path.
        path: PathBuf,
    },
    /// A database on a PostgreSQL server.
    Postgres {
        /// `postgres://user@host:port,host:port/database?options`, without a password. Several hosts are named before the
        /// database only.
        url: String,
    },
}

/// `[schedule]`: the times of cycles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleConfig {
    /// The shortest wait from the end of a cycle to the next. Default 20 minutes.
    pub min_interval: Duration,
    /// The longest wait, at least `min_interval`. Default 40 minutes.
    pub max_interval: Duration,
    /// The interval of full comparisons with the database. Default 24 hours.
    pub full_every: Duration,
}

/// `[safety]`: the limits beyond which changes are held for an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafetyConfig {
    /// The most deactivations in 24 hours. Default 500.
    pub max_deactivations: u64,
    /// The most deactivations in percent of the learners, if they are more than 10. Default 20.
    pub max_deactivation_percent: u64,
    /// The most updates of a cycle in percent of the learners. Default 100: no limit.
    pub max_update_percent: u64,
    /// How long a user must be a leaver before the deactivation. Default 0.
    pub deactivate_after: Duration,
    /// User names or object ids that are never deactivated.
    pub protected: Vec<String>,
    /// The repairs of a full comparison after manual changes. Default: attributes.
    pub repair: Repair,
}

/// `[state]`: the daemon's own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateConfig {
    /// The absolute path, created when missing. Default `/var/lib/learner-sync`.
    pub directory: PathBuf,
}

/// `[log]`: the operational log, and the retention of the provisioning log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The format of the operational log. Default auto.
    pub format: LogFormat,
    /// A level or `target=level` directives. Default `info`.
    pub level: String,
    /// How long provisioning log rows are kept. Default 90 days.
    pub retention: Duration,
}

/// The format of the operational log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// The journal when systemd has connected standard error to it, otherwise text.
    Auto,
    /// Readable lines on standard error.
    Text,
    /// One JSON object per line on standard error.
    Json,
    /// The systemd journal, with fields.
    Journald,
}

/// Reads the configuration file at `path`. Variables in `environment` override its settings.
pub fn load(path: &Path, environment: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
    let text = files::read_text(path, files::MAX_DOCUMENT);
    let text = text.map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::NotFound => first::advice(),
            ErrorKind::PermissionDenied => first::other_user_advice(path),
            _ => String::new(),
        };
        let message = format!("cannot read the file: {error}{advice}");
        ConfigError { is_shortage: files::is_shortage(&error), ..ConfigError::whole(path, None, message) }
    })?;
    parse(path, &text, environment)
}

/// The state directory of a configuration file that cannot be used: as the environment or a line of the file has it,
/// otherwise the default.
pub fn guess_state_directory(path: &Path, environment: &BTreeMap<String, String>) -> PathBuf {
    let text = files::read_text(path, files::MAX_DOCUMENT).unwrap_or_default();
    let mut lines = text.lines().map(str::trim).skip_while(|line| *line != "[state]").skip(1);
    let named = lines.by_ref().take_while(|line| !line.starts_with('[')).find_map(|line| {
        let value = line.strip_prefix("directory")?.trim_start().strip_prefix('=')?.trim_start();
        let quote = value.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
        Some(value[1..].split(quote).next()?.to_owned())
    });
    let set = first_set(environment, &["LEARNER_SYNC_STATE__DIRECTORY"]);
    let directory = set.or(named).map(PathBuf::from).filter(|directory| directory.is_absolute());
    directory.unwrap_or_else(|| sections::STATE_DIRECTORY.into())
}

/// The environment of this process. No other code reads it, so that tests can replace it.
#[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
pub fn environment() -> BTreeMap<String, String> {
    // No key accepts the replacement characters of invalid UTF-8.
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect()
}

/// The https proxy of the environment. As in other programs, the default scheme is http.
pub fn proxy_from(environment: &BTreeMap<String, String>) -> Option<String> {
    let named = first_set(environment, &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])?;
    Some(if named.contains("://") { named } else { format!("http://{named}") })
}

/// The hosts that are reached without the proxy.
pub fn no_proxy_from(environment: &BTreeMap<String, String>) -> Option<String> {
    first_set(environment, &["NO_PROXY", "no_proxy"])
}

fn first_set(environment: &BTreeMap<String, String>, names: &[&str]) -> Option<String> {
    names.iter().filter_map(|name| environment.get(*name)).find(|value| !value.is_empty()).cloned()
}

/// The changed keys that need a restart of the daemon.
pub fn changed_keys_needing_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    // These patterns have no `..`, so that a new field needs a decision here.
    let LearnersConfig { database, database_position: _, password_file, table: _, match_attribute: _, reissued: _ } =
        &old.learners;
    let StateConfig { directory } = &old.state;
    let LogConfig { format, level, retention } = &old.log;
    let changed = [
        ("learners.database_url", *database != new.learners.database),
        ("learners.password_file", *password_file != new.learners.password_file),
        ("state.directory", *directory != new.state.directory),
        ("log.format", *format != new.log.format),
        ("log.level", *level != new.log.level),
        ("log.retention", *retention != new.log.retention),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

fn parse(path: &Path, text: &str, environment: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
    let mut reader = Reader::new(text, environment).map_err(|problems| ConfigError::new(path, problems))?;
    let sections = read_sections(&mut reader, path);
    let near_misses = reader.near_misses(environment.keys());
    let problems = reader.into_problems();
    match sections {
        Some(mut config) if problems.is_empty() => {
            config.recordable = RecordedSettings::of(text, environment);
            config.warnings = near_misses;
            config.warnings.append(&mut config.exposed_secrets());
            Ok(config)
        }
        // A missing section has a recorded problem.
        _ => Err(ConfigError::new(path, problems)),
    }
}

/// All sections; `None` when a required key is missing. The result is valid only if `reader` recorded no problem.
fn read_sections(reader: &mut Reader<'_>, path: &Path) -> Option<Config> {
    let (entra, app) = (sections::entra(reader), sections::app(reader));
    let (mapping, mapped) = mapping::read(reader);
    Some(Config {
        path: path.to_owned(),
        scope: sections::scope(reader),
        provisioning: sections::provisioning(reader),
        mapping,
        learners: sections::learners(reader, path, mapped.as_deref()),
        schedule: sections::schedule(reader),
        safety: sections::safety(reader),
        state: sections::state(reader),
        http: http::read(reader),
        notify: notify::read(reader),
        log: sections::log(reader),
        warnings: Vec::new(),
        recordable: RecordedSettings::default(),
        // Last, so that the problems of all sections are recorded.
        entra: entra?,
        app: app?,
    })
}
