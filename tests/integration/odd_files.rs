//! Anything but a regular file of bounded size in the place of a file is refused, at once and with the reason.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, Mode, mkfifoat};

use crate::program::users;
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
