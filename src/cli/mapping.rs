//! `learner-sync mapping`: everything about the attribute mapping that needs no database.

pub(super) mod check;
mod eval;
mod import;
mod input;

use super::Context;
use super::output::Failure;
use crate::model::Clock;

#[derive(Debug, clap::Subcommand)]
pub(super) enum MappingCommand {
    /// Show the configured mapping as it is understood: expressions, types, and what is read of every user.
    Check(check::MappingCheckArguments),
    #[command(flatten)]
    Standalone(StandaloneCommand),
}

/// What goes by no configuration, unless a user is asked for.
#[derive(Debug, clap::Subcommand)]
pub(super) enum StandaloneCommand {
    /// Evaluate an expression on values that you make up, or on a user of the tenant.
    Eval(eval::MappingEvalArguments),
    /// Turn the attribute mapping and the scoping filters of a schema that Entra ID exports into configuration.
    Import(import::MappingImportArguments),
}

impl StandaloneCommand {
    pub(super) fn needs_configuration(&self) -> bool {
        matches!(self, Self::Eval(arguments) if arguments.is_about_a_user())
    }

    pub(super) async fn run_configured(self, context: Context, clock: Clock) -> Result<u8, Failure> {
        match self {
            Self::Eval(arguments) if arguments.is_about_a_user() => eval::run_for_user(arguments, context, clock).await,
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
