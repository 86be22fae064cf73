//! `learner-sync completions`: prints the completion script of a shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::output::{DONE, Failure, print};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell.
    #[arg(value_enum, value_name = "SHELL")]
    shell: CompletedShell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum CompletedShell {
    /// For /usr/share/bash-completion/completions/learner-sync.
    Bash,
    /// For /usr/share/zsh/vendor-completions/_learner-sync.
    Zsh,
    /// For /usr/share/fish/vendor_completions.d/learner-sync.fish.
    Fish,
}

const NAME: &str = "learner-sync";

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let shell = match arguments.shell {
        CompletedShell::Bash => Shell::Bash,
        CompletedShell::Zsh => Shell::Zsh,
        CompletedShell::Fish => Shell::Fish,
    };
    // The script for bash confuses a hyphen in the name with the border between two commands.
    let plain_name = if arguments.shell == CompletedShell::Bash { "learnersync" } else { NAME };
    let mut command = super::Arguments::command();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, plain_name, &mut script);
    let mut script =
        String::from_utf8_lossy(&script).replace(" learnersync\n", " learner-sync\n").trim_end().to_owned();
    if arguments.shell == CompletedShell::Fish {
        script.push_str(&positional_values(&command));
    }
    print(&script)?;
    Ok(DONE)
}

/// The values of positional arguments, which the generator for fish omits.
fn positional_values(command: &clap::Command) -> String {
    let mut lines = String::new();
    for subcommand in command.get_subcommands() {
        for value in subcommand.get_positionals().flat_map(clap::Arg::get_possible_values) {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default().replace('\'', "\\'");
            lines.push_str(&format!(
                "\ncomplete -c learner-sync -n \"__fish_learner_sync_using_subcommand {}\" -f -a {} -d '{help}'",
                subcommand.get_name(),
                value.get_name(),
            ));
        }
    }
    lines
}
