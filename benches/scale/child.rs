//! Child processes and what they cost.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use wait4::Wait4 as _;

/// The cost of a process.
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

/// Starts a program that goes on.
pub(crate) fn start(command: &mut Command) -> anyhow::Result<Kept> {
    Ok(Kept(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
}

/// The CPU time that a running child has used, and its resident memory now in place of the peak.
pub(crate) fn used(child: &Kept) -> anyhow::Result<Cost> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", child.0.id()));
    let (status, stat) = (read("status")?, read("stat")?);
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let resident: f64 = resident.context("no VmRSS")?.parse()?;
    // The name of the program, in parentheses, may contain spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).context("no CPU time");
    let cpu = (ticks(11)? + ticks(12)?) / rustix::param::clock_ticks_per_second() as f64;
    Ok(Cost { cpu, peak: resident / 1024.0, ..Cost::default() })
}

/// A child that is killed when dropped.
pub(crate) struct Kept(pub(crate) Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
