//! The configuration: typed, validated, and complete before anything is done with it.
//!
//! [`load`] reads the TOML file and the environment into a [`Config`] or lists everything that is wrong, each
//! problem with its line. `config/learner-sync.toml` documents the keys for administrators; the fields here
//! document them for us.
//!
//! `reader` finds typed values and their places, `sections` knows the keys, `formats` what a value looks like,
//! `database` how one is named, `mapping`, `filters` and `table` what is no list of settings, and `secrets` the secrets.

mod database;
mod filters;
mod formats;
mod mapping;
mod problem;
mod reader;
mod secrets;
mod sections;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::mapping::MappingEntry;
use crate::model::{Attribute, EntraId, GroupMembers, Reissued, Repair, Table};
use crate::scope::FilterEntry;
pub use problem::{ConfigError, ConfigPosition, ConfigProblem};
use reader::Reader;

/// Everything that an administrator has decided. It holds no secret, only the names of files that do.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// How Entra ID and Graph are reached.
    pub entra: EntraConfig,
    /// Whose users are kept.
    pub app: AppConfig,
    /// Which of them.
    pub scope: ScopeConfig,
    /// What is kept of them.
    pub provisioning: ProvisioningConfig,
    /// The attribute mapping, compiled once as a test.
    pub mapping: Vec<MappingEntry>,
    /// Where the learners are.
    pub learners: LearnersConfig,
    /// When a cycle is made.
    pub schedule: ScheduleConfig,
    /// What is too much at once.
    pub safety: SafetyConfig,
    /// Where the daemon's own files are.
    pub state: StateConfig,
    /// What is logged, and kept of the log.
    pub log: LogConfig,
    /// What works but should be put right; to be logged once.
    pub warnings: Vec<String>,
}

/// `[entra]`: how the directory is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntraConfig {
    /// The tenant, a GUID or a domain, in lower case. Required.
    pub tenant_id: String,
    /// The application that signs in, a GUID in lower case. Required, except for a managed identity, where it names one
    /// assigned by a user.
    pub client_id: Option<String>,
    /// The origin of the token endpoint, without a slash at its end: of `cloud`, or `authority_url`.
    pub authority: String,
    /// The origin of Microsoft Graph, without a slash at its end: of `cloud`, or `graph_url`.
    pub graph: String,
    /// A PEM file of certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy, perhaps with a user name.
    pub proxy: Option<String>,
    /// The file with `user:password`, or the password alone, for the proxy.
    pub proxy_password_file: Option<PathBuf>,
    /// How long reading the directory may take in one cycle. Default 30 minutes.
    pub cycle_deadline: Duration,
    /// How long one request may take, with its attempts and the waits between them. Default 2 minutes.
    pub request_deadline: Duration,
    /// How many requests to Graph are under way at once. Default 8.
    pub concurrency: usize,
    /// How the application proves who it is.
    pub credential: CredentialConfig,
}

/// `[entra.credential]`: how the application proves who it is, and where that is. The secrets themselves are read by
/// [`Config::read_secret`] and [`Config::read_certificate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialConfig {
    /// A client secret.
    ClientSecret {
        /// The file that holds it. Without one: the systemd credential, then the environment.
        secret_file: Option<PathBuf>,
    },
    /// A certificate. Without files: the systemd credentials.
    Certificate {
        /// The file with the certificate.
        certificate_file: Option<PathBuf>,
        /// The file with its private key.
        private_key_file: Option<PathBuf>,
    },
    /// The managed identity of this virtual machine.
    ManagedIdentity,
    /// The token of an issuer that the app registration trusts.
    WorkloadIdentity {
        /// The file that holds it. Without one: `AZURE_FEDERATED_TOKEN_FILE` from the environment.
        token_file: Option<PathBuf>,
    },
}

/// `[app]`: the enterprise application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppConfig {
    /// The object id of the service principal, or the application (client) id of it. Required.
    pub enterprise_app: EntraId,
}

/// `[scope]`: which of the assigned users count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeConfig {
    /// How far an assigned group reaches. Default: to its direct members.
    pub group_members: GroupMembers,
    /// The app roles whose assignments count, by id or value. Default: all.
    pub app_roles: Vec<String>,
    /// `[[scope.filter]]`: of whom one must hold. Default: everybody is in scope.
    pub filters: Vec<FilterEntry>,
    /// When not empty, nobody else is touched: object ids of users or groups, user names.
    pub only: Vec<String>,
    /// Who is left as they are: object ids of users or groups, user names.
    pub ignore: Vec<String>,
}

/// `[provisioning]`: what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvisioningConfig {
    /// Whether users are provisioned at all; without, a cycle has nothing to do. Default true.
    pub users: bool,
}

/// `[learners]`: the learner database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnersConfig {
    /// Where it is. Default `/var/lib/learner-sync/learners.db`.
    pub database: DatabaseConfig,
    /// Where that stands, such as `learner-sync.toml:12:16`.
    pub database_position: String,
    /// The file with the password of a database server. Without one: the systemd credential, then the environment.
    pub password_file: Option<PathBuf>,
    /// The table, when it is one that somebody else made; else `learners`, made when missing.
    pub table: Option<Table>,
    /// By which attribute an unlinked learner is found; it is text, and mapped. Default `userName`.
    pub match_attribute: Attribute,
    /// What happens when the address of a former learner is wanted by a new user. Default: a conflict.
    pub reissued: Reissued,
}

/// A learner database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseConfig {
    /// An SQLite file, made when missing.
    Sqlite {
        /// The file; an absolute path.
        path: PathBuf,
    },
    /// A database on a PostgreSQL server.
    Postgres {
        /// `postgres://user@host:port/database?options`, without a password.
        url: String,
    },
}

/// `[schedule]`: when a cycle is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleConfig {
    /// The shortest wait from the end of one cycle to the next. Default 20 minutes.
    pub min_interval: Duration,
    /// The longest, never shorter than `min_interval`. Default 40 minutes.
    pub max_interval: Duration,
    /// How often a cycle compares with the database and not with the cache. Default 24 hours.
    pub full_every: Duration,
}

/// `[safety]`: what is held for an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafetyConfig {
    /// More deactivations than this are held. Default 500.
    pub max_deactivations: u64,
    /// More per cent of the learners than this, and more than 10, are held. Default 20.
    pub max_deactivation_percent: u64,
    /// Updates of more per cent of the learners than this are held. Default 100: never.
    pub max_update_percent: u64,
    /// How long somebody must have been gone before being deactivated. Default 0.
    pub deactivate_after: Duration,
    /// User names or object ids that are never deactivated.
    pub protected: Vec<String>,
    /// What is put right when a learner was changed by hand. Default: its attributes.
    pub repair: Repair,
}

/// `[state]`: the daemon's own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateConfig {
    /// An absolute path, made when missing. Default `/var/lib/learner-sync`.
    pub directory: PathBuf,
}

/// `[log]`: the operational log, and how long the provisioning log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How a line is written. Default text.
    pub format: LogFormat,
    /// A level or `target=level` directives. Default `info`.
    pub level: String,
    /// How long provisioning log rows are kept. Default 90 days.
    pub retention: Duration,
}

/// How operational logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for users, on standard error.
    Text,
    /// A JSON object a line, on standard error.
    Json,
    /// Straight to the systemd journal, with fields.
    Journald,
}

/// The configuration in the file at `path`, with the settings that `environment` overrides.
pub fn load(path: &Path, environment: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|error| ConfigError::whole(path, None, format!("cannot be read: {error}")))?;
    parse(path, &text, environment)
}

/// The environment of this process. Nothing else reads it, so that tests and `SIGHUP` see what they are given.
#[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
pub fn environment() -> BTreeMap<String, String> {
    // A setting that is not UTF-8 is not one that any key accepts: the replacement characters get it refused.
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect()
}

/// The proxy that the environment names for https, when the configuration names none. Without a scheme it is one that
/// speaks plain HTTP, as other programs have it.
pub fn proxy_from(environment: &BTreeMap<String, String>) -> Option<String> {
    let named = first_of(environment, &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])?;
    Some(if named.contains("://") { named } else { format!("http://{named}") })
}

/// The hosts that the environment takes out of the proxy's hands.
pub fn no_proxy_from(environment: &BTreeMap<String, String>) -> Option<String> {
    first_of(environment, &["NO_PROXY", "no_proxy"])
}

fn first_of(environment: &BTreeMap<String, String>, names: &[&str]) -> Option<String> {
    names.iter().filter_map(|name| environment.get(*name)).find(|value| !value.is_empty()).cloned()
}

/// The keys that differ and that a running daemon cannot take over.
pub fn changed_keys_needing_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    restart_keys(old)
        .into_iter()
        .zip(restart_keys(new))
        .filter(|(old, new)| old != new)
        .map(|((key, _), _)| key)
        .collect()
}

/// What is opened once, at the start, in words that can be compared.
fn restart_keys(config: &Config) -> [(&'static str, String); 6] {
    // Taken apart in full, so that a new field has to be put on one side or the other.
    let Config {
        path: _,
        entra: _,
        app: _,
        scope: _,
        provisioning: _,
        mapping: _,
        learners:
            LearnersConfig { database, database_position: _, password_file, table: _, match_attribute: _, reissued: _ },
        schedule: _,
        safety: _,
        state: StateConfig { directory },
        log: LogConfig { format, level, retention },
        warnings: _,
    } = config;
    [
        ("learners.database_url", format!("{database:?}")),
        ("learners.password_file", format!("{password_file:?}")),
        ("state.directory", format!("{directory:?}")),
        ("log.format", format!("{format:?}")),
        ("log.level", level.clone()),
        ("log.retention", format!("{retention:?}")),
    ]
}

fn parse(path: &Path, text: &str, environment: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
    let mut reader = Reader::new(text, environment).map_err(|problems| ConfigError::new(path, problems))?;
    let sections = read(&mut reader, path);
    let near_misses = reader.near_misses(environment.keys());
    let problems = reader.finish();
    match sections {
        Some(mut config) if problems.is_empty() => {
            config.warnings = near_misses;
            config.warnings.append(&mut config.open_secrets());
            Ok(config)
        }
        // A section is missing only if its problem has been recorded.
        _ => Err(ConfigError::new(path, problems)),
    }
}

/// All sections; `None` when a required key is missing. What `reader` recorded decides whether this counts.
fn read(reader: &mut Reader<'_>, path: &Path) -> Option<Config> {
    sections::not_available(reader);
    let entra = sections::entra(reader);
    let app = sections::app(reader);
    let scope = sections::scope(reader);
    let provisioning = sections::provisioning(reader);
    let (mapping, mapped) = mapping::read(reader);
    let learners = sections::learners(reader, path, mapped.as_deref());
    let schedule = sections::schedule(reader);
    let safety = sections::safety(reader);
    let state = sections::state(reader);
    let log = sections::log(reader);
    Some(Config {
        path: path.to_owned(),
        entra: entra?,
        app: app?,
        scope,
        provisioning,
        mapping,
        learners,
        schedule,
        safety,
        state,
        log,
        warnings: Vec::new(),
    })
}
