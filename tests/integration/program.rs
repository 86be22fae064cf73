//! The program as a process: single commands, and the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use graph_sim::{Tenant, User};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::world::World;

/// The binary under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_learner-sync");
/// Timeout of every wait, long enough for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The result of [`World::changed_since`] without changes.
pub(crate) const NO_FILES: [String; 0] = [];

/// A tenant with `count` users, all assigned directly, and their ids. Their names are `Ada Number0` and so on.
pub(crate) fn users(count: usize) -> (Tenant, Vec<String>) {
    let mut tenant = Tenant::default();
    let ids = (0..count).map(|number| add_assigned_user(&mut tenant, "Ada", &format!("Number{number}"))).collect();
    (tenant, ids)
}

/// Adds a user and assigns it.
pub(crate) fn add_assigned_user(tenant: &mut Tenant, given_name: &str, surname: &str) -> String {
    let id = tenant.add_user(User::named(given_name, surname).department("Research"));
    tenant.assign_user(&id);
    id
}

/// Polls until there is a result.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < TIMEOUT, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The output of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The one JSON document on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The keys of a JSON object.
pub(crate) fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

impl World {
    /// The program with the configuration of this scenario and an empty environment. It reads the real clock, and so does
    /// Graph unless the scenario says otherwise.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        self.sim.set_date(self.date.clone().unwrap_or_default());
        let mut command = Command::new(PROGRAM);
        command.env_clear().args(arguments).arg("--config").arg(self.config_path()).current_dir(self.path(""));
        command
    }

    /// Runs a command and checks the exit code.
    #[track_caller]
    pub(crate) fn run_program(&self, arguments: &[&str], code: i32) -> Ran {
        self.run_program_with(&[], arguments, code)
    }

    /// Like the above, with environment variables.
    #[track_caller]
    pub(crate) fn run_program_with(&self, environment: &[(&str, &str)], arguments: &[&str], code: i32) -> Ran {
        let mut command = self.program(arguments);
        command.envs(environment.iter().copied()).stdin(Stdio::null());
        finish(command, code)
    }

    /// Starts the daemon and waits for its first log line.
    pub(crate) async fn daemon(&self) -> Daemon {
        self.daemon_with(&[]).await
    }

    /// Like the above, with environment variables.
    pub(crate) async fn daemon_with(&self, environment: &[(&str, &str)]) -> Daemon {
        let mut command = self.program(&["run"]);
        command.envs(environment.iter().copied());
        let mut daemon = Daemon::spawn(command, &self.path("daemon.log"));
        eventually("the daemon starts", async || {
            assert_eq!(daemon.child.try_wait().unwrap(), None, "{}", daemon.log());
            daemon.log().contains("started version=").then_some(())
        })
        .await;
        daemon
    }

    /// The rows of `sync_cycles`: `trigger outcome`, oldest first.
    pub(crate) async fn cycles(&self) -> Vec<String> {
        let sql = r#"SELECT "trigger" || ' ' || coalesce(outcome, '-') FROM sync_cycles ORDER BY id"#;
        self.query(sql).await.into_iter().flatten().collect()
    }

    /// Waits until `count` cycles have ended and none runs.
    pub(crate) async fn cycles_ended(&self, count: usize) -> Vec<String> {
        eventually(&format!("{count} cycles end"), async || {
            let cycles = self.cycles().await;
            (cycles.len() >= count && !cycles.iter().any(|cycle| cycle.ends_with('-'))).then_some(cycles)
        })
        .await
    }

    /// Every file below the scenario's directory with its content.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.path(""), &mut files);
        files
    }

    /// The files that are new, gone or different.
    pub(crate) fn changed_since(&self, before: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
        let after = self.files();
        let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        names.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
    }

    pub(crate) fn reconfigure(&self, change: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(self.config_path()).unwrap();
        std::fs::write(self.config_path(), change(text)).unwrap();
    }
}

/// Runs a command and checks the exit code.
#[track_caller]
pub(crate) fn finish(command: Command, code: i32) -> Ran {
    let output = assert_cmd::Command::from_std(command).timeout(TIMEOUT).output().unwrap();
    let ran =
        Ran { stdout: String::from_utf8(output.stdout).unwrap(), stderr: String::from_utf8(output.stderr).unwrap() };
    assert_eq!(output.status.code(), Some(code), "stdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
    ran
}

fn collect(directory: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if path.is_dir() {
            files.insert(name, Vec::new());
            collect(&path, files);
        } else {
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    log: std::path::PathBuf,
}

impl Daemon {
    /// Starts it with its standard error in a file.
    pub(crate) fn spawn(mut command: Command, log: &Path) -> Self {
        command.stderr(std::fs::File::create(log).unwrap());
        Self::spawn_without_log(command, log)
    }

    /// Starts it with the standard error of `command`; the log stays empty.
    pub(crate) fn spawn_without_log(mut command: Command, log: &Path) -> Self {
        command.stdout(Stdio::null());
        Self::spawn_with_output(command, log)
    }

    /// Starts it with the standard output and the standard error of `command`; the log stays empty.
    pub(crate) fn spawn_with_output(mut command: Command, log: &Path) -> Self {
        std::fs::File::options().create(true).append(true).open(log).unwrap();
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        Self { child, log: log.to_owned() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the log contains `text` `times` times.
    pub(crate) async fn logged(&self, text: &str, times: usize) {
        eventually(&format!("{text:?} is logged {times} times"), async || {
            (self.log().matches(text).count() >= times).then_some(())
        })
        .await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it has ended, and returns its exit code; `None` after a kill.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        eventually("the process ends", async || child.try_wait().unwrap()).await.code()
    }

    /// Sends SIGTERM and expects exit code 0.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended().await, Some(0), "{}", self.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
