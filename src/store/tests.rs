//! The store against real SQLite: what is written, what is refused, what comes back.

use jiff::Timestamp;

use super::*;
use crate::model::{Action, Attribute, EntraId, Fingerprint, LearnerId, Reason, Route, Trigger, Values, Via};
use crate::plan::{AttributeChange, Change, Target};

mod applying;
mod files;
mod noting;
mod reading;

pub(super) const SOURCE: &str = "contoso.example/aaaaaaaa-0000-4000-8000-000000000001";

pub(super) fn person(number: u32) -> EntraId {
    format!("00000000-0000-4000-8000-{number:012x}").parse().unwrap()
}

pub(super) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn noon() -> Timestamp {
    time("2026-01-02T12:00:00Z")
}

pub(super) fn stamp() -> Stamp<'static> {
    Stamp { cycle: CycleId(1), source: SOURCE, at: noon() }
}

type Changed<'c> = (Attribute, Option<&'c str>, Option<&'c str>);

fn change(person: EntraId, action: Action, reason: Reason, target: Target, changed: &[Changed<'_>]) -> Change {
    Change {
        person,
        action,
        reason,
        target,
        user_name: changed
            .iter()
            .find(|(attribute, ..)| *attribute == Attribute::UserName)
            .and_then(|(_, old, new)| new.or(*old))
            .map(str::to_owned),
        changes: changed
            .iter()
            .map(|(attribute, old, new)| {
                AttributeChange::new(*attribute, old.map(str::to_owned), new.map(str::to_owned))
            })
            .collect(),
        via: [Route::Direct].into_iter().collect(),
        fingerprint: Fingerprint([0; 16]),
        detail: None,
    }
}

/// A create of `user_name`, with the e-mail of the same name.
pub(super) fn create(person: EntraId, user_name: &str) -> Change {
    create_with(
        person,
        &[
            (Attribute::UserName, user_name),
            (Attribute::Email, user_name),
            (Attribute::Active, "true"),
            (Attribute::FirstName, "Ada"),
        ],
    )
}

pub(super) fn create_with(person: EntraId, values: &[(Attribute, &str)]) -> Change {
    let changed: Vec<Changed<'_>> = values.iter().map(|(attribute, new)| (*attribute, None, Some(*new))).collect();
    change(person, Action::Create, Reason::Assigned, Target::New, &changed)
}

pub(super) fn update(person: EntraId, learner: i64, changed: &[Changed<'_>]) -> Change {
    let target = Target::Linked(LearnerId(learner));
    change(person, Action::Update, Reason::AttributesChanged, target, changed)
}

pub(super) fn deactivate(person: EntraId, learner: i64) -> Change {
    let changed = [(Attribute::Active, Some("true"), Some("false"))];
    change(person, Action::Deactivate, Reason::Unassigned, Target::Linked(LearnerId(learner)), &changed)
}

/// A store in memory with a cycle begun and `count` learners, created in order: learner 1 is person 1, `user1`.
pub(super) async fn store_with(count: u32) -> Store {
    let store = Store::in_memory().await.unwrap();
    fill(&store, count).await;
    store
}

pub(super) async fn fill(store: &Store, count: u32) {
    store.begin_cycle(SOURCE, Trigger::Command, noon()).await.unwrap();
    let batch: Vec<Change> =
        (1..=count).map(|number| create(person(number), &format!("user{number}@example.org"))).collect();
    for batch in batch.chunks(1000) {
        let applied = store.apply(batch, &stamp()).await.unwrap();
        assert_eq!(applied.refused, []);
    }
}

/// The rows a query answers, each column as text and joined with `|`, null as `-`.
pub(super) async fn select(store: &Store, sql: &'static str) -> Vec<String> {
    use sqlx::Row as _;
    let rows = sqlx::query(sql).fetch_all(&mut *store.connection().await).await.unwrap();
    let text = |row: &sqlx::sqlite::SqliteRow, index| {
        row.try_get_unchecked::<Option<String>, _>(index).unwrap().unwrap_or_else(|| "-".to_owned())
    };
    rows.iter().map(|row| (0..row.len()).map(|index| text(row, index)).collect::<Vec<_>>().join("|")).collect()
}

pub(super) async fn execute(store: &Store, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&mut *store.connection().await).await.unwrap();
}

pub(super) fn values(pairs: &[(Attribute, Option<&str>)]) -> Values {
    pairs.iter().map(|(attribute, value)| (*attribute, value.map(str::to_owned))).collect()
}

pub(super) fn via(routes: &[Route]) -> Via {
    routes.iter().copied().collect()
}
