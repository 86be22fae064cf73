//! What commands and the status page show: rows, times and the state of provisioning in words, once for both.
//!
//! `words` has times, values and actions, `records` the rows of the logs, `status` and `users` the facts of
//! `learner-sync status`, `mapping` those of `mapping check`, `spreadsheet` safe CSV, and `times` the times that somebody
//! types.

mod mapping;
mod records;
mod spreadsheet;
mod status;
mod times;
mod users;
mod words;

pub(crate) use self::mapping::{apply_in_words, kind_in_words, options_in_words};
pub(crate) use self::records::{Audit, Cycles, Entries, Records};
pub(crate) use self::spreadsheet::csv_rows;
pub(crate) use self::status::{
    ListedUsers, StatusView, cycle_in_words, cycle_numbers_in_words, learners_in_words, recreated_in_words,
    routes_in_words, unreadable_in_words,
};
pub(crate) use self::times::GivenTime;
pub(crate) use self::users::{FAILING_HEADERS, HELD_HEADERS, failing_cells, held_cells};
pub(crate) use self::words::{
    NOTHING, action_in_words, counted, local_time, seconds, short_change, shown, value_text, visible_json, with_ends,
};
