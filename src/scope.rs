//! Who of the assigned is meant to be a learner at all. Pure.

use crate::model::{Reason, User};

/// Decides from a complete row. `Some` is the evidence on which somebody is no learner, or stops being one.
pub fn left_out(user: &User) -> Option<Reason> {
    (!user.enabled).then_some(Reason::AccountDisabled)
}
