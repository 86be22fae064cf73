//! The assignments of the application: which users and groups are its principals.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::batch::BatchReply;
use super::client::Reply;
use super::error::{first_ids, malformed};
use super::list::{ListEvent, ParseRows, Rows};
use super::wire::{self, AssignmentRow, InvalidRow, PrincipalType};
use super::{Application, DEFAULT_ACCESS, Directory, DirectoryError, PAGE_SIZE};
use crate::model::{EntraId, GroupMembers, UnclearPrincipal, UnclearRows, foreign_text};

/// More rows of an unknown type mean that Graph has changed.
const MAX_UNKNOWN: usize = 1000;

/// The users and groups assigned to the application.
#[derive(Debug, Default)]
pub(super) struct Assignments {
    pub(super) users: BTreeSet<EntraId>,
    /// Display names by group.
    pub(super) groups: BTreeMap<EntraId, String>,
    /// Users and groups that are assigned only with app roles that do not count.
    pub(super) other_roles: BTreeSet<EntraId>,
    /// Each user and group with each of its counted roles.
    pub(super) roles: BTreeSet<(EntraId, EntraId)>,
    /// Users and groups with a role that could not be read.
    pub(super) unknown_roles: BTreeSet<EntraId>,
    /// Principals listed as something that is not counted, and what that is.
    pub(super) others: BTreeMap<EntraId, &'static str>,
    /// The rows that may hide users.
    pub(super) unclear: UnclearRows,
}

/// The rows and principals that are not clear, by what is wrong with them, for one warning each.
#[derive(Debug, Default)]
struct UnclearIds(BTreeMap<&'static str, Vec<String>>);

impl UnclearIds {
    fn add(&mut self, what: &'static str, id: impl ToString) {
        self.0.entry(what).or_default().push(foreign_text(&id.to_string()));
    }

    fn warn(self) {
        for (what, ids) in self.0 {
            tracing::warn!(count = ids.len(), ids = first_ids(&ids), "{what}");
        }
    }
}

impl Directory {
    /// Reads all assignments, one row for each principal and role. Service principals are ignored. A row that names no user
    /// or group clearly does not end the read, but the result says so.
    /// <https://learn.microsoft.com/graph/api/serviceprincipal-list-approleassignedto>
    pub(super) async fn assignments(&self, application: &Application) -> Result<Assignments, DirectoryError> {
        let what = "reading the assignments of the application";
        let wanted = wanted_roles(application, &self.filter.app_roles)?;
        let path = format!("/servicePrincipals/{}/appRoleAssignedTo?$top={PAGE_SIZE}", application.object_id);
        let mut rows = Vec::new();
        let application = application.object_id;
        let parse: ParseRows<_> = Arc::new(parse_assignments);
        let listed = self.client.list(what, &path, &parse, |event| match event {
            ListEvent::Start => rows.clear(),
            ListEvent::Page(page) => rows.extend(page),
        });
        listed.await?;
        // One such row is a bad row; nothing but such rows is the list of another application.
        let is_foreign = |row: &Result<AssignmentRow, String>| {
            row.as_ref().is_ok_and(|row| row.resource.is_some_and(|resource| resource != application))
        };
        if !rows.is_empty() && rows.iter().all(is_foreign) {
            return Err(malformed(what, "every assignment belongs to another application".to_owned()).into());
        }

        let mut found = Assignments::default();
        let mut unknown: BTreeMap<EntraId, String> = BTreeMap::new();
        let mut warnings = UnclearIds::default();
        for row in rows {
            if is_foreign(&row) {
                found.unclear.unnamed += 1;
                let principal = row.ok().and_then(|row| row.principal).map_or_else(String::new, |id| id.to_string());
                warnings.add("assignments belong to another application; leavers are held", principal);
                continue;
            }
            found.add(row, wanted.as_ref(), &mut unknown, &mut warnings);
        }
        // Rows that disagree about the type of a principal leave it open.
        for id in found.users.iter().filter(|id| found.groups.contains_key(id)) {
            unknown.insert(*id, found.groups.get(id).cloned().unwrap_or_default());
        }
        found.users.retain(|id| !unknown.contains_key(id));
        found.groups.retain(|id, _| !unknown.contains_key(id));
        self.resolve(unknown, &mut found, &mut warnings).await?;
        warnings.warn();
        let Assignments { users, groups, other_roles, roles: _, unknown_roles: _, others, unclear } = &mut found;
        if self.filter.group_members == GroupMembers::None {
            others.extend(std::mem::take(groups).into_keys().map(|group| (group, "a group")));
        }
        let is_clear = |id: &EntraId| users.contains(id) || groups.contains_key(id);
        other_roles.retain(|id| !is_clear(id));
        unclear.principals.retain(|id, _| !is_clear(id));
        if !other_roles.is_empty() {
            tracing::info!(assignments = other_roles.len(), "ignoring assignments with roles outside scope.app_roles");
        }
        Ok(found)
    }

    /// Finds out what the principals of unknown type are: a user, a group or a service principal. `unknown` has display
    /// names.
    async fn resolve(
        &self,
        unknown: BTreeMap<EntraId, String>,
        found: &mut Assignments,
        warnings: &mut UnclearIds,
    ) -> Result<(), DirectoryError> {
        let what = "reading principals of unknown type";
        if unknown.len() > MAX_UNKNOWN {
            return Err(malformed(what, format!("{} assignments have an unknown principalType", unknown.len())).into());
        }
        let paths: Vec<String> = unknown
            .keys()
            .flat_map(|id| ["users", "groups", "servicePrincipals"].map(|set| format!("/{set}/{id}?$select=id")))
            .collect();
        let answers = self.client.batch(what, &paths).await?;
        for ((id, name), answers) in unknown.into_iter().zip(answers.chunks(3)) {
            let exists: Vec<Option<bool>> = answers.iter().map(|answer| object_exists(id, answer)).collect();
            let unclear = match exists.as_slice() {
                [Some(true), ..] => {
                    found.users.insert(id);
                    continue;
                }
                [_, Some(true), _] => {
                    found.groups.insert(id, name);
                    continue;
                }
                [_, _, Some(true)] => {
                    found.others.insert(id, "a service principal");
                    continue;
                }
                [Some(false), Some(false), Some(false)] => UnclearPrincipal::NotFound,
                _ => UnclearPrincipal::Unreadable("cannot find out whether it is a user or a group".to_owned()),
            };
            warnings.add("assignments name objects that are not readable users, groups or service principals", id);
            found.unclear.principals.insert(id, unclear);
        }
        Ok(())
    }
}

impl Assignments {
    /// Adds a row, or the reason why it cannot be decoded. A principal of unknown type goes to `unknown`.
    fn add(
        &mut self,
        row: Result<AssignmentRow, String>,
        wanted: Option<&BTreeSet<EntraId>>,
        unknown: &mut BTreeMap<EntraId, String>,
        warnings: &mut UnclearIds,
    ) {
        let (id, principal, kind, name, role) = match row {
            Ok(AssignmentRow { id, principal: Some(principal), kind, name, role, resource: _ }) => {
                (id.unwrap_or_default(), principal, kind, foreign_text(&name.unwrap_or_default()), role)
            }
            Ok(AssignmentRow { id, principal: None, .. }) => {
                warnings.add("assignments name no principal; leavers are held", id.unwrap_or_default());
                self.unclear.unnamed += 1;
                return;
            }
            Err(why) => {
                warnings.add("rows of the assignments cannot be read; leavers are held", why);
                self.unclear.unnamed += 1;
                return;
            }
        };
        match (wanted, role) {
            (Some(wanted), Some(role)) if !wanted.contains(&role) => {
                self.other_roles.insert(principal);
                return;
            }
            (Some(_), None) => {
                warnings.add("assignments have no readable app role", id);
                self.unknown_roles.insert(principal);
                let why = "the app role of its assignment is missing or invalid".to_owned();
                self.unclear.principals.insert(principal, UnclearPrincipal::Unreadable(why));
                return;
            }
            (_, Some(role)) => drop(self.roles.insert((principal, role))),
            (None, None) => drop(self.unknown_roles.insert(principal)),
        }
        match kind {
            PrincipalType::User => drop(self.users.insert(principal)),
            PrincipalType::Group => drop(self.groups.insert(principal, name)),
            PrincipalType::ServicePrincipal => {
                tracing::debug!(principal.id = %principal, "ignoring an assigned service principal");
                self.others.insert(principal, "a service principal");
                self.unclear.service_principals.insert(principal);
            }
            PrincipalType::Unknown => {
                warnings.add("assignments have an unknown principalType", id);
                unknown.insert(principal, name);
            }
        }
    }
}

/// Decodes a page of assignments, or says for each row why it cannot be decoded.
fn parse_assignments(rows: Rows<'_>) -> Result<Vec<Result<AssignmentRow, String>>, String> {
    let parsed = rows.map(|json| match wire::assignment(json) {
        Ok(row) => Ok(Ok(row)),
        Err(InvalidRow::Failed(why)) => Err(why),
        Err(InvalidRow::Bad(why) | InvalidRow::NoObject(why)) => Ok(Err(why)),
    });
    parsed.collect()
}

/// Whether the object exists; `None` when the answer does not say so clearly.
fn object_exists(id: EntraId, answer: &BatchReply) -> Option<bool> {
    match answer {
        Ok(Reply { body, .. }) => {
            let found: wire::Identified = wire::object(body).ok()?;
            (found.id.parse() == Ok(id)).then_some(true)
        }
        Err(error) if error.is_not_found() => Some(false),
        Err(_) => None,
    }
}

/// The ids of the app roles that count; `None` when all do.
fn wanted_roles(application: &Application, named: &[String]) -> Result<Option<BTreeSet<EntraId>>, DirectoryError> {
    if named.is_empty() {
        return Ok(None);
    }
    let role = |named: &String| {
        let id = named.parse().ok();
        let known = application.roles.iter().find(|(known, role)| {
            Some(**known) == id || role.value.as_ref().is_some_and(|value| value.eq_ignore_ascii_case(named))
        });
        // Assignments to an application without roles have this role, which the application does not list.
        let default = id.filter(|id| *id == DEFAULT_ACCESS);
        known.map(|(known, _)| *known).or(default).ok_or_else(|| DirectoryError::NoSuchRole {
            role: named.clone(),
            roles: application
                .roles
                .iter()
                .map(|(id, role)| role.value.as_deref().map_or_else(|| id.to_string(), foreign_text))
                .collect(),
        })
    };
    named.iter().map(role).collect::<Result<_, _>>().map(Some)
}
