//! What goes wrong in a cycle, drawn at random: troubles, which show as such, and lies, which look like the truth.
//!
//! A lie is told to the first look only, unless the limits of learner-sync are made for it: what both looks see alike
//! is the truth, as far as anybody can know.

use graph_sim::Fault;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::staff::{Event, Staff, assigned_group, events, user};

pub(super) const ASSIGNMENTS: &str = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
/// Every property that is mapped unless configured.
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

/// Of those the ones that everybody has.
const TOLD: [&str; 5] = ["accountEnabled", "givenName", "surname", "country", "department"];

/// One cycle: what happens before it, what goes wrong in it, and what happens while it runs.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) events: Vec<Event>,
    pub(super) troubles: Vec<ApplyError>,
    pub(super) surprise: Surprise,
}

#[derive(Clone, Debug)]
pub(super) enum Surprise {
    None,
    /// The first look is told a lie of the assignments.
    Assignments(Lie),
    /// Or of the members of groups: of both lists, and a group that was hidden from the first look would have its lie told
    /// to the second.
    Members([Option<Lie>; 2]),
    /// So many looks for this account find nothing.
    Late(usize, usize),
    /// The group hides its members.
    Hides(usize),
    /// The group is told to be empty, or not to be there, again and again.
    Lost(usize, bool),
    /// The assignments are told to be none, again and again.
    NobodyAssigned,
    /// All of this happens at once when such a call arrives the given time.
    Meanwhile(At, usize, Vec<Event>),
}

/// What the first look is told of a list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lie {
    Empty,
    /// Nothing on the first page.
    EmptyPage,
    /// Nothing after the first page.
    CutShort,
    Without(usize),
    /// Of a group, so many times.
    NotFound(usize),
}

/// Which request.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    Token,
    Application,
    Assignments,
    Members(usize),
    /// Parts of a batch, from here on: accounts by filter, accounts alone, the deleted items.
    Users,
    Account,
    DeletedItem,
    Batch,
}

/// How long to wait after a 429, as a service may write it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    Missing,
    Text(&'static str),
    /// As a date so many seconds from now.
    Date(i64),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Garbage {
    Half,
    Html,
    NoList,
    Text,
}

/// Where the token must not go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Astray {
    Link,
    Redirect(u16),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Envelope {
    Status(u16),
    Missing(usize),
    Doubled(usize),
    Extra,
    Replaced(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum ApplyError {
    Throttled(At, Wait, usize),
    Failing(At, u16, bool),
    Reset(At, bool),
    /// Whether it stays.
    Garbled(At, Garbage, bool),
    /// A final status; whether it stays.
    Refused(At, u16, bool),
    /// Of the second page of a list.
    Expired(At, usize),
    /// A final status, or no JSON.
    SecondPage(At, Option<u16>),
    /// The list links to its own first page, once or for ever.
    Circle(At, bool),
    Astray(At, Astray),
    Envelope(Envelope),
    /// Rows with nothing but the id, the rest null or missing; whether it stays.
    Bare(At, bool, bool),
    Lacking(At, &'static str),
    /// Of all answers a few fail, drawn from a seed.
    Weather(u64),
}

/// What faults are made with.
pub(super) struct Scene<'a> {
    pub(super) staff: &'a Staff,
    pub(super) application: &'a str,
    pub(super) graph: &'a str,
    pub(super) stranger: &'a str,
}

impl Scene<'_> {
    /// A fault at this request that applies to one call.
    pub(super) fn at(&self, at: At) -> Fault {
        match at {
            At::Token => Fault::on("POST", "/{tenant}/oauth2/v2.0/token"),
            At::Application => Fault::on("GET", "/v1.0/servicePrincipals/{id}"),
            At::Assignments => Fault::on("GET", ASSIGNMENTS),
            At::Members(group) => Fault::on("GET", &format!("/v1.0/groups/{}/members", self.staff.groups[group])),
            At::Users => Fault::on("GET", "/v1.0/users"),
            At::Account => Fault::on("GET", "/v1.0/users/{id}"),
            At::DeletedItem => Fault::on("GET", "/v1.0/directory/deletedItems/{id}"),
            At::Batch => Fault::on("POST", "/v1.0/$batch"),
        }
    }

    fn first_page(&self, at: At) -> String {
        let Self { staff, application, graph, stranger: _ } = self;
        match at {
            At::Members(group) => format!("{graph}/v1.0/groups/{}/members?$select=id&$top=999", staff.groups[group]),
            _ => format!("{graph}/v1.0/servicePrincipals/{application}/appRoleAssignedTo?$top=999"),
        }
    }

    pub(super) fn trouble(&self, trouble: ApplyError) -> Fault {
        let staying = |fault: Fault, stays: bool| if stays { fault.always() } else { fault };
        match trouble {
            ApplyError::Throttled(at, wait, times) => {
                let fault = self.at(at).times(times).answer(429);
                match wait {
                    Wait::Missing => fault,
                    Wait::Text(text) => fault.retry_after(text),
                    Wait::Date(seconds) => fault.retry_after_date(seconds),
                }
            }
            ApplyError::Failing(at, status, true) => self.at(at).answer(status).body("<html>Bad luck</html>"),
            ApplyError::Failing(at, status, false) => self.at(at).answer(status),
            ApplyError::Reset(at, true) => self.at(at).reset_after_headers(),
            ApplyError::Reset(at, false) => self.at(at).reset(),
            ApplyError::Garbled(at, Garbage::Half, stays) => staying(self.at(at), stays).truncated(),
            ApplyError::Garbled(at, Garbage::Html, stays) => {
                staying(self.at(at), stays).body("<html>Please log in</html>")
            }
            ApplyError::Garbled(at, Garbage::NoList, stays) => staying(self.at(at), stays).body("{}"),
            ApplyError::Garbled(at, Garbage::Text, stays) => staying(self.at(at), stays).body("\"value\""),
            ApplyError::Refused(at, status, stays) => staying(self.at(at), stays).answer(status),
            ApplyError::Expired(at, times) => self.at(at).page(2).times(times).expired_page_token(),
            ApplyError::SecondPage(at, Some(status)) => self.at(at).page(2).always().answer(status),
            ApplyError::SecondPage(at, None) => self.at(at).page(2).always().truncated(),
            ApplyError::Circle(at, stays) => staying(self.at(at), stays).next_link(&self.first_page(at)),
            ApplyError::Astray(at, Astray::Link) => self.at(at).next_link(&format!("{}/v1.0/next", self.stranger)),
            ApplyError::Astray(at, Astray::Redirect(status)) => self.at(at).redirect(status, self.stranger),
            ApplyError::Envelope(envelope) => {
                let batch = self.at(At::Batch);
                match envelope {
                    Envelope::Status(status) => batch.outer_status(status),
                    Envelope::Missing(part) => batch.always().missing_part(part),
                    Envelope::Doubled(part) => batch.doubled_part(part),
                    Envelope::Extra => batch.extra_part(),
                    Envelope::Replaced(part) => batch.missing_part(part).extra_part(),
                }
            }
            ApplyError::Bare(at, true, stays) => staying(self.at(at), stays).null_rows(),
            ApplyError::Bare(at, false, stays) => {
                MAPPED.iter().fold(staying(self.at(at), stays), |fault, key| fault.drop_key(key))
            }
            ApplyError::Lacking(at, key) => self.at(at).always().drop_key(key),
            ApplyError::Weather(seed) => Fault::on("*", "/v1.0/**").random(0.06, seed),
        }
    }

    /// A lie to the first look at this list.
    pub(super) fn lie(&self, at: At, lie: Lie) -> Fault {
        match lie {
            Lie::Empty => self.at(at).empty_list(),
            Lie::EmptyPage => self.at(at).empty_page(),
            Lie::CutShort => self.at(at).cut_short(),
            Lie::Without(user) => self.at(at).hide_row(self.staff.user(user)),
            Lie::NotFound(times) => self.at(at).times(times).answer(404),
        }
    }
}

fn list() -> impl Strategy<Value = At> {
    prop_oneof![1 => Just(At::Assignments), 3 => assigned_group().prop_map(At::Members)]
}

fn anywhere() -> impl Strategy<Value = At> {
    prop_oneof![
        2 => Just(At::Token),
        1 => Just(At::Application),
        4 => list(),
        2 => Just(At::Users),
        4 => Just(At::Account),
        1 => Just(At::DeletedItem),
        2 => Just(At::Batch),
    ]
}

fn of_graph() -> impl Strategy<Value = At> {
    prop_oneof![Just(At::Application), list(), Just(At::Batch)]
}

fn rows() -> impl Strategy<Value = At> {
    prop_oneof![2 => assigned_group().prop_map(At::Members), 2 => Just(At::Users), 1 => Just(At::Account)]
}

fn wait() -> impl Strategy<Value = Wait> {
    let text = prop::sample::select(vec!["0", "0.3", "1", "1.2", "-3", "soon", ""]);
    prop_oneof![
        1 => Just(Wait::Missing),
        4 => text.prop_map(Wait::Text),
        2 => prop::sample::select(vec![-60i64, 0, 1]).prop_map(Wait::Date),
    ]
}

fn trouble() -> impl Strategy<Value = ApplyError> {
    let statuses = |all: &[u16]| prop::sample::select(all.to_vec());
    let garbage = prop_oneof![Just(Garbage::Half), Just(Garbage::Html), Just(Garbage::NoList), Just(Garbage::Text)];
    let astray = prop_oneof![Just(Astray::Link), statuses(&[301, 302, 307, 308]).prop_map(Astray::Redirect)];
    let envelope = prop_oneof![
        statuses(&[424, 429, 503, 207]).prop_map(Envelope::Status),
        (1usize..4).prop_map(Envelope::Missing),
        (1usize..4).prop_map(Envelope::Doubled),
        Just(Envelope::Extra),
        (1usize..4).prop_map(Envelope::Replaced),
    ];
    // What is not found is a lie, but for these.
    let not_found = prop_oneof![Just(At::Application), Just(At::Assignments), Just(At::Users), Just(At::Batch)];
    let refused = prop_oneof![
        4 => (anywhere(), statuses(&[400, 401, 403, 424])),
        1 => (not_found, Just(404)),
    ];
    prop_oneof![
        4 => (anywhere(), wait(), prop_oneof![4 => Just(1usize), 1 => Just(2)])
            .prop_map(|(at, wait, times)| ApplyError::Throttled(at, wait, times)),
        3 => (anywhere(), statuses(&[500, 502, 503, 504]), any::<bool>())
            .prop_map(|(at, status, html)| ApplyError::Failing(at, status, html)),
        2 => (anywhere(), any::<bool>()).prop_map(|(at, within)| ApplyError::Reset(at, within)),
        3 => (anywhere(), garbage, any::<bool>()).prop_map(|(at, garbage, stays)| ApplyError::Garbled(at, garbage, stays)),
        5 => (refused, any::<bool>()).prop_map(|((at, status), stays)| ApplyError::Refused(at, status, stays)),
        3 => (list(), prop_oneof![1usize..4, Just(6)]).prop_map(|(at, times)| ApplyError::Expired(at, times)),
        3 => (list(), option::weighted(0.7, statuses(&[400, 403, 404]))).prop_map(|(at, status)| ApplyError::SecondPage(at, status)),
        2 => (list(), any::<bool>()).prop_map(|(at, stays)| ApplyError::Circle(at, stays)),
        2 => (of_graph(), astray).prop_map(|(at, astray)| ApplyError::Astray(at, astray)),
        4 => envelope.prop_map(ApplyError::Envelope),
        5 => (rows(), any::<bool>(), any::<bool>()).prop_map(|(at, nulls, stays)| ApplyError::Bare(at, nulls, stays)),
        5 => (rows(), prop::sample::select(TOLD.to_vec())).prop_map(|(at, key)| ApplyError::Lacking(at, key)),
        1 => any::<u64>().prop_map(ApplyError::Weather),
    ]
}

fn lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        3 => Just(Lie::Empty),
        1 => Just(Lie::EmptyPage),
        3 => Just(Lie::CutShort),
        4 => user().prop_map(Lie::Without),
    ]
}

fn surprise() -> impl Strategy<Value = Surprise> {
    let of_group = || option::weighted(0.6, prop_oneof![4 => lie(), 2 => (1usize..4).prop_map(Lie::NotFound)]);
    prop_oneof![
        4 => Just(Surprise::None),
        2 => lie().prop_map(Surprise::Assignments),
        4 => [of_group(), of_group()].prop_map(Surprise::Members),
        3 => (user(), 1usize..6).prop_map(|(user, looks)| Surprise::Late(user, looks)),
        1 => assigned_group().prop_map(Surprise::Hides),
        2 => (assigned_group(), any::<bool>()).prop_map(|(group, gone)| Surprise::Lost(group, gone)),
        1 => Just(Surprise::NobodyAssigned),
        3 => (anywhere(), 1usize..3, events(4)).prop_map(|(at, nth, events)| Surprise::Meanwhile(at, nth, events)),
    ]
}

pub(super) fn rounds() -> impl Strategy<Value = Vec<Round>> {
    // Many rounds see a second look, and so need somebody who leaves; a clean one writes down what is there.
    let troubles = prop_oneof![2 => Just(Vec::new()), 4 => vec(trouble(), 1..2), 2 => vec(trouble(), 2..4)];
    let round =
        (events(5), troubles, surprise()).prop_map(|(events, troubles, surprise)| Round { events, troubles, surprise });
    vec(round, 1..5)
}
