//! The scenarios of one setting, one after the other against the same learner database.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::child::{self, Cost};
use crate::postgres::Server;
use crate::simulator::Simulator;

/// The size of a measurement, and its circumstances.
#[derive(Clone, Serialize)]
pub(crate) struct Setting {
    pub(crate) users: usize,
    /// The number of assigned groups; 0 if each user is assigned directly.
    pub(crate) groups: usize,
    /// In milliseconds.
    pub(crate) latency: u64,
    #[serde(skip)]
    pub(crate) only: Vec<String>,
    #[serde(skip)]
    pub(crate) program: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    FirstLoad,
    Unchanged,
    Full,
    /// The daemon after a cycle: its memory, and its CPU time during some seconds.
    Idle,
    FewChanged,
    AllChanged,
    AllLeave,
    ReadFloor,
    WriteFloor,
}

impl Scenario {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FirstLoad => "first load",
            Self::Unchanged => "unchanged",
            Self::Full => "full",
            Self::Idle => "idle daemon",
            Self::FewChanged => "1 % changed",
            Self::AllChanged => "all changed",
            Self::AllLeave => "all leave",
            Self::ReadFloor => "F_read",
            Self::WriteFloor => "F_write",
        }
    }
}

/// The costs of each scenario, one for each run.
#[derive(Serialize)]
pub(crate) struct Measured {
    pub(crate) setting: Setting,
    pub(crate) database: &'static str,
    pub(crate) costs: BTreeMap<Scenario, Vec<Cost>>,
}

pub(crate) fn measure(setting: &Setting, server: Option<&Server>, runs: usize) -> anyhow::Result<Measured> {
    let mut costs: BTreeMap<Scenario, Vec<Cost>> = BTreeMap::new();
    for run in 1..=runs {
        eprintln!("{} users, {} groups, run {run} of {runs}", setting.users, setting.groups);
        let mut run = Run::start(setting, server)?;
        run.scenarios()?;
        for (scenario, cost) in std::mem::take(&mut run.costs) {
            costs.entry(scenario).or_default().push(cost);
        }
    }
    let database = if server.is_some() { "PostgreSQL" } else { "SQLite" };
    Ok(Measured { setting: setting.clone(), database, costs })
}

struct Run<'a> {
    setting: &'a Setting,
    simulator: Simulator,
    directory: TempDir,
    server: Option<&'a Server>,
    /// The databases of the program and of the floor.
    urls: [String; 2],
    costs: Vec<(Scenario, Cost)>,
}

const DATABASES: [&str; 2] = ["learners", "floor"];

impl<'a> Run<'a> {
    fn start(setting: &'a Setting, server: Option<&'a Server>) -> anyhow::Result<Self> {
        let simulator = Simulator::start(setting.users, setting.groups, setting.latency)?;
        // On the disk of the build, because /tmp may be in memory.
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let secret = directory.path().join("secret");
        std::fs::write(&secret, Simulator::secret())?;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
        let url = |name: &str| match server {
            Some(server) => server.create(name),
            None => Ok(format!("sqlite://{}", directory.path().join(name).with_extension("db").display())),
        };
        let urls = [url(DATABASES[0])?, url(DATABASES[1])?];
        for (name, url) in DATABASES.iter().zip(&urls) {
            let text = format!(
                "{}[entra.credential]\nsecret_file = {secret:?}\n[state]\ndirectory = {:?}\n\
                 [log]\nlevel = \"warn\"\n[learners]\ndatabase_url = \"{url}\"\n",
                simulator.configuration(),
                directory.path().join(format!("{name}-state")),
            );
            std::fs::write(directory.path().join(name).with_extension("toml"), text)?;
        }
        Ok(Self { setting, simulator, directory, server, urls, costs: Vec::new() })
    }

    fn scenarios(&mut self) -> anyhow::Result<()> {
        let users = self.setting.users as u64;
        self.command("learners", &["schema", "apply"], &[0])?;
        self.cycle(Scenario::FirstLoad, &[], &[("created", users)])?;
        if self.is_wanted(Scenario::WriteFloor) {
            self.command("floor", &["schema", "apply"], &[0])?;
            let mut command = Command::new(std::env::current_exe()?);
            let (_, printed) = child::run(command.arg("write-floor").args(&self.urls), &[0])?;
            self.costs.push((Scenario::WriteFloor, serde_json::from_str(&printed)?));
        }
        if self.is_wanted(Scenario::ReadFloor) {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["read-floor", &self.simulator.url, &self.simulator.application]);
            let before = self.simulator.requests()?;
            let (cost, printed) = child::run(&mut command, &[0])?;
            ensure!(printed.trim() == users.to_string(), "the floor read {} of {users} users", printed.trim());
            self.costs.push((Scenario::ReadFloor, Cost { requests: self.simulator.requests()? - before, ..cost }));
        }
        if self.is_wanted(Scenario::Unchanged) {
            self.cycle(Scenario::Unchanged, &[], &[("unchanged", users)])?;
        }
        if self.is_wanted(Scenario::Full) {
            self.cycle(Scenario::Full, &["--full"], &[("unchanged", users)])?;
        }
        if self.is_wanted(Scenario::Idle) {
            let cost = self.idle_daemon()?;
            self.costs.push((Scenario::Idle, cost));
        }
        if self.is_wanted(Scenario::FewChanged) {
            let changed = self.simulator.ask("change 100")?;
            self.cycle(Scenario::FewChanged, &[], &[("updated", changed)])?;
        }
        if self.is_wanted(Scenario::AllChanged) {
            let changed = self.simulator.ask("change 1")?;
            self.cycle(Scenario::AllChanged, &[], &[("updated", changed)])?;
        }
        if self.is_wanted(Scenario::AllLeave) {
            self.simulator.ask("unassign 1")?;
            self.command("learners", &["sync"], &[3])?;
            self.command("learners", &["approve", "--yes", "--expect", &users.to_string()], &[0])?;
            self.cycle(Scenario::AllLeave, &[], &[("deactivated", users)])?;
        }
        Ok(())
    }

    fn is_wanted(&self, scenario: Scenario) -> bool {
        let only = &self.setting.only;
        only.is_empty() || only.iter().any(|name| name == scenario.name())
    }

    /// Measures a cycle, which must have these counts.
    fn cycle(&mut self, scenario: Scenario, options: &[&str], counts: &[(&str, u64)]) -> anyhow::Result<()> {
        let before = self.simulator.requests()?;
        let (cost, printed) = self.command("learners", &[&["sync", "--json"], options].concat(), &[0])?;
        let report: Value = serde_json::from_str(&printed)?;
        for (name, count) in counts {
            ensure!(report[*name].as_u64() == Some(*count), "{}: not {count} {name}: {printed}", scenario.name());
        }
        self.costs.push((scenario, Cost { requests: self.simulator.requests()? - before, ..cost }));
        Ok(())
    }

    fn idle_daemon(&self) -> anyhow::Result<Cost> {
        let mut daemon = child::start(&mut self.program("learners", &["run"]))?;
        loop {
            let (_, printed) = self.command("learners", &["status", "--json"], &[0])?;
            // The next cycle is drawn after the first one.
            if !serde_json::from_str::<Value>(&printed)?["next_cycle_at"].is_null() {
                break;
            }
            ensure!(daemon.0.try_wait()?.is_none(), "the daemon ended");
            std::thread::sleep(Duration::from_millis(100));
        }
        std::thread::sleep(Duration::from_secs(3));
        let before = child::used(&daemon)?;
        std::thread::sleep(Duration::from_secs(5));
        let after = child::used(&daemon)?;
        Ok(Cost { cpu: after.cpu - before.cpu, ..after })
    }

    fn command(&self, database: &str, arguments: &[&str], expected: &[i32]) -> anyhow::Result<(Cost, String)> {
        child::run(&mut self.program(database, arguments), expected).context("learner-sync")
    }

    fn program(&self, database: &str, arguments: &[&str]) -> Command {
        let config = self.directory.path().join(database).with_extension("toml");
        let mut command = Command::new(&self.setting.program);
        command.arg("--config").arg(config).args(arguments);
        command
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        for name in DATABASES {
            if let Some(Err(error)) = self.server.map(|server| server.drop_database(name)) {
                eprintln!("cannot drop {name}: {error}");
            }
        }
    }
}
