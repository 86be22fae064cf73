//! Runs a private PostgreSQL server: in a temporary directory, on a Unix socket unless configured otherwise, stopped when
//! the test process ends for any reason.

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

use rustix::fs::statvfs;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

/// The superuser, who owns all databases.
pub(crate) const OWNER: &str = "sync";
/// A role that needs a password.
pub(crate) const GUARDED: &str = "guarded";
/// The password of [`GUARDED`].
pub(crate) const PASSWORD: &str = "correct horse";

/// The template of new databases.
pub(crate) const EMPTY: &str = "template1";
/// Tests kill the server but never the machine, so nothing needs to be synced to disk.
const SETTINGS: [&str; 9] = [
    "listen_addresses=",
    "max_connections=300",
    "logging_collector=off",
    "fsync=off",
    "full_page_writes=off",
    "autovacuum=off",
    "checkpoint_timeout=1h",
    "jit=off",
    // The default since version 14.
    "password_encryption=scram-sha-256",
];

#[derive(Debug)]
pub(crate) struct Server {
    programs: PathBuf,
    directory: PathBuf,
    /// User and group id of the server, because PostgreSQL does not run as root.
    user: Option<(u32, u32)>,
    port: u16,
    settings: Vec<String>,
    /// A shell that ends the server when its standard input closes, at the latest with this process.
    keeper: Mutex<Option<Child>>,
    databases: AtomicU32,
    /// Databases to be dropped.
    unused: Mutex<Vec<String>>,
}

/// The server shared by all tests of this process; `None` without the programs of PostgreSQL.
pub(crate) fn shared() -> Option<&'static Server> {
    static SHARED: OnceLock<Option<&'static Server>> = OnceLock::new();
    *SHARED.get_or_init(Server::start)
}

impl Server {
    /// A private server, for a test that stops or kills it.
    pub(crate) fn start() -> Option<&'static Self> {
        let server = Self::new(5432)?;
        server.run();
        Some(Box::leak(Box::new(server)))
    }

    /// A private server that also listens on the loopback address.
    pub(crate) fn start_on_the_network(settings: impl FnOnce(&Self) -> Vec<String>) -> Option<&'static Self> {
        // The system does not assign a port again right after its release.
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut server = Self::new(port)?;
        server.settings = settings(&server);
        server.settings.push("listen_addresses=127.0.0.1".to_owned());
        server.run();
        Some(Box::leak(Box::new(server)))
    }

    /// A private server that copies `primary`, until it is promoted.
    pub(crate) fn standby_of(primary: &Self) -> &'static Self {
        let standby = Self::without_data(5432).unwrap();
        let copied = standby
            .command("pg_basebackup")
            .arg("--host")
            .arg(&primary.directory)
            .args(["--port", &primary.port.to_string(), "--username", OWNER])
            .arg("--pgdata")
            .arg(standby.data())
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .status();
        assert!(copied.unwrap().success(), "pg_basebackup");
        standby.run();
        Box::leak(Box::new(standby))
    }

    /// A server that another program runs, with its data and its socket in `directory`.
    pub(crate) fn run_by_others(directory: &Path, port: u16) -> &'static Self {
        let (programs, directory) = (programs().unwrap(), directory.to_owned());
        let (user, keeper, databases, unused) =
            (unprivileged(&directory), Mutex::new(None), AtomicU32::new(0), Mutex::default());
        Box::leak(Box::new(Self { programs, directory, user, port, settings: Vec::new(), keeper, databases, unused }))
    }

    pub(crate) fn is_running(&self) -> bool {
        self.data().join("postmaster.pid").exists()
    }

    fn new(port: u16) -> Option<Self> {
        let server = Self::without_data(port)?;
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
             local replication all trust\nhost all all 127.0.0.1/32 trust\n"
        );
        fs::write(server.data().join("pg_hba.conf"), rules).unwrap();
        Some(server)
    }

    fn without_data(port: u16) -> Option<Self> {
        let Some(programs) = programs() else {
            // The test harness shows the output of `eprintln!` only for failed tests.
            let message = "SKIPPED: PostgreSQL (initdb, postgres, pg_isready) is not installed";
            let _ = writeln!(std::io::stderr(), "{message}");
            return None;
        };
        let directory = scratch().keep();
        let user = unprivileged(&directory);
        let (keeper, databases, unused) = (Mutex::new(None), AtomicU32::new(0), Mutex::default());
        Some(Self { programs, directory, user, port, settings: Vec::new(), keeper, databases, unused })
    }

    /// Creates a file in the directory of the server that only the server may read.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.give(&path);
        path
    }

    /// Makes the server the owner of a file or directory.
    pub(crate) fn give(&self, path: &Path) {
        if let Some((user, group)) = self.user {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// The directory of all its files.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// A program of PostgreSQL, or of a path, as the user of the server in its directory.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.directory).env_remove("LC_ALL");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts the server, also after `kill` or `stop`.
    pub(crate) fn run(&self) {
        // At the end of its input the shell stops the server with SIGINT (fast shutdown) and removes the directory.
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

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The process id of the server, as text.
    pub(crate) fn pid(&self) -> String {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        text.lines().next().unwrap().to_owned()
    }

    /// Kills the server and waits for its end.
    pub(crate) fn kill(&self) {
        self.end("-KILL");
    }

    /// Shuts the server down and waits for its end.
    pub(crate) fn stop(&self) {
        self.end("-INT");
    }

    pub(crate) fn discard(&self) {
        self.kill();
        fs::remove_dir_all(&self.directory).unwrap();
    }

    fn end(&self, signal_name: &str) {
        fs::write(self.directory.join("keep"), "").unwrap();
        signal(signal_name, &self.pid());
        if let Some(mut keeper) = self.keeper.lock().unwrap().take() {
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
    }

    pub(crate) async fn database(&self) -> String {
        self.copy(EMPTY).await
    }

    /// Creates a copy of a database, which must have no connections, and returns its name.
    pub(crate) async fn copy(&self, of: &str) -> String {
        let name = format!("learners_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.create(&name, of).await;
        name
    }

    /// Drops a database when the next one is created, because the caller cannot wait.
    pub(crate) fn drop_later(&self, name: &str) {
        self.unused.lock().unwrap().push(name.to_owned());
    }

    /// Creates a copy of a database with a given name.
    pub(crate) async fn create(&self, name: &str, of: &str) {
        let mut connection = self.connect("postgres").await;
        // All test databases together would take some gigabytes.
        let unused = std::mem::take(&mut *self.unused.lock().unwrap());
        for name in unused {
            let sql = format!("DROP DATABASE {name} WITH (FORCE)");
            connection.execute(AssertSqlSafe(sql)).await.unwrap();
        }
        // Twice as fast as the default of newer servers, which writes every page to the log.
        let how = if connection.server_version_num().unwrap() < 150_000 { "" } else { "STRATEGY file_copy" };
        let sql = format!("CREATE DATABASE {name} TEMPLATE {of} {how}");
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
        connection.close().await.unwrap();
    }

    /// The URL of a database for a configuration.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@localhost:{}/{database}?host={}", self.port, self.directory.display())
    }

    pub(crate) async fn connect(&self, database: &str) -> PgConnection {
        PgConnection::connect(&self.url(OWNER, database)).await.unwrap()
    }

    pub(crate) async fn execute(&self, database: &str, sql: &str) {
        let mut connection = self.connect(database).await;
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// A temporary directory, in memory if there is room, because commits wait for a disk.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let is_roomy = statvfs(memory).is_ok_and(|disk| disk.f_bavail * disk.f_frsize > 2 << 30);
    let in_memory = is_roomy.then(|| tempfile::tempdir_in(memory).ok()).flatten();
    in_memory.unwrap_or_else(|| tempfile::tempdir().unwrap())
}

pub(crate) fn signal(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().unwrap().success(), "kill {signal} {pid}");
}

/// The directory of the programs: the newest version of Debian's packages, else on the path.
pub(crate) fn programs() -> Option<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut versions: Vec<PathBuf> = debian.map(|path| path.join("bin")).collect();
    versions.sort();
    #[allow(clippy::disallowed_methods, reason = "PATH is not configuration")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = versions.into_iter().rev().chain(std::env::split_paths(&path));
    all.into_iter()
        .find(|directory| ["initdb", "postgres", "pg_isready"].iter().all(|name| directory.join(name).exists()))
}

/// User and group id to run the server with, if this process runs as root. They become the owner of the directory.
pub(crate) fn unprivileged(directory: &Path) -> Option<(u32, u32)> {
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
