//! `learner-sync mapping`: everything about the attribute mapping that needs no directory and no database.

mod eval;
mod input;

use super::output::Failure;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    #[command(flatten)]
    Alone(Alone),
}

/// What goes by no configuration.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Alone {
    /// Evaluate an expression on values that you make up.
    Eval(eval::Arguments),
}

impl Alone {
    pub(super) fn run(self, now: jiff::Timestamp) -> Result<u8, Failure> {
        match self {
            Self::Eval(arguments) => eval::run(arguments, now),
        }
    }
}
