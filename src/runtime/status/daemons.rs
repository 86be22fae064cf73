//! The daemons of a source, on all machines.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::DaemonPlace;
use crate::store::DaemonRow;

/// A daemon that has been seen in the last days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownDaemon {
    /// Its machine.
    pub host: String,
    /// Its `state.directory`.
    pub state_directory: String,
    /// The process.
    pub pid: i64,
    /// The version of the program.
    pub version: String,
    /// A hash of the configuration that decides about learners.
    pub rules_hash: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was last seen, by the clock of the server.
    pub seen_at: Timestamp,
    /// Whether it lives; `None` where that is unknown.
    pub alive: Option<bool>,
    /// Whether it ran the last cycle that a daemon ran.
    pub ran_last_cycle: bool,
}

impl From<DaemonRow> for KnownDaemon {
    fn from(row: DaemonRow) -> Self {
        let DaemonRow { place, pid, version, rules_hash, started_at, seen_at, is_alive, ran_last } = row;
        let DaemonPlace { host, state_directory } = place;
        Self {
            host,
            state_directory,
            pid,
            version,
            rules_hash,
            started_at,
            seen_at,
            alive: is_alive,
            ran_last_cycle: ran_last,
        }
    }
}

impl KnownDaemon {
    /// Whether it runs at this place.
    pub fn is_at(&self, place: &DaemonPlace) -> bool {
        (&self.host, &self.state_directory) == (&place.host, &place.state_directory)
    }
}

/// What an administrator should change about daemons that serve one source together.
pub fn daemon_warnings(daemons: &[KnownDaemon]) -> Vec<String> {
    let living: Vec<&KnownDaemon> = daemons.iter().filter(|daemon| daemon.alive == Some(true)).collect();
    let list = |what: fn(&KnownDaemon) -> String| living.iter().map(|daemon| what(daemon)).collect::<Vec<_>>();
    let versions: BTreeSet<&str> = living.iter().map(|daemon| &*daemon.version).collect();
    if versions.len() > 1 {
        let found = list(|daemon| format!("{} on {}", daemon.version, daemon.host)).join(", ");
        return vec![format!("the daemons have different versions: {found}; install the same version on each machine")];
    }
    // Another version has another hash in any case.
    let hashes: BTreeSet<&str> = living.iter().map(|daemon| &*daemon.rules_hash).collect();
    if hashes.len() > 1 {
        let found = list(|daemon| format!("{} ({})", daemon.host, daemon.state_directory)).join(" and ");
        return vec![format!(
            "the daemons have different configurations, so that each cycle may undo changes of the one before: {found}; \
             make mapping, scope, learners and safety equal, and reload or restart them"
        )];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(host: &str, version: &str, rules_hash: &str, alive: bool) -> KnownDaemon {
        KnownDaemon {
            host: host.to_owned(),
            state_directory: "/var/lib/learner-sync".to_owned(),
            pid: 7,
            version: version.to_owned(),
            rules_hash: rules_hash.to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
            seen_at: Timestamp::UNIX_EPOCH,
            alive: Some(alive),
            ran_last_cycle: false,
        }
    }

    #[test]
    fn living_daemons_should_have_one_version_and_one_configuration() {
        let one = daemon("one", "1.0.0", "a", true);
        assert_eq!(daemon_warnings(&[one.clone(), daemon("two", "1.0.0", "a", true)]), [""; 0]);
        let versions = daemon_warnings(&[one.clone(), daemon("two", "1.1.0", "b", true)]);
        assert!(versions.len() == 1 && versions[0].contains("1.0.0 on one, 1.1.0 on two"), "{versions:?}");
        let configurations = daemon_warnings(&[one.clone(), daemon("two", "1.0.0", "b", true)]);
        assert!(configurations.len() == 1 && configurations[0].contains("different configurations"));
        assert_eq!(daemon_warnings(&[one, daemon("two", "1.0.0", "b", false)]), [""; 0]);
    }
}
