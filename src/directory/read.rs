//! The first look: everybody assigned, each person once, page by page.

use std::collections::{BTreeMap, BTreeSet};

use super::client::{Answer, Step, answered, malformed};
use super::wire::{Row, RowType};
use super::{Application, Directory, DirectoryError, GraphError, Snapshot, select, wire};
use crate::model::{EntraId, Route, Selection, User, Value, Via};

/// The most ids that an `in` filter takes.
const IDS_IN_FILTER: usize = 15;

/// One assigned person, as Graph tells of it.
#[derive(Debug)]
pub enum Read {
    /// The account, every selected property told.
    User(User),
    /// The account is there, but what would tell its state is not.
    Unreadable {
        /// Who.
        person: EntraId,
        /// What is missing.
        detail: String,
    },
    /// Assigned, but there is no such account.
    NotFound(EntraId),
}

impl Directory {
    /// Reads everybody who is assigned to `application`. Each person is handed to `take` exactly once, as soon
    /// as its page is there; what was taken counts for nothing until the [`Snapshot`] proves that all came.
    ///
    /// # Errors
    /// Any page that fails after its retries: there is no snapshot of a part.
    pub async fn read(
        &self,
        application: Application,
        selection: &Selection,
        mut take: impl FnMut(Read),
    ) -> Result<Snapshot, DirectoryError> {
        let assignments = self.assignments(application.object_id).await?;
        let mut routes = Routes::default();
        let mut groups = BTreeMap::new();
        let mut taken: BTreeSet<EntraId> = BTreeSet::new();
        // Rows that do not tell every selected property; a later row or a direct read may.
        let mut lacking: BTreeSet<EntraId> = BTreeSet::new();
        for (group, name) in &assignments.groups {
            let mut members = BTreeSet::new();
            self.members(*group, name, selection, |step| match step {
                // People taken from pages that are read anew were complete: they are not taken twice.
                Step::Begin => members.clear(),
                Step::Page(rows) => {
                    for row in rows.into_iter().filter(|row| row.kind == RowType::User) {
                        members.insert(row.id);
                        if taken.contains(&row.id) {
                            continue;
                        }
                        match complete(row, selection) {
                            Ok(read) => {
                                taken.insert(person(&read));
                                take(read);
                            }
                            Err(id) => drop(lacking.insert(id)),
                        }
                    }
                }
            })
            .await?;
            groups.insert(*group, members.len() as u64);
            routes.add(Route::Group(*group), &members);
        }
        routes.add(Route::Direct, &assignments.users);

        let (people, via) = routes.finish();
        // A person taken from a page that was read anew may be in no list any more; it is nobody's then, and
        // `Desired` leaves it out because the snapshot does not know it.
        let open: Vec<EntraId> = people.keys().filter(|id| !taken.contains(id)).copied().collect();
        tracing::debug!(people = people.len(), direct = open.len(), lacking = lacking.len(), "lists read");
        let mut left: BTreeSet<EntraId> = open.iter().copied().collect();
        self.accounts(&open, selection, |read| {
            left.remove(&person(&read));
            take(read);
        })
        .await?;
        if !left.is_empty() {
            return Err(DirectoryError::Incomplete(left.len()));
        }
        Ok(Snapshot {
            application,
            people,
            via,
            groups,
            assigned: (assignments.users.len() + assignments.groups.len()) as u64,
        })
    }

    /// Reads accounts directly: filters of 15 ids in `$batch` calls, and whoever is left out of an answer alone.
    /// <https://learn.microsoft.com/graph/api/user-list>, <https://learn.microsoft.com/graph/api/user-get>
    pub(super) async fn accounts(
        &self,
        people: &[EntraId],
        selection: &Selection,
        mut take: impl FnMut(Read),
    ) -> Result<(), DirectoryError> {
        let what = "reading assigned users";
        let select = select(selection);
        let mut alone = Vec::new();
        for people in people.chunks(IDS_IN_FILTER * super::client::BATCH) {
            let chunks: Vec<&[EntraId]> = people.chunks(IDS_IN_FILTER).collect();
            let paths: Vec<String> = chunks
                .iter()
                .map(|ids| {
                    let list: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
                    format!("/users?$filter=id%20in%20({})&$select={select}", list.join(","))
                })
                .collect();
            for (ids, answer) in chunks.iter().zip(self.client.batch(what, &paths).await?) {
                let mut asked: BTreeSet<EntraId> = ids.iter().copied().collect();
                if answer.status != 200 {
                    return Err(failed(what, &answer).into());
                }
                let page = wire::user_page(&answer.body, selection).map_err(|error| malformed(what, &error))?;
                if page.next.is_some() {
                    let detail = "a filter of 15 ids answered with several pages".to_owned();
                    return Err(GraphError::Malformed { what: what.to_owned(), detail }.into());
                }
                for row in page.rows {
                    if asked.remove(&row.id) {
                        take(told(row, selection));
                    }
                }
                alone.extend(asked);
            }
        }
        let paths: Vec<String> = alone.iter().map(|id| format!("/users/{id}?$select={select}")).collect();
        for (id, answer) in alone.iter().zip(self.client.batch(what, &paths).await?) {
            match answer.status {
                200 => {
                    let row = wire::user(&answer.body, selection).map_err(|error| malformed(what, &error))?;
                    if row.id != *id {
                        let detail = "the answer is about another account".to_owned();
                        return Err(GraphError::Malformed { what: what.to_owned(), detail }.into());
                    }
                    take(told(row, selection));
                }
                404 => take(Read::NotFound(*id)),
                _ => return Err(failed(what, &answer).into()),
            }
        }
        Ok(())
    }
}

pub(super) fn failed(what: &str, answer: &Answer) -> GraphError {
    answered(what, answer.status, &answer.body, "inside $batch")
}

fn person(read: &Read) -> EntraId {
    match read {
        Read::User(user) => user.id,
        Read::Unreadable { person, .. } | Read::NotFound(person) => *person,
    }
}

/// A member row when it tells every selected property, else its id.
fn complete(row: Row, selection: &Selection) -> Result<Read, EntraId> {
    if row.values.iter().any(Option::is_none) { Err(row.id) } else { Ok(told(row, selection)) }
}

/// A row that is as complete as it gets. Without `accountEnabled`, or without any name, it is no account that was
/// changed but one that may not be read: a lost permission looks just like that.
pub(super) fn told(row: Row, selection: &Selection) -> Read {
    let Row { kind: _, id, values } = row;
    let unreadable = |detail: String| Read::Unreadable { person: id, detail };
    let value = |property| selection.position(property).and_then(|slot| values.get(slot)).and_then(Option::as_ref);
    let Some(Value::Boolean(enabled)) = value("accountEnabled") else {
        return unreadable("Graph does not tell accountEnabled".to_owned());
    };
    let enabled = *enabled;
    let named = |property| matches!(value(property), Some(Value::Text(_)));
    if !named("displayName") && !named("userPrincipalName") {
        return unreadable("Graph tells neither displayName nor userPrincipalName".to_owned());
    }
    let mut told = Vec::with_capacity(values.len());
    for (property, value) in selection.properties().iter().zip(values) {
        match value {
            Some(value) => told.push(value),
            None => return unreadable(format!("Graph does not tell {property}")),
        }
    }
    Read::User(User { id, enabled, values: told })
}

/// Collects through what everybody is assigned; the few combinations there are, are shared.
#[derive(Default)]
struct Routes {
    people: BTreeMap<EntraId, u32>,
    sets: Vec<BTreeSet<Route>>,
    /// Which set comes of a set and one more route.
    grown: BTreeMap<(Option<u32>, Route), u32>,
}

impl Routes {
    fn add(&mut self, route: Route, people: &BTreeSet<EntraId>) {
        for person in people {
            let before = self.people.get(person).copied();
            let after = *self.grown.entry((before, route)).or_insert_with(|| {
                let mut set = before.and_then(|index| self.sets.get(index as usize)).cloned().unwrap_or_default();
                set.insert(route);
                self.sets.push(set);
                // There are fewer combinations than people, and people fit into a u32.
                u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX)
            });
            self.people.insert(*person, after);
        }
    }

    fn finish(self) -> (BTreeMap<EntraId, u32>, Vec<Via>) {
        (self.people, self.sets.into_iter().map(|set| set.into_iter().collect()).collect())
    }
}
