//! The cost of a cycle beside the floor: `cargo bench --bench scale -- --users 100000 --database sqlite`.
//!
//! The installed program, as a child process, reads a simulated tenant that serves ready-made pages from another process.
//! Two floors are measured in each run: the bare download and parse of the same pages, and the bare insert of the rows
//! that the first load wrote. This process stays small and starts all others, because a child inherits the peak memory of
//! its parent.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the results are for the terminal")]

#[path = "scale/bounds.rs"]
mod bounds;
#[path = "scale/child.rs"]
mod child;
#[path = "scale/plot.rs"]
mod plot;
#[path = "scale/postgres.rs"]
mod postgres;
#[path = "scale/read_floor.rs"]
mod read_floor;
#[path = "scale/report.rs"]
mod report;
#[path = "scale/scenarios.rs"]
mod scenarios;
#[path = "scale/simulator.rs"]
mod simulator;
#[path = "scale/write_floor.rs"]
mod write_floor;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::scenarios::Setting;

#[derive(Parser)]
#[command(about = "Measures cycles of the release build beside the bare download and the bare insert")]
struct Arguments {
    /// Numbers of users; several separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [100_000])]
    users: Vec<usize>,
    /// The database of the learners.
    #[arg(long, value_enum, default_value_t = Database::Sqlite)]
    database: Database,
    /// How the users are assigned.
    #[arg(long, value_enum, default_value_t = Assignment::Both)]
    assignment: Assignment,
    /// The number of assigned groups among which the users are divided.
    #[arg(long, default_value_t = 1)]
    groups: usize,
    /// The members of each group, in place of --users.
    #[arg(long)]
    members: Option<usize>,
    /// The time before each answer of the simulator, in milliseconds.
    #[arg(long, default_value_t = 0)]
    latency: u64,
    /// The runs of which the medians are shown.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Measure only these scenarios, separated by commas; the first load always runs.
    #[arg(long, value_delimiter = ',')]
    scenarios: Vec<String>,
    /// The program to measure.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_learner-sync"))]
    program: PathBuf,
    /// Write all measurements to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a plot of the cost against the number of users; needs several numbers of users.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
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
    #[command(hide = true)]
    ReadFloor { url: String, application: String },
    #[command(hide = true)]
    WriteFloor { from: String, to: String },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Database {
    Sqlite,
    Postgres,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Assignment {
    Group,
    Direct,
    Both,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match &arguments.role {
        Some(Role::Serve { users, groups, latency }) => simulator::serve(*users, *groups, *latency),
        Some(Role::ReadFloor { url, application }) => read_floor::run(url, application),
        Some(Role::WriteFloor { from, to }) => write_floor::run(from, to),
        None => measure(&arguments),
    }
}

fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments {
        users, database, assignment, groups, members, latency, runs, scenarios, program, json, plot, ..
    } = arguments;
    let server = (*database == Database::Postgres).then(postgres::Server::start).transpose()?;
    let users = members.map_or_else(|| users.clone(), |members| vec![groups * members]);
    println!("{}", report::machine());
    let mut results = Vec::new();
    for users in users {
        let both = [(Assignment::Group, *groups), (Assignment::Direct, 0)];
        for (_, groups) in both.into_iter().filter(|(how, _)| [*how, Assignment::Both].contains(assignment)) {
            let setting =
                Setting { users, groups, latency: *latency, only: scenarios.clone(), program: program.clone() };
            let result = scenarios::measure(&setting, server.as_ref(), *runs)?;
            report::print(&result);
            results.push(result);
        }
    }
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_vec_pretty(&results)?)?;
    }
    plot.as_ref().map_or(Ok(()), |path| plot::write(path, &results))
}
