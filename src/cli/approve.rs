//! `learner-sync approve`: shows the held users and releases exactly those, for 24 hours and once.

mod relink;
mod source;

use std::io::{BufRead, IsTerminal, Read};

use self::source::FormerSource;
use super::Context;
use super::output::{DONE, FAILED, Failure, USAGE, counted, is_or_are, print, print_sentences};
use super::status::{held_list, print_recreated};
use crate::model::{Clock, ClockFinding, is_valid_approval_age};
use crate::runtime::{Paths, configured_source};
use crate::store::{Access, HeldUser, Store, StoreError};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Do not ask for confirmation; needs --expect, except with --source.
    #[arg(long)]
    yes: bool,
    /// Release the users only if exactly N are held, or relink them only if they are exactly N.
    #[arg(long, value_name = "N")]
    expect: Option<usize>,
    /// Admit this application to a database that another application already uses.
    #[arg(long, conflicts_with = "expect")]
    source: bool,
    /// Show the users whose account was deleted and created again, and link exactly those to their former learners.
    #[arg(long, conflicts_with = "source")]
    relink: bool,
    /// Move the learners of an application that was deleted and created again to this one.
    #[arg(long, value_name = "TENANT/OBJECT-ID", requires = "source")]
    take_over: Option<FormerSource>,
}

impl Arguments {
    /// Whether it shows and releases held users, for which Graph is not asked.
    pub(super) fn is_of_held_users(&self) -> bool {
        !self.source && !self.relink
    }
}

/// Exit code 1: what was asked for did not happen.
const CANCELLED: &str = "cancelled; nothing was approved";

pub(super) async fn run(context: Context, arguments: Arguments, clock: Clock) -> Result<u8, Failure> {
    let Arguments { yes, expect, source: admit, relink, take_over } = arguments;
    if yes && !admit && expect.is_none() {
        return Err(Failure::new(USAGE, "--yes needs --expect N, the number of users that you saw"));
    }
    if let Some(path) = Paths::new(&context.config).database
        && !Store::inspect(context.learners()?, Access::ReadOnly).await?.exists()
    {
        return Err(StoreError::Missing { path }.into());
    }
    let actor = super::actor(&context.environment);
    if let Some(former) = take_over {
        return source::take_over(context, &former, &actor, yes, clock).await;
    }
    if relink {
        return relink::run(context, expect, yes, &actor, clock).await;
    }
    let store = context.open_current_store().await?;
    let source = configured_source(&context.config, &store.state().await?);
    if admit {
        return source::admit(&store, &source, &actor, yes, clock).await;
    }

    let now = clock();
    let is_approved =
        |user: &HeldUser| user.approved.as_ref().is_some_and(|(at, _)| is_valid_approval_age(now.duration_since(*at)));
    let (approved, open): (Vec<_>, Vec<_>) = store.held_users(&source).await?.into_iter().partition(is_approved);
    store.unreadable_rows().iter().for_each(|row| tracing::warn!("{row}"));
    if !approved.is_empty() {
        let (users, are) = (counted(approved.len(), "user"), is_or_are(approved.len()));
        print_sentences(&format!("{users} {are} already approved; the next cycle decides about them."))?;
    }
    if open.is_empty() {
        print("No users are held.")?;
    } else {
        print(&held_list(open.iter()))?;
    }
    print_recreated(store.recreated_users(&source).await?)?;
    if let Some(expected) = expect.filter(|expected| *expected != open.len()) {
        let (users, are) = (counted(open.len(), "user"), is_or_are(open.len()));
        return Err(Failure::new(FAILED, format!("{users} {are} held, not {expected}; nobody was released")));
    }
    if open.is_empty() {
        return Ok(DONE);
    }
    let count = open.len().to_string();
    let question = format!("Type {count} to release these users, anything else to cancel:");
    if !yes && !confirm_on_terminal(&question, &count)? {
        return Err(Failure::new(FAILED, CANCELLED));
    }
    // The answer may have taken long.
    let released = store.approve(&source, &open, &actor, clock()).await?;
    let changed = (open.len() as u64).saturating_sub(released);
    if changed > 0 {
        let users = counted(changed, "user");
        print_sentences(&format!(
            "Not released, because the hold has changed meanwhile: {users}. Run `approve` again."
        ))?;
    }
    let finding = store.state().await?.clock;
    let warning = finding.and_then(ClockFinding::warning);
    let users = counted(released, "user");
    if let (false, Some(warning)) = (finding.is_none_or(ClockFinding::lets_approve), &warning) {
        let message =
            format!("recorded the approval of {users}, but it has no effect while the clocks are wrong: {warning}");
        let hint = "then run `learner-sync sync` and, if users are still held, `learner-sync approve` again";
        return Err(Failure { hint: Some(hint.to_owned()), ..Failure::new(FAILED, message) });
    }
    print_sentences(&format!(
        "Released {users} for 24 hours. The next cycle reads each of them again; `learner-sync resync` or \
         `learner-sync sync` runs one now."
    ))?;
    if let Some(warning) = warning {
        print_sentences(&format!("Warning: {warning}"))?;
    }
    Ok(DONE)
}

/// Longer than any answer.
const MAX_ANSWER: u64 = 1 << 10;

/// Asks on the terminal.
fn confirm_on_terminal(question: &str, answer: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(USAGE, "no terminal to ask on: pass --yes (with --expect N for held users)"));
    }
    print(question)?;
    let mut line = String::new();
    std::io::stdin().lock().take(MAX_ANSWER).read_line(&mut line)?;
    Ok(line.trim() == answer)
}
