//! `learner-sync schema`: prints the SQL that creates the tables, or runs it.

use super::output::{DONE, Failure, USAGE, print};
use super::{Context, owner};
use crate::runtime::Paths;
use crate::runtime::lock::Lock;
use crate::runtime::locked_cycle::LockedCycleError;
use crate::runtime::preflight::Preflight;
use crate::store::{LearnerDatabase, MigrationResult, Store};

const APPLY: &str = "learner-sync schema apply";

#[derive(Debug, clap::Subcommand)]
pub(super) enum SchemaCommand {
    /// Print the SQL that creates or upgrades the tables, for their owner to run.
    Print {
        /// Grant this server role exactly the rights that the daemon needs.
        #[arg(long, value_name = "ROLE", value_parser = parse_role)]
        writer: Option<String>,
        /// Print only the changes since this schema version; 0 means an empty database.
        #[arg(long, value_name = "VERSION", default_value_t = 0,
              value_parser = clap::value_parser!(u8).range(0..=Store::SCHEMA_VERSION))]
        from: u8,
    },
    /// Create or upgrade the tables now, with the name and password of their owner.
    #[command(
        after_help = "The owner is the role in learners.database_url. If the daemon signs in with another role, set \
                            LEARNER_SYNC_LEARNERS__DATABASE_URL, and LEARNER_SYNC_LEARNERS__PASSWORD_FILE or, without a \
                            password file in the configuration, PGPASSWORD."
    )]
    Apply {
        /// Grant this server role exactly the rights that the daemon needs.
        #[arg(long, value_name = "ROLE", value_parser = parse_role)]
        writer: Option<String>,
    },
}

pub(super) async fn run(context: Context, command: SchemaCommand) -> Result<u8, Failure> {
    let (SchemaCommand::Print { writer, .. } | SchemaCommand::Apply { writer }) = &command;
    if writer.is_some() && Paths::new(&context.config).database.is_some() {
        let why = "--writer needs a PostgreSQL server: an SQLite file has no roles, only file permissions";
        return Err(Failure::new(USAGE, why));
    }
    match command {
        SchemaCommand::Print { writer, from } => {
            let learners = context.learners()?;
            // Only then is the database opened, and even to read, SQLite creates files beside its own.
            if learners.table.is_some() && Paths::new(&context.config).database.is_some() {
                owner::check_owner_to_create(&context.config).await?;
            }
            print(&Store::script(learners, usize::from(from), writer.as_deref()).await?)?;
            Ok(DONE)
        }
        SchemaCommand::Apply { writer } => apply(context, writer.as_deref()).await,
    }
}

async fn apply(context: Context, writer: Option<&str>) -> Result<u8, Failure> {
    // The lock of a server is in the server, so nothing on this machine is needed.
    let lock = match Paths::new(&context.config).database {
        Some(_) => {
            owner::check_owner_to_create(&context.config).await?;
            // A lost file may be created again: that is what this command asks for.
            let learners = LearnerDatabase { used: None, ..context.learners()? };
            let preflight = Preflight::inspect(&context.config, &learners).await?;
            preflight.create_directories().await?;
            Some(Lock::acquire(&preflight.paths.cycle_lock, APPLY).await.map_err(LockedCycleError::from)?)
        }
        None => None,
    };
    let migrated = migrate(&context, writer).await;
    if let Some(lock) = lock {
        lock.release().await;
    }
    let found = match migrated? {
        MigrationResult::Migrated { found } => found,
        MigrationResult::Locked(holder) => return Err(LockedCycleError::Locked(holder).into()),
    };
    let version = Store::SCHEMA_VERSION;
    let tables = match found {
        0 => format!("Created the tables, version {version}"),
        found if found < version => format!("Upgraded the tables from version {found} to {version}"),
        _ => format!("Nothing to do: the tables already have version {version}"),
    };
    let rights = writer.map_or_else(String::new, |writer| format!("; {writer} has the rights that the daemon needs"));
    print(&format!("{tables}{rights}."))?;
    Ok(DONE)
}

async fn migrate(context: &Context, writer: Option<&str>) -> Result<MigrationResult, Failure> {
    Ok(Store::migrate(context.learners()?, APPLY, writer).await?)
}

/// The exact name of one role.
fn parse_role(text: &str) -> Result<String, String> {
    match text {
        "" => Err("the role name is empty".to_owned()),
        "public" | "none" => Err("not a role: name the role that the daemon signs in with".to_owned()),
        // The script quotes the name in a block that these would end.
        text if text.contains("$$") || text.contains('\0') => Err("the script cannot quote this role name".to_owned()),
        text => Ok(text.to_owned()),
    }
}
