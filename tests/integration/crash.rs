//! A program killed at any time loses no change and makes none twice: the next cycle reaches the same result.
//!
//! `instants` kills at random times and `steps` at each named step. `changes` makes random changes in the tenant, and
//! `model` predicts their result.

pub(crate) mod changes;
mod instants;
pub(crate) mod model;
mod steps;

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use graph_sim::Tenant;
use learner_sync::model::home_name;
use rustix::process::Signal;

use crate::seeds::first_seed;
use crate::world::World;

pub(crate) const NO_LIMITS: &str = "[safety]\nmax_deactivations = 100000\nmax_deactivation_percent = 100";

/// The standard error of the process to be killed.
const LOG: &str = "killed.log";

fn is_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

/// The program, with its log in a file.
fn to_be_killed(world: &World, arguments: &[&str]) -> Command {
    let mut command = world.program(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(world.path(LOG)).unwrap());
    command
}

/// Prints the seed and the round when the test fails.
pub(crate) struct SeedReport {
    pub(crate) seed: u64,
    pub(crate) round: usize,
}

impl SeedReport {
    pub(crate) fn new() -> Self {
        Self { seed: first_seed(), round: 0 }
    }
}

impl Drop for SeedReport {
    #[expect(clippy::print_stdout, reason = "shown when the test fails")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("in round {}; LEARNER_SYNC_SEED={} repeats the changes", self.round, self.seed);
        }
    }
}

/// A tenant whose guests are called as in the home tenant: the model compares `user_name` with the stored name.
pub(crate) fn tenant_with_users(count: usize, seed: u64) -> Tenant {
    let mut tenant = Tenant::with_users(count, seed);
    let home = |user: &graph_sim::User| Some((user.id.clone(), home_name(user.user_principal_name.as_deref()?)?));
    for (id, name) in tenant.users().filter_map(home).collect::<Vec<_>>() {
        tenant.user_mut(&id).user_principal_name = Some(name);
    }
    tenant
}
