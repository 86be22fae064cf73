//! The costs that a cycle may have, on two cores with the simulator on the same machine.

use crate::scenarios::{Scenario, Setting};

/// An upper bound; what is not bounded is infinite.
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    /// In seconds.
    pub(crate) wall: f64,
    /// In MiB.
    pub(crate) peak: f64,
    /// Multiples of the floors of reading and writing.
    pub(crate) floors: Option<(f64, f64)>,
}

const NONE: Bound = Bound { wall: f64::INFINITY, peak: f64::INFINITY, floors: None };

pub(crate) fn bound(setting: &Setting, scenario: Scenario) -> Bound {
    let is_direct = setting.groups == 0;
    if setting.latency > 0 {
        return NONE;
    }
    match (setting.users, scenario) {
        (100_000, Scenario::Unchanged) if is_direct => Bound { wall: 0.8, ..NONE },
        (100_000, Scenario::Unchanged) => Bound { wall: 0.4, peak: 64.0, floors: Some((2.0, 0.0)) },
        (100_000, Scenario::FirstLoad) if !is_direct => Bound { wall: 3.0, peak: 128.0, floors: Some((1.0, 1.3)) },
        (100_000, Scenario::Idle) if !is_direct => Bound { peak: 24.0, ..NONE },
        (100_000, Scenario::FewChanged) if !is_direct => Bound { wall: 0.6, ..NONE },
        (100_000, Scenario::Full) if !is_direct => Bound { wall: 0.9, ..NONE },
        (1_000_000, Scenario::Unchanged) => Bound { wall: 5.0, peak: 256.0, ..NONE },
        (1_000_000, Scenario::FirstLoad) => Bound { wall: 40.0, peak: 512.0, ..NONE },
        _ => NONE,
    }
}

/// The requests that reading the lists needs, besides the sign-in.
pub(crate) fn requests(setting: &Setting) -> u64 {
    let Setting { users, groups, .. } = setting;
    let assignments = if *groups == 0 { *users } else { *groups }.div_ceil(999);
    let lists = match groups {
        0 => users.div_ceil(300),
        groups => groups * users.div_ceil(*groups).div_ceil(999),
    };
    (assignments + lists) as u64
}
