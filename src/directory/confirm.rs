//! The second look: nobody is taken for gone because a list did not name them.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::client::{Reply, Step};
use super::read::{noted, told};
use super::wire::RowType;
use super::{AccountRead, Directory, DirectoryError, GraphError, Snapshot, malformed, wire};
use crate::model::{EntraId, Selection, Verdict};

/// What the second look found.
#[derive(Debug, Default)]
pub struct Confirmation {
    /// For everybody asked about.
    pub verdicts: BTreeMap<EntraId, Verdict>,
    /// The members of the assigned groups, when the assignments were read again: newer than the snapshot's.
    pub groups: Option<BTreeMap<EntraId, u64>>,
    /// Groups of those that hid their members then.
    pub hidden: BTreeSet<EntraId>,
    /// Whether the application had no assignment at all, when the assignments were read again.
    pub nobody_assigned: Option<bool>,
}

impl Directory {
    /// Looks at the accounts of `absent` (in no list) and `unread` (assigned, but 404), then, once for all who
    /// exist and are enabled, at the assignments again.
    ///
    /// # Errors
    /// Whatever cannot be read: then nobody is taken for gone.
    pub async fn confirm(
        &self,
        snapshot: &Snapshot,
        absent: &[EntraId],
        unread: &[EntraId],
    ) -> Result<Confirmation, DirectoryError> {
        let mut look = Confirmation::default();
        if absent.is_empty() && unread.is_empty() {
            return Ok(look);
        }
        let mut selection = Selection::default();
        for property in ["accountEnabled", "userPrincipalName", "displayName"] {
            selection.slot(property);
        }
        let users: Vec<EntraId> = absent.iter().chain(unread).copied().collect();
        let mut missing = Vec::new();
        let mut enabled = BTreeSet::new();
        for (user, account) in self.look(&users, &selection).await? {
            match account {
                Account::AccountRead(AccountRead::User(account)) if account.enabled => drop(enabled.insert(user)),
                Account::AccountRead(AccountRead::User(_)) => drop(look.verdicts.insert(user, Verdict::Disabled)),
                Account::AccountRead(AccountRead::Unreadable { detail, .. }) | Account::Forbidden(detail) => {
                    look.verdicts.insert(user, Verdict::Unreadable(detail));
                }
                Account::AccountRead(AccountRead::NotFound(_)) => missing.push(user),
            }
        }
        self.deleted(&missing, &mut look.verdicts).await?;
        for user in unread {
            // Still assigned by the first look, and the account answers now.
            if enabled.remove(user) {
                look.verdicts.insert(*user, Verdict::Present);
            }
        }
        if !enabled.is_empty() {
            let CurrentAssignments { users: assigned, groups, hidden, nobody_assigned } =
                self.assigned_again(snapshot).await?;
            for user in enabled {
                let verdict = if assigned.contains(&user) { Verdict::Present } else { Verdict::Unassigned };
                look.verdicts.insert(user, verdict);
            }
            look.groups = Some(groups);
            look.hidden = hidden;
            look.nobody_assigned = Some(nobody_assigned);
        }
        Ok(look)
    }

    /// Tells the deleted from those that never were: <https://learn.microsoft.com/graph/api/directory-deleteditems-get>.
    async fn deleted(
        &self,
        missing: &[EntraId],
        verdicts: &mut BTreeMap<EntraId, Verdict>,
    ) -> Result<(), DirectoryError> {
        let what = "reading deleted users";
        let paths: Vec<String> = missing.iter().map(|id| format!("/directory/deletedItems/{id}?$select=id")).collect();
        for (user, answer) in missing.iter().zip(self.client.batch(what, &paths).await?) {
            let verdict = match answer {
                // A status alone is no evidence: something in between may have answered.
                Ok(Reply { body, .. }) => match wire::user(&body, &Selection::default()) {
                    Ok(row) if row.id == *user => Verdict::Deleted,
                    Ok(_) => Verdict::Unreadable("the answer is about another account".to_owned()),
                    Err(error) => return Err(malformed(what, &error).into()),
                },
                Err(error) if error.is_not_found() => Verdict::NotFound,
                Err(GraphError::Answered { status: 403, request_id, .. }) => {
                    Verdict::Unreadable(noted("the deleted items may not be read", &request_id))
                }
                Err(error) => return Err(error.into()),
            };
            verdicts.insert(*user, verdict);
        }
        Ok(())
    }

    /// Everybody who is assigned now, by id alone.
    async fn assigned_again(&self, snapshot: &Snapshot) -> Result<CurrentAssignments, DirectoryError> {
        let assignments = self.assignments(snapshot.application()).await?;
        let nobody_assigned = assignments.users.is_empty() && assignments.groups.is_empty();
        let mut users = assignments.users;
        let (mut groups, mut hidden) = (BTreeMap::new(), BTreeSet::new());
        let nothing = &Selection::default();
        let reads = assignments.groups.iter().map(|(group, name)| async move {
            let mut members = BTreeSet::new();
            let hides = self
                .members(*group, name, nothing, |step| match step {
                    Step::Begin => members.clear(),
                    Step::Page(rows, _) => {
                        members.extend(rows.into_iter().filter(|row| row.kind == RowType::User).map(|row| row.id));
                    }
                })
                .await?;
            Ok::<_, DirectoryError>((*group, members, hides))
        });
        let mut reads: FuturesUnordered<_> = reads.collect();
        while let Some((group, members, hides)) = reads.try_next().await? {
            groups.insert(group, members.len() as u64);
            hidden.extend(hides.then_some(group));
            users.extend(members);
        }
        Ok(CurrentAssignments { users, groups, hidden, nobody_assigned })
    }

    /// Reads each account alone, in batches. Unlike the first look it does not fail on a single 403.
    async fn look(&self, users: &[EntraId], selection: &Selection) -> Result<Vec<(EntraId, Account)>, DirectoryError> {
        let what = "looking at leavers a second time";
        let select = super::select(selection);
        let paths: Vec<String> = users.iter().map(|id| format!("/users/{id}?$select={select}")).collect();
        let mut accounts = Vec::with_capacity(users.len());
        for (user, answer) in users.iter().zip(self.client.batch(what, &paths).await?) {
            let account = match answer {
                Ok(Reply { body, request_id }) => {
                    let row = wire::user(&body, selection).map_err(|error| malformed(what, &error))?;
                    if row.id == *user {
                        Account::AccountRead(told(row, selection, &request_id))
                    } else {
                        Account::Forbidden(noted("the answer is about another account", &request_id))
                    }
                }
                Err(GraphError::Answered { status: 403, request_id, .. }) => {
                    Account::Forbidden(noted("the account may not be read", &request_id))
                }
                Err(error) if error.is_not_found() => Account::AccountRead(AccountRead::NotFound(*user)),
                Err(error) => return Err(error.into()),
            };
            accounts.push((*user, account));
        }
        Ok(accounts)
    }
}

/// The assignments, read once more.
struct CurrentAssignments {
    users: BTreeSet<EntraId>,
    groups: BTreeMap<EntraId, u64>,
    hidden: BTreeSet<EntraId>,
    nobody_assigned: bool,
}

enum Account {
    AccountRead(AccountRead),
    Forbidden(String),
}
