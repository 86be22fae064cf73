//! The simulated tenant, in a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use graph_sim::{CLIENT_ID, CLIENT_SECRET, GraphSim, LargeTenant, TENANT_ID};

use crate::child::Kept;

/// Serves until its input ends. Each line of the input is a command, answered by one line.
pub(crate) fn serve(users: usize, groups: usize, latency: u64) -> anyhow::Result<()> {
    let sim = GraphSim::start_large(LargeTenant { users, groups, latency: Duration::from_millis(latency) })?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} {}", sim.url(), sim.tenant(|tenant| tenant.application.object_id.clone()))?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (command, step) = line.split_once(' ').unwrap_or((&line, "1"));
        let step = step.parse()?;
        let number = match command {
            "change" => sim.change_users(step) as u64,
            "unassign" => sim.unassign_users(step) as u64,
            _ => sim.requests(),
        };
        writeln!(out, "{number}")?;
        out.flush()?;
    }
    Ok(())
}

pub(crate) struct Simulator {
    pub(crate) url: String,
    pub(crate) application: String,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _child: Kept,
}

impl Simulator {
    pub(crate) fn start(users: usize, groups: usize, latency: u64) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").args([users.to_string(), groups.to_string(), latency.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let mut simulator = Self { url: String::new(), application: String::new(), input, output, _child: Kept(child) };
        let line = simulator.line()?;
        let (url, application) = line.split_once(' ').context("the simulator did not start")?;
        simulator.url = url.to_owned();
        simulator.application = application.to_owned();
        Ok(simulator)
    }

    pub(crate) fn ask(&mut self, command: &str) -> anyhow::Result<u64> {
        writeln!(self.input, "{command}")?;
        Ok(self.line()?.parse()?)
    }

    pub(crate) fn requests(&mut self) -> anyhow::Result<u64> {
        self.ask("requests")
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// The sections of the configuration that concern the directory, without the file of the secret.
    pub(crate) fn configuration(&self) -> String {
        let Self { url, application, .. } = self;
        format!(
            "[entra]\ntenant_id = \"{TENANT_ID}\"\nclient_id = \"{CLIENT_ID}\"\nauthority_url = \"{url}\"\n\
             graph_url = \"{url}\"\n[app]\nenterprise_app = \"{application}\"\n"
        )
    }

    pub(crate) fn secret() -> &'static str {
        CLIENT_SECRET
    }
}
