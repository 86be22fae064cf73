//! The room that is left for the learner database and the state directory.

use super::Check;
use crate::config::Config;
use crate::runtime::status::{LowRoom, low_room};

const NAME: &str = "disk";

/// Empty when there is enough room. One check for each disk.
pub(super) fn disk_checks(config: &Config) -> Vec<Check> {
    let check = |LowRoom { detail, is_failure }| {
        let hint = "free disk space or inodes: without them no cycle can write".to_owned();
        Check { ok: !is_failure, hint: Some(hint), ..Check::passed(NAME, detail) }
    };
    low_room(config).into_iter().map(check).collect()
}
