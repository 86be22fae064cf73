//! Child processes and what they cost.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use wait4::Wait4 as _;

/// What a process cost.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// In seconds.
    pub(crate) wall: f64,
    /// In seconds, of the process itself.
    pub(crate) cpu: f64,
    /// In MiB.
    pub(crate) peak: f64,
    /// HTTP requests.
    pub(crate) requests: u64,
}

/// Runs a program to its end, which must be one of the `expected` exit codes. Also returns what it printed.
pub(crate) fn run(command: &mut Command, expected: &[i32]) -> anyhow::Result<(Cost, String)> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let errors = child.stderr.take().map(|mut stream| {
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text);
            text
        })
    });
    let mut printed = String::new();
    child.stdout.take().context("no output")?.read_to_string(&mut printed)?;
    let used = child.wait4()?;
    let wall = start.elapsed().as_secs_f64();
    let errors = errors.and_then(|reader| reader.join().ok()).unwrap_or_default();
    if !used.status.code().is_some_and(|code| expected.contains(&code)) {
        bail!("{command:?} ended with {}:\n{printed}{errors}", used.status);
    }
    let cpu = (used.rusage.utime + used.rusage.stime).as_secs_f64();
    Ok((Cost { wall, cpu, peak: used.rusage.maxrss as f64 / f64::from(1 << 20), requests: 0 }, printed))
}

/// A child that is killed when dropped.
pub(crate) struct Kept(pub(crate) Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
