//! Applying a batch in one transaction: all of it, or all but the rows that the database refuses.

use std::ops::Range;
use std::time::Duration;

use futures_util::future::join;
use serde_json::json;
use tokio::sync::Notify;

use super::decisions::write_decisions;
use super::{Fence, WriteContext, WriteSession};
use crate::failpoint::{Step, reached};
use crate::model::{EntraId, Generation, LearnerId};
use crate::plan::{Batch, Decision};
use crate::store::audit::write_audit;
use crate::store::db::{
    Connection, DbError, Dialect, LOCK_TIMEOUT, Statement, TransactionEnd, begin, roll_back, set_lock_timeout,
};
use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::schema::{WRITE_LOCK, describe_refusal, message_of};
use crate::store::table::is_faithful;

/// How long a rehearsal waits for a lock: it must not queue behind the daemon.
const REHEARSAL_LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a batch is written again after a conflict with another transaction.
const RETRIES: usize = 3;

/// The result of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The users whose changes were written, with their learners, in the order of the batch.
    pub learners: Vec<(EntraId, LearnerId)>,
    /// The indices of the decisions that the database refused, and why.
    pub refused: Vec<(usize, Refused)>,
    /// The generation of the database afterwards.
    pub generation: Generation,
    /// Whether the written rows were read back, because a trigger or the like may change them.
    pub read_back: bool,
}

/// Why the database refused a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason, without personal data.
    pub reason: String,
    /// The words of the database or of a trigger, which may contain values. They belong into the learner database alone.
    pub message: Option<String>,
}

impl From<&str> for Refused {
    fn from(reason: &str) -> Self {
        Self { reason: reason.to_owned(), message: None }
    }
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Self { reason, message: None }
    }
}

/// Why decisions were not written.
pub(super) enum ApplyError {
    /// The database refuses a row.
    Refused(Refused),
    /// The database reports an error that may be about one row or about all of them.
    Unclear(DbError),
    /// The database failed.
    Failed(StoreError),
}

impl From<DbError> for ApplyError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::RowRefused { refusal, .. } => {
                Self::Refused(Refused { reason: describe_refusal(&refusal), message: message_of(&refusal) })
            }
            error if error.is_unclear() => Self::Unclear(error),
            error => Self::Failed(error.into()),
        }
    }
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(error) => error.into(),
            error => Self::Failed(error),
        }
    }
}

impl Store {
    /// Applies `batch` in one transaction: learner rows, links, log rows, the end of holds and failures, and a new
    /// generation. A row that the database refuses is left out and named; after an error nothing is changed.
    ///
    /// # Errors
    /// [`StoreError::WrittenByOther`] or [`StoreError::Paused`] when the database is not in the state of `fence`.
    pub async fn apply(&self, batch: &Batch, context: &WriteContext<'_>, fence: Fence) -> Result<Applied, StoreError> {
        self.apply_with(batch, context, fence, || {}).await.0
    }

    /// Like [`Self::apply`]. Calls `meanwhile` once, where possible while the database commits.
    pub async fn apply_with<T>(
        &self,
        batch: &Batch,
        context: &WriteContext<'_>,
        fence: Fence,
        meanwhile: impl FnOnce() -> T,
    ) -> (Result<Applied, StoreError>, T) {
        let committing = Notify::new();
        let apply = async {
            let mut retries = RETRIES;
            let applied = loop {
                match self.apply_once(batch, context, fence, &committing).await {
                    Err(StoreError::Database(error)) if retries > 0 && error.is_conflict() => retries -= 1,
                    applied => break applied,
                }
            };
            // Also after an error, because the other half waits for it.
            committing.notify_one();
            applied
        };
        // The first to be polled sends the commit.
        join(apply, async {
            committing.notified().await;
            meanwhile()
        })
        .await
    }

    async fn apply_once(
        &self,
        batch: &Batch,
        context: &WriteContext<'_>,
        fence: Fence,
        committing: &Notify,
    ) -> Result<Applied, StoreError> {
        self.write(async |connection| {
            let mut session = WriteSession { connection, layout: &self.layout, context, fence: Some(fence) };
            let Written { learners, refused, read_back } = write_batch(&mut session, batch).await?;
            let generation =
                if learners.is_empty() { fence.generation } else { fence.renew(session.connection).await? };
            let user = |index: usize| batch.decisions()[index].user;
            let learners = learners.into_iter().map(|(index, learner)| (user(index), learner)).collect();
            reached(Step::BatchWritten);
            committing.notify_one();
            Ok(Applied { learners, refused, generation, read_back })
        })
        .await
    }

    /// Applies the relinks in `batch`, all of them or none, with a row of the audit log.
    pub async fn relink(
        &self,
        batch: &Batch,
        context: &WriteContext<'_>,
        fence: Fence,
        actor: &str,
    ) -> Result<Applied, StoreError> {
        self.write(async |connection| {
            let mut session = WriteSession { connection, layout: &self.layout, context, fence: Some(fence) };
            let Written { learners, refused, read_back } = write_batch(&mut session, batch).await?;
            if let Some((index, why)) = refused.into_iter().next() {
                return Err(StoreError::RelinkRefused { user: batch.decisions()[index].user, why: why.reason });
            }
            let generation = fence.renew(session.connection).await?;
            let user = |index: usize| batch.decisions()[index].user;
            let learners: Vec<_> = learners.into_iter().map(|(index, learner)| (user(index), learner)).collect();
            let pairs: Vec<_> = learners
                .iter()
                .map(|(user, learner)| json!({ "user": user.to_string(), "learner": learner.to_json() }))
                .collect();
            let detail = json!({ "source": context.source, "relinked": pairs.len(), "pairs": pairs }).to_string();
            write_audit(session.connection, actor, "relink", Some(&detail), context.at).await?;
            reached(Step::BatchWritten);
            Ok(Applied { learners, refused: Vec::new(), generation, read_back })
        })
        .await
    }

    /// Applies `batch` and rolls it back. Returns what the database refuses, by index, and why.
    pub async fn rehearse(
        &self,
        batch: &Batch,
        context: &WriteContext<'_>,
    ) -> Result<Vec<(usize, Refused)>, StoreError> {
        set_lock_timeout(&mut *self.connection().await, REHEARSAL_LOCK_TIMEOUT).await?;
        let written = self
            .transact(TransactionEnd::RollBack, async |connection| {
                let mut session = WriteSession { connection, layout: &self.layout, context, fence: None };
                write_batch(&mut session, batch).await
            })
            .await;
        set_lock_timeout(&mut *self.connection().await, LOCK_TIMEOUT).await?;
        Ok(written?.refused)
    }
}

#[derive(Default)]
struct Written {
    learners: Vec<(usize, LearnerId)>,
    refused: Vec<(usize, Refused)>,
    read_back: bool,
}

/// Writes the whole batch at once. When a row is refused, bisects the units until the refused one is alone.
async fn write_batch(session: &mut WriteSession<'_>, batch: &Batch) -> Result<Written, StoreError> {
    session.require_fence().await?;
    let mut written = Written::default();
    let whole = 0..batch.decisions().len();
    if whole.is_empty() {
        return Ok(written);
    }
    let mut checks = Checks::read(session).await?;
    written.read_back = !checks.faithful;
    let units: Vec<Range<usize>> = batch.units().collect();
    let mut unclear = None;
    let first = attempt(session, batch, whole, checks).await;
    let Some(why) = settle(first, &mut unclear, &mut written.learners)? else { return Ok(written) };
    // An error without a row has no part that succeeds.
    if let (Some(error), [_]) = (unclear.take(), units.as_slice())
        && !error.may_be_about_a_row()
    {
        return Err(error.into());
    }
    // Nothing else has been written in this transaction, so all of it can go: most batches need no savepoint.
    checks = begin_again(session).await?;
    session.connection.script("SAVEPOINT parts").await?;
    // A stack: the first half is written before the second, because a unit may need an earlier one.
    let mut waiting: Vec<&[Range<usize>]> = Vec::new();
    let mut accepted: Vec<&[Range<usize>]> = Vec::new();
    bisect(&units, &why, &mut waiting, &mut written.refused);
    while let Some(part) = waiting.pop() {
        let (Some(first), Some(last)) = (part.first(), part.last()) else { continue };
        let range = first.start..last.end;
        let attempted = attempt(session, batch, range, checks).await;
        match settle(attempted, &mut unclear, &mut written.learners)? {
            None => {
                accepted.push(part);
                session.connection.script("RELEASE parts; SAVEPOINT parts").await?;
            }
            Some(why) => {
                bisect(part, &why, &mut waiting, &mut written.refused);
                if session.connection.script("ROLLBACK TO parts").await.is_err() {
                    // A trigger rolled back the whole transaction, and with it every part so far.
                    checks = begin_again(session).await?;
                    session.connection.script("SAVEPOINT parts").await?;
                    written.learners.clear();
                    waiting.extend(accepted.drain(..).rev());
                }
            }
        }
    }
    // An error that every row meets is not about a row.
    if let (Some(error), true, true) = (unclear, written.learners.is_empty(), units.len() > 1) {
        return Err(error.into());
    }
    written.learners.sort_unstable();
    written.refused.sort_unstable_by_key(|(index, _)| *index);
    Ok(written)
}

/// Rolls back and begins another transaction in place of the first. Between the two, other processes may have written, and
/// other programs may have changed the table.
async fn begin_again(session: &mut WriteSession<'_>) -> Result<Checks, StoreError> {
    roll_back(session.connection).await;
    begin(session.connection, Some(WRITE_LOCK)).await?;
    session.require_fence().await?;
    Ok(Checks::read(session).await?)
}

/// The learners that an attempt wrote are added to `learners`. Returns why the attempt was refused; the caller then rolls
/// back.
fn settle(
    attempted: Result<Vec<(usize, LearnerId)>, ApplyError>,
    unclear: &mut Option<DbError>,
    learners: &mut Vec<(usize, LearnerId)>,
) -> Result<Option<Refused>, StoreError> {
    match attempted {
        Ok(written) => {
            learners.extend(written);
            Ok(None)
        }
        Err(ApplyError::Refused(why)) => Ok(Some(why)),
        Err(ApplyError::Unclear(error)) => {
            let why = error.without_values();
            *unclear = Some(error);
            Ok(Some(why.into()))
        }
        Err(ApplyError::Failed(error)) => Err(error),
    }
}

/// Halves a refused part. A single unit is refused as a whole.
fn bisect<'u>(
    part: &'u [Range<usize>],
    why: &Refused,
    waiting: &mut Vec<&'u [Range<usize>]>,
    refused: &mut Vec<(usize, Refused)>,
) {
    match part {
        [unit] => refused.extend(unit.clone().map(|index| (index, why.clone()))),
        _ => {
            let (first, second) = part.split_at(part.len() / 2);
            waiting.extend([second, first]);
        }
    }
}

/// Writes the decisions in `range`; returns their learners.
async fn attempt(
    session: &mut WriteSession<'_>,
    batch: &Batch,
    range: Range<usize>,
    checks: Checks,
) -> Result<Vec<(usize, LearnerId)>, ApplyError> {
    let decisions: Vec<&Decision> = batch.decisions()[range.clone()].iter().map(|decision| &**decision).collect();
    let written = write_decisions(session, &decisions, batch.ended_holds(), checks.faithful).await?;
    if let Some(before) = checks.references
        && References::broken(session.connection).await? > before
    {
        let why = "a foreign key fails, which the database would check at the end of the transaction";
        return Err(ApplyError::Refused(why.into()));
    }
    Ok(range.zip(written).collect())
}

/// The facts that decide how the writes of a batch are checked.
#[derive(Clone, Copy)]
struct Checks {
    references: Option<References>,
    /// Whether the learners table keeps exactly what is written.
    faithful: bool,
}

impl Checks {
    async fn read(session: &mut WriteSession<'_>) -> Result<Self, DbError> {
        let WriteSession { connection, layout, .. } = session;
        let references = References::read(connection).await?;
        Ok(Self { references, faithful: is_faithful(connection, layout).await? })
    }
}

/// How many references of an SQLite file are broken. A deferred foreign key is checked only at the commit, which names no
/// row and would refuse the whole batch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct References(i64);

impl References {
    /// `None` when nothing is deferred. PostgreSQL checks at once: see [`begin`].
    async fn read(connection: &mut Connection) -> Result<Option<Self>, DbError> {
        if connection.dialect() == Dialect::Postgres {
            return Ok(None);
        }
        let deferred = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE upper(sql) LIKE '%INITIALLY%DEFERRED%')";
        let deferred: bool = connection.row(Statement::new(deferred)).await?.get(0)?;
        Ok(if deferred { Some(Self::broken(connection).await?) } else { None })
    }

    async fn broken(connection: &mut Connection) -> Result<Self, DbError> {
        let row = connection.row(Statement::new("SELECT count(*) FROM pragma_foreign_key_check")).await?;
        Ok(Self(row.get(0)?))
    }
}
