//! The first configuration of an installation: the keys that it needs, and their text.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{database, formats};
use crate::files;
use crate::model::{hides_something, is_visible, shell_word};

/// A key that a first configuration sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FirstKey {
    TenantId,
    ClientId,
    EnterpriseApp,
    SecretFile,
    DatabaseUrl,
}

impl FirstKey {
    pub(crate) const ALL: [Self; 5] =
        [Self::TenantId, Self::ClientId, Self::EnterpriseApp, Self::SecretFile, Self::DatabaseUrl];

    /// Checks a value as [`super::load`] does.
    ///
    /// # Errors
    /// The problem, without the value, which could be a secret.
    pub(crate) fn check(self, value: &str) -> Result<(), String> {
        match self {
            Self::TenantId => formats::tenant(value).map(drop),
            Self::ClientId | Self::EnterpriseApp => formats::id(value).map(drop),
            Self::SecretFile => formats::absolute_path(value).map(drop),
            Self::DatabaseUrl => database::database(value).map(drop),
        }
    }
}

/// The values of a first configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirstConfig {
    pub(crate) tenant_id: String,
    pub(crate) client_id: String,
    pub(crate) enterprise_app: String,
    pub(crate) secret_file: String,
    pub(crate) database_url: String,
    /// The file that `learners.password_file` may name.
    pub(crate) password_file: String,
    /// `state.directory`, if it is not the default.
    pub(crate) state_directory: Option<String>,
}

impl FirstConfig {
    /// The configuration file.
    pub(crate) fn text(&self) -> String {
        let Self { tenant_id, client_id, enterprise_app, secret_file, database_url, password_file, state_directory } =
            self;
        let [tenant_id, client_id, enterprise_app, secret_file, database_url, password_file] =
            [tenant_id, client_id, enterprise_app, secret_file, database_url, password_file].map(|value| quoted(value));
        let password = if database_url.contains("postgres") {
            format!(
                "# The password of the role. Over the socket of this machine, PostgreSQL needs none.\n\
                 #password_file = {password_file}\n"
            )
        } else {
            String::new()
        };
        let state = state_directory.as_ref().map_or_else(String::new, |directory| {
            let directory = quoted(directory);
            format!(
                "\n[state]\n# The cache and the lock. Each daemon needs its own directory.\ndirectory = {directory}\n"
            )
        });
        format!(
            "# learner-sync configuration, written by `learner-sync init`.\n\
             #\n\
             # Every other key has a default. learner-sync.toml(5) documents all of them; so does\n\
             # {EXAMPLE}.\n\
             # `learner-sync check` tests this file. Do not write secrets into it.\n\
             \n\
             [entra]\n\
             # The \"Directory (tenant) ID\" on the Overview page of the app registration, or a domain of the tenant.\n\
             tenant_id = {tenant_id}\n\
             # The \"Application (client) ID\" on the same page.\n\
             client_id = {client_id}\n\
             \n\
             [entra.credential]\n\
             # A file that contains only the value of the client secret. Owner root:learner-sync, mode 0640.\n\
             # For a certificate, read `learner-sync guide installing`.\n\
             secret_file = {secret_file}\n\
             \n\
             [app]\n\
             # The \"Object ID\" on the Overview page of the enterprise application whose users become learners.\n\
             enterprise_app = {enterprise_app}\n\
             \n\
             [learners]\n\
             # An SQLite file, or a database on a PostgreSQL server (`learner-sync guide postgresql`).\n\
             database_url = {database_url}\n\
             {password}\
             \n\
             [safety]\n\
             # More deactivations in 24 hours than this are held until `learner-sync approve`.\n\
             #max_deactivations = 500\n\
             #max_deactivation_percent = 20\n\
             # Users that are never deactivated: user names or object IDs.\n\
             #protected = []\n\
             {state}"
        )
    }
}

/// The documented configuration, as packages install it.
pub(super) const EXAMPLE: &str = "/usr/share/doc/learner-sync/examples/learner-sync.toml";

/// The ways to a first configuration, for the message about a missing one.
pub(super) fn advice() -> String {
    // A system can omit documentation.
    let example = if Path::new(EXAMPLE).exists() { EXAMPLE } else { "config/learner-sync.toml of the source" };
    format!("; create it with `learner-sync init`, or copy {example} and edit the copy")
}

/// A text as TOML: a basic string, or a literal string if that needs no escapes.
pub(crate) fn quoted(text: &str) -> String {
    if !text.contains(['"', '\\']) && !hides_something(text) {
        return format!("\"{text}\"");
    }
    if !text.contains('\'') && !hides_something(text) {
        return format!("'{text}'");
    }
    // TOML has the escapes of JSON, except for surrogates.
    let escape = |letter: char| match letter {
        _ if is_visible(letter) => letter.to_string(),
        letter => format!("\\U{:08x}", u32::from(letter)),
    };
    serde_json::Value::from(text).to_string().chars().map(escape).collect()
}

/// The advice for a file that another user can read.
pub(super) fn other_user_advice(path: &Path) -> String {
    // A file of root is readable for the group of the service user.
    let owner = path.metadata().ok().map(|metadata| metadata.uid()).filter(|owner| *owner != 0);
    let user = owner.and_then(files::user_name).unwrap_or_else(|| "learner-sync".to_owned());
    format!("; run the command as the service user: sudo -u {} learner-sync ...", shell_word(&user))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Config, CredentialConfig, DatabaseConfig, parse};

    const ID: &str = "0a1b2c3d-0000-4000-8000-00000000abcd";

    fn first(database_url: &str, secret_file: &str, state_directory: Option<&str>) -> FirstConfig {
        FirstConfig {
            tenant_id: "contoso.onmicrosoft.com".to_owned(),
            client_id: ID.to_owned(),
            enterprise_app: ID.to_owned(),
            secret_file: secret_file.to_owned(),
            database_url: database_url.to_owned(),
            password_file: "/etc/learner-sync/b-database-password".to_owned(),
            state_directory: state_directory.map(str::to_owned),
        }
    }

    fn loaded(first: &FirstConfig) -> Config {
        let text = first.text();
        parse(Path::new("learner-sync.toml"), &text, &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn quoting() {
        for (text, expected) in [
            (r#"Join(" ", [a])"#, r#"'Join(" ", [a])'"#),
            ("it's", "\"it's\""),
            ("it's \"so\"", r#""it's \"so\"""#),
            ("a\nb\t\u{7f}\u{202e}\\", r#""a\nb\t\U0000007f\U0000202e\\""#),
            (r"C:\dir", r"'C:\dir'"),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn a_first_configuration_loads_whatever_is_in_its_values() {
        let odd =
            ["/srv/a b", "/srv/it's", "/srv/\"quoted\"", r"/srv/back\slash", "/srv/'both\"\\", "/srv/ü\u{202e}\t#"];
        for path in odd {
            let config = loaded(&first(&format!("sqlite://{path}/learners.db"), path, Some(path)));
            assert_eq!(config.learners.database, DatabaseConfig::Sqlite { path: format!("{path}/learners.db").into() });
            let secret_file = Some(PathBuf::from(path));
            assert_eq!(config.entra.credential, CredentialConfig::ClientSecret { secret_file });
            assert_eq!(config.state.directory, Path::new(path));
        }
        for url in [
            "postgres://learner_sync@db.example.org:5433/training?sslmode=verify-full&sslrootcert=/etc/ssl/it's\\.pem",
            "postgres://localhost/training?host=/run/post\"gresql",
        ] {
            let first = first(url, "/etc/learner-sync/client-secret", None);
            assert!(first.text().contains("\n#password_file = \"/etc/learner-sync/b-database-password\"\n"));
            let config = loaded(&first);
            assert_eq!(config.learners.database, DatabaseConfig::Postgres { url: url.to_owned() });
            assert_eq!(
                (config.entra.tenant_id.as_str(), config.app.enterprise_app),
                ("contoso.onmicrosoft.com", ID.parse().unwrap())
            );
            assert_eq!(
                (config.entra.client_id.as_deref(), config.state.directory),
                (Some(ID), "/var/lib/learner-sync".into())
            );
        }
    }
}
