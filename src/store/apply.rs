//! Carrying out a batch of changes: all of it, or all but the rows the database refuses, in one transaction.

use jiff::Timestamp;

use super::connection::Connection;
use super::error::refusal;
use super::layout::Layout;
use super::sql::Statement;
use super::transaction::{End, PATIENCE, PATIENCE_OF_A_REHEARSAL, begin_anew, wait_for_locks};
use super::{CycleId, Store, StoreError, coupling, learners, word};
use crate::failpoint::{Step, reached};
use crate::model::{EntraId, Generation, LearnerId};
use crate::plan::Change;

/// In whose name something is written.
#[derive(Clone, Copy, Debug)]
pub struct WriteContext<'s> {
    /// The cycle.
    pub cycle: CycleId,
    /// Tenant and enterprise application.
    pub source: &'s str,
    /// When.
    pub at: Timestamp,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Whose change stands in the database, with the learner, in the order of the batch.
    pub learners: Vec<(EntraId, LearnerId)>,
    /// The indices in the batch of the changes that the database refused, and why; no personal data.
    pub refused: Vec<(usize, String)>,
    /// The generation of the database afterwards.
    pub generation: Generation,
}

/// Why a statement did not work.
pub(super) enum ApplyError {
    /// Because of a row in it.
    Refused(String),
    /// Because of the database.
    Failed(StoreError),
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        refusal(&error).map_or_else(|| Self::Failed(error.into()), Self::Refused)
    }
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Store {
    /// Carries out `batch`: learner rows, links, log rows, the end of holds and failures, and a new generation, in
    /// one transaction. A row that the database refuses is left out and named; after an error nothing is changed.
    pub async fn apply(&self, batch: &[Change], stamp: &WriteContext<'_>) -> Result<Applied, StoreError> {
        self.write(async |connection| {
            let Done { learners, refused } = carry_out(connection, &self.layout, batch, stamp).await?;
            let generation =
                if learners.is_empty() { generation(connection).await? } else { renew_generation(connection).await? };
            let learners = learners.into_iter().map(|(index, learner)| (batch[index].user, learner)).collect();
            reached(Step::BatchWritten);
            Ok(Applied { learners, refused, generation })
        })
        .await
    }

    /// What the database would refuse of `batch`, by index, and why: [`Store::apply`], undone.
    pub async fn rehearse(
        &self,
        batch: &[Change],
        stamp: &WriteContext<'_>,
    ) -> Result<Vec<(usize, String)>, StoreError> {
        wait_for_locks(&mut *self.connection().await, PATIENCE_OF_A_REHEARSAL).await?;
        let done =
            self.transact(End::Undo, async |connection| carry_out(connection, &self.layout, batch, stamp).await).await;
        wait_for_locks(&mut *self.connection().await, PATIENCE).await?;
        Ok(done?.refused)
    }
}

struct Done {
    learners: Vec<(usize, LearnerId)>,
    refused: Vec<(usize, String)>,
}

/// Tries all at once; what fails is halved until the offender is alone.
async fn carry_out(
    connection: &mut Connection,
    layout: &Layout,
    batch: &[Change],
    stamp: &WriteContext<'_>,
) -> Result<Done, StoreError> {
    let mut done = Done { learners: Vec::with_capacity(batch.len()), refused: Vec::new() };
    if batch.is_empty() {
        return Ok(done);
    }
    let whole: Vec<usize> = (0..batch.len()).collect();
    let Some(why) = attempt(connection, layout, batch, &whole, stamp, &mut done.learners).await? else {
        return Ok(done);
    };
    // Nothing else was done yet, so all of it can go: most batches need no savepoint.
    begin_anew(connection).await?;
    connection.script("SAVEPOINT parts").await?;
    let units = coupling::units(batch);
    // A stack: the first half is done with before the second begins, so nobody comes before those they wait for.
    let mut waiting = Vec::new();
    bisect(&units, &why, &mut waiting, &mut done.refused);
    while let Some(part) = waiting.pop() {
        let mut members: Vec<usize> = part.iter().flatten().copied().collect();
        members.sort_unstable();
        match attempt(connection, layout, batch, &members, stamp, &mut done.learners).await? {
            None => connection.script("RELEASE parts; SAVEPOINT parts").await?,
            Some(why) => {
                connection.script("ROLLBACK TO parts").await?;
                bisect(part, &why, &mut waiting, &mut done.refused);
            }
        }
    }
    done.learners.sort_unstable();
    done.refused.sort_unstable();
    Ok(done)
}

/// Halves what was refused, or, when there is nothing left to halve, refuses it.
fn bisect<'u>(
    part: &'u [Vec<usize>],
    why: &str,
    waiting: &mut Vec<&'u [Vec<usize>]>,
    refused: &mut Vec<(usize, String)>,
) {
    if part.len() > 1 {
        let (first, second) = part.split_at(part.len() / 2);
        waiting.extend([second, first]);
    } else {
        refused.extend(part.iter().flatten().map(|index| (*index, why.to_owned())));
    }
}

/// Carries out `members` of `batch`, or says why the database refuses one of them; then the caller undoes it.
async fn attempt(
    connection: &mut Connection,
    layout: &Layout,
    batch: &[Change],
    members: &[usize],
    stamp: &WriteContext<'_>,
    learners: &mut Vec<(usize, LearnerId)>,
) -> Result<Option<String>, StoreError> {
    let changes: Vec<&Change> = members.iter().map(|index| &batch[*index]).collect();
    match learners::write(connection, layout, &changes, stamp).await {
        Ok(written) => {
            learners.extend(members.iter().copied().zip(written));
            Ok(None)
        }
        Err(ApplyError::Refused(why)) => Ok(Some(why)),
        Err(ApplyError::Failed(error)) => Err(error),
    }
}

async fn generation(connection: &mut Connection) -> Result<Generation, StoreError> {
    let row = connection.row(Statement::new("SELECT generation FROM sync_state")).await?;
    word(row.get(0)?, "sync_state.generation")
}

/// Gives the database a new generation: whoever remembers another one must look at the learners again.
pub(super) async fn renew_generation(connection: &mut Connection) -> Result<Generation, sqlx::Error> {
    let generation = Generation(rand::random());
    let statement = Statement::new("UPDATE sync_state SET generation = $1");
    connection.execute(statement.bind(generation.to_string())).await?;
    Ok(generation)
}
