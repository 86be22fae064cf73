//! Poolers such as PgBouncer. In transaction mode each transaction may run in another session of the server, and other
//! clients use the same sessions: settings, prepared statements and advisory locks of a session are lost, or meet others.
//!
//! Behind such a pooler every statement runs in a transaction, which begins with its settings; statements have no names;
//! and the session keeps nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};

use super::errors::server_error;
use super::session::{PAUSE_TIMEOUT, statement_timeout};
use crate::store::db::connection::{Connection, within};
use crate::store::db::error::DbError;
use crate::store::db::transaction::LOCK_TIMEOUT;

/// A setting that only a session of our own has: a pooler refuses or ignores what a client sets when it connects.
const MARK: &str = "learner_sync.direct";

/// How long the second connection may take, by which a pooler is recognised.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// More statements than a pooler needs to change to another session, if it takes them in turns.
const PROBES: usize = 4;

/// Connects, and marks the session. A pooler that refuses the mark gets a connection without it.
pub(super) async fn connect_marked(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    match options.clone().options([(MARK, "on")]).connect().await {
        // protocol_violation, feature_not_supported
        Err(error) if server_error(&error).is_some_and(|error| matches!(error.code(), "08P01" | "0A000")) => {
            unmarked(options).connect().await
        }
        connected => connected,
    }
}

/// PgBouncer refuses `extra_float_digits` as well, which sqlx sets, unless `ignore_startup_parameters` names it.
fn unmarked(options: &PgConnectOptions) -> PgConnectOptions {
    options.clone().extra_float_digits(None)
}

/// Whether the session has the mark.
pub(super) async fn has_mark(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // Without a name: the next statement may run in another session.
    let sql = "SELECT coalesce(current_setting('learner_sync.direct', true), '') = 'on'";
    sqlx::raw_sql(sql).fetch_one(connection).await?.try_get(0)
}

/// Whether others may use the sessions of this connection, which is to a pooler. An answer that does not come counts as
/// yes, because that is right in any mode.
pub(super) async fn probe_sharing(connection: &mut PgConnection, options: &PgConnectOptions) -> bool {
    let mut own = BTreeSet::new();
    let probe = async {
        for _ in 0..PROBES {
            own.insert(session_of(connection).await?);
        }
        // In session mode, nobody else can have the session of an open connection.
        let mut other = unmarked(options).connect().await?;
        let others = session_of(&mut other).await?;
        other.close().await?;
        Ok(own.len() > 1 || own.contains(&others))
    };
    within(PROBE_TIMEOUT, probe).await.unwrap_or(true)
}

async fn session_of(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}

/// How transactions begin behind a pooler in transaction mode.
#[derive(Debug)]
pub(in crate::store::db) struct SharedSessions {
    /// `SET LOCAL` for every setting that does not change.
    settings: String,
    lock_timeout: Duration,
    read_only: bool,
    transaction: OpenTransaction,
    /// Whether the last statement failed because its session had forgotten it.
    pub(in crate::store::db) forgot_statement: bool,
}

/// The transaction that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OpenTransaction {
    None,
    /// Begun for a single statement.
    Implicit,
    Explicit,
}

impl SharedSessions {
    /// Sessions with the settings that a session of our own has. A server of this version may lack some.
    pub(super) fn new(response_timeout: Duration, version: u32) -> Self {
        let mut settings = format!(
            "SET LOCAL statement_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = {}; SET LOCAL \
             client_min_messages = error; SET LOCAL jit = off; SET LOCAL standard_conforming_strings = on",
            statement_timeout(response_timeout).as_millis(),
            PAUSE_TIMEOUT.as_millis(),
        );
        if version >= 170_000 {
            settings.push_str("; SET LOCAL transaction_timeout = 0");
        }
        let transaction = OpenTransaction::None;
        Self { settings, lock_timeout: LOCK_TIMEOUT, read_only: false, transaction, forgot_statement: false }
    }

    fn begin(&self) -> String {
        let Self { settings, lock_timeout, read_only, .. } = self;
        let access = if *read_only { " READ ONLY" } else { "" };
        let lock_timeout = lock_timeout.as_millis();
        format!("BEGIN ISOLATION LEVEL READ COMMITTED{access}; {settings}; SET LOCAL lock_timeout = {lock_timeout}")
    }
}

impl Connection {
    /// Whether it shares its sessions with others, behind a pooler in transaction mode.
    pub(crate) fn shares_sessions(&self) -> bool {
        matches!(self, Self::Postgres(session) if session.shared.is_some())
    }

    fn shared(&mut self) -> Option<&mut SharedSessions> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(session) => session.shared.as_mut(),
        }
    }

    /// The statement that begins a transaction.
    pub(in crate::store::db) fn begin_explicitly(&mut self) -> String {
        self.shared().map_or_else(
            || "BEGIN".to_owned(),
            |shared| {
                shared.transaction = OpenTransaction::Explicit;
                shared.begin()
            },
        )
    }

    /// Records the end of a transaction.
    pub(in crate::store::db) fn transaction_ended(&mut self) {
        if let Some(shared) = self.shared() {
            shared.transaction = OpenTransaction::None;
        }
    }

    /// Begins a transaction for a single statement, where it needs one; returns whether it does.
    pub(in crate::store::db) async fn begin_implicitly(&mut self) -> Result<bool, DbError> {
        let Some(shared) = self.shared().filter(|shared| shared.transaction == OpenTransaction::None) else {
            return Ok(false);
        };
        shared.transaction = OpenTransaction::Implicit;
        shared.forgot_statement = false;
        let begin = shared.begin();
        self.script(&begin).await?;
        Ok(true)
    }

    /// Ends the transaction of a single statement.
    pub(in crate::store::db) async fn end_implicitly(&mut self, succeeded: bool) -> Result<(), DbError> {
        let ended = self.script(if succeeded { "COMMIT" } else { "ROLLBACK" }).await;
        self.transaction_ended();
        ended
    }

    /// Whether the last statement failed because its session had forgotten it: sqlx asks for types that it does not know
    /// between the two halves of a statement, once for each type.
    pub(in crate::store::db) fn forgot_statement(&mut self) -> bool {
        self.shared().is_some_and(|shared| std::mem::take(&mut shared.forgot_statement))
    }

    /// Rolls back the transaction of a single statement whose future was dropped.
    pub(crate) async fn end_dropped(&mut self) {
        if self.shared().is_some_and(|shared| shared.transaction == OpenTransaction::Implicit) {
            // Without a connection there is nothing to roll back.
            let _ = self.end_implicitly(false).await;
        }
    }

    /// Sets how long a shared session waits for a lock; returns false for a session of our own, which has the setting itself.
    pub(in crate::store::db) fn keep_lock_timeout(&mut self, timeout: Duration) -> bool {
        self.shared().map(|shared| shared.lock_timeout = timeout).is_some()
    }

    /// Makes a shared session read-only; returns false for a session of our own, which has the setting itself.
    pub(super) fn keep_read_only(&mut self) -> bool {
        self.shared().map(|shared| shared.read_only = true).is_some()
    }
}
