//! Bookkeeping: failing, skipped and held users, how users are assigned, and the sizes of groups.

use std::collections::{BTreeMap, BTreeSet};

use super::links::write_routes;
use super::log::{LogEntry, loggable, write_log};
use super::{Fence, WriteContext, WriteSession, delete_records};
use crate::failpoint::{Step, reached};
use crate::model::{Cause, EntraId, Generation, Reason, Routes, Status};
use crate::plan::{Decision, EndedHolds, Leave, LeftAs, MemberCounts};
use crate::store::db::{DbError, SqlValue, Statement};
use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::state::{self, Sources, TAKEN_OVER_SOURCES};

/// The rows that a cycle records besides learners.
#[derive(Clone, Copy, Debug)]
pub struct Bookkeeping<'b> {
    /// The decisions that leave a learner as it is.
    pub left: &'b [Decision],
    /// Users whose row in `sync_failures` is deleted first.
    pub failing_ended: &'b BTreeSet<EntraId>,
    /// The holds whose row in `sync_held` is deleted.
    pub held_ended: &'b EndedHolds,
    /// Linked users whose routes differ from those of the link.
    pub routes: &'b [(EntraId, Routes)],
    /// The member counts that differ from `sync_groups`.
    pub group_members: &'b MemberCounts,
    /// Whether the source completes its first cycle since a take-over.
    pub take_over_ended: bool,
}

impl Store {
    /// Writes `bookkeeping` in one transaction, or nothing when there is nothing to write. Deletes failures that cannot be
    /// read. Returns the generation afterwards, which is another one when links were written.
    ///
    /// # Errors
    /// [`StoreError::WrittenByOther`] in another generation; [`StoreError::Paused`] only when links are to be written.
    pub async fn record(
        &self,
        bookkeeping: &Bookkeeping<'_>,
        context: &WriteContext<'_>,
        fence: Fence,
    ) -> Result<Generation, StoreError> {
        let Bookkeeping { left, failing_ended, held_ended, routes, group_members, take_over_ended } = bookkeeping;
        let disposable = self.take_disposable();
        let is_recorded = |decision: &Decision| decision.leave().is_some_and(|leave| leave.tracked || leave.begins);
        if !left.iter().any(is_recorded)
            && failing_ended.is_empty()
            && held_ended.is_empty()
            && routes.is_empty()
            && group_members.is_empty()
            && !take_over_ended
            && disposable.is_empty()
        {
            return Ok(fence.generation);
        }
        self.write(async |connection| {
            fence.require_generation(connection).await?;
            // First, because a failure may be written again.
            for row in &disposable {
                connection.script(&row.repair).await?;
            }
            let mut session = WriteSession { connection, layout: &self.layout, context, fence: Some(fence) };
            let links = write_bookkeeping(&mut session, bookkeeping).await?;
            let generation = if links == 0 { fence.generation } else { fence.renew(session.connection).await? };
            reached(Step::BookkeepingWritten);
            Ok(generation)
        })
        .await
    }

    /// Writes the decisions that the database refused in a batch.
    pub async fn record_refused(
        &self,
        refused: &[Decision],
        context: &WriteContext<'_>,
        fence: Fence,
    ) -> Result<(), StoreError> {
        let bookkeeping = Bookkeeping {
            left: refused,
            failing_ended: &BTreeSet::new(),
            held_ended: &EndedHolds::new(),
            routes: &[],
            group_members: &MemberCounts::new(),
            take_over_ended: false,
        };
        self.record(&bookkeeping, context, fence).await.map(drop)
    }
}

/// Returns the number of links written.
async fn write_bookkeeping(session: &mut WriteSession<'_>, bookkeeping: &Bookkeeping<'_>) -> Result<u64, DbError> {
    let Bookkeeping { left, failing_ended, held_ended, routes, group_members, take_over_ended } = bookkeeping;
    // With the holds in one transaction: a kill between them would release the leavers.
    if *take_over_ended {
        let source = session.context.source;
        let end = |taken_over: &mut Sources| {
            taken_over.remove(source);
        };
        state::edit(session.connection, TAKEN_OVER_SOURCES, end).await?;
    }
    let begins = |decision: &Decision| decision.leave().is_some_and(|leave| leave.begins);
    let begun: Vec<&Decision> = left.iter().filter(|decision| begins(decision)).collect();
    let logged = Logged::read(session, &begun, held_ended).await?;
    delete_records(session, "sync_failures", &failing_ended.iter().copied().collect::<Vec<_>>()).await?;
    delete_records(session, "sync_held", &held_ended.keys().copied().collect::<Vec<_>>()).await?;
    // One row a user: PostgreSQL cannot upsert a row twice in one statement.
    let (mut failing, mut held) = (BTreeMap::new(), BTreeMap::new());
    for decision in *left {
        match decision.leave() {
            Some(Leave { left_as: LeftAs::Held, tracked: true, .. }) => drop(held.insert(decision.user, decision)),
            Some(leave @ Leave { tracked: true, .. }) => drop(failing.insert(decision.user, (decision, leave))),
            Some(_) | None => {}
        }
    }
    // A hold that lasts is on record, unless another process has ended it since.
    let lasting: Vec<EntraId> = held.iter().filter(|(_, decision)| !begins(decision)).map(|(user, _)| *user).collect();
    let lasting = recorded(session, "sync_held", &[], &lasting).await?;
    held.retain(|user, decision| begins(decision) || lasting.contains(user));
    write_failures(session, &failing.into_values().collect::<Vec<_>>()).await?;
    write_held(session, &held.into_values().collect::<Vec<_>>()).await?;

    let ended = held_ended.iter().filter(|(user, _)| logged.held.contains(user)).map(|(_, end)| LogEntry::ended(end));
    let begun = begun.into_iter().filter(|decision| !logged.begun.contains(&decision.user)).map(LogEntry::begun);
    let entries: Vec<LogEntry<'_>> = ended.chain(begun).collect();
    write_log(session, &entries).await?;

    let groups: Vec<(&EntraId, &u64)> = group_members.iter().collect();
    for chunk in session.connection.row_chunks(&groups) {
        let mut statement = Statement::new("INSERT INTO sync_groups (source, group_id, last_members) ");
        statement.push_values(chunk, |row, (group, members)| {
            row.push_bind(session.context.source).push_bind(*group);
            row.push_bind(i64::try_from(**members).unwrap_or(i64::MAX));
        });
        statement.push(" ON CONFLICT (source, group_id) DO UPDATE SET last_members = excluded.last_members");
        session.connection.execute(statement).await?;
    }

    let routes: Vec<(EntraId, &Routes)> = routes.iter().map(|(user, routes)| (*user, routes)).collect();
    write_routes(session, &routes).await
}

/// What processes with the same plan have logged since the plan was made. Bookkeeping keeps the generation, so the fence
/// lets it through twice.
struct Logged {
    /// Users whose failure, skip or hold is on record as it would begin.
    begun: BTreeSet<EntraId>,
    /// Users with a hold that can still end.
    held: BTreeSet<EntraId>,
}

impl Logged {
    async fn read(
        session: &mut WriteSession<'_>,
        begun: &[&Decision],
        held_ended: &EndedHolds,
    ) -> Result<Self, DbError> {
        let (mut failures, mut holds) = (BTreeMap::<_, Vec<EntraId>>::new(), BTreeMap::<_, Vec<EntraId>>::new());
        for decision in begun {
            match decision.status() {
                Status::Held => holds.entry((decision.action, decision.reason)).or_default().push(decision.user),
                _ => failures.entry(decision.reason).or_default().push(decision.user),
            }
        }
        let mut logged = Self { begun: BTreeSet::new(), held: BTreeSet::new() };
        for (reason, users) in &failures {
            let conditions = [("reason", reason.as_str())];
            logged.begun.extend(recorded(session, "sync_failures", &conditions, users).await?);
        }
        for ((action, reason), users) in &holds {
            let conditions = [("action", action.as_str()), ("reason", reason.as_str())];
            logged.begun.extend(recorded(session, "sync_held", &conditions, users).await?);
        }
        let ended: Vec<EntraId> = held_ended.keys().copied().collect();
        logged.held = recorded(session, "sync_held", &[], &ended).await?;
        Ok(logged)
    }
}

/// Those of `users` with a row in `table` whose columns have these values.
async fn recorded(
    session: &mut WriteSession<'_>,
    table: &str,
    columns: &[(&str, &str)],
    users: &[EntraId],
) -> Result<BTreeSet<EntraId>, DbError> {
    let WriteSession { connection, context, .. } = session;
    let mut found = BTreeSet::new();
    for users in connection.list_chunks(users) {
        let mut statement = Statement::new(format!("SELECT entra_id FROM {table} WHERE source = "));
        statement.push_bind(context.source).push(" AND entra_id IN").push_list(users);
        for (column, value) in columns {
            statement.push(format!(" AND {column} = ")).push_bind(*value);
        }
        for row in connection.rows(statement).await? {
            found.insert(row.canonical(0, "entra_id")?);
        }
    }
    Ok(found)
}

/// A failure that lasts keeps its beginning, unless that lies in the future, and counts its attempts; one with a new
/// reason begins again.
async fn write_failures(session: &mut WriteSession<'_>, failing: &[(&Decision, &Leave)]) -> Result<(), DbError> {
    let WriteSession { connection, context, .. } = session;
    for chunk in connection.row_chunks(failing) {
        let mut statement = Statement::new(
            "INSERT INTO sync_failures
                 (source, entra_id, reason, detail, first_at, last_at, attempts, cause, drift_fingerprint) ",
        );
        statement.push_values(chunk, |row, (decision, leave)| {
            row.push_bind(context.source).push_bind(decision.user).push_bind(decision.reason.as_str());
            row.push_bind(loggable(decision.detail.as_deref()))
                .push_bind(context.at)
                .push_bind(context.at)
                .push_bind(1);
            row.push_bind(leave.cause.map(Cause::as_str));
            row.push_bind(SqlValue::Text(leave.drift_fingerprint.map(|fingerprint| fingerprint.to_string().into())));
        });
        statement.push(
            " ON CONFLICT (source, entra_id) DO UPDATE SET
                 first_at = CASE WHEN sync_failures.reason = excluded.reason AND sync_failures.first_at < excluded.first_at
                                 THEN sync_failures.first_at ELSE excluded.first_at END,
                 attempts = CASE WHEN sync_failures.reason = excluded.reason
                                 THEN sync_failures.attempts + 1 ELSE 1 END,
                 reason = excluded.reason, detail = excluded.detail, last_at = excluded.last_at,
                 cause = excluded.cause, drift_fingerprint = excluded.drift_fingerprint",
        );
        connection.execute(statement).await?;
    }
    Ok(())
}

/// A hold that lasts keeps its beginning. Its approval is for one action only.
async fn write_held(session: &mut WriteSession<'_>, held: &[&Decision]) -> Result<(), DbError> {
    let WriteSession { connection, context, .. } = session;
    for chunk in connection.row_chunks(held) {
        let mut statement =
            Statement::new("INSERT INTO sync_held (source, entra_id, action, reason, since, change_reason) ");
        statement.push_values(chunk, |row, decision| {
            row.push_bind(context.source).push_bind(decision.user).push_bind(decision.action.as_str());
            row.push_bind(decision.reason.as_str()).push_bind(context.at);
            row.push_bind(decision.leave().and_then(|leave| leave.change_reason).map(Reason::as_str));
        });
        statement.push(
            " ON CONFLICT (source, entra_id) DO UPDATE SET
                 since = CASE WHEN sync_held.reason = excluded.reason AND sync_held.action = excluded.action
                              THEN sync_held.since ELSE excluded.since END,
                 approved_at = CASE WHEN sync_held.action = excluded.action THEN sync_held.approved_at END,
                 approved_by = CASE WHEN sync_held.action = excluded.action THEN sync_held.approved_by END,
                 change_reason = coalesce(excluded.change_reason,
                                          CASE WHEN sync_held.action = excluded.action THEN sync_held.change_reason END),
                 action = excluded.action, reason = excluded.reason
             WHERE sync_held.action <> excluded.action OR sync_held.reason <> excluded.reason
                OR excluded.change_reason <> coalesce(sync_held.change_reason, '')",
        );
        connection.execute(statement).await?;
    }
    Ok(())
}
