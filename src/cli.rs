//! The command line: one file per command. Results go to standard output, logs to standard error.

mod approve;
mod check;
mod completions;
mod decisions;
mod guide;
mod init;
mod log;
mod logging;
mod man;
mod mapping;
mod narrow;
mod notify;
mod output;
mod owner;
mod pause;
mod plan;
mod planner;
mod progress;
mod provision;
mod resync;
mod run;
mod schema;
mod status;
mod sync;
mod visible_events;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};
use rustix::fs::Mode;

use self::mapping::MappingCommand;
use self::notify::{NotifyCommand, TestArguments};
use self::output::{Failure, FailureDocument};
use crate::config::{self, Config, ConfigError, LogFormat};
use crate::failpoint;
use crate::model::system_clock;
use crate::runtime::learner_database;
use crate::runtime::status::{RecordPlaces, notify_daemon};
use crate::store::{Access, LearnerDatabase, Store};

/// The threads that wait for requests and signals.
const EVENT_THREADS: usize = 1;
/// How long other threads wait for work before they end.
const IDLE_THREADS: Duration = Duration::from_secs(2);
const DEFAULT_CONFIG: &str = "/etc/learner-sync/learner-sync.toml";

/// Keeps the learner database of a training platform in sync with the users assigned to an Entra ID enterprise
/// application.
#[derive(Debug, Parser)]
#[command(name = "learner-sync", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done; 1 failed, nothing lost; 2 usage; 3 done, but some users failed or were held; \
                        75 another cycle or daemon is running; 78 configuration.\n\
                        Start with `learner-sync guide`, `learner-sync check` and `learner-sync plan`."
)]
struct Arguments {
    /// The configuration file.
    #[arg(long, global = true, value_name = "PATH", env = "LEARNER_SYNC_CONFIG", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: one cycle at once, then by schedule and signal.
    Run,
    /// Run one cycle now.
    Sync(sync::Arguments),
    /// Show what a cycle would do, without writing anything or taking the lock.
    Plan(plan::Arguments),
    /// Provision one user now, and explain each step.
    Provision(provision::Arguments),
    /// Check the configuration, the sign-in, the application, the permissions and the database.
    Check(check::Arguments),
    /// Show the state: the last cycle, the next one, and the held and failing users.
    Status(status::Arguments),
    /// Show the provisioning log.
    Log(Box<log::Arguments>),
    /// Show the held users, and release exactly those.
    Approve(approve::Arguments),
    /// Pause provisioning: cycles are skipped until `resume`.
    Pause,
    /// Resume provisioning.
    Resume,
    /// Request a cycle from the running daemon.
    Resync(resync::Arguments),
    /// Check the mapping, evaluate expressions, or import an exported schema.
    #[command(subcommand)]
    Mapping(MappingCommand),
    /// Print the SQL that creates the tables, or run it.
    #[command(subcommand)]
    Schema(schema::SchemaCommand),
    /// Test the messages to administrators.
    #[command(subcommand)]
    Notify(NotifyCommand),
    /// Print the guide: installing, going live, operations and more.
    Guide(guide::Arguments),
    /// Write a first configuration, and print the commands that register the application in Entra ID.
    Init(init::Arguments),
    /// Print the script that completes commands, flags and their values in a shell.
    Completions(completions::Arguments),
    /// Write the manual pages into a directory, for packages.
    #[command(hide = true)]
    Man(man::Arguments),
    /// Print the version.
    Version,
}

/// The input of every configured command.
struct Context {
    config: Config,
    environment: BTreeMap<String, String>,
}

impl Context {
    fn learners(&self) -> Result<LearnerDatabase, Failure> {
        Ok(learner_database(&self.config, &self.environment)?)
    }

    async fn check_owner(&self) -> Result<(), Failure> {
        owner::check_owner(&self.config, &self.environment).await
    }

    /// Opens the learner database to write, unless it has an older schema: only a cycle migrates it.
    async fn open_current_store(&self) -> Result<Store, Failure> {
        // First, because reading a file that cannot be written leaves SQLite's log beside it.
        let inspected = Store::inspect(self.learners()?, Access::ReadWrite).await?;
        Ok(Store::open_unmigrated(&inspected).await?)
    }
}

/// Parses the arguments, loads the configuration, runs the command.
pub fn main() -> ExitCode {
    let Arguments { config, command } = Arguments::parse();
    let document = command.failure_document();
    std::panic::set_hook(Box::new(report_panic));
    failpoint::arm();
    let run = || match command {
        Command::Mapping(MappingCommand::Eval(arguments)) if arguments.user.is_none() => {
            mapping::eval::run(arguments, system_clock())
        }
        Command::Mapping(MappingCommand::Import(arguments)) => mapping::import::run(&arguments),
        Command::Guide(arguments) => guide::run(&arguments),
        Command::Init(arguments) => init::run(arguments, &config),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Version => print_version(),
        command => configured(&config, command),
    };
    // A thread that cannot be started is a panic in tokio.
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    match result.unwrap_or_else(|_| Err(Failure::new(output::FAILED, "the command ended early, for the reason above")))
    {
        Ok(code) => ExitCode::from(code),
        Err(failure) => ExitCode::from(failure.report(document)),
    }
}

/// The text of `--version`.
fn print_version() -> Result<u8, Failure> {
    output::print(Arguments::command().render_version().trim_end())?;
    Ok(output::DONE)
}

/// Names the place of a panic. Its message may quote personal data, except where tokio cannot start a thread.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().filter(|_| place.contains("/tokio-")).unwrap_or("please report this defect");
    let priority = if logging::is_journal_connected() { "<2>" } else { "" };
    // Logging may not have started yet.
    let _ = writeln!(std::io::stderr(), "{priority}learner-sync panicked at {place}: {message}");
}

/// Loads the configuration and runs a command that needs it.
fn configured(path: &Path, command: Command) -> Result<u8, Failure> {
    check_descriptors()?;
    let environment = config::environment();
    // The learner database holds personal data: other users must not read it, whatever the umask of the shell.
    rustix::process::umask(rustix::process::umask(Mode::empty()) | Mode::RWXO);
    // It also answers while the configuration cannot be used.
    if let Command::Status(arguments) = command {
        return with_runtime(status::run(path, &environment, arguments));
    }
    let config = match config::load(path, &environment) {
        Ok(config) => {
            logging::start_once(&config)?;
            config
        }
        Err(error) => command.config_of_daemon(path, &environment, error)?,
    };
    with_runtime(command.run(Context { config, environment }))
}

fn with_runtime(work: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    // Parsing, mapping and the databases have threads of their own, which give their memory back when they end.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().worker_threads(EVENT_THREADS).thread_keep_alive(IDLE_THREADS).build();
    let runtime = runtime.map_err(|error| Failure::failed(&error, None))?;
    let result = runtime.block_on(work);
    // A thread that waits for a disk must not keep the process.
    runtime.shutdown_background();
    result
}

/// Refuses a limit under which a cycle would fail halfway, or tokio would panic.
fn check_descriptors() -> Result<(), Failure> {
    const NEEDED: u64 = 64;
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(limit) if limit < NEEDED => {
            let message = format!("too few file descriptors: the limit is {limit}, and {NEEDED} are needed");
            let hint = "raise LimitNOFILE= of the unit, or ulimit -n of the shell".to_owned();
            Err(Failure { hint: Some(hint), ..Failure::new(output::FAILED, message) })
        }
        _ => Ok(()),
    }
}

impl Command {
    async fn run(self, context: Context) -> Result<u8, Failure> {
        if !matches!(self, Self::Check(_) | Self::Mapping(_) | Self::Schema(_) | Self::Notify(_)) {
            context.check_owner().await?;
        }
        let changes =
            matches!(self, Self::Sync(_) | Self::Provision(_) | Self::Approve(_) | Self::Pause | Self::Resume);
        let changed = changes.then(|| context.config.clone());
        let result = match self {
            Self::Run => run::run(context, system_clock).await,
            Self::Sync(arguments) => sync::run(context, arguments, system_clock).await,
            Self::Plan(arguments) => plan::run(context, arguments, system_clock).await,
            Self::Provision(arguments) => provision::run(context, arguments, system_clock).await,
            Self::Check(arguments) => check::run(context, arguments, system_clock).await,
            Self::Status(arguments) => status::run(&context.config.path, &context.environment, arguments).await,
            Self::Log(arguments) => log::run(context, *arguments, system_clock()).await,
            Self::Approve(arguments) => approve::run(context, arguments, system_clock).await,
            Self::Pause => pause::run(context, true, system_clock()).await,
            Self::Resume => pause::run(context, false, system_clock()).await,
            Self::Resync(arguments) => resync::run(context, arguments, system_clock()).await,
            Self::Mapping(MappingCommand::Check(arguments)) => mapping::check::run(&context, &arguments),
            Self::Mapping(MappingCommand::Eval(arguments)) => {
                mapping::eval::run_for_user(arguments, context, system_clock).await
            }
            Self::Mapping(MappingCommand::Import(arguments)) => mapping::import::run(&arguments),
            Self::Schema(command) => schema::run(context, command).await,
            Self::Notify(command) => notify::run(context, command, system_clock).await,
            Self::Guide(arguments) => guide::run(&arguments),
            Self::Init(arguments) => init::run(arguments, &context.config.path),
            Self::Completions(arguments) => completions::run(&arguments),
            Self::Man(arguments) => man::run(&arguments),
            Self::Version => print_version(),
        };
        // Its state may be another one now.
        if let Some(config) = changed {
            notify_daemon(&config).await;
        }
        result
    }

    /// Whether the command needs only the learner database, and may use what the running daemon has loaded.
    fn works_with_record(&self) -> bool {
        match self {
            Self::Pause | Self::Resume | Self::Log(_) | Self::Resync(_) => true,
            Self::Approve(arguments) => arguments.is_of_held_users(),
            _ => false,
        }
    }

    /// The settings that the running daemon has recorded: a mistake in the file must not keep an administrator from pausing
    /// it.
    fn config_of_daemon(
        &self,
        path: &Path,
        environment: &BTreeMap<String, String>,
        error: ConfigError,
    ) -> Result<Config, Failure> {
        let directory = config::guess_state_directory(path, environment);
        let running = || {
            let record = RecordPlaces::new(path, Some(&directory), environment).read()?;
            let daemon = record.holder()?;
            Some((daemon, config::load_recorded(path, &record.settings?).ok()?))
        };
        let Some((daemon, config)) = self.works_with_record().then(running).flatten() else {
            return Err(error.into());
        };
        logging::start_once(&config)?;
        tracing::warn!(
            "the configuration file cannot be used as it is now, so this command uses what the daemon has loaded \
             ({daemon}): {error}"
        );
        Ok(config)
    }

    /// The document that the command prints on standard output when it fails.
    fn failure_document(&self) -> FailureDocument {
        match self {
            Self::Sync(arguments) if arguments.json => FailureDocument::Cycle { lines: arguments.dry_run },
            Self::Plan(arguments) if arguments.is_json() => FailureDocument::Cycle { lines: true },
            Self::Check(arguments) if arguments.json => FailureDocument::Check,
            Self::Check(_) => FailureDocument::CheckLine,
            Self::Status(arguments) if arguments.json => FailureDocument::Status,
            Self::Provision(arguments) if arguments.json => FailureDocument::Error,
            Self::Mapping(MappingCommand::Check(arguments)) if arguments.json => FailureDocument::Error,
            Self::Log(arguments) if arguments.is_json() => FailureDocument::Error,
            Self::Notify(NotifyCommand::Test(TestArguments { json: true })) => FailureDocument::Error,
            _ => FailureDocument::None,
        }
    }
}

/// The system user that runs the command, for the audit log.
fn actor(environment: &BTreeMap<String, String>) -> String {
    let name = owner::user_name(rustix::process::geteuid().as_raw());
    match environment.get("SUDO_USER") {
        Some(user) => format!("{user} (as {name})"),
        None => name,
    }
}
