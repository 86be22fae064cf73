//! Applying a batch in one transaction: all of it, or all but the rows that the database refuses.

use std::ops::Range;
use std::time::Duration;

use serde_json::json;

use super::decisions::write_decisions;
use super::{WriteContext, WriteSession, renew_generation};
use crate::failpoint::{Step, reached};
use crate::model::{EntraId, Generation, LearnerId};
use crate::plan::Batch;
use crate::store::audit::write_audit;
use crate::store::db::{
    Connection, DbError, LOCK_TIMEOUT, Statement, TransactionEnd, begin, parse_column, roll_back, set_lock_timeout,
};
use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::schema::{WRITE_LOCK, describe_refusal};

/// How long a rehearsal waits for a lock: it must not queue behind the daemon.
const REHEARSAL_LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// The result of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The users whose changes were written, with their learners, in the order of the batch.
    pub learners: Vec<(EntraId, LearnerId)>,
    /// The indices of the decisions that the database refused, and why, without personal data.
    pub refused: Vec<(usize, String)>,
    /// The generation of the database afterwards.
    pub generation: Generation,
}

/// Why decisions were not written.
pub(super) enum ApplyError {
    /// The database refuses a row.
    Refused(String),
    /// The database failed.
    Failed(StoreError),
}

impl From<DbError> for ApplyError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::RowRefused { refusal, .. } => Self::Refused(describe_refusal(&refusal)),
            error => Self::Failed(error.into()),
        }
    }
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Store {
    /// Applies `batch` in one transaction: learner rows, links, log rows, the end of holds and failures, and a new
    /// generation. A row that the database refuses is left out and named; after an error nothing is changed.
    pub async fn apply(&self, batch: &Batch, context: &WriteContext<'_>) -> Result<Applied, StoreError> {
        self.write(async |connection| {
            let mut session = WriteSession { connection, layout: &self.layout, context };
            let Written { learners, refused } = write_batch(&mut session, batch).await?;
            let generation = if learners.is_empty() {
                read_generation(session.connection).await?
            } else {
                renew_generation(session.connection).await?
            };
            let user = |index: usize| batch.decisions()[index].user;
            let learners = learners.into_iter().map(|(index, learner)| (user(index), learner)).collect();
            reached(Step::BatchWritten);
            Ok(Applied { learners, refused, generation })
        })
        .await
    }

    /// Applies the relinks in `batch`, all of them or none, with a row of the audit log.
    pub async fn relink(&self, batch: &Batch, context: &WriteContext<'_>, actor: &str) -> Result<Applied, StoreError> {
        self.write(async |connection| {
            let mut session = WriteSession { connection, layout: &self.layout, context };
            let Written { learners, refused } = write_batch(&mut session, batch).await?;
            if let Some((index, why)) = refused.into_iter().next() {
                return Err(StoreError::RelinkRefused { user: batch.decisions()[index].user, why });
            }
            let generation = renew_generation(session.connection).await?;
            let user = |index: usize| batch.decisions()[index].user;
            let learners: Vec<_> = learners.into_iter().map(|(index, learner)| (user(index), learner)).collect();
            let pairs: Vec<_> = learners
                .iter()
                .map(|(user, learner)| json!({ "person": user.to_string(), "learner": learner.to_string() }))
                .collect();
            let detail = json!({ "source": context.source, "relinked": pairs.len(), "pairs": pairs }).to_string();
            write_audit(session.connection, actor, "relink", Some(&detail), context.at).await?;
            reached(Step::BatchWritten);
            Ok(Applied { learners, refused: Vec::new(), generation })
        })
        .await
    }

    /// Applies `batch` and rolls it back. Returns what the database refuses, by index, and why.
    pub async fn rehearse(
        &self,
        batch: &Batch,
        context: &WriteContext<'_>,
    ) -> Result<Vec<(usize, String)>, StoreError> {
        set_lock_timeout(&mut *self.connection().await, REHEARSAL_LOCK_TIMEOUT).await?;
        let written = self
            .transact(TransactionEnd::RollBack, async |connection| {
                write_batch(&mut WriteSession { connection, layout: &self.layout, context }, batch).await
            })
            .await;
        set_lock_timeout(&mut *self.connection().await, LOCK_TIMEOUT).await?;
        Ok(written?.refused)
    }
}

#[derive(Default)]
struct Written {
    learners: Vec<(usize, LearnerId)>,
    refused: Vec<(usize, String)>,
}

/// Writes the whole batch at once. When a row is refused, bisects the units until the refused one is alone.
async fn write_batch(session: &mut WriteSession<'_>, batch: &Batch) -> Result<Written, StoreError> {
    let mut written = Written::default();
    let whole = 0..batch.decisions().len();
    if whole.is_empty() {
        return Ok(written);
    }
    let Some(why) = attempt(session, batch, whole, &mut written.learners).await? else { return Ok(written) };
    // Nothing else has been written in this transaction, so all of it can go: most batches need no savepoint.
    roll_back(session.connection).await;
    begin(session.connection, Some(WRITE_LOCK)).await?;
    session.connection.script("SAVEPOINT parts").await?;
    let units: Vec<Range<usize>> = batch.units().collect();
    // A stack: the first half is written before the second, because a unit may need an earlier one.
    let mut waiting: Vec<&[Range<usize>]> = Vec::new();
    bisect(&units, &why, &mut waiting, &mut written.refused);
    while let Some(part) = waiting.pop() {
        let (Some(first), Some(last)) = (part.first(), part.last()) else { continue };
        let range = first.start..last.end;
        match attempt(session, batch, range, &mut written.learners).await? {
            None => session.connection.script("RELEASE parts; SAVEPOINT parts").await?,
            Some(why) => {
                session.connection.script("ROLLBACK TO parts").await?;
                bisect(part, &why, &mut waiting, &mut written.refused);
            }
        }
    }
    written.learners.sort_unstable();
    written.refused.sort_unstable();
    Ok(written)
}

/// Halves a refused part. A single unit is refused as a whole.
fn bisect<'u>(
    part: &'u [Range<usize>],
    why: &str,
    waiting: &mut Vec<&'u [Range<usize>]>,
    refused: &mut Vec<(usize, String)>,
) {
    match part {
        [unit] => refused.extend(unit.clone().map(|index| (index, why.to_owned()))),
        _ => {
            let (first, second) = part.split_at(part.len() / 2);
            waiting.extend([second, first]);
        }
    }
}

/// Writes the decisions in `range`. Returns why the database refuses one of them; the caller then rolls back.
async fn attempt(
    session: &mut WriteSession<'_>,
    batch: &Batch,
    range: Range<usize>,
    learners: &mut Vec<(usize, LearnerId)>,
) -> Result<Option<String>, StoreError> {
    match write_decisions(session, &batch.decisions()[range.clone()]).await {
        Ok(written) => {
            learners.extend(range.zip(written));
            Ok(None)
        }
        Err(ApplyError::Refused(why)) => Ok(Some(why)),
        Err(ApplyError::Failed(error)) => Err(error),
    }
}

async fn read_generation(connection: &mut Connection) -> Result<Generation, StoreError> {
    let row = connection.row(Statement::new("SELECT generation FROM sync_state")).await?;
    Ok(parse_column(row.get(0)?, "sync_state.generation")?)
}
