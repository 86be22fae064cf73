//! Random faults of a cycle: disturbances, which the client can detect, and inconsistencies, which look like valid
//! answers.
//!
//! Only the snapshot gets a wrong list, unless a safety limit covers the case: what snapshot and confirmation agree on
//! counts as true.

use graph_sim::{DateHeader, Fault};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::json;

use super::tenant::{TenantEvent, TenantIds, assigned_group, events, user};

pub(super) const ASSIGNMENTS: &str = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
/// The properties of the default mapping.
const MAPPED: [&str; 10] = [
    "accountEnabled",
    "userPrincipalName",
    "displayName",
    "mail",
    "givenName",
    "surname",
    "jobTitle",
    "country",
    "employeeId",
    "department",
];

/// The mapped properties that every user has.
const ALWAYS_SET: [&str; 5] = ["accountEnabled", "givenName", "surname", "country", "department"];

/// One cycle: events before it, faults in it, and an inconsistency while it runs.
#[derive(Clone, Debug)]
pub(super) struct FaultRound {
    pub(super) events: Vec<TenantEvent>,
    pub(super) disturbances: Vec<Disturbance>,
    pub(super) inconsistency: Inconsistency,
}

#[derive(Clone, Debug)]
pub(super) enum Inconsistency {
    None,
    /// The first list of assignments is wrong.
    Assignments(WrongList),
    /// The first lists of members of two groups are wrong.
    Members([Option<WrongList>; 2]),
    /// A user is not found by a number of reads.
    Late(usize, usize),
    Hides(usize),
    /// A group is always answered as empty, or as missing if the flag is set.
    Lost(usize, bool),
    /// The assignments are always answered as empty.
    NobodyAssigned,
    /// Events during the cycle, at the nth call of an endpoint.
    Meanwhile(Endpoint, usize, Vec<TenantEvent>),
}

/// A wrong list that looks valid.
#[derive(Clone, Copy, Debug)]
pub(super) enum WrongList {
    Empty,
    EmptyPage,
    /// The list ends after the first page.
    CutShort,
    Without(usize),
    /// The group is not found a number of times.
    NotFound(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Endpoint {
    Token,
    Application,
    Assignments,
    Members(usize),
    /// Users by filter, a part of a batch like the next two.
    Users,
    Account,
    DeletedItem,
    Batch,
}

/// The `Retry-After` of a 429.
#[derive(Clone, Copy, Debug)]
pub(super) enum RetryAfter {
    Missing,
    Text(&'static str),
    /// A date, in seconds from now.
    Date(i64),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum InvalidBody {
    Half,
    Html,
    NoList,
    Text,
}

/// A way to send the caller to a foreign origin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Foreign {
    Link,
    Redirect(u16),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum BatchDefect {
    Status(u16),
    Missing(usize),
    Doubled(usize),
    Extra,
    Replaced(usize),
}

/// A fault that the client can detect. The last flag of most variants makes it permanent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Disturbance {
    Throttled(Endpoint, RetryAfter, usize),
    Failing(Endpoint, u16, bool),
    Reset(Endpoint, bool),
    Invalid(Endpoint, InvalidBody, bool),
    /// A status that is not retried.
    Refused(Endpoint, u16, bool),
    /// The token of the second page expires a number of times.
    Expired(Endpoint, usize),
    /// The second page has a status that is not retried, or invalid JSON.
    SecondPage(Endpoint, Option<u16>),
    /// The list links to its own first page.
    Loop(Endpoint, bool),
    Foreign(Endpoint, Foreign),
    BatchDefect(BatchDefect),
    /// Rows with the id only; everything else is null if the first flag is set, else missing.
    IdOnly(Endpoint, bool, bool),
    MissingKey(Endpoint, &'static str),
    /// Random failures of a few calls, with a seed.
    RandomFailures(u64),
    /// A list that may not be whole.
    Doubtful(Endpoint, Doubt, bool),
    /// A row without an id.
    BadRow(Endpoint),
    /// A text of a user that cannot be decoded, in every answer.
    BrokenText(usize, &'static str),
    /// The assignment of a user, or of a group if the flag is set, has no type.
    Untyped(usize, bool),
    /// A member of a group is listed twice, with another account state if the flag is set, else as another type.
    Contradiction(usize, usize, bool),
    /// An answer with a byte order mark.
    Marked(Endpoint),
    /// A part of a batch lacks a user and links to a next page.
    CutPart(usize),
    /// An answer without a usable `Date`.
    Dated(Endpoint, OddDate),
}

/// A `Date` that says nothing, or that contradicts the others.
#[derive(Clone, Copy, Debug)]
pub(super) enum OddDate {
    Missing,
    Text(&'static str),
    Twice,
    Cached,
}

impl Disturbance {
    /// The name under which its effects are counted.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Throttled(_, RetryAfter::Missing, _) => "429 without a time",
            Self::Throttled(_, RetryAfter::Text(_), _) => "429 with seconds",
            Self::Throttled(_, RetryAfter::Date(_), _) => "429 with a date",
            Self::Failing(..) => "5xx",
            Self::Reset(..) => "reset",
            Self::Invalid(_, InvalidBody::Half, _) => "half a body",
            Self::Invalid(_, InvalidBody::Html, _) => "HTML",
            Self::Invalid(_, InvalidBody::NoList, _) => "no list",
            Self::Invalid(_, InvalidBody::Text, _) => "a text",
            Self::Refused(_, 424, _) => "424",
            Self::Refused(..) => "4xx",
            Self::Expired(..) => "expired page token",
            Self::SecondPage(_, Some(_)) => "refused second page",
            Self::SecondPage(_, None) => "half a second page",
            Self::Loop(..) => "loop",
            Self::Foreign(_, Foreign::Link) => "foreign link",
            Self::Foreign(_, Foreign::Redirect(_)) => "redirect",
            Self::BatchDefect(BatchDefect::Status(424)) => "batch with 424",
            Self::BatchDefect(BatchDefect::Status(_)) => "batch with another status",
            Self::BatchDefect(BatchDefect::Missing(_)) => "batch without a part",
            Self::BatchDefect(BatchDefect::Doubled(_)) => "batch with a part twice",
            Self::BatchDefect(BatchDefect::Extra) => "batch with an extra part",
            Self::BatchDefect(BatchDefect::Replaced(_)) => "batch with a wrong part",
            Self::IdOnly(_, true, _) => "rows of nulls",
            Self::IdOnly(_, false, _) => "rows of ids",
            Self::MissingKey(..) => "missing key",
            Self::RandomFailures(_) => "random failures",
            Self::Doubtful(_, Doubt::Error, _) => "error beside rows",
            Self::Doubtful(_, Doubt::ErrorRow, _) => "error as a row",
            Self::Doubtful(_, Doubt::NullLink, _) => "null link",
            Self::Doubtful(_, Doubt::EmptyLink, _) => "empty link",
            Self::Doubtful(_, Doubt::OtherList, _) => "link to another list",
            Self::Doubtful(_, Doubt::TwoValues, _) => "two values",
            Self::Doubtful(_, Doubt::MoreRows, _) => "more rows counted",
            Self::Doubtful(_, Doubt::Trailing, _) => "trailing document",
            Self::BadRow(_) => "row without an id",
            Self::BrokenText(..) => "half an emoji",
            Self::Untyped(_, false) => "untyped user",
            Self::Untyped(_, true) => "untyped group",
            Self::Contradiction(_, _, true) => "contradicting states",
            Self::Contradiction(_, _, false) => "contradicting types",
            Self::Marked(_) => "byte order mark",
            Self::CutPart(_) => "cut part",
            Self::Dated(_, OddDate::Missing) => "no date",
            Self::Dated(_, OddDate::Text(_)) => "odd date",
            Self::Dated(_, OddDate::Twice) => "two dates",
            Self::Dated(_, OddDate::Cached) => "cached date",
        }
    }
}

/// The number of names of [`Disturbance::kind`].
pub(super) const KINDS: usize = 47;

/// Why a list may not be whole.
#[derive(Clone, Copy, Debug)]
pub(super) enum Doubt {
    Error,
    ErrorRow,
    NullLink,
    EmptyLink,
    OtherList,
    TwoValues,
    MoreRows,
    Trailing,
}

/// The ids and URLs that faults refer to.
pub(super) struct FaultContext<'a> {
    pub(super) ids: &'a TenantIds,
    pub(super) application: &'a str,
    pub(super) graph: &'a str,
    pub(super) foreign: &'a str,
}

impl FaultContext<'_> {
    /// A fault of an endpoint that applies to one call.
    pub(super) fn at(&self, at: Endpoint) -> Fault {
        match at {
            Endpoint::Token => Fault::on("POST", "/{tenant}/oauth2/v2.0/token"),
            Endpoint::Application => Fault::on("GET", "/v1.0/servicePrincipals/{id}"),
            Endpoint::Assignments => Fault::on("GET", ASSIGNMENTS),
            Endpoint::Members(group) => Fault::on("GET", &format!("/v1.0/groups/{}/members", self.ids.groups[group])),
            Endpoint::Users => Fault::on("GET", "/v1.0/users"),
            Endpoint::Account => Fault::on("GET", "/v1.0/users/{id}"),
            Endpoint::DeletedItem => Fault::on("GET", "/v1.0/directory/deletedItems/{id}"),
            Endpoint::Batch => Fault::on("POST", "/v1.0/$batch"),
        }
    }

    fn first_page(&self, at: Endpoint) -> String {
        let path = match at {
            Endpoint::Members(group) => format!("groups/{}/members?$select=id&$top=999", self.ids.groups[group]),
            _ => format!("servicePrincipals/{}/appRoleAssignedTo?$top=999", self.application),
        };
        format!("{}/v1.0/{path}", self.graph)
    }

    pub(super) fn disturbance(&self, disturbance: Disturbance) -> Fault {
        let fault = |at, permanent| if permanent { self.at(at).always() } else { self.at(at) };
        match disturbance {
            Disturbance::Throttled(at, retry_after, times) => {
                let fault = self.at(at).times(times).answer(429);
                match retry_after {
                    RetryAfter::Missing => fault,
                    RetryAfter::Text(text) => fault.retry_after(text),
                    RetryAfter::Date(seconds) => fault.retry_after_date(seconds),
                }
            }
            Disturbance::Failing(at, status, true) => self.at(at).answer(status).body("<html>Bad luck</html>"),
            Disturbance::Failing(at, status, false) => self.at(at).answer(status),
            Disturbance::Reset(at, true) => self.at(at).reset_after_headers(),
            Disturbance::Reset(at, false) => self.at(at).reset(),
            Disturbance::Invalid(at, InvalidBody::Half, permanent) => fault(at, permanent).truncated(),
            Disturbance::Invalid(at, InvalidBody::Html, permanent) => fault(at, permanent).body("<html>Log in</html>"),
            Disturbance::Invalid(at, InvalidBody::NoList, permanent) => fault(at, permanent).body("{}"),
            Disturbance::Invalid(at, InvalidBody::Text, permanent) => fault(at, permanent).body("\"value\""),
            Disturbance::Refused(at, status, permanent) => fault(at, permanent).answer(status),
            Disturbance::Expired(at, times) => self.at(at).page(2).times(times).expired_page_token(),
            Disturbance::SecondPage(at, Some(status)) => self.at(at).page(2).always().answer(status),
            Disturbance::SecondPage(at, None) => self.at(at).page(2).always().truncated(),
            Disturbance::Loop(at, permanent) => fault(at, permanent).next_link(&self.first_page(at)),
            Disturbance::Foreign(at, Foreign::Link) => self.at(at).next_link(&format!("{}/v1.0/next", self.foreign)),
            Disturbance::Foreign(at, Foreign::Redirect(status)) => self.at(at).redirect(status, self.foreign),
            Disturbance::BatchDefect(defect) => {
                let batch = self.at(Endpoint::Batch);
                match defect {
                    BatchDefect::Status(status) => batch.outer_status(status),
                    BatchDefect::Missing(part) => batch.always().missing_part(part),
                    BatchDefect::Doubled(part) => batch.doubled_part(part),
                    BatchDefect::Extra => batch.extra_part(),
                    BatchDefect::Replaced(part) => batch.missing_part(part).extra_part(),
                }
            }
            Disturbance::IdOnly(at, true, permanent) => fault(at, permanent).null_rows(),
            Disturbance::IdOnly(at, false, permanent) => MAPPED.into_iter().fold(fault(at, permanent), Fault::drop_key),
            Disturbance::MissingKey(at, key) => self.at(at).always().drop_key(key),
            Disturbance::RandomFailures(seed) => Fault::on("*", "/v1.0/**").random(0.06, seed),
            Disturbance::Doubtful(at, doubt, permanent) => {
                let fault = fault(at, permanent);
                match doubt {
                    Doubt::Error => fault.page_key("error", json!({"code": "InternalServerError"})),
                    Doubt::ErrorRow => fault.add_row(json!({"error": {"code": "InternalServerError"}})),
                    Doubt::NullLink => fault.page_key("@odata.nextLink", json!(null)),
                    Doubt::EmptyLink => fault.page_key("@odata.nextLink", ""),
                    Doubt::OtherList => fault.page_key("@odata.nextLink", "/v1.0/users?$skiptoken=x"),
                    Doubt::TwoValues => fault.replace_text("\"value\":[", "\"value\":[],\"value\":["),
                    Doubt::MoreRows => fault.page_key("@odata.count", 100_000),
                    Doubt::Trailing => fault.replace_text("]}", "]}{}"),
                }
            }
            Disturbance::BadRow(at) => self.at(at).always().add_row(json!(null)),
            Disturbance::BrokenText(user, key) => {
                Fault::on("GET", "/v1.0/**").always().broken_text(self.ids.user(user), key)
            }
            Disturbance::Untyped(user, false) => {
                self.at(Endpoint::Assignments).always().set_key(self.ids.user(user), "principalType", json!(null))
            }
            Disturbance::Untyped(group, true) => {
                let group = &self.ids.groups[group % self.ids.groups.len()];
                self.at(Endpoint::Assignments).always().set_key(group, "principalType", json!(null))
            }
            Disturbance::Contradiction(group, user, true) => {
                self.at(Endpoint::Members(group)).always().repeat_row(self.ids.user(user), "accountEnabled", false)
            }
            Disturbance::Contradiction(group, user, false) => {
                let kind = "#microsoft.graph.agentUser";
                self.at(Endpoint::Members(group)).always().repeat_row(self.ids.user(user), "@odata.type", kind)
            }
            Disturbance::Marked(at) => self.at(at).byte_order_mark(),
            Disturbance::CutPart(user) => {
                let next = format!("{}/v1.0/users?$skiptoken=next", self.graph);
                let fault = Fault::on("GET", "/v1.0/users").always().mentioning(self.ids.user(user));
                fault.hide_row(self.ids.user(user)).next_link(&next)
            }
            Disturbance::Dated(at, date) => self.at(at).dated(match date {
                OddDate::Missing => DateHeader::Missing,
                OddDate::Text(text) => DateHeader::Text(vec![text.to_owned()]),
                OddDate::Twice => DateHeader::Text(vec!["Mon, 02 Mar 2026 08:00:00 GMT".to_owned(); 2]),
                OddDate::Cached => DateHeader::Cached,
            }),
        }
    }

    pub(super) fn wrong_list(&self, at: Endpoint, wrong_list: WrongList) -> Fault {
        match wrong_list {
            WrongList::Empty => self.at(at).empty_list(),
            WrongList::EmptyPage => self.at(at).empty_page(),
            WrongList::CutShort => self.at(at).cut_short(),
            WrongList::Without(user) => self.at(at).hide_row(self.ids.user(user)),
            WrongList::NotFound(times) => self.at(at).times(times).answer(404),
        }
    }
}

fn list() -> impl Strategy<Value = Endpoint> {
    prop_oneof![1 => Just(Endpoint::Assignments), 3 => assigned_group().prop_map(Endpoint::Members)]
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    prop_oneof![
        2 => Just(Endpoint::Token),
        1 => Just(Endpoint::Application),
        4 => list(),
        2 => Just(Endpoint::Users),
        4 => Just(Endpoint::Account),
        1 => Just(Endpoint::DeletedItem),
        2 => Just(Endpoint::Batch),
    ]
}

fn graph_endpoint() -> impl Strategy<Value = Endpoint> {
    prop_oneof![Just(Endpoint::Application), list(), Just(Endpoint::Batch)]
}

fn row_endpoint() -> impl Strategy<Value = Endpoint> {
    prop_oneof![2 => assigned_group().prop_map(Endpoint::Members), 2 => Just(Endpoint::Users), 1 => Just(Endpoint::Account)]
}

fn retry_after() -> impl Strategy<Value = RetryAfter> {
    let text = prop::sample::select(vec!["0", "0.3", "1", "1.2", "-3", "soon", ""]);
    prop_oneof![
        1 => Just(RetryAfter::Missing),
        4 => text.prop_map(RetryAfter::Text),
        2 => prop::sample::select(vec![-60i64, 0, 1]).prop_map(RetryAfter::Date),
    ]
}

fn odd_date() -> impl Strategy<Value = OddDate> {
    let texts = [
        "soon",
        "",
        "0",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Mon, 02 Mar 2015 08:00:00 GMT",
        "Mon, 02 Mar 2026 08:00:00 GMT",
        "Tue, 02 Mar 2027 08:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ];
    prop_oneof![
        1 => Just(OddDate::Missing),
        3 => prop::sample::select(texts.to_vec()).prop_map(OddDate::Text),
        1 => Just(OddDate::Twice),
        1 => Just(OddDate::Cached),
    ]
}

pub(super) fn disturbance() -> BoxedStrategy<Disturbance> {
    let statuses = |all: &[u16]| prop::sample::select(all.to_vec());
    let body = prop_oneof![
        Just(InvalidBody::Half),
        Just(InvalidBody::Html),
        Just(InvalidBody::NoList),
        Just(InvalidBody::Text)
    ];
    let target = prop_oneof![Just(Foreign::Link), statuses(&[301, 302, 307, 308]).prop_map(Foreign::Redirect)];
    let defect = prop_oneof![
        statuses(&[424, 429, 503, 207]).prop_map(BatchDefect::Status),
        (1usize..4).prop_map(BatchDefect::Missing),
        (1usize..4).prop_map(BatchDefect::Doubled),
        Just(BatchDefect::Extra),
        (1usize..4).prop_map(BatchDefect::Replaced),
    ];
    let doubt = prop::sample::select(vec![
        Doubt::Error,
        Doubt::ErrorRow,
        Doubt::NullLink,
        Doubt::EmptyLink,
        Doubt::OtherList,
        Doubt::TwoValues,
        Doubt::MoreRows,
        Doubt::Trailing,
    ]);
    // A 404 is a detectable fault only for these endpoints; elsewhere it looks valid.
    let not_found =
        prop::sample::select(vec![Endpoint::Application, Endpoint::Assignments, Endpoint::Users, Endpoint::Batch]);
    let refused = prop_oneof![
        4 => (endpoint(), statuses(&[400, 401, 403, 424])),
        1 => (not_found, Just(404)),
    ];
    prop_oneof![
        4 => (endpoint(), retry_after(), prop_oneof![4 => Just(1usize), 1 => Just(2)])
            .prop_map(|(at, retry_after, times)| Disturbance::Throttled(at, retry_after, times)),
        3 => (endpoint(), statuses(&[500, 502, 503, 504]), any::<bool>())
            .prop_map(|(at, status, html)| Disturbance::Failing(at, status, html)),
        2 => (endpoint(), any::<bool>()).prop_map(|(at, within)| Disturbance::Reset(at, within)),
        3 => (endpoint(), body, any::<bool>()).prop_map(|(at, body, permanent)| Disturbance::Invalid(at, body, permanent)),
        5 => (refused, any::<bool>()).prop_map(|((at, status), permanent)| Disturbance::Refused(at, status, permanent)),
        3 => (list(), prop_oneof![1usize..4, Just(6)]).prop_map(|(at, times)| Disturbance::Expired(at, times)),
        3 => (list(), option::weighted(0.7, statuses(&[400, 403, 404]))).prop_map(|(at, status)| Disturbance::SecondPage(at, status)),
        2 => (list(), any::<bool>()).prop_map(|(at, permanent)| Disturbance::Loop(at, permanent)),
        2 => (graph_endpoint(), target).prop_map(|(at, target)| Disturbance::Foreign(at, target)),
        4 => defect.prop_map(Disturbance::BatchDefect),
        5 => (row_endpoint(), any::<bool>(), any::<bool>()).prop_map(|(at, nulls, permanent)| Disturbance::IdOnly(at, nulls, permanent)),
        5 => (row_endpoint(), prop::sample::select(ALWAYS_SET.to_vec())).prop_map(|(at, key)| Disturbance::MissingKey(at, key)),
        1 => any::<u64>().prop_map(Disturbance::RandomFailures),
        6 => (list(), doubt, any::<bool>()).prop_map(|(at, doubt, permanent)| Disturbance::Doubtful(at, doubt, permanent)),
        3 => list().prop_map(Disturbance::BadRow),
        3 => (user(), prop::sample::select(MAPPED[1..].to_vec())).prop_map(|(user, key)| Disturbance::BrokenText(user, key)),
        3 => (user(), any::<bool>()).prop_map(|(number, group)| Disturbance::Untyped(number, group)),
        3 => (assigned_group(), user(), any::<bool>()).prop_map(|(group, user, state)| Disturbance::Contradiction(group, user, state)),
        2 => endpoint().prop_map(Disturbance::Marked),
        3 => user().prop_map(Disturbance::CutPart),
        3 => (graph_endpoint(), odd_date()).prop_map(|(at, date)| Disturbance::Dated(at, date)),
    ]
    .boxed()
}

fn wrong_list() -> impl Strategy<Value = WrongList> {
    prop_oneof![
        3 => Just(WrongList::Empty),
        1 => Just(WrongList::EmptyPage),
        3 => Just(WrongList::CutShort),
        4 => user().prop_map(WrongList::Without),
    ]
}

fn inconsistency() -> impl Strategy<Value = Inconsistency> {
    let group_list =
        || option::weighted(0.6, prop_oneof![4 => wrong_list(), 2 => (1usize..4).prop_map(WrongList::NotFound)]);
    prop_oneof![
        4 => Just(Inconsistency::None),
        2 => wrong_list().prop_map(Inconsistency::Assignments),
        4 => [group_list(), group_list()].prop_map(Inconsistency::Members),
        3 => (user(), 1usize..6).prop_map(|(user, reads)| Inconsistency::Late(user, reads)),
        1 => assigned_group().prop_map(Inconsistency::Hides),
        2 => (assigned_group(), any::<bool>()).prop_map(|(group, gone)| Inconsistency::Lost(group, gone)),
        1 => Just(Inconsistency::NobodyAssigned),
        3 => (endpoint(), 1usize..3, events(4)).prop_map(|(at, nth, events)| Inconsistency::Meanwhile(at, nth, events)),
    ]
}

pub(super) fn rounds() -> impl Strategy<Value = Vec<FaultRound>> {
    // Rounds without disturbances record the current state, which later rounds depend on.
    let disturbances = prop_oneof![2 => Just(Vec::new()), 4 => vec(disturbance(), 1..2), 2 => vec(disturbance(), 2..4)];
    let round = (events(5), disturbances, inconsistency())
        .prop_map(|(events, disturbances, inconsistency)| FaultRound { events, disturbances, inconsistency });
    vec(round, 1..5)
}
