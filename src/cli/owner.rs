//! State belongs to one system user. Another one, root above all, would leave files behind that the daemon cannot
//! open any more; so it is refused, with the line that does it right.

use std::os::unix::fs::MetadataExt;

use super::output::{CONFIGURATION, Failure};
use crate::assembly::database_path;
use crate::config::Config;

/// Refuses when the learner database, or the state directory, belongs to another user.
pub(super) fn check(config: &Config) -> Result<(), Failure> {
    let me = rustix::process::geteuid().as_raw();
    for path in database_path(config).into_iter().chain([config.state.directory.as_path()]) {
        let Ok(metadata) = path.metadata() else { continue };
        if metadata.uid() != me {
            let owner = user_name(metadata.uid());
            if metadata.uid() == 0 {
                let (path, me) = (path.display(), user_name(me));
                let message = format!("{path} belongs to root; give it back: chown {me}: {path}");
                return Err(Failure::new(CONFIGURATION, message));
            }
            let command: Vec<String> = std::env::args().skip(1).collect();
            return Err(Failure::new(
                CONFIGURATION,
                format!(
                    "{} belongs to {owner}; run it as that user: sudo -u {owner} learner-sync {}",
                    path.display(),
                    command.join(" ")
                ),
            ));
        }
    }
    Ok(())
}

/// The name of a user, or `#` and its number, which sudo takes as well.
pub(super) fn user_name(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    users
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            Some((fields.next()?, fields.nth(1)?.parse::<u32>().ok()?))
        })
        .find(|(_, number)| *number == uid)
        .map_or_else(|| format!("'#{uid}'"), |(name, _)| name.to_owned())
}
