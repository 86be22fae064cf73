//! How much one transaction writes.

use std::time::Duration;

use crate::plan::BATCH_SIZE;

/// More learners in one transaction save nothing.
const MOST: usize = 20 * BATCH_SIZE;
/// Beyond this, a stop would have to wait for long.
const SLOW: Duration = Duration::from_secs(2);

/// How many learners the next transaction may change. Names are spread over an index, so that each transaction writes most
/// of its pages again: the fewer the better. But a stop waits for the end of one, and a trigger of the platform can make
/// it slow. The next transaction is taken while one commits, so a new pace counts from the one after it.
pub(super) struct Pace(usize);

impl Default for Pace {
    fn default() -> Self {
        Self(BATCH_SIZE)
    }
}

impl Pace {
    pub(super) fn learners(&self) -> usize {
        self.0
    }

    /// Follows a transaction that took so long. After one with triggers or refused rows the next may take any time.
    pub(super) fn follow(&mut self, took: Duration, is_predictable: bool) {
        if !is_predictable {
            self.0 = BATCH_SIZE;
        } else if took < SLOW / 3 {
            self.0 = (self.0 * 2).min(MOST);
        } else if took > SLOW {
            self.0 = (self.0 / 2).max(BATCH_SIZE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_grow_until_they_are_slow() {
        let mut pace = Pace::default();
        let sizes = |pace: &mut Pace, took: &[u64]| -> Vec<usize> {
            let followed = took.iter().map(|took| {
                pace.follow(Duration::from_millis(*took), true);
                pace.learners()
            });
            followed.collect()
        };
        assert_eq!(sizes(&mut pace, &[30, 60, 120, 240, 300, 310]), [2000, 4000, 8000, 16_000, 20_000, 20_000]);
        pace.follow(Duration::from_millis(1), false);
        assert_eq!(pace.learners(), 1000);
        pace = Pace(10_000);
        assert_eq!(
            sizes(&mut pace, &[700, 2100, 3000, 900, 5000, 5000, 5000]),
            [10_000, 5000, 2500, 2500, 1250, 1000, 1000]
        );
    }
}
