//! Writing down what a cycle does not change: who failed, who was left alone, who is held, and how users are
//! assigned.

use std::collections::{BTreeMap, BTreeSet};

use super::apply::renew_generation;
use super::connection::Connection;
use super::known::texts;
use super::layout::Layout;
use super::learners::{forget, write_routes};
use super::sql::Statement;
use super::{Store, StoreError, WriteContext, log};
use crate::failpoint::{Step, reached};
use crate::model::{EntraId, Generation, Routes, Status};
use crate::plan::{Finding, MemberCounts};

/// The parts of a plan that are no changes.
#[derive(Clone, Copy, Debug)]
pub struct Bookkeeping<'n> {
    /// Who is left alone, and why.
    pub findings: &'n [Finding],
    /// Whose row in `sync_failures` ends.
    pub failing_ended: &'n BTreeSet<EntraId>,
    /// Whose row in `sync_held` ends.
    pub held_ended: &'n BTreeSet<EntraId>,
    /// Linked users who are assigned in another way than the link says.
    pub routes: &'n [(EntraId, Routes)],
    /// The member counts that differ from `sync_groups`.
    pub group_members: &'n MemberCounts,
}

impl Store {
    /// Writes down `bookkeeping` in one transaction; nothing at all when there is nothing to write. Answers the new
    /// generation when there is one, which is when links were written.
    pub async fn note(
        &self,
        bookkeeping: &Bookkeeping<'_>,
        stamp: &WriteContext<'_>,
    ) -> Result<Option<Generation>, StoreError> {
        let Bookkeeping { findings, failing_ended, held_ended, routes, group_members } = bookkeeping;
        if findings.iter().all(|finding| !finding.tracked && !finding.log)
            && failing_ended.is_empty()
            && held_ended.is_empty()
            && routes.is_empty()
            && group_members.is_empty()
        {
            return Ok(None);
        }
        self.write(async |connection| {
            let generation = write(connection, &self.layout, bookkeeping, stamp).await?;
            reached(Step::NotesWritten);
            Ok(generation)
        })
        .await
    }

    /// Writes down whom the database refused in a batch.
    pub async fn note_refused(&self, findings: &[Finding], stamp: &WriteContext<'_>) -> Result<(), StoreError> {
        let bookkeeping = Bookkeeping {
            findings,
            failing_ended: &BTreeSet::new(),
            held_ended: &BTreeSet::new(),
            routes: &[],
            group_members: &MemberCounts::new(),
        };
        self.note(&bookkeeping, stamp).await?;
        Ok(())
    }
}

async fn write(
    connection: &mut Connection,
    layout: &Layout,
    bookkeeping: &Bookkeeping<'_>,
    stamp: &WriteContext<'_>,
) -> Result<Option<Generation>, sqlx::Error> {
    let Bookkeeping { findings, failing_ended, held_ended, routes, group_members } = bookkeeping;
    forget(connection, "sync_failures", stamp.source, &texts(*failing_ended)).await?;
    forget(connection, "sync_held", stamp.source, &texts(*held_ended)).await?;
    // One row a user: PostgreSQL does not upsert the same row twice in one statement.
    let tracked = |held: bool| -> Vec<&Finding> {
        let tracked = findings.iter().filter(|finding| finding.tracked && (finding.status == Status::Held) == held);
        tracked.map(|finding| (finding.user, finding)).collect::<BTreeMap<_, _>>().into_values().collect()
    };
    track_failures(connection, &tracked(false), stamp).await?;
    track_held(connection, &tracked(true), stamp).await?;

    let entries: Vec<log::Entry<'_>> = findings
        .iter()
        .filter(|finding| finding.log)
        .map(|finding| log::Entry {
            action: finding.action,
            status: finding.status,
            user: finding.user,
            learner: finding.learner,
            user_name: finding.user_name.as_deref(),
            reason: finding.reason,
            detail: finding.detail.as_deref().map(Into::into),
            changes: &finding.changes,
        })
        .collect();
    log::write(connection, layout, &entries, stamp).await?;

    let groups: Vec<(&EntraId, &u64)> = group_members.iter().collect();
    for piece in connection.pieces(&groups) {
        let mut statement = Statement::new("INSERT INTO sync_groups (source, group_id, last_members) ");
        statement.push_values(piece, |row, (group, members)| {
            row.push_bind(stamp.source).push_bind(group.to_string());
            row.push_bind(i64::try_from(**members).unwrap_or(i64::MAX));
        });
        statement.push(" ON CONFLICT (source, group_id) DO UPDATE SET last_members = excluded.last_members");
        connection.execute(statement).await?;
    }

    let routes: Vec<(EntraId, &Routes)> = routes.iter().map(|(user, routes)| (*user, routes)).collect();
    if write_routes(connection, &routes, stamp.source).await? == 0 {
        return Ok(None);
    }
    Ok(Some(renew_generation(connection).await?))
}

/// A failure that goes on keeps its beginning and counts its attempts; one with a new reason begins anew.
async fn track_failures(
    connection: &mut Connection,
    findings: &[&Finding],
    stamp: &WriteContext<'_>,
) -> Result<(), sqlx::Error> {
    for piece in connection.pieces(findings) {
        let mut statement = Statement::new(
            "INSERT INTO sync_failures (source, entra_id, reason, detail, first_at, last_at, attempts) ",
        );
        statement.push_values(piece, |row, finding| {
            row.push_bind(stamp.source).push_bind(finding.user.to_string()).push_bind(finding.reason.as_str());
            row.push_bind(finding.detail.as_deref()).push_bind(stamp.at).push_bind(stamp.at).push_bind(1);
        });
        statement.push(
            " ON CONFLICT (source, entra_id) DO UPDATE SET
                 first_at = CASE WHEN sync_failures.reason = excluded.reason
                                 THEN sync_failures.first_at ELSE excluded.first_at END,
                 attempts = CASE WHEN sync_failures.reason = excluded.reason
                                 THEN sync_failures.attempts + 1 ELSE 1 END,
                 reason = excluded.reason, detail = excluded.detail, last_at = excluded.last_at",
        );
        connection.execute(statement).await?;
    }
    Ok(())
}

/// A hold that goes on keeps its beginning; its approval is for one action only.
async fn track_held(
    connection: &mut Connection,
    findings: &[&Finding],
    stamp: &WriteContext<'_>,
) -> Result<(), sqlx::Error> {
    for piece in connection.pieces(findings) {
        let mut statement = Statement::new("INSERT INTO sync_held (source, entra_id, action, reason, since) ");
        statement.push_values(piece, |row, finding| {
            row.push_bind(stamp.source).push_bind(finding.user.to_string()).push_bind(finding.action.as_str());
            row.push_bind(finding.reason.as_str()).push_bind(stamp.at);
        });
        statement.push(
            " ON CONFLICT (source, entra_id) DO UPDATE SET
                 since = CASE WHEN sync_held.reason = excluded.reason AND sync_held.action = excluded.action
                              THEN sync_held.since ELSE excluded.since END,
                 approved_at = CASE WHEN sync_held.action = excluded.action THEN sync_held.approved_at END,
                 approved_by = CASE WHEN sync_held.action = excluded.action THEN sync_held.approved_by END,
                 action = excluded.action, reason = excluded.reason
             WHERE sync_held.action <> excluded.action OR sync_held.reason <> excluded.reason",
        );
        connection.execute(statement).await?;
    }
    Ok(())
}
