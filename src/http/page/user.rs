//! `/users/{entra id}`: what waits for somebody, the learner of one user as it is now, and its history since the user was
//! first seen.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::layout::{attribute_path, command, document, facts, foreign, respond, table};
use super::log::ROWS;
use super::query::{UserQuery, link};
use super::reader::{self, PageError, Source};
use super::{PageState, user_records};
use crate::model::{Attribute, Column, EntraId};
use crate::plan::{LearnerRow, REDACTED};
use crate::runtime::configured_source;
use crate::store::{ListPage, LogRow, Store, StoreError, UserRecords};
use crate::view::{NOTHING, action_in_words, local_time, shown, value_text, with_ends};

/// The most characters of a name in a title.
const MAX_NAME: usize = 100;

pub(super) async fn answer(state: PageState, user: String, query: UserQuery) -> Result<Response, PageError> {
    // Other forms of a GUID, such as one in braces, are not ids of Entra.
    let is_same = |id: &EntraId| id.to_string().eq_ignore_ascii_case(&user);
    let Some(user) = user.parse().ok().filter(is_same) else { return Err(PageError::UnknownUser(user)) };
    reader::answer(state, async move |source: Source| {
        let store = source.open().await?;
        let found = read(&source, &store, user, query.after).await;
        // Only read, so nothing is lost.
        let _ = store.close().await;
        let UserFacts { learner, records, history: ListPage { rows, keys, has_more } } = found?;
        let is_known = learner.is_some() || keys.is_some() || records != UserRecords::default();
        if !is_known && query.after.is_none() {
            return Err(PageError::UnknownUser(user.to_string()));
        }
        let is_hidden = source.app.rules.mapping.redacted().contains(&Attribute::UserName);
        let name = if is_hidden { None } else { name_of(learner.as_ref(), &rows) };
        let name = name.unwrap_or_else(|| user.to_string());
        let body = html! {
            (user_records::sections(&records, user, &source.app.config.path))
            (learner_section(&source, user, learner.as_ref()))
            section aria-labelledby="history" {
                h2 #history { "History" @if query.after.is_some() { ", continued" } }
                @if rows.is_empty() { p { "No log entries; they may have expired." } }
                ol.history { @for row in &rows { li { (entry(row)) } } }
                @if has_more && let Some((_, last)) = keys {
                    nav.pager aria-label="More entries" {
                        a rel="next" href=(link(&format!("/users/{user}"), [("after", last.to_string())].into_iter())) {
                            "Later entries"
                        }
                    }
                }
                p { "On the command line: " (command(&format!("learner-sync log --user {user}"), &source.app.config.path)) }
            }
        };
        let title = format!("User {}", shown(&name));
        Ok(respond(StatusCode::OK, document(&title, None, &body)))
    })
    .await
}

/// The present user name, or the last one in the log.
fn name_of(learner: Option<&LearnerRow>, rows: &[LogRow]) -> Option<String> {
    let now = learner.and_then(|learner| learner.values.text(Attribute::UserName).map(str::to_owned));
    let logged = || rows.iter().rev().find_map(|row| row.user_name.clone().filter(|name| name != REDACTED));
    Some(now.or_else(logged)?.chars().take(MAX_NAME).collect())
}

/// What the learner database has of a user.
struct UserFacts {
    learner: Option<LearnerRow>,
    records: UserRecords,
    history: ListPage<LogRow>,
}

async fn read(source: &Source, store: &Store, user: EntraId, after: Option<i64>) -> Result<UserFacts, StoreError> {
    let name = configured_source(&source.app.config, &store.state().await?);
    let attributes: Vec<Attribute> = source.app.rules.mapping.attributes().collect();
    let mut learners = store.rows(&name, &[user], &attributes).await?;
    let records = store.user_records(&name, user).await?;
    let history = store.user_page(user, after.unwrap_or(0), ROWS).await?;
    Ok(UserFacts { learner: learners.remove(&user), records, history })
}

fn learner_section(source: &Source, user: EntraId, learner: Option<&LearnerRow>) -> Markup {
    let Some(LearnerRow { learner, external_id: _, outside, active, deactivated, other_state, values, .. }) = learner
    else {
        return html! {
            p { "Entra id: " code { (user) } }
            p { "The user has no learner that is linked to this application." }
        };
    };
    let (external, hidden) = (source.app.config.learners.table.as_ref(), source.app.rules.mapping.redacted());
    let state = match (outside, other_state, active) {
        (true, _, _) => "outside the limits of [learners.constants]",
        (_, true, _) => "in another state of the platform",
        (_, _, true) => "active",
        (_, _, false) if *deactivated => "inactive, deactivated by learner-sync",
        (_, _, false) => "inactive",
    };
    let column = |attribute| {
        external.map_or_else(|| Attribute::column(attribute), |table| table.column(Column::Attribute(attribute)))
    };
    let rows = values.iter().map(|(attribute, value)| {
        let value = match value {
            None => html! { span.note { (NOTHING) } },
            // As in the log.
            Some(_) if hidden.contains(&attribute) => html! { (REDACTED) },
            Some(value) => foreign(&with_ends(value)),
        };
        vec![attribute_path(attribute), html! { code { (foreign(column(attribute))) } }, value]
    });
    html! {
        section aria-labelledby="learner" {
            h2 #learner { "Learner" }
            (facts([
                ("Entra id", html! { code { (user) } }),
                ("Learner id", html! { code { (foreign(&learner.to_string())) } }),
                ("State", html! { (state) }),
            ]))
            @if !outside { (table("The present values", &["attribute", "column", "value"], rows)) }
        }
    }
}

fn entry(row: &LogRow) -> Markup {
    let LogRow { id, cycle, at, action, status, learner, user_name, reason, detail, changes, .. } = row;
    let LogRow { approved_by, request_id, phase, .. } = row;
    let value = |value: &Value| match value {
        Value::Null => html! { span.note { (NOTHING) } },
        Value::String(text) => foreign(&with_ends(text)),
        value => foreign(&value_text(value, NOTHING)),
    };
    let changes: Vec<Vec<Markup>> = changes
        .as_array()
        .into_iter()
        .flatten()
        .map(|change| ["attribute", "old", "new"].map(|key| value(&change[key])).into())
        .collect();
    let texts = [
        ("User", user_name.clone()),
        ("Learner", learner.as_ref().map(ToString::to_string)),
        ("Hold", phase.map(|phase| phase.to_string())),
        ("Approved by", approved_by.clone()),
        ("Detail", detail.clone()),
        ("Request id", request_id.clone()),
    ];
    let texts = texts.into_iter().filter_map(|(label, text)| Some((label, foreign(&text?))));
    let cycle = html! { a href={ "/log?cycle=" (cycle) } { (cycle) } };
    let list = [
        ("Entry", html! { (id) }),
        ("Time", html! { (local_time(*at)) }),
        ("Cycle", cycle),
        ("Status", html! { (status) }),
        ("Reason", html! { (reason) }),
    ];
    html! {
        article id={ "entry-" (id) } {
            h3 { (action_in_words(*action, *status, *phase)) ": " (reason) }
            (facts(list.into_iter().chain(texts)))
            @if !changes.is_empty() { (table("Changes", &["attribute", "old", "new"], changes)) }
        }
    }
}
