//! `learner-sync mapping`: commands for the attribute mapping. None of them opens the database.

pub(super) mod check;
mod eval;
mod import;
mod input;

use super::Context;
use super::output::Failure;
use crate::model::Clock;

#[derive(Debug, clap::Subcommand)]
pub(super) enum MappingCommand {
    /// Show the compiled mapping: expressions, types, and the properties that are read for every user.
    Check(check::MappingCheckArguments),
    #[command(flatten)]
    Standalone(StandaloneCommand),
}

/// Commands that need no configuration, except `eval --user`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum StandaloneCommand {
    /// Evaluate an expression on given values, or on a user of the tenant.
    Eval(eval::MappingEvalArguments),
    /// Convert the attribute mapping and the scoping filters of an exported Entra ID schema to configuration.
    Import(import::MappingImportArguments),
}

impl StandaloneCommand {
    pub(super) fn needs_configuration(&self) -> bool {
        matches!(self, Self::Eval(arguments) if arguments.reads_user())
    }

    pub(super) async fn run_configured(self, context: Context, clock: Clock) -> Result<u8, Failure> {
        match self {
            Self::Eval(arguments) if arguments.reads_user() => eval::run_for_user(arguments, context, clock).await,
            other => other.run(clock()),
        }
    }

    pub(super) fn run(self, now: jiff::Timestamp) -> Result<u8, Failure> {
        match self {
            Self::Eval(arguments) => eval::run(arguments, now),
            Self::Import(arguments) => import::run(&arguments),
        }
    }
}
