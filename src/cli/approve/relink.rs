//! `approve --relink`: shows the users whose account was deleted and created again, and relinks exactly those.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;

use super::{CANCELLED, confirm_on_terminal};
use crate::cli::Context;
use crate::cli::narrow::{ListColumns, ListRow};
use crate::cli::output::{DONE, FAILED, Failure, counted, print, shown};
use crate::cycle::{CycleContext, PreparedRelink};
use crate::model::{Action, Attribute, Clock, EntraId, LearnerId};
use crate::plan::{Changes, Doubt, IdentityProof, Recreated, RecreatedUser};
use crate::runtime::App;
use crate::runtime::locked_cycle::{LockedCycleError, LockedDatabase, lock_database, never_stopped};
use crate::store::Store;

pub(super) async fn run(
    context: Context,
    expect: Option<usize>,
    yes: bool,
    actor: &str,
    clock: Clock,
) -> Result<u8, Failure> {
    // A cycle migrates the tables, this command does not.
    let store = context.open_current_store().await?;
    let Context { config, environment } = context;
    let app = App::new(config, &environment, clock)?;
    if !app.config.provisioning.users {
        return Err(LockedCycleError::Disabled.into());
    }
    refuse_paused(&store).await?;
    let found = prepare(cycle_context(&app, &store, None), clock()).await?;
    store.close().await?;
    print_found(&found.recreated)?;
    print_changes(&found)?;
    let pairs = found.recreated.pairs.len();
    if let Some(expected) = expect.filter(|expected| *expected != pairs) {
        let users = counted(pairs, "user");
        let message = format!("{users} can be relinked, not {expected}; nobody was relinked");
        return Err(Failure::new(FAILED, message));
    }
    if pairs == 0 {
        return Ok(DONE);
    }
    let count = pairs.to_string();
    let question = format!("Type {count} to relink these users, anything else to cancel:");
    if !yes && !confirm_on_terminal(&question, &count)? {
        return Err(Failure::new(FAILED, CANCELLED));
    }
    let locked = lock_database(&app, "learner-sync approve", false, &mut never_stopped()).await?;
    let relinked = relink(&app, &locked, &found, actor, clock).await;
    locked.close().await;
    relinked?;
    print(&format!("Relinked {}, and ended the holds and failures.", counted(pairs, "user")))?;
    Ok(DONE)
}

/// Relinks the users that the administrator has seen, unless something has changed.
async fn relink(
    app: &App,
    LockedDatabase { store, preflight, .. }: &LockedDatabase,
    found: &PreparedRelink,
    actor: &str,
    clock: Clock,
) -> Result<(), Failure> {
    refuse_paused(store).await?;
    let context = cycle_context(app, store, Some(&preflight.paths.cache));
    let again = store.with_signs_of_life(prepare(context, clock())).await?;
    if shown_of(&again) != shown_of(found) {
        let message = "the users to relink, or their values, have changed meanwhile, and none were relinked; run the \
                       command again";
        return Err(Failure::new(FAILED, message));
    }
    again.apply(context, actor, clock()).await?;
    Ok(())
}

async fn refuse_paused(store: &Store) -> Result<(), Failure> {
    match store.state().await?.paused {
        true => Err(Failure::failed(&LockedCycleError::Paused, None)),
        false => Ok(()),
    }
}

fn cycle_context<'a>(app: &'a App, store: &'a Store, cache: Option<&'a Path>) -> CycleContext<'a> {
    CycleContext { directory: &app.directory, store, cache, rules: &app.rules }
}

async fn prepare(context: CycleContext<'_>, now: Timestamp) -> Result<PreparedRelink, Failure> {
    Ok(PreparedRelink::prepare(context, now).await?)
}

type ShownPair<'a> = (&'a LearnerId, IdentityProof, Option<(Action, Changes)>);

/// The pairs that the administrator has seen, and the text for each.
fn shown_of(found: &PreparedRelink) -> BTreeMap<EntraId, ShownPair<'_>> {
    let mut written: BTreeMap<EntraId, (Action, Changes)> =
        found.decisions().map(|decision| (decision.user, (decision.action, decision.changes.clone()))).collect();
    let pairs = found.recreated.pairs.iter().map(|RecreatedUser { relink, user_name: _, proof }| {
        (relink.user, (&relink.learner, *proof, written.remove(&relink.user)))
    });
    pairs.collect()
}

const PAIRS: ListColumns = ListColumns(&["user", "learner", "proof"]);
const DOUBTS: ListColumns = ListColumns(&["user", "learner", "why"]);
const CHANGES: ListColumns = ListColumns(&["attribute", "learners that change", "of these cleared"]);

fn pair_row(user: String, learner: &LearnerId, why: &str) -> ListRow {
    let narrow = [user.clone(), format!("learner {learner}: {why}")];
    ListRow { cells: vec![user, learner.to_string(), why.to_owned()], narrow }
}

fn print_found(recreated: &Recreated) -> Result<(), Failure> {
    let Recreated { pairs, doubts } = recreated;
    let name = |user: EntraId, user_name: &Option<String>| user_name.as_deref().map_or_else(|| user.to_string(), shown);
    if pairs.is_empty() {
        print("No account was created again whose learner can be relinked.")?;
    } else {
        print(&format!("Created again ({}): the former account is deleted.", pairs.len()))?;
        let rows = pairs.iter().map(|RecreatedUser { relink, user_name, proof }| {
            let proof = match proof {
                IdentityProof::EmployeeNumber => "employee number",
                IdentityProof::Names => "names",
            };
            pair_row(name(relink.user, user_name), &relink.learner, proof)
        });
        print(&PAIRS.list(rows.collect()))?;
    }
    if !doubts.is_empty() {
        print(&format!("\ndifferent person? ({}, not relinked)", doubts.len()))?;
        let rows = doubts
            .iter()
            .map(|Doubt { user, user_name, learner, reason }| pair_row(name(*user, user_name), learner, reason));
        print(&DOUBTS.list(rows.collect()))?;
    }
    Ok(())
}

/// Prints the changes besides the links: an account that was created again may lack values.
fn print_changes(found: &PreparedRelink) -> Result<(), Failure> {
    let mut changes: BTreeMap<Attribute, (u64, u64)> = BTreeMap::new();
    for decision in found.decisions() {
        for change in decision.changes.iter() {
            let (changed, cleared) = changes.entry(change.attribute).or_default();
            *changed += 1;
            *cleared += u64::from(change.new.is_none());
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    print("\nWith their new accounts, the learners change in:")?;
    let rows = changes.into_iter().map(|(attribute, (changed, cleared))| {
        let (path, narrow) =
            (attribute.path(), format!("{} change, {cleared} of these cleared", counted(changed, "learner")));
        ListRow {
            cells: vec![path.to_owned(), changed.to_string(), cleared.to_string()],
            narrow: [path.to_owned(), narrow],
        }
    });
    print(&CHANGES.list(rows.collect()))?;
    Ok(())
}
