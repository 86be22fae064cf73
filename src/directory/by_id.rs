//! Reads accounts by their ids: directly assigned users, and group members whose row was not clear.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::account::{AccountRead, read_account, single_user};
use super::batch::BATCH;
use super::client::{Reply, with_request_id};
use super::error::{FailedReads, GraphError, malformed};
use super::wire::{self, InvalidRow, UserRow};
use super::{Directory, DirectoryError, select};
use crate::model::{EntraId, Selection};

/// The most ids in an `in` filter: <https://learn.microsoft.com/graph/filter-query-parameter>.
const IDS_IN_FILTER: usize = 15;
const WHAT: &str = "reading assigned users";

impl Directory {
    /// Reads accounts by id: filters of 15 ids in `$batch` requests, then a single request for each id missing from the
    /// answers. Returns the failures of the single requests, except for accounts among `uncertain`, which may be no users.
    /// `complete` adds to a row what does not come from the account.
    /// <https://learn.microsoft.com/graph/api/user-list>, <https://learn.microsoft.com/graph/api/user-get>
    pub(super) async fn read_directly(
        &self,
        users: &[EntraId],
        uncertain: &BTreeSet<EntraId>,
        selection: &Selection,
        complete: &(dyn Fn(&mut UserRow) + Sync),
        mut on_user: impl FnMut(AccountRead),
    ) -> Result<FailedReads, DirectoryError> {
        let select = select(selection);
        let mut missing = Vec::new();
        let chunks = users.chunks(IDS_IN_FILTER * BATCH);
        let mut reads: FuturesUnordered<_> =
            chunks.map(|users| self.read_by_filter(users, selection, &select, complete)).collect();
        while let Some((accounts, not_returned)) = reads.try_next().await? {
            for account in accounts {
                self.client.turns.offer().await;
                on_user(account);
            }
            missing.extend(not_returned);
        }
        let paths: Vec<String> = missing.iter().map(|id| format!("/users/{id}?$select={select}")).collect();
        let mut failed = FailedReads::default();
        for (id, answer) in missing.iter().zip(self.client.batch(WHAT, &paths).await?) {
            self.client.turns.offer().await;
            let unreadable = |detail| AccountRead::Unreadable { user: *id, detail };
            on_user(match answer {
                Ok(reply) => match single_user(*id, &reply, selection) {
                    Ok(mut row) => {
                        complete(&mut row);
                        read_account(row, selection, &reply.request_id)
                    }
                    Err(detail) => unreadable(detail),
                },
                Err(error) if error.is_not_found() => AccountRead::NotFound(*id),
                Err(error) if uncertain.contains(id) => {
                    unreadable(format!("the type of the member is unknown, and it cannot be read: {error}"))
                }
                Err(error) => unreadable(failed.add(error)),
            });
        }
        Ok(failed)
    }

    /// Reads up to 300 accounts in one `$batch`. Also returns the ids missing from the answers.
    async fn read_by_filter(
        &self,
        users: &[EntraId],
        selection: &Selection,
        select: &str,
        complete: &(dyn Fn(&mut UserRow) + Sync),
    ) -> Result<(Vec<AccountRead>, Vec<EntraId>), DirectoryError> {
        let chunks: Vec<&[EntraId]> = users.chunks(IDS_IN_FILTER).collect();
        let paths: Vec<String> = chunks
            .iter()
            .map(|ids| {
                let list: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
                format!("/users?$filter=id%20in%20({})&$select={select}", list.join(","))
            })
            .collect();
        let (mut accounts, mut not_returned) = (Vec::with_capacity(users.len()), Vec::new());
        for (ids, answer) in chunks.iter().zip(self.client.batch(WHAT, &paths).await?) {
            self.client.turns.offer().await;
            let Reply { body, request_id } = match answer {
                Err(GraphError::TooLarge { .. }) => {
                    not_returned.extend_from_slice(ids);
                    continue;
                }
                answer => answer?,
            };
            // What is behind a nextLink is missing here, and read by its id.
            let page = wire::page(&body).map_err(|why| malformed(WHAT, with_request_id(&why, &request_id)))?;
            let mut rows: BTreeMap<EntraId, Option<UserRow>> = BTreeMap::new();
            for row in page.rows {
                match wire::user(row.get(), selection) {
                    Ok(row) => match rows.entry(row.id) {
                        Entry::Vacant(entry) => drop(entry.insert(Some(row))),
                        // Several rows of one user say nothing.
                        Entry::Occupied(mut entry) => drop(entry.insert(None)),
                    },
                    Err(InvalidRow::Failed(why)) => {
                        return Err(malformed(WHAT, with_request_id(&why, &request_id)).into());
                    }
                    Err(InvalidRow::Bad(_) | InvalidRow::NoObject(_)) => {}
                }
            }
            for id in *ids {
                match rows.remove(id).flatten() {
                    Some(mut row) => {
                        complete(&mut row);
                        accounts.push(read_account(row, selection, &request_id));
                    }
                    None => not_returned.push(*id),
                }
            }
        }
        Ok((accounts, not_returned))
    }
}
