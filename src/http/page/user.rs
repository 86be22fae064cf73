//! `/users/{entra id}`: the learner of one user as it is now, and its history since the user was first seen.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::PageState;
use super::layout::{command, document, facts, foreign, respond, table};
use super::log::ROWS;
use super::query::{UserQuery, link};
use super::reader::{self, PageError, Source};
use crate::model::{Attribute, Column, EntraId};
use crate::plan::LearnerRow;
use crate::runtime::configured_source;
use crate::store::{LogRow, Store, StoreError};
use crate::view::{NOTHING, action_in_words, local_time, shown, value_text, with_ends};

/// The most characters of a name in a title.
const MAX_NAME: usize = 100;

pub(super) async fn answer(state: PageState, user: &str, query: UserQuery) -> Result<Response, PageError> {
    let unknown = || PageError::NotFound("no user with this id is known to learner-sync".to_owned());
    // Other forms of a GUID, such as one in braces, are not ids of Entra.
    let is_same = |id: &EntraId| id.to_string().eq_ignore_ascii_case(user);
    let user: EntraId = user.parse().ok().filter(is_same).ok_or_else(unknown)?;
    reader::answer(state, async move |source: Source| {
        let store = source.open().await?;
        let found = read(&source, &store, user, query.after).await;
        // Only read, so nothing is lost.
        let _ = store.close().await;
        let (learner, mut rows) = found?;
        if learner.is_none() && rows.is_empty() && query.after.is_none() {
            return Err(unknown());
        }
        let name = name_of(user, learner.as_ref(), &rows);
        let has_more = rows.len() > ROWS as usize;
        rows.truncate(ROWS as usize);
        let body = html! {
            (learner_section(&source, user, learner.as_ref()))
            section aria-labelledby="history" {
                h2 #history { "History" @if query.after.is_some() { ", continued" } }
                @if rows.is_empty() { p { "No log entries; they may have expired." } }
                ol.history { @for row in &rows { li { (entry(row)) } } }
                @if has_more && let Some(last) = rows.last() {
                    nav.pager aria-label="More entries" {
                        a rel="next" href=(link(&format!("/users/{user}"), [("after", last.id.to_string())].into_iter())) {
                            "Later entries"
                        }
                    }
                }
                p { "On the command line: " (command(&format!("learner-sync log --user {user}"))) }
            }
        };
        let title = format!("User {}", shown(&name));
        Ok(respond(StatusCode::OK, document(&title, None, &body)))
    })
    .await
}

/// The present user name, or the last one in the log, or else the id.
fn name_of(user: EntraId, learner: Option<&LearnerRow>, rows: &[LogRow]) -> String {
    let now = learner.and_then(|learner| learner.values.text(Attribute::UserName).map(str::to_owned));
    let logged = || rows.iter().rev().find_map(|row| row.user_name.clone());
    let name = now.or_else(logged).unwrap_or_else(|| user.to_string());
    name.chars().take(MAX_NAME).collect()
}

async fn read(
    source: &Source,
    store: &Store,
    user: EntraId,
    after: Option<i64>,
) -> Result<(Option<LearnerRow>, Vec<LogRow>), StoreError> {
    let name = configured_source(&source.app.config, &store.state().await?);
    let attributes: Vec<Attribute> = source.app.rules.mapping.attributes().collect();
    let mut learners = store.rows(&name, &[user], &attributes).await?;
    let rows = store.log_of(user, after.unwrap_or(0), ROWS + 1).await?.rows;
    Ok((learners.remove(&user), rows))
}

fn learner_section(source: &Source, user: EntraId, learner: Option<&LearnerRow>) -> Markup {
    let Some(LearnerRow { learner, external_id: _, outside, active, deactivated, other_state, values, .. }) = learner
    else {
        return html! {
            p { "Entra id: " code { (user) } }
            p { "The user has no learner that is linked to this application." }
        };
    };
    let external = source.app.config.learners.table.as_ref();
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
            Some(value) => foreign(&with_ends(value)),
        };
        vec![html! { code { (attribute.path()) } }, html! { code { (foreign(column(attribute))) } }, value]
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
