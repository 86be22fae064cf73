//! The operational log: text or JSON on standard error, or entries with priority and fields in the systemd journal.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::output::{CONFIGURATION, Failure};
use super::progress::LogLines;
use super::visible_events::VisibleEvents;
use crate::config::{self, Config, LogConfig, LogFormat};

/// Prefix of the fields in the journal: the field `cycle.id` is `LEARNER_SYNC_CYCLE_ID` there.
const JOURNAL_PREFIX: &str = "LEARNER_SYNC";

/// Logging starts once per process.
pub(super) fn start_logging(log: &LogConfig) -> Result<(), Failure> {
    let LogConfig { format, level, retention: _ } = log;
    let invalid = |message: String| Failure::new(CONFIGURATION, message);
    // The scheduler logs every timer, and as an error that a due one was replaced before its turn; the daemon does not
    // need the scheduler to fire. sled and the verifier of certificates log what the program reports already, and sqlx
    // complains about an unrelated .pgpass at every connection. A directive in log.level comes later and wins.
    let quiet = "tokio_cron_scheduler=warn,tokio_cron_scheduler::scheduler=off,sled=off,rustls_platform_verifier=off,\
                 sqlx_postgres::options=off";
    let directives = format!("{quiet},{level}");
    let filter = EnvFilter::try_new(directives).map_err(|error| invalid(format!("log.level: {error}")))?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(|| LogLines);
    let journal = match format {
        LogFormat::Auto if is_journal_connected() => tracing_journald::layer().ok(),
        LogFormat::Journald => {
            let journal = tracing_journald::layer();
            Some(journal.map_err(|error| invalid(format!("log.format: no systemd journal is available: {error}")))?)
        }
        LogFormat::Auto | LogFormat::Text | LogFormat::Json => None,
    };
    let started = match (journal, format) {
        (Some(journal), _) => {
            let journal = journal.with_field_prefix(Some(JOURNAL_PREFIX.to_owned()));
            registry.with(VisibleEvents { layer: journal, has_complete_message: true }).try_init()
        }
        (None, LogFormat::Json) => {
            let layer = layer.json().flatten_event(true);
            registry.with(VisibleEvents { layer, has_complete_message: false }).try_init()
        }
        (None, _) => {
            let layer = layer.with_target(false).with_ansi(std::io::stderr().is_terminal());
            registry.with(VisibleEvents { layer, has_complete_message: false }).try_init()
        }
    };
    started.map_err(|error| Failure::failed(&error, None))
}

/// Starts logging unless it has started, and logs the warnings of the configuration.
pub(super) fn start_once(config: &Config) -> Result<(), Failure> {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if STARTED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    start_logging(&config.log)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(())
}

/// Whether systemd has connected standard error to the journal: then `JOURNAL_STREAM` is its device and inode.
///
/// <https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#%24JOURNAL_STREAM>
pub(super) fn is_journal_connected() -> bool {
    let environment = config::environment();
    let Some(stream) = environment.get("JOURNAL_STREAM") else { return false };
    // A redirected standard error still has the variable.
    let stat = rustix::fs::fstat(std::io::stderr().as_fd());
    stat.is_ok_and(|stat| *stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}
