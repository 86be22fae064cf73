//! What is printed: tables and JSON on standard output, one clear line on standard error for what went wrong.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::json;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::LogFormat;
use crate::config::{Config, ConfigError, LogConfig};
use crate::cycle::CycleError;
use crate::daemon::DaemonError;
use crate::model::{Trigger, chain};
use crate::runtime::AppError;
use crate::runtime::lock::LockError;
use crate::runtime::locked_cycle::LockedCycleError;
use crate::runtime::preflight::PreflightError;
use crate::runtime::user_lookup::UserLookupError;
use crate::store::StoreError;

/// Exit codes.
pub(super) const DONE: u8 = 0;
pub(super) const FAILED: u8 = 1;
pub(super) const USAGE: u8 = 2;
pub(super) const PARTLY: u8 = 3;
pub(super) const LOCKED: u8 = 75;
pub(super) const CONFIGURATION: u8 = 78;

/// The document that `--json` prints when the command fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Json {
    None,
    /// That of `sync`, or of `plan`, which has `changes` as well.
    Cycle {
        lines: bool,
    },
    Check,
    /// `{"error"}`
    Error,
}

/// Why a command did not do what it was to do.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    /// One line a problem.
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    pub(super) fn failed(error: &dyn std::error::Error, hint: Option<String>) -> Self {
        Self { hint, ..Self::new(FAILED, chain(error)) }
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Prints it, and the document that was asked for.
    pub(super) fn report(self, json: Json) -> u8 {
        let Self { code, message, hint } = self;
        let mut error = std::io::stderr().lock();
        for line in message.lines() {
            let _ = writeln!(error, "learner-sync: {line}");
        }
        if let Some(hint) = &hint {
            let _ = writeln!(error, "  hint: {hint}");
        }
        let document = match json {
            Json::None => return code,
            Json::Error => json!({ "error": message, "hint": hint }),
            Json::Check => json!({
                "ok": false,
                "checks": [{ "name": "configuration", "ok": false, "detail": message, "hint": hint }],
            }),
            Json::Cycle { lines } => {
                let mut document = json!({
                    "cycle": null, "trigger": Trigger::Command.as_str(), "outcome": "failed", "in_scope": 0, "created": 0, "updated": 0,
                    "deactivated": 0, "reactivated": 0, "unchanged": 0, "skipped": 0, "failed": 0, "held": 0,
                    "requests": 0, "duration_ms": 0, "error": message,
                });
                if lines {
                    document["changes"] = json!([]);
                }
                document
            }
        };
        // A reader that is gone is no reason for another exit code.
        let _ = print_json(&document);
        code
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(CONFIGURATION, error.to_string())
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        Self::new(CONFIGURATION, chain(&error))
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
            error => Self { hint: error.hint(), ..Self::new(FAILED, chain(&error)) },
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
            LockedCycleError::Paused => Self::failed(&error, Some("--force runs a cycle while paused".to_owned())),
            LockedCycleError::Disabled | LockedCycleError::Stopped => Self::failed(&error, None),
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
        Self { hint: error.hint(), ..Self::new(code, chain(&error)) }
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        LockedCycleError::from(error).into()
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
            DaemonError::Lock(error) => error.into(),
            DaemonError::Preflight(error) => error.into(),
            DaemonError::Signals(_) | DaemonError::Scheduler(_) | DaemonError::SourceUnknown => {
                Self::failed(&error, None)
            }
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(&error, None)
    }
}

/// Logs go to standard error, or to the journal.
pub(super) fn start_logging(log: &LogConfig) -> Result<(), Failure> {
    let LogConfig { format, level, retention: _ } = log;
    let invalid = |message: String| Failure::new(CONFIGURATION, message);
    // The scheduler tells of every timer it sets, sled in its own words what the cache tells in ours, and sqlx at every
    // connection what it thinks of a .pgpass that nobody may have meant for us; a directive of the administrator's for them
    // comes later and wins.
    let directives = format!("tokio_cron_scheduler=warn,sled=off,sqlx_postgres::options=off,{level}");
    let filter = EnvFilter::try_new(directives).map_err(|error| invalid(format!("log.level: {error}")))?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => {
            registry.with(layer.with_target(false).with_ansi(std::io::stderr().is_terminal())).try_init()
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
        LogFormat::Journald => {
            let journal = tracing_journald::layer()
                .map_err(|error| invalid(format!("log.format: there is no systemd journal here: {error}")))?;
            registry.with(journal).try_init()
        }
    };
    started.map_err(|error| Failure::failed(&error, None))
}

pub(super) fn print_json(document: &serde_json::Value) -> std::io::Result<()> {
    print(&format!("{document:#}"))
}

/// A line, or several, on standard output. A reader that has seen enough, such as `head`, is no failure.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// A line for each reason for which no cycle runs.
pub(super) fn switched_off(config: &Config, paused: bool) -> Vec<&'static str> {
    let off = "provisioning.users = false in the configuration: no cycle runs until it is true.";
    let paused_line = "Provisioning is paused; `learner-sync resume` switches it on again.";
    let reasons = [(!config.provisioning.users, off), (paused, paused_line)];
    reasons.into_iter().filter_map(|(holds, line)| holds.then_some(line)).collect()
}

/// No table is made narrower.
const NARROWEST: u16 = 60;

/// Text from elsewhere, such as a user name, without what would move the cursor of a terminal, or have it show letters in
/// another order than they are written.
pub(super) fn shown(text: &str) -> String {
    let shows = |letter: char| !letter.is_control() && !turns(letter);
    text.chars().map(|letter| if shows(letter) { letter } else { '\u{fffd}' }).collect()
}

/// Whether it is one of Unicode's bidirectional controls.
fn turns(letter: char) -> bool {
    matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A table with the given heads; as wide as the terminal, when there is one.
pub(super) fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    // A terminal that does not know its width says 0, and a table of one letter a line helps nobody.
    if table.width().is_some_and(|width| width < NARROWEST) {
        table.set_width(NARROWEST);
    }
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(heads);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_moves_the_cursor_or_turns_the_text() {
        for letter in "\n\r\t\u{7}\u{1b}\u{9b}\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}"
            .chars()
        {
            assert_eq!(shown(&format!("ada{letter}nimda")), "ada\u{fffd}nimda", "{letter:?}");
        }
        // Right to left by themselves, and joiners that words and emoji are written with.
        for text in ["Åsa Öberg", "محمد", "דוד", "می\u{200c}خواهم", "👩\u{200d}🎓"] {
            assert_eq!(shown(text), text);
        }
    }
}
