//! Reads a single user, to explain why the user is or is not a learner.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::account::assess_each;
use super::by_id::DirectRead;
use super::list::{ListEvent, ParseRows};
use super::roles::RoleValue;
use super::wire::{self, InvalidRow, Texts};
use super::{AccountRead, Directory, DirectoryError, PAGE_SIZE, Snapshot};
use crate::model::{EntraId, GroupMembers, Selection};

impl Directory {
    /// Reads one account, assigned or not: <https://learn.microsoft.com/graph/api/user-get>.
    ///
    /// # Errors
    /// A request fails.
    pub async fn account(&self, user: EntraId, selection: &Selection) -> Result<AccountRead, DirectoryError> {
        let mut found = AccountRead::NotFound(user);
        // The account of one user says nothing about the others.
        let direct = DirectRead {
            selection: Arc::new(selection.clone()),
            roles: &|_| RoleValue::default(),
            assess: assess_each(|read, _| read.clone()),
        };
        drop(self.read_directly(&[user], &BTreeSet::new(), &direct, |account| found = account.assessed).await?);
        Ok(found)
    }

    /// The number of users in a group of `scope.only` or `scope.ignore`; `None` when `id` is not a group.
    ///
    /// # Errors
    /// A request fails, or the group hides its members.
    pub async fn named_group_size(&self, id: EntraId) -> Result<Option<usize>, DirectoryError> {
        Ok(self.read_named_group(id).await?.map(|members| members.len()))
    }

    /// The assigned groups that contain the user only through a nested group, which does not count.
    /// <https://learn.microsoft.com/graph/api/group-list-transitivemembers>
    ///
    /// # Errors
    /// A request fails.
    pub async fn nested_in(&self, snapshot: &Snapshot, user: EntraId) -> Result<BTreeSet<EntraId>, DirectoryError> {
        if self.filter.group_members != GroupMembers::Direct {
            return Ok(BTreeSet::new());
        }
        let holds = snapshot.groups().keys().map(|group| async move {
            let what = format!("reading the nested members of group {group}");
            let path = format!("/groups/{group}/transitiveMembers?$select=id&$top={PAGE_SIZE}");
            let mut holds = false;
            let parse: ParseRows<_> = Arc::new(move |mut rows| {
                rows.try_fold(false, |holds, json| {
                    let row = wire::member(json, &Selection::default(), &mut Texts::default());
                    row.map(|row| holds | (row.id == user)).map_err(|invalid| match invalid {
                        InvalidRow::Failed(why) | InvalidRow::Bad(why) | InvalidRow::NoObject(why) => why,
                    })
                })
            });
            let listed = self.client.list(&what, &path, &parse, |event| match event {
                ListEvent::Start => holds = false,
                ListEvent::Page(found) => holds |= found,
            });
            match listed.await {
                Ok(()) => Ok(holds.then_some(*group)),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(DirectoryError::from(error)),
            }
        });
        let holds: FuturesUnordered<_> = holds.collect();
        let groups: Vec<Option<EntraId>> = holds.try_collect().await?;
        Ok(groups.into_iter().flatten().collect())
    }
}
