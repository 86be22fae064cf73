//! `approve --source`: admits this application to a database that another one uses, or moves the learners of an
//! application that was created again to it.

use super::{CANCELLED, confirm_on_terminal};
use crate::cli::Context;
use crate::cli::output::{DONE, FAILED, Failure, counted, print, print_labelled, print_sentences};
use crate::cycle::CycleError;
use crate::model::{Clock, EntraId, Source};
use crate::nearest::{did_you_mean, nearest};
use crate::runtime::locked_cycle::{LockedCycleError, lock_database, never_stopped};
use crate::runtime::{App, Paths};
use crate::store::{DaemonRow, SourceRecords, Store};

pub(super) async fn admit(store: &Store, source: &str, actor: &str, yes: bool, clock: Clock) -> Result<u8, Failure> {
    let others = store.other_sources(source).await?;
    if others.is_empty() {
        print("No other application uses this database; there is nothing to admit.")?;
        return Ok(DONE);
    }
    print_sentences(&format!("This learner database belongs to {}.", others.join(" and ")))?;
    print_sentences(&format!(
        "Admitting {source} lets it create and adopt learners beside those of the other application."
    ))?;
    if !yes && !confirm_on_terminal("Type yes to admit it, anything else to cancel:", "yes")? {
        return Err(Failure::new(FAILED, CANCELLED));
    }
    store.admit_source(source, actor, clock()).await?;
    print("Admitted.")?;
    Ok(DONE)
}

/// The former application as the command line names it: `tenant/object id`, as the refusal of a cycle prints it, or the
/// object id alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FormerSource {
    tenant: Option<String>,
    application: EntraId,
}

impl std::str::FromStr for FormerSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().to_lowercase();
        let (tenant, application) = match text.rsplit_once('/') {
            Some((tenant, application)) => (Some(tenant.trim().to_owned()), application),
            None => (None, &*text),
        };
        let application = application.trim().parse().ok().filter(|_| tenant.as_deref() != Some(""));
        let application = application.ok_or("expected TENANT/OBJECT-ID, as the refusal of a cycle prints it")?;
        Ok(Self { tenant, application })
    }
}

/// The links to move and both sources, checked as far as possible.
#[derive(Debug, PartialEq, Eq)]
struct TakeOver {
    old: String,
    new: String,
    records: SourceRecords,
}

pub(super) async fn take_over(
    context: Context,
    former: &FormerSource,
    actor: &str,
    yes: bool,
    clock: Clock,
) -> Result<u8, Failure> {
    // A cycle migrates the tables, this command does not.
    let store = context.open_current_store().await?;
    let Context { config, environment } = context;
    let app = App::new(config, &environment, clock)?;
    let Some(shown) = TakeOver::check(&app, &store, former).await? else {
        print("The former application has no learners or records here; there is nothing to take over.")?;
        return Ok(DONE);
    };
    store.close().await?;
    shown.print()?;
    if !yes && !confirm_on_terminal("Type yes to take them over, anything else to cancel:", "yes")? {
        return Err(Failure::new(FAILED, CANCELLED));
    }
    let locked = lock_database(&app, "learner-sync approve", false, &mut never_stopped()).await?;
    let taken_over = shown.apply(&app, &locked.store, former, actor, clock).await;
    locked.close().await;
    taken_over?;
    print_sentences(
        "Taken over. The next cycle holds every deactivation until it is approved: look at `learner-sync plan` first \
         (`learner-sync guide migrating`).",
    )?;
    Ok(DONE)
}

impl TakeOver {
    /// The links that would move; `None` when there are none.
    async fn check(app: &App, store: &Store, former: &FormerSource) -> Result<Option<Self>, Failure> {
        let refused = |message: String| Err(Failure::new(FAILED, message));
        let tenant = &app.config.entra.tenant_id;
        let application = app.directory.application(app.rules.application).await.map_err(CycleError::from)?;
        let new = Source { tenant: tenant.clone(), application: application.object_id }.to_string();
        let old_application = former.application;
        let named = Source { tenant: former.tenant.as_ref().unwrap_or(tenant).clone(), application: old_application };
        let named = named.to_string();
        let sources = store.sources().await?;
        let Some(old) = sources.iter().find(|source| source.eq_ignore_ascii_case(&named)).cloned() else {
            let others: Vec<&str> = sources.iter().map(String::as_str).filter(|source| *source != new).collect();
            let suggestion = nearest(&named, others.iter().copied());
            let known = if others.is_empty() { "no other application".to_owned() } else { others.join(", ") };
            return refused(format!(
                "this learner database has no learners of {named}{}; it knows {known}",
                did_you_mean(suggestion)
            ));
        };
        if old == new {
            return refused(format!("{old} is this application itself"));
        }
        if former.tenant.as_ref().is_some_and(|former| former != tenant) {
            let hint = "learners move between applications of one tenant only; if both are spellings of one tenant, \
                        write the former one in entra.tenant_id";
            let message = format!("{old} belongs to another tenant than {tenant}");
            return Err(Failure { hint: Some(hint.to_owned()), ..Failure::new(FAILED, message) });
        }
        let records = store.source_records(&old).await?;
        if records == SourceRecords::default() {
            return Ok(None);
        }
        if app.directory.has_application(old_application).await.map_err(CycleError::from)? {
            let hint = "to use one database for both, run: learner-sync approve --source";
            let message = format!("the application {old_application} still exists in Entra; nothing was taken over");
            return Err(Failure { hint: Some(hint.to_owned()), ..Failure::new(FAILED, message) });
        }
        let state = store.state().await?;
        let daemon = Paths::new(&app.config).daemon_of(tenant, old_application, &state).await;
        if let Some(daemon) = daemon.map_err(LockedCycleError::from)? {
            let hint = "stop it, or reload it if its configuration names the new application now";
            let message = format!("a daemon of {old} is running: {daemon}");
            return Err(Failure { hint: Some(hint.to_owned()), ..Failure::new(FAILED, message) });
        }
        let daemons = store.daemons(&old).await?;
        if let Some(DaemonRow { place, pid, .. }) = daemons.iter().find(|daemon| daemon.is_alive == Some(true)) {
            let hint = "stop it, or reload it if its configuration names the new application now";
            let message = format!("a daemon of {old} is running on {} (pid {pid})", place.host);
            return Err(Failure { hint: Some(hint.to_owned()), ..Failure::new(FAILED, message) });
        }
        match &*store.linked_by_both(&old, &new).await? {
            [] => Ok(Some(Self { old, new, records })),
            both @ [first, ..] => refused(format!(
                "there is a learner of each application for {}, such as {first}; decide which one is right, and delete \
                 the link of the other one: DELETE FROM sync_links WHERE entra_id = '{first}' AND source = '{new}' (or \
                 '{old}')",
                counted(both.len(), "user")
            )),
        }
    }

    /// Moves the links that the administrator has seen, unless something has changed.
    async fn apply(
        &self,
        app: &App,
        store: &Store,
        former: &FormerSource,
        actor: &str,
        clock: Clock,
    ) -> Result<(), Failure> {
        if store.with_signs_of_life(Self::check(app, store, former)).await?.as_ref() != Some(self) {
            let message = "the learner database changed meanwhile, and nothing was taken over; run the command again";
            return Err(Failure::new(FAILED, message));
        }
        let Self { old, new, records } = self;
        Ok(store.take_over(old, new, *records, actor, clock()).await?)
    }

    fn print(&self) -> Result<(), Failure> {
        let Self { old, new, records: SourceRecords { links, held, failures, groups } } = self;
        print_labelled("From  ", old)?;
        print_labelled("To    ", new)?;
        print_sentences(&format!(
            "Moves {}, {}, {} and {}. No learner is changed. Approvals of held users are withdrawn.",
            counted(*links, "learner"),
            counted(*held, "held user"),
            counted(*failures, "failing or skipped user"),
            counted(*groups, "group"),
        ))?;
        print_sentences(
            "The former application does not exist in Entra. If it is restored there, it has no learners here.",
        )?;
        Ok(())
    }
}
