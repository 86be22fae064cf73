//! The members of groups.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::malformed;
use super::list::{ListEvent, ParseRows, Rows};
use super::wire::{self, InvalidRow, RowType, Texts, UserRow};
use super::{Directory, DirectoryError, PAGE_SIZE, select};
use crate::model::{EntraId, GroupMembers, RequestId, Selection};

/// Without this permission, groups with hidden membership look empty.
const HIDDEN_MEMBERS_PERMISSION: &str = "Member.Read.Hidden";

/// A complete list of members.
#[derive(Debug, Default)]
pub(super) struct MemberList {
    /// Sorted, without duplicates.
    pub(super) users: Vec<EntraId>,
    /// Members of an unknown type, which may be users.
    pub(super) unknown: BTreeSet<EntraId>,
    /// Rows without an id: each may be a user.
    pub(super) bad_rows: u64,
    pub(super) state: GroupState,
    rows: usize,
}

/// The result of a list of members for its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum GroupState {
    /// The list has all members.
    #[default]
    Listed,
    /// The list is empty because the members are hidden.
    Hidden,
    /// The group does not exist.
    Gone,
}

impl MemberList {
    /// The number of members that are users, or `may_be_user`.
    pub(super) fn count(&self, may_be_user: impl Fn(&EntraId) -> bool) -> u64 {
        let unknown = self.unknown.iter().filter(|id| !self.has_user(id) && may_be_user(id));
        (self.users.len() + unknown.count()) as u64
    }

    /// Whether a row calls `id` a user.
    pub(super) fn has_user(&self, id: &EntraId) -> bool {
        self.users.binary_search(id).is_ok()
    }

    fn add(&mut self, page: PageMembers) {
        let PageMembers { users, unknown, bad_rows, rows } = page;
        self.users.extend(users);
        self.unknown.extend(unknown);
        self.bad_rows += bad_rows;
        self.rows += rows;
    }
}

/// The purpose of a list of members beside the members: its rows are read on another thread.
pub(super) trait ReadMember<T>: Send + Sync {
    /// Reads a decoded row, given its text and the id of the answer.
    fn read(&self, row: UserRow, json: &str, request_id: &RequestId, texts: &mut Texts) -> Option<(EntraId, T)>;

    /// The user of a row that need not be decoded, and what it says, unless another row of the user said it.
    fn recall(&self, _json: &str, _request_id: &RequestId) -> Option<(EntraId, Option<T>)> {
        None
    }
}

/// A shared [`ReadMember`].
pub(super) type ReadRow<T> = Arc<dyn ReadMember<T>>;

impl<T, F> ReadMember<T> for F
where
    F: Fn(UserRow, &str, &RequestId, &mut Texts) -> Option<(EntraId, T)> + Send + Sync,
{
    fn read(&self, row: UserRow, json: &str, request_id: &RequestId, texts: &mut Texts) -> Option<(EntraId, T)> {
        self(row, json, request_id, texts)
    }
}

/// Only the members.
pub(super) fn members_alone() -> ReadRow<()> {
    Arc::new(|_: UserRow, _: &str, _: &RequestId, _: &mut Texts| None)
}

#[derive(Default)]
struct PageMembers {
    users: Vec<EntraId>,
    unknown: Vec<EntraId>,
    bad_rows: u64,
    rows: usize,
}

/// Parses a page of members. `read_row` receives each row with an id. The results are sorted here, where several threads
/// work: merging sorted pages is the smaller part of the work, and is left to one thread.
fn parse_members<T>(
    rows: Rows<'_>,
    selection: &Selection,
    read_row: &ReadRow<T>,
) -> Result<(PageMembers, Vec<(EntraId, T)>), String> {
    let (mut page, mut read, mut texts) = (PageMembers::default(), Vec::new(), Texts::default());
    let request_id = rows.request_id;
    for json in rows {
        page.rows += 1;
        if let Some((user, recalled)) = read_row.recall(json, request_id) {
            page.users.push(user);
            read.extend(recalled.map(|recalled| (user, recalled)));
            continue;
        }
        match wire::member(json, selection, &mut texts) {
            Ok(row) => {
                match row.kind {
                    RowType::Other(_) => {}
                    RowType::User | RowType::Agent => page.users.push(row.id),
                    RowType::Unknown => page.unknown.push(row.id),
                }
                read.extend(read_row.read(row, json, request_id, &mut texts));
            }
            Err(InvalidRow::Failed(why)) => return Err(why),
            Err(InvalidRow::Bad(_) | InvalidRow::NoObject(_)) => page.bad_rows += 1,
        }
    }
    page.users.sort_unstable();
    read.sort_by_key(|(user, _)| *user);
    Ok((page, read))
}

impl Directory {
    /// The path that lists the counted members of a group.
    fn members_path(&self, group: EntraId, selection: &Selection) -> String {
        let transitive = self.filter.group_members == GroupMembers::Transitive;
        let list = if transitive { "transitiveMembers" } else { "members" };
        format!("/groups/{group}/{list}?$select={}&$top={PAGE_SIZE}", select(selection))
    }

    /// Reads the members of an assigned group. Only a 404 in place of the first page, twice, says that the group does not
    /// exist.
    /// <https://learn.microsoft.com/graph/api/group-list-members>
    pub(super) async fn members<T: Send + 'static>(
        &self,
        group: EntraId,
        name: &str,
        selection: &Arc<Selection>,
        read_row: &ReadRow<T>,
        on_page: impl FnMut(Vec<(EntraId, T)>) + Send,
    ) -> Result<MemberList, DirectoryError> {
        let what = format!("reading the members of group {group}");
        let Some(list) = self.list_members(&what, group, name, selection, read_row, on_page).await? else {
            tracing::warn!(group.id = %group, "the assigned group does not exist; it counts as empty");
            return Ok(MemberList { state: GroupState::Gone, ..MemberList::default() });
        };
        if list.bad_rows > 0 {
            tracing::warn!(group.id = %group, rows = list.bad_rows, "rows of the members cannot be read; leavers are held");
        }
        Ok(list)
    }

    /// The users in a group of `scope.only` or `scope.ignore`; `None` when there is no such group.
    /// <https://learn.microsoft.com/graph/api/group-list-members>
    pub(super) async fn read_named_group(&self, group: EntraId) -> Result<Option<BTreeSet<EntraId>>, DirectoryError> {
        let what = format!("reading the members of group {group} in scope.only or scope.ignore");
        let list = self.list_members(&what, group, "", &Arc::default(), &members_alone(), |_| {}).await?;
        list.map_or(Ok(None), |list| named_members(group, &list))
    }

    /// Lists the members of a group; `None` when Graph does not find it twice.
    async fn list_members<T: Send + 'static>(
        &self,
        what: &str,
        group: EntraId,
        name: &str,
        selection: &Arc<Selection>,
        read_row: &ReadRow<T>,
        mut on_page: impl FnMut(Vec<(EntraId, T)>) + Send,
    ) -> Result<Option<MemberList>, DirectoryError> {
        let path = self.members_path(group, selection);
        let (selection, read_row) = (Arc::clone(selection), Arc::clone(read_row));
        let parse: ParseRows<_> = Arc::new(move |rows| parse_members(rows, &selection, &read_row));
        let mut list = MemberList::default();
        for _ in 0..2 {
            let listed = self.client.list(what, &path, &parse, |event| match event {
                ListEvent::Start => list = MemberList::default(),
                ListEvent::Page((page, read)) => {
                    list.add(page);
                    on_page(read);
                }
            });
            match listed.await {
                Ok(()) => {
                    // The stable sort merges sorted pages.
                    list.users.sort();
                    list.users.dedup();
                    list.users.shrink_to_fit();
                    if list.rows == 0 {
                        list.state = self.state_of_empty_group(group, name).await?;
                    }
                    return Ok(Some(list));
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(DirectoryError::for_group(group, name, error)),
            }
        }
        Ok(None)
    }

    /// Whether a group that lists no members hides them from this application.
    /// <https://learn.microsoft.com/graph/api/resources/group#group-visibility-options>
    async fn state_of_empty_group(&self, group: EntraId, name: &str) -> Result<GroupState, DirectoryError> {
        let Some(hides) = self.hides_members(group, name).await? else {
            tracing::warn!(group.id = %group, "the assigned group does not exist any more; it counts as empty");
            return Ok(GroupState::Gone);
        };
        // An unreadable token counts as one without the permission.
        let permissions = if hides { self.granted_permissions().await? } else { None };
        if !hides || permissions.is_some_and(|permissions| permissions.contains(HIDDEN_MEMBERS_PERMISSION)) {
            return Ok(GroupState::Listed);
        }
        tracing::warn!(
            group.id = %group,
            "the members of the assigned group are hidden; grant {HIDDEN_MEMBERS_PERMISSION} to the app registration \
             and give admin consent, or remove the group from the application"
        );
        Ok(GroupState::Hidden)
    }

    /// Whether only members, and applications with a special permission, see the members; `None` when there is no such
    /// group.
    pub(super) async fn hides_members(&self, group: EntraId, name: &str) -> Result<Option<bool>, DirectoryError> {
        let what = format!("reading group {group}");
        match self.client.get::<wire::GroupRow>(&what, &format!("/groups/{group}?$select=id,visibility")).await {
            Ok(found) if found.id.parse() == Ok(group) => Ok(Some(found.hides_members())),
            Ok(_) => Err(malformed(&what, "the answer is about another group").into()),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(DirectoryError::for_group(group, name, error)),
        }
    }
}

/// The members of a group that restricts the scope; `None` when the group does not exist. A member of unknown type counts,
/// because it may be a user.
///
/// # Errors
/// The members are hidden, or a row is unreadable: the restriction may name any user.
pub(super) fn named_members(group: EntraId, list: &MemberList) -> Result<Option<BTreeSet<EntraId>>, DirectoryError> {
    let MemberList { users, unknown, bad_rows, state, rows: _ } = list;
    match state {
        GroupState::Listed => {}
        GroupState::Hidden => return Err(DirectoryError::NamedGroupHidden(group)),
        GroupState::Gone => return Ok(None),
    }
    if *bad_rows > 0 {
        let what = format!("reading the members of group {group} in scope.only or scope.ignore");
        return Err(malformed(&what, format!("{bad_rows} rows have no id")).into());
    }
    Ok(Some(users.iter().chain(unknown).copied().collect()))
}
