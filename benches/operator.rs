//! The time of the commands with which an administrator looks at a large database: `cargo bench --bench operator`.
//!
//! The installed program, as a child process, reads a database whose rows SQL has made. `status`, `log --user` and each
//! page of the status page must answer at once with a million log rows, and with a hundred thousand failing users.

#![expect(clippy::print_stdout, reason = "the results are for the terminal")]

#[path = "scale/child.rs"]
#[expect(dead_code, reason = "only the time of short commands counts")]
mod child;
#[path = "operator/pages.rs"]
mod pages;
#[path = "scale/postgres.rs"]
#[expect(dead_code, reason = "the database ends with its server")]
mod postgres;
#[path = "operator/rows.rs"]
mod rows;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};

use crate::child::Cost;

#[derive(Parser)]
#[command(about = "Measures status, log --user and the status page on a large database")]
struct Arguments {
    /// The rows of the provisioning log.
    #[arg(long, default_value_t = 1_000_000)]
    log_rows: u32,
    /// The users of the log, and the failing users of the second database.
    #[arg(long, default_value_t = 100_000)]
    users: u32,
    /// The database of the learners.
    #[arg(long, value_enum, default_value_t = Database::Sqlite)]
    database: Database,
    /// The runs of which the medians are shown.
    #[arg(long, default_value_t = 9)]
    runs: usize,
    /// The program to measure.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_learner-sync"))]
    program: PathBuf,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Database {
    Sqlite,
    Postgres,
}

/// The longest accepted times, in milliseconds.
const LOG: f64 = 50.0;
const STATUS: f64 = 100.0;
const PAGE: f64 = 100.0;

fn main() -> anyhow::Result<()> {
    let Arguments { log_rows, users, database, runs, program, bench: _ } = Arguments::parse();
    let server = (database == Database::Postgres).then(postgres::Server::start).transpose()?;
    // On the disk of the build, because /tmp may be in memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let url = match &server {
        Some(server) => server.create("learners")?,
        None => format!("sqlite://{}", directory.path().join("learners.db").display()),
    };
    let program = Program { path: program, config: configure(directory.path(), &url)? };
    child::run(&mut program.command(&["schema", "apply"]), &[0])?;

    let user = users / 2;
    let (name, id) = (rows::user_name(user), rows::entra_id(user));
    let measured: [(&[&str], f64); 5] = [
        (&["log", "--user", &name], LOG),
        (&["log", "--user", &id], LOG),
        (&["log", "--user", &name, "--format", "json"], LOG),
        (&["status"], STATUS),
        (&["status", "--json"], STATUS),
    ];
    for failing in [0, users] {
        match failing {
            0 => rows::make(&url, users, log_rows)?,
            failing => rows::make_failing(&url, failing)?,
        }
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header(["command", "ms", "CPU ms", "bound ms", ""]);
        for (arguments, bound) in measured {
            let [time, cpu] = program.medians(arguments, runs)?;
            let met = if time < bound { "met" } else { "MISSED" };
            let numbers = [format!("{time:.1}"), format!("{cpu:.1}"), format!("{bound}")];
            table.add_row([arguments.join(" ")].into_iter().chain(numbers).chain([met.to_owned()]));
        }
        let daemon = pages::Daemon::start(&mut program.command(&[]), directory.path())?;
        for path in pages::paths(users, log_rows) {
            let time = daemon.median(&path, runs)?;
            let met = if time < PAGE { "met" } else { "MISSED" };
            table.add_row([path, format!("{time:.1}"), String::new(), format!("{PAGE}"), met.to_owned()]);
        }
        drop(daemon);
        table.column_iter_mut().skip(1).take(3).for_each(|column| {
            column.set_cell_alignment(CellAlignment::Right);
        });
        let database = if server.is_some() { "PostgreSQL" } else { "SQLite" };
        println!("\n{database}: {log_rows} log rows, {users} learners, {failing} failing users; median of {runs}\n");
        println!("{table}");
    }
    Ok(())
}

struct Program {
    path: PathBuf,
    config: PathBuf,
}

impl Program {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("--config").arg(&self.config).args(arguments);
        command
    }

    /// The time, and the CPU time of the program itself, in milliseconds; after one run that fills the caches.
    fn medians(&self, arguments: &[&str], runs: usize) -> anyhow::Result<[f64; 2]> {
        child::run(&mut self.command(arguments), &[0])?;
        let mut costs = Vec::with_capacity(runs);
        for _ in 0..runs {
            costs.push(child::run(&mut self.command(arguments), &[0])?.0);
        }
        let median = |quantity: fn(&Cost) -> f64| {
            let mut values: Vec<f64> = costs.iter().map(quantity).collect();
            values.sort_by(f64::total_cmp);
            values.get(runs / 2).map(|seconds| seconds * 1000.0).context("--runs must be at least 1")
        };
        Ok([median(|cost| cost.wall)?, median(|cost| cost.cpu)?])
    }
}

/// Writes a configuration that names no real tenant: these commands ask Graph nothing.
fn configure(directory: &Path, url: &str) -> anyhow::Result<PathBuf> {
    let secret = directory.join("secret");
    std::fs::write(&secret, "never sent")?;
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
    let text = format!(
        "[entra]\ntenant_id = \"{}\"\nclient_id = \"{}\"\n[entra.credential]\nsecret_file = {secret:?}\n\
         [app]\nenterprise_app = \"{}\"\n[state]\ndirectory = {:?}\n[learners]\ndatabase_url = \"{url}\"\n{}",
        rows::TENANT,
        rows::TENANT,
        rows::APPLICATION,
        directory.join("state"),
        pages::configuration(directory),
    );
    let config = directory.join("learner-sync.toml");
    std::fs::write(&config, text)?;
    Ok(config)
}
