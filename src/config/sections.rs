//! The keys of each section, with their defaults and valid values.

use std::path::Path;
use std::time::Duration;

use super::formats::{self, duration, duration_of_at_least};
use super::reader::Reader;
use super::{
    AppConfig, CredentialConfig, DatabaseConfig, EntraConfig, LearnersConfig, LogConfig, LogFormat, ProvisioningConfig,
    SafetyConfig, ScheduleConfig, ScopeConfig, StateConfig,
};
use super::{database, filters, mapping, table};
use crate::model::{Attribute, EntraId, GroupMembers, Reissued, Repair};

/// The default `authority_url` for a managed identity.
const METADATA_SERVICE: &str = "http://169.254.169.254";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// `[entra]` and `[entra.credential]`.
pub(super) fn entra(reader: &mut Reader<'_>) -> Option<EntraConfig> {
    let meaning = "the Directory (tenant) ID on the Overview page of the app registration, or a domain of the tenant";
    let tenant_id = reader.required("entra.tenant_id", meaning, formats::tenant);
    let credential = credential(reader);
    let client_id = if credential == CredentialConfig::ManagedIdentity {
        Some(reader.text("entra.client_id", formats::id))
    } else {
        let meaning = "the Application (client) ID on the Overview page of the app registration";
        reader.required("entra.client_id", meaning, formats::id).map(Some)
    };
    let (authority, graph) = reader.choice(
        "entra.cloud",
        &[
            ("global", ("https://login.microsoftonline.com", "https://graph.microsoft.com")),
            ("us-gov", ("https://login.microsoftonline.us", "https://graph.microsoft.us")),
            ("us-dod", ("https://login.microsoftonline.us", "https://dod-graph.microsoft.us")),
            ("china", ("https://login.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn")),
        ],
    );
    let authority_url = reader.text("entra.authority_url", formats::origin);
    let graph_url = reader.text("entra.graph_url", formats::origin);
    let ca_file = reader.path("entra.ca_file");
    let proxy = reader.text("entra.proxy", formats::proxy);
    let proxy_password_file = reader.path("entra.proxy_password_file");
    if proxy_password_file.is_some() && !reader.present("entra.proxy") {
        reader.refuse("entra.proxy_password_file", "has no effect without entra.proxy");
    }
    let cycle_deadline = reader.text("entra.cycle_deadline", duration_of_at_least(Duration::from_secs(1), "1s"));
    let request_deadline = reader.text("entra.request_deadline", duration_of_at_least(Duration::from_secs(1), "1s"));
    let concurrency = reader.number("entra.concurrency", 64, 64);
    if concurrency == 0 {
        reader.refuse("entra.concurrency", "must be at least 1");
    }
    let is_managed = credential == CredentialConfig::ManagedIdentity;
    let authority = if is_managed { METADATA_SERVICE } else { authority };
    Some(EntraConfig {
        tenant_id: tenant_id?,
        client_id: client_id?.map(|id| id.to_string()),
        authority: authority_url.unwrap_or_else(|| authority.to_owned()),
        graph: graph_url.unwrap_or_else(|| graph.to_owned()),
        ca_file,
        proxy,
        proxy_password_file,
        cycle_deadline: cycle_deadline.unwrap_or(30 * MINUTE),
        request_deadline: request_deadline.unwrap_or(2 * MINUTE),
        concurrency: usize::try_from(concurrency).unwrap_or(1),
        credential,
    })
}

/// `[entra.credential]`.
fn credential(reader: &mut Reader<'_>) -> CredentialConfig {
    const KIND: &str = "entra.credential.kind";
    let kinds = ["client-secret", "certificate", "managed-identity", "workload-identity"];
    let kind = reader.choice(KIND, &kinds.map(|kind| (kind, kind)));
    let mut file = |key, of_kind| {
        let path = reader.path(key);
        if path.is_some() && kind != of_kind {
            reader.refuse(key, format!("has no effect with {KIND} = {kind:?}"));
        }
        path
    };
    let secret_file = file("entra.credential.secret_file", "client-secret");
    let certificate_file = file("entra.credential.certificate_file", "certificate");
    let private_key_file = file("entra.credential.private_key_file", "certificate");
    let token_file = file("entra.credential.token_file", "workload-identity");
    match kind {
        "certificate" => CredentialConfig::Certificate { certificate_file, private_key_file },
        "managed-identity" => CredentialConfig::ManagedIdentity,
        "workload-identity" => CredentialConfig::WorkloadIdentity { token_file },
        _ => CredentialConfig::ClientSecret { secret_file },
    }
}

/// `[app]`.
pub(super) fn app(reader: &mut Reader<'_>) -> Option<AppConfig> {
    let meaning = "the Object ID on the Overview page of the enterprise application";
    Some(AppConfig { enterprise_app: reader.required("app.enterprise_app", meaning, formats::id)? })
}

/// `[scope]`.
pub(super) fn scope(reader: &mut Reader<'_>) -> ScopeConfig {
    let group_members = reader.choice(
        "scope.group_members",
        &[("direct", GroupMembers::Direct), ("transitive", GroupMembers::Transitive), ("none", GroupMembers::None)],
    );
    ScopeConfig {
        group_members,
        app_roles: reader.list("scope.app_roles"),
        agent_users: reader.flag("scope.agent_users", false),
        filters: filters::read(reader),
        only: users(reader, "scope.only"),
        ignore: users(reader, "scope.ignore"),
    }
}

/// A list of users and groups. An invalid entry would not restrict anything.
fn users(reader: &mut Reader<'_>, key: &'static str) -> Vec<String> {
    let list = reader.list(key);
    for (number, text) in (1..).zip(&list) {
        let is_id = text.parse::<EntraId>().is_ok();
        let is_name = text.contains('@') && !text.contains(char::is_whitespace);
        if !is_id && !is_name {
            let valid = "an object id of a user or group, or a user name such as ada@example.org";
            reader.refuse(key, format!("entry {number} must be {valid}"));
        }
    }
    list
}

/// `[provisioning]`.
pub(super) fn provisioning(reader: &mut Reader<'_>) -> ProvisioningConfig {
    let users = reader.flag("provisioning.users", true);
    if reader.flag("provisioning.groups", false) {
        reader.refuse(
            "provisioning.groups",
            "group objects are not provisioned, only the users in assigned groups; set provisioning.groups = false",
        );
    }
    ProvisioningConfig { users }
}

/// `[learners]`; the match attribute must be one of `mapped`, which is `None` if the mapping is invalid.
pub(super) fn learners(reader: &mut Reader<'_>, path: &Path, mapped: Option<&[Attribute]>) -> LearnersConfig {
    const DEFAULT: &str = "/var/lib/learner-sync/learners.db";
    let database = reader.text("learners.database_url", database::database);
    let database = database.unwrap_or_else(|| DatabaseConfig::Sqlite { path: DEFAULT.into() });
    let password_file = reader.path("learners.password_file");
    let match_attribute = reader.text("learners.match_attribute", mapping::attribute).unwrap_or(Attribute::UserName);
    if mapped.is_some_and(|mapped| !mapped.contains(&match_attribute)) {
        let path = match_attribute.path();
        reader.refuse("learners.match_attribute", format!("{path} is not mapped; choose a mapped attribute"));
    }
    let reissued = reader.choice("learners.reissued", &[("conflict", Reissued::Conflict), ("free", Reissued::Free)]);
    let database_position = reader.position("learners.database_url").display_in(path);
    let table = table::read_external_table(reader, path, mapped);
    LearnersConfig { database, database_position, password_file, table, match_attribute, reissued }
}

/// `[schedule]`.
pub(super) fn schedule(reader: &mut Reader<'_>) -> ScheduleConfig {
    let mut interval = |key, default| {
        let least = duration_of_at_least(Duration::from_secs(1), "1s");
        reader.text(key, least).unwrap_or(default)
    };
    let min_interval = interval("schedule.min_interval", 20 * MINUTE);
    let max_interval = interval("schedule.max_interval", 40 * MINUTE);
    if min_interval > max_interval {
        let (key, message) = if reader.present("schedule.max_interval") {
            ("schedule.max_interval", "must not be shorter than schedule.min_interval")
        } else {
            ("schedule.min_interval", "must not be longer than schedule.max_interval, which is 40m unless set")
        };
        reader.refuse(key, message);
    }
    let full_every = reader.text("schedule.full_every", duration).unwrap_or(DAY);
    ScheduleConfig { min_interval, max_interval, full_every }
}

/// `[safety]`.
pub(super) fn safety(reader: &mut Reader<'_>) -> SafetyConfig {
    SafetyConfig {
        max_deactivations: reader.number("safety.max_deactivations", u64::MAX, 500),
        max_deactivation_percent: reader.number("safety.max_deactivation_percent", 100, 20),
        max_update_percent: reader.number("safety.max_update_percent", 100, 100),
        deactivate_after: reader.text("safety.deactivate_after", duration).unwrap_or_default(),
        protected: reader.list("safety.protected"),
        repair: reader
            .choice("safety.repair", &[("attributes", Repair::Attributes), ("all", Repair::All), ("log", Repair::Log)]),
    }
}

pub(super) const STATE_DIRECTORY: &str = "/var/lib/learner-sync";

/// `[state]`.
pub(super) fn state(reader: &mut Reader<'_>) -> StateConfig {
    StateConfig { directory: reader.path("state.directory").unwrap_or_else(|| STATE_DIRECTORY.into()) }
}

/// `[log]`.
pub(super) fn log(reader: &mut Reader<'_>) -> LogConfig {
    LogConfig {
        format: reader.choice(
            "log.format",
            &[
                ("auto", LogFormat::Auto),
                ("text", LogFormat::Text),
                ("json", LogFormat::Json),
                ("journald", LogFormat::Journald),
            ],
        ),
        level: reader.text("log.level", formats::log_level).unwrap_or_else(|| "info".to_owned()),
        retention: reader.text("log.retention", duration_of_at_least(DAY, "1d")).unwrap_or(90 * DAY),
    }
}
