//! The room that is left for the learner database and the state directory.

use super::Check;
use crate::config::Config;
use crate::runtime::preflight::{on_database_disk, on_state_disk};
use crate::runtime::status::{LowRoom, database_room, low_room, state_room};

const NAME: &str = "disk";

/// Empty when there is enough room. One check for each disk.
pub(super) async fn disk_checks(config: &Config) -> Vec<Check> {
    let database = on_database_disk(config, database_room).await.map(Option::flatten);
    let state = on_state_disk(config, state_room).await;
    let (mut rooms, mut checks) = (Vec::new(), Vec::new());
    for room in [database, state] {
        match room {
            Ok(room) => rooms.extend(room),
            Err(error) => checks.push(Check::failed(NAME, &error, error.hint())),
        }
    }
    let check = |LowRoom { detail, is_failure }| {
        let hint = "free disk space or inodes: without them no cycle can write".to_owned();
        Check { ok: !is_failure, hint: Some(hint), ..Check::passed(NAME, detail) }
    };
    checks.extend(low_room(rooms).into_iter().map(check));
    checks
}
