//! The version and the completion scripts, which need no configuration.

use std::process::{Command, Stdio};

use crate::program::{PROGRAM, finish};

/// The standard output of the program without a configuration.
#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    command.env_clear().env("LEARNER_SYNC_CONFIG", "/nonexistent/learner-sync.toml").args(arguments);
    command.stdin(Stdio::null());
    let ran = finish(command, 0);
    assert_eq!(ran.stderr, "");
    ran.stdout
}

#[test]
fn version_prints_the_same_as_its_flag() {
    let version = printed(&["version"]);
    assert_eq!(version, printed(&["--version"]));
    assert_eq!(version, format!("learner-sync {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_know_commands_flags_and_values() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        for word in [
            "take-over",
            "resync",
            "deactivate",
            "skipped",
            "attributes-changed",
            "csv",
            "going-live",
            "existing-table",
        ] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let mut command = Command::new(PROGRAM);
    command.args(["completions", "tcsh"]);
    assert!(finish(command, 2).stderr.contains("[possible values: bash, zsh, fish]"));
}

/// The words that bash offers after `line`.
fn offered(line: &str) -> Vec<String> {
    let script = format!(
        "{}\nread -ra COMP_WORDS <<< '{line}'; COMP_WORDS+=(\"\"); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
         _learnersync learner-sync \"\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        printed(&["completions", "bash"])
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]).stdin(Stdio::null());
    finish(command, 0).stdout.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn bash_completes_values() {
    assert_eq!(offered("learner-sync log --status"), ["success", "failure", "skipped", "held"]);
    assert_eq!(offered("learner-sync log --action"), ["create", "update", "deactivate", "reactivate"]);
    assert!(offered("learner-sync log --reason").contains(&"empty-group".to_owned()));
    assert_eq!(offered("learner-sync log audit --format"), ["table", "json", "csv"]);
    assert!(offered("learner-sync guide").contains(&"uninstalling".to_owned()));
    assert!(offered("learner-sync mapping").contains(&"import".to_owned()));
    assert_eq!(offered("learner-sync completions").iter().filter(|word| !word.starts_with('-')).count(), 3);
}
