//! Reading the learner database: for the plan, and for `status`, `log` and `approve`.

mod holders;
mod linked;
mod log;
mod notifiable;
mod overview;
mod records;
mod rows;
mod status;
mod user_records;

pub use self::holders::NamedLearner;
pub use self::log::{AuditRow, ListPage, LogFilter, LogRow, PagePosition, RowPage, RowRange};
pub use self::overview::{CycleHistory, PauseTimes, ReasonTally, SourceOverview, UserListing};
pub use self::status::{FailingUser, HeldUser, LearnerCounts};
pub use self::user_records::UserRecords;
