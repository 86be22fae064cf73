//! The configuration as an administrator sees it: files, environments and error messages.

mod filters;
mod table;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use insta::assert_snapshot;
use secrecy::ExposeSecret;

use super::*;
use crate::mapping::{ApplyMode, default_entries};

const SHIPPED: &str = include_str!("../../config/learner-sync.toml");
const REQUIRED: &str = r#"
[entra]
tenant_id = "Contoso.onmicrosoft.com"
client_id = "0A1B2C3D-0000-4000-8000-00000000ABCD"
[app]
enterprise_app = "11111111-2222-4333-8444-555555555555"
"#;

fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    parse(Path::new("/etc/learner-sync/learner-sync.toml"), text, &variables(environment))
}

fn variables(environment: &[(&str, &str)]) -> BTreeMap<String, String> {
    environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The problems of a file with the required keys, followed by `more`.
fn problems(more: &str) -> String {
    problems_with(more, &[])
}

fn problems_with(more: &str, environment: &[(&str, &str)]) -> String {
    load_text(&format!("{REQUIRED}{more}"), environment).unwrap_err().to_string()
}

#[test]
fn three_keys_are_required() {
    assert_snapshot!(format!("{:#?}", load_text(REQUIRED, &[]).unwrap().without_mapping()), @r#"
    Config {
        path: "/etc/learner-sync/learner-sync.toml",
        entra: EntraConfig {
            tenant_id: "contoso.onmicrosoft.com",
            client_id: Some(
                "0a1b2c3d-0000-4000-8000-00000000abcd",
            ),
            authority: "https://login.microsoftonline.com",
            graph: "https://graph.microsoft.com",
            ca_file: None,
            proxy: None,
            proxy_password_file: None,
            cycle_deadline: 1800s,
            request_deadline: 120s,
            concurrency: 64,
            credential: ClientSecret {
                secret_file: None,
            },
        },
        app: AppConfig {
            enterprise_app: 11111111-2222-4333-8444-555555555555,
        },
        scope: ScopeConfig {
            group_members: Direct,
            app_roles: [],
            agent_users: false,
            filters: [],
            only: [],
            ignore: [],
        },
        provisioning: ProvisioningConfig {
            users: true,
        },
        mapping: [],
        learners: LearnersConfig {
            database: Sqlite {
                path: "/var/lib/learner-sync/learners.db",
            },
            database_position: "/etc/learner-sync/learner-sync.toml",
            password_file: None,
            table: None,
            match_attribute: UserName,
            reissued: Conflict,
        },
        schedule: ScheduleConfig {
            min_interval: 1200s,
            max_interval: 2400s,
            full_every: 86400s,
        },
        safety: SafetyConfig {
            max_deactivations: 500,
            max_deactivation_percent: 20,
            max_update_percent: 100,
            deactivate_after: 0ns,
            protected: [],
            repair: Attributes,
        },
        state: StateConfig {
            directory: "/var/lib/learner-sync",
        },
        http: None,
        notify: NotifyConfig {
            webhook_url_file: None,
            webhook_secret_file: None,
            smtp: None,
            names: false,
            events: {
                Held,
                Failing,
                Recovered,
                UsersFailing,
                CredentialExpiring,
                StandbyTookOver,
            },
        },
        log: LogConfig {
            format: Auto,
            level: "info",
            retention: 7776000s,
        },
        warnings: [],
        recordable: RecordedSettings {
            toml: "",
            variables: {},
        },
    }
    "#);
}

#[test]
fn all_problems_are_reported_with_their_lines() {
    let text = r#"
[entra]
tenant_id = "common"
client_id = "<Application (client) ID>"
graph_url = "http://graph.example.org"
authority_url = "https://login.example.org/contoso"
cycle_deadline = "0s"
proxy = "http://me:letmein@proxy.example.org:3128"

[scope]
  group_members = "nested"
[provisioning]
groups = true
users = "yes"
[mapping]
userName = "[userPrincipalName]"
active = { expression = "[accountEnabled]", apply = "sometimes" }
name.givenName = "[givenName]"
title = 'Join("-", [givenName]'
"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager" = "[manager]"
[learners]
database_url = "postgres://sync:letmein@db.example.org/learners"
match_attribute = "nickName"
[schedule]
min_interval = "50m"
full_every = "soon"
[safety]
max_deactivations = -1
max_deactivation_percent = 101
max_update_percent = "all"
max_update_percentage = 5
[state]
directory = "state"
[log]
format = "xml"
level = "verbose"
retention = "1h"
[shedule]
min_interval = "1m"
"#;
    let environment = [
        ("LEARNER_SYNC_SAFETY__MAX_DEACTIVATION", "7"),
        ("LEARNER_SYNC_SCHEDULE__MAX_INTERVAL", "45m"),
        ("LEARNER_SYNC_MAPPING__USERNAME", "[mail]"),
        ("LEARNER_SYNC_CLIENT_SECRET", "letmein"),
        ("LEARNER_SYNC_CONFIG", "elsewhere"),
    ];
    let message = load_text(text, &environment).unwrap_err().to_string();
    assert!(!message.contains("letmein"));
    assert_snapshot!(message, @r#"
    /etc/learner-sync/learner-sync.toml: app.enterprise_app: required, but missing; set it to the Object ID on the Overview page of the enterprise application
    /etc/learner-sync/learner-sync.toml:3:13: entra.tenant_id: "common" means any tenant, but an application signs in to a single one; write the Directory (tenant) ID or a domain of the tenant
    /etc/learner-sync/learner-sync.toml:4:13: entra.client_id: replace the placeholder with the Application (client) ID on the Overview page of the app registration
    /etc/learner-sync/learner-sync.toml:5:13: entra.graph_url: must use https, which protects the access token; http is allowed for 127.0.0.0/8, ::1 and localhost only, not for graph.example.org
    /etc/learner-sync/learner-sync.toml:6:17: entra.authority_url: must consist of scheme, host and port only, without a path, tenant or version
    /etc/learner-sync/learner-sync.toml:7:18: entra.cycle_deadline: must be at least 1s
    /etc/learner-sync/learner-sync.toml:8:9: entra.proxy: contains a password: write it to a file and set entra.proxy_password_file
    /etc/learner-sync/learner-sync.toml:11:19: scope.group_members: must be one of direct, transitive, none
    /etc/learner-sync/learner-sync.toml:13:10: provisioning.groups: group objects are not provisioned, only the users in assigned groups; set provisioning.groups = false
    /etc/learner-sync/learner-sync.toml:14:9: provisioning.users: must be true or false without quotes, not a text
    /etc/learner-sync/learner-sync.toml:17:10: mapping."active": apply is one of "always", "on-create"
    /etc/learner-sync/learner-sync.toml:18:1: mapping."name": is a table without an expression (it has expression, default, apply and required); write an attribute path with dots in quotes
    /etc/learner-sync/learner-sync.toml:19:9: mapping."title": at character 1 of the expression: the closing `)` of this function is missing
    /etc/learner-sync/learner-sync.toml:20:72: mapping."urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager": `manager` is not supported: learners have no such column
    /etc/learner-sync/learner-sync.toml:20:72: mapping."urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager": at character 1 of the expression: `manager` refers to another user and is not supported
    /etc/learner-sync/learner-sync.toml:22:16: learners.database_url: contains a password: write it to a file and set learners.password_file
    /etc/learner-sync/learner-sync.toml:23:19: learners.match_attribute: is not the SCIM path of an attribute, such as userName
    /etc/learner-sync/learner-sync.toml:26:14: schedule.full_every: not a duration; write for example 30s, 20m, 1h30m or 90d
    /etc/learner-sync/learner-sync.toml:28:21: safety.max_deactivations: must not be negative, but is -1
    /etc/learner-sync/learner-sync.toml:29:28: safety.max_deactivation_percent: must be at most 100
    /etc/learner-sync/learner-sync.toml:30:22: safety.max_update_percent: must be a whole number, not a text
    /etc/learner-sync/learner-sync.toml:31:1: safety.max_update_percentage: unknown key; did you mean max_update_percent? ([safety] has deactivate_after, max_deactivation_percent, max_deactivations, max_update_percent, protected, repair)
    /etc/learner-sync/learner-sync.toml:33:13: state.directory: must be an absolute path, starting with /
    /etc/learner-sync/learner-sync.toml:35:10: log.format: must be one of auto, text, json, journald
    /etc/learner-sync/learner-sync.toml:36:9: log.level: must be one of off, error, warn, info, debug, trace, or a list of target=level
    /etc/learner-sync/learner-sync.toml:37:13: log.retention: must be at least 1d
    /etc/learner-sync/learner-sync.toml:38:2: shedule: unknown key; did you mean schedule? (the sections are app, entra, http, learners, log, mapping, notify, provisioning, safety, schedule, scope, state)
    LEARNER_SYNC_MAPPING__USERNAME: [mapping] cannot be set by the environment
    LEARNER_SYNC_SAFETY__MAX_DEACTIVATION: unknown setting; did you mean LEARNER_SYNC_SAFETY__MAX_DEACTIVATIONS?
    LEARNER_SYNC_SCHEDULE__MAX_INTERVAL: must not be shorter than schedule.min_interval
    "#);
}

#[test]
fn a_truncated_file_never_causes_a_panic() {
    let text = shipped().replace("\n#", "\n# ä\n#");
    for (end, _) in text.char_indices().step_by(7) {
        let _ = load_text(&text[..end], &[]);
        let _ = load_text(&text[end..], &[]);
    }
}

#[test]
fn syntax_errors_have_a_position_and_quote_no_line() {
    let message = load_text("[entra]\nsecret_file = \"letmein\ntenant_id = 1\n[entra]\n", &[]).unwrap_err().to_string();
    assert!(!message.contains("letmein"));
    assert_snapshot!(message, @r#"
    /etc/learner-sync/learner-sync.toml:2:23: TOML syntax: invalid basic string, expected `"`
    /etc/learner-sync/learner-sync.toml:4:2: TOML syntax: duplicate key
    "#);
}

#[test]
fn the_environment_overrides_the_file() {
    let config = load_text(
        &format!("{REQUIRED}[safety]\nmax_deactivations = 3\n[schedule]\nmin_interval = 5\n"),
        &[
            ("LEARNER_SYNC_SAFETY__MAX_DEACTIVATIONS", "7"),
            ("LEARNER_SYNC_SCHEDULE__MIN_INTERVAL", "1s"),
            ("LEARNER_SYNC_ENTRA__CREDENTIAL__KIND", "client-secret"),
            ("LEARNER_SYNC_ENTRA__CLOUD", "us-dod"),
            ("LEARNER_SYNC_PROVISIONING__USERS", "false"),
            ("LEARNER_SYNC_SCOPE__ONLY", " , "),
        ],
    )
    .unwrap();
    assert_eq!(config.safety.max_deactivations, 7);
    assert_eq!(config.schedule.min_interval, Duration::from_secs(1));
    assert_eq!(config.entra.graph, "https://dod-graph.microsoft.us");
    assert!(!config.provisioning.users);
}

#[test]
fn each_cloud_has_its_authority_and_graph_url() {
    for (cloud, authority, graph) in [
        ("global", "https://login.microsoftonline.com", "https://graph.microsoft.com"),
        ("us-gov", "https://login.microsoftonline.us", "https://graph.microsoft.us"),
        ("us-dod", "https://login.microsoftonline.us", "https://dod-graph.microsoft.us"),
        ("china", "https://login.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn"),
    ] {
        let entra = load_text(REQUIRED, &[("LEARNER_SYNC_ENTRA__CLOUD", cloud)]).unwrap().entra;
        assert_eq!((entra.authority.as_str(), entra.graph.as_str()), (authority, graph), "{cloud}");
    }
}

#[test]
fn the_environment_can_set_all_required_keys() {
    let config = load_text(
        "",
        &[
            ("LEARNER_SYNC_ENTRA__TENANT_ID", "contoso.com"),
            ("LEARNER_SYNC_ENTRA__CLIENT_ID", "0a1b2c3d-0000-4000-8000-00000000abcd"),
            ("LEARNER_SYNC_APP__ENTERPRISE_APP", "11111111-2222-4333-8444-555555555555"),
            ("LEARNER_SYNC_LOG_LEVEL", "debug"),
        ],
    )
    .unwrap();
    assert_eq!(config.entra.tenant_id, "contoso.com");
    assert_snapshot!(config.warnings.join("\n"), @"LEARNER_SYNC_LOG_LEVEL is ignored: the variable of log.level is LEARNER_SYNC_LOG__LEVEL");
}

#[test]
fn the_environment_is_checked_like_the_file() {
    let message = problems_with(
        "",
        &[
            ("LEARNER_SYNC_SAFETY__MAX_DEACTIVATIONS", "-1"),
            ("LEARNER_SYNC_SAFETY__MAX_UPDATE_PERCENT", "many"),
            ("LEARNER_SYNC_ENTRA__CLIENT_SECRET", "letmein"),
            ("LEARNER_SYNC_NOTIFY__EMAIL", "ada@example.org"),
            ("LEARNER_SYNC_SCHEDULE__MIN_INTERVAL", "1h"),
            ("LEARNER_SYNC__ENTRA__CLOUD", "china"),
        ],
    );
    assert_snapshot!(message, @r"
    LEARNER_SYNC_ENTRA__CLIENT_SECRET: unknown setting; write it to a file and set entra.credential.secret_file, or set LEARNER_SYNC_CLIENT_SECRET
    LEARNER_SYNC_NOTIFY__EMAIL: unknown setting; LEARNER_SYNC_SECTION__KEY sets section.key
    LEARNER_SYNC_SAFETY__MAX_DEACTIVATIONS: must not be negative, but is -1
    LEARNER_SYNC_SAFETY__MAX_UPDATE_PERCENT: must be a whole number
    LEARNER_SYNC_SCHEDULE__MIN_INTERVAL: must not be longer than schedule.max_interval, which is 40m unless set
    LEARNER_SYNC__ENTRA__CLOUD: unknown setting; did you mean LEARNER_SYNC_ENTRA__CLOUD?
    ");
}

#[test]
fn a_missing_key_is_reported_at_its_section() {
    assert_snapshot!(load_text("[entra]\n", &[]).unwrap_err(), @r"
    /etc/learner-sync/learner-sync.toml: app.enterprise_app: required, but missing; set it to the Object ID on the Overview page of the enterprise application
    /etc/learner-sync/learner-sync.toml:1:1: entra.tenant_id: required, but missing; set it to the Directory (tenant) ID on the Overview page of the app registration, or a domain of the tenant
    /etc/learner-sync/learner-sync.toml:1:1: entra.client_id: required, but missing; set it to the Application (client) ID on the Overview page of the app registration
    ");
}

#[test]
fn keys_without_effect_are_refused() {
    assert_snapshot!(problems(r#"
[entra.credential]
[learners]
database_url = "postgres://db.example.org/learners"
reissued = "free"
[safety]
repair = "everything"
[http]
page = true
token_file = "/etc/learner-sync/http-token"
"#), @r#"
    /etc/learner-sync/learner-sync.toml:13:10: safety.repair: must be one of attributes, all, log
    /etc/learner-sync/learner-sync.toml:15:8: http.page: has no effect without http.listen
    /etc/learner-sync/learner-sync.toml:16:14: http.token_file: has no effect without http.listen
    "#);
}

#[test]
fn problems_of_messages_are_found_together() {
    assert_snapshot!(problems(r#"
[notify]
webhook_url_file = "webhook"
smtp_url = "smtp://sync:hunter2@mail.example.org"
to = ["ops@example.org", "ops"]
events = ["held", "recoverd", "everything"]
names = "no"
smtp_password = "hunter2"
"#), @r"
    /etc/learner-sync/learner-sync.toml:8:1: notify.from: required with notify.smtp_url; set it to the address of the sender
    /etc/learner-sync/learner-sync.toml:9:20: notify.webhook_url_file: must be an absolute path, starting with /
    /etc/learner-sync/learner-sync.toml:10:12: notify.smtp_url: contains a password: write it to a file and set notify.smtp_password_file
    /etc/learner-sync/learner-sync.toml:11:6: notify.to: entry 2 must be a mail address such as ops@example.org or Operations <ops@example.org>
    /etc/learner-sync/learner-sync.toml:12:10: notify.events: entry 2 must be one of held, failing, recovered, users-failing, credential-expiring, standby-took-over; did you mean `recovered`?
    /etc/learner-sync/learner-sync.toml:12:10: notify.events: entry 3 must be one of held, failing, recovered, users-failing, credential-expiring, standby-took-over
    /etc/learner-sync/learner-sync.toml:13:9: notify.names: must be true or false without quotes, not a text
    /etc/learner-sync/learner-sync.toml:14:1: notify.smtp_password: unknown key; this file must not contain secrets: write it to a file and set notify.smtp_password_file
    ");
    assert_snapshot!(problems("[notify]\nfrom = \"a@example.org\"\nto = []\nsmtp_password_file = \"/p\"\nevents = []"), @r"
    /etc/learner-sync/learner-sync.toml:8:8: notify.from: has no effect without notify.smtp_url
    /etc/learner-sync/learner-sync.toml:9:6: notify.to: has no effect without notify.smtp_url
    /etc/learner-sync/learner-sync.toml:10:22: notify.smtp_password_file: has no effect without notify.smtp_url
    /etc/learner-sync/learner-sync.toml:11:10: notify.events: must name at least one event; without this key there is a message for each
    ");
    assert_snapshot!(problems("[notify]\nsmtp_url = \"smtp://localhost\"\nto = []\nsmtp_password_file = \"/p\""), @r"
    /etc/learner-sync/learner-sync.toml:7:1: notify.from: required with notify.smtp_url; set it to the address of the sender
    /etc/learner-sync/learner-sync.toml:9:6: notify.to: must have at least one address
    /etc/learner-sync/learner-sync.toml:10:22: notify.smtp_password_file: has no effect without a user in notify.smtp_url
    ");
    let config = load_text(
        &format!("{REQUIRED}[notify]\nwebhook_url_file = '/w'\nevents = ['held', 'held']"),
        &[("LEARNER_SYNC_NOTIFY__NAMES", "true")],
    );
    let notify = config.unwrap().notify;
    assert_eq!((notify.names, notify.smtp, notify.events.len()), (true, None, 1));
}

#[test]
fn a_listener_beyond_loopback_needs_a_token() {
    assert_snapshot!(problems("[http]\nlisten = \"0.0.0.0:9464\""), @"/etc/learner-sync/learner-sync.toml:7:1: http.token_file: required, because other machines can reach the address in http.listen; set it to a file with a token, or listen on 127.0.0.1");
    let listen = |text: &str| load_text(&format!("{REQUIRED}[http]\n{text}"), &[]).unwrap().http;
    assert_eq!(listen("page = false"), None);
    assert_eq!(listen("listen = '[::1]:9464'").unwrap().token_file, None);
    let beyond = listen("listen = '0.0.0.0:9464'\ntoken_file = '/etc/learner-sync/http-token'").unwrap();
    assert_eq!(beyond.token_file, Some("/etc/learner-sync/http-token".into()));
}

#[test]
fn secrets_in_the_file_are_refused() {
    let message = problems(
        r#"
[entra.credential]
client_secret = "letmein"
secret_file = "letmein"
[learners]
password = "letmein"
[log]
"entra.tenant_id" = "letmein"
"#,
    );
    assert!(!message.contains("letmein"));
    assert_snapshot!(message, @r#"
    /etc/learner-sync/learner-sync.toml:9:1: entra.credential.client_secret: unknown key; this file must not contain secrets: write it to a file and set entra.credential.secret_file, or set LEARNER_SYNC_CLIENT_SECRET
    /etc/learner-sync/learner-sync.toml:10:15: entra.credential.secret_file: must be an absolute path, starting with /
    /etc/learner-sync/learner-sync.toml:12:1: learners.password: unknown key; this file must not contain secrets: write it to a file and set learners.password_file
    /etc/learner-sync/learner-sync.toml:14:1: log."entra.tenant_id": unknown key ([log] has format, level, retention)
    "#);
}

#[test]
fn the_secret_comes_from_the_file_or_systemd_or_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let config = |secret_file: Option<&str>| {
        let key = secret_file.map(|name| format!("[entra.credential]\nsecret_file = {:?}\n", at(name)));
        load_text(&format!("{REQUIRED}{}", key.unwrap_or_default()), &[]).unwrap()
    };
    let message = |error: ConfigError| error.to_string().replace(&at(""), "/DIRECTORY/");
    let secret = |config: &Config, environment: &[(&str, &str)]| {
        config.read_secret(&variables(environment)).map(|secret| secret.expose_secret().to_owned()).map_err(message)
    };
    let systemd = ("CREDENTIALS_DIRECTORY", &*at(""));
    let variable = ("LEARNER_SYNC_CLIENT_SECRET", "from the environment\n");
    std::fs::write(at("empty"), "\n").unwrap();
    std::fs::write(at("two"), "letmein\nletmein\n").unwrap();
    std::fs::write(at("secret"), "from the file\r\n").unwrap();

    assert_eq!(secret(&config(Some("secret")), &[systemd, variable]), Ok("from the file".to_owned()));
    // The unit has another credential, but not this one.
    assert_eq!(secret(&config(None), &[systemd, variable]), Ok("from the environment".to_owned()));
    std::fs::write(at("client-secret"), "from systemd").unwrap();
    assert_eq!(secret(&config(None), &[systemd, variable]), Ok("from systemd".to_owned()));

    let mut failures = String::new();
    let two = ("LEARNER_SYNC_CLIENT_SECRET", "letmein\r\nletmein");
    for (file, environment) in [
        (Some("empty"), vec![variable]),
        (Some("two"), vec![variable]),
        (Some("none"), vec![variable]),
        (None, vec![two]),
        (None, vec![]),
    ] {
        writeln!(failures, "{}", secret(&config(file), &environment).unwrap_err()).unwrap();
    }
    assert_snapshot!(failures, @r"
    /etc/learner-sync/learner-sync.toml: entra.credential.secret_file: /DIRECTORY/empty is empty
    /etc/learner-sync/learner-sync.toml: entra.credential.secret_file: /DIRECTORY/two has more than one line; it must contain only the secret, on a single line
    /etc/learner-sync/learner-sync.toml: entra.credential.secret_file: cannot read /DIRECTORY/none: No such file or directory (os error 2)
    /etc/learner-sync/learner-sync.toml: entra.credential.secret_file: LEARNER_SYNC_CLIENT_SECRET has more than one line; it must contain only the secret, on a single line
    /etc/learner-sync/learner-sync.toml: entra.credential.secret_file: there is no client secret: set this key to a file with the secret, or add LoadCredential=client-secret:/etc/learner-sync/client-secret to the systemd unit, or set LEARNER_SYNC_CLIENT_SECRET
    ");

    let two = config(None).database_password(&variables(&[("PGPASSWORD", "letmein\nletmein")])).unwrap_err();
    assert!(two.to_string().contains("PGPASSWORD has more than one line"), "{two}");

    let debugged = format!("{:?}", config(Some("secret")).read_secret(&BTreeMap::new()).unwrap());
    assert!(!debugged.contains("from the file"));
}

#[test]
fn a_secret_file_open_to_all_users_causes_a_warning() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let warnings = |mode| {
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).unwrap();
        let path = file.path().display().to_string();
        let config = load_text(&format!("{REQUIRED}[entra.credential]\nsecret_file = {path:?}\n"), &[]).unwrap();
        config.warnings.join("\n").replace(&path, "/FILE")
    };
    assert_eq!(warnings(0o640), "");
    assert_snapshot!(warnings(0o644), @"entra.credential.secret_file: every user of this machine has access to /FILE (mode 0644); run: chown root:learner-sync /FILE && chmod 0640 /FILE");
}

#[test]
fn a_mapping_in_the_file_replaces_the_default_mapping() {
    let config = load_text(
        &format!(
            r#"{REQUIRED}
[mapping]
userName = "[mail]"
'emails[type eq "work"].value' = "[mail]"
title = {{ expression = "[jobTitle]", default = "Learner", apply = "on-create", required = false }}
active = '"true"'
"#
        ),
        &[],
    )
    .unwrap();
    let [user_name, _, title, active] = &config.mapping[..] else { panic!("{:?}", config.mapping) };
    assert_eq!((&*user_name.path, &*user_name.expression), ("userName", "[mail]"));
    assert_eq!(
        (title.default.as_deref(), title.apply, title.required),
        (Some("Learner"), ApplyMode::OnCreate, Some(false))
    );
    assert_eq!((&*active.expression, active.required), ("\"true\"", None));
}

#[test]
fn a_mapping_without_required_attributes_is_refused() {
    assert_snapshot!(problems("[mapping]\ntitle = \"[jobTitle]\"\n"), @r#"
    /etc/learner-sync/learner-sync.toml:7:1: mapping: userName must be mapped
    /etc/learner-sync/learner-sync.toml:7:1: mapping: emails[type eq "work"].value must be mapped
    /etc/learner-sync/learner-sync.toml:7:1: mapping: active must be mapped
    "#);
    // The unreadable row could be the missing one.
    assert_snapshot!(problems("[mapping]\ntitle = \"[jobTitle]\"\nuserName = 3\n"), @r#"/etc/learner-sync/learner-sync.toml:9:12: mapping."userName": must be an expression in quotes, not a number"#);
}

#[test]
fn the_match_attribute_must_be_mapped() {
    let company = "urn:ietf:params:scim:schemas:extension:SJUserAttributes:2.0:User:company";
    assert_snapshot!(problems(&format!("[learners]\nmatch_attribute = {company:?}\n")), @"/etc/learner-sync/learner-sync.toml:8:19: learners.match_attribute: urn:ietf:params:scim:schemas:extension:SJUserAttributes:2.0:User:company is not mapped; choose a mapped attribute");
    let employee_number = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeenumber";
    let config = load_text(&format!("{REQUIRED}[learners]\nmatch_attribute = {employee_number:?}\n"), &[]);
    assert_eq!(config.unwrap().learners.match_attribute, Attribute::EmployeeNumber);
}

#[test]
fn a_missing_file_is_reported() {
    assert_snapshot!(load(Path::new("/nowhere/learner-sync.toml"), &BTreeMap::new()).unwrap_err(), @"/nowhere/learner-sync.toml: cannot read the file: No such file or directory (os error 2); create it with `learner-sync init`, or copy config/learner-sync.toml of the source and edit the copy");
}

#[test]
fn a_value_without_quotes_is_explained() {
    for value in
        ["6f1c2a52-91d4-4b0e-8a37-d5e0c4b7f913", "contoso.onmicrosoft.com", "12345678-91d4-4b0e-8a37-d5e0c4b7f913"]
    {
        let message = load_text(&format!("[entra]\ntenant_id = {value} # the tenant\n"), &[]).unwrap_err().to_string();
        assert!(message.contains("learner-sync.toml:2:"), "{message}");
        assert!(message.ends_with("TOML syntax: the value is a text; put it in quotes"), "{message}");
    }
    for other in ["tenant_id = \"contoso", "tenant_id = [\"a\" \"b\"]", "tenant_id", "tenant_id ="] {
        let message = load_text(&format!("[entra]\n{other}\n"), &[]).unwrap_err().to_string();
        assert!(message.contains("TOML syntax") && !message.contains("put it in quotes"), "{message}");
    }
}

#[test]
fn a_secret_in_the_place_of_another_value_is_not_shown() {
    const SECRET: &str = "abc8Q~0dskfHJ.kd_83-fkdlsJWQeiur8347fhAb";
    let nothing = BTreeMap::new();
    let mut reader = Reader::new("", &nothing).map_err(drop).unwrap();
    let _ = read_sections(&mut reader, Path::new("/etc/learner-sync/learner-sync.toml"));
    let mut keys = 0;
    for (section, name) in reader.known.iter().filter_map(|key| key.rsplit_once('.')) {
        let variable = format!("LEARNER_SYNC_{}__{}", section.replace('.', "__"), name).to_uppercase();
        for value in [SECRET, &SECRET[..36], &SECRET.replace('~', "://"), &format!("<{SECRET}>")] {
            let texts = [format!("[{section}]\n{name} = \"{value}\""), format!("[{section}]\n{name} = {value}")];
            let from_file = texts.iter().map(|text| load_text(text, &[]));
            for problem in from_file.chain([load_text(REQUIRED, &[(&variable, value)])]).filter_map(Result::err) {
                let message = problem.to_string();
                assert!(!message.contains("0dskf"), "{section}.{name}: {message}");
                keys += 1;
            }
        }
    }
    assert!(keys > 100, "{keys}");
}

#[test]
fn only_settings_used_at_the_start_need_a_restart() {
    let old = load_text(REQUIRED, &[]).unwrap();
    let mut new = old.clone();
    new.safety.max_deactivations = 1;
    new.schedule.full_every = Duration::ZERO;
    assert_eq!(changed_keys_needing_restart(&old, &new), Vec::<&str>::new());
    new.log.level = "debug".to_owned();
    new.learners.database = DatabaseConfig::Sqlite { path: "other.db".into() };
    assert_eq!(changed_keys_needing_restart(&old, &new), ["learners.database_url", "log.level"]);
}

/// The shipped file with its placeholders filled in.
fn shipped() -> String {
    SHIPPED
        .replace("<Directory (tenant) ID>", "contoso.onmicrosoft.com")
        .replace("<Application (client) ID>", "0a1b2c3d-0000-4000-8000-00000000abcd")
        .replace("<Object ID of the enterprise application>", "11111111-2222-4333-8444-555555555555")
}

/// The text with every commented key enabled. Explanations have a space after the `#`.
fn uncommented(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.is_empty() && !key.starts_with(' ') => format!("{key}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn the_shipped_file_has_three_placeholders_and_the_defaults() {
    assert_snapshot!(load_text(SHIPPED, &[]).unwrap_err(), @r"
    /etc/learner-sync/learner-sync.toml:21:13: entra.tenant_id: replace the placeholder with the Directory (tenant) ID on the Overview page of the app registration, or a domain of the tenant
    /etc/learner-sync/learner-sync.toml:24:13: entra.client_id: replace the placeholder with the Application (client) ID on the Overview page of the app registration
    /etc/learner-sync/learner-sync.toml:79:18: app.enterprise_app: replace the placeholder with the Object ID on the Overview page of the enterprise application
    ");
    let config = load_text(&shipped(), &[]).unwrap();
    assert_eq!(config.mapping, default_entries());
    assert_eq!(without_positions(config), without_positions(load_text(REQUIRED, &[]).unwrap()));
}

/// The configuration without positions of keys.
fn without_positions(mut config: Config) -> Config {
    config.learners.database_position.clear();
    config.recordable = RecordedSettings::default();
    config
}

#[test]
fn the_shipped_file_shows_every_key_with_its_default() {
    let text = uncommented(&shipped());
    let environment = BTreeMap::new();
    let mut reader = Reader::new(&text, &environment).unwrap();
    let mut config = read_sections(&mut reader, Path::new("/etc/learner-sync/learner-sync.toml")).unwrap();
    let missing: Vec<_> = reader.known.clone().into_iter().filter(|key| !reader.present(key)).collect();
    assert_eq!(reader.into_problems(), []);
    // These are unavailable, have no default, or belong to another kind of credential than the file shows.
    assert_snapshot!(missing.join(" "), @"entra.credential.certificate_file entra.credential.private_key_file entra.credential.token_file learners.columns learners.constants learners.table scope.filter");

    assert_eq!(config.mapping.len(), default_entries().len() + 5);
    config.mapping = default_entries();
    // These have no default, so the file shows examples.
    config.entra.ca_file = None;
    config.entra.proxy = None;
    config.entra.proxy_password_file = None;
    config.entra.credential = CredentialConfig::ClientSecret { secret_file: None };
    config.learners.password_file = None;
    config.http = None;
    let notify = std::mem::replace(&mut config.notify, load_text(REQUIRED, &[]).unwrap().notify);
    assert_eq!((notify.names, notify.events), (config.notify.names, config.notify.events.clone()));
    assert_eq!(without_positions(config), without_positions(load_text(REQUIRED, &[]).unwrap()));
}

impl Config {
    /// Shortens snapshots: the default mapping has its own tests.
    fn without_mapping(self) -> Self {
        assert_eq!(self.mapping, default_entries());
        Self { mapping: Vec::new(), recordable: Default::default(), ..self }
    }
}

#[test]
fn a_daemon_records_what_leads_to_its_database_and_nothing_else() {
    let text = format!(
        "{REQUIRED}[scope]\nonly = [\"ada@example.org\"] # a comment\n[safety]\nprotected = [\"ada@example.org\"]\n\
         [learners]\ndatabase_url = \"sqlite:///one.db\"\npassword_file = \"/password\"\nmatch_attribute = \"emails[type eq \\\"work\\\"].value\"\n\
         [entra.credential]\nsecret_file = \"/secret\"\n[state]\ndirectory = \"/one\"\n"
    );
    let environment = [
        ("LEARNER_SYNC_CLIENT_SECRET", "letmein"),
        ("LEARNER_SYNC_ENTRA__PROXY", "http://ada@proxy.example.org"),
        ("LEARNER_SYNC_SCHEDULE__MIN_INTERVAL", "1s"),
        ("LEARNER_SYNC_LEARNERS__PASSWORD_FILE", "/other-password"),
        ("PGPASSWORD", "letmein"),
    ];
    let mut config = load_text(&text, &environment).unwrap();
    // As after a reload of a file in which they have changed.
    config.learners.database = DatabaseConfig::Sqlite { path: "/two.db".into() };
    config.learners.password_file = None;
    let settings = config.settings_to_record();
    let record = serde_json::to_string(&settings).unwrap();
    for other in ["ada", "letmein", "comment", "one.db", "password"] {
        assert!(!record.contains(other), "{other}: {record}");
    }
    let loaded = load_recorded(&config.path, &settings).unwrap();
    let position = loaded.learners.database_position.clone();
    assert_eq!(loaded.learners, LearnersConfig { database_position: position, ..config.learners.clone() });
    assert_eq!((&loaded.state, &loaded.app, &loaded.schedule), (&config.state, &config.app, &config.schedule));
    assert_eq!(loaded.mapping, config.mapping);
}

#[test]
fn the_first_hundred_problems_are_listed_and_the_others_counted() {
    let lines = |key: &str| (0..5_000).map(|number| format!("{key}{number} = \"é\"\n")).collect::<String>();
    let filter = "[[scope.filter]]\nclauses = 1\n".repeat(5_000);
    for (more, first, further) in [
        (format!("[safety]\n{}", lines("repar")), "safety.repar0: unknown key", 4_900),
        (format!("[mapping]\n{}", lines("title")), "mapping: has 5000 entries", 901),
        (format!("[learners.columns]\n{}", lines("titl")), "learners.columns: has 5000 entries", 1_901),
        (filter, "clauses must be a list", 4_900),
        (format!("[safety]\nx = {{ {} }}", lines("a").replace('\n', ", ")), "safety.x: unknown key", 0),
        ("a = \n".repeat(300), "TOML syntax", 499),
    ] {
        let found = problems(&more);
        assert!(found.lines().next().unwrap().contains(first), "{found}");
        let last = found.lines().last().unwrap();
        match further {
            0 => assert_eq!(found.lines().count(), 1),
            further => assert_eq!((last, found.lines().count()), (&*format!("and {further} more problems"), 101)),
        }
    }
}

#[test]
fn the_state_directory_of_a_broken_file_is_guessed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("learner-sync.toml");
    let guessed = |text: &str, environment: &[(&str, &str)]| {
        std::fs::write(&path, text).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        guess_state_directory(&path, &environment).display().to_string()
    };
    for (text, expected) in [
        ("[state]\ndirectory = \"/srv/a\" # there\n[log", "/srv/a"),
        ("[entra]\ndirectory = \"/srv/a\"\n[ state", "/var/lib/learner-sync"),
        ("[state]\n# directory = \"/srv/a\"\n  directory='/srv/b'\n", "/srv/b"),
        ("[state]\n[log]\ndirectory = \"/srv/a\"\n", "/var/lib/learner-sync"),
        ("[state]\ndirectory = é\n", "/var/lib/learner-sync"),
        ("[state]\ndirectory = \"state\"", "/var/lib/learner-sync"),
    ] {
        assert_eq!(guessed(text, &[]), expected, "{text}");
    }
    assert_eq!(guessed("[state]\n", &[("LEARNER_SYNC_STATE__DIRECTORY", "/srv/c")]), "/srv/c");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(guess_state_directory(&path, &BTreeMap::new()), std::path::Path::new("/var/lib/learner-sync"));
}
