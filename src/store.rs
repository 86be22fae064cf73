//! The learner database: the only code that knows SQL.
//!
//! Nothing is decided here: [`Store::apply`] carries out the changes of a plan, [`Store::record`] records the users that a
//! cycle left unchanged, with the reason. Each is one transaction. The rest reads: for the plan, and for `status` and
//! `log`.
//!
//! The modules are floors, and each uses only those before it in this list:
//!
//! - `db` knows both engines, SQLite files and PostgreSQL servers, but no table.
//! - `error` is [`StoreError`].
//! - `table` is the layout of the learners table, our own or the platform's.
//! - `schema` creates and migrates the tables.
//! - `used_databases`, `location` and `handle` are: whether a file was in use, where a database is, and an open one.
//! - `state`, `audit`, `cycles`, `cycle_lock`, `daemons`, `schedule`, `notifications`, `read`, `write`, `administration` and
//!   `take_over` work with an open database.
//! - `open` inspects, opens and copies databases.

mod administration;
mod audit;
mod cycle_lock;
mod cycles;
mod daemons;
mod db;
mod error;
mod handle;
mod location;
mod notifications;
mod open;
mod read;
mod schedule;
mod schema;
mod state;
mod table;
mod take_over;
mod used_databases;
mod write;

#[cfg(test)]
mod tests;

pub use self::cycle_lock::host_name;
pub use self::cycles::{CommittedChange, CycleAudit, CycleEnd, CycleId, CycleRow};
pub use self::daemons::{DaemonRow, Registration};
pub use self::db::{
    Access, DbError, EngineReport, HostFault, PassedHost, PostgresServer, ReadOnlyCause, RowRefusal, ViolatedKey,
};
pub use self::error::{StoreError, TableFault};
pub use self::handle::Store;
pub use self::location::{DatabaseLocation, LearnerDatabase};
pub use self::open::{HostReport, Inspected, MigrationResult};
pub use self::read::{
    AuditRow, CycleHistory, FailingUser, HeldUser, LearnerCounts, ListPage, LogFilter, LogRow, NamedLearner,
    PagePosition, PauseTimes, ReasonTally, RowPage, RowRange, SourceOverview, UserListing, UserRecords,
};
pub use self::schedule::{Succession, Turn, TurnLimits};
pub use self::state::{CredentialCheck, DatabaseState};
pub use self::take_over::SourceRecords;
pub use self::used_databases::UsedDatabases;
pub use self::write::{Applied, Bookkeeping, Fence, Refused, WriteContext};
pub use crate::files::SecretSource;
