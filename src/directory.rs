//! The only code that knows Graph: [`Directory::read`] makes a [`Snapshot`] that is complete or does not exist,
//! [`Directory::confirm`] looks a second time at those who seem to have left.
//!
//! There are no delta queries: changes have been reported missing from them, and a full read costs about one
//! resource unit for 100 to 999 users. Member lists are read plainly, without cast, count or ConsistencyLevel,
//! because such queries read an index that lags.

mod client;
mod confirm;
mod error;
mod probe;
mod read;
mod roles;
mod throttle;
mod user;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Url;

use self::client::{Client, Step};
pub use self::confirm::Confirmation;
use self::error::malformed;
pub use self::error::{DirectoryError, GraphError};
pub use self::probe::{Assigned, GroupShape};
pub use self::read::AccountRead;
use self::wire::{Assignment, ServicePrincipal};
use crate::auth::{Authenticator, Http, NetworkError};
use crate::model::{APP_ROLE_ASSIGNMENTS, Clock, EntraId, GroupMembers, Routes, Selection};

/// The permission without which groups with hidden membership look empty.
const SEES_HIDDEN: &str = "Member.Read.Hidden";
/// The app role of those who are assigned without one: <https://learn.microsoft.com/graph/api/resources/approleassignment>.
const DEFAULT_ACCESS: EntraId = EntraId::from_bytes([0; 16]);
/// The longest list Graph takes in one page.
const PAGE: usize = 999;

/// The enterprise application as Graph shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Object id of the service principal.
    pub object_id: EntraId,
    /// Application (client) id.
    pub app_id: String,
    /// Display name.
    pub name: String,
    /// Its app roles by id.
    pub roles: BTreeMap<EntraId, AppRole>,
}

/// An app role of the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppRole {
    /// What tokens carry; a role may have none.
    pub value: Option<String>,
    /// What administrators see.
    pub name: String,
}

/// Which assignments count, and how far.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Which members of an assigned group.
    pub group_members: GroupMembers,
    /// Assignments with one of these app roles, by id or value; all, when none is named.
    pub app_roles: Vec<String>,
}

/// A complete read of everybody assigned to the application. Nothing but [`Directory::read`] can make one.
#[derive(Debug)]
pub struct Snapshot {
    application: Application,
    users: BTreeMap<EntraId, u32>,
    routes: Vec<Routes>,
    groups: BTreeMap<EntraId, u64>,
    hidden: BTreeSet<EntraId>,
    names: BTreeMap<EntraId, String>,
    assigned: u64,
    named: BTreeMap<EntraId, BTreeSet<EntraId>>,
    other_roles: BTreeSet<EntraId>,
}

impl Snapshot {
    /// The application that was read.
    pub fn application(&self) -> &Application {
        &self.application
    }

    /// The ways `user` is assigned.
    pub fn routes(&self, user: EntraId) -> Option<&Routes> {
        self.users.get(&user).and_then(|index| self.routes.get(*index as usize))
    }

    /// How many users are assigned.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// Distinct user members by assigned group.
    pub fn groups(&self) -> &BTreeMap<EntraId, u64> {
        &self.groups
    }

    /// Display names of the assigned groups.
    pub fn names(&self) -> &BTreeMap<EntraId, String> {
        &self.names
    }

    /// Assigned groups that look empty because they hide their members.
    pub fn hidden(&self) -> &BTreeSet<EntraId> {
        &self.hidden
    }

    /// The members of a group that was named to [`Directory::read`], assigned or not; none for whom is no group.
    pub fn members_of_named(&self, group: EntraId) -> Option<&BTreeSet<EntraId>> {
        self.named.get(&group)
    }

    /// How many members the groups that were named have.
    pub fn named_groups(&self) -> BTreeMap<EntraId, u64> {
        self.named.iter().map(|(group, members)| (*group, members.len() as u64)).collect()
    }

    /// Users and groups that are assigned, but with none of the app roles that count.
    pub fn other_roles(&self) -> &BTreeSet<EntraId> {
        &self.other_roles
    }

    /// Whether the application has no user and no group assigned.
    pub fn nobody_assigned(&self) -> bool {
        self.assigned == 0
    }
}

/// The directory of one tenant, seen from one enterprise application.
#[derive(Debug)]
pub struct Directory {
    client: Client,
    reach: Reach,
}

/// Users and groups on the application, each once.
#[derive(Debug, Default)]
struct Assignments {
    users: BTreeSet<EntraId>,
    groups: BTreeMap<EntraId, String>,
    /// Those whose app roles do not count.
    other_roles: BTreeSet<EntraId>,
    /// In which roles each user and group is assigned, as far as they count.
    roles: BTreeMap<EntraId, BTreeSet<EntraId>>,
}

impl Directory {
    /// A directory behind `root`, the origin of Graph, that has at most `at_once` requests under way.
    ///
    /// # Errors
    /// When `root` is no URL.
    pub fn new(
        http: Http,
        authenticator: Authenticator,
        root: &str,
        reach: Reach,
        at_once: usize,
        clock: Clock,
    ) -> Result<Self, NetworkError> {
        let root = Url::parse(root).map_err(|source| NetworkError::new("entra.graph_url", source))?;
        Ok(Self { client: Client::new(http, authenticator, root, at_once, clock), reach })
    }

    /// How many requests went to Graph so far.
    pub fn requests(&self) -> u64 {
        self.client.requests()
    }

    /// Signs in, without asking Graph anything.
    ///
    /// # Errors
    /// When Entra refuses or cannot be reached.
    pub async fn sign_in(&self) -> Result<(), GraphError> {
        self.client.sign_in().await
    }

    /// The enterprise application with this object id, else with this application id.
    /// <https://learn.microsoft.com/graph/api/serviceprincipal-get>
    ///
    /// # Errors
    /// When there is neither, or Graph cannot be read.
    pub async fn application(&self, id: EntraId) -> Result<Application, DirectoryError> {
        let what = "reading the enterprise application";
        for path in [format!("/servicePrincipals/{id}"), format!("/servicePrincipals(appId='{id}')")] {
            match self
                .client
                .get::<ServicePrincipal>(what, &format!("{path}?$select=id,appId,displayName,appRoles"))
                .await
            {
                Ok(ServicePrincipal { id, app_id, display_name, app_roles }) => {
                    let id_of = |text: &str, key: &str| {
                        text.parse().map_err(|error| GraphError::Malformed {
                            what: what.to_owned(),
                            detail: format!("{key}: {error}"),
                        })
                    };
                    let object_id = id_of(&id, "id")?;
                    let name = display_name.unwrap_or_default();
                    let mut roles = BTreeMap::new();
                    for wire::AppRole { id, value, display_name } in app_roles {
                        let value = value.filter(|value| !value.is_empty());
                        let role = AppRole { value, name: display_name.unwrap_or_default() };
                        roles.insert(id_of(&id, "appRoles.id")?, role);
                    }
                    return Ok(Application { object_id, app_id, name, roles });
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(DirectoryError::ApplicationNotFound(id))
    }

    /// Who is on the application: <https://learn.microsoft.com/graph/api/serviceprincipal-list-approleassignedto>.
    /// One row a principal and role; service principals are passed over.
    async fn assignments(&self, application: &Application) -> Result<Assignments, DirectoryError> {
        let what = "reading the assignments of the application";
        let roles = wanted_roles(application, &self.reach.app_roles)?;
        let path = format!("/servicePrincipals/{}/appRoleAssignedTo?$top={PAGE}", application.object_id);
        let mut found = Assignments::default();
        for Assignment { principal_id, principal_type, principal_display_name, app_role_id } in
            self.client.collect(what, &path).await?
        {
            let malformed = |detail| GraphError::Malformed { what: what.to_owned(), detail };
            let id: EntraId = principal_id.parse().map_err(|error| malformed(format!("principalId: {error}")))?;
            let role = app_role_id.as_deref().map(str::parse::<EntraId>).transpose();
            let role = role.map_err(|error| malformed(format!("appRoleId: {error}")))?;
            if let Some(roles) = &roles {
                // Taking a role that is not told for another one would take its users for gone.
                let role = role.ok_or_else(|| malformed(format!("appRoleId of {id} is missing")))?;
                if !roles.contains(&role) {
                    found.other_roles.insert(id);
                    continue;
                }
            }
            found.roles.entry(id).or_default().extend(role);
            match principal_type.to_ascii_lowercase().as_str() {
                "user" => drop(found.users.insert(id)),
                "group" if self.reach.group_members == GroupMembers::None => {}
                "group" => drop(found.groups.insert(id, principal_display_name.unwrap_or_default())),
                "serviceprincipal" => tracing::debug!(principal.id = %id, "a service principal is no learner"),
                // Passing over a kind of assignment that is not known would take its users for gone.
                _ => return Err(malformed(format!("principalType of {id} is none that is known")).into()),
            }
        }
        let Assignments { users, groups, other_roles, roles: _ } = &mut found;
        other_roles.retain(|id| !users.contains(id) && !groups.contains_key(id));
        if !other_roles.is_empty() {
            tracing::info!(assignments = other_roles.len(), "assigned with other roles than those in scope.app_roles");
        }
        Ok(found)
    }

    /// A group that shows no member at all either has none or hides them. Answers whether it hides them.
    /// <https://learn.microsoft.com/graph/api/resources/group#group-visibility-options>
    async fn hides_members(&self, group: EntraId, name: &str) -> Result<bool, DirectoryError> {
        let what = format!("looking at group {group}");
        let hides = match self.client.get::<wire::Group>(&what, &format!("/groups/{group}?$select=id,visibility")).await
        {
            Ok(found) => found.hides_members(),
            // It counts as empty.
            Err(error) if error.is_not_found() => false,
            Err(source) if source.is_forbidden() => {
                return Err(DirectoryError::GroupForbidden { group, name: name.to_owned(), source: source.into() });
            }
            Err(error) => return Err(error.into()),
        };
        // The token is opaque by contract: one that does not tell is taken for one that may not.
        let hides = hides && !self.client.granted().await?.is_some_and(|granted| granted.contains(SEES_HIDDEN));
        if hides {
            tracing::warn!(
                group.id = %group,
                "the members of the assigned group are hidden; grant {SEES_HIDDEN} to the app registration and give admin \
                 consent, or take the group off the application"
            );
        }
        Ok(hides)
    }

    /// Where the user members of a group are listed, as far as they count.
    fn members_path(&self, group: EntraId, selection: &Selection) -> String {
        let transitive = self.reach.group_members == GroupMembers::Transitive;
        let list = if transitive { "transitiveMembers" } else { "members" };
        format!("/groups/{group}/{list}?$select={}&$top={PAGE}", select(selection))
    }

    /// Hands the user members of a group to `take`, page by page. Answers whether it hides them instead.
    /// <https://learn.microsoft.com/graph/api/group-list-members>
    async fn members(
        &self,
        group: EntraId,
        name: &str,
        selection: &Selection,
        mut take: impl FnMut(Step<'_, wire::Row>),
    ) -> Result<bool, DirectoryError> {
        let what = format!("reading the members of group {group}");
        let path = self.members_path(group, selection);
        let read = |body: &[u8]| wire::user_page(body, selection).map(|page| (page.rows, page.next));
        let (mut missing, mut rows) = (0, 0);
        loop {
            let counted = |step: Step<'_, wire::Row>| {
                match &step {
                    Step::Begin => rows = 0,
                    Step::Page(page, _) => rows += page.len(),
                }
                take(step);
            };
            match self.client.list(&what, &path, read, counted).await {
                Ok(()) if rows == 0 => return self.hides_members(group, name).await,
                Ok(()) => return Ok(false),
                Err(error) if error.is_not_found() && missing == 0 => missing += 1,
                Err(error) if error.is_not_found() => {
                    tracing::warn!(group.id = %group, "the assigned group does not exist; it counts as empty");
                    take(Step::Begin);
                    return Ok(false);
                }
                Err(source) if source.is_forbidden() => {
                    return Err(DirectoryError::GroupForbidden { group, name: name.to_owned(), source: source.into() });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The ids of the app roles that count; none when all do.
fn wanted_roles(application: &Application, named: &[String]) -> Result<Option<BTreeSet<EntraId>>, DirectoryError> {
    if named.is_empty() {
        return Ok(None);
    }
    let role = |named: &String| {
        let id = named.parse().ok();
        let known = application.roles.iter().find(|(known, role)| {
            Some(**known) == id || role.value.as_ref().is_some_and(|value| value.eq_ignore_ascii_case(named))
        });
        // Whoever is assigned to an application without roles has this one, which is in no list.
        let default = id.filter(|id| *id == DEFAULT_ACCESS);
        known.map(|(known, _)| *known).or(default).ok_or_else(|| DirectoryError::NoSuchRole {
            role: named.clone(),
            roles: application
                .roles
                .iter()
                .map(|(id, role)| role.value.clone().unwrap_or_else(|| id.to_string()))
                .collect(),
        })
    };
    named.iter().map(role).collect::<Result<_, _>>().map(Some)
}

/// The `$select` of a selection; `id` always comes first.
fn select(selection: &Selection) -> String {
    let ours = ["id", APP_ROLE_ASSIGNMENTS];
    std::iter::once("id")
        .chain(selection.properties().iter().map(String::as_str).filter(|property| !ours.contains(property)))
        .collect::<Vec<_>>()
        .join(",")
}
