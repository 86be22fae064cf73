//! From a configuration to the parts that a cycle works with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::SignedDuration;

use crate::auth::{Authenticator, Certificate, Credential, Network, NetworkError, Proof, http_client};
use crate::config::{self, Config, ConfigError, DatabaseConfig};
use crate::cycle::Rules;
use crate::directory::{Directory, Reach};
use crate::files::beside;
use crate::mapping::{Mapping, MappingProblem};
use crate::model::{Clock, Restrictions, Selection, Table, UserList};
use crate::plan::Limits;
use crate::scope::{FilterProblem, Scope};
use crate::store::{DatabaseLocation, DatabaseState, LearnerDatabase, Server};

/// Everything that outlives a cycle.
#[derive(Debug)]
pub struct App {
    /// The configuration it was made of.
    pub config: Config,
    /// Entra and Graph.
    pub directory: Directory,
    /// What every cycle goes by.
    pub rules: Rules,
    /// The learner database.
    pub learners: LearnerDatabase,
    /// The clock.
    pub clock: Clock,
}

/// The configuration is well-formed but cannot be used: exit code 78.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A secret or certificate cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A URL, a certificate or the proxy cannot be used.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The mapping does not compile. Loading has compiled it before, so this takes a changed rule in between.
    #[error("the mapping cannot be used: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Mapping(Vec<MappingProblem>),
    /// The same of the scoping filters.
    #[error("the scoping filters cannot be used: {}", .0.iter().map(|it| it.message.as_str()).collect::<Vec<_>>().join("; "))]
    Scope(Vec<FilterProblem>),
}

impl App {
    /// Reads the secrets that `config` names, and puts the parts together. Nothing is connected yet.
    ///
    /// # Errors
    /// What the administrator has to mend in the configuration.
    pub fn new(config: Config, environment: &BTreeMap<String, String>, clock: Clock) -> Result<Self, AppError> {
        let http = http_client(&Network {
            ca_pem: config.read_ca_file()?,
            proxy: config.entra.proxy.clone().or_else(|| config::proxy_of(environment)),
            proxy_password: config.read_proxy_password()?,
            no_proxy: config::no_proxy_of(environment),
            request_deadline: config.entra.request_deadline,
        })?;
        let credential = Credential {
            tenant: config.entra.tenant_id.clone(),
            client_id: config.entra.client_id.clone(),
            proof: proof(&config, environment)?,
            authority: config.entra.authority.clone(),
            graph: config.entra.graph.clone(),
        };
        let authenticator = Authenticator::new(credential, http.clone(), clock)?;
        let directory = Directory::new(
            http,
            authenticator,
            &config.entra.graph,
            Reach { group_members: config.scope.group_members, app_roles: config.scope.app_roles.clone() },
            config.entra.concurrency,
            clock,
        )?;
        let rules = rules(&config)?;
        let learners = learners(&config, environment)?;
        Ok(Self { config, directory, rules, learners, clock })
    }
}

/// Reads what the application proves itself with.
fn proof(config: &Config, environment: &BTreeMap<String, String>) -> Result<Proof, ConfigError> {
    Ok(match &config.entra.credential {
        config::CredentialConfig::ClientSecret { .. } => Proof::Secret(config.read_secret(environment)?),
        config::CredentialConfig::Certificate { .. } => {
            let (certificate, key) = config.read_certificate(environment)?;
            let read = Certificate::from_pem(&certificate, &key);
            let certificate = read.map_err(|error| config.certificate_fault(error.is_about_the_key(), error))?;
            Proof::Certificate(Box::new(certificate))
        }
        config::CredentialConfig::WorkloadIdentity { .. } => {
            Proof::WorkloadIdentity { token_file: config.token_file(environment)? }
        }
        config::CredentialConfig::ManagedIdentity => Proof::ManagedIdentity,
    })
}

fn rules(config: &Config) -> Result<Rules, AppError> {
    let mut selection = Selection::default();
    let mapping = Mapping::compile(&config.mapping, &mut selection).map_err(AppError::Mapping)?;
    let scope = Scope::compile(&config.scope.filters, &mut selection).map_err(AppError::Scope)?;
    let mut hasher = blake3::Hasher::new();
    // What functions and operators do may differ from one version to the next.
    hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
    hasher.update(&mapping.hash()).update(format!("{:?}", config.scope).as_bytes());
    // What the cache knows was read from these columns.
    let table = config.learners.table.as_ref();
    let table = table.map(|Table { schema, name, columns, words, .. }| (schema, name, columns, words));
    hasher.update(format!("{table:?}").as_bytes());
    let hash = *hasher.finalize().as_bytes();
    Ok(Rules {
        tenant: config.entra.tenant_id.clone(),
        application: config.app.enterprise_app,
        hash,
        scope,
        selection,
        limits: Limits {
            max_deactivations: config.safety.max_deactivations,
            max_deactivation_percent: config.safety.max_deactivation_percent,
            max_update_percent: config.safety.max_update_percent,
            match_attribute: config.learners.match_attribute,
            min_interval: signed(config.schedule.min_interval),
            deactivate_after: signed(config.safety.deactivate_after),
            protected: named(&config.safety.protected),
            repair: config.safety.repair,
            reissued: config.learners.reissued,
            redacted: mapping.redacted().clone(),
        },
        mapping,
        restrictions: Restrictions { only: named(&config.scope.only), ignore: named(&config.scope.ignore) },
        full_every: signed(config.schedule.full_every),
        deadline: config.entra.cycle_deadline,
    })
}

fn named(texts: &[String]) -> UserList {
    texts.iter().map(String::as_str).collect()
}

fn signed(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// Where the learners are, with the password of the server when there is one.
///
/// # Errors
/// When a file with the password, or with the certificate of the server's authority, cannot be read.
pub fn learners(config: &Config, environment: &BTreeMap<String, String>) -> Result<LearnerDatabase, ConfigError> {
    let place = match &config.learners.database {
        DatabaseConfig::Sqlite { path } => DatabaseLocation::File(path.clone()),
        DatabaseConfig::Postgres { url } => {
            config.check_database_certificate()?;
            let password = config.read_database_password(environment)?;
            let url_place = config.learners.database_place.clone();
            DatabaseLocation::Server(Server { url: url.clone(), url_place, password, patience: Server::PATIENCE })
        }
    };
    Ok(LearnerDatabase { place, table: config.learners.table.clone() })
}

/// The SQLite file of the learners; none when a server keeps them.
pub fn database_path(config: &Config) -> Option<&Path> {
    match &config.learners.database {
        DatabaseConfig::Sqlite { path } => Some(path),
        DatabaseConfig::Postgres { .. } => None,
    }
}

/// The lock that keeps two cycles of this machine on one database apart: beside the database, so that another state
/// directory makes no difference. One on a server has a lock of its own besides, for all machines.
pub fn cycle_lock_path(config: &Config) -> PathBuf {
    match database_path(config) {
        Some(path) => beside(&real_path(path), ".lock"),
        None => config.state.directory.join("cycle.lock"),
    }
}

/// The locks that keep two daemons for one application on one database apart. There is one for each id under which
/// the application is known to have been configured; none on a server, where cycles of two daemons take turns.
pub fn source_lock_paths(config: &Config, state: &DatabaseState) -> BTreeSet<PathBuf> {
    let Some(path) = database_path(config) else { return BTreeSet::new() };
    let database = real_path(path);
    let sources = state.spellings(&config.entra.tenant_id, config.app.enterprise_app);
    let name = |source: &String| {
        // A tenant may be a domain too long for the name of a file.
        let hash = blake3::hash(source.as_bytes()).to_hex();
        beside(&database, &format!(".daemon-{}.lock", &hash[..16]))
    };
    sources.iter().map(name).collect()
}

/// The path by its real name: two configurations may reach one file in different ways.
fn real_path(path: &Path) -> PathBuf {
    let real = path.canonicalize().or_else(|error| match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(parent.canonicalize()?.join(name))
        }
        _ => Err(error),
    });
    // What cannot be resolved cannot be opened either, and that is told then.
    real.unwrap_or_else(|_| path.to_owned())
}

/// The lock and pid file of the daemon.
pub fn daemon_lock_path(config: &Config) -> PathBuf {
    config.state.directory.join("learner-sync.pid")
}

/// Where the cache lies.
pub fn cache_path(config: &Config) -> PathBuf {
    config.state.directory.join("cache")
}

/// The source of this configuration, as far as it is known without asking Graph.
pub fn source(config: &Config, state: &DatabaseState) -> String {
    state.source(&config.entra.tenant_id, config.app.enterprise_app)
}
