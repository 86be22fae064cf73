//! The only code that knows Graph. [`Directory::read`] returns a complete [`Snapshot`] or an error;
//! [`Directory::confirm`] checks the users who seem to have left.
//!
//! Delta queries are not used: field reports show missing changes, and a full read costs about one resource unit for
//! 100 to 999 users. Member lists are read without cast, count or ConsistencyLevel, because such queries use an index
//! that lags behind.

mod account;
mod batch;
mod by_id;
mod client;
mod confirm;
mod dates;
mod error;
mod list;
mod members;
mod principals;
mod probe;
mod read;
mod roles;
mod routes;
mod throttle;
mod traffic;
mod user;
mod wire;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use reqwest::Url;

pub use self::account::{AccountRead, Assess, AssessAccount, assess_each};
use self::client::GraphClient;
pub use self::confirm::Confirmation;
use self::error::malformed;
pub use self::error::{DirectoryError, GraphError};
pub use self::probe::{AssignmentSummary, GroupPreview};
pub use self::traffic::{GraphTraffic, TrafficCounts};
use self::wire::ServicePrincipal;
use crate::auth::{Authenticator, Http, NetworkError};
use crate::model::{
    APP_ROLE_ASSIGNMENTS, ByUser, Clock, ClockFault, EntraId, GraphTime, GroupMembers, Routes, Selection, UnclearRows,
    foreign_text,
};
use crate::progress::Progress;

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
    users: ByUser<u32>,
    /// Members of unknown type whose id `/users` does not find.
    untyped_missing: ByUser<u32>,
    routes: Vec<Routes>,
    groups: BTreeMap<EntraId, u64>,
    hidden: BTreeSet<EntraId>,
    gone: BTreeSet<EntraId>,
    unclear: UnclearRows,
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
        self.routes_at(*self.users.get(&user)?)
    }

    /// Members of unknown type whose id is not found among the users, with their routes. Only those that are learners are
    /// known to be users.
    pub fn untyped_missing(&self) -> impl Iterator<Item = (EntraId, &Routes)> {
        self.untyped_missing.iter().filter_map(|(id, index)| Some((*id, self.routes_at(*index)?)))
    }

    fn routes_at(&self, index: u32) -> Option<&Routes> {
        self.routes.get(index as usize)
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

    /// Assigned groups that do not exist any more.
    pub fn gone(&self) -> &BTreeSet<EntraId> {
        &self.gone
    }

    /// The rows that may hide assigned users.
    pub fn unclear(&self) -> &UnclearRows {
        &self.unclear
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

    /// Forgets the dates of earlier answers, at the start of a cycle.
    pub fn start_clock(&self) {
        self.client.dates.start_over();
    }

    /// Graph's time at the last [`Self::start_clock`], as its answers say since then; `None` before the first one.
    pub fn time_at_start(&self) -> Option<Result<GraphTime, ClockFault>> {
        self.client.dates.at_start()
    }

    /// How far the cycle is that uses this client.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.client.progress
    }

    /// The number of requests sent to Graph so far.
    pub fn requests(&self) -> u64 {
        self.client.requests.load(Ordering::Relaxed)
    }

    /// The counters of the requests.
    pub fn traffic(&self) -> &Arc<GraphTraffic> {
        &self.client.traffic
    }

    /// Continues the counters of another client.
    pub fn continue_counting(&mut self, traffic: Arc<GraphTraffic>) {
        self.client.traffic = traffic;
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
        for (path, is_object_id) in
            [(format!("/servicePrincipals/{id}"), true), (format!("/servicePrincipals(appId='{id}')"), false)]
        {
            let path = format!("{path}?$select=id,appId,displayName,appRoles");
            match self.client.get::<ServicePrincipal>(what, &path).await {
                Ok(principal) => {
                    let ServicePrincipal { id: object_id, app_id, display_name, app_roles } = principal;
                    let object_id = object_id.parse().map_err(|error| malformed(what, format!("id: {error}")))?;
                    let found = if is_object_id { Some(object_id) } else { app_id.parse().ok() };
                    if found != Some(id) {
                        return Err(malformed(what, "the answer is about another application").into());
                    }
                    let name = foreign_text(&display_name.unwrap_or_default());
                    let mut roles = BTreeMap::new();
                    for wire::AppRoleRow { id, value, display_name } in app_roles {
                        let value = value.filter(|value| !value.is_empty());
                        let role = AppRole { value, name: display_name.unwrap_or_default() };
                        let id = id.parse().map_err(|error| malformed(what, format!("appRoles.id: {error}")))?;
                        roles.insert(id, role);
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
        let what = "reading the former enterprise application";
        match self.client.get::<wire::Identified>(what, &path).await {
            Ok(found) if found.id.parse() == Ok(object_id) => Ok(true),
            Ok(_) => Err(malformed(what, "the answer is about another application").into()),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The `$select` of a selection, starting with `id`.
fn select(selection: &Selection) -> String {
    let excluded = ["id", APP_ROLE_ASSIGNMENTS];
    std::iter::once("id")
        .chain(selection.properties().iter().map(String::as_str).filter(|property| !excluded.contains(property)))
        .collect::<Vec<_>>()
        .join(",")
}
