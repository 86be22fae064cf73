//! Killed at any instant, the program loses nothing and does nothing twice: one more cycle, and all is as if nothing
//! had happened. `instants` kills at random moments and `steps` at each step that has a name; `changes` are what goes
//! on in the tenant meanwhile, and `model` is what must become of it.

pub(crate) mod changes;
mod instants;
pub(crate) mod model;
mod steps;

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::Signal;

use crate::world::World;

/// Limits that nobody comes near: a hold is another story.
pub(crate) const NO_LIMITS: &str = "[safety]\nmax_deactivations = 100000\nmax_deactivation_percent = 100";

/// What the process said that was to be killed.
const LOG: &str = "killed.log";

/// Whether a process ended as by `kill -9`.
fn is_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

/// The program, with what it logs in a file.
fn to_be_killed(world: &World, arguments: &[&str]) -> Command {
    let mut command = world.program(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(world.path(LOG)).unwrap());
    command
}

/// A number from the environment.
#[expect(clippy::disallowed_methods, reason = "whoever runs the tests says how long, not a configuration")]
fn asked(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// Says in a failure how to see it again.
pub(crate) struct Told {
    pub(crate) seed: u64,
    pub(crate) round: usize,
}

impl Told {
    pub(crate) fn new() -> Self {
        Self { seed: asked("LEARNER_SYNC_CRASH_SEED").unwrap_or_else(rand::random), round: 0 }
    }
}

impl Drop for Told {
    #[expect(clippy::print_stdout, reason = "a test that fails says why")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("in round {}; LEARNER_SYNC_CRASH_SEED={} makes the same changes", self.round, self.seed);
        }
    }
}
