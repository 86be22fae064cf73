//! Histories, how they are drawn, and how they are told.

use std::fmt;

use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::entra::{AssignedUser, DatabaseLocation, Event, Fate, GROUPS, Group, MAIL, Turn};
use super::model::Limits;

/// So many users can ever be hired; more than are there at first.
const PEOPLE: usize = 13;
/// A cycle of so few users comes to its end in fewer turns.
const TURNS: usize = 50;
const TITLE: usize = 4;
const DEPARTMENT: usize = 7;

/// A tenant and all that happens in it.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) telling: Telling,
    pub(super) limits: Limits,
    pub(super) staff: Vec<DatabaseLocation>,
    pub(super) rounds: Vec<Round>,
}

/// In which order, and how, Entra ID tells the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Telling {
    /// Of the ids, by which every list is ordered.
    pub(super) seed: u64,
    /// Leaves out what a member has no value for.
    pub(super) sparse: bool,
}

/// What happens, and then a cycle.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// It is ten minutes after the last one, not thirty.
    pub(super) early: bool,
    /// Everybody who is held is approved.
    pub(super) approve: bool,
    /// And then so many hours pass.
    pub(super) hours: i64,
    pub(super) events: Vec<Event>,
    pub(super) cache: Option<Damage>,
    pub(super) cycle: How,
    /// Whether the same cycle comes at once again.
    pub(super) again: bool,
}

/// What happens to the cache while nothing runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Damage {
    Lost,
    Truncated,
    Garbled,
}

/// How the cycle goes.
#[derive(Clone, Debug)]
pub(super) enum How {
    Plainly,
    /// Without the cache.
    InFull,
    /// Given up after so many turns.
    GivenUp(usize),
    Fails(At, Answer),
    /// One answer does not come, and then it does.
    Retries(At, Hitch),
    /// This happens before the second look, if there is one.
    Meanwhile(Vec<Event>),
    /// The first look finds this list empty: the assignments, or the members of a group.
    Stale(Option<Group>),
    /// The second look may not see this account.
    Unreadable(AssignedUser),
}

/// Which request.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    Token,
    Application,
    Assignments,
    Members(Group),
    /// Of the users who are assigned themselves.
    Users,
    /// From here on at the second look.
    Accounts,
    DeletedItems,
    AssignmentsAgain,
    MembersAgain(Group),
}

/// What is answered, again and again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// By a status that is not tried again.
    Refused(u16),
    /// By one that is, for some seconds.
    InternalError,
    Html,
    HalfAList,
}

/// What makes a request be sent again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hitch {
    Unavailable,
    Reset,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { early, approve, hours, events, cache, cycle, again } = self;
        if *early {
            f.write_str("ten minutes later; ")?;
        }
        if *approve {
            f.write_str("all who are held are approved; ")?;
        }
        if *hours > 0 {
            write!(f, "{hours} hours pass; ")?;
        }
        events.iter().try_for_each(|event| write!(f, "{event}; "))?;
        if let Some(damage) = cache {
            write!(f, "the cache is {}; ", format!("{damage:?}").to_lowercase())?;
        }
        match cycle {
            How::Plainly => f.write_str("a cycle")?,
            How::InFull => f.write_str("a full cycle")?,
            How::GivenUp(turns) => write!(f, "a cycle that is given up after {turns} turns")?,
            How::Fails(at, answer) => write!(f, "a cycle with {answer:?} at {at:?}")?,
            How::Retries(at, hitch) => write!(f, "a cycle with {hitch:?} once at {at:?}")?,
            How::Stale(None) => f.write_str("a cycle that first sees no assignment at all")?,
            How::Stale(Some(group)) => write!(f, "a cycle that first sees nobody in {group}")?,
            How::Unreadable(user) => write!(f, "a cycle that may not see {user} a second time")?,
            How::Meanwhile(events) => {
                f.write_str("a cycle in which, before the second look")?;
                events.iter().try_for_each(|event| write!(f, ", {event}"))?;
            }
        }
        if *again { f.write_str(", and the same once more") } else { Ok(()) }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { telling, limits, staff, rounds } = self;
        writeln!(f, "{telling:?}\n{limits:?}")?;
        (0..).zip(staff).try_for_each(|(number, place)| writeln!(f, "at first: {}", hire(number, *place)))?;
        rounds.iter().enumerate().try_for_each(|(number, round)| writeln!(f, "round {number}: {round}"))
    }
}

/// How somebody comes who is there at first.
pub(super) fn hire(number: usize, place: DatabaseLocation) -> Event {
    Event::Hire(AssignedUser(number), place)
}

fn user() -> impl Strategy<Value = AssignedUser> {
    (0..PEOPLE).prop_map(AssignedUser)
}

fn group() -> impl Strategy<Value = Group> {
    (0..GROUPS).prop_map(Group)
}

fn place() -> impl Strategy<Value = DatabaseLocation> {
    prop_oneof![
        4 => Just(DatabaseLocation::Directly),
        4 => group().prop_map(DatabaseLocation::In),
        1 => group().prop_map(DatabaseLocation::Twice),
        1 => Just(DatabaseLocation::Nowhere),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => (prop_oneof![Just(TITLE), Just(DEPARTMENT)], option::of(0u8..3)).prop_map(|(one, to)| Fate::Set(one, to)),
        2 => Just(Fate::Set(MAIL, None)),
        2 => (0u8..8).prop_map(|to| Fate::Set(MAIL, Some(to))),
        2 => (0u8..8).prop_map(Fate::Rename),
        1 => Just(Fate::Capitals),
        4 => Just(Fate::Assign),
        5 => Just(Fate::Unassign),
        3 => group().prop_map(Fate::Join),
        4 => group().prop_map(Fate::Leave),
        3 => Just(Fate::Disable),
        4 => Just(Fate::Enable),
        2 => Just(Fate::Delete),
        3 => Just(Fate::Restore),
        6 => Just(Fate::Return),
        1 => Just(Fate::Purge),
        1 => Just(Fate::Vanish),
    ]
}

/// Ways to leave.
fn exit() -> impl Strategy<Value = Event> {
    let fate = prop_oneof![
        5 => Just(Fate::Unassign),
        4 => group().prop_map(Fate::Leave),
        2 => Just(Fate::Disable),
        2 => Just(Fate::Delete),
        1 => Just(Fate::Purge),
        2 => Just(Fate::Vanish),
    ];
    prop_oneof![
        8 => (user(), fate).prop_map(|(user, fate)| Event::One(user, fate)),
        1 => (group(), prop_oneof![Just(Turn::Empty), Just(Turn::Unassign), Just(Turn::Hide)])
            .prop_map(|(group, turn)| Event::Group(group, turn)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let turn = prop_oneof![
        3 => Just(Turn::Assign),
        2 => Just(Turn::Unassign),
        3 => Just(Turn::Empty),
        1 => Just(Turn::Hide),
        2 => Just(Turn::Show),
    ];
    prop_oneof![
        5 => (user(), place()).prop_map(|(user, place)| Event::Hire(user, place)),
        24 => (user(), fate()).prop_map(|(user, fate)| Event::One(user, fate)),
        2 => ([user(), user(), user()], 2usize..4).prop_map(|(users, count)| Event::Ring(users, count)),
        2 => (user(), 0usize..2, user()).prop_map(|(one, attribute, other)| Event::Copies(one, attribute, other)),
        3 => (user(), place(), user()).prop_map(|(one, place, other)| Event::Namesake(one, place, other)),
        2 => (group(), turn).prop_map(|(group, turn)| Event::Group(group, turn)),
        1 => prop_oneof![Just(TITLE), Just(DEPARTMENT)].prop_map(Event::Wiped),
    ]
}

/// Requests of the first look.
fn at_first() -> impl Strategy<Value = At> {
    prop_oneof![
        Just(At::Token),
        Just(At::Application),
        Just(At::Assignments),
        group().prop_map(At::Members),
        Just(At::Users),
    ]
}

/// Requests of the second look.
fn at_last() -> impl Strategy<Value = At> {
    prop_oneof![
        Just(At::Accounts),
        Just(At::DeletedItems),
        Just(At::AssignmentsAgain),
        group().prop_map(At::MembersAgain),
    ]
}

fn fails(at: impl Strategy<Value = At>) -> impl Strategy<Value = How> {
    let answer = prop_oneof![
        20 => Just(Answer::Refused(403)),
        20 => Just(Answer::Refused(400)),
        10 => Just(Answer::Html),
        10 => Just(Answer::HalfAList),
        // Takes eight seconds.
        1 => Just(Answer::InternalError),
    ];
    (at, answer).prop_map(|(at, answer)| How::Fails(at, answer))
}

/// A cycle with or without a second look.
fn any_cycle() -> impl Strategy<Value = How> {
    let hitch = prop_oneof![Just(Hitch::Unavailable), Just(Hitch::Reset)];
    prop_oneof![
        50 => Just(How::Plainly),
        8 => Just(How::InFull),
        14 => (0..TURNS).prop_map(How::GivenUp),
        8 => fails(at_first()),
        // Takes a second.
        1 => (prop_oneof![at_first(), at_last()], hitch).prop_map(|(at, hitch)| How::Retries(at, hitch)),
        4 => option::of(group()).prop_map(How::Stale),
    ]
}

/// A cycle in which much depends on the second look.
fn second_look() -> impl Strategy<Value = How> {
    prop_oneof![
        3 => Just(How::Plainly),
        1 => (0..TURNS).prop_map(How::GivenUp),
        2 => fails(at_last()),
        3 => vec(event(), 1..4).prop_map(How::Meanwhile),
        1 => option::of(group()).prop_map(How::Stale),
        1 => user().prop_map(How::Unreadable),
    ]
}

fn round() -> impl Strategy<Value = Round> {
    let hours = prop_oneof![14 => Just(0i64), 2 => 1i64..6, 2 => 22i64..27];
    let damage = prop_oneof![Just(Damage::Lost), Just(Damage::Truncated), Just(Damage::Garbled)];
    let flag = prop::bool::weighted;
    let events = prop_oneof![
        3 => (vec(event(), 0..6), any_cycle()),
        1 => (vec(exit(), 2..7), second_look()),
    ];
    (flag(0.1), flag(0.15), hours, events, option::weighted(0.08, damage), flag(0.25)).prop_map(
        |(early, approve, hours, (events, cycle), cache, again)| Round {
            early,
            approve,
            hours,
            events,
            cache,
            cycle,
            again,
        },
    )
}

fn limits() -> impl Strategy<Value = Limits> {
    let after = prop_oneof![6 => Just(0i64), 1 => Just(1), 1 => Just(4)];
    (
        prop_oneof![4 => Just(1000u64), 5 => 1u64..4],
        prop_oneof![Just(100u64), Just(20)],
        prop_oneof![4 => Just(100u64), 1 => Just(34)],
        after.prop_map(SignedDuration::from_hours),
        option::weighted(0.2, (0..4usize).prop_map(AssignedUser)),
    )
        .prop_map(
            |(max_deactivations, max_deactivation_percent, max_update_percent, deactivate_after, protected)| Limits {
                max_deactivations,
                max_deactivation_percent,
                max_update_percent,
                deactivate_after,
                protected,
            },
        )
}

fn telling() -> impl Strategy<Value = Telling> {
    (0u64..1000, any::<bool>()).prop_map(|(seed, sparse)| Telling { seed, sparse })
}

pub(super) fn history() -> impl Strategy<Value = History> {
    (telling(), limits(), vec(place(), 3..12), vec(round(), 1..30))
        .prop_map(|(telling, limits, staff, rounds)| History { telling, limits, staff, rounds })
}
