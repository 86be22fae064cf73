//! The manual pages.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::machine::skipped;
use crate::program::{PROGRAM, finish};

fn run(arguments: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    command.env_clear().args(arguments).stdin(Stdio::null());
    finish(command, 0).stdout
}

/// The names of the pages of `command` and its subcommands, as the help lists them.
pub(super) fn commands(command: &[&str]) -> BTreeSet<String> {
    let help = run(&[command, &["--help"]].concat());
    let listed = help.split("\nCommands:\n").nth(1).unwrap_or_default().lines().take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|name| !name.is_empty());
    let page = |command: &[&str]| [&["learner-sync"], command].concat().join("-") + ".1";
    let mut pages = BTreeSet::from([page(command)]);
    for name in names.filter(|name| *name != "help") {
        pages.append(&mut commands(&[command, &[name]].concat()));
    }
    pages
}

fn pages(directory: &Path, section: &str) -> BTreeSet<String> {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(section)).collect()
}

#[test]
fn every_command_topic_and_key_has_a_page() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("man");
    let shown = path.display().to_string();
    run(&["man", &shown]);
    // The pages of an earlier version are replaced.
    run(&["man", &shown]);
    let commands = commands(&[]);
    assert!(commands.contains("learner-sync-log-show.1") && commands.len() > 20, "{commands:?}");
    assert_eq!(pages(&path, ".1"), commands);

    let listed = run(&["guide"]);
    let topics = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    assert_eq!(pages(&path, ".7"), topics.map(|topic| format!("learner-sync-guide-{topic}.7")).collect());

    assert_eq!(pages(&path, ".5"), BTreeSet::from(["learner-sync.toml.5".to_owned()]));
    let reference = std::fs::read_to_string(path.join("learner-sync.toml.5")).unwrap();
    for key in ["tenant_id", "max_deactivations", "retention", "directory", "enterprise_app", "database_url"] {
        assert!(reference.contains(&format!("\\fB{key}\\fR = ")), "{key}");
    }
}

#[test]
fn the_pages_are_valid() {
    let directory = TempDir::new().unwrap();
    run(&["man", &directory.path().display().to_string()]);
    let mut checked = 0;
    for section in [".1", ".5", ".7"] {
        for name in pages(directory.path(), section) {
            // With a preprocessor for tables, and every warning of the formatter.
            let mut command = Command::new("groff");
            command.args(["-t", "-man", "-Kutf8", "-Tutf8", "-ww", "-z"]).arg(directory.path().join(&name));
            let Ok(output) = command.output() else { return skipped("groff is missing") };
            let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
            // A narrow column has lines with a single long word.
            let complaints: Vec<&str> = complaints
                .lines()
                .filter(|line| !line.contains("adjust line") && !line.contains("break line"))
                .collect();
            assert!(output.status.success() && complaints.is_empty(), "{name}: {complaints:#?}");
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}
