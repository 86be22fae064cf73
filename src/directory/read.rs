//! The first look: everybody assigned, each user once, page by page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::client::{Reply, Step};
use super::error::malformed;
use super::roles::{self, Roles};
use super::wire::{Row, RowType};
use super::{Application, Directory, DirectoryError, GraphError, Snapshot, select, wire};
use crate::model::{APP_ROLE_ASSIGNMENTS, EntraId, Route, Routes, Selection, User, Value};

/// The most ids that an `in` filter takes.
const IDS_IN_FILTER: usize = 15;
const WHAT: &str = "reading assigned users";

/// One assigned user, as Graph tells of it.
#[derive(Clone, Debug)]
pub enum AccountRead {
    /// The account, every selected property told.
    User(User),
    /// The account is there, but what would tell its state is not.
    Unreadable {
        /// Who.
        user: EntraId,
        /// What is missing.
        detail: String,
    },
    /// Assigned, but there is no such account.
    NotFound(EntraId),
}

impl Directory {
    /// Reads everybody who is assigned to `application`. Each user is handed to `take` exactly once, as soon
    /// as its page is there; what was taken counts for nothing until the [`Snapshot`] proves that all came.
    ///
    /// # Errors
    /// Any page that fails after its retries: there is no snapshot of a part.
    pub async fn read(
        &self,
        application: Application,
        selection: &Selection,
        named: &BTreeSet<EntraId>,
        mut take: impl FnMut(AccountRead) + Send,
    ) -> Result<Snapshot, DirectoryError> {
        let assignments = self.assignments(&application).await?;
        let roles_at = roles::slot(selection);
        let ids_alone = Selection::default();
        let listed = if roles_at.is_some() { &ids_alone } else { selection };
        let mut members_of = BTreeMap::new();
        let mut hidden = BTreeSet::new();
        // All groups are read by one task, a page at a time: the lock is never waited for.
        let taker = Mutex::new(Taker { selection, take: &mut take, taken: BTreeSet::new(), lacking: 0 });
        {
            let taker = &taker;
            let reads = assignments.groups.iter().map(|(group, name)| async move {
                let mut members = BTreeSet::new();
                let hidden = self
                    .members(*group, name, listed, |step| match step {
                        // People taken from pages that are read anew were complete: they are not taken twice.
                        Step::Begin => members.clear(),
                        Step::Page(rows, request_id) => {
                            let mut taker = taker.lock().unwrap_or_else(PoisonError::into_inner);
                            for row in rows.into_iter().filter(|row| row.kind == RowType::User) {
                                members.insert(row.id);
                                // Roles are known when all groups are: until then no row is complete.
                                if roles_at.is_none() {
                                    taker.take(row, request_id);
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
        let Taker { taken, lacking, .. } = taker.into_inner().unwrap_or_else(PoisonError::into_inner);

        let mut routes = RouteMap::default();
        let mut groups = BTreeMap::new();
        for (group, members) in &members_of {
            groups.insert(*group, members.len() as u64);
            routes.add(Route::Group(*group), members);
        }
        members_of.retain(|group, _| named.contains(group));
        routes.add(Route::Direct, &assignments.users);
        let (users, routes) = routes.finish();
        // A user taken from a page that was read anew may be in no list any more; it is nobody's then, and
        // `Desired` leaves it out because the snapshot does not know it.
        let open: Vec<EntraId> = users.keys().filter(|id| !taken.contains(id)).copied().collect();
        tracing::debug!(users = users.len(), direct = open.len(), lacking, "lists read");
        let mut left: BTreeSet<EntraId> = open.iter().copied().collect();
        let roles = Roles {
            slot: roles_at,
            application: &application,
            assigned: &assignments.roles,
            users: &users,
            routes: &routes,
        };
        self.accounts(&open, selection, &|row| roles.fill(row), |read| {
            left.remove(&read.user());
            take(read);
        })
        .await?;
        let unread: Vec<EntraId> =
            assignments.groups.keys().filter(|group| !groups.contains_key(group)).copied().collect();
        if !left.is_empty() || !unread.is_empty() {
            return Err(DirectoryError::Incomplete { users: left.into_iter().collect(), groups: unread });
        }
        if let Some(group) = named.intersection(&hidden).next() {
            return Err(DirectoryError::NamedGroupHidden(*group));
        }
        for id in named {
            // The others are assigned: as groups, whose members are there already, or as users.
            if !members_of.contains_key(id) && !users.contains_key(id) {
                members_of.extend(self.members_of_named(*id).await?.map(|members| (*id, members)));
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

    /// The user members of a group that need not be assigned; none when there is no such group.
    pub(super) async fn members_of_named(&self, group: EntraId) -> Result<Option<BTreeSet<EntraId>>, DirectoryError> {
        let what = format!("reading the members of group {group}, which scope.only or scope.ignore names");
        let nothing = Selection::default();
        let mut members = BTreeSet::new();
        let read = |body: &[u8]| wire::user_page(body, &nothing).map(|page| (page.rows, page.next));
        let path = self.members_path(group, &nothing);
        let mut missing = 0;
        let listed = loop {
            let listed = self.client.list(&what, &path, read, |step| match step {
                Step::Begin => members.clear(),
                Step::Page(rows, _) => {
                    members.extend(rows.into_iter().filter(|row| row.kind == RowType::User).map(|row| row.id));
                }
            });
            match listed.await {
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
            Err(source) if source.is_forbidden() => {
                Err(DirectoryError::GroupForbidden { group, name: String::new(), source: source.into() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads accounts directly: filters of 15 ids in `$batch` calls, and whoever is left out of an answer alone. What
    /// Graph does not tell of an account, `fill` may.
    /// <https://learn.microsoft.com/graph/api/user-list>, <https://learn.microsoft.com/graph/api/user-get>
    pub(super) async fn accounts(
        &self,
        users: &[EntraId],
        selection: &Selection,
        fill: &(dyn Fn(&mut Row) + Sync),
        mut take: impl FnMut(AccountRead),
    ) -> Result<(), DirectoryError> {
        let select = select(selection);
        let mut alone = Vec::new();
        let pieces = users.chunks(IDS_IN_FILTER * super::client::BATCH);
        let mut reads: FuturesUnordered<_> =
            pieces.map(|users| self.some_accounts(users, selection, &select, fill)).collect();
        while let Some((found, left_out)) = reads.try_next().await? {
            found.into_iter().for_each(&mut take);
            alone.extend(left_out);
        }
        let paths: Vec<String> = alone.iter().map(|id| format!("/users/{id}?$select={select}")).collect();
        for (id, answer) in alone.iter().zip(self.client.batch(WHAT, &paths).await?) {
            match answer {
                Ok(Reply { body, request_id }) => {
                    let mut row = wire::user(&body, selection).map_err(|error| malformed(WHAT, &error))?;
                    if row.id != *id {
                        let detail = "the answer is about another account".to_owned();
                        return Err(GraphError::Malformed { what: WHAT.to_owned(), detail }.into());
                    }
                    fill(&mut row);
                    take(told(row, selection, &request_id));
                }
                Err(error) if error.is_not_found() => take(AccountRead::NotFound(*id)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads up to 300 accounts in one `$batch`; also tells who is left out of the answers.
    async fn some_accounts(
        &self,
        users: &[EntraId],
        selection: &Selection,
        select: &str,
        fill: &(dyn Fn(&mut Row) + Sync),
    ) -> Result<(Vec<AccountRead>, Vec<EntraId>), DirectoryError> {
        let chunks: Vec<&[EntraId]> = users.chunks(IDS_IN_FILTER).collect();
        let paths: Vec<String> = chunks
            .iter()
            .map(|ids| {
                let list: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
                format!("/users?$filter=id%20in%20({})&$select={select}", list.join(","))
            })
            .collect();
        let (mut found, mut left_out) = (Vec::with_capacity(users.len()), Vec::new());
        for (ids, answer) in chunks.iter().zip(self.client.batch(WHAT, &paths).await?) {
            let mut asked: BTreeSet<EntraId> = ids.iter().copied().collect();
            let Reply { body, request_id } = answer?;
            let page = wire::user_page(&body, selection).map_err(|error| malformed(WHAT, &error))?;
            if page.next.is_some() {
                let detail = "a filter of 15 ids answered with several pages".to_owned();
                return Err(GraphError::Malformed { what: WHAT.to_owned(), detail }.into());
            }
            let asked_for = page.rows.into_iter().filter(|row| asked.remove(&row.id));
            found.extend(asked_for.map(|mut row| {
                fill(&mut row);
                told(row, selection, &request_id)
            }));
            left_out.extend(asked);
        }
        Ok((found, left_out))
    }
}

impl AccountRead {
    /// Who it is about.
    pub fn user(&self) -> EntraId {
        match self {
            Self::User(user) => user.id,
            Self::Unreadable { user, .. } | Self::NotFound(user) => *user,
        }
    }
}

/// Hands on each member once, from whichever group comes first.
struct Taker<'a, F> {
    selection: &'a Selection,
    take: &'a mut F,
    taken: BTreeSet<EntraId>,
    /// Rows that do not tell every selected property; another row or a direct read may.
    lacking: usize,
}

impl<F: FnMut(AccountRead)> Taker<'_, F> {
    fn take(&mut self, row: Row, request_id: &str) {
        if self.taken.contains(&row.id) {
            return;
        }
        if row.values.iter().any(Option::is_none) {
            self.lacking += 1;
            return;
        }
        let read = told(row, self.selection, request_id);
        self.taken.insert(read.user());
        (self.take)(read);
    }
}

/// What is wrong, with Graph's id of the request for a support case.
pub(super) fn noted(detail: &str, request_id: &str) -> String {
    format!("{detail} (request-id {request_id})")
}

/// A row that is as complete as it gets. Without `accountEnabled`, or without any name, it is no account that was
/// changed but one that may not be read: a lost permission looks just like that.
pub(super) fn told(row: Row, selection: &Selection, request_id: &str) -> AccountRead {
    let Row { kind: _, id, values } = row;
    let unreadable = |detail: &str| AccountRead::Unreadable { user: id, detail: noted(detail, request_id) };
    let value = |property| selection.position(property).and_then(|slot| values.get(slot)).and_then(Option::as_ref);
    let Some(Value::Boolean(enabled)) = value("accountEnabled") else {
        return unreadable("Graph does not tell accountEnabled");
    };
    let enabled = *enabled;
    let named = |property| matches!(value(property), Some(Value::Text(_)));
    if !named("displayName") && !named("userPrincipalName") {
        return unreadable("Graph tells neither displayName nor userPrincipalName");
    }
    let mut told = Vec::with_capacity(values.len());
    for (property, value) in selection.properties().iter().zip(values) {
        match value {
            Some(value) => told.push(value),
            // Who is not assigned has no role.
            None if property == APP_ROLE_ASSIGNMENTS => told.push(Value::List(Vec::new())),
            None => return unreadable(&format!("Graph does not tell {property}")),
        }
    }
    AccountRead::User(User { id, enabled, values: told })
}

/// Collects through what everybody is assigned; the few combinations there are, are shared.
#[derive(Default)]
struct RouteMap {
    users: BTreeMap<EntraId, u32>,
    sets: Vec<BTreeSet<Route>>,
    /// Which set comes of a set and one more route.
    grown: BTreeMap<(Option<u32>, Route), u32>,
}

impl RouteMap {
    fn add(&mut self, route: Route, users: &BTreeSet<EntraId>) {
        for user in users {
            let before = self.users.get(user).copied();
            let after = *self.grown.entry((before, route)).or_insert_with(|| {
                let mut set = before.and_then(|index| self.sets.get(index as usize)).cloned().unwrap_or_default();
                set.insert(route);
                self.sets.push(set);
                // There are fewer combinations than users, and users fit into a u32.
                u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX)
            });
            self.users.insert(*user, after);
        }
    }

    fn finish(self) -> (BTreeMap<EntraId, u32>, Vec<Routes>) {
        (self.users, self.sets.into_iter().map(|set| set.into_iter().collect()).collect())
    }
}
