//! The pages of a daemon that runs no cycles, read through its socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::rows;

/// How long the daemon may take to listen.
const START: Duration = Duration::from_secs(60);

/// The keys that make a daemon serve pages and run no cycle.
pub(crate) fn configuration(directory: &Path) -> String {
    format!("[http]\nlisten = \"unix:{}\"\npage = true\n[provisioning]\nusers = false\n", socket(directory).display())
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("http.sock")
}

/// Every page, also far back in the log and with each filter.
pub(crate) fn paths(users: u32, log_rows: u32) -> Vec<String> {
    let (name, id) = (rows::user_name(users / 2).replace('@', "%40"), rows::entra_id(users / 2));
    let (middle, cycle) = (log_rows / 2, log_rows / rows::PER_CYCLE / 2);
    let mut paths: Vec<String> =
        ["/", "/mapping", "/cycles", "/log", "/log?status=failure", "/log?reason=threshold", "/log?reason=adopted"]
            .map(str::to_owned)
            .into();
    paths.extend([
        format!("/cycles?before={cycle}"),
        format!("/log?before={middle}"),
        format!("/log?after={middle}"),
        format!("/log?user={name}"),
        format!("/log?user={id}&status=success"),
        "/log?action=update".to_owned(),
        format!("/log?action=deactivate&before={middle}"),
        format!("/log?cycle={cycle}"),
        format!("/log?cycle={cycle}&action=update"),
        "/log?since=2026-11-02&until=2026-11-03".to_owned(),
        "/log?until=2026-11-02&status=failure".to_owned(),
        format!("/users/{id}"),
        format!("/log.csv?user={name}"),
    ]);
    paths
}

/// A daemon with pages, which ends when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    /// Starts it and waits until it listens.
    pub(crate) fn start(command: &mut Command, directory: &Path) -> anyhow::Result<Self> {
        let child = command.arg("run").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut daemon = Self { child, socket: socket(directory) };
        let begun = Instant::now();
        while UnixStream::connect(&daemon.socket).is_err() {
            ensure!(daemon.child.try_wait()?.is_none(), "the daemon has ended");
            ensure!(begun.elapsed() < START, "the daemon does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(daemon)
    }

    /// The median time of a page in milliseconds, after one request that fills the caches.
    pub(crate) fn median(&self, path: &str, runs: usize) -> anyhow::Result<f64> {
        self.get(path)?;
        let mut times = (0..runs).map(|_| self.get(path)).collect::<anyhow::Result<Vec<f64>>>()?;
        times.sort_by(f64::total_cmp);
        times.get(runs / 2).copied().context("--runs must be at least 1")
    }

    fn get(&self, path: &str) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let time = begun.elapsed().as_secs_f64() * 1000.0;
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer));
        Ok(time)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It writes nothing that could be lost.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
