//! Output: tables and JSON on standard output, failures on standard error.

use std::io::Write;
use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::DEFAULT_CONFIG;
use super::logging::is_journal_connected;
use super::narrow::{labelled, wrap};
use crate::config::{Config, ConfigError, secret_file_of};
use crate::cycle::CycleError;
use crate::daemon::DaemonError;
use crate::model::{ProvisioningState, Trigger, chain, shell_word, visible};
use crate::runtime::AppError;
use crate::runtime::lock::LockError;
use crate::runtime::locked_cycle::LockedCycleError;
use crate::runtime::preflight::PreflightError;
use crate::runtime::user_lookup::UserLookupError;
use crate::store::StoreError;
pub(super) use crate::view::{action_in_words, counted, local_time, shown, value_text, visible_json, with_ends};

/// Exit codes.
pub(super) const DONE: u8 = 0;
pub(super) const FAILED: u8 = 1;
pub(super) const USAGE: u8 = 2;
pub(super) const PARTLY: u8 = 3;
pub(super) const LOCKED: u8 = 75;
pub(super) const CONFIGURATION: u8 = 78;

/// The document that a failed command prints with `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureDocument {
    None,
    /// That of `sync`, or of `plan`, which has `changes` as well.
    Cycle {
        lines: bool,
    },
    Check,
    /// The line of `check` without `--json`.
    CheckLine,
    /// `{"error"}`
    Error,
    /// `{"state", "since", "reason", "exit_code", "error", "hint"}`
    Status,
}

/// The format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OutputFormat {
    /// For reading.
    Table,
    /// One JSON document.
    Json,
    /// With a header; changes are JSON.
    Csv,
}

/// A failed command.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: u8,
    /// One line per problem.
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// Whether the learner database or the disk is the cause.
    pub(super) is_blocked: bool,
}

impl Failure {
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, is_blocked: false }
    }

    pub(super) fn failed(error: &dyn std::error::Error, hint: Option<String>) -> Self {
        Self { hint, ..Self::new(FAILED, chain(error)) }
    }

    /// For a command with `--wait`, which has not been given.
    pub(super) fn suggesting_wait(self) -> Self {
        match self.code {
            LOCKED => Self { hint: Some("--wait waits until it has ended".to_owned()), ..self },
            _ => self,
        }
    }

    /// Prints the failure, and the document for `--json`.
    pub(super) fn report(self, document: FailureDocument) -> u8 {
        let Self { message, hint, .. } = &self;
        // systemd reads the priority of a line from this prefix: 3 is an error.
        let priority = if is_journal_connected() { "<3>" } else { "" };
        let mut error = std::io::stderr().lock();
        for line in message.lines() {
            let _ = writeln!(error, "{priority}learner-sync: {}", visible(line));
        }
        if let Some(hint) = hint {
            let _ = writeln!(error, "{priority}  hint: {}", visible(hint));
        }
        let code = self.code;
        if document == FailureDocument::CheckLine && code == CONFIGURATION {
            let _ = print_labelled("FAIL configuration        ", message.lines().next().unwrap_or_default());
        }
        if let Some(document) = self.document(document) {
            // A closed standard output does not change the exit code.
            let _ = print_json(&document);
        }
        code
    }

    /// The document for `--json`.
    pub(super) fn document(self, document: FailureDocument) -> Option<Value> {
        let Self { code, message, hint, is_blocked } = self;
        let document = match document {
            FailureDocument::None | FailureDocument::CheckLine => return None,
            FailureDocument::Error => json!({ "error": message, "hint": hint }),
            FailureDocument::Status => {
                let state = is_blocked.then_some(ProvisioningState::Blocked.as_str());
                json!({
                    "state": state, "since": null, "reason": message, "exit_code": code, "error": message, "hint": hint,
                })
            }
            FailureDocument::Check => json!({
                "ok": false,
                "checks": [{ "name": "configuration", "ok": false, "detail": message, "hint": hint }],
            }),
            FailureDocument::Cycle { lines } => {
                let mut document = json!({
                    "cycle": null, "trigger": Trigger::Command.as_str(), "outcome": "failed", "in_scope": 0, "created": 0, "updated": 0,
                    "deactivated": 0, "reactivated": 0, "unchanged": 0, "skipped": 0, "failed": 0, "held": 0,
                    "requests": 0, "duration_ms": 0, "error": message,
                });
                if lines {
                    document["changes"] = json!([]);
                    document["full_comparison"] = json!(null);
                }
                document
            }
        };
        Some(document)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = error.missing_credential.map(|credential| systemd_run_hint(credential, &error.path));
        Self { hint, ..Self::new(if error.is_shortage { FAILED } else { CONFIGURATION }, error.to_string()) }
    }
}

/// How this command gets a secret that systemd hands to the unit.
fn systemd_run_hint(credential: &str, config: &Path) -> String {
    let files: &[(&str, &str)] = match credential {
        "client-secret" => &[("client-secret", "client-secret")],
        _ => &[("certificate", "certificate.pem"), ("private-key", "private-key.pem")],
    };
    let property = |(name, file): &(&str, &str)| {
        let property = format!("LoadCredential={name}:{}", secret_file_of(config, file));
        format!(" --property={}", shell_word(&property))
    };
    let arguments = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    format!(
        "if the unit has LoadCredential={credential}:…, run: sudo systemd-run --pipe --wait --collect --quiet \
         --property=User=learner-sync{} learner-sync{}",
        files.iter().map(property).collect::<String>(),
        words_elsewhere(arguments, config),
    )
}

/// The arguments for a shell in another directory and with another environment, both of which can name the
/// configuration.
fn words_elsewhere(arguments: impl Iterator<Item = String>, config: &Path) -> String {
    let mut follows_option = false;
    let others = arguments.filter(|word| {
        let is_path = std::mem::replace(&mut follows_option, word == "--config");
        !is_path && !follows_option && !word.starts_with("--config=")
    });
    let others: Vec<String> = others.collect();
    let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    let named = match config == Path::new(DEFAULT_CONFIG) {
        true => Vec::new(),
        false => vec!["--config".to_owned(), config.display().to_string()],
    };
    others.iter().chain(&named).map(|word| format!(" {}", shell_word(word))).collect()
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Config(error) => error.into(),
            error => Self::new(CONFIGURATION, chain(&error)),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        PreflightError::from(error).into()
    }
}

impl From<CycleError> for Failure {
    fn from(error: CycleError) -> Self {
        match error {
            CycleError::Store(error) => error.into(),
            error => Self::failed(&error, error.hint()),
        }
    }
}

impl From<LockedCycleError> for Failure {
    fn from(error: LockedCycleError) -> Self {
        match error {
            LockedCycleError::Locked(_) => Self::new(LOCKED, chain(&error)),
            LockedCycleError::Preflight(error) => error.into(),
            LockedCycleError::Store(error) => error.into(),
            LockedCycleError::User(error) => (*error).into(),
            LockedCycleError::Paused => Self::failed(&error, Some("--force runs the cycle anyway".to_owned())),
            LockedCycleError::Disabled | LockedCycleError::NotDue(_) | LockedCycleError::Stopped => {
                Self::failed(&error, None)
            }
        }
    }
}

impl From<UserLookupError> for Failure {
    fn from(error: UserLookupError) -> Self {
        match error {
            UserLookupError::Store(error) => error.into(),
            UserLookupError::Directory(error) => CycleError::Directory(error).into(),
            UserLookupError::NoSuchUser(_) | UserLookupError::NotRelinked(_) => Self::failed(&error, None),
        }
    }
}

impl From<PreflightError> for Failure {
    fn from(error: PreflightError) -> Self {
        let code = if error.is_misconfiguration() { CONFIGURATION } else { FAILED };
        Self { hint: error.hint(), is_blocked: true, ..Self::new(code, chain(&error)) }
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::App(error) => error.into(),
            DaemonError::Lock(LockError::Held(holder)) => {
                Self::new(LOCKED, format!("a daemon is already running on this state.directory: {holder}"))
            }
            DaemonError::SourceLocked(_) => Self::new(LOCKED, error.to_string()),
            DaemonError::Lock(error) => LockedCycleError::from(error).into(),
            DaemonError::Preflight(error) => error.into(),
            DaemonError::Signals(_)
            | DaemonError::Scheduler(_)
            | DaemonError::SourceUnknown
            | DaemonError::ReloadPanicked
            | DaemonError::ReloadTimedOut => Self::failed(&error, None),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let hint = (error.kind() == std::io::ErrorKind::StorageFull)
            .then(|| "the disk of the file is full to which the output goes".to_owned());
        Self { hint, ..Self::failed(&error, None) }
    }
}

/// `is` or `are`.
pub(super) fn is_or_are(number: usize) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

pub(super) fn print_json(document: &Value) -> std::io::Result<()> {
    write_line(&visible_json(format!("{document:#}")))
}

/// Prints a document as one line.
pub(super) fn print_json_line(document: &Value) -> std::io::Result<()> {
    write_line(&visible_json(document.to_string()))
}

/// Prints lines on standard output, without characters that would hide or rearrange something.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    write_line(&visible_lines(text))
}

/// Prints sentences, which break between words at the end of a line of the terminal.
pub(super) fn print_sentences(text: &str) -> std::io::Result<()> {
    match line_width() {
        Some(width) => print(&wrap(text, width)),
        None => print(text),
    }
}

/// Prints a text beside its label, as `print_sentences` does.
pub(super) fn print_labelled(label: &str, text: &str) -> std::io::Result<()> {
    print(&labelled(label, text, line_width()))
}

/// The columns of the terminal; `None` for a file or pipe, which gets each text as one line.
pub(super) fn line_width() -> Option<usize> {
    table(&[]).width().map(usize::from)
}

/// Writes to standard output as it is.
pub(super) fn print_bytes(bytes: &[u8]) -> std::io::Result<()> {
    unless_closed(std::io::stdout().lock().write_all(bytes))
}

fn write_line(text: &str) -> std::io::Result<()> {
    unless_closed(writeln!(std::io::stdout().lock(), "{text}"))
}

/// A reader that closes standard output early, such as `head`, is not a failure.
fn unless_closed(written: std::io::Result<()>) -> std::io::Result<()> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

pub(super) fn visible_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// Prints why no cycle runs.
pub(super) fn print_obstacles(config: &Config, paused: bool) -> std::io::Result<()> {
    if !config.provisioning.users {
        print_sentences("Provisioning is disabled: no cycle runs while provisioning.users = false.")?;
    }
    if paused {
        print_sentences("Provisioning is paused; resume it with `learner-sync resume`.")?;
    }
    Ok(())
}

/// The width of a terminal that does not know its own.
const UNKNOWN_WIDTH: u16 = 80;
/// The minimum width of a line: an id or a time, indented.
const MIN_WIDTH: u16 = 40;

/// A table with these headers, as wide as the terminal.
pub(super) fn table(headers: &[&str]) -> Table {
    let mut table = Table::new();
    match table.width() {
        Some(0) => drop(table.set_width(UNKNOWN_WIDTH)),
        Some(width) if width < MIN_WIDTH => drop(table.set_width(MIN_WIDTH)),
        Some(_) | None => {}
    }
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(headers);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_the_secret_of_the_tenant() {
        for (config, expected) in [
            (
                "/etc/learner-sync/learner-sync.toml",
                " --property=LoadCredential=client-secret:/etc/learner-sync/client-secret ",
            ),
            ("/etc/learner-sync/b.toml", " --property=LoadCredential=client-secret:/etc/learner-sync/b-client-secret "),
        ] {
            let hint = systemd_run_hint("client-secret", Path::new(config));
            assert!(hint.contains(expected), "{hint}");
        }
        let hint = systemd_run_hint("certificate", Path::new("/etc/learner-sync/b.toml"));
        assert!(hint.contains("certificate:/etc/learner-sync/b-certificate.pem"), "{hint}");
        assert!(hint.contains("private-key:/etc/learner-sync/b-private-key.pem"), "{hint}");
    }

    #[test]
    fn arguments_for_another_directory_name_the_configuration() {
        let tenant = Path::new("/etc/learner-sync/b.toml");
        let here = std::path::absolute("b.toml").unwrap();
        let named = format!(" check --config {}", here.display());
        for (arguments, config, expected) in [
            ("check", Path::new(DEFAULT_CONFIG), " check"),
            ("--config /etc/learner-sync/learner-sync.toml check", Path::new(DEFAULT_CONFIG), " check"),
            // The environment names it.
            ("check --json", tenant, " check --json --config /etc/learner-sync/b.toml"),
            ("--config b.toml check", Path::new("b.toml"), &*named),
            ("check --config=b.toml", Path::new("b.toml"), &named),
        ] {
            assert_eq!(words_elsewhere(arguments.split(' ').map(str::to_owned), config), expected);
        }
    }

    #[test]
    fn output_hides_nothing() {
        let text = "Ada\u{202e}\u{9b}2J\n\u{1b}[2JÅsa\ttab";
        assert_eq!(visible_lines(text), "Ada\\u{202e}\\u{9b}2J\n\\u{1b}[2JÅsa tab");
        let document = json!({ "name\u{feff}": "Ada\u{202e}\u{9b}\u{1b}\u{e0041}\u{7f} Åsa\n👩\u{200d}🎓" });
        let printed = visible_json(document.to_string());
        assert_eq!(printed, r#"{"name\ufeff":"Ada\u202e\u009b\u001b\udb40\udc41\u007f Åsa\n👩\u200d🎓"}"#);
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), document);
        assert_eq!(visible_json(format!("{:#}", json!({ "a": 1 }))), "{\n  \"a\": 1\n}");
    }
}
