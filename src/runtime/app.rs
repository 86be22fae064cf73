//! Turns a configuration into the parts of a cycle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::status::{CycleNumbers, RecordPlaces};
use crate::auth::{Authenticator, Certificate, Credential, Identity, Network, NetworkError, Proof, http_client};
use crate::config::{self, Config, ConfigError, CredentialConfig, DatabaseConfig};
use crate::cycle::Rules;
use crate::directory::{AssignmentFilter, Directory};
use crate::mapping::{Mapping, MappingProblem};
use crate::model::{Clock, Restrictions, Selection, Table, UserList};
use crate::notify::{Notifier, NotifierParts};
use crate::plan::Limits;
use crate::scope::{FilterProblem, Scope};
use crate::store::{DatabaseLocation, DatabaseState, LearnerDatabase, PostgresServer, UsedDatabases, host_name};

/// The longest time for a webhook to answer.
const WEBHOOK_DEADLINE: Duration = Duration::from_secs(30);

/// Everything that outlives a cycle.
#[derive(Debug)]
pub struct App {
    /// The loaded configuration.
    pub config: Config,
    /// Entra ID, through Graph.
    pub directory: Directory,
    /// The compiled configuration of every cycle.
    pub rules: Arc<Rules>,
    /// The learner database; it is opened for each cycle.
    pub learners: LearnerDatabase,
    /// The channels of messages, if there are any.
    pub notifier: Option<Notifier>,
    /// The clock; tests pass their own.
    pub clock: Clock,
}

/// The configuration is well-formed but unusable: exit code 78.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A secret or certificate cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A URL, a certificate or the proxy is unusable.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The mapping does not compile. Loading the configuration compiles it too and reports this first.
    #[error("invalid mapping: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Mapping(Vec<MappingProblem>),
    /// A scoping filter does not compile; loading reports this first as well.
    #[error("invalid scoping filters: {}", .0.iter().map(|it| it.message.as_str()).collect::<Vec<_>>().join("; "))]
    Scope(Vec<FilterProblem>),
}

impl App {
    /// Reads the secrets that `config` names and assembles the parts. Nothing is connected yet.
    ///
    /// # Errors
    /// The problem that the administrator has to correct in the configuration.
    pub fn new(config: Config, environment: &BTreeMap<String, String>, clock: Clock) -> Result<Self, AppError> {
        let network = network(&config, environment)?;
        let http = http_client(&network)?;
        let notifier = build_notifier(&config, &network, environment)?;
        let credential = Credential {
            tenant: config.entra.tenant_id.clone(),
            client_id: config.entra.client_id.clone(),
            identity: identity(&config, environment)?,
            authority: config.entra.authority.clone(),
            graph: config.entra.graph.clone(),
        };
        let authenticator = Authenticator::new(credential, http.clone(), clock)?;
        let directory = Directory::new(
            http,
            authenticator,
            &config.entra.graph,
            AssignmentFilter { group_members: config.scope.group_members, app_roles: config.scope.app_roles.clone() },
            config.entra.concurrency,
            clock,
        )?;
        let rules = Arc::new(compile_rules(&config)?);
        let learners = learner_database(&config, environment)?;
        Ok(Self { config, directory, rules, learners, notifier, clock })
    }
}

/// The network settings for Entra ID and Graph.
fn network(config: &Config, environment: &BTreeMap<String, String>) -> Result<Network, ConfigError> {
    Ok(Network {
        ca_pem: config.read_ca_file()?,
        proxy: config.entra.proxy.clone().or_else(|| config::proxy_from(environment)),
        proxy_password: config.read_proxy_password()?,
        no_proxy: config::no_proxy_from(environment),
        request_deadline: config.entra.request_deadline,
    })
}

/// The channels of messages, which use the same proxy and certificates; `None` when there are none.
///
/// # Errors
/// When the proxy or `entra.ca_file` is unusable.
pub fn notifier(config: &Config, environment: &BTreeMap<String, String>) -> Result<Option<Notifier>, AppError> {
    build_notifier(config, &network(config, environment)?, environment)
}

fn build_notifier(
    config: &Config,
    network: &Network,
    environment: &BTreeMap<String, String>,
) -> Result<Option<Notifier>, AppError> {
    let http = http_client(&Network { request_deadline: WEBHOOK_DEADLINE, ..network.clone() })?;
    let has_proxy = network.proxy.is_some();
    let parts = NotifierParts { http, has_proxy, ca_pem: network.ca_pem.clone(), host_name: host_name(), environment };
    Ok(Notifier::new(&config.notify, parts))
}

/// The identity that signs in. Its credential is read here as well, so that an unusable one is reported at the start.
fn identity(config: &Config, environment: &BTreeMap<String, String>) -> Result<Identity, ConfigError> {
    match &config.entra.credential {
        CredentialConfig::ManagedIdentity => return Ok(Identity::Managed),
        // The platform may write the token later.
        CredentialConfig::WorkloadIdentity { token_file } => {
            config.find_token_file(token_file, environment)?;
        }
        CredentialConfig::ClientSecret { .. } | CredentialConfig::Certificate { .. } => {
            read_proof(config, environment)?;
        }
    }
    let (config, environment) = (config.clone(), environment.clone());
    Ok(Identity::Application(Arc::new(move || read_proof(&config, &environment).map_err(Into::into))))
}

/// Reads the credential of the application.
fn read_proof(config: &Config, environment: &BTreeMap<String, String>) -> Result<Proof, ConfigError> {
    Ok(match &config.entra.credential {
        CredentialConfig::Certificate { certificate_file, private_key_file } => {
            let (certificate, key) = config.read_certificate(certificate_file, private_key_file, environment)?;
            let read = Certificate::from_files(&certificate, &key);
            let certificate = read.map_err(|error| config.certificate_fault(error.is_about_the_key, error))?;
            Proof::Certificate(Box::new(certificate))
        }
        CredentialConfig::WorkloadIdentity { token_file } => {
            Proof::FederatedToken(config.read_token(&config.find_token_file(token_file, environment)?)?)
        }
        CredentialConfig::ClientSecret { .. } | CredentialConfig::ManagedIdentity => {
            Proof::Secret(config.read_secret(environment)?)
        }
    })
}

/// Compiles the mapping and the scoping filters of `config`.
///
/// # Errors
/// When one of them does not compile.
pub fn compile_rules(config: &Config) -> Result<Rules, AppError> {
    let mut selection = Selection::default();
    let mapping = Mapping::compile(&config.mapping, &mut selection).map_err(AppError::Mapping)?;
    let scope =
        Scope::compile(&config.scope.filters, config.scope.agent_users, &mut selection).map_err(AppError::Scope)?;
    let mut hasher = blake3::Hasher::new();
    // Functions and operators may behave differently in another version.
    hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
    hasher.update(&mapping.hash()).update(format!("{:?}", config.scope).as_bytes());
    // The cache holds what was read from these columns.
    let table = config.learners.table.as_ref();
    let table = table.map(|Table { schema, name, columns, state_labels, constants, limits, .. }| {
        let limits: Vec<_> = limits.iter().map(|name| (name, constants.get(name))).collect();
        (schema, name, columns, state_labels, limits)
    });
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
            protected: user_list(&config.safety.protected),
            repair: config.safety.repair,
            reissued: config.learners.reissued,
            redacted: mapping.redacted().clone(),
        },
        mapping,
        restrictions: Restrictions { only: user_list(&config.scope.only), ignore: user_list(&config.scope.ignore) },
        full_every: signed(config.schedule.full_every),
        deadline: config.entra.cycle_deadline,
    })
}

fn user_list(texts: &[String]) -> UserList {
    texts.iter().map(String::as_str).collect()
}

pub(super) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// The location of the learners, with the password of the server.
///
/// # Errors
/// When the file of the password, or of the server's CA certificate, cannot be read.
pub fn learner_database(
    config: &Config,
    environment: &BTreeMap<String, String>,
) -> Result<LearnerDatabase, ConfigError> {
    let place = match &config.learners.database {
        DatabaseConfig::Sqlite { path } => DatabaseLocation::File(path.clone()),
        DatabaseConfig::Postgres { url } => {
            config.check_database_certificate()?;
            let password = config.database_password(environment)?;
            let url_place = config.learners.database_position.clone();
            let response_timeout = PostgresServer::RESPONSE_TIMEOUT;
            DatabaseLocation::Server(PostgresServer { url: url.clone(), url_place, password, response_timeout })
        }
    };
    let used = Some(used_databases(config, environment));
    Ok(LearnerDatabase { place, table: config.learners.table.clone(), used })
}

/// What is known of earlier cycles in the learner database, without opening it. Nothing is read before it is needed.
pub fn used_databases(config: &Config, environment: &BTreeMap<String, String>) -> UsedDatabases {
    let directory = &config.state.directory;
    let places = RecordPlaces::new(&config.path, Some(directory), environment);
    let database = match &config.learners.database {
        DatabaseConfig::Sqlite { path } => Some(path.display().to_string()),
        DatabaseConfig::Postgres { .. } => None,
    };
    UsedDatabases::in_directory(directory, move || {
        let record = places.read().filter(|record| database.as_ref() == Some(&record.database));
        record.and_then(|record| record.summary).is_some_and(|summary| {
            summary.last_success.is_some() || summary.last_cycle.as_ref().is_some_and(CycleNumbers::is_complete)
        })
    })
}

/// The source of this configuration, as far as it is known without asking Graph.
pub fn configured_source(config: &Config, state: &DatabaseState) -> String {
    state.source(&config.entra.tenant_id, config.app.enterprise_app)
}
