//! Reads all assigned users page by page, each user once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::client::{BATCH, ListEvent, Reply};
use super::error::{invalid_json, malformed};
use super::roles::RoleNames;
use super::wire::{RowType, UserRow};
use super::{Application, Directory, DirectoryError, Snapshot, select, wire};
use crate::model::{APP_ROLE_ASSIGNMENTS, EntraId, Route, Routes, Selection, User, Value};

/// The most ids in an `in` filter: <https://learn.microsoft.com/graph/filter-query-parameter>.
const IDS_IN_FILTER: usize = 15;
const WHAT: &str = "reading assigned users";

/// The result of reading one user.
#[derive(Clone, Debug)]
pub enum AccountRead {
    /// The account, with every selected property.
    User(User),
    /// The account exists, but a property that determines its state is missing.
    Unreadable {
        /// The user.
        user: EntraId,
        /// The missing property.
        detail: String,
    },
    /// Assigned, but the account does not exist.
    NotFound(EntraId),
}

impl Directory {
    /// Reads all users assigned to `application`, and the members of the groups among `named`. Each user is passed to
    /// `on_user` exactly once, as soon as its page arrives. Only the returned [`Snapshot`] proves that the read is
    /// complete.
    ///
    /// # Errors
    /// A page fails after its retries. There is no snapshot of a partial read.
    pub async fn read(
        &self,
        application: Application,
        selection: &Selection,
        named: &BTreeSet<EntraId>,
        mut on_user: impl FnMut(AccountRead) + Send,
    ) -> Result<Snapshot, DirectoryError> {
        let assignments = self.assignments(&application).await?;
        let roles_slot = selection.position(APP_ROLE_ASSIGNMENTS);
        let ids_only = Selection::default();
        let listed = if roles_slot.is_some() { &ids_only } else { selection };
        let mut members_of = BTreeMap::new();
        let mut hidden = BTreeSet::new();
        // One task reads all groups, so the lock is always free.
        let collector =
            Mutex::new(MemberCollector { selection, on_user: &mut on_user, done: BTreeSet::new(), incomplete_rows: 0 });
        {
            let collector = &collector;
            let reads = assignments.groups.iter().map(|(group, name)| async move {
                let mut members = BTreeSet::new();
                let hidden = self
                    .members(*group, name, listed, |event| match event {
                        // The collector keeps its users: their rows were complete.
                        ListEvent::Start => members.clear(),
                        ListEvent::Page(rows, request_id) => {
                            let mut collector = collector.lock().unwrap_or_else(PoisonError::into_inner);
                            for row in rows.into_iter().filter(|row| row.kind == RowType::User) {
                                members.insert(row.id);
                                // Role names need all groups, so with roles no member row is complete yet.
                                if roles_slot.is_none() {
                                    collector.offer(row, request_id);
                                }
                            }
                        }
                    })
                    .await?;
                Ok::<_, DirectoryError>((*group, members, hidden))
            });
            let mut reads: FuturesUnordered<_> = reads.collect();
            while let Some((group, members, hides)) = reads.try_next().await? {
                members_of.insert(group, members);
                hidden.extend(hides.then_some(group));
            }
        }
        let MemberCollector { done, incomplete_rows, .. } =
            collector.into_inner().unwrap_or_else(PoisonError::into_inner);

        let mut routes = RouteMap::default();
        let mut groups = BTreeMap::new();
        for (group, members) in &members_of {
            groups.insert(*group, members.len() as u64);
            routes.add(Route::Group(*group), members);
        }
        members_of.retain(|group, _| named.contains(group));
        routes.add(Route::Direct, &assignments.users);
        let (users, routes) = routes.into_parts();
        // After a restarted list, `done` may hold users who are in no list any more. The snapshot does not contain
        // them, so `Desired` drops them.
        let open: Vec<EntraId> = users.keys().filter(|id| !done.contains(id)).copied().collect();
        tracing::debug!(users = users.len(), direct = open.len(), incomplete_rows, "lists read");
        let mut unread: BTreeSet<EntraId> = open.iter().copied().collect();
        let roles = RoleNames {
            slot: roles_slot,
            application: &application,
            assigned: &assignments.roles,
            users: &users,
            routes: &routes,
        };
        self.read_directly(&open, selection, &|row| roles.add_to(row), |read| {
            unread.remove(&read.user());
            on_user(read);
        })
        .await?;
        let unread_groups: Vec<EntraId> =
            assignments.groups.keys().filter(|group| !groups.contains_key(group)).copied().collect();
        if !unread.is_empty() || !unread_groups.is_empty() {
            return Err(DirectoryError::Incomplete { users: unread.into_iter().collect(), groups: unread_groups });
        }
        if let Some(group) = named.intersection(&hidden).next() {
            return Err(DirectoryError::NamedGroupHidden(*group));
        }
        for id in named {
            // Assigned groups have been read already, and assigned users are not groups.
            if !members_of.contains_key(id) && !users.contains_key(id) {
                members_of.extend(self.read_named_group(*id).await?.map(|members| (*id, members)));
            }
        }
        Ok(Snapshot {
            application,
            users,
            routes,
            groups,
            hidden,
            assigned: (assignments.users.len() + assignments.groups.len()) as u64,
            names: assignments.groups,
            named: members_of,
            other_roles: assignments.other_roles,
        })
    }

    /// The users in a group of `scope.only` or `scope.ignore`; `None` when there is no such group.
    /// <https://learn.microsoft.com/graph/api/group-list-members>
    pub(super) async fn read_named_group(&self, group: EntraId) -> Result<Option<BTreeSet<EntraId>>, DirectoryError> {
        let what = format!("reading the members of group {group} in scope.only or scope.ignore");
        let nothing = Selection::default();
        let mut members = BTreeSet::new();
        let parse = |body: &[u8]| wire::user_page(body, &nothing);
        let path = self.members_path(group, &nothing);
        let mut missing = 0;
        let listed = loop {
            match self.client.list(&what, &path, parse, |event| collect_users(&mut members, event)).await {
                Err(error) if error.is_not_found() && missing == 0 => missing += 1,
                listed => break listed,
            }
        };
        match listed {
            Ok(()) if members.is_empty() && self.hides_members(group, "").await? => {
                Err(DirectoryError::NamedGroupHidden(group))
            }
            Ok(()) => Ok(Some(members)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(DirectoryError::of_group(group, "", error)),
        }
    }

    /// Reads accounts by id: filters of 15 ids in `$batch` requests, then a single request for each id missing from the
    /// answers. `complete` adds to a row what does not come from the account.
    /// <https://learn.microsoft.com/graph/api/user-list>, <https://learn.microsoft.com/graph/api/user-get>
    pub(super) async fn read_directly(
        &self,
        users: &[EntraId],
        selection: &Selection,
        complete: &(dyn Fn(&mut UserRow) + Sync),
        mut on_user: impl FnMut(AccountRead),
    ) -> Result<(), DirectoryError> {
        let select = select(selection);
        let mut missing = Vec::new();
        let chunks = users.chunks(IDS_IN_FILTER * BATCH);
        let mut reads: FuturesUnordered<_> =
            chunks.map(|users| self.read_by_filter(users, selection, &select, complete)).collect();
        while let Some((accounts, not_returned)) = reads.try_next().await? {
            accounts.into_iter().for_each(&mut on_user);
            missing.extend(not_returned);
        }
        let paths: Vec<String> = missing.iter().map(|id| format!("/users/{id}?$select={select}")).collect();
        for (id, answer) in missing.iter().zip(self.client.batch(WHAT, &paths).await?) {
            match answer {
                Ok(Reply { body, request_id }) => {
                    let mut row = wire::user(&body, selection).map_err(|error| invalid_json(WHAT, &error))?;
                    if row.id != *id {
                        return Err(malformed(WHAT, "the answer is about another account").into());
                    }
                    complete(&mut row);
                    on_user(read_account(row, selection, &request_id));
                }
                Err(error) if error.is_not_found() => on_user(AccountRead::NotFound(*id)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
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
            let mut asked: BTreeSet<EntraId> = ids.iter().copied().collect();
            let Reply { body, request_id } = answer?;
            let page = wire::user_page(&body, selection).map_err(|error| invalid_json(WHAT, &error))?;
            if page.next.is_some() {
                return Err(malformed(WHAT, "a filter of 15 ids answered with several pages").into());
            }
            let requested = page.rows.into_iter().filter(|row| asked.remove(&row.id));
            accounts.extend(requested.map(|mut row| {
                complete(&mut row);
                read_account(row, selection, &request_id)
            }));
            not_returned.extend(asked);
        }
        Ok((accounts, not_returned))
    }
}

impl AccountRead {
    /// The user's id.
    pub fn user(&self) -> EntraId {
        match self {
            Self::User(user) => user.id,
            Self::Unreadable { user, .. } | Self::NotFound(user) => *user,
        }
    }
}

/// Passes each group member to `on_user` once, at its first complete row.
struct MemberCollector<'a, F> {
    selection: &'a Selection,
    on_user: &'a mut F,
    /// The users passed on so far.
    done: BTreeSet<EntraId>,
    /// Rows without a selected property. Another row or a direct read may have it.
    incomplete_rows: usize,
}

impl<F: FnMut(AccountRead)> MemberCollector<'_, F> {
    fn offer(&mut self, row: UserRow, request_id: &str) {
        if self.done.contains(&row.id) {
            return;
        }
        if row.values.iter().any(Option::is_none) {
            self.incomplete_rows += 1;
            return;
        }
        let read = read_account(row, self.selection, request_id);
        self.done.insert(read.user());
        (self.on_user)(read);
    }
}

/// Keeps the ids of the users in a list of members.
pub(super) fn collect_users(users: &mut BTreeSet<EntraId>, event: ListEvent<'_, UserRow>) {
    match event {
        ListEvent::Start => users.clear(),
        ListEvent::Page(rows, _) => {
            users.extend(rows.into_iter().filter(|row| row.kind == RowType::User).map(|row| row.id));
        }
    }
}

/// `detail` with Graph's request id, for a support case.
pub(super) fn with_request_id(detail: &str, request_id: &str) -> String {
    format!("{detail} (request-id {request_id})")
}

/// Turns a row into an account. Without `accountEnabled`, or without any name, the account is unreadable, because a lost
/// permission looks the same.
pub(super) fn read_account(row: UserRow, selection: &Selection, request_id: &str) -> AccountRead {
    let UserRow { kind: _, id, values } = row;
    let unreadable = |detail: &str| AccountRead::Unreadable { user: id, detail: with_request_id(detail, request_id) };
    let value = |property| selection.position(property).and_then(|slot| values.get(slot)).and_then(Option::as_ref);
    let Some(Value::Boolean(enabled)) = value("accountEnabled") else {
        return unreadable("accountEnabled is missing in the answer of Graph");
    };
    let enabled = *enabled;
    let named = |property| matches!(value(property), Some(Value::Text(_)));
    if !named("displayName") && !named("userPrincipalName") {
        return unreadable("displayName and userPrincipalName are missing in the answer of Graph");
    }
    let mut complete = Vec::with_capacity(values.len());
    for (property, value) in selection.properties().iter().zip(values) {
        match value {
            Some(value) => complete.push(value),
            // Users who are not assigned have no roles.
            None if property == APP_ROLE_ASSIGNMENTS => complete.push(Value::List(Vec::new())),
            None => return unreadable(&format!("{property} is missing in the answer of Graph")),
        }
    }
    AccountRead::User(User { id, enabled, values: complete })
}

/// The routes of all users. Users share the few combinations that occur.
#[derive(Default)]
struct RouteMap {
    /// The index of each user's set.
    users: BTreeMap<EntraId, u32>,
    sets: Vec<BTreeSet<Route>>,
    /// The index of the set that results from adding a route to another set.
    extended: BTreeMap<(Option<u32>, Route), u32>,
}

impl RouteMap {
    fn add(&mut self, route: Route, users: &BTreeSet<EntraId>) {
        for user in users {
            let before = self.users.get(user).copied();
            let after = *self.extended.entry((before, route)).or_insert_with(|| {
                let mut set = before.and_then(|index| self.sets.get(index as usize)).cloned().unwrap_or_default();
                set.insert(route);
                self.sets.push(set);
                // There are fewer combinations than users, whose number fits into a u32.
                u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX)
            });
            self.users.insert(*user, after);
        }
    }

    fn into_parts(self) -> (BTreeMap<EntraId, u32>, Vec<Routes>) {
        (self.users, self.sets.into_iter().map(|set| set.into_iter().collect()).collect())
    }
}
