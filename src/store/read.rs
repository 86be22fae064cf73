//! Reading the learner database: for the plan, and for `status`, `log` and `approve`.

mod linked;
mod log;
mod records;
mod rows;
mod status;

pub use self::log::{LogFilter, LogPage, LogRow};
pub use self::status::{FailingUser, HeldUser, LearnerCounts};
