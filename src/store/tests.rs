//! The store on real databases. Every scenario runs on SQLite, and on PostgreSQL where its programs are installed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;

use super::db::Statement;
use super::*;
use crate::model::{
    Action, Attribute, EntraId, Fingerprint, Generation, LearnerId, Reason, RequestId, Route, Routes, Trigger, Values,
};
use crate::plan::{Adoption, AttributeChange, Batch, Changes, Decision, Effect, Leave, LeftAs, RowAfter, TargetRow};

/// Makes two tests of each scenario, one for each engine.
macro_rules! on_both {
    ($($scenario:ident,)+) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(crate::store::tests::Kind::Sqlite).await;
            })+
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $scenario() {
                let Some(server) = crate::store::tests::server::shared() else { return };
                super::$scenario(crate::store::tests::Kind::Postgres(server)).await;
            })+
        }
    };
}
pub(super) use on_both;

mod applying;
mod batches;
mod fencing;
mod files;
mod reading;
mod recording;
#[path = "../../tests/integration/postgres/server.rs"]
#[allow(dead_code, reason = "the scenarios of whole cycles use the rest of it")]
pub(super) mod server;
mod servers;

impl<P: AsRef<Path> + ?Sized> From<&P> for LearnerDatabase {
    fn from(path: &P) -> Self {
        Self { place: DatabaseLocation::File(path.as_ref().to_owned()), table: None, used: None }
    }
}

impl From<DatabaseLocation> for LearnerDatabase {
    fn from(place: DatabaseLocation) -> Self {
        Self { place, table: None, used: None }
    }
}

/// The engine of a test.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Sqlite,
    Postgres(&'static server::Server),
}

impl Kind {
    /// Opens an empty database.
    pub(super) async fn empty_store(self) -> Store {
        match self {
            Self::Sqlite => Store::in_memory().await.unwrap(),
            Self::Postgres(server) => {
                let place = DatabaseLocation::Server(at(server, &server.database().await));
                Store::open(place, Access::ReadWrite).await.unwrap()
            }
        }
    }

    /// Opens a database with a cycle and `count` learners: learner 1 is user 1, `user1`.
    pub(super) async fn store_with(self, count: u32) -> Store {
        let store = self.empty_store().await;
        fill(&store, count).await;
        store
    }

    /// Selects what differs between the engines.
    pub(super) fn either<T>(self, sqlite: T, postgres: T) -> T {
        match self {
            Self::Sqlite => sqlite,
            Self::Postgres(_) => postgres,
        }
    }
}

/// A database on a server, with the role that owns it.
pub(super) fn at(server: &server::Server, database: &str) -> PostgresServer {
    PostgresServer {
        url: server.url(server::OWNER, database),
        url_place: "learner-sync.toml:9:16".to_owned(),
        password: None,
        response_timeout: PostgresServer::RESPONSE_TIMEOUT,
    }
}

pub(super) const SOURCE: &str = "contoso.example/aaaaaaaa-0000-4000-8000-000000000001";

pub(super) fn user(number: u32) -> EntraId {
    format!("00000000-0000-4000-8000-{number:012x}").parse().unwrap()
}

pub(super) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn noon() -> Timestamp {
    time("2026-01-02T12:00:00Z")
}

pub(super) fn write_context() -> WriteContext<'static> {
    WriteContext { cycle: CycleId(1), source: SOURCE, at: noon() }
}

impl Store {
    /// The fence of a cycle that has just read the database.
    pub(super) async fn fence(&self) -> Result<Fence, StoreError> {
        Ok(Fence { generation: self.state().await?.generation, force: false })
    }

    /// Applies a batch in the present generation.
    pub(super) async fn apply_now(&self, batch: &Batch, context: &WriteContext<'_>) -> Result<Applied, StoreError> {
        self.apply(batch, context, self.fence().await?).await
    }

    /// Records bookkeeping in the present generation. Returns the new generation if there is one.
    pub(super) async fn record_now(
        &self,
        bookkeeping: &Bookkeeping<'_>,
        context: &WriteContext<'_>,
    ) -> Result<Option<Generation>, StoreError> {
        let fence = self.fence().await?;
        let generation = self.record(bookkeeping, context, fence).await?;
        Ok(Some(generation).filter(|generation| *generation != fence.generation))
    }

    /// Records refused decisions in the present generation.
    pub(super) async fn record_refused_now(
        &self,
        refused: &[Decision],
        context: &WriteContext<'_>,
    ) -> Result<(), StoreError> {
        self.record_refused(refused, context, self.fence().await?).await
    }
}

type Changed<'c> = (Attribute, Option<&'c str>, Option<&'c str>);

/// One transaction of these decisions.
pub(super) fn batch_of(decisions: &[Decision]) -> Batch {
    Batch::from(decisions.to_vec())
}

fn decision(user: EntraId, action: Action, reason: Reason, row: TargetRow, changed: &[Changed<'_>]) -> Decision {
    Decision {
        user,
        action,
        reason,
        detail: None,
        row,
        known_name: changed
            .iter()
            .find(|(attribute, ..)| *attribute == Attribute::UserName)
            .and_then(|(_, old, new)| new.or(*old))
            .map(Box::from),
        changes: changed.iter().map(|(attribute, old, new)| AttributeChange::new(*attribute, *old, *new)).collect(),
        request_id: RequestId::default(),
        effect: Effect::Apply(RowAfter {
            active: action != Action::Deactivate,
            routes: [Route::Direct].into_iter().collect(),
            fingerprint: Fingerprint([0; 16]),
            row: None,
            spelling: None,
            approved_by: None,
            keeps_hold: false,
        }),
    }
}

/// The same decision with other routes.
pub(super) fn with_routes(mut decision: Decision, new: &[Route]) -> Decision {
    if let Effect::Apply(after) = &mut decision.effect {
        after.routes = routes(new);
    }
    decision
}

/// A deactivation of an unknown learner that is left, tracked and logged.
pub(super) fn left(number: u32, left_as: LeftAs, reason: Reason) -> Decision {
    let leave =
        Leave { left_as, tracked: true, begins: true, cause: None, drift_fingerprint: None, change_reason: None };
    Decision {
        user: user(number),
        action: Action::Deactivate,
        reason,
        detail: Some("in words".to_owned()),
        row: TargetRow::New,
        known_name: Some(format!("user{number}").into()),
        changes: Changes::default(),
        request_id: RequestId::default(),
        effect: Effect::Leave(leave),
    }
}

/// A create of `user_name`, with the e-mail of the same name.
pub(super) fn create(user: EntraId, user_name: &str) -> Decision {
    create_with(
        user,
        &[
            (Attribute::UserName, user_name),
            (Attribute::Email, user_name),
            (Attribute::Active, "true"),
            (Attribute::FirstName, "Ada"),
        ],
    )
}

pub(super) fn create_with(user: EntraId, values: &[(Attribute, &str)]) -> Decision {
    let changed: Vec<Changed<'_>> = values.iter().map(|(attribute, new)| (*attribute, None, Some(*new))).collect();
    decision(user, Action::Create, Reason::Assigned, TargetRow::New, &changed)
}

pub(super) fn update(user: EntraId, learner: i64, changed: &[Changed<'_>]) -> Decision {
    let target = TargetRow::Linked(LearnerId::Number(learner));
    decision(user, Action::Update, Reason::AttributesChanged, target, changed)
}

pub(super) fn deactivate(user: EntraId, learner: i64) -> Decision {
    let changed = [(Attribute::Active, Some("true"), Some("false"))];
    decision(user, Action::Deactivate, Reason::Unassigned, TargetRow::Linked(LearnerId::Number(learner)), &changed)
}

pub(super) async fn fill(store: &Store, count: u32) {
    store.begin_cycle(SOURCE, Trigger::Command, noon()).await.unwrap();
    let batch: Vec<Decision> =
        (1..=count).map(|number| create(user(number), &format!("user{number}@example.org"))).collect();
    for batch in batch.chunks(1000) {
        let applied = store.apply_now(&batch_of(batch), &write_context()).await.unwrap();
        assert_eq!(applied.refused, []);
    }
}

/// The rows of a query in the form of SQLite: columns as text, joined with `|`, and null as `-`.
pub(super) async fn select(store: &Store, sql: &'static str) -> Vec<String> {
    let rows = store.connection().await.rows(Statement::new(sql)).await.unwrap();
    let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    rows.iter().map(|row| row.texts().into_iter().map(text).collect::<Vec<_>>().join("|")).collect()
}

pub(super) async fn execute(store: &Store, sql: &'static str) {
    store.connection().await.script(sql).await.unwrap();
}

pub(super) fn values(pairs: &[(Attribute, Option<&str>)]) -> Values {
    pairs.iter().copied().collect()
}

pub(super) fn routes(routes: &[Route]) -> Routes {
    routes.iter().copied().collect()
}

/// The indices and reasons of refused decisions.
pub(super) fn reasons(refused: &[(usize, super::Refused)]) -> Vec<(usize, String)> {
    refused.iter().map(|(index, refused)| (*index, refused.reason.clone())).collect()
}
