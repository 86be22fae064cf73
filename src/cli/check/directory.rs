//! The checks that ask Entra ID and Graph.

use jiff::Timestamp;

use super::{Check, DATABASE};
use crate::cli::output::counted;
use crate::cycle::{self, CycleError};
use crate::directory::{Application, AssignmentSummary, Directory, DirectoryError, GroupPreview};
use crate::model::{ClockFinding, CycleTime, EntraId, GroupMembers, Source};
use crate::runtime::App;
use crate::store::{Access, Store};

/// The permissions that a cycle needs, each followed by those that include it.
const NEEDED: [&[&str]; 3] = [
    &["Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"],
    &["User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"],
    &[
        "GroupMember.Read.All",
        "GroupMember.ReadWrite.All",
        "Group.Read.All",
        "Group.ReadWrite.All",
        "Directory.Read.All",
        "Directory.ReadWrite.All",
    ],
];

impl Check {
    /// `permission` is the one that this step needs.
    fn failed_request(name: &'static str, error: &DirectoryError, permission: &str) -> Self {
        let hint = match error {
            DirectoryError::Graph(error) if error.is_forbidden() => Some(grant_hint(permission)),
            _ => error.hint().map(str::to_owned),
        };
        Self::failed(name, error, hint)
    }
}

/// Checks the network, the sign-in, the permissions and the assignments, as far as each step allows the next.
pub(super) async fn check_directory(app: &App, checks: &mut Vec<Check>) {
    let App { config, directory, rules, learners: _, notifier: _, clock } = app;
    let connected = directory.connect().await;
    let begun = clock();
    // The date of an answer without a token may be that of a proxy, but explains a refused sign-in.
    let (network, finding) = match connected {
        Ok(date) => (
            Check::passed("network", format!("{} answers", config.entra.graph)),
            date.map(|date| ClockFinding::compare(begun, date)),
        ),
        Err(error) => (Check::failed_request("network", &error.into(), ""), None),
    };
    checks.push(network);
    if let Err(error) = directory.sign_in().await {
        checks.push(Check::failed_request("sign-in", &error.into(), ""));
        checks.extend(finding.and_then(clock_check));
        // The dates are a likely cause, whatever Entra says.
        checks.extend(directory.certificate_problem(clock()).map(certificate_check));
        return;
    }
    let begun = clock();
    directory.start_clock();
    let who = config.entra.client_id.as_ref().map_or_else(
        || "the managed identity of this machine".to_owned(),
        |client_id| format!("application {client_id} in tenant {}", rules.tenant),
    );
    checks.push(Check::passed("sign-in", who));
    checks.extend(credential_check(directory, clock()).await);
    checks.extend(permissions_check(directory).await);
    let application = match directory.application(rules.application).await {
        Ok(application) => application,
        Err(error) => return checks.push(unknown_application_check(directory, error).await),
    };
    let Application { object_id, app_id: _, name, roles: _ } = &application;
    checks.push(Check::passed("application", format!("{name:?}, object id {object_id}")));
    // As a cycle compares them.
    checks.extend(CycleTime::new(begun, directory.time_at_start(), None).finding().and_then(clock_check));
    if checks.iter().any(|check| check.name == DATABASE && check.ok) {
        checks.extend(source_check(app, *object_id).await);
    }

    let assigned = match directory.assignment_summary(&application).await {
        Ok(assigned) => assigned,
        Err(error) => return checks.push(Check::failed_request("assignments", &error, "Application.Read.All")),
    };
    let (users, groups) = (assigned.users, assigned.groups.len());
    checks.push(if users + groups == 0 {
        let hint = "assign users or groups under Enterprise applications > Users and groups";
        Check::refused("assignments", "no users or groups are assigned to the application", hint)
    } else if assigned.unclear > 0 {
        let detail = format!("{} without a clear user or group", counted(assigned.unclear, "assignment"));
        let hint =
            "nobody leaves as unassigned until then: remove these assignments, which the log names, and add them again";
        Check::refused("assignments", detail, hint)
    } else {
        let detail =
            format!("{} and {} assigned (Application.Read.All)", counted(users, "user"), counted(groups, "group"));
        Check::passed("assignments", detail)
    });
    checks.push(match directory.readable_user(&rules.selection).await {
        Ok(None) => Check::passed("users", "every mapped attribute can be read (User.Read.All)"),
        Ok(Some(hidden)) => Check::refused("users", hidden, grant_hint("User.Read.All")),
        Err(error) => Check::failed_request("users", &error, "User.Read.All"),
    });
    checks.push(groups_check(directory, &assigned, config.scope.group_members).await);
    checks.extend(restrictions_check(app).await);
}

/// Warns when the clocks do not agree.
fn clock_check(finding: ClockFinding) -> Option<Check> {
    let hint = finding.advice()?.to_owned();
    Some(Check { hint: Some(hint), ..Check::passed("clock", finding.description()) })
}

/// A warning: the clock of this machine may be wrong, and Entra decides.
fn certificate_check(problem: String) -> Check {
    let hint = "upload a new certificate under Certificates & secrets of the app registration, and replace the files of \
                entra.credential; or correct the clock of this machine";
    Check { hint: Some(hint.to_owned()), ..Check::passed("credential", format!("the certificate {problem}")) }
}

/// `None` when the expiry of the credential is unknown.
async fn credential_check(directory: &Directory, now: Timestamp) -> Option<Check> {
    if let Some(problem) = directory.certificate_problem(now) {
        return Some(certificate_check(problem));
    }
    let end = match directory.credential_end(now).await {
        Ok(end) => end?,
        Err(error) => return Some(Check::failed_request("credential", &error, "Application.Read.All")),
    };
    let validity = if end <= now { "expired on" } else { "valid until" };
    let check = Check::passed("credential", format!("{validity} {end:.0}"));
    Some(Check { hint: cycle::ends_soon(end, now), ..check })
}

/// The permissions in the token; `None` when the token does not list them.
async fn permissions_check(directory: &Directory) -> Option<Check> {
    let granted = directory.granted_permissions().await.ok()??;
    let has = |any: &[&str]| any.iter().any(|permission| granted.contains(*permission));
    let missing: Vec<&str> = NEEDED.iter().filter(|any| !has(any)).map(|any| any[0]).collect();
    Some(if missing.is_empty() {
        Check::passed("permissions", granted.into_iter().collect::<Vec<_>>().join(", "))
    } else {
        let missing = missing.join(", ");
        let hint =
            format!("{}; restart a running daemon, whose token lacks it for up to an hour", grant_hint(&missing));
        Check::refused("permissions", format!("the token lacks {missing}"), hint)
    })
}

/// A common mistake is the object id of the app registration.
async fn unknown_application_check(directory: &Directory, error: DirectoryError) -> Check {
    let check = Check::failed_request("application", &error, "Application.Read.All");
    let DirectoryError::ApplicationNotFound(id) = error else { return check };
    let Ok(Some(client_id)) = directory.find_registration(id).await else { return check };
    let hint = format!(
        "{id} is the object id of an app registration; use the one under Enterprise applications > Properties, or the \
         application (client) id {client_id}"
    );
    Check { hint: Some(hint), ..check }
}

/// Looks up the users and groups of `scope.only` and `scope.ignore`; `None` when both are empty.
async fn restrictions_check(app: &App) -> Option<Check> {
    let scope = &app.config.scope;
    if scope.only.is_empty() && scope.ignore.is_empty() {
        return None;
    }
    let (mut groups, mut users, mut unknown) = (0, 0, Vec::new());
    for text in scope.only.iter().chain(&scope.ignore) {
        let directory = &app.directory;
        let found = async {
            if let Ok(id) = text.parse()
                && directory.named_group_size(id).await?.is_some()
            {
                groups += 1;
            } else if directory.find_user(text).await?.is_some() {
                users += 1;
            } else {
                unknown.push(text.as_str());
            }
            Ok::<_, DirectoryError>(())
        };
        if let Err(error) = found.await {
            return Some(Check::failed_request("scope", &error, "GroupMember.Read.All"));
        }
    }
    let what = if scope.only.is_empty() { "scope.ignore names" } else { "scope.only limits every cycle to" };
    let detail = format!("{what} {} and {}", counted(groups, "group"), counted(users, "user"));
    let hint = (!unknown.is_empty()).then(|| format!("the tenant does not contain: {}", unknown.join(", ")));
    Some(Check { hint, ..Check::passed("scope", detail) })
}

/// Reads the first members of every assigned group, and names the groups that contribute no users.
async fn groups_check(directory: &Directory, assigned: &AssignmentSummary, members: GroupMembers) -> Check {
    let (mut missing, mut hidden, mut empty, mut nested) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (group, name) in &assigned.groups {
        let named = format!("{name:?}");
        match directory.preview_group(*group, name).await {
            Ok(GroupPreview { missing: true, .. }) => missing.push(named),
            Ok(GroupPreview { hidden: true, users: 0, others: 0, .. }) => hidden.push(named),
            Ok(GroupPreview { users: 0, others: 0, more: false, .. }) => empty.push(named),
            Ok(GroupPreview { others, .. }) if others > 0 => nested.push(named),
            Ok(_) => {}
            Err(error) => return Check::failed_request("groups", &error, "GroupMember.Read.All"),
        }
    }
    if members == GroupMembers::None {
        return Check::passed("groups", "groups are ignored: scope.group_members = \"none\"");
    }
    if assigned.groups.is_empty() {
        return Check::passed("groups", "no group is assigned; GroupMember.Read.All was not tested");
    }
    let counting = if members == GroupMembers::Transitive { "whose users count" } else { "which do not count" };
    let with_nested = format!("with members other than users, such as nested groups, {counting}");
    let readable = assigned.groups.len() - hidden.len();
    let mut detail = format!("the members of {} can be read (GroupMember.Read.All)", counted(readable, "group"));
    for (what, groups) in [
        ("deleted", &missing),
        ("with hidden membership", &hidden),
        ("without members", &empty),
        (&with_nested, &nested),
    ] {
        if !groups.is_empty() {
            detail.push_str(&format!("; {what}: {}", groups.join(", ")));
        }
    }
    let hint = (!hidden.is_empty()).then(|| grant_hint("Member.Read.Hidden"));
    Check { ok: hidden.is_empty(), hint, ..Check::passed("groups", detail) }
}

/// `None` unless another application uses the learner database.
async fn source_check(app: &App, application: EntraId) -> Option<Check> {
    let here = Source { tenant: app.rules.tenant.clone(), application }.to_string();
    // The database may not exist yet.
    let store = Store::open(&app.learners, Access::ReadOnly).await.ok()?;
    let others = store.other_sources(&here).await.ok().filter(|others| !others.is_empty())?;
    let error = CycleError::ForeignSource { here, others };
    Some(Check::failed("source", &error, error.hint()))
}

fn grant_hint(permission: &str) -> String {
    format!("grant the application permission {permission} to the app registration and give admin consent")
}
