//! One user, for whoever asks why she is not there: the account itself, and the groups around it.

use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::client::Step;
use super::{AccountRead, Directory, DirectoryError, PAGE, Snapshot, wire};
use crate::model::{EntraId, GroupMembers, Selection};

impl Directory {
    /// Reads one account, assigned or not: <https://learn.microsoft.com/graph/api/user-get>.
    ///
    /// # Errors
    /// When Graph cannot be read.
    pub async fn account(&self, user: EntraId, selection: &Selection) -> Result<AccountRead, DirectoryError> {
        let mut found = AccountRead::NotFound(user);
        self.accounts(&[user], selection, &|_| {}, |read| found = read).await?;
        Ok(found)
    }

    /// How many user members the group has that the configuration names by this id; none when it is no group.
    ///
    /// # Errors
    /// When Graph cannot be read, or the group hides its members.
    pub async fn named_group(&self, id: EntraId) -> Result<Option<usize>, DirectoryError> {
        Ok(self.members_of_named(id).await?.map(|members| members.len()))
    }

    /// The assigned groups that hold the user only through a group nested in them, which does not count.
    /// <https://learn.microsoft.com/graph/api/group-list-transitivemembers>
    ///
    /// # Errors
    /// When Graph cannot be read.
    pub async fn nested_in(&self, snapshot: &Snapshot, user: EntraId) -> Result<BTreeSet<EntraId>, DirectoryError> {
        if self.reach.group_members != GroupMembers::Direct {
            return Ok(BTreeSet::new());
        }
        let holds = snapshot.groups().keys().map(|group| async move {
            let what = format!("looking into the groups nested in {group}");
            let path = format!("/groups/{group}/transitiveMembers?$select=id&$top={PAGE}");
            let nothing = Selection::default();
            let read = |body: &[u8]| wire::user_page(body, &nothing).map(|page| (page.rows, page.next));
            let mut holds = false;
            let listed = self.client.list(&what, &path, read, |step| match step {
                Step::Begin => holds = false,
                Step::Page(rows, _) => holds |= rows.iter().any(|row| row.id == user),
            });
            match listed.await {
                Ok(()) => Ok(holds.then_some(*group)),
                // A group that is gone holds nobody.
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(DirectoryError::from(error)),
            }
        });
        let holds: FuturesUnordered<_> = holds.collect();
        let groups: Vec<Option<EntraId>> = holds.try_collect().await?;
        Ok(groups.into_iter().flatten().collect())
    }
}
