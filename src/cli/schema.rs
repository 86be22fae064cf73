//! `learner-sync schema`: the tables that a cycle needs, as SQL for their owner to run, or made now.

use super::output::{DONE, Failure, USAGE, print};
use super::{Context, owner};
use crate::runtime::Paths;
use crate::runtime::lock::Lock;
use crate::runtime::locked_cycle::LockedCycleError;
use crate::runtime::preflight::Preflight;
use crate::store::{Made, Store};

const APPLY: &str = "learner-sync schema apply";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Write the SQL that makes or completes the tables, for their owner to run.
    Print(Print),
    /// Make or complete the tables now: to be run with the name and password of their owner.
    #[command(
        after_help = "The owner is who learners.database_url names. Where the daemon signs in as somebody else, set \
                            LEARNER_SYNC_LEARNERS__DATABASE_URL, and LEARNER_SYNC_LEARNERS__PASSWORD_FILE or, without a \
                            password file in the configuration, PGPASSWORD."
    )]
    Apply(Apply),
}

#[derive(Debug, clap::Args)]
pub(super) struct Print {
    /// Grant this role of the server what a daemon needs, and no more.
    #[arg(long, value_name = "ROLE", value_parser = role)]
    writer: Option<String>,
    /// Print only what is new since this schema version; 0 is none.
    #[arg(long, value_name = "VERSION", default_value_t = 0,
          value_parser = clap::value_parser!(u8).range(0..=Store::SCHEMA_VERSION))]
    from: u8,
}

#[derive(Debug, clap::Args)]
pub(super) struct Apply {
    /// Grant this role of the server what a daemon needs, and no more.
    #[arg(long, value_name = "ROLE", value_parser = role)]
    writer: Option<String>,
}

pub(super) async fn run(context: Context, command: Command) -> Result<u8, Failure> {
    let (Command::Print(Print { writer, .. }) | Command::Apply(Apply { writer })) = &command;
    if writer.is_some() && Paths::new(&context.config).database.is_some() {
        let why =
            "--writer is for a PostgreSQL server: an SQLite file has no roles, its rights are those of the system";
        return Err(Failure::new(USAGE, why));
    }
    match command {
        Command::Print(Print { writer, from }) => {
            let learners = context.learners()?;
            // Only then is the database opened, and even to look SQLite makes files beside its own.
            if learners.table.is_some() && Paths::new(&context.config).database.is_some() {
                owner::check(&context.config).await?;
            }
            print(&Store::script(learners, usize::from(from), writer.as_deref()).await?)?;
            Ok(DONE)
        }
        Command::Apply(Apply { writer }) => apply(context, writer.as_deref()).await,
    }
}

async fn apply(context: Context, writer: Option<&str>) -> Result<u8, Failure> {
    // The lock of a server is in the server, and nothing else of this machine is needed for it.
    let _lock = match Paths::new(&context.config).database {
        Some(_) => {
            owner::check(&context.config).await?;
            let preflight = Preflight::inspect(&context.config).await?;
            preflight.create_directories()?;
            Some(Lock::acquire(&preflight.paths.cycle_lock, APPLY)?)
        }
        None => None,
    };
    let found = match Store::make_tables(context.learners()?, APPLY, writer).await? {
        Made::Tables { found } => found,
        Made::Locked(holder) => return Err(LockedCycleError::Locked(holder).into()),
    };
    let version = Store::SCHEMA_VERSION;
    let tables = match found {
        0 => format!("Made the tables, version {version}"),
        found if found < version => format!("Brought the tables from version {found} to {version}"),
        _ => format!("Nothing to do: the tables have version {version}"),
    };
    let rights = writer.map_or_else(String::new, |writer| format!("; {writer} may do what a daemon does"));
    print(&format!("{tables}{rights}."))?;
    Ok(DONE)
}

/// The name of one role, exactly as it is.
fn role(text: &str) -> Result<String, String> {
    match text {
        "" => Err("a role has a name".to_owned()),
        "public" | "none" => Err("this is no role: name the one that the daemon signs in as".to_owned()),
        // It stands in a block of the script that this would end.
        text if text.contains("$$") || text.contains('\0') => {
            Err("a role with such a name cannot be granted".to_owned())
        }
        text => Ok(text.to_owned()),
    }
}
