//! Mounts and processes of another user, which need root. Without it the caller skips its test with a message.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::program::{PROGRAM, Ran, finish};
use crate::world::World;

/// Prints why a test is skipped.
#[expect(clippy::print_stdout, reason = "a skipped test must be visible")]
pub(crate) fn skipped(why: &str) {
    println!("skipped: {why}");
}

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Mount {
    path: PathBuf,
}

impl Mount {
    /// A file system of `bytes` at `path`, which is created when missing.
    pub(crate) fn small_disk(path: &Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let size = format!("size={bytes},mode=0755");
        mount(&["-t", "tmpfs", "-o", &size, "tmpfs", &path.display().to_string()])
            .then(|| Self { path: path.to_owned() })
    }

    /// Makes the directory at `path` read-only, even for root.
    pub(crate) fn read_only(path: &Path) -> Option<Self> {
        let name = path.display().to_string();
        let bound = mount(&["--bind", &name, &name]).then(|| Self { path: path.to_owned() })?;
        mount(&["-o", "remount,ro,bind", &name]).then_some(bound)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, because a process may still use it after a panic.
        let _ = Command::new("umount").arg("-l").arg(&self.path).stderr(Stdio::null()).status();
    }
}

fn mount(arguments: &[&str]) -> bool {
    let mounted = Command::new("mount").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    mounted.is_ok_and(|status| status.success())
}

/// A user without the rights of root, who owns the files of a world.
#[derive(Debug)]
pub(crate) struct Unprivileged {
    user: Option<u32>,
    program: PathBuf,
    _copy: Option<TempDir>,
}

impl Unprivileged {
    const NOBODY: u32 = 65534;

    /// Gives the files of `world` to `nobody` when the tests run as root. `None` when that is not possible.
    pub(crate) fn owning(world: &World) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return Some(Self { user: None, program: PROGRAM.into(), _copy: None });
        }
        let directory = world.path("");
        let given = Command::new("chown").arg("-R").arg(format!("{0}:{0}", Self::NOBODY)).arg(&directory).status();
        if !given.is_ok_and(|status| status.success()) {
            return None;
        }
        let starts = |program: &Path| {
            let tried = Command::new(program).arg("--version").uid(Self::NOBODY).stdout(Stdio::null()).status();
            tried.is_ok_and(|status| status.success())
        };
        let user = Some(Self::NOBODY);
        if starts(Path::new(PROGRAM)) {
            return Some(Self { user, program: PROGRAM.into(), _copy: None });
        }
        // The program may be where only root can read, and the world where nothing can be executed.
        let copy = tempfile::tempdir().unwrap();
        std::fs::set_permissions(copy.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = copy.path().join("learner-sync");
        std::fs::copy(PROGRAM, &program).unwrap();
        starts(&program).then_some(Self { user, program, _copy: Some(copy) })
    }

    /// Runs a command of the program as that user.
    #[track_caller]
    pub(crate) fn run(&self, world: &World, arguments: &[&str], code: i32) -> Ran {
        let Self { user, program, _copy } = self;
        let mut command = Command::new(program);
        command.env_clear().args(arguments).arg("--config").arg(world.config_path()).current_dir(world.path(""));
        if let Some(user) = user {
            command.uid(*user).gid(*user);
        }
        finish(command, code)
    }
}
