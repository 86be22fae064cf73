//! `learner-sync init`: writes the first configuration, and prints the commands that register the application in Entra ID.

mod registration;

use std::collections::BTreeMap;
use std::io::{BufRead, ErrorKind, IsTerminal, Read};
use std::path::{Path, PathBuf};

use self::registration::Registration;
use super::output::{DONE, FAILED, Failure, USAGE, print, print_labelled, print_sentences};
use crate::config::{FirstConfig, FirstKey, has_unit, instance_of, secret_file_of, state_directory_of, unit_of};
use crate::files;
use crate::model::shell_word;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The Directory (tenant) ID of the app registration, or a domain of the tenant.
    #[arg(long, value_name = "ID")]
    tenant_id: Option<String>,
    /// The Application (client) ID of the app registration.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The Object ID of the enterprise application whose users become learners.
    #[arg(long, value_name = "ID")]
    enterprise_app: Option<String>,
    /// The file with the client secret; it may be created later. Default: /etc/learner-sync/client-secret, or
    /// NAME-client-secret for the file NAME.toml of one of several tenants.
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    secret_file: Option<String>,
    /// The learner database, without a password. Default: an SQLite file in /var/lib/learner-sync, or in
    /// /var/lib/learner-sync/NAME for one of several tenants.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// The file to write, which must not exist yet. Default: the file that --config names. The unit learner-sync@NAME
    /// reads /etc/learner-sync/NAME.toml.
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
}

/// The system group that may read the configuration.
const GROUP: &str = "learner-sync";
/// Longer than any value.
const MAX_ANSWER: u64 = 4 << 10;

pub(super) fn run(arguments: Arguments, config: &Path) -> Result<u8, Failure> {
    let Arguments { tenant_id, client_id, enterprise_app, secret_file, database_url, output } = arguments;
    let output = std::path::absolute(output.as_deref().unwrap_or(config))?;
    refuse_existing(&output)?;
    let given = [tenant_id, client_id, enterprise_app, secret_file, database_url];
    let mut values = BTreeMap::new();
    for (key, value) in FirstKey::ALL.into_iter().zip(given) {
        let Some(value) = value else { continue };
        let value = value.trim();
        key.check(value).map_err(|problem| Failure::new(USAGE, format!("{}: {problem}", flag(key))))?;
        values.insert(key, value.to_owned());
    }
    ask_or_default(&mut values, &output)?;
    let [tenant_id, client_id, enterprise_app, secret_file, database_url] =
        FirstKey::ALL.map(|key| values.remove(&key).unwrap_or_default());
    let state_directory = instance_of(&output).map(|_| state_directory_of(&output));
    let password_file = secret_file_of(&output, "database-password");
    let first =
        FirstConfig { tenant_id, client_id, enterprise_app, secret_file, database_url, password_file, state_directory };
    let has_group = write(&output, &first)?;
    print_next_steps(&output, &first, has_group)?;
    Ok(DONE)
}

fn flag(key: FirstKey) -> &'static str {
    match key {
        FirstKey::TenantId => "--tenant-id",
        FirstKey::ClientId => "--client-id",
        FirstKey::EnterpriseApp => "--enterprise-app",
        FirstKey::SecretFile => "--secret-file",
        FirstKey::DatabaseUrl => "--database-url",
    }
}

fn question(key: FirstKey) -> &'static str {
    match key {
        FirstKey::TenantId => "Directory (tenant) ID, or a domain of the tenant",
        FirstKey::ClientId => {
            "Application (client) ID of the app registration of learner-sync; Enter prints the commands that create one"
        }
        FirstKey::EnterpriseApp => "Object ID of the enterprise application whose users become learners",
        FirstKey::SecretFile => "File with the client secret, which you can create later",
        FirstKey::DatabaseUrl => {
            "Learner database: sqlite:///FILE, or postgres://USER@HOST/DATABASE without a password"
        }
    }
}

fn default(key: FirstKey, output: &Path) -> Option<String> {
    match key {
        FirstKey::TenantId | FirstKey::ClientId | FirstKey::EnterpriseApp => None,
        FirstKey::SecretFile => Some(secret_file_of(output, "client-secret")),
        FirstKey::DatabaseUrl => Some(format!("sqlite://{}/learners.db", state_directory_of(output))),
    }
}

/// Completes the values: by asking on a terminal, and otherwise by defaults.
fn ask_or_default(values: &mut BTreeMap<FirstKey, String>, output: &Path) -> Result<(), Failure> {
    let missing: Vec<FirstKey> = FirstKey::ALL.into_iter().filter(|key| !values.contains_key(key)).collect();
    let asks = std::io::stdin().is_terminal();
    let without_default = missing.iter().filter(|key| default(**key, output).is_none());
    let flags: Vec<&str> = without_default.map(|key| flag(*key)).collect();
    if !asks && !flags.is_empty() {
        let message = format!("no terminal to ask on, and these flags are missing: {}", flags.join(", "));
        return Err(Failure::new(USAGE, message));
    }
    if asks && !missing.is_empty() {
        print_sentences(&format!("This writes {}. Enter accepts a value in brackets.", output.display()))?;
    }
    for key in missing {
        let value = match default(key, output) {
            Some(default) if !asks => default,
            default => ask(key, default, values, output)?,
        };
        values.insert(key, value);
    }
    Ok(())
}

/// Asks until the answer is valid.
fn ask(
    key: FirstKey,
    default: Option<String>,
    values: &BTreeMap<FirstKey, String>,
    output: &Path,
) -> Result<String, Failure> {
    loop {
        let shown = default.as_ref().map_or_else(String::new, |default| format!(" [{default}]"));
        print_sentences(&format!("{}{shown}:", question(key)))?;
        let mut line = String::new();
        if std::io::stdin().lock().take(MAX_ANSWER).read_line(&mut line)? == 0 {
            return Err(Failure::new(FAILED, "cancelled; nothing was written"));
        }
        let answer = match (line.trim(), &default) {
            ("", Some(default)) => default.clone(),
            ("", None) if key == FirstKey::ClientId => {
                let tenant = values.get(&FirstKey::TenantId).map(String::as_str);
                let secret_file = values.get(&FirstKey::SecretFile).cloned();
                let secret_file = secret_file.unwrap_or_else(|| secret_file_of(output, "client-secret"));
                let (secret_file, certificate) = (Some(&*secret_file), secret_file_of(output, "certificate.pem"));
                Registration { tenant, secret_file, certificate: Some(&certificate), ..Registration::default() }
                    .print()?;
                continue;
            }
            (answer, _) => answer.to_owned(),
        };
        match key.check(&answer) {
            Ok(()) => return Ok(answer),
            Err(problem) => print_labelled("  ", &problem)?,
        }
    }
}

fn refuse_existing(output: &Path) -> Result<(), Failure> {
    if output.symlink_metadata().is_ok() {
        return Err(exists(output));
    }
    Ok(())
}

fn exists(output: &Path) -> Failure {
    let message = format!("{} exists already, and is never overwritten; nothing was written", output.display());
    let hint = "edit the file, or name another one with --output".to_owned();
    Failure { hint: Some(hint), ..Failure::new(FAILED, message) }
}

/// Whether the daemon can read the file as a member of its group, as far as root can bring that about.
fn write(output: &Path, first: &FirstConfig) -> Result<bool, Failure> {
    const MODE: u32 = 0o640;
    files::create_new(output, &first.text(), MODE, GROUP).map_err(|error| {
        let directory = output.parent().unwrap_or(output);
        let word = shell_word(&directory.display().to_string());
        let hint = match error.kind() {
            ErrorKind::AlreadyExists => return exists(output),
            ErrorKind::NotFound => {
                Some(format!("create the directory: sudo install -d -m 0750 -g learner-sync {word}"))
            }
            ErrorKind::PermissionDenied => Some("run it as root: sudo learner-sync init".to_owned()),
            _ => files::read_only_hint(directory, &error),
        };
        Failure { hint, ..Failure::new(FAILED, format!("cannot write {}: {error}", output.display())) }
    })
}

fn print_next_steps(output: &Path, first: &FirstConfig, has_group: bool) -> Result<(), Failure> {
    let certificate = secret_file_of(output, "certificate.pem");
    let registration = Registration {
        tenant: Some(&first.tenant_id),
        client: Some(&first.client_id),
        enterprise_app: Some(&first.enterprise_app),
        secret_file: Some(&first.secret_file),
        certificate: Some(&certificate),
    };
    let (shown, word) = (output.display(), shell_word(&output.display().to_string()));
    let config = if output == Path::new(super::DEFAULT_CONFIG) { String::new() } else { format!(" --config {word}") };
    print_sentences(&format!("Wrote {shown}."))?;
    if !has_group {
        print_sentences(&format!(
            "\nWarning: the group {GROUP} does not exist, so the daemon cannot read this file. Install the package, or \
             run systemd-sysusers, and then:"
        ))?;
        print(&format!("\n    sudo chgrp {GROUP} {word}"))?;
    }
    print("")?;
    registration.print()?;
    let start = match has_unit(output) {
        true => {
            let unit = unit_of(output);
            format!("sudo systemctl enable --now {}", shell_word(unit.trim_end_matches(".service")))
        }
        false => format!("sudo -u learner-sync learner-sync run{config}"),
    };
    print(&format!(
        "\nThen test it, look at the plan, and start the daemon:\n\n    \
         sudo -u learner-sync learner-sync check{config}\n    \
         sudo -u learner-sync learner-sync plan{config}\n    \
         {start}\n"
    ))?;
    if !has_unit(output) {
        print_sentences(
            "No systemd unit reads this file. The unit learner-sync reads /etc/learner-sync/learner-sync.toml, and \
             learner-sync@NAME reads /etc/learner-sync/NAME.toml; `init` writes either of them with --output.\n",
        )?;
    }
    print_sentences("`learner-sync guide going-live` explains each step.")?;
    Ok(())
}
