//! What a daemon records about itself in the learner database.

use std::time::Duration;

use super::app::App;
use crate::config::{Config, DatabaseConfig, ScheduleConfig};
use crate::model::DaemonPlace;
use crate::store::{Registration, TurnLimits, host_name};

/// How long a daemon may be late or silent before another one takes over.
const TAKE_OVER_AFTER: Duration = Duration::from_mins(1);
/// Signs of life need some time.
const LEAST_TAKE_OVER: Duration = Duration::from_secs(3);
/// The longest wait after repeated refusals by Entra.
pub(crate) const MAX_BACKOFF: Duration = Duration::from_hours(1);

/// How long a daemon may be late or silent before another one takes over: not longer than an interval.
pub fn take_over_after(schedule: &ScheduleConfig) -> Duration {
    schedule.min_interval.clamp(LEAST_TAKE_OVER, TAKE_OVER_AFTER)
}

/// The limits by which the daemons of one source take turns.
pub fn turn_limits(schedule: &ScheduleConfig) -> TurnLimits {
    let longest = schedule.max_interval.max(schedule.min_interval).max(MAX_BACKOFF);
    TurnLimits { grace: take_over_after(schedule), longest }
}

/// Whether several daemons may serve one source: a server keeps the learners.
pub fn is_shared(config: &Config) -> bool {
    matches!(config.learners.database, DatabaseConfig::Postgres { .. })
}

/// Where the daemon of this configuration runs.
pub fn daemon_place(config: &Config) -> DaemonPlace {
    let directory = &config.state.directory;
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
    DaemonPlace { host: host_name(), state_directory: directory.display().to_string() }
}

/// The record of this process, which has been running for this time.
pub fn registration(app: &App, running_for: Duration) -> Registration {
    Registration {
        place: daemon_place(&app.config),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rules_hash: rules_hash(app),
        running_for,
        overdue_after: take_over_after(&app.config.schedule),
    }
}

/// Two daemons with the same hash decide alike: mapping, scope, table and safety limits are equal.
fn rules_hash(app: &App) -> String {
    let Config { safety, learners, provisioning, .. } = &app.config;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&app.rules.hash);
    let others = (safety, learners.match_attribute, learners.reissued, provisioning);
    hasher.update(format!("{others:?}").as_bytes());
    hasher.finalize().to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_late_after_a_minute_or_a_shorter_interval() {
        let seconds = |min_interval: u64| {
            let interval = Duration::from_secs(min_interval);
            take_over_after(&ScheduleConfig { min_interval: interval, max_interval: interval, full_every: interval })
                .as_secs()
        };
        assert_eq!([1, 3, 10, 60, 1200].map(seconds), [3, 3, 10, 60, 60]);
    }
}
