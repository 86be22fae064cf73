//! `init`: the first configuration.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use learner_sync::config::{self, DatabaseConfig};
use tempfile::TempDir;

use crate::machine::skipped;
use crate::program::{PROGRAM, Ran, finish};

const TENANT: &str = "contoso.onmicrosoft.com";
const CLIENT: &str = "b84d6e0f-2c59-47a1-9e63-70f5a1d8c246";
const APPLICATION: &str = "d1b7e5a3-48c6-4f92-80da-3e9c65b0f721";

fn init(output: &Path, arguments: &[&str], code: i32) -> Ran {
    let mut command = Command::new(PROGRAM);
    command.env_clear().arg("init").args(arguments).arg("--output").arg(output).stdin(Stdio::null());
    finish(command, code)
}

/// The arguments without which it has to ask.
const REQUIRED: [&str; 6] = ["--tenant-id", TENANT, "--client-id", CLIENT, "--enterprise-app", APPLICATION];

#[test]
fn flags_write_a_configuration_that_loads() {
    let directory = TempDir::new().unwrap();
    for (name, database, expected) in [
        ("file.toml", "sqlite:///srv/it's a \"test\"\\/learners.db", "/srv/it's a \"test\"\\/learners.db"),
        ("server.toml", "postgres://sync@db.example.org/training", "postgres://sync@db.example.org/training"),
    ] {
        let output = directory.path().join(name);
        let secret = "/srv/odd \"secret's\" file\\";
        let arguments = [&REQUIRED[..], &["--secret-file", secret, "--database-url", database]].concat();
        let Ran { stdout, stderr } = init(&output, &arguments, 0);
        assert_eq!(stderr, "");
        let metadata = output.metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
        let groups = std::fs::read_to_string("/etc/group").unwrap();
        let lacks_group = metadata.uid() == 0 && !groups.lines().any(|line| line.starts_with("learner-sync:"));
        let line = format!("sudo chgrp learner-sync {}", output.display());
        assert_eq!(stdout.contains(&line), lacks_group, "{stdout}");
        let config = config::load(&output, &BTreeMap::new()).unwrap();
        assert_eq!(config.entra.tenant_id, TENANT);
        match config.learners.database {
            DatabaseConfig::Sqlite { path } => assert_eq!(path, Path::new(expected)),
            DatabaseConfig::Postgres { url } => assert_eq!(url, expected),
        }
        for words in [
            "Application.Read.All",
            "User.Read.All",
            "GroupMember.Read.All",
            "az ad app permission admin-consent",
            "New-MgServicePrincipalAppRoleAssignment",
            &format!("learner-sync check --config {}", output.display()),
            // No unit reads this file.
            &format!("learner-sync run --config {}", output.display()),
            "/etc/learner-sync/NAME.toml",
        ] {
            assert!(stdout.contains(words), "{words}: {stdout}");
        }
        assert!(!stdout.contains("systemctl enable"), "{stdout}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn a_file_is_never_overwritten() {
    let directory = TempDir::new().unwrap();
    let output = directory.path().join("learner-sync.toml");
    std::fs::write(&output, "mine").unwrap();
    let ran = init(&output, &REQUIRED, 1);
    assert!(ran.stderr.contains("exists already") && ran.stderr.contains("--output"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "mine");
    assert_eq!(ran.stdout, "");
    let ran = init(&directory.path().join("missing/learner-sync.toml"), &REQUIRED, 1);
    assert!(ran.stderr.contains("sudo install -d -m 0750"), "{ran:?}");
}

#[test]
fn missing_flags_without_a_terminal_exit_2() {
    let directory = TempDir::new().unwrap();
    let output = directory.path().join("learner-sync.toml");
    for (given, missing) in [
        (&REQUIRED[..0], &["--tenant-id", "--client-id", "--enterprise-app"][..]),
        (&REQUIRED[..2], &["--client-id", "--enterprise-app"]),
        (&REQUIRED[..4], &["--enterprise-app"]),
    ] {
        let Ran { stdout, stderr } = init(&output, given, 2);
        assert!(stderr.trim_end().ends_with(&format!("missing: {}", missing.join(", "))), "{stderr}");
        assert_eq!(stdout, "");
    }
    assert!(!output.exists());
}

#[test]
fn an_invalid_value_exits_2_and_is_not_shown() {
    const SECRET: &str = "abc8Q~0dskfHJ.kd_83-fkdlsJWQeiur8347fhAb";
    let directory = TempDir::new().unwrap();
    let output = directory.path().join("learner-sync.toml");
    for (flag, value, expected) in [
        ("--tenant-id", SECRET, "a GUID or a domain"),
        ("--client-id", SECRET, "a GUID"),
        ("--enterprise-app", SECRET, "a GUID"),
        ("--secret-file", SECRET, "absolute path"),
        ("--database-url", SECRET, "database URL"),
        ("--database-url", &format!("postgres://sync:{SECRET}@db/training"), "set learners.password_file"),
    ] {
        let mut arguments: Vec<&str> = REQUIRED.to_vec();
        match arguments.iter().position(|argument| *argument == flag) {
            Some(place) => arguments[place + 1] = value,
            None => arguments.extend([flag, value]),
        }
        let Ran { stdout, stderr } = init(&output, &arguments, 2);
        assert!(stderr.starts_with(&format!("learner-sync: {flag}: ")) && stderr.contains(expected), "{stderr}");
        assert!(!stderr.contains("0dskf") && stdout.is_empty(), "{stderr}");
    }
    assert!(!output.exists());
}

/// Runs `init` on a terminal with these answers.
fn on_terminal(output: &Path, answers: &str) -> Option<(Option<i32>, String)> {
    let line = format!("{PROGRAM} init --output {}", output.display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    Some((ended.status.code(), String::from_utf8(ended.stdout).unwrap().replace('\r', "")))
}

#[test]
fn on_a_terminal_it_asks_until_the_answers_are_valid() {
    let directory = TempDir::new().unwrap();
    let output = directory.path().join("learner-sync.toml");
    let answers = format!("common\n{TENANT}\n\nclient\n{CLIENT}\n{APPLICATION}\n\npostgres://sync@db/training\n");
    let Some((code, printed)) = on_terminal(&output, &answers) else {
        return skipped("script is missing, which provides a terminal");
    };
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("means any tenant") && printed.contains("az ad app create"), "{printed}");
    let config = config::load(&output, &BTreeMap::new()).unwrap();
    assert_eq!((config.entra.tenant_id.as_str(), config.entra.client_id.as_deref()), (TENANT, Some(CLIENT)));
    let database = DatabaseConfig::Postgres { url: "postgres://sync@db/training".to_owned() };
    assert_eq!(config.learners.database, database);
    let text = std::fs::read_to_string(&output).unwrap();
    assert!(text.contains("secret_file = \"/etc/learner-sync/client-secret\""), "{text}");

    let second = directory.path().join("second.toml");
    let (code, printed) = on_terminal(&second, "contoso.com\n\u{4}").unwrap();
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("nothing was written") && !second.exists(), "{printed}");
}
