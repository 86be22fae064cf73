//! Reads all assigned users page by page, each user once.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::client::{BATCH, Reply, with_request_id};
use super::error::{FailedReads, GraphError, malformed};
use super::members::{GroupState, MemberList, named_members};
use super::principals::Assignments;
use super::roles::RoleNames;
use super::wire::{self, InvalidRow, RowProblem, RowType, UserRow};
use super::{Application, Directory, DirectoryError, Snapshot, select};
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
    /// `on_user` as soon as its page arrives, and once more when its rows disagree: the last read counts. Only the returned
    /// [`Snapshot`] proves that the read is complete.
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
        let mut members_of: BTreeMap<EntraId, MemberList> = BTreeMap::new();
        // One task reads all groups, so the lock is always free.
        let collector = Mutex::new(MemberCollector {
            selection,
            on_user: &mut on_user,
            done: BTreeMap::new(),
            reread: BTreeSet::new(),
        });
        {
            let collector = &collector;
            let reads = assignments.groups.iter().map(|(group, name)| async move {
                let members = self.members(*group, name, listed, |row, request_id| {
                    // Role names need all groups, so with roles no member row is complete yet.
                    if roles_slot.is_none() && !matches!(row.kind, RowType::Other(_)) {
                        collector.lock().unwrap_or_else(PoisonError::into_inner).offer(row, request_id);
                    }
                });
                Ok::<_, DirectoryError>((*group, members.await?))
            });
            let mut reads: FuturesUnordered<_> = reads.collect();
            while let Some((group, members)) = reads.try_next().await? {
                members_of.insert(group, members);
            }
        }
        let MemberCollector { done, reread, .. } = collector.into_inner().unwrap_or_else(PoisonError::into_inner);

        let mut routes = RouteMap::default();
        for (group, members) in &members_of {
            routes.add(Route::Group(*group), members.users.union(&members.unknown));
        }
        routes.add(Route::Direct, &assignments.users);
        let (users, routes) = routes.into_parts();
        // After a restarted list, `done` may hold users who are in no list any more. The snapshot does not contain
        // them, so `Desired` drops them.
        let open: Vec<EntraId> =
            users.keys().filter(|id| !done.contains_key(id) || reread.contains(id)).copied().collect();
        tracing::debug!(users = users.len(), direct = open.len(), reread = reread.len(), "lists read");
        let known: BTreeSet<&EntraId> =
            members_of.values().flat_map(|list| &list.users).chain(&assignments.users).collect();
        let unknown = members_of.values().flat_map(|list| &list.unknown);
        let uncertain: BTreeSet<EntraId> = unknown.filter(|id| !known.contains(id)).copied().collect();
        let mut unread: BTreeSet<EntraId> = open.iter().copied().collect();
        let mut not_found = BTreeSet::new();
        let roles = RoleNames {
            slot: roles_slot,
            application: &application,
            assigned: &assignments.roles,
            unknown: &assignments.unknown_roles,
            users: &users,
            routes: &routes,
        };
        let add_roles = |row: &mut UserRow| roles.add_to(row);
        let reads = self.read_directly(&open, &uncertain, selection, &add_roles, |read| {
            unread.remove(&read.user());
            if let AccountRead::NotFound(user) = &read {
                not_found.insert(*user);
            }
            on_user(read);
        });
        reads.await?.unless_all_refused(users.len() - uncertain.len())?;
        let unread_groups: Vec<EntraId> =
            assignments.groups.keys().filter(|group| !members_of.contains_key(group)).copied().collect();
        if !unread.is_empty() || !unread_groups.is_empty() {
            return Err(DirectoryError::Incomplete { users: unread.into_iter().collect(), groups: unread_groups });
        }

        let Assignments {
            users: direct,
            groups: names,
            other_roles,
            roles: _,
            unknown_roles: _,
            others: _,
            mut unclear,
        } = assignments;
        // A member of unknown type without an account is a user only if it is a learner.
        let may_be_user = |id: &EntraId| !(not_found.contains(id) && uncertain.contains(id));
        let (users, untyped_missing): (BTreeMap<_, _>, _) = users.into_iter().partition(|(id, _)| may_be_user(id));
        let (mut groups, mut hidden, mut gone) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for (group, list) in &members_of {
            let counted = list.unknown.difference(&list.users).filter(|id| may_be_user(id)).count();
            groups.insert(*group, (list.users.len() + counted) as u64);
            hidden.extend((list.state == GroupState::Hidden).then_some(*group));
            gone.extend((list.state == GroupState::Gone).then_some(*group));
            unclear.unnamed += list.bad_rows;
        }
        let mut named_lists = BTreeMap::new();
        for id in named {
            // Assigned groups have been read already, and assigned users are not groups.
            if let Some(list) = members_of.remove(id) {
                named_lists.extend(named_members(*id, list)?.map(|members| (*id, members)));
            } else if !users.contains_key(id) {
                named_lists.extend(self.read_named_group(*id).await?.map(|members| (*id, members)));
            }
        }
        Ok(Snapshot {
            application,
            users,
            untyped_missing,
            routes,
            groups,
            hidden,
            gone,
            unclear,
            assigned: (direct.len() + names.len()) as u64,
            names,
            named: named_lists,
            other_roles,
        })
    }

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

/// Decodes the answer about one user, or says why the user is unreadable.
pub(super) fn single_user(user: EntraId, reply: &Reply, selection: &Selection) -> Result<UserRow, String> {
    let Reply { body, request_id } = reply;
    match wire::user(body, selection) {
        Ok(row) if row.id == user => Ok(row),
        Ok(_) => Err(with_request_id("the answer is about another account", request_id)),
        Err(InvalidRow::Bad(why) | InvalidRow::Failed(why) | InvalidRow::NoObject(why)) => {
            Err(with_request_id(&format!("the answer of Graph cannot be read: {why}"), request_id))
        }
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

/// Passes each group member to `on_user` at its first complete row.
struct MemberCollector<'a, F> {
    selection: &'a Selection,
    on_user: &'a mut F,
    /// The users passed on so far, with the hash of their row.
    done: BTreeMap<EntraId, u64>,
    /// Users with an incomplete row or with rows that disagree. A direct read decides.
    reread: BTreeSet<EntraId>,
}

impl<F: FnMut(AccountRead)> MemberCollector<'_, F> {
    fn offer(&mut self, row: UserRow, request_id: &str) {
        let UserRow { kind, id, values, problem } = &row;
        let mut hasher = DefaultHasher::new();
        (kind, values).hash(&mut hasher);
        let hash = hasher.finish();
        if problem.as_ref().is_some_and(|problem| problem.is_oversized) {
            self.pass_on(hash, read_account(row, self.selection, request_id));
        } else if *kind == RowType::Unknown || problem.is_some() || values.iter().any(Option::is_none) {
            self.reread.insert(*id);
        } else {
            self.pass_on(hash, read_account(row, self.selection, request_id));
        }
    }

    fn pass_on(&mut self, hash: u64, read: AccountRead) {
        match self.done.insert(read.user(), hash) {
            None => (self.on_user)(read),
            Some(before) if before == hash => {}
            Some(_) => drop(self.reread.insert(read.user())),
        }
    }
}

/// Turns a row into an account. Without `accountEnabled`, or without any name, the account is unreadable, because a lost
/// permission looks the same.
pub(super) fn read_account(row: UserRow, selection: &Selection, request_id: &str) -> AccountRead {
    let UserRow { kind, id, values, problem } = row;
    let unreadable = |detail: &str| AccountRead::Unreadable { user: id, detail: with_request_id(detail, request_id) };
    if let Some(RowProblem { detail, is_oversized: _ }) = problem {
        return unreadable(&format!("{detail} in the answer of Graph"));
    }
    let value = |property| selection.position(property).and_then(|slot| values.get(slot)).and_then(Option::as_ref);
    let enabled = match value("accountEnabled") {
        Some(Value::Boolean(enabled)) => *enabled,
        None | Some(Value::Null) => return unreadable("accountEnabled is missing in the answer of Graph"),
        Some(_) => return unreadable("accountEnabled is neither true nor false in the answer of Graph"),
    };
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
    AccountRead::User(User { id, enabled, is_agent: kind == RowType::Agent, values: complete })
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
    fn add<'u>(&mut self, route: Route, users: impl IntoIterator<Item = &'u EntraId>) {
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
