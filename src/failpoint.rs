//! Steps of a cycle at which a test can kill the process: `FAILPOINTS=BatchCommitted=return`, or `2*off->return` for the
//! third time; `1*return(stop)` stops it until SIGCONT, and `pause` stops the thread. `DiskAnswer=return(200)` shortens a
//! limit of time to 200 ms. Only with the feature `failpoints`, which released programs are built without.

/// Declares the steps, and the list of those of every cycle.
macro_rules! steps {
    ({ $($(#[$meta:meta])* $step:ident,)+ } { $($(#[$other_meta:meta])* $other:ident,)+ }) => {
        /// A step of a cycle, in the order of the cycle, or of other work.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step { $($(#[$meta])* $step,)+ $($(#[$other_meta])* $other,)+ }

        impl Step {
            /// Every step of a cycle.
            pub const ALL: &'static [Self] = &[$(Self::$step,)+];
        }
    };
}

steps! {{
    /// A lock file is about to be opened.
    LockAcquiring,
    /// No other process can run a cycle now.
    LockTaken,
    /// `sync_cycles` has a row for the cycle.
    CycleBegun,
    /// The cache is about to be read, if there is one.
    CacheReading,
    /// The linked learners are read from the cache or the database.
    LinkedLearnersRead,
    /// All assigned users are read.
    DirectoryRead,
    /// The leavers are confirmed.
    LeaversConfirmed,
    /// The plan is made.
    Planned,
    /// The bookkeeping rows are written, but not committed.
    BookkeepingWritten,
    /// The bookkeeping rows are committed.
    BookkeepingCommitted,
    /// Unique values that move between learners are set aside.
    ValuesParked,
    /// The new learners of the batch are written.
    LearnersCreated,
    /// The links of the new learners are written.
    LearnersLinked,
    /// The changed learners of the batch are written.
    LearnersUpdated,
    /// The log rows of the batch are written.
    ChangesLogged,
    /// The whole batch is written, but not committed.
    BatchWritten,
    /// The batch is committed.
    BatchCommitted,
    /// The refused rows of the batch are recorded.
    RefusalsRecorded,
    /// All batches are committed; the cache is unchanged.
    PlanApplied,
    /// The cache is open and unchanged.
    CacheOpened,
    /// The new content is in the cache, but not flushed.
    CacheWritten,
    /// The cache is up to date.
    CacheFlushed,
    /// The cycle has ended; its row does not say so yet.
    CycleEnding,
    /// The row of the cycle is complete.
    CycleFinished,
    /// Expired log rows are deleted.
    LogExpired,
    /// The database is closed; the lock is still held.
    DatabaseClosed,
    /// The lock is about to be released.
    LockReleasing,
    /// The holder of a lock is about to be read.
    LockReading,
} {
    /// A page has its turn to read the learner database.
    PageReading,
    /// Something in the state directory is about to be read.
    StateReading,
    /// The file of the learner database is about to be looked at.
    DatabaseReading,
}}

/// A limit of time that a test can shorten.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// How long a disk may take to answer.
    DiskAnswer,
}

/// The limit `time`, unless a test shortens it.
#[cfg(feature = "failpoints")]
pub(crate) fn limit(limit: Limit, time: std::time::Duration) -> std::time::Duration {
    fail::fail_point!(&format!("{limit:?}"), |milliseconds: Option<String>| {
        let milliseconds = milliseconds.and_then(|text| text.parse().ok());
        milliseconds.map_or(time, std::time::Duration::from_millis)
    });
    time
}

/// The limit `time`.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn limit(_limit: Limit, time: std::time::Duration) -> std::time::Duration {
    time
}

/// Marks that the cycle has reached `step`. A test can kill the process here, as `kill -9` would, or stop it.
#[cfg(feature = "failpoints")]
pub(crate) fn reached(step: Step) {
    use rustix::process::{Signal, getpid, kill_process};

    fail::fail_point!(&format!("{step:?}"), |action: Option<String>| {
        if action.as_deref() == Some("stop") {
            // Stopped before it returns, as a machine that is suspended.
            let _ = kill_process(getpid(), Signal::STOP);
            return;
        }
        // The signal is fatal; nothing more may happen until it is delivered.
        let _ = kill_process(getpid(), Signal::KILL);
        loop {
            std::thread::park();
        }
    });
}

/// Does nothing without the feature.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn reached(_step: Step) {}

/// Reads `FAILPOINTS` from the environment.
#[cfg(feature = "failpoints")]
pub(crate) fn arm() {
    // Dropping the scenario would disarm the failpoints.
    std::mem::forget(fail::FailScenario::setup());
}

/// Does nothing without the feature.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn arm() {}
