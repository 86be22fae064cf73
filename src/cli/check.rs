//! `learner-sync check`: tests the connection step by step, with the likely cause and the fix for what fails.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::Context;
use super::output::{CONFIGURATION, DONE, FAILED, Failure, print, print_json};
use crate::cycle::{self, CycleError};
use crate::directory::{Application, Assigned, Directory, DirectoryError, GroupShape};
use crate::model::{Clock, EntraId, GroupMembers, Source, chain};
use crate::runtime::{App, configured_source, preflight};
use crate::store::{Access, Store, StoreError, TableFault};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

const DATABASE: &str = "database";
/// Entra and Kerberos alike take five minutes for the same time.
const MOST_SECONDS_OFF: i64 = 300;
/// What a cycle needs: the least permission first, then those that include it.
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
            DirectoryError::Graph(error) if error.is_forbidden() => Some(grant(permission)),
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
    match App::new(context.config, &context.environment, clock) {
        Ok(app) => {
            checks.insert(0, Check::passed("configuration", app.config.path.display().to_string()));
            directory(&app, &mut checks).await;
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
            let mark = match (ok, hint) {
                (true, None) => "ok  ",
                (true, Some(_)) => "warn",
                (false, _) => "FAIL",
            };
            print(&format!("{mark} {name:<20} {detail}"))?;
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

async fn directory(app: &App, checks: &mut Vec<Check>) {
    let App { config, directory, rules, learners: _, clock } = app;
    checks.push(match directory.clock_ahead(*clock).await {
        Ok(ahead) => reached(&config.entra.graph, ahead),
        Err(error) => Check::directory("network", &error.into(), ""),
    });
    if let Err(error) = directory.sign_in().await {
        checks.push(Check::directory("sign-in", &error.into(), ""));
        return;
    }
    let who = config.entra.client_id.as_ref().map_or_else(
        || "the managed identity of this machine".to_owned(),
        |client_id| format!("application {client_id} in tenant {}", rules.tenant),
    );
    checks.push(Check::passed("sign-in", who));
    checks.extend(credential(directory, clock()).await);
    checks.extend(permissions(directory).await);
    let application = match directory.application(rules.application).await {
        Ok(application) => application,
        Err(error) => return checks.push(no_application(directory, error).await),
    };
    let Application { object_id, app_id: _, name, roles: _ } = &application;
    checks.push(Check::passed("application", format!("{name:?}, object id {object_id}")));
    if checks.iter().any(|check| check.name == DATABASE && check.ok) {
        checks.extend(source(app, *object_id).await);
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
    checks.push(look_at_groups(directory, &assigned, config.scope.group_members).await);
    checks.extend(look_at_bounds(app).await);
}

/// Graph answered: whether the clocks agree well enough for sign-in and schedule.
fn reached(graph: &str, ahead: Option<SignedDuration>) -> Check {
    let Some(ahead) = ahead else { return Check::passed("network", format!("{graph} answers")) };
    let seconds = ahead.as_secs();
    let off = match seconds {
        0 => format!("{graph} answers; the clocks agree"),
        ahead @ 1.. => format!("{graph} answers; the clock of this machine is {ahead} s ahead"),
        behind => format!("{graph} answers; the clock of this machine is {} s behind", behind.unsigned_abs()),
    };
    if seconds.abs() <= MOST_SECONDS_OFF {
        return Check::passed("network", off);
    }
    let hint = "set the clock of this machine (timedatectl set-ntp true): Entra refuses sign-ins that are more than five \
                minutes off";
    Check { ok: false, hint: Some(hint.to_owned()), ..Check::passed("network", off) }
}

/// A line only when it is known when the credential ends.
async fn credential(directory: &Directory, now: Timestamp) -> Option<Check> {
    let end = match directory.credential_end(now).await {
        Ok(end) => end?,
        Err(error) => return Some(Check::directory("credential", &error, "Application.Read.All")),
    };
    let check = Check::passed("credential", format!("good until {end:.0}"));
    Some(match cycle::ends_soon(end, now) {
        None => check,
        Some(hint) => Check { ok: end > now, hint: Some(hint), ..check },
    })
}

/// What the token says it permits. A line only when it says so.
async fn permissions(directory: &Directory) -> Option<Check> {
    let granted = directory.granted().await.ok()??;
    let has = |any: &[&str]| any.iter().any(|permission| granted.contains(*permission));
    let missing: Vec<&str> = NEEDED.iter().filter(|any| !has(any)).map(|any| any[0]).collect();
    let list = |names: &mut dyn Iterator<Item = &str>| names.collect::<Vec<_>>().join(", ");
    Some(if missing.is_empty() {
        Check::passed("permissions", list(&mut granted.iter().map(String::as_str)))
    } else {
        let missing = list(&mut missing.into_iter());
        let hint = format!(
            "{}; a daemon that runs already has a token without it, for up to an hour: restart it",
            grant(&missing)
        );
        Check { ok: false, hint: Some(hint), ..Check::passed("permissions", format!("the token lacks {missing}")) }
    })
}

/// Why there is no such application: often the id is that of its registration.
async fn no_application(directory: &Directory, error: DirectoryError) -> Check {
    let check = Check::directory("application", &error, "Application.Read.All");
    let DirectoryError::ApplicationNotFound(id) = error else { return check };
    match directory.registration(id).await {
        Ok(Some(client_id)) => Check {
            hint: Some(format!(
                "{id} is the object id of an app registration; use the one under Enterprise applications > Properties, \
                 or the application (client) id {client_id}"
            )),
            ..check
        },
        Ok(None) | Err(_) => check,
    }
}

/// What `scope.only` and `scope.ignore` name; a line only when they do.
async fn look_at_bounds(app: &App) -> Option<Check> {
    let scope = &app.config.scope;
    if scope.only.is_empty() && scope.ignore.is_empty() {
        return None;
    }
    let (mut groups, mut users, mut nobody) = (0, 0, Vec::new());
    for text in scope.only.iter().chain(&scope.ignore) {
        let directory = &app.directory;
        let found = async {
            if let Ok(id) = text.parse()
                && directory.named_group(id).await?.is_some()
            {
                groups += 1;
            } else if directory.user_named(text).await?.is_some() {
                users += 1;
            } else {
                nobody.push(text.as_str());
            }
            Ok::<_, DirectoryError>(())
        };
        if let Err(error) = found.await {
            return Some(Check::directory("scope", &error, "GroupMember.Read.All"));
        }
    }
    let what = if scope.only.is_empty() { "scope.ignore names" } else { "scope.only limits every cycle; named are" };
    let detail = format!("{what} {} and {}", count(groups, "group"), count(users, "user"));
    let check = Check::passed("scope", detail);
    Some(if nobody.is_empty() {
        check
    } else {
        let hint = format!("no user or group of the tenant (any more): {}", nobody.join(", "));
        Check { hint: Some(hint), ..check }
    })
}

/// Reads the first members of every assigned group, and tells which of them will bring nobody.
async fn look_at_groups(directory: &Directory, assigned: &Assigned, counted: GroupMembers) -> Check {
    let (mut missing, mut hidden, mut empty, mut nested) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (group, name) in &assigned.groups {
        let named = format!("{name:?}");
        match directory.group_shape(*group, name).await {
            Ok(GroupShape { missing: true, .. }) => missing.push(named),
            Ok(GroupShape { hidden: true, users: 0, others: 0, .. }) => hidden.push(named),
            Ok(GroupShape { users: 0, others: 0, more: false, .. }) => empty.push(named),
            Ok(GroupShape { others, .. }) if others > 0 => nested.push(named),
            Ok(_) => {}
            Err(error) => return Check::directory("groups", &error, "GroupMember.Read.All"),
        }
    }
    if counted == GroupMembers::None {
        return Check::passed("groups", "groups do not count: scope.group_members = \"none\"");
    }
    if assigned.groups.is_empty() {
        return Check::passed("groups", "no group is assigned; GroupMember.Read.All was not tried");
    }
    let nested_count = match counted {
        GroupMembers::Transitive => "with members that are no users, such as nested groups, whose users count",
        GroupMembers::Direct | GroupMembers::None => {
            "with members that are no users, such as nested groups, which do not count"
        }
    };
    let readable = assigned.groups.len() - hidden.len();
    let mut detail = format!("the members of {} can be read (GroupMember.Read.All)", count(readable, "group"));
    for (what, groups) in [
        ("there is no such group any more", &missing),
        ("membership is hidden", &hidden),
        ("without members", &empty),
        (nested_count, &nested),
    ] {
        if !groups.is_empty() {
            detail.push_str(&format!("; {what}: {}", groups.join(", ")));
        }
    }
    let hint = (!hidden.is_empty()).then(|| grant("Member.Read.Hidden"));
    Check { ok: hidden.is_empty(), hint, ..Check::passed("groups", detail) }
}

/// Whether the learner database is another application's: a line only when a cycle would refuse it.
async fn source(app: &App, application: EntraId) -> Option<Check> {
    let here = Source { tenant: app.rules.tenant.clone(), application }.to_string();
    // It may not be there yet.
    let store = Store::open(&app.learners, Access::ReadOnly).await.ok()?;
    let others = store.other_sources(&here).await.ok().filter(|others| !others.is_empty())?;
    let error = CycleError::ForeignSource { here, others };
    Some(Check::failed("source", &error, error.hint()))
}

/// Looks at what is there, and opens it; says whether what is not there yet can be made. Nothing is made: root may
/// try the connection first, and what root made the service user could not write to.
async fn database(context: &Context) -> Check {
    if let Err(error) = super::owner::check(&context.config).await {
        let hint = error.hint().map(str::to_owned);
        return Check { ok: false, hint, ..Check::passed(DATABASE, error.message()) };
    }
    if let Err(error) = preflight::inspect_database(&context.config).await {
        return Check::failed(DATABASE, &error, error.hint());
    }
    let learners = match context.learners() {
        Ok(learners) => learners,
        Err(failure) => return Check { ok: false, ..Check::passed(DATABASE, failure.message()) },
    };
    let shown = match Store::describe(&learners.place).await {
        Ok(shown) => shown,
        Err(error) => return Check::failed(DATABASE, &error, error.hint()),
    };
    let opened = async {
        let store = Store::open(&learners, Access::ReadOnly).await?;
        let (state, missing) = (store.state().await?, store.missing_rights().await?);
        if missing.is_empty() {
            store.linked(&configured_source(&context.config, &state)).await?;
        }
        Ok((state, store.first_damage().await?, missing))
    };
    match opened.await {
        Ok((_, _, missing)) if !missing.is_empty() => Check {
            ok: false,
            hint: Some(format!("have the owner of the tables run: {}", missing.join("; "))),
            ..Check::passed(DATABASE, format!("{shown}; the role may not do all that a cycle does"))
        },
        Ok((_, Some(damage), _)) => Check {
            ok: false,
            hint: Some("stop the daemon and restore a backup: learner-sync guide backup".to_owned()),
            ..Check::passed(DATABASE, format!("{shown} is damaged: {}", damage.replace('\n', " ")))
        },
        Ok((state, None, _)) => match preflight::inspect_source_locks(&context.config, &state) {
            Ok(()) => Check::passed(DATABASE, shown),
            Err(error) => Check::failed(DATABASE, &error, error.hint()),
        },
        Err(StoreError::Missing { .. }) => {
            Check::passed(DATABASE, format!("{shown} does not exist yet; the first cycle makes it"))
        }
        Err(StoreError::Older { .. }) => {
            Check::passed(DATABASE, format!("{shown}; the first cycle makes or completes its tables"))
        }
        Err(StoreError::Table { faults }) => table(&shown, &faults),
        Err(error) => Check::failed(DATABASE, &error, error.hint()),
    }
}

/// What is wrong with the table of the platform, and the statements that mend it.
fn table(shown: &str, faults: &[TableFault]) -> Check {
    let messages: Vec<String> = faults.iter().map(TableFault::problem).collect();
    let statements: Vec<String> =
        faults.iter().filter_map(|fault| fault.statement.as_ref()).map(|statement| format!("{statement};")).collect();
    let hint = if statements.is_empty() {
        "name another table or other columns, or have the owner of the table change it".to_owned()
    } else {
        format!("have the owner of the table run: {}", statements.join(" "))
    };
    Check {
        ok: false,
        hint: Some(hint),
        ..Check::passed(DATABASE, format!("{shown}; the learners table cannot be used: {}", messages.join("; ")))
    }
}

/// A line only when something is wrong.
fn state(context: &Context) -> Option<Check> {
    let error = preflight::inspect_state(&context.config).err()?;
    Some(Check::failed("state", &error, error.hint()))
}
