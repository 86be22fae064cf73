//! `/mapping`: the mapping in force.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::PageState;
use super::layout::{attribute_path, command, document, facts, foreign, respond, table};
use crate::mapping::DescribedEntry;
use crate::model::{Column, ColumnConstant, Table};
use crate::view::{kind_in_words, local_time, options_in_words};

pub(super) fn answer(state: &PageState) -> Response {
    let app = state.observed.app.borrow().clone();
    let loaded_at = state.observed.record.borrow().loaded_at;
    let (learners, rules) = (&app.config.learners, &app.rules);
    let external = learners.table.as_ref();
    let row = |entry: DescribedEntry<'_>| {
        let column =
            external.map_or(entry.attribute.column(), |table| table.column(Column::Attribute(entry.attribute)));
        vec![
            attribute_path(entry.attribute),
            html! { code { (foreign(column)) } },
            html! { (kind_in_words(entry.attribute)) },
            html! { code { (foreign(&entry.expression)) } },
            foreign(&entry.properties.join(", ")),
            foreign(&options_in_words(&entry)),
        ]
    };
    let headers = ["attribute", "column", "type", "expression", "reads", "options"];
    let entries: Vec<Vec<Markup>> = rules.mapping.describe().map(row).collect();
    let mut list = vec![
        ("Match attribute", html! { code { (learners.match_attribute.path()) } }),
        ("Learners table", html! { code { (foreign(&table_name(external))) } }),
        ("Read for every user", foreign(&rules.selection.properties().join(", "))),
        ("Configuration", foreign(&format!("{}, loaded at {}", app.config.path.display(), local_time(loaded_at)))),
    ];
    let constants =
        external.into_iter().flat_map(|table| table.constants.iter().map(move |constant| (table, constant)));
    list.extend(constants.map(|(table, (name, value))| ("Constant", constant(table, name, value))));
    let warnings: Vec<String> = rules
        .mapping
        .warnings(rules.limits.match_attribute)
        .into_iter()
        .map(|(attribute, words)| format!("{}: {words}", attribute.path()))
        .chain(rules.scope.warnings().map(|words| words.to_string()))
        .collect();
    let body = html! {
        p { "The mapping of the running daemon. " (command("learner-sync mapping check", &app.config.path)) " checks the file." }
        (table("The attributes", &headers, entries))
        (facts(list))
        @if !warnings.is_empty() {
            h2 { "Warnings" }
            ul { @for warning in &warnings { li { (foreign(warning)) } } }
        }
    };
    respond(StatusCode::OK, document("Mapping", Some("/mapping"), &body))
}

fn table_name(external: Option<&Table>) -> String {
    match external {
        None => "learners".to_owned(),
        Some(Table { schema: Some(schema), name, .. }) => format!("{schema}.{name}"),
        Some(Table { schema: None, name, .. }) => name.clone(),
    }
}

fn constant(table: &Table, name: &str, value: &ColumnConstant) -> Markup {
    let value = match value {
        ColumnConstant::Text(text) => format!("{text:?}"),
        ColumnConstant::Number(number) => number.to_string(),
        ColumnConstant::Boolean(boolean) => boolean.to_string(),
    };
    let limit = if table.limits.contains(name) { ", limits the table to rows that carry it" } else { "" };
    html! { code { (foreign(&format!("{name} = {value}"))) } (limit) }
}
