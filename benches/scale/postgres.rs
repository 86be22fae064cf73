//! A private PostgreSQL server with its default settings, on a Unix socket.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::child::Kept;

const OWNER: &str = "sync";

pub(crate) struct Server {
    // Dropped first: the shell stops the server before the directory is removed.
    _keeper: Keeper,
    programs: PathBuf,
    directory: TempDir,
    user: Option<(u32, u32)>,
}

/// A shell that stops the server when its input ends.
struct Keeper(Kept);

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.0.stdin.take());
        let _ = self.0.0.wait();
    }
}

impl Server {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let programs = programs().context("PostgreSQL (initdb, postgres, createdb) is not installed")?;
        // The path of a socket must be short.
        let directory = tempfile::Builder::new().prefix("scale-").tempdir()?;
        let user = unprivileged(directory.path())?;
        let command = |program: &str| command(&programs, directory.path(), user, program);
        let data = directory.path().join("data");
        let made = command("initdb")
            .arg("--pgdata")
            .arg(&data)
            .args(["--username", OWNER, "--encoding", "UTF8", "--locale", "C.UTF-8", "--auth", "trust"])
            .stdout(Stdio::null())
            .status()?;
        ensure!(made.success(), "initdb failed");
        let mut shell = command("/bin/sh");
        shell.arg("-c").arg(r#""$0" "$@" 2>log & cat; kill -INT $! 2>/dev/null; wait"#).arg(programs.join("postgres"));
        shell.arg("-D").arg(&data).arg("-k").arg(directory.path()).args(["-c", "listen_addresses="]);
        let keeper = Keeper(Kept(shell.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !command("pg_isready").args(["-q", "-h"]).arg(directory.path()).status()?.success() {
            ensure!(Instant::now() < deadline, "the server does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self { _keeper: keeper, programs, directory, user })
    }

    /// Creates an empty database and returns its URL.
    pub(crate) fn create(&self, name: &str) -> anyhow::Result<String> {
        self.run("createdb", name)?;
        Ok(format!("postgres://{OWNER}@localhost/{name}?host={}", self.directory.path().display()))
    }

    pub(crate) fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        self.run("dropdb", name)
    }

    fn run(&self, program: &str, name: &str) -> anyhow::Result<()> {
        let mut command = command(&self.programs, self.directory.path(), self.user, program);
        let done = command.arg("-h").arg(self.directory.path()).args(["-U", OWNER, name]).status()?;
        ensure!(done.success(), "{program} failed");
        Ok(())
    }
}

fn command(programs: &Path, directory: &Path, user: Option<(u32, u32)>, program: &str) -> Command {
    let mut command = Command::new(programs.join(program));
    command.current_dir(directory).env_remove("LC_ALL");
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    command
}

/// The directory of the programs: the newest version of Debian's packages, else on the path.
fn programs() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = debian.map(|entry| entry.path().join("bin")).collect();
    versions.sort();
    #[expect(clippy::disallowed_methods, reason = "PATH is not configuration")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = versions.into_iter().rev().chain(std::env::split_paths(&path));
    all.find(|directory| ["initdb", "postgres", "createdb"].iter().all(|name| directory.join(name).exists()))
}

/// User and group to run the server with, if this process runs as root: PostgreSQL refuses that. They own the directory.
fn unprivileged(directory: &Path) -> anyhow::Result<Option<(u32, u32)>> {
    if std::fs::metadata(directory)?.uid() != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let numbers = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse().ok());
        Some((fields.next()??, fields.next()??))
    };
    let (user, group) = numbers("postgres").or_else(|| numbers("nobody")).context("no user for the server")?;
    chown(directory, Some(user), Some(group))?;
    Ok(Some((user, group)))
}
