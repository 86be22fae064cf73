//! What all pages share: the frame, texts from outside, and tables.

use std::path::Path;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use crate::config::command_options;
use crate::model::Attribute;
use crate::store::PagePosition;
use crate::view::{local_time, shown};

/// The stylesheet.
pub(super) const STYLE: &str = "/style.css";
/// Nothing but our own stylesheet and our own forms: no script, and nothing of another host.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The most characters of a value.
const MAX_VALUE: usize = 600;
/// The most characters of a value that stays on one line: a time with its offset.
const SHORT_VALUE: usize = 25;
/// A name or an expression breaks after these.
const BREAKS: [char; 2] = [',', '@'];
/// The classes of what is well, what waits for somebody, and what is bad. The words beside them say the same.
pub(super) const GOOD: &str = "good";
pub(super) const WAITS: &str = "waits";
pub(super) const BAD: &str = "bad";
/// The pages of the navigation.
const PAGES: [(&str, &str); 4] = [("/", "Status"), ("/log", "Log"), ("/cycles", "Cycles"), ("/mapping", "Mapping")];

/// An answer with a page.
pub(super) fn respond(status: StatusCode, page: Markup) -> Response {
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)];
    (status, headers, page.into_string()).into_response()
}

/// The document of a page; `current` is its address in the navigation.
pub(super) fn document(title: &str, current: Option<&str>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) " · learner-sync" }
                link rel="stylesheet" href=(STYLE);
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    p.name { "learner-sync" }
                    nav aria-label="Pages" {
                        ul {
                            @for (path, name) in PAGES {
                                li {
                                    @if current == Some(path) {
                                        a href=(path) aria-current="page" { (name) }
                                    } @else {
                                        a href=(path) { (name) }
                                    }
                                }
                            }
                        }
                    }
                }
                main #main tabindex="-1" {
                    h1 { (breakable(title, &BREAKS)) }
                    (body)
                }
                footer {
                    p { "learner-sync " (env!("CARGO_PKG_VERSION")) ". This page changes nothing; commands do." }
                }
            }
        }
    }
}

/// A text from outside: isolated, without characters that hide something, and not endless.
pub(super) fn foreign(text: &str) -> Markup {
    if text.is_empty() {
        return html! {};
    }
    if let Some((end, _)) = text.char_indices().nth(MAX_VALUE) {
        return html! { bdi { (shown(&text[..end])) } "… " span.note { "(cut; " (text.len()) " bytes in all)" } };
    }
    let text = shown(text);
    if text.chars().nth(SHORT_VALUE).is_none() {
        html! { bdi.short { (text) } }
    } else {
        html! { bdi { (breakable(&text, &BREAKS)) } }
    }
}

/// A text that breaks after one of these characters rather than within a word.
fn breakable(text: &str, after: &[char]) -> Markup {
    html! { @for part in text.split_inclusive(after) { (part) @if part.ends_with(after) { wbr; } } }
}

/// The path of an attribute.
pub(super) fn attribute_path(attribute: Attribute) -> Markup {
    let path = attribute.path();
    html! { code { bdi.short[path.len() <= SHORT_VALUE] { (breakable(path, &[':'])) } } }
}

/// A time that stays on one line where it fits.
pub(super) fn whole_time(at: Timestamp) -> Markup {
    html! { span.whole { (local_time(at)) } }
}

/// What the reader should correct.
pub(super) fn alert(message: &str) -> Markup {
    html! { p.alert role="alert" { (shown(message)) } }
}

/// A command to type, which reads the configuration of the daemon.
pub(super) fn command(text: &str, config: &Path) -> Markup {
    let text = shown(&format!("{text}{}", command_options(config)));
    // An option that breaks at its hyphen looks like another one.
    html! {
        code.command {
            @for (number, word) in text.split(' ').enumerate() {
                @if number > 0 { " " }
                @if word.len() <= SHORT_VALUE { span.whole { (word) } } @else { (word) }
            }
        }
    }
}

/// A table whose rows become cards on a narrow screen. The roles keep it a table for screen readers there.
pub(super) fn table(caption: &str, headers: &[&str], rows: impl IntoIterator<Item = Vec<Markup>>) -> Markup {
    html! {
        table role="table" {
            caption { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    @for header in headers { th scope="col" role="columnheader" { (header) } }
                }
            }
            tbody role="rowgroup" {
                @for row in rows {
                    tr role="row" {
                        @for (header, cell) in headers.iter().zip(row) {
                            td role="cell" data-label=(header) { (cell) }
                        }
                    }
                }
            }
        }
    }
}

/// Facts with their labels.
pub(super) fn facts(facts: impl IntoIterator<Item = (&'static str, Markup)>) -> Markup {
    html! {
        dl {
            @for (label, fact) in facts {
                div { dt { (label) } dd { (fact) } }
            }
        }
    }
}

/// The links to the rows before and after a page; `link` makes them.
pub(super) fn pager(
    position: PagePosition,
    keys: Option<(i64, i64)>,
    has_more: bool,
    link: impl Fn(PagePosition) -> String,
) -> Markup {
    // After a key, the rows of the page are the first after it, so that those before it exist.
    let (has_older, has_newer) = match position {
        PagePosition::Newest => (has_more, false),
        PagePosition::Before(_) => (has_more, true),
        PagePosition::After(_) => (true, has_more),
    };
    html! {
        nav.pager aria-label="More rows" {
            @if let Some((oldest, newest)) = keys {
                @if has_newer {
                    a href=(link(PagePosition::Newest)) { "Newest" } " "
                    a rel="prev" href=(link(PagePosition::After(newest))) { "Newer" } " "
                }
                @if has_older { a rel="next" href=(link(PagePosition::Before(oldest))) { "Older" } }
            } @else if position != PagePosition::Newest {
                a href=(link(PagePosition::Newest)) { "Newest" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_texts_are_harmless_and_cut() {
        let text = foreign("<script>alert(1)</script>\u{202e}\"'&\u{0}").into_string();
        assert_eq!(text, "<bdi>&lt;script&gt;alert(1)&lt;/script&gt;\\u{202e}&quot;'&amp;\\u{0}</bdi>");
        let long = foreign(&"é".repeat(50_000)).into_string();
        assert!(long.len() < 2000 && long.contains("(cut; 100000 bytes in all)"), "{long}");
        assert!(!foreign(&"a".repeat(MAX_VALUE)).into_string().contains("cut"));
        for (text, expected) in [
            ("", ""),
            ("2026-03-02T08:00:00+05:45", "<bdi class=\"short\">2026-03-02T08:00:00+05:45</bdi>"),
            ("ada.number1@harbourworks.example", "<bdi>ada.number1@<wbr>harbourworks.example</bdi>"),
        ] {
            assert_eq!(foreign(text).into_string(), expected);
        }
    }
}
