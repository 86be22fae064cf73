//! Times, values and actions in words: the same for commands and for the status page.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use crate::model::{Action, Phase, Status, hides_something, is_visible, trim_blanks, visible};

/// `1 user`, `2 users`.
pub(crate) fn counted<N: std::fmt::Display + PartialEq + From<u8>>(number: N, what: &str) -> String {
    let ending = if number == N::from(1) { "" } else { "s" };
    format!("{number} {what}{ending}")
}

/// A time to the second, in UTC, for documents.
pub(crate) fn seconds(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// A time to the second for people: in the zone of this machine, with its offset. `--since` takes it as it is.
pub(crate) fn local_time(at: Timestamp) -> String {
    time_in(&TimeZone::system(), at)
}

fn time_in(zone: &TimeZone, at: Timestamp) -> String {
    let local = at.to_zoned_datetime(zone.clone());
    if local.offset().seconds() == 0 { seconds(at) } else { local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string() }
}

/// The action, if it was carried out; otherwise what became of it.
pub(crate) fn action_in_words(action: Action, status: Status, phase: Option<Phase>) -> String {
    match (status, phase) {
        (_, Some(Phase::Ended)) => format!("hold ended: {action}"),
        (Status::Success, _) => action.to_string(),
        (Status::Held, _) => format!("would {action}"),
        (Status::Failure | Status::Skipped, _) => format!("{action} ({status})"),
    }
}

/// The same document: what hides something becomes an escape of JSON, which only strings can contain.
pub(crate) fn visible_json(json: String) -> String {
    if !json.split('\n').any(hides_something) {
        return json;
    }
    let mut shown = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter == '\n' || is_visible(letter) {
            shown.push(letter);
        } else {
            let mut units = [0; 2];
            shown.extend(letter.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    shown
}

/// A JSON value as text without quotes; `nothing` stands for null.
pub(crate) fn value_text(value: &Value, nothing: &str) -> String {
    match value {
        Value::Null => nothing.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value in quotes where its end would not be seen: it is empty, or has blanks around it.
pub(crate) fn with_ends(text: &str) -> String {
    if text.is_empty() || trim_blanks(text) != text { format!("{text:?}") } else { text.to_owned() }
}

/// Foreign text, such as a user name, for a cell of a table or within a line.
pub(crate) fn shown(text: &str) -> String {
    visible(text).into_owned()
}

/// Stands for a value that is cleared.
pub(crate) const NOTHING: &str = "(nothing)";

/// `department: Sales -> Research`, with the last part of a long SCIM path: a whole one takes a line.
pub(crate) fn short_change(path: &str, old: Option<&str>, new: &str) -> String {
    let name = if path.starts_with("urn:") { path.rsplit(':').next().unwrap_or(path) } else { path };
    match old {
        None => format!("{name}: {new}"),
        Some(old) => format!("{name}: {} -> {new}", with_ends(old)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_for_people_are_local_and_have_their_offset() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (at, expected) in [
            ("2026-01-02T03:04:05.9Z", "2026-01-02T04:04:05+01:00"),
            ("2026-07-01T22:30:00Z", "2026-07-02T00:30:00+02:00"),
        ] {
            let at: Timestamp = at.parse().unwrap();
            assert_eq!(time_in(&zone, at), expected);
            assert_eq!(expected.parse::<Timestamp>().unwrap().as_second(), at.as_second());
            assert_eq!(time_in(&TimeZone::UTC, at), seconds(at));
        }
    }
}
