//! Random histories, and their description.

use std::fmt;

use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::damage::{RowDamage, row_damage};
use super::entra::{Change, Event, GROUPS, Group, GroupChange, MAIL, Placement, UserNumber};
use super::model::SafetyLimits;

/// Number of users that can be added; more than there are at first.
const USERS: usize = 13;
/// More polls than a cycle of these users needs to end.
const MAX_POLLS: usize = 50;
const TITLE: usize = 4;
const DEPARTMENT: usize = 7;

/// The first users of a tenant, and the rounds that follow.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) representation: Representation,
    pub(super) limits: SafetyLimits,
    pub(super) placements: Vec<Placement>,
    pub(super) rounds: Vec<Round>,
}

/// Properties of the answers that must not change the outcome.
#[derive(Clone, Copy, Debug)]
pub(super) struct Representation {
    /// Seed of the object ids, which order every list.
    pub(super) seed: u64,
    /// Member rows omit unset attributes.
    pub(super) sparse: bool,
}

/// Events, and then a cycle.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// The cycle starts eleven minutes after the last one instead of thirty.
    pub(super) early: bool,
    pub(super) approve: bool,
    /// Hours between the approval and the cycle.
    pub(super) hours: i64,
    pub(super) events: Vec<Event>,
    pub(super) cache: Option<CacheDamage>,
    /// The rows that a hand damages before the cycle.
    pub(super) damage: Vec<RowDamage>,
    /// Whether all rows damaged before are repaired first.
    pub(super) repair: bool,
    pub(super) clock: ClockSkew,
    pub(super) cycle: CycleVariant,
    /// Whether cycles follow at once until nothing changes.
    pub(super) repeat: bool,
}

/// How the clocks are wrong during a cycle.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClockSkew {
    /// How many hours the clock of the machine is ahead.
    pub(super) local: i64,
    /// How many hours Graph's clock is ahead; `None` hides it.
    pub(super) graph: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum CacheDamage {
    Lost,
    Truncated,
    Garbled,
}

#[derive(Clone, Debug)]
pub(super) enum CycleVariant {
    Normal,
    /// Without the cache.
    Full,
    /// Dropped after a number of polls.
    Dropped(usize),
    Fails(Request, PermanentError),
    /// A request fails once.
    Retries(Request, TransientError),
    /// Events before the confirmation, if there is one.
    Meanwhile(Vec<Event>),
    /// The snapshot sees the members of a group as empty, or the assignments if there is no group.
    Stale(Option<Group>),
    /// The confirmation may not read this user.
    Unreadable(UserNumber),
    Odd(Oddity),
}

/// Rows that do not say clearly what they mean.
#[derive(Clone, Copy, Debug)]
pub(super) enum Oddity {
    /// A member without an id, or an assignment that is null.
    NoRow(Option<Group>),
    /// The account of a user cannot be decoded.
    Broken(UserNumber),
    /// The assignment of a user has no type.
    Untyped(UserNumber),
    /// The assignment of a group has an unknown type.
    UntypedGroup(Group),
    /// A member is listed twice, and the rows disagree in this key.
    Twice(Group, UserNumber, &'static str),
}

/// A request to Graph or to the token endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request {
    Token,
    Application,
    Assignments,
    Members(Group),
    /// The directly assigned users.
    Users,
    /// A request of the confirmation, like the next three.
    Accounts,
    DeletedItems,
    AssignmentsAgain,
    MembersAgain(Group),
}

/// An error that does not go away.
#[derive(Clone, Copy, Debug)]
pub(super) enum PermanentError {
    /// A status that is not retried.
    Refused(u16),
    /// A status that is retried for some seconds.
    InternalError,
    Html,
    HalfAList,
    /// An error beside the true rows.
    ErrorBesideRows,
    /// A link to the next page that is null.
    NullLink,
    /// A link to a next page that is not found.
    NoNextPage,
}

/// An error that makes the client retry.
#[derive(Clone, Copy, Debug)]
pub(super) enum TransientError {
    Unavailable,
    Reset,
    /// 424, if it is a part of a `$batch`.
    FailedDependency,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { early, approve, hours, events, cache, damage, repair, clock, cycle, repeat } = self;
        if *early {
            f.write_str("eleven minutes later; ")?;
        }
        if *approve {
            f.write_str("all held users are approved; ")?;
        }
        if *hours > 0 {
            write!(f, "{hours} hours pass; ")?;
        }
        events.iter().try_for_each(|event| write!(f, "{event}; "))?;
        if *repair {
            f.write_str("the damaged rows are repaired; ")?;
        }
        damage.iter().try_for_each(|damage| write!(f, "{damage:?} is damaged; "))?;
        if let Some(damage) = cache {
            write!(f, "the cache is {}; ", format!("{damage:?}").to_lowercase())?;
        }
        if !matches!(clock, ClockSkew { local: 0, graph: Some(0) }) {
            write!(f, "{clock:?}; ")?;
        }
        match cycle {
            CycleVariant::Normal => f.write_str("a cycle")?,
            CycleVariant::Full => f.write_str("a full cycle")?,
            CycleVariant::Dropped(polls) => write!(f, "a cycle that is dropped after {polls} polls")?,
            CycleVariant::Fails(at, error) => write!(f, "a cycle with {error:?} at {at:?}")?,
            CycleVariant::Retries(at, error) => write!(f, "a cycle with {error:?} once at {at:?}")?,
            CycleVariant::Stale(None) => f.write_str("a cycle whose snapshot has no assignments")?,
            CycleVariant::Stale(Some(group)) => write!(f, "a cycle whose snapshot has no members of {group}")?,
            CycleVariant::Unreadable(user) => write!(f, "a cycle whose confirmation may not read {user}")?,
            CycleVariant::Odd(oddity) => write!(f, "a cycle with {oddity:?}")?,
            CycleVariant::Meanwhile(events) => {
                f.write_str("a cycle in which, before the confirmation")?;
                events.iter().try_for_each(|event| write!(f, ", {event}"))?;
            }
        }
        if *repeat { f.write_str(", repeated until nothing changes") } else { Ok(()) }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { representation, limits, placements, rounds } = self;
        writeln!(f, "{representation:?}\n{limits:?}")?;
        (0..)
            .zip(placements)
            .try_for_each(|(number, placement)| writeln!(f, "at first: {}", add_user_event(number, *placement)))?;
        rounds.iter().enumerate().try_for_each(|(number, round)| writeln!(f, "round {number}: {round}"))
    }
}

pub(super) fn add_user_event(number: usize, placement: Placement) -> Event {
    Event::Add(UserNumber(number), placement)
}

fn user() -> impl Strategy<Value = UserNumber> {
    (0..USERS).prop_map(UserNumber)
}

fn group() -> impl Strategy<Value = Group> {
    (0..GROUPS).prop_map(Group)
}

fn placement() -> impl Strategy<Value = Placement> {
    prop_oneof![
        4 => Just(Placement::Directly),
        4 => group().prop_map(Placement::In),
        1 => group().prop_map(Placement::Both),
        1 => Just(Placement::Nowhere),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (prop_oneof![Just(TITLE), Just(DEPARTMENT)], option::of(0u8..3)).prop_map(|(one, to)| Change::Set(one, to)),
        2 => Just(Change::Set(MAIL, None)),
        2 => (0u8..8).prop_map(|to| Change::Set(MAIL, Some(to))),
        2 => (0u8..8).prop_map(Change::Rename),
        1 => Just(Change::Capitals),
        4 => Just(Change::Assign),
        5 => Just(Change::Unassign),
        3 => group().prop_map(Change::Join),
        4 => group().prop_map(Change::Leave),
        3 => Just(Change::Disable),
        4 => Just(Change::Enable),
        2 => Just(Change::Delete),
        3 => Just(Change::Restore),
        6 => Just(Change::Return),
        1 => Just(Change::Purge),
        1 => Just(Change::Vanish),
    ]
}

/// Events that make users leave.
fn leaving_event() -> impl Strategy<Value = Event> {
    let change = prop_oneof![
        5 => Just(Change::Unassign),
        4 => group().prop_map(Change::Leave),
        2 => Just(Change::Disable),
        2 => Just(Change::Delete),
        1 => Just(Change::Purge),
        2 => Just(Change::Vanish),
    ];
    prop_oneof![
        8 => (user(), change).prop_map(|(user, change)| Event::User(user, change)),
        1 => (group(), prop_oneof![Just(GroupChange::Empty), Just(GroupChange::Unassign), Just(GroupChange::Hide)])
            .prop_map(|(group, change)| Event::Group(group, change)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let group_change = prop_oneof![
        3 => Just(GroupChange::Assign),
        2 => Just(GroupChange::Unassign),
        3 => Just(GroupChange::Empty),
        1 => Just(GroupChange::Hide),
        2 => Just(GroupChange::Show),
    ];
    prop_oneof![
        5 => (user(), placement()).prop_map(|(user, placement)| Event::Add(user, placement)),
        24 => (user(), change()).prop_map(|(user, change)| Event::User(user, change)),
        2 => ([user(), user(), user()], 2usize..4).prop_map(|(users, count)| Event::RotateNames(users, count)),
        2 => (user(), 0usize..2, user()).prop_map(|(one, attribute, other)| Event::CopyAttribute(one, attribute, other)),
        3 => (user(), placement(), user()).prop_map(|(one, placement, other)| Event::AddNamesake(one, placement, other)),
        2 => (group(), group_change).prop_map(|(group, change)| Event::Group(group, change)),
        1 => prop_oneof![Just(TITLE), Just(DEPARTMENT)].prop_map(Event::ClearForAll),
    ]
}

fn snapshot_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::Token),
        Just(Request::Application),
        Just(Request::Assignments),
        group().prop_map(Request::Members),
        Just(Request::Users),
    ]
}

fn confirmation_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::Accounts),
        Just(Request::DeletedItems),
        Just(Request::AssignmentsAgain),
        group().prop_map(Request::MembersAgain),
    ]
}

fn fails(at: impl Strategy<Value = Request>) -> impl Strategy<Value = CycleVariant> {
    let error = prop_oneof![
        20 => Just(PermanentError::Refused(403)),
        20 => Just(PermanentError::Refused(400)),
        10 => Just(PermanentError::Html),
        40 => prop::sample::select(
            &[
                PermanentError::HalfAList,
                PermanentError::ErrorBesideRows,
                PermanentError::NullLink,
                PermanentError::NoNextPage,
            ][..]
        ),
        // Rare, because it takes eight seconds.
        1 => Just(PermanentError::InternalError),
    ];
    // Boxed, because a tree of this size exhausts the stack of a test thread.
    let error = error.boxed();
    (at, error).prop_map(|(at, error)| CycleVariant::Fails(at, error))
}

fn odd_cycle() -> BoxedStrategy<CycleVariant> {
    let oddity = prop_oneof![
        2 => option::of(group()).prop_map(Oddity::NoRow),
        2 => user().prop_map(Oddity::Broken),
        1 => user().prop_map(Oddity::Untyped),
        1 => group().prop_map(Oddity::UntypedGroup),
        2 => (group(), user(), prop::sample::select(&["accountEnabled", "@odata.type"][..]))
            .prop_map(|(group, user, key)| Oddity::Twice(group, user, key)),
    ];
    oddity.prop_map(CycleVariant::Odd).boxed()
}

/// A cycle with or without a confirmation.
fn any_cycle() -> impl Strategy<Value = CycleVariant> {
    let error = prop::sample::select(
        &[TransientError::Unavailable, TransientError::Reset, TransientError::FailedDependency][..],
    );
    prop_oneof![
        50 => Just(CycleVariant::Normal),
        8 => Just(CycleVariant::Full),
        14 => (0..MAX_POLLS).prop_map(CycleVariant::Dropped),
        8 => fails(snapshot_request()),
        // Rare, because it takes a second.
        1 => (prop_oneof![snapshot_request(), confirmation_request()], error).prop_map(|(at, error)| CycleVariant::Retries(at, error)),
        4 => option::of(group()).prop_map(CycleVariant::Stale),
        10 => odd_cycle(),
    ]
}

/// A cycle that depends on the confirmation.
fn confirmation_cycle() -> impl Strategy<Value = CycleVariant> {
    prop_oneof![
        3 => Just(CycleVariant::Normal),
        1 => (0..MAX_POLLS).prop_map(CycleVariant::Dropped),
        2 => fails(confirmation_request()),
        3 => vec(event(), 1..4).prop_map(CycleVariant::Meanwhile),
        1 => option::of(group()).prop_map(CycleVariant::Stale),
        1 => user().prop_map(CycleVariant::Unreadable),
        2 => odd_cycle(),
    ]
}

/// Clocks that are wrong by less or more than a day, or by a year.
fn skew() -> impl Strategy<Value = ClockSkew> {
    const YEAR: i64 = 24 * 365;
    let hours = || prop_oneof![2 => Just(0i64), 1 => Just(1), 1 => Just(-2), 1 => Just(30), 1 => Just(-30), 1 => Just(YEAR), 1 => Just(-YEAR)];
    let right = ClockSkew { local: 0, graph: Some(0) };
    prop_oneof![
        7 => Just(right),
        2 => hours().prop_map(move |local| ClockSkew { local, ..right }),
        1 => (hours(), option::weighted(0.6, hours())).prop_map(|(local, graph)| ClockSkew { local, graph }),
    ]
}

fn round() -> impl Strategy<Value = Round> {
    let hours = prop_oneof![14 => Just(0i64), 2 => 1i64..6, 2 => 22i64..27];
    let damage = prop_oneof![Just(CacheDamage::Lost), Just(CacheDamage::Truncated), Just(CacheDamage::Garbled)];
    let flag = prop::bool::weighted;
    let events = prop_oneof![
        3 => (vec(event(), 0..6), any_cycle()),
        1 => (vec(leaving_event(), 2..7), confirmation_cycle()),
    ];
    let damage_rows = prop_oneof![8 => Just(Vec::new()), 2 => vec(row_damage(user().boxed(), group()), 1..4)];
    let flags = (flag(0.1), flag(0.15), flag(0.3), flag(0.25));
    (flags, hours, events, option::weighted(0.08, damage), damage_rows, skew()).prop_map(
        |((early, approve, repair, repeat), hours, (events, cycle), cache, damage, clock)| Round {
            early,
            approve,
            hours,
            events,
            cache,
            damage,
            repair,
            clock,
            cycle,
            repeat,
        },
    )
}

fn limits() -> impl Strategy<Value = SafetyLimits> {
    let after = prop_oneof![6 => Just(0i64), 1 => Just(50), 1 => Just(225)];
    (
        prop_oneof![4 => Just(1000u64), 5 => 1u64..4],
        prop_oneof![Just(100u64), Just(20)],
        prop_oneof![4 => Just(100u64), 1 => Just(34)],
        after.prop_map(SignedDuration::from_mins),
        option::weighted(0.2, (0..4usize).prop_map(UserNumber)),
    )
        .prop_map(
            |(max_deactivations, max_deactivation_percent, max_update_percent, deactivate_after, protected)| {
                SafetyLimits {
                    max_deactivations,
                    max_deactivation_percent,
                    max_update_percent,
                    deactivate_after,
                    protected,
                }
            },
        )
}

fn representation() -> impl Strategy<Value = Representation> {
    (0u64..1000, any::<bool>()).prop_map(|(seed, sparse)| Representation { seed, sparse })
}

pub(super) fn history() -> impl Strategy<Value = History> {
    (representation(), limits(), vec(placement(), 3..12), vec(round(), 1..30))
        .prop_map(|(representation, limits, placements, rounds)| History { representation, limits, placements, rounds })
}
