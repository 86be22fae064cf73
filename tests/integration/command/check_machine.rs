//! `check`: what the machine allows, the unit of systemd among it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::database::{apply, on_both};
use crate::program::users;
use crate::world::World;

/// The checks of this name: whether each is ok, and its detail and hint.
#[track_caller]
fn found(world: &World, environment: &[(&str, &str)], name: &str, code: i32) -> Vec<(bool, String)> {
    let document = world.run_program_with(environment, &["check", "--json"], code).json();
    let checks = document["checks"].as_array().unwrap().iter().filter(|check| check["name"] == name);
    let text = |check: &serde_json::Value| format!("{}: {}", check["detail"], check["hint"]);
    checks.map(|check| (check["ok"] == true, text(check))).collect()
}

fn allow(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[apply(on_both)]
async fn a_path_that_others_can_change_is_a_warning_with_the_command() {
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    assert_eq!(found(&world, &[], "files", 0), []);
    for (name, mode, usual, change) in [
        ("learner-sync.toml", 0o666, 0o640, "go-w"),
        ("learner-sync.toml", 0o660, 0o640, "g-w"),
        ("secret", 0o620, 0o600, "g-w"),
        ("state", 0o777, 0o750, "go-w"),
        ("state", 0o770, 0o750, "g-w"),
        ("", 0o757, 0o700, "o-w"),
    ] {
        let path = world.path(name);
        allow(&path, mode);
        let warnings = found(&world, &[], "files", 0);
        allow(&path, usual);
        let [(ok, text)] = &warnings[..] else { panic!("{name}: {warnings:?}") };
        let command = format!("chmod {change} {}", path.display());
        assert!(*ok && text.contains(command.trim_end_matches('/')), "{text}");
    }
    // Users can replace only their own files in such a directory.
    allow(&world.path(""), 0o1777);
    assert_eq!(found(&world, &[], "files", 0), []);
}

/// A program `systemctl` that prints the file `properties` beside it.
fn fake_systemctl() -> tempfile::TempDir {
    // Programs cannot be run everywhere.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // The shell writes it, because a program that this process has open cannot be run.
    let script = "#!/bin/sh\nexec /bin/cat \"${0%/*}/properties\"\n";
    let write = "printf %s \"$2\" > \"$1\" && chmod 0755 \"$1\"";
    let path = directory.path().join("systemctl");
    let written = Command::new("/bin/sh").args(["-c", write, "sh"]).arg(&path).arg(script).status().unwrap();
    assert!(written.success());
    directory
}

#[apply(on_both)]
async fn a_unit_that_cannot_write_fails_the_check() {
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    let systemctl = fake_systemctl();
    let environment = [("PATH", systemctl.path().to_str().unwrap())];
    let place = world.path("").canonicalize().unwrap().display().to_string();
    let (place, config) = (place.trim_end_matches('/'), world.config_path());
    let shipped = "LoadState=loaded\nProtectSystem=strict\nProtectHome=yes\nStateDirectory=learner-sync\n";
    let ours = format!("{shipped}ExecStart={{ argv[]=/usr/bin/learner-sync run --config {} ; }}\n", config.display());
    let lines = format!("[Service] and ReadWritePaths={place}");
    let refused = |properties: &str, code| {
        std::fs::write(systemctl.path().join("properties"), properties).unwrap();
        found(&world, &environment, "unit", code)
    };

    let is_file = world.path("learners.db").exists();
    let failed = refused(&ours, 1);
    assert_eq!(failed.len(), 1 + usize::from(is_file), "{failed:?}");
    assert!(failed.iter().all(|(ok, text)| !ok && text.contains(&lines)), "{failed:?}");
    assert!(failed.last().unwrap().1.contains(&format!("{lines}/state ")), "{failed:?}");
    // With the lines, and without a unit.
    assert_eq!(refused(&format!("{ours}ReadWritePaths={place}\n"), 0), []);
    let state = format!("{ours}ReadWritePaths={place}/state\n");
    assert_eq!(refused(&state, i32::from(is_file)).len(), usize::from(is_file));
    for nothing in ["", "LoadState=not-found\nProtectSystem=no\n", "LoadState=loaded\nProtectSystem=full\n"] {
        assert_eq!(refused(nothing, 0), []);
    }
    // A unit with another configuration may never need these paths.
    let warned = refused(&format!("{shipped}ExecStart={{ argv[]=/usr/bin/learner-sync run ; }}\n"), 0);
    assert!(warned.iter().all(|(ok, text)| *ok && text.contains("another configuration file")), "{warned:?}");
    assert!(warned.last().unwrap().1.contains(&lines), "{warned:?}");
    let other = refused("LoadState=loaded\nUser=nobody-here\n", 0);
    assert!(
        other.iter().all(|(ok, text)| *ok && text.contains("runs as nobody-here")) && !other.is_empty(),
        "{other:?}"
    );
}
