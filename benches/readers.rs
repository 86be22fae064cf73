//! Readers who load the status page again and again while a daemon runs a cycle: `cargo bench --bench readers`.
//!
//! The daemon, as a child process, runs a first load and a full comparison, alone and with readers. They share the machine
//! with it, so the comparison shows what the page costs a cycle, and how long a reader waits.

#![expect(clippy::print_stdout, reason = "the results are for the terminal")]

#[path = "scale/child.rs"]
#[expect(dead_code, reason = "the daemon is measured by its cycles")]
mod child;
#[path = "scale/simulator.rs"]
#[expect(dead_code, reason = "the users do not change")]
mod simulator;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::child::Kept;
use crate::simulator::Simulator;

/// The pages that the readers load in turn.
const PAGES: [&str; 4] = ["/", "/log", "/cycles", "/mapping"];
/// The log line after each cycle.
const ENDED: &str = "waiting next_cycle.at=";

#[derive(Parser)]
#[command(about = "Measures cycles of a daemon whose status page is loaded all the time")]
struct Arguments {
    /// The number of users.
    #[arg(long, default_value_t = 100_000)]
    users: usize,
    /// The number of readers.
    #[arg(long, default_value_t = 10)]
    readers: usize,
    /// The runs of which the medians are shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// The program to measure.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_learner-sync"))]
    program: PathBuf,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// The task of this program as a child of itself.
#[derive(Subcommand)]
#[command(disable_help_subcommand = true)]
enum Role {
    #[command(hide = true)]
    Serve { users: usize, groups: usize, latency: u64 },
}

/// The answers to the readers of one cycle.
#[derive(Default)]
struct Answers {
    /// The times of the pages, in milliseconds.
    times: Vec<f64>,
    /// The number of answers without a page.
    failures: usize,
}

/// A cycle of a run.
struct Measured {
    name: &'static str,
    readers: usize,
    seconds: f64,
    answers: Answers,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Role::Serve { users, groups, latency }) = arguments.role {
        return simulator::serve(users, groups, latency);
    }
    ensure!(arguments.runs > 0, "--runs must be at least 1");
    let mut measured = Vec::new();
    for _ in 0..arguments.runs {
        for readers in [0, arguments.readers] {
            measured.extend(measure(&arguments, readers)?);
        }
    }
    print(&arguments, &measured);
    Ok(())
}

/// A first load and a full comparison of a new daemon.
fn measure(arguments: &Arguments, readers: usize) -> anyhow::Result<[Measured; 2]> {
    let simulator = Simulator::start(arguments.users, 1, 0)?;
    // On the disk of the build, because /tmp may be in memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut daemon = Daemon::start(&arguments.program, &simulator, directory)?;
    let first_load = daemon.cycle("first load", readers, |_| Ok(()))?;
    let full = daemon.cycle("full comparison", readers, |daemon| daemon.signal(Signal::USR2))?;
    Ok([first_load, full])
}

struct Daemon {
    child: Kept,
    log: BufReader<ChildStderr>,
    socket: PathBuf,
    started: Instant,
    _directory: TempDir,
}

impl Daemon {
    fn start(program: &Path, simulator: &Simulator, directory: TempDir) -> anyhow::Result<Self> {
        let path = |name: &str| directory.path().join(name);
        let (secret, socket, config) = (path("secret"), path("http.sock"), path("learner-sync.toml"));
        std::fs::write(&secret, Simulator::secret())?;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
        let text = format!(
            "{}[entra.credential]\nsecret_file = {secret:?}\n[state]\ndirectory = {:?}\n[learners]\n\
             database_url = \"sqlite://{}\"\n[http]\nlisten = \"unix:{}\"\npage = true\n",
            simulator.configuration(),
            path("state"),
            path("learners.db").display(),
            socket.display(),
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null());
        let started = Instant::now();
        let mut child = Kept(command.stderr(Stdio::piped()).spawn()?);
        let log = BufReader::new(child.0.stderr.take().context("no log")?);
        Ok(Self { child, log, socket, started, _directory: directory })
    }

    fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.0.id())?).context("no process")?;
        self.started = Instant::now();
        Ok(kill_process(pid, signal)?)
    }

    /// Measures a cycle from its cause to its end, while readers load pages.
    fn cycle(
        &mut self,
        name: &'static str,
        readers: usize,
        begin: impl FnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<Measured> {
        let (socket, has_ended) = (self.socket.clone(), AtomicBool::new(false));
        let (socket, has_ended) = (&socket, &has_ended);
        std::thread::scope(|scope| {
            let readers_at_work: Vec<_> =
                (0..readers).map(|reader| scope.spawn(move || read(socket, reader, has_ended))).collect();
            let ended = begin(self).and_then(|()| self.wait());
            let seconds = self.started.elapsed().as_secs_f64();
            has_ended.store(true, Ordering::Relaxed);
            let mut answers = Answers::default();
            for reader in readers_at_work {
                let Ok(Answers { times, failures }) = reader.join() else { bail!("a reader panicked") };
                answers.times.extend(times);
                answers.failures += failures;
            }
            ended.map(|()| Measured { name, readers, seconds, answers })
        })
    }

    /// Waits until a cycle has ended.
    fn wait(&mut self) -> anyhow::Result<()> {
        let mut log = String::new();
        while self.log.read_line(&mut log)? > 0 {
            if log.contains(ENDED) {
                return Ok(());
            }
        }
        bail!("the daemon has ended:\n{log}")
    }
}

/// Loads one page after the other until the cycle has ended.
fn read(socket: &Path, reader: usize, has_ended: &AtomicBool) -> Answers {
    let mut answers = Answers::default();
    for page in PAGES.iter().cycle().skip(reader) {
        if has_ended.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        match get(socket, page) {
            // The daemon does not listen yet.
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
            Ok(false) => answers.failures += 1,
            Ok(true) => answers.times.push(begun.elapsed().as_secs_f64() * 1000.0),
        }
    }
    answers
}

/// Whether a page is answered.
fn get(socket: &Path, page: &str) -> std::io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(format!("GET {page} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

fn print(arguments: &Arguments, measured: &[Measured]) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["cycle", "readers", "s", "pages", "median ms", "99 % ms", "longest ms", "failures"]);
    for name in ["first load", "full comparison"] {
        for readers in [0, arguments.readers] {
            let of_these = || measured.iter().filter(|one| one.name == name && one.readers == readers);
            let seconds = sorted(of_these().map(|one| one.seconds));
            let times = sorted(of_these().flat_map(|one| one.answers.times.iter().copied()));
            let failures: usize = of_these().map(|one| one.answers.failures).sum();
            let milliseconds = |part: f64| at(&times, part).map_or_else(String::new, |time| format!("{time:.1}"));
            table.add_row([
                name.to_owned(),
                readers.to_string(),
                at(&seconds, 0.5).map_or_else(String::new, |seconds| format!("{seconds:.2}")),
                (times.len() / arguments.runs).to_string(),
                milliseconds(0.5),
                milliseconds(0.99),
                milliseconds(1.0),
                failures.to_string(),
            ]);
        }
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{} users in one group, SQLite, median of {} runs\n\n{table}", arguments.users, arguments.runs);
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The value below which this part of the values lies.
fn at(sorted: &[f64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a small number")]
    sorted.get((last as f64 * part).round() as usize).copied()
}
