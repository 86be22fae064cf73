//! Reads accounts by their ids: directly assigned users, and group members whose row was not clear.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;

use super::account::{AccountRead, Assess, read_account, single_user};
use super::batch::BATCH;
use super::client::{Reply, with_request_id};
use super::error::{FailedReads, GraphError, malformed};
use super::roles::RoleValue;
use super::wire::{self, InvalidRow, Texts, UserRow};
use super::work::{Need, Purpose};
use super::{Directory, DirectoryError, select};
use crate::model::{EntraId, RequestId, Selection};

/// The most ids in an `in` filter: <https://learn.microsoft.com/graph/filter-query-parameter>.
const IDS_IN_FILTER: usize = 15;
/// As many as requests may run at once; the others are not prepared yet.
const BATCHES_AT_ONCE: usize = 64;
const WHAT: &str = "reading assigned users";

/// How accounts are read directly.
pub(super) struct DirectRead<'r, A> {
    pub(super) selection: Arc<Selection>,
    /// The value that does not come from the account.
    pub(super) roles: &'r (dyn Fn(EntraId) -> RoleValue + Sync),
    pub(super) assess: Assess<A>,
}

/// An account that was read.
pub(super) struct DirectAccount<A> {
    pub(super) user: EntraId,
    pub(super) exists: bool,
    pub(super) assessed: A,
}

/// The answer to one filter.
struct FilterAnswer {
    users: Vec<(EntraId, RoleValue)>,
    /// `None` when it was too large.
    reply: Option<Reply>,
}

/// The answer about a single user.
enum SingleAnswer {
    Reply(Reply, RoleValue),
    Read(AccountRead, RequestId),
}

impl Directory {
    /// Reads accounts by id: filters of 15 ids in `$batch` requests, then a single request for each id missing from the
    /// answers. Returns the failures of the single requests, except for accounts among `uncertain`, which may be no users.
    /// <https://learn.microsoft.com/graph/api/user-list>, <https://learn.microsoft.com/graph/api/user-get>
    pub(super) async fn read_directly<A: Send + 'static>(
        &self,
        users: &[EntraId],
        uncertain: &BTreeSet<EntraId>,
        read: &DirectRead<'_, A>,
        mut on_user: impl FnMut(DirectAccount<A>) + Send,
    ) -> Result<FailedReads, DirectoryError> {
        let select = select(&read.selection);
        let (purpose, slots) = (Purpose::default(), Semaphore::new(BATCHES_AT_ONCE));
        let mut missing = Vec::new();
        let chunks = users.chunks(IDS_IN_FILTER * BATCH);
        let mut reads: FuturesUnordered<_> = chunks
            .map(|users| {
                let (slots, select, need) = (&slots, &select, purpose.need());
                async move {
                    let _slot = slots.acquire().await;
                    self.read_by_filter(users, select, read, need).await
                }
            })
            .collect();
        while let Some((accounts, not_returned)) = reads.try_next().await? {
            accounts.into_iter().for_each(&mut on_user);
            missing.extend(not_returned);
        }
        // The filters end in any order.
        missing.sort_unstable();
        let paths: Vec<String> = missing.iter().map(|id| format!("/users/{id}?$select={select}")).collect();
        let mut failed = FailedReads::default();
        let mut answers = Vec::with_capacity(missing.len());
        for (id, answer) in missing.iter().zip(self.client.batch(WHAT, &paths).await?) {
            let answer = match answer {
                Ok(reply) => SingleAnswer::Reply(reply, (read.roles)(*id)),
                Err(error) => {
                    let request_id = error.request_id();
                    let unreadable = |detail| AccountRead::Unreadable { user: *id, detail };
                    let read = if error.is_not_found() {
                        AccountRead::NotFound(*id)
                    } else if uncertain.contains(id) {
                        unreadable(format!("the type of the member is unknown, and it cannot be read: {error}"))
                    } else {
                        unreadable(failed.add(error))
                    };
                    SingleAnswer::Read(read, request_id)
                }
            };
            answers.push((*id, answer));
        }
        let (selection, assess, need) = (Arc::clone(&read.selection), Arc::clone(&read.assess), purpose.need());
        let work = self.client.workers.start(move || assess_singles(answers, &selection, &assess, &need)).await;
        work.result(WHAT).await?.into_iter().for_each(on_user);
        Ok(failed)
    }

    /// Reads up to 300 accounts in one `$batch`. Also returns the ids missing from the answers.
    async fn read_by_filter<A: Send + 'static>(
        &self,
        users: &[EntraId],
        select: &str,
        read: &DirectRead<'_, A>,
        need: Need,
    ) -> Result<(Vec<DirectAccount<A>>, Vec<EntraId>), DirectoryError> {
        let chunks: Vec<&[EntraId]> = users.chunks(IDS_IN_FILTER).collect();
        let paths: Vec<String> = chunks
            .iter()
            .map(|ids| {
                let list: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
                format!("/users?$filter=id%20in%20({})&$select={select}", list.join(","))
            })
            .collect();
        let mut answers = Vec::with_capacity(chunks.len());
        for (ids, answer) in chunks.iter().zip(self.client.batch(WHAT, &paths).await?) {
            let reply = match answer {
                Err(GraphError::TooLarge { .. }) => None,
                answer => Some(answer?),
            };
            let users = ids.iter().map(|id| (*id, (read.roles)(*id))).collect();
            answers.push(FilterAnswer { users, reply });
        }
        let (selection, assess) = (Arc::clone(&read.selection), Arc::clone(&read.assess));
        let work = self.client.workers.start(move || assess_answers(answers, &selection, &assess, &need)).await;
        Ok(work.result(WHAT).await?.map_err(|why| malformed(WHAT, why))?)
    }
}

/// Assesses the accounts in `answers`; also returns the ids that are missing there.
fn assess_answers<A>(
    answers: Vec<FilterAnswer>,
    selection: &Selection,
    assess: &Assess<A>,
    need: &Need,
) -> Result<(Vec<DirectAccount<A>>, Vec<EntraId>), String> {
    let (mut accounts, mut not_returned, mut texts) = (Vec::new(), Vec::new(), Texts::default());
    for FilterAnswer { users, reply } in answers {
        let Some(Reply { body, request_id }) = reply else {
            not_returned.extend(users.into_iter().map(|(user, _)| user));
            continue;
        };
        // A row behind a nextLink is missing here, and read by its id.
        let page = wire::page(&body).map_err(|why| with_request_id(&why, &request_id))?;
        let mut rows: BTreeMap<EntraId, Option<UserRow>> = BTreeMap::new();
        for row in page.rows {
            match wire::user(row.get(), selection, &mut texts) {
                Ok(row) => match rows.entry(row.id) {
                    Entry::Vacant(entry) => drop(entry.insert(Some(row))),
                    // Several rows of one user say nothing.
                    Entry::Occupied(mut entry) => drop(entry.insert(None)),
                },
                Err(InvalidRow::Failed(why)) => return Err(with_request_id(&why, &request_id)),
                Err(InvalidRow::Bad(_) | InvalidRow::NoObject(_)) => {}
            }
        }
        for (user, roles) in users {
            if need.is_over() {
                break;
            }
            match rows.remove(&user).flatten() {
                Some(row) => accounts.push(assess_row(row, roles, selection, &request_id, assess, &mut texts)),
                None => not_returned.push(user),
            }
        }
    }
    Ok((accounts, not_returned))
}

fn assess_singles<A>(
    answers: Vec<(EntraId, SingleAnswer)>,
    selection: &Selection,
    assess: &Assess<A>,
    need: &Need,
) -> Vec<DirectAccount<A>> {
    let (mut accounts, mut texts) = (Vec::new(), Texts::default());
    for (user, answer) in answers {
        if need.is_over() {
            break;
        }
        let (read, request_id) = match answer {
            SingleAnswer::Reply(reply, roles) => match single_user(user, &reply, selection) {
                Ok(row) => {
                    accounts.push(assess_row(row, roles, selection, &reply.request_id, assess, &mut texts));
                    continue;
                }
                Err(detail) => (AccountRead::Unreadable { user, detail }, reply.request_id),
            },
            SingleAnswer::Read(read, request_id) => (read, request_id),
        };
        let exists = !matches!(read, AccountRead::NotFound(_));
        accounts.push(DirectAccount { user, exists, assessed: assess.assess(&read, None, &request_id) });
    }
    accounts
}

fn assess_row<A>(
    mut row: UserRow,
    roles: RoleValue,
    selection: &Selection,
    request_id: &RequestId,
    assess: &Assess<A>,
    texts: &mut Texts,
) -> DirectAccount<A> {
    roles.add_to(&mut row);
    let read = read_account(row, selection, request_id);
    let assessed = DirectAccount { user: read.user(), exists: true, assessed: assess.assess(&read, None, request_id) };
    texts.recycle(read);
    assessed
}
