//! The only code that knows Graph. [`Directory::read`] returns a complete [`Snapshot`] or an error;
//! [`Directory::confirm`] checks the users who seem to have left.
//!
//! Delta queries are not used: field reports show missing changes, and a full read costs about one resource unit for
//! 100 to 999 users. Member lists are read without cast, count or ConsistencyLevel, because such queries use an index
//! that lags behind.

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
use std::sync::atomic::Ordering;

use reqwest::Url;
use serde::de::IgnoredAny;

use self::client::{GraphClient, ListEvent};
pub use self::confirm::Confirmation;
pub use self::error::{DirectoryError, GraphError};
use self::error::{invalid_json, malformed};
pub use self::probe::{AssignmentSummary, GroupPreview};
pub use self::read::AccountRead;
use self::wire::{AssignmentRow, ServicePrincipal};
use crate::auth::{Authenticator, Http, NetworkError};
use crate::model::{APP_ROLE_ASSIGNMENTS, Clock, EntraId, GroupMembers, Routes, Selection, foreign_text};

/// Without this permission, groups with hidden membership look empty.
const HIDDEN_MEMBERS_PERMISSION: &str = "Member.Read.Hidden";
/// The app role of an assignment without a role: <https://learn.microsoft.com/graph/api/resources/approleassignment>.
const DEFAULT_ACCESS: EntraId = EntraId::from_bytes([0; 16]);
/// The largest page size that Graph allows.
const PAGE_SIZE: usize = 999;

/// The enterprise application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Object id of the service principal.
    pub object_id: EntraId,
    /// Application (client) id.
    pub app_id: String,
    /// Display name.
    pub name: String,
    /// App roles by id.
    pub roles: BTreeMap<EntraId, AppRole>,
}

/// An app role of the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppRole {
    /// The value in tokens, which is optional.
    pub value: Option<String>,
    /// The display name.
    pub name: String,
}

/// Which assignments count.
#[derive(Clone, Debug)]
pub struct AssignmentFilter {
    /// Which members of an assigned group count.
    pub group_members: GroupMembers,
    /// The app roles that count, by id or value; when empty, all of them.
    pub app_roles: Vec<String>,
}

/// All users assigned to the application. Only [`Directory::read`] can create a snapshot, and only of a complete read.
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
    /// The enterprise application.
    pub fn application(&self) -> &Application {
        &self.application
    }

    /// The assignment routes of `user`; `None` for a user who is not assigned.
    pub fn routes(&self, user: EntraId) -> Option<&Routes> {
        self.users.get(&user).and_then(|index| self.routes.get(*index as usize))
    }

    /// The number of assigned users.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// The number of user members of each assigned group.
    pub fn groups(&self) -> &BTreeMap<EntraId, u64> {
        &self.groups
    }

    /// Display names of the assigned groups.
    pub fn names(&self) -> &BTreeMap<EntraId, String> {
        &self.names
    }

    /// Assigned groups whose members are hidden.
    pub fn hidden(&self) -> &BTreeSet<EntraId> {
        &self.hidden
    }

    /// The members of a group given to [`Directory::read`], assigned or not; `None` when `group` is not a group.
    pub fn named_group_members(&self, group: EntraId) -> Option<&BTreeSet<EntraId>> {
        self.named.get(&group)
    }

    /// The number of members of each group given to [`Directory::read`].
    pub fn named_groups(&self) -> BTreeMap<EntraId, u64> {
        self.named.iter().map(|(group, members)| (*group, members.len() as u64)).collect()
    }

    /// Users and groups that are assigned only with app roles that do not count.
    pub fn other_roles(&self) -> &BTreeSet<EntraId> {
        &self.other_roles
    }

    /// Whether the application has no assignment at all.
    pub fn nobody_assigned(&self) -> bool {
        self.assigned == 0
    }
}

/// A client for one enterprise application.
#[derive(Debug)]
pub struct Directory {
    client: GraphClient,
    filter: AssignmentFilter,
}

/// The users and groups assigned to the application.
#[derive(Debug, Default)]
struct Assignments {
    users: BTreeSet<EntraId>,
    /// Display names by group.
    groups: BTreeMap<EntraId, String>,
    /// Users and groups that are assigned only with app roles that do not count.
    other_roles: BTreeSet<EntraId>,
    /// The counted roles of each user and group.
    roles: BTreeMap<EntraId, BTreeSet<EntraId>>,
}

impl Directory {
    /// A client for the Graph origin `root` with at most `at_once` concurrent requests.
    ///
    /// # Errors
    /// `root` is not a URL.
    pub fn new(
        http: Http,
        authenticator: Authenticator,
        root: &str,
        filter: AssignmentFilter,
        at_once: usize,
        clock: Clock,
    ) -> Result<Self, NetworkError> {
        let root = Url::parse(root).map_err(|source| NetworkError::new("entra.graph_url", source))?;
        Ok(Self { client: GraphClient::new(http, authenticator, root, at_once, clock), filter })
    }

    /// The number of requests sent to Graph so far.
    pub fn requests(&self) -> u64 {
        self.client.requests.load(Ordering::Relaxed)
    }

    /// Signs in without calling Graph.
    ///
    /// # Errors
    /// Entra refuses the sign-in or is unreachable.
    pub async fn sign_in(&self) -> Result<(), GraphError> {
        self.client.authenticator.token().await?;
        Ok(())
    }

    /// The enterprise application with this object id, or else with this application id.
    /// <https://learn.microsoft.com/graph/api/serviceprincipal-get>
    ///
    /// # Errors
    /// There is no such application, or a request fails.
    pub async fn application(&self, id: EntraId) -> Result<Application, DirectoryError> {
        let what = "reading the enterprise application";
        for path in [format!("/servicePrincipals/{id}"), format!("/servicePrincipals(appId='{id}')")] {
            let path = format!("{path}?$select=id,appId,displayName,appRoles");
            match self.client.get::<ServicePrincipal>(what, &path).await {
                Ok(ServicePrincipal { id, app_id, display_name, app_roles }) => {
                    let id_of = |text: &str, key: &str| {
                        text.parse().map_err(|error| malformed(what, format!("{key}: {error}")))
                    };
                    let object_id = id_of(&id, "id")?;
                    let name = foreign_text(&display_name.unwrap_or_default());
                    let mut roles = BTreeMap::new();
                    for wire::AppRoleRow { id, value, display_name } in app_roles {
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

    /// Whether Entra has an enterprise application with this object id. A deleted one, which can be restored, does not count.
    ///
    /// # Errors
    /// A request fails: no answer proves nothing.
    pub async fn has_application(&self, object_id: EntraId) -> Result<bool, DirectoryError> {
        let path = format!("/servicePrincipals/{object_id}?$select=id");
        match self.client.get::<IgnoredAny>("reading the former enterprise application", &path).await {
            Ok(IgnoredAny) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads all assignments, one row for each principal and role. Service principals are ignored.
    /// <https://learn.microsoft.com/graph/api/serviceprincipal-list-approleassignedto>
    async fn assignments(&self, application: &Application) -> Result<Assignments, DirectoryError> {
        let what = "reading the assignments of the application";
        let roles = wanted_roles(application, &self.filter.app_roles)?;
        let path = format!("/servicePrincipals/{}/appRoleAssignedTo?$top={PAGE_SIZE}", application.object_id);
        let mut found = Assignments::default();
        for AssignmentRow { principal_id, principal_type, principal_display_name, app_role_id } in
            self.client.collect(what, &path).await?
        {
            let malformed = |detail: String| malformed(what, detail);
            let id: EntraId = principal_id.parse().map_err(|error| malformed(format!("principalId: {error}")))?;
            let role = app_role_id.as_deref().map(str::parse::<EntraId>).transpose();
            let role = role.map_err(|error| malformed(format!("appRoleId: {error}")))?;
            if let Some(roles) = &roles {
                // A missing role must not count as another role: its users would look unassigned.
                let role = role.ok_or_else(|| malformed(format!("appRoleId of {id} is missing")))?;
                if !roles.contains(&role) {
                    found.other_roles.insert(id);
                    continue;
                }
            }
            found.roles.entry(id).or_default().extend(role);
            match principal_type.to_ascii_lowercase().as_str() {
                "user" => drop(found.users.insert(id)),
                "group" if self.filter.group_members == GroupMembers::None => {}
                "group" => {
                    found.groups.insert(id, foreign_text(&principal_display_name.unwrap_or_default()));
                }
                "serviceprincipal" => tracing::debug!(principal.id = %id, "ignoring an assigned service principal"),
                // Users behind an ignored assignment would look unassigned.
                _ => return Err(malformed(format!("unknown principalType of {id}")).into()),
            }
        }
        let Assignments { users, groups, other_roles, roles: _ } = &mut found;
        other_roles.retain(|id| !users.contains(id) && !groups.contains_key(id));
        if !other_roles.is_empty() {
            tracing::info!(assignments = other_roles.len(), "ignoring assignments with roles outside scope.app_roles");
        }
        Ok(found)
    }

    /// Whether a group that lists no members hides them from this application.
    /// <https://learn.microsoft.com/graph/api/resources/group#group-visibility-options>
    async fn hides_members(&self, group: EntraId, name: &str) -> Result<bool, DirectoryError> {
        let what = format!("reading group {group}");
        let path = format!("/groups/{group}?$select=id,visibility");
        let hides = match self.client.get::<wire::GroupRow>(&what, &path).await {
            Ok(found) => found.hides_members(),
            Err(error) if error.is_not_found() => false,
            Err(error) => return Err(DirectoryError::of_group(group, name, error)),
        };
        // An unreadable token counts as one without the permission.
        let permissions = if hides { self.granted_permissions().await? } else { None };
        let hides = hides && !permissions.is_some_and(|permissions| permissions.contains(HIDDEN_MEMBERS_PERMISSION));
        if hides {
            tracing::warn!(
                group.id = %group,
                "the members of the assigned group are hidden; grant {HIDDEN_MEMBERS_PERMISSION} to the app registration \
                 and give admin consent, or remove the group from the application"
            );
        }
        Ok(hides)
    }

    /// The path that lists the counted members of a group.
    fn members_path(&self, group: EntraId, selection: &Selection) -> String {
        let transitive = self.filter.group_members == GroupMembers::Transitive;
        let list = if transitive { "transitiveMembers" } else { "members" };
        format!("/groups/{group}/{list}?$select={}&$top={PAGE_SIZE}", select(selection))
    }

    /// Reads the members of an assigned group page by page. Returns whether the group hides them.
    /// <https://learn.microsoft.com/graph/api/group-list-members>
    async fn members(
        &self,
        group: EntraId,
        name: &str,
        selection: &Selection,
        mut on_event: impl FnMut(ListEvent<'_, wire::UserRow>),
    ) -> Result<bool, DirectoryError> {
        let what = format!("reading the members of group {group}");
        let path = self.members_path(group, selection);
        let read = |body: &[u8]| wire::user_page(body, selection);
        let (mut missing, mut rows) = (0, 0);
        loop {
            let counted = |event: ListEvent<'_, wire::UserRow>| {
                match &event {
                    ListEvent::Start => rows = 0,
                    ListEvent::Page(page, _) => rows += page.len(),
                }
                on_event(event);
            };
            match self.client.list(&what, &path, read, counted).await {
                Ok(()) if rows == 0 => return self.hides_members(group, name).await,
                Ok(()) => return Ok(false),
                Err(error) if error.is_not_found() && missing == 0 => missing += 1,
                Err(error) if error.is_not_found() => {
                    tracing::warn!(group.id = %group, "the assigned group does not exist; it counts as empty");
                    on_event(ListEvent::Start);
                    return Ok(false);
                }
                Err(error) => return Err(DirectoryError::of_group(group, name, error)),
            }
        }
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

/// The `$select` of a selection, starting with `id`.
fn select(selection: &Selection) -> String {
    let excluded = ["id", APP_ROLE_ASSIGNMENTS];
    std::iter::once("id")
        .chain(selection.properties().iter().map(String::as_str).filter(|property| !excluded.contains(property)))
        .collect::<Vec<_>>()
        .join(",")
}
