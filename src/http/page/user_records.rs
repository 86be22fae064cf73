//! The top of the page of a user who is held, fails or is skipped: since when, why, and the command to type.

use std::path::Path;

use maud::{Markup, html};

use super::layout::{BAD, WAITS, command, facts, foreign, whole_time};
use crate::model::{Action, EntraId, Reason, Status};
use crate::store::{FailingUser, HeldUser, UserRecords};
use crate::view::{action_in_words, local_time, routes_in_words};

pub(super) fn sections(records: &UserRecords, user: EntraId, config: &Path) -> Markup {
    let UserRecords { held, held_detail, failing } = records;
    html! {
        @if let Some(held) = held { (held_section(held, held_detail.as_deref(), config)) }
        @if let Some(failing) = failing { (failing_section(failing, user, config)) }
    }
}

fn held_section(held: &HeldUser, detail: Option<&str>, config: &Path) -> Markup {
    let HeldUser { action, reason, change_reason, since, approved, routes, .. } = held;
    let change = action_in_words(*action, Status::Held, None);
    let mut list = vec![
        ("Change", html! { (change) @if let Some(reason) = change_reason { " (" (reason) ")" } }),
        ("Reason", reason_and_detail(*reason, detail)),
    ];
    if let Some(routes) = routes.as_ref().filter(|_| *action == Action::Deactivate) {
        list.push(("Last assigned", foreign(&routes_in_words(routes))));
    }
    list.push(match approved {
        Some((at, by)) => {
            ("Approved", html! { (local_time(*at)) " by " (foreign(by)) "; the next cycle applies the change" })
        }
        None => {
            let approve = command("learner-sync approve", config);
            ("Release", html! { (approve) " lists all held users, and asks before it releases them" })
        }
    });
    html! {
        section.state.(WAITS) aria-labelledby="held" {
            h2 #held { "Held since " (whole_time(*since)) }
            (facts(list))
        }
    }
}

fn failing_section(failing: &FailingUser, user: EntraId, config: &Path) -> Markup {
    let FailingUser { reason, detail, first_at, last_at, attempts, routes, .. } = failing;
    let (word, class) = if reason.is_failure() { ("Failing", BAD) } else { ("Skipped", WAITS) };
    let mut list = vec![("Reason", reason_and_detail(*reason, detail.as_deref()))];
    if let Some(routes) = routes.as_ref().filter(|_| *reason == Reason::Waiting) {
        list.push(("Last assigned", foreign(&routes_in_words(routes))));
    }
    let tried = html! { (local_time(*last_at)) "; attempts: " (attempts) "; every cycle tries again" };
    let rehearse = command(&format!("learner-sync provision {user} --dry-run"), config);
    list.extend([
        ("Last tried", tried),
        ("Explanation", html! { (rehearse) " shows what a cycle would do now, and changes nothing" }),
    ]);
    html! {
        section.state.(class) aria-labelledby="failing" {
            h2 #failing { (word) " since " (whole_time(*first_at)) }
            (facts(list))
        }
    }
}

fn reason_and_detail(reason: Reason, detail: Option<&str>) -> Markup {
    html! { (reason) @if let Some(detail) = detail { ": " (foreign(detail)) } }
}
