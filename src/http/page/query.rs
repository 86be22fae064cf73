//! The parameters of the pages. Unknown ones and wrong values are refused, so that a mistyped filter does not show
//! everything.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use jiff::{Timestamp, tz::TimeZone};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::model::{Action, Reason, Status, foreign_text, shell_word};
use crate::store::{CycleId, LogFilter, PagePosition, RowRange};
use crate::view::GivenTime;

/// The longest part of an address after `?`.
const MAX_QUERY: usize = 4096;

/// The filters of the log.
pub(super) const FILTERS: [&str; 7] = ["user", "action", "status", "reason", "cycle", "since", "until"];

/// Why a query is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusedQuery {
    pub(super) status: StatusCode,
    /// The parameter to correct, unless the query as a whole is wrong.
    pub(super) parameter: Option<String>,
    pub(super) message: String,
}

impl RefusedQuery {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, parameter: None, message: message.into() }
    }

    /// This parameter has a wrong value.
    fn of(parameter: &str, problem: &str) -> Self {
        let message = format!("{}: {problem}", foreign_text(parameter));
        Self { parameter: Some(parameter.to_owned()), ..Self::new(message) }
    }
}

/// The query of `/log` and `/log.csv`. An empty filter counts as missing, because forms send all of their fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogQuery {
    filters: Vec<(&'static str, String)>,
    pub(super) position: PagePosition,
    /// The first problem. The form shows it beside everything that could be read.
    refused: Option<RefusedQuery>,
}

/// The query of `/users/{id}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UserQuery {
    /// The history continues after this row.
    pub(super) after: Option<i64>,
}

/// The query of `/cycles`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CyclesQuery {
    pub(super) position: PagePosition,
}

impl LogQuery {
    pub(super) fn parse(query: Option<String>) -> Self {
        let mut parsed = Self::default();
        for parameter in parameters(query) {
            let read = parameter.and_then(|(name, value)| parsed.read(&name, &value));
            parsed.refused = parsed.refused.or(read.err());
        }
        parsed
    }

    fn read(&mut self, name: &str, value: &str) -> Result<(), RefusedQuery> {
        if let Some(filter) = FILTERS.into_iter().find(|filter| *filter == name) {
            if !value.trim().is_empty() {
                self.filters.push((filter, value.trim().to_owned()));
            }
        } else if !read_position(&mut self.position, name, value)? {
            return Err(unknown(name, &[&FILTERS[..], &["before", "after"]].concat()));
        }
        Ok(())
    }

    /// The value of a filter, as it was written.
    pub(super) fn value(&self, filter: &str) -> &str {
        self.filters.iter().find(|(name, _)| *name == filter).map_or("", |(_, value)| value)
    }

    pub(super) fn is_filtered(&self) -> bool {
        !self.filters.is_empty()
    }

    /// The filter for the learner database.
    pub(super) fn filter(&self, now: Timestamp) -> Result<LogFilter, RefusedQuery> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        let text = |name: &'static str| Some(self.value(name)).filter(|value| !value.is_empty());
        let time = |name: &'static str| {
            let given =
                text(name).map(|text| text.parse().and_then(|time: GivenTime| time.at(now, &TimeZone::system())));
            given.transpose().map_err(|error| RefusedQuery::of(name, &error))
        };
        Ok(LogFilter {
            user: text("user").map(str::to_owned),
            action: word("action", text("action"), Action::ALL, Action::as_str)?,
            status: word("status", text("status"), Status::ALL, Status::as_str)?,
            reason: word("reason", text("reason"), Reason::ALL, Reason::as_str)?,
            cycle: text("cycle").map(|text| number("cycle", text)).transpose()?.map(CycleId),
            id: None,
            range: RowRange { since: time("since")?, until: time("until")?, ..RowRange::default() },
        })
    }

    /// A link to `path` with the same filters.
    pub(super) fn link(&self, path: &str, position: PagePosition) -> String {
        let filters = self.filters.iter().map(|(name, value)| (*name, value.clone()));
        link(path, filters.chain(position_parameter(position)))
    }

    /// The command that shows the same rows.
    pub(super) fn command(&self) -> String {
        let options = self.filters.iter().map(|(name, value)| format!(" --{name} {}", shell_word(value)));
        format!("learner-sync log{}", options.collect::<String>())
    }
}

impl UserQuery {
    pub(super) fn parse(query: Option<String>) -> Result<Self, RefusedQuery> {
        let mut parsed = Self::default();
        for parameter in parameters(query) {
            let (name, value) = parameter?;
            match &*name {
                "after" => parsed.after = Some(number(&name, &value)?),
                _ => return Err(unknown(&name, &["after"])),
            }
        }
        Ok(parsed)
    }
}

impl CyclesQuery {
    pub(super) fn parse(query: Option<String>) -> Result<Self, RefusedQuery> {
        let mut parsed = Self::default();
        for parameter in parameters(query) {
            let (name, value) = parameter?;
            if !read_position(&mut parsed.position, &name, &value)? {
                return Err(unknown(&name, &["before", "after"]));
            }
        }
        Ok(parsed)
    }
}

/// Reads a parameter into `position`; returns whether it is one of a position.
fn read_position(position: &mut PagePosition, name: &str, value: &str) -> Result<bool, RefusedQuery> {
    let read = match name {
        "before" => PagePosition::Before(number(name, value)?),
        "after" => PagePosition::After(number(name, value)?),
        _ => return Ok(false),
    };
    if *position != PagePosition::Newest {
        return Err(RefusedQuery::new("before and after exclude each other"));
    }
    *position = read;
    Ok(true)
}

/// The parameter of a position.
pub(super) fn position_parameter(position: PagePosition) -> Option<(&'static str, String)> {
    match position {
        PagePosition::Newest => None,
        PagePosition::Before(key) => Some(("before", key.to_string())),
        PagePosition::After(key) => Some(("after", key.to_string())),
    }
}

/// Refuses every parameter.
pub(super) fn no_parameters(query: Option<String>) -> Result<(), RefusedQuery> {
    match parameters(query).into_iter().next() {
        Some(first) => Err(unknown(&first?.0, &[])),
        None => Ok(()),
    }
}

/// A text as a part of an address.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// `path?name=value&…`
pub(super) fn link(path: &str, parameters: impl Iterator<Item = (&'static str, String)>) -> String {
    let pairs = parameters.map(|(name, value)| format!("{name}={}", encoded(&value)));
    let query = pairs.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The decoded names and values, each name once.
fn parameters(query: Option<String>) -> Vec<Result<(String, String), RefusedQuery>> {
    let query = query.unwrap_or_default();
    if query.len() > MAX_QUERY {
        let refused = RefusedQuery::new("the part of the address after ? is too long");
        return vec![Err(RefusedQuery { status: StatusCode::URI_TOO_LONG, ..refused })];
    }
    let decode = |text: &str| {
        let decoded = percent_decode_str(&text.replace('+', " ")).decode_utf8().map(|text| text.into_owned());
        decoded.map_err(|_| RefusedQuery::new("a parameter is not UTF-8"))
    };
    let mut known = BTreeSet::new();
    let parameter = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        if !known.insert(name.clone()) {
            return Err(RefusedQuery::of(&name, "given twice"));
        }
        Ok((name, value))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(parameter).collect()
}

fn unknown(name: &str, known: &[&str]) -> RefusedQuery {
    let known = match known {
        [] => "this page has none".to_owned(),
        known => format!("there are {}", known.join(", ")),
    };
    RefusedQuery::new(format!("unknown parameter {}; {known}", foreign_text(name)))
}

fn number(name: &str, text: &str) -> Result<i64, RefusedQuery> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| RefusedQuery::of(name, "must be a number"))
}

/// The word of an enumeration.
fn word<T: Copy>(
    name: &str,
    text: Option<&str>,
    all: &[T],
    word: fn(T) -> &'static str,
) -> Result<Option<T>, RefusedQuery> {
    let Some(text) = text else { return Ok(None) };
    let found = all.iter().copied().find(|one| word(*one) == text);
    let words = || all.iter().map(|one| word(*one)).collect::<Vec<_>>().join(", ");
    found.map(Some).ok_or_else(|| RefusedQuery::of(name, &format!("must be one of {}", words())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(query: &str) -> String {
        let filter = LogQuery::parse(Some(query.to_owned())).filter(Timestamp::UNIX_EPOCH);
        filter.map_or_else(|refused| refused.message, |_| "good".to_owned())
    }

    #[test]
    fn filters_are_decoded_and_empty_ones_count_as_missing() {
        let query = LogQuery::parse(Some("user=+a%2Bb%40c+&action=&status=held&before=7".to_owned()));
        assert_eq!((query.value("user"), query.value("action"), query.value("status")), ("a+b@c", "", "held"));
        assert_eq!(query.position, PagePosition::Before(7));
        assert_eq!(query.link("/log", PagePosition::After(9)), "/log?user=a%2Bb%40c&status=held&after=9");
        assert_eq!(query.command(), "learner-sync log --user a+b@c --status held");
        assert!(!LogQuery::parse(Some("user=&action=&".to_owned())).is_filtered());
        assert_eq!(LogQuery::parse(None), LogQuery::default());
    }

    #[test]
    fn wrong_parameters_are_refused_with_a_reason() {
        for (query, expected) in [
            ("user=ada&since=7d&until=2026-01-02+03%3A04", "good"),
            ("usr=ada", "unknown parameter usr; there are user, action"),
            ("%00=1", "unknown parameter"),
            ("user=a&user=b", "user: given twice"),
            ("user=%ff", "a parameter is not UTF-8"),
            ("action=explode", "action: must be one of create, update, deactivate, reactivate"),
            ("cycle=x", "cycle: must be a number"),
            ("cycle=-1", "cycle: must be a number"),
            ("cycle=99999999999999999999", "cycle: must be a number"),
            ("since=yesterday", "since: not a time"),
            ("before=1&after=2", "before and after exclude each other"),
            ("before=", "before: must be a number"),
        ] {
            assert!(message(query).starts_with(expected), "{query}: {}", message(query));
        }
        assert_eq!(message(&format!("user={}", "a".repeat(5000))), "the part of the address after ? is too long");
        // The form shows everything else again.
        let query = LogQuery::parse(Some("user=ada&usr=bob&action=explode&status=held&cycle=%ff".to_owned()));
        assert_eq!((query.value("user"), query.value("action"), query.value("status")), ("ada", "explode", "held"));
        assert!(query.filter(Timestamp::UNIX_EPOCH).unwrap_err().message.starts_with("unknown parameter usr"));
        assert!(no_parameters(Some("a=b".to_owned())).is_err());
        assert!(no_parameters(Some(String::new())).is_ok());
    }
}
