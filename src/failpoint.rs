//! Steps of a cycle at which a test can kill the process, by name: `FAILPOINTS=BatchCommitted=return`, or
//! `2*off->return` for the third time. Only with the feature `failpoints`, which no installed program has.

/// Declares the steps, and the list of all of them.
macro_rules! steps {
    ($($(#[$meta:meta])* $step:ident,)+) => {
        /// A step of a cycle, in the order in which they come.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step { $($(#[$meta])* $step,)+ }

        impl Step {
            /// Every step.
            pub const ALL: &'static [Self] = &[$(Self::$step,)+];
        }
    };
}

steps! {
    /// Nobody else can run a cycle.
    LockTaken,
    /// The cycle has its row.
    CycleBegun,
    /// Cache or database have told what is known.
    KnowledgeRead,
    /// Everybody assigned is read.
    DirectoryRead,
    /// Those who seem to have left were looked at again.
    LeaversConfirmed,
    /// Everything is decided.
    Planned,
    /// What is no change is written, but not committed.
    NotesWritten,
    /// What is no change is committed.
    NotesCommitted,
    /// Values that change hands are out of the way.
    ValuesParked,
    /// New learners of the batch are written.
    LearnersCreated,
    /// Their links are written.
    LearnersLinked,
    /// Changed learners of the batch are written.
    LearnersUpdated,
    /// The log rows of the batch are written.
    ChangesLogged,
    /// Everything of the batch is written, but not committed.
    BatchWritten,
    /// The batch is committed.
    BatchCommitted,
    /// What was refused of the batch is noted.
    RefusalsNoted,
    /// All batches are committed; the cache is as before.
    PlanApplied,
    /// The cache is open, with nothing new in it.
    CacheOpened,
    /// The new content is in the cache, but not flushed.
    CacheWritten,
    /// The cache is as it should be.
    CacheFlushed,
    /// The cycle has ended and does not say so yet.
    CycleEnding,
    /// The row of the cycle is complete.
    CycleFinished,
    /// Old rows of the log are gone.
    LogExpired,
    /// The database is closed; the lock is held still.
    DatabaseClosed,
}

/// The cycle has come to `step`: here the process dies when a test wants it to, as by `kill -9`.
#[cfg(feature = "failpoints")]
pub(crate) fn reached(step: Step) {
    use rustix::process::{Signal, getpid, kill_process};

    fail::fail_point!(&format!("{step:?}"), |_| {
        // The signal is fatal; until it is delivered nothing more may happen.
        let _ = kill_process(getpid(), Signal::KILL);
        loop {
            std::thread::park();
        }
    });
}

/// Nothing: this program was built to be used.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn reached(_step: Step) {}

/// Reads `FAILPOINTS` from the environment.
#[cfg(feature = "failpoints")]
pub(crate) fn arm() {
    // Dropping it would take the points away again.
    std::mem::forget(fail::FailScenario::setup());
}

/// Nothing: there are no points to be armed.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn arm() {}
