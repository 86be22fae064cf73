//! `learner-sync check`: tests the connection step by step, with the likely cause and the fix for what fails.

use serde_json::json;

use super::Context;
use super::output::{CONFIGURATION, DONE, FAILED, Failure, print, print_json};
use crate::assembly::{Assembly, database_path};
use crate::cycle::{CycleError, chain};
use crate::directory::{Application, DirectoryError, GraphError};
use crate::model::{Clock, EntraId, Source};
use crate::premises;
use crate::store::{Access, Store, StoreError};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

const DATABASE: &str = "database";

/// One line of the answer.
#[derive(Debug)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
    hint: Option<String>,
}

impl Check {
    fn passed(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: true, detail: detail.into(), hint: None }
    }

    fn failed(name: &'static str, error: &dyn std::error::Error, hint: Option<String>) -> Self {
        Self { name, ok: false, detail: chain(error), hint }
    }

    /// `permission` is the one that this step needs; a cycle, which needs all three, can only name them all.
    fn directory(name: &'static str, error: &DirectoryError, permission: &str) -> Self {
        let hint = match error {
            DirectoryError::Graph(GraphError::Answered { status: 403, .. }) => Some(grant(permission)),
            _ => error.hint(),
        };
        Self::failed(name, error, hint)
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn grant(permission: &str) -> String {
    format!("grant the application permission {permission} to the app registration and give admin consent")
}

pub(super) async fn run(context: Context, arguments: Arguments, clock: Clock) -> Result<u8, Failure> {
    let Arguments { json } = arguments;
    let mut checks = Vec::new();
    checks.push(database(&context).await);
    checks.extend(state(&context));
    match Assembly::new(context.config, &context.environment, clock) {
        Ok(assembly) => {
            checks.insert(0, Check::passed("configuration", assembly.config.path.display().to_string()));
            directory(&assembly, &mut checks).await;
        }
        Err(error) => checks.insert(0, Check::failed("configuration", &error, None)),
    }
    let ok = checks.iter().all(|check| check.ok);
    if json {
        let checks: Vec<_> = checks
            .iter()
            .map(|Check { name, ok, detail, hint }| json!({ "name": name, "ok": ok, "detail": detail, "hint": hint }))
            .collect();
        print_json(&json!({ "ok": ok, "checks": checks }))?;
    } else {
        for Check { name, ok, detail, hint } in &checks {
            print(&format!("{} {name:<20} {detail}", if *ok { "ok  " } else { "FAIL" }))?;
            if let Some(hint) = hint {
                print(&format!("     {:<20} {hint}", ""))?;
            }
        }
    }
    let configured = checks.first().is_some_and(|check| check.ok);
    Ok(match (ok, configured) {
        (true, _) => DONE,
        (false, true) => FAILED,
        (false, false) => CONFIGURATION,
    })
}

async fn directory(assembly: &Assembly, checks: &mut Vec<Check>) {
    let Assembly { config, directory, rules, clock: _ } = assembly;
    if let Err(error) = directory.sign_in().await {
        checks.push(Check::directory("sign-in", &error.into(), ""));
        return;
    }
    let who = config.entra.client_id.as_ref().map_or_else(
        || "the managed identity of this machine".to_owned(),
        |client_id| format!("application {client_id} in tenant {}", rules.tenant),
    );
    checks.push(Check::passed("sign-in", who));
    let application = match directory.application(rules.application).await {
        Ok(application) => application,
        Err(error) => return checks.push(Check::directory("application", &error, "Application.Read.All")),
    };
    let Application { object_id, app_id: _, name } = &application;
    checks.push(Check::passed("application", format!("{name:?}, object id {object_id}")));
    if checks.iter().any(|check| check.name == DATABASE && check.ok) {
        checks.extend(source(assembly, *object_id).await);
    }

    let assigned = match directory.assigned(&application).await {
        Ok(assigned) => assigned,
        Err(error) => return checks.push(Check::directory("assignments", &error, "Application.Read.All")),
    };
    let (users, groups) = (assigned.users, assigned.groups.len());
    checks.push(if users + groups == 0 {
        Check {
            ok: false,
            hint: Some("assign users or groups under Enterprise applications > Users and groups".to_owned()),
            ..Check::passed("assignments", "nobody is assigned to the application")
        }
    } else {
        let detail = format!("{} and {} assigned (Application.Read.All)", count(users, "user"), count(groups, "group"));
        Check::passed("assignments", detail)
    });
    checks.push(match directory.readable_user(&rules.selection).await {
        Ok(None) => Check::passed("users", "every mapped attribute can be read (User.Read.All)"),
        Ok(Some(hidden)) => Check { ok: false, hint: Some(grant("User.Read.All")), ..Check::passed("users", hidden) },
        Err(error) => Check::directory("users", &error, "User.Read.All"),
    });
    let mut readable = Check::passed("groups", "no group is assigned; GroupMember.Read.All was not tried");
    for (group, name) in &assigned.groups {
        match directory.readable_group(*group, name).await {
            Ok(()) => {
                readable.detail =
                    format!("the members of {} can be read (GroupMember.Read.All)", count(groups, "group"));
            }
            Err(error) => {
                readable = Check::directory("groups", &error, "GroupMember.Read.All");
                break;
            }
        }
    }
    checks.push(readable);
}

/// Whether the learner database is another application's: a line only when a cycle would refuse it.
async fn source(assembly: &Assembly, application: EntraId) -> Option<Check> {
    let here = Source { tenant: assembly.rules.tenant.clone(), application }.to_string();
    // It may not be there yet.
    let store = Store::open(database_path(&assembly.config), Access::ReadOnly).await.ok()?;
    let others = store.other_sources(&here).await.ok().filter(|others| !others.is_empty())?;
    let error = CycleError::ForeignSource { here, others };
    Some(Check::failed("source", &error, error.hint()))
}

/// Looks at what is there, and opens it; says whether what is not there yet can be made. Nothing is made: root may
/// try the connection first, and what root made the service user could not write to.
async fn database(context: &Context) -> Check {
    let path = database_path(&context.config);
    let shown = path.display();
    if let Err(error) = super::owner::check(&context.config) {
        return Check { ok: false, ..Check::passed(DATABASE, error.message()) };
    }
    if let Err(error) = premises::inspect_database(&context.config).await {
        return Check::failed(DATABASE, &error, error.hint());
    }
    let opened = async { Store::open(path, Access::ReadOnly).await?.state().await };
    match opened.await {
        Ok(state) => match premises::inspect_claims(&context.config, &state) {
            Ok(()) => Check::passed(DATABASE, shown.to_string()),
            Err(error) => Check::failed(DATABASE, &error, error.hint()),
        },
        Err(StoreError::Missing { .. }) => {
            Check::passed(DATABASE, format!("{shown} does not exist yet; the first cycle makes it"))
        }
        Err(StoreError::Older { .. }) => {
            Check::passed(DATABASE, format!("{shown}; the first cycle makes or completes its tables"))
        }
        Err(error) => Check::failed(DATABASE, &error, error.hint()),
    }
}

/// A line only when something is wrong.
fn state(context: &Context) -> Option<Check> {
    let error = premises::inspect_state(&context.config).err()?;
    Some(Check::failed("state", &error, error.hint()))
}
