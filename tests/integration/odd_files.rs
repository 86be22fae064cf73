//! Anything but a regular file of bounded size in the place of a file is refused, at once and with the reason.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;

use crate::program::users;
use crate::refusals::daemon_lock;
use crate::world::World;

/// Puts something that is not a usable file at `path`. Returns the reason that a refusal has to give.
fn put(path: &Path, kind: &str) -> &'static str {
    let _ = std::fs::remove_file(path);
    let _ = std::fs::remove_dir(path);
    match kind {
        "fifo" => {
            mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
            "it is a FIFO, not a regular file"
        }
        "directory" => {
            std::fs::create_dir(path).unwrap();
            "it is a directory, not a regular file"
        }
        "device" => {
            symlink("/dev/zero", path).unwrap();
            "it is a device, not a regular file"
        }
        "socket" => {
            // The socket outlives its listener.
            drop(UnixListener::bind(path).unwrap());
            "it is a socket, not a regular file"
        }
        "loop" => {
            symlink(path, path).unwrap();
            "Too many levels of symbolic links"
        }
        "dangling" => {
            symlink("/nowhere/at-all", path).unwrap();
            "No such file or directory"
        }
        "huge" => {
            std::fs::File::create(path).unwrap().set_len(3 << 30).unwrap();
            "it is larger than"
        }
        kind => panic!("{kind}"),
    }
}

const KINDS: [&str; 7] = ["fifo", "directory", "device", "socket", "loop", "dangling", "huge"];

#[tokio::test]
async fn only_a_regular_file_of_bounded_size_is_a_configuration() {
    let world = World::start(users(1).0).await;
    for kind in KINDS {
        let reason = put(&world.config_path(), kind);
        for arguments in [&["check"][..], &["status"], &["run"], &["mapping", "check"]] {
            let ran = world.run_program(arguments, 78);
            let expected = format!("{}: cannot read the file: {reason}", world.config_path().display());
            assert!(ran.stderr.contains(&expected), "{kind}: {ran:?}");
        }
    }
}

#[tokio::test]
async fn a_daemon_survives_whatever_is_in_the_place_of_its_files_at_a_reload() {
    let world = World::start(users(1).0).await;
    let daemon = world.daemon().await;
    world.cycles_ended(1).await;
    let configuration = std::fs::read(world.config_path()).unwrap();
    let mut refused = 0;
    for kind in KINDS {
        let reason = put(&world.config_path(), kind);
        daemon.signal(Signal::HUP);
        refused += 1;
        daemon.logged("configuration not reloaded, the old one stays", refused).await;
        daemon.logged(reason, 1).await;
        let _ = std::fs::remove_dir(world.config_path());
        let _ = std::fs::remove_file(world.config_path());
        std::fs::write(world.config_path(), &configuration).unwrap();
    }
    daemon.signal(Signal::HUP);
    daemon.logged("configuration reloaded", 1).await;
    daemon.stop().await;
}

#[tokio::test]
async fn only_a_regular_file_of_bounded_size_is_a_secret_or_certificate() {
    let world = World::start(users(1).0).await;
    let path = world.path("odd");
    let certificate = format!("kind = \"certificate\"\ncertificate_file = {path:?}\nprivate_key_file = {path:?}");
    for kind in KINDS {
        let reason = put(&path, kind);
        for (replaced, with) in [
            (format!("secret_file = {:?}", world.path("secret")), format!("secret_file = {path:?}")),
            (format!("secret_file = {:?}", world.path("secret")), certificate.clone()),
            ("[entra]\n".to_owned(), format!("[entra]\nca_file = {path:?}\n")),
            (
                "[entra]\n".to_owned(),
                format!("[entra]\nproxy = \"http://ada@127.0.0.1:9\"\nproxy_password_file = {path:?}\n"),
            ),
        ] {
            world.configure("");
            world.reconfigure(|text| text.replace(&replaced, &with));
            let ran = world.run_program(&["sync"], 78);
            let expected = format!("cannot read {}: {reason}", path.display());
            assert!(ran.stderr.contains(&expected), "{kind}, {with}: {ran:?}");
        }
    }
}

/// The files of ours that hold no learners.
fn own_files(world: &World) -> Vec<std::path::PathBuf> {
    ["learners.db.lock", "state/learner-sync.pid", "learners.db-wal", "learners.db-journal", "learners.db-shm"]
        .map(|name| world.path(name))
        .into_iter()
        .chain([world.path(&daemon_lock(world))])
        .collect()
}

#[tokio::test]
async fn a_file_of_others_in_the_place_of_ours_is_refused_and_unchanged() {
    let world = World::start(users(1).0).await;
    std::fs::create_dir(world.path("state")).unwrap();
    let theirs = world.path("theirs");
    let notes = "notes of others\n".repeat(60);
    for exists in [false, true] {
        if exists {
            world.run_program(&["sync"], 0);
        }
        for path in own_files(&world) {
            for kind in
                ["file", "hard link", "link", "link to an empty file", "fifo", "socket", "directory", "dangling"]
            {
                std::fs::write(&theirs, if kind == "link to an empty file" { "" } else { &notes }).unwrap();
                let before = std::fs::read(&theirs).unwrap();
                let reason = match kind {
                    "file" => std::fs::copy(&theirs, &path).map(|_| "learner-sync did not write its content").unwrap(),
                    "hard link" => {
                        std::fs::hard_link(&theirs, &path).unwrap();
                        "learner-sync did not write its content"
                    }
                    "link" | "link to an empty file" => {
                        symlink(&theirs, &path).unwrap();
                        "it is a symbolic link, not a regular file"
                    }
                    "dangling" => {
                        put(&path, kind);
                        "it is a symbolic link, not a regular file"
                    }
                    kind => put(&path, kind),
                };
                let commands: &[&[&str]] =
                    if path.ends_with("learners.db.lock") { &[&["sync"], &["run"]] } else { &[&["run"]] };
                for arguments in commands {
                    let ran = world.run_program(arguments, 78);
                    let named = ran.stderr.contains(&path.display().to_string());
                    assert!(named && ran.stderr.contains(reason), "{}, {kind}: {ran:?}", path.display());
                }
                if kind == "file" {
                    assert_eq!(std::fs::read_to_string(&path).unwrap(), notes);
                }
                assert_eq!(std::fs::read(&theirs).unwrap(), before, "{}, {kind}", path.display());
                assert!(!world.path("nowhere").exists());
                let _ = std::fs::remove_dir(&path);
                let _ = std::fs::remove_file(&path);
                std::fs::remove_file(&theirs).unwrap();
            }
        }
    }
    world.run_program(&["sync"], 0);
}

#[tokio::test]
async fn too_few_descriptors_are_a_failure_and_no_mistake_in_the_configuration() {
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    for limit in [4, 6, 8, 10, 16, 32, 63, 64, 80] {
        for command in ["sync", "status"] {
            let mut shell = std::process::Command::new("sh");
            let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
            shell.env_clear().arg("-c").arg(script).arg(crate::program::PROGRAM).arg(command);
            let ran = shell.arg("--config").arg(world.config_path()).output().unwrap();
            let stderr = String::from_utf8(ran.stderr).unwrap();
            // 127: the program itself cannot be started.
            assert!(
                matches!(ran.status.code(), Some(0 | 1 | 3 | 127)),
                "{command}, {limit}: {:?} {stderr}",
                ran.status
            );
            assert!(!stderr.contains("panicked"), "{command}, {limit}: {stderr}");
        }
    }
    world.run_program(&["sync"], 0);
    let names = std::fs::read_dir(world.path("state")).unwrap().map(|entry| entry.unwrap().file_name());
    let caches = names.filter(|name| name.to_string_lossy().starts_with("cache"));
    assert_eq!(caches.count(), 1, "the cache was not set aside");
}
