//! Confirms leavers: absence from a list alone never deactivates a user.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::account::{read_account, single_user};
use super::batch::BatchReply;
use super::client::with_request_id;
use super::error::FailedReads;
use super::members::{GroupState, MemberList, ReadRow};
use super::principals::Assignments;
use super::wire::{RowType, Texts, UserRow};
use super::{AccountRead, Directory, DirectoryError, GraphError, Snapshot};
use crate::model::{EntraId, RequestId, Selection, UnclearRows, Value, Verdict};

/// The state of possible leavers.
#[derive(Debug, Default)]
pub struct Confirmation {
    /// One verdict for each requested user.
    pub verdicts: BTreeMap<EntraId, Verdict>,
    /// Graph's id of the answer about each user that decides the verdict.
    pub request_ids: BTreeMap<EntraId, RequestId>,
    /// The userPrincipalName of each account that was read.
    pub user_names: BTreeMap<EntraId, String>,
    /// The member counts of the assigned groups, if the assignments were read again. Newer than the snapshot's.
    pub groups: Option<BTreeMap<EntraId, u64>>,
    /// The groups of `groups` whose members are hidden.
    pub hidden: BTreeSet<EntraId>,
    /// The groups of `groups` that do not exist any more.
    pub gone: BTreeSet<EntraId>,
    /// The rows that may hide assigned users, if the assignments were read again.
    pub unclear: UnclearRows,
    /// Whether the application has no assignment at all, if the assignments were read again.
    pub nobody_assigned: Option<bool>,
}

impl Directory {
    /// Reads the accounts of `absent` (in no list) and `unread` (assigned, but 404). Unless all of `absent` are disabled or
    /// among the deleted items, reads the assignments once more.
    ///
    /// # Errors
    /// A request fails, or the reads of several users and all of them are retried in vain. The caller must then deactivate
    /// none of these users.
    pub async fn confirm(
        &self,
        snapshot: &Snapshot,
        absent: &[EntraId],
        unread: &[EntraId],
    ) -> Result<Confirmation, DirectoryError> {
        let mut confirmation = Confirmation::default();
        if absent.is_empty() && unread.is_empty() {
            return Ok(confirmation);
        }
        let mut selection = Selection::default();
        for property in ["accountEnabled", "displayName"] {
            selection.slot(property);
        }
        let name_slot = selection.slot("userPrincipalName");
        let users: Vec<EntraId> = absent.iter().chain(unread).copied().collect();
        let (mut missing, mut failed) = (Vec::new(), FailedReads::default());
        let mut enabled = BTreeSet::new();
        for (user, account, request_id) in self.reread_accounts(&users, &selection, &mut failed).await? {
            confirmation.request_ids.insert(user, request_id);
            if let AccountRead::User(account) = &account
                && let Some(Value::Text(user_name)) = account.values.get(name_slot)
            {
                confirmation.user_names.insert(user, user_name.clone());
            }
            match account {
                AccountRead::User(account) if account.enabled => drop(enabled.insert(user)),
                AccountRead::User(_) => drop(confirmation.verdicts.insert(user, Verdict::Disabled)),
                AccountRead::Unreadable { detail, .. } => {
                    confirmation.verdicts.insert(user, Verdict::Unreadable(detail));
                }
                AccountRead::NotFound(_) => missing.push(user),
            }
        }
        self.find_deleted(&missing, &mut confirmation, &mut failed).await?;
        failed.unless_all_in_vain(users.len())?;
        for user in unread {
            // Assigned by the snapshot, and the account is readable now.
            if enabled.remove(user) {
                confirmation.verdicts.insert(*user, Verdict::Present);
            }
        }
        // A replica that is behind may miss an account as well as a row of the assignments.
        let is_missing = |user: &&EntraId| confirmation.verdicts.get(user) == Some(&Verdict::NotFound);
        let missing: BTreeSet<EntraId> = absent.iter().filter(is_missing).copied().collect();
        let listed = &enabled | &missing;
        if !listed.is_empty() {
            let (assigned, others) = self.reread_assignments(snapshot, &listed, &mut confirmation).await?;
            for user in listed {
                let verdict = match others.get(&user) {
                    // The next cycle finds the account, or waits for it.
                    _ if assigned.contains(&user) => Verdict::Present,
                    Some(kind) => Verdict::Unreadable(format!("listed as {kind}, but it is the account of a user")),
                    None if missing.contains(&user) => Verdict::NotFound,
                    None => Verdict::Unassigned,
                };
                confirmation.verdicts.insert(user, verdict);
            }
        }
        Ok(confirmation)
    }

    /// Looks for `missing` users among the deleted items.
    /// <https://learn.microsoft.com/graph/api/directory-deleteditems-get>
    async fn find_deleted(
        &self,
        missing: &[EntraId],
        confirmation: &mut Confirmation,
        failed: &mut FailedReads,
    ) -> Result<(), DirectoryError> {
        let what = "reading deleted users";
        let paths: Vec<String> = missing.iter().map(|id| format!("/directory/deletedItems/{id}?$select=id")).collect();
        for (user, answer) in missing.iter().zip(self.client.batch(what, &paths).await?) {
            let request_id = request_id_of(&answer);
            let verdict = match answer {
                // A status alone proves nothing, because a proxy may have answered.
                Ok(reply) => match single_user(*user, &reply, &Selection::default()) {
                    Ok(_) => Verdict::Deleted,
                    Err(detail) => Verdict::Unreadable(detail),
                },
                Err(error) if error.is_not_found() => Verdict::NotFound,
                Err(GraphError::Answered { status: 403, genuine: true, request_id, .. }) => {
                    Verdict::Unreadable(with_request_id("no permission to read the deleted items", &request_id))
                }
                Err(error) => Verdict::Unreadable(failed.add(error)),
            };
            confirmation.verdicts.insert(*user, verdict);
            confirmation.request_ids.insert(*user, request_id);
        }
        Ok(())
    }

    /// The ids of all users assigned now, and what else those among `leavers` are listed as. Adds the state of the
    /// assignments to `confirmation`.
    async fn reread_assignments(
        &self,
        snapshot: &Snapshot,
        leavers: &BTreeSet<EntraId>,
        confirmation: &mut Confirmation,
    ) -> Result<(BTreeSet<EntraId>, BTreeMap<EntraId, &'static str>), DirectoryError> {
        let assignments = self.assignments(snapshot.application()).await?;
        let Assignments { mut users, groups: names, other_roles: _, roles: _, unknown_roles: _, mut others, unclear } =
            assignments;
        others.extend(names.keys().map(|group| (*group, "a group")));
        confirmation.nobody_assigned = Some(users.is_empty() && names.is_empty());
        // A principal of which only its id is clear is assigned.
        users.extend(unclear.principals.keys());
        confirmation.unclear = unclear;
        let mut groups = BTreeMap::new();
        let (nothing, leavers) = (&Arc::default(), leavers.clone());
        let listed_as: ReadRow<&str> =
            Arc::new(move |row: UserRow, _: &str, _: &RequestId, _: &mut Texts| match row.kind {
                RowType::Other(kind) if leavers.contains(&row.id) => Some((row.id, kind)),
                _ => None,
            });
        let listed_as = &listed_as;
        let reads = names.iter().map(|(group, name)| async move {
            let mut listed = Vec::new();
            let members = self.members(*group, name, nothing, listed_as, |page| listed.extend(page));
            let members = members.await?;
            Ok::<_, DirectoryError>((*group, members, listed))
        });
        let mut reads: FuturesUnordered<_> = reads.collect();
        while let Some((group, list, listed)) = reads.try_next().await? {
            others.extend(listed);
            // The snapshot knows whether a member of unknown type is a user.
            groups.insert(group, list.count(|id| snapshot.routes(*id).is_some()));
            let MemberList { users: members, unknown, bad_rows, state, .. } = list;
            confirmation.hidden.extend((state == GroupState::Hidden).then_some(group));
            confirmation.gone.extend((state == GroupState::Gone).then_some(group));
            confirmation.unclear.unnamed += bad_rows;
            users.extend(members.into_iter().chain(unknown));
        }
        confirmation.groups = Some(groups);
        Ok((users, others))
    }

    /// Reads each account by its id. Unlike [`Directory::read`], a 403 of all of them is not an error.
    /// <https://learn.microsoft.com/graph/api/user-get>
    async fn reread_accounts(
        &self,
        users: &[EntraId],
        selection: &Selection,
        failed: &mut FailedReads,
    ) -> Result<Vec<(EntraId, AccountRead, RequestId)>, DirectoryError> {
        let what = "confirming leavers";
        let select = super::select(selection);
        let paths: Vec<String> = users.iter().map(|id| format!("/users/{id}?$select={select}")).collect();
        let mut accounts = Vec::with_capacity(users.len());
        for (user, answer) in users.iter().zip(self.client.batch(what, &paths).await?) {
            let unreadable = |detail| AccountRead::Unreadable { user: *user, detail };
            let request_id = request_id_of(&answer);
            let account = match answer {
                Ok(reply) => match single_user(*user, &reply, selection) {
                    Ok(row) => read_account(row, selection, &reply.request_id),
                    Err(detail) => unreadable(detail),
                },
                Err(GraphError::Answered { status: 403, genuine: true, request_id, .. }) => {
                    unreadable(with_request_id("no permission to read the account", &request_id))
                }
                Err(error) if error.is_not_found() => AccountRead::NotFound(*user),
                Err(error) => unreadable(failed.add(error)),
            };
            accounts.push((*user, account, request_id));
        }
        Ok(accounts)
    }
}

fn request_id_of(answer: &BatchReply) -> RequestId {
    answer.as_ref().map_or_else(GraphError::request_id, |reply| reply.request_id.clone())
}
