//! The learner database: the only code that knows SQL.
//!
//! Nothing is decided here: [`Store::apply`] carries out the changes of a plan, [`Store::note`] records the users that a
//! cycle left unchanged, with the reason. Each is one transaction. The rest reads: for the plan, and for `status` and
//! `log`.
//!
//! The modules are floors, lowest first; each uses only those above it in this list. `db` knows both engines, SQLite
//! files and PostgreSQL servers, but no table. `table` knows the learners table, our own or the platform's. `schema`
//! creates the tables. `handle` is the open database, and the others read, write and open it.

mod cycle_lock;
mod cycles;
mod db;
mod error;
mod handle;
mod location;
mod schema;
mod state;
mod table;

mod known;
mod log;
mod report;
mod rows;
mod users;

mod apply;
mod bookkeeping;
mod learners;
mod stored;

mod administration;
mod open;

#[cfg(test)]
mod tests;

pub use self::apply::{Applied, WriteContext};
pub use self::bookkeeping::Bookkeeping;
pub use self::cycles::{CycleEnd, CycleId, CycleRow};
pub use self::db::{DbError, EngineReport, PostgresServer, RowRefusal, ViolatedKey};
pub use self::error::{StoreError, TableFault};
pub use self::handle::Store;
pub use self::location::{DatabaseLocation, LearnerDatabase};
pub use self::log::{LogFilter, LogRow};
pub use self::open::{Access, Inspected, MigrationResult};
pub use self::report::{FailingUser, HeldUser, LearnerCounts};
pub use self::state::{CredentialNote, DatabaseState};
