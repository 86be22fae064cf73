//! `/`: the state of provisioning, as `learner-sync status` shows it.

use std::path::Path;

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{BAD, GOOD, WAITS, command, document, facts, foreign, respond, table, whole_time};
use super::reader::{self, PageError, Source};
use super::{PageState, history};
use crate::model::{StateReport, Status};
use crate::runtime::status::{CycleNumbers, DatabaseObservation, DiskObservation, StatusRecord, StatusSummary};
use crate::store::{FailingUser, HeldUser, StoreError};
use crate::view::{
    FAILING_HEADERS, HELD_HEADERS, ListedUsers, StatusView, cycle_in_words, cycle_numbers_in_words, failing_cells,
    held_cells, learners_in_words, local_time, recreated_in_words, unreadable_in_words,
};

/// How many users of a list are shown.
const FIRST: usize = 5;

pub(super) async fn answer(state: PageState) -> Result<Response, PageError> {
    let record = state.observed.record.borrow().clone();
    let (last, observed) = (record.clone(), state.clone());
    let made = reader::answer(state, async |source: Source| {
        let database = source.app.learners.place.to_string();
        let (observation, history) = observe(&source).await?;
        let DatabaseObservation { summary, overview, holder, store } = observation;
        // Only read, so nothing is lost.
        let _ = store.close().await;
        let found = (summary, overview, holder);
        let disk = DiskObservation::read(&source.app.config, found.0.last_cycle.is_some());
        let view = StatusView::live(&source.app.config, database, Some(record), found, disk, source.now);
        Ok(respond(StatusCode::OK, document("Status", Some("/"), &page(&view, &history))))
    });
    // What the daemon knows is shown without the database.
    let (error, is_answering) = match made.await {
        Err(PageError::Unreadable(error)) => (error, true),
        Err(PageError::TimedOut(error)) => (error, false),
        made => return made,
    };
    let Source { app, now } = Source::new(&observed);
    let message = error.clone();
    let viewed = reader::apart(&observed, move || {
        let view = StatusView::recorded(last, Some(error), None, now);
        // A disk that does not answer is not asked again.
        if is_answering { view.with_disk(DiskObservation::read(&app.config, true)) } else { view }
    });
    let Some(view) = viewed.await else { return Err(PageError::TimedOut(message)) };
    let page = document("Status", Some("/"), &page(&view, &html! {}));
    Ok(respond(StatusCode::SERVICE_UNAVAILABLE, page))
}

async fn observe(source: &Source) -> Result<(DatabaseObservation, Markup), StoreError> {
    let observation = DatabaseObservation::read(&source.app.config, source.open().await?, false).await?;
    let history = history::section(&observation.store, &observation.summary).await?;
    Ok((observation, history))
}

fn page(view: &StatusView, history: &Markup) -> Markup {
    let StateReport { state, since, reason } = &view.report;
    let class = match state.exit_code() {
        0 => GOOD,
        1 => BAD,
        _ => WAITS,
    };
    html! {
        section.state.(class) aria-labelledby="state" {
            h2 #state { "State: " (state) @if let Some(since) = since { " since " (whole_time(*since)) } }
            p { (foreign(reason)) }
            @if let Some(failure) = view.hidden_failure() { p { (failure) } }
            @if let Some(progress) = view.progress() { p { "Running cycle: " (foreign(progress)) } }
            p.note { "As of " (local_time(view.now)) ". " a href="/" { "Load again" } }
        }
        @if let Some(error) = &view.database_error {
            section { h2 { "The learner database cannot be read" } p { (foreign(error)) } }
        }
        (warnings(view))
        (users(view))
        section aria-labelledby="facts" {
            h2 #facts { "Facts" }
            (facts(view_facts(view)))
        }
        (history)
    }
}

fn view_facts(view: &StatusView) -> Vec<(&'static str, Markup)> {
    let mut list = vec![("Daemon", foreign(&view.daemon_in_words()))];
    list.extend(view.other_daemons().map(|other| ("Other daemon", foreign(&other))));
    list.push(("Configuration", lines(&view.configuration_in_words())));
    if let Some(StatusRecord { http: Some(http), .. }) = view.alive() {
        list.push(("HTTP", foreign(&http.reason)));
    }
    match &view.summary {
        None => list.push(("Last cycle", html! { "unknown, because the learner database cannot be read" })),
        Some(summary) => add_summary(view, summary, &mut list),
    }
    list
}

fn add_summary(view: &StatusView, summary: &StatusSummary, list: &mut Vec<(&'static str, Markup)>) {
    list.push(("Source", foreign(&summary.source)));
    let last = match &summary.last_cycle {
        None => html! { "none yet" },
        Some(last) => cycle(last, true),
    };
    list.push(("Last cycle", last));
    let success = match (&summary.last_success, view.earlier_success()) {
        (_, Some(success)) => cycle(success, false),
        (Some(success), None) => cycle(success, false),
        (None, None) => html! { "none yet" },
    };
    list.push(("Last success", success));
    list.push(("Next cycle", html! { (view.next_cycle_in_words(summary)) }));
    let (learners, unlinked) = learners_in_words(summary.learners);
    list.push(("Learners", lines(&[learners].into_iter().chain(unlinked).collect::<Vec<_>>())));
    list.push(("Database", foreign(&format!("{}, schema version {}", view.database, summary.schema_version))));
    let ends = summary.credential_ends_at.map_or_else(|| "unknown".to_owned(), local_time);
    list.push(("Credential expires", html! { (ends) }));
}

fn cycle(numbers: &CycleNumbers, whole: bool) -> Markup {
    html! {
        a href={ "/log?cycle=" (numbers.cycle) } { (cycle_in_words(numbers)) }
        @if whole { @for line in cycle_numbers_in_words(numbers) { br; (foreign(&line)) } }
    }
}

fn lines(lines: &[String]) -> Markup {
    html! { @for (number, line) in lines.iter().enumerate() { @if number > 0 { br; } (foreign(line)) } }
}

fn warnings(view: &StatusView) -> Markup {
    let warnings = view.warnings();
    html! {
        @if !warnings.is_empty() {
            section aria-labelledby="warnings" {
                h2 #warnings { "Warnings" }
                ul {
                    @for (label, warning) in warnings {
                        li { @if !label.is_empty() { (label) ": " } (with_commands(&warning, &view.config)) }
                    }
                }
            }
        }
    }
}

/// A text whose parts between backticks are commands.
fn with_commands(text: &str, config: &Path) -> Markup {
    html! {
        @for (number, part) in text.split('`').enumerate() {
            @if number % 2 == 0 {
                (foreign(part))
            } @else if part.starts_with("learner-sync ") {
                (command(part, config))
            } @else {
                code { (foreign(part)) }
            }
        }
    }
}

fn users(view: &StatusView) -> Markup {
    let Some(summary) = &view.summary else { return html! {} };
    let ListedUsers { held, failing, skipped } = view.users();
    let config = view.overview.as_ref().map(|_| &*view.config);
    let held_rows = || held.iter().take(FIRST).map(|user| held_row(user));
    let failing_rows =
        |users: &[&FailingUser]| users.iter().take(FIRST).map(|user| failing_row(user)).collect::<Vec<_>>();
    html! {
        @if let Some(overview) = view.overview.as_ref().filter(|overview| !overview.unreadable.is_empty()) {
            section {
                h2 { "Rows that cannot be read (" (overview.unreadable.len()) ")" }
                ul { @for row in unreadable_in_words(&overview.unreadable) { li { (foreign(&row)) } } }
            }
        }
        @if let Some((users, heading)) = StatusView::held_heading(summary) {
            section {
                h2 { (with_commands(&heading, &view.config)) }
                @if !held.is_empty() { (table("Held users", &HELD_HEADERS, held_rows())) }
                (others(users, held.len(), config, Status::Held))
            }
        }
        @if let Some((users, heading)) = StatusView::failing_heading(summary) {
            section {
                h2 { (with_commands(&heading, &view.config)) }
                @if !failing.is_empty() { (table("Failing users", &FAILING_HEADERS, failing_rows(&failing))) }
                (others(users, failing.len(), config, Status::Failure))
            }
        }
        @if let Some((users, heading)) = StatusView::skipped_heading(summary) {
            section {
                h2 { (with_commands(&heading, &view.config)) }
                @if !skipped.is_empty() { (table("Skipped users", &FAILING_HEADERS, failing_rows(&skipped))) }
                (others(users, skipped.len(), config, Status::Skipped))
            }
        }
        @if let Some(others) = StatusView::other_skipped(summary) { p { (others) } }
        @if summary.recreated > 0 {
            @for line in recreated_in_words(summary.recreated) { p { (with_commands(&line, &view.config)) } }
        }
    }
}

/// The users beyond the listed ones. Without `config`, none could be read.
fn others(users: u64, listed: usize, config: Option<&Path>, status: Status) -> Markup {
    let others = users.saturating_sub(listed.min(FIRST) as u64);
    html! {
        @if let Some(config) = config {
            @if others > 0 {
                p {
                    "and " (others) " more; to list them: " (command("learner-sync status --all", config)) "; "
                    a href={ "/log?status=" (status) } { "their entries in the log" }
                }
            }
        } @else {
            p { "These users are listed when the learner database can be read again." }
        }
    }
}

fn held_row(user: &HeldUser) -> Vec<Markup> {
    let link = format!("/users/{}", user.entra_id);
    let cells = held_cells(user).into_iter().enumerate();
    cells.map(|(column, cell)| linked(column == 2, &link, &cell)).collect()
}

fn failing_row(user: &FailingUser) -> Vec<Markup> {
    let link = format!("/users/{}", user.entra_id);
    let cells = failing_cells(user).into_iter().enumerate();
    cells.map(|(column, cell)| linked(column == 1, &link, &cell)).collect()
}

fn linked(is_linked: bool, link: &str, cell: &str) -> Markup {
    html! { @if is_linked { a href=(link) { (foreign(cell)) } } @else { (foreign(cell)) } }
}
