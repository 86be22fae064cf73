//! Wiring: from a command to one cycle.
//!
//! [`preflight`] inspects what is on disk, [`App`] turns the configuration into the parts of a cycle, and
//! [`locked_cycle`] runs one cycle under the lock. The daemon, `sync` and `provision` all go this way.

mod app;
pub mod lock;
pub mod locked_cycle;
mod notifications;
mod paths;
pub mod preflight;
mod registration;
pub mod status;
pub mod user_lookup;

pub use self::app::{App, AppError, compile_rules, configured_source, learner_database, notifier, used_databases};
pub use self::notifications::{CycleNews, NotificationMemory, channel_problems, handle_notifications, message_origin};
pub use self::paths::Paths;
pub(crate) use self::registration::MAX_BACKOFF;
pub use self::registration::{daemon_place, is_shared, registration, take_over_after, turn_limits};
