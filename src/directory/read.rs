//! Reads all assigned users page by page, each user once.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
#[expect(clippy::disallowed_types, reason = "for rows that are never listed")]
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::account::{Assess, read_account};
use super::by_id::{DirectAccount, DirectRead};
use super::error::GraphError;
use super::members::{GroupState, MemberList, ReadMember, ReadRow, members_alone, named_members};
use super::principals::Assignments;
use super::roles::RoleNames;
use super::routes::Assigned;
use super::wire::{self, RowType, Texts, UserRow};
use super::{Application, Directory, DirectoryError, Snapshot};
use crate::model::{APP_ROLE_ASSIGNMENTS, ByUser, EntraId, RequestId, Route, Routes, Selection};

/// The lists of members, and what their rows say.
struct GroupReads {
    lists: BTreeMap<EntraId, MemberList>,
    rows: MemberRows,
}

/// The rows of members in all lists. They are read on several threads, and each user is assessed at the first complete row.
#[derive(Default)]
struct MemberRows {
    /// The users with a row that is known from an earlier cycle.
    #[expect(clippy::disallowed_types, reason = "searched for each row, and never listed")]
    known: HashSet<EntraId, RandomState>,
    /// The other users with a complete row, and the hash of the first one.
    #[expect(clippy::disallowed_types, reason = "searched for each row, and never listed")]
    complete: HashMap<EntraId, u64, RandomState>,
    /// Users with an incomplete row or with rows that disagree. A direct read decides.
    reread: BTreeSet<EntraId>,
}

impl Directory {
    /// Reads all users assigned to `application`, and the members of the groups among `named`. Each user is
    /// assessed on another thread as soon as its page is here, and passed to `on_user`, and once more when its rows disagree:
    /// the last read counts. Only the returned [`Snapshot`] proves that the read is complete.
    ///
    /// # Errors
    /// A page fails after its retries. There is no snapshot of a partial read.
    pub async fn read<A: Send + 'static>(
        &self,
        application: Application,
        selection: &Selection,
        named: &BTreeSet<EntraId>,
        assess: &Assess<A>,
        mut on_user: impl FnMut(EntraId, A) + Send,
    ) -> Result<Snapshot, DirectoryError> {
        let selection = &Arc::new(selection.clone());
        let assignments = self.assignments(&application).await?;
        let groups = self.read_groups(&assignments.groups, selection, assess, &mut on_user).await?;
        let (users, routes) = routes(&assignments, &groups.lists);
        let open = groups.open(&users);
        let uncertain = groups.uncertain(&assignments.users);
        let roles = RoleNames {
            slot: selection.position(APP_ROLE_ASSIGNMENTS),
            application: &application,
            assigned: &assignments.roles,
            unknown: &assignments.unknown_roles,
            users: &users,
            routes: &routes,
        };
        let not_found = self.read_open(&open, &uncertain, (selection, assess), &roles, on_user).await?;
        // A member of unknown type without an account is a user only if it is a learner.
        let may_be_user = |id: &EntraId| !(not_found.contains(id) && uncertain.contains(id));
        let mut users = users;
        let untyped_missing: ByUser<u32> =
            uncertain.intersection(&not_found).filter_map(|id| Some((*id, *users.get(id)?))).collect();
        users.retain(|id, _| may_be_user(id));
        let named = self.read_named_groups(named, &groups.lists, &users).await?;

        let Assignments {
            users: direct,
            groups: names,
            other_roles,
            roles: _,
            unknown_roles: _,
            others: _,
            mut unclear,
        } = assignments;
        unclear.unnamed += groups.lists.values().map(|list| list.bad_rows).sum::<u64>();
        let in_state =
            |state| groups.lists.iter().filter(move |(_, list)| list.state == state).map(|(group, _)| *group);
        Ok(Snapshot {
            application,
            users,
            untyped_missing,
            routes,
            groups: groups.lists.iter().map(|(group, list)| (*group, list.count(may_be_user))).collect(),
            hidden: in_state(GroupState::Hidden).collect(),
            gone: in_state(GroupState::Gone).collect(),
            unclear,
            assigned: (direct.len() + names.len()) as u64,
            names,
            named,
            other_roles,
        })
    }

    /// Reads the members of all `groups`, and passes on the members with a complete row.
    async fn read_groups<A: Send + 'static>(
        &self,
        groups: &BTreeMap<EntraId, String>,
        selection: &Arc<Selection>,
        assess: &Assess<A>,
        on_user: &mut (impl FnMut(EntraId, A) + Send),
    ) -> Result<GroupReads, DirectoryError> {
        // Role names need all groups, so with roles no member row is complete yet.
        let with_rows = selection.position(APP_ROLE_ASSIGNMENTS).is_none();
        let rows = Arc::new(Mutex::new(MemberRows::default()));
        let read_row: ReadRow<A> = Arc::new(MemberReader {
            selection: Arc::clone(selection),
            assess: Arc::clone(assess),
            rows: Arc::clone(&rows),
            hashed: RandomState::default(),
        });
        let read_row = &read_row;
        // One task reads all groups, so the lock is always free.
        let on_user = &Mutex::new(on_user);
        let reads = groups.iter().map(|(group, name)| async move {
            if with_rows {
                let members = self.members(*group, name, selection, read_row, |page| {
                    let mut on_user = on_user.lock().unwrap_or_else(PoisonError::into_inner);
                    page.into_iter().for_each(|(user, assessed)| on_user(user, assessed));
                });
                match members.await {
                    Err(DirectoryError::Graph(error @ GraphError::TooLarge { .. })) => {
                        tracing::warn!(group.id = %group, "{error}; reading its members by their ids");
                    }
                    members => return Ok((*group, members?)),
                }
            }
            let members = self.members(*group, name, &Arc::default(), &members_alone(), |_| {}).await?;
            Ok::<_, DirectoryError>((*group, members))
        });
        let mut reads: FuturesUnordered<_> = reads.collect();
        let mut lists = BTreeMap::new();
        while let Some((group, members)) = reads.try_next().await? {
            lists.insert(group, members);
        }
        drop(reads);
        let rows = std::mem::take(&mut *lock(&rows));
        Ok(GroupReads { lists, rows })
    }

    /// Reads the accounts of `open` and returns those that do not exist.
    async fn read_open<A: Send + 'static>(
        &self,
        open: &[EntraId],
        uncertain: &BTreeSet<EntraId>,
        (selection, assess): (&Arc<Selection>, &Assess<A>),
        roles: &RoleNames<'_>,
        mut on_user: impl FnMut(EntraId, A) + Send,
    ) -> Result<BTreeSet<EntraId>, DirectoryError> {
        let mut read = Vec::with_capacity(open.len());
        let mut not_found = BTreeSet::new();
        let direct =
            DirectRead { selection: Arc::clone(selection), roles: &|user| roles.of(user), assess: Arc::clone(assess) };
        let reads = self.read_directly(open, uncertain, &direct, |DirectAccount { user, exists, assessed }| {
            read.push(user);
            if !exists {
                not_found.insert(user);
            }
            on_user(user, assessed);
        });
        reads.await?.unless_all_refused(roles.users.len() - uncertain.len())?;
        read.sort_unstable();
        let unread: Vec<EntraId> = open.iter().filter(|id| read.binary_search(id).is_err()).copied().collect();
        if unread.is_empty() { Ok(not_found) } else { Err(DirectoryError::Incomplete(unread)) }
    }

    /// The members of the groups among `named`. `users` are not groups, and assigned groups have been read already.
    async fn read_named_groups(
        &self,
        named: &BTreeSet<EntraId>,
        lists: &BTreeMap<EntraId, MemberList>,
        users: &ByUser<u32>,
    ) -> Result<BTreeMap<EntraId, BTreeSet<EntraId>>, DirectoryError> {
        let mut found = BTreeMap::new();
        for id in named.iter().filter(|id| !users.contains_key(id)) {
            let members = match lists.get(id) {
                Some(list) => named_members(*id, list)?,
                None => self.read_named_group(*id).await?,
            };
            found.extend(members.map(|members| (*id, members)));
        }
        Ok(found)
    }
}

impl GroupReads {
    /// The users whose account is still to be read. After a restarted list, there may be rows of users who are in no list any
    /// more. The snapshot does not contain them, so `Desired` drops them.
    fn open(&self, users: &ByUser<u32>) -> Vec<EntraId> {
        let MemberRows { known, complete: _, reread } = &self.rows;
        let is_open = |id: &&EntraId| !self.rows.has_complete(id) || reread.contains(id);
        let open: Vec<EntraId> = users.keys().filter(is_open).copied().collect();
        let (users, known, direct, reread) = (users.len(), known.len(), open.len(), reread.len());
        tracing::debug!(users, known, direct, reread, "lists read");
        open
    }

    /// The members of unknown type that no other row calls a user.
    fn uncertain(&self, direct: &BTreeSet<EntraId>) -> BTreeSet<EntraId> {
        let is_known = |id: &EntraId| direct.contains(id) || self.lists.values().any(|list| list.has_user(id));
        let unknown = self.lists.values().flat_map(|list| &list.unknown);
        unknown.filter(|id| !is_known(id)).copied().collect()
    }
}

/// The routes of all assigned users.
fn routes(assignments: &Assignments, lists: &BTreeMap<EntraId, MemberList>) -> (ByUser<u32>, Vec<Routes>) {
    let mut assigned = Assigned::default();
    for (group, list) in lists {
        assigned.add(Route::Group(*group), list.users.iter().chain(&list.unknown));
    }
    assigned.add(Route::Direct, &assignments.users);
    assigned.into_parts()
}

/// Assesses each user at the first complete row.
struct MemberReader<A> {
    selection: Arc<Selection>,
    assess: Assess<A>,
    rows: Arc<Mutex<MemberRows>>,
    hashed: RandomState,
}

impl<A: Send> ReadMember<A> for MemberReader<A> {
    fn recall(&self, json: &str, request_id: &RequestId) -> Option<(EntraId, Option<A>)> {
        let user = wire::apparent_id(json)?;
        let recalled = self.assess.recall(user, json, request_id)?;
        let is_first = lock(&self.rows).add_known(user);
        Some((user, is_first.then_some(recalled)))
    }

    fn read(&self, row: UserRow, json: &str, request_id: &RequestId, texts: &mut Texts) -> Option<(EntraId, A)> {
        let UserRow { kind, id, values, problem } = &row;
        if matches!(kind, RowType::Other(_)) {
            return None;
        }
        let user = *id;
        let is_oversized = problem.as_ref().is_some_and(|problem| problem.is_oversized);
        let is_complete = *kind != RowType::Unknown && problem.is_none() && values.iter().all(Option::is_some);
        let hash = (is_complete || is_oversized).then(|| self.hashed.hash_one((kind, values)));
        if !lock(&self.rows).add(user, hash) {
            return None;
        }
        let read = read_account(row, &self.selection, request_id);
        let assessed = self.assess.assess(&read, is_complete.then_some(json), request_id);
        texts.recycle(read);
        Some((user, assessed))
    }
}

impl MemberRows {
    /// Adds a row with its hash, if it is complete. Returns whether it is the first complete row of the user.
    fn add(&mut self, user: EntraId, hash: Option<u64>) -> bool {
        let Some(hash) = hash.filter(|_| !self.known.contains(&user)) else {
            self.reread.insert(user);
            return false;
        };
        match self.complete.entry(user) {
            Entry::Vacant(entry) => {
                entry.insert(hash);
                true
            }
            Entry::Occupied(first) => {
                if *first.get() != hash {
                    self.reread.insert(user);
                }
                false
            }
        }
    }

    /// Adds a row that is known from an earlier cycle. Returns whether it is the first complete row of the user.
    fn add_known(&mut self, user: EntraId) -> bool {
        // It differs from the row that had to be decoded.
        if self.complete.contains_key(&user) {
            self.reread.insert(user);
            return false;
        }
        self.known.insert(user)
    }

    fn has_complete(&self, user: &EntraId) -> bool {
        self.known.contains(user) || self.complete.contains_key(user)
    }
}

fn lock(rows: &Mutex<MemberRows>) -> MutexGuard<'_, MemberRows> {
    rows.lock().unwrap_or_else(PoisonError::into_inner)
}
