//! `learner-sync mapping`: commands for the attribute mapping. None of them opens the database.

pub(super) mod check;
pub(super) mod eval;
pub(super) mod import;
mod input;

#[derive(Debug, clap::Subcommand)]
pub(super) enum MappingCommand {
    /// Show the compiled mapping: expressions, types, and the properties that are read for every user.
    Check(check::MappingCheckArguments),
    /// Evaluate an expression on given values, or on a user of the tenant.
    Eval(eval::MappingEvalArguments),
    /// Convert the attribute mapping and the scoping filters of an exported Entra ID schema to configuration.
    Import(import::MappingImportArguments),
}
