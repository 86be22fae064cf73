//! A PostgreSQL server of our own: in a directory that goes with it, reached by a socket unless it is told otherwise,
//! and stopped when this process ends, however it ends.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// The owner of everything in it.
pub(crate) const OWNER: &str = "sync";
/// A role that has to prove itself.
pub(crate) const GUARDED: &str = "guarded";
/// How.
pub(crate) const PASSWORD: &str = "correct horse";

/// What every new database is a copy of.
pub(crate) const EMPTY: &str = "template1";
/// A server is killed, but never its machine: what was written need not be on the disk. Nobody but the test is at work
/// in a database.
const SETTINGS: [&str; 9] = [
    "listen_addresses=",
    "max_connections=300",
    "logging_collector=off",
    "fsync=off",
    "full_page_writes=off",
    "autovacuum=off",
    "checkpoint_timeout=1h",
    "jit=off",
    // Servers before 14 have another one.
    "password_encryption=scram-sha-256",
];

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    programs: PathBuf,
    directory: PathBuf,
    /// Whoever runs it: PostgreSQL does not run as root.
    user: Option<(u32, u32)>,
    /// Where it listens, by socket and by network.
    port: u16,
    /// What is set for this one alone, as `name=value`.
    settings: Vec<String>,
    /// Ends the server when its standard input ends, which it does with this process at the latest.
    keeper: Mutex<Option<Child>>,
    databases: AtomicU32,
    /// Those that nobody needs any more.
    left: Mutex<Vec<String>>,
}

/// The server that the tests of this process share; none where the programs of PostgreSQL are not installed.
pub(crate) fn shared() -> Option<&'static Server> {
    static SHARED: OnceLock<Option<Server>> = OnceLock::new();
    SHARED.get_or_init(Server::start).as_ref()
}

impl Server {
    /// A server for a test that is going to harm it.
    pub(crate) fn start() -> Option<Self> {
        let server = Self::new(5432)?;
        server.run();
        Some(server)
    }

    /// A server that listens on the loopback address as well, and knows nobody yet who may come in encrypted or not.
    pub(crate) fn start_on_the_network(settings: impl FnOnce(&Self) -> Vec<String>) -> Option<Self> {
        // Nobody else is given this port in the next moment, so soon after it was free.
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut server = Self::new(port)?;
        server.settings = settings(&server);
        server.settings.push("listen_addresses=127.0.0.1".to_owned());
        server.run();
        Some(server)
    }

    fn new(port: u16) -> Option<Self> {
        let Some(programs) = programs() else {
            // Not by a macro, whose words are shown only when a test fails.
            let told = "SKIPPED: PostgreSQL (initdb, postgres, pg_isready) is not installed; nothing is tried on it";
            let _ = writeln!(std::io::stderr(), "{told}");
            return None;
        };
        let directory = tempfile::Builder::new().prefix("pg").tempdir().unwrap().keep();
        let user = unprivileged(&directory);
        let (keeper, databases, left) = (Mutex::new(None), AtomicU32::new(0), Mutex::default());
        let server = Self { programs, directory, user, port, settings: Vec::new(), keeper, databases, left };
        let made = server
            .command("initdb")
            .arg("--pgdata")
            .arg(server.data())
            .args(["--username", OWNER, "--encoding", "UTF8", "--locale", "C.UTF-8", "--auth", "trust", "--no-sync"])
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "initdb");
        let rules = format!(
            "local all {GUARDED} scram-sha-256\nlocal all unwelcome reject\nlocal all all trust\n\
             host all all 127.0.0.1/32 trust\n"
        );
        fs::write(server.data().join("pg_hba.conf"), rules).unwrap();
        Some(server)
    }

    /// Makes a file in its directory that only it may read.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.give(&path);
        path
    }

    /// Makes a file or a directory its own.
    pub(crate) fn give(&self, path: &Path) {
        if let Some((user, group)) = self.user {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// Where it has everything.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its port on the network.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.directory).env_remove("LC_ALL");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts it, after a kill as well.
    pub(crate) fn run(&self) {
        // The shell waits for the end of its input, and then leaves nothing behind; SIGINT has the server end at once.
        let script = r#""$0" "$@" & cat; kill -INT $! 2>/dev/null; wait; [ -e keep ] || rm -rf "$PWD""#;
        let _ = fs::remove_file(self.directory.join("keep"));
        let mut shell = self.command("/bin/sh");
        shell.arg("-c").arg(script).arg(self.programs.join("postgres")).arg("-D").arg(self.data());
        shell.arg("-k").arg(&self.directory).arg("-p").arg(self.port.to_string());
        for setting in SETTINGS.into_iter().chain(self.settings.iter().map(String::as_str)) {
            shell.args(["-c", setting]);
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        *self.keeper.lock().unwrap() = Some(shell.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        let ready = || {
            let mut ask = self.command("pg_isready");
            ask.arg("-q")
                .arg("-h")
                .arg(&self.directory)
                .arg("-p")
                .arg(self.port.to_string())
                .status()
                .unwrap()
                .success()
        };
        while !ready() {
            assert!(Instant::now() < deadline, "the server does not start: {}", self.log());
            std::thread::yield_now();
        }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// What it has written to its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Its process, as `kill` names it.
    pub(crate) fn pid(&self) -> String {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        text.lines().next().unwrap().to_owned()
    }

    /// Kills it as a power cut would, and waits until it is gone.
    pub(crate) fn kill(&self) {
        self.end("-KILL");
    }

    /// Stops it as its administrator would for an update, and waits until it is gone.
    pub(crate) fn stop(&self) {
        self.end("-INT");
    }

    /// Kills it for good, and leaves nothing of it behind.
    pub(crate) fn discard(&self) {
        self.kill();
        fs::remove_dir_all(&self.directory).unwrap();
    }

    fn end(&self, by: &str) {
        fs::write(self.directory.join("keep"), "").unwrap();
        signal(by, &self.pid());
        if let Some(mut keeper) = self.keeper.lock().unwrap().take() {
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
    }

    /// A new, empty database.
    pub(crate) async fn database(&self) -> String {
        self.copy(EMPTY).await
    }

    /// A new one with all that is in another, which nobody may be using.
    pub(crate) async fn copy(&self, of: &str) -> String {
        let name = format!("learners_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.create(&name, of).await;
        name
    }

    /// Has a database go when the next one is made: whoever leaves it cannot wait.
    pub(crate) fn leave(&self, name: &str) {
        self.left.lock().unwrap().push(name.to_owned());
    }

    /// The same under this name.
    pub(crate) async fn create(&self, name: &str, of: &str) {
        let mut connection = self.connect("postgres").await;
        // All of them together would be some gigabytes.
        let left = std::mem::take(&mut *self.left.lock().unwrap());
        for name in left {
            let sql = format!("DROP DATABASE {name} WITH (FORCE)");
            connection.execute(AssertSqlSafe(sql)).await.unwrap();
        }
        // Newer servers would rather write every page to their log; this is how the older ones did it, in half the time.
        let how = if connection.server_version_num().unwrap() < 150_000 { "" } else { "STRATEGY file_copy" };
        let sql = format!("CREATE DATABASE {name} TEMPLATE {of} {how}");
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
        connection.close().await.unwrap();
    }

    /// The URL of a database, as a configuration names it.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@localhost:{}/{database}?host={}", self.port, self.directory.display())
    }

    /// A connection of the owner.
    pub(crate) async fn connect(&self, database: &str) -> PgConnection {
        PgConnection::connect(&self.url(OWNER, database)).await.unwrap()
    }

    /// Runs statements in a database.
    pub(crate) async fn execute(&self, database: &str, sql: &str) {
        let mut connection = self.connect(database).await;
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
        connection.close().await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.lock().unwrap().take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().unwrap().success(), "kill {signal} {pid}");
}

/// Where the programs are: the newest that Debian has, else those on the path.
fn programs() -> Option<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut versions: Vec<PathBuf> = debian.map(|path| path.join("bin")).collect();
    versions.sort();
    #[allow(clippy::disallowed_methods, reason = "it is no setting of ours")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = versions.into_iter().rev().chain(std::env::split_paths(&path));
    all.into_iter()
        .find(|directory| ["initdb", "postgres", "pg_isready"].iter().all(|name| directory.join(name).exists()))
}

/// Somebody who may run a server, when we are root: the directory becomes theirs.
fn unprivileged(directory: &Path) -> Option<(u32, u32)> {
    if fs::metadata(directory).unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let numbers = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse().ok());
        Some((fields.next()??, fields.next()??))
    };
    let (user, group) = numbers("postgres").or_else(|| numbers("nobody")).unwrap();
    chown(directory, Some(user), Some(group)).unwrap();
    Some((user, group))
}
