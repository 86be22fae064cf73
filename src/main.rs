//! The `learner-sync` program: arguments in, exit code out; everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    learner_sync::cli::main()
}
