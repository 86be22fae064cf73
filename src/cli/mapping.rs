//! `learner-sync mapping`: everything about the attribute mapping that needs no directory and no database.

pub(super) mod check;
mod eval;
mod import;
mod input;

use super::output::Failure;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show the configured mapping as it is understood: expressions, types, and what is read of every user.
    Check(check::Arguments),
    #[command(flatten)]
    Alone(Alone),
}

/// What goes by no configuration.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Alone {
    /// Evaluate an expression on values that you make up.
    Eval(eval::Arguments),
    /// Turn the attribute mapping and the scoping filters of a schema that Entra ID exports into configuration.
    Import(import::Arguments),
}

impl Alone {
    pub(super) fn run(self, now: jiff::Timestamp) -> Result<u8, Failure> {
        match self {
            Self::Eval(arguments) => eval::run(arguments, now),
            Self::Import(arguments) => import::run(&arguments),
        }
    }
}
