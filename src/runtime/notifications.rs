//! Messages to administrators: what a cycle causes is decided in the learner database, and sent outside of it.
//!
//! While the learner database is unavailable, which is a reason for a message itself, the daemon that runs the cycles
//! decides with what it remembers, and writes that down later.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Paths;
use super::app::{App, configured_source, signed};
use super::registration::daemon_place;
use crate::config::{self, Config, LearnersConfig};
use crate::model::{
    Attribute, DAY, NotifiableRecords, NotificationCause, NotificationChannel, NotificationRow, NotificationRows,
    UnsentNotification, chain,
};
use crate::notify::{
    CycleResult, Message, MessageOrigin, NotificationFacts, Notifier, decide, is_due, is_too_old, wait_after,
};
use crate::plan::REDACTED;
use crate::store::{Access, Store, StoreError};

/// How long the learner database may take. A cycle reports that it is unavailable.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the attempts at one message may take. Another daemon tries it again afterwards.
const ATTEMPT_TIME: SignedDuration = SignedDuration::from_mins(5);

/// What has happened since the last look at the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CycleNews {
    /// How the cycle ended.
    pub result: CycleResult,
    /// The machine that was late with it, and this one, which took over.
    pub took_over: Option<[String; 2]>,
    /// Whether another daemon usually runs the cycles.
    pub is_standby: bool,
}

/// What a daemon remembers of the messages between two looks.
#[derive(Debug, Default)]
pub struct NotificationMemory {
    /// The application and the learner database that it belongs to.
    place: Option<(String, LearnersConfig)>,
    source: String,
    rows: NotificationRows,
    /// Decided, or accepted by a channel, while the learner database was unavailable.
    unwritten: BTreeSet<NotificationCause>,
    /// The first of this daemon's failed cycles since a complete one.
    failing_since: Option<Timestamp>,
    /// Whether the messages of a configuration without channels were dropped.
    was_emptied: bool,
    /// Whether the learner database was available at the last look.
    was_written: bool,
}

/// Decides which messages `news` cause, and tries those that are due. Returns how long to wait before the next look;
/// `None` while every message is accepted. `clock` is read again before each attempt.
pub async fn handle_notifications(
    app: &App,
    memory: &mut NotificationMemory,
    news: Option<&CycleNews>,
    clock: &(dyn Fn() -> Timestamp + Sync),
) -> Option<Duration> {
    memory.forget_other_place(app);
    let Some(notifier) = &app.notifier else {
        memory.drop_unsent(app, news.is_some()).await;
        return None;
    };
    memory.was_emptied = false;
    let now = clock();
    match news.map(|news| &news.result) {
        Some(CycleResult::Failed { .. }) => drop(memory.failing_since.get_or_insert(now)),
        Some(CycleResult::Completed) => memory.failing_since = None,
        Some(CycleResult::Unknown) | None => {}
    }
    let updated = tokio::time::timeout(DATABASE_TIMEOUT, update(app, notifier, memory, news, now));
    let store = match updated.await {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => {
            tracing::debug!("cannot record messages: {}", chain(&error));
            None
        }
        Err(_) => {
            tracing::debug!("cannot record messages: the learner database does not answer");
            None
        }
    };
    memory.was_written = store.is_some();
    if store.is_none() {
        memory.decide_alone(app, notifier, news, now);
    }
    let channels = notifier.channels();
    let now = clock();
    let due: Vec<NotificationRow> =
        memory.rows.values().filter(|row| is_row_due(row, &channels, now)).cloned().collect();
    for row in due {
        memory.attempt(app, notifier, store.as_ref(), row, clock).await;
    }
    if let Some(store) = store {
        // Everything is written; a connection that cannot be closed is lost.
        let _ = tokio::time::timeout(DATABASE_TIMEOUT, store.close()).await;
    }
    memory.next_look(&channels, clock())
}

/// Opens the learner database; `None` when its file is missing.
async fn open_existing(app: &App) -> Result<Option<Store>, StoreError> {
    // A file that is missing, perhaps with its disk, is not created here.
    if let Some(path) = Paths::new(&app.config).database
        && !tokio::fs::try_exists(&path).await.unwrap_or_default()
    {
        return Ok(None);
    }
    Store::open(&app.learners, Access::ReadWrite).await.map(Some)
}

/// Opens the learner database and decides there; `None` when its file is missing.
async fn update(
    app: &App,
    notifier: &Notifier,
    memory: &mut NotificationMemory,
    news: Option<&CycleNews>,
    now: Timestamp,
) -> Result<Option<Store>, StoreError> {
    let Some(store) = open_existing(app).await? else { return Ok(None) };
    let source = configured_source(&app.config, &store.state().await?);
    let records = match news {
        Some(_) => Some(without_hidden_names(app, store.notifiable_records(&source, now - DAY).await?)),
        None => None,
    };
    let mut expired = Vec::new();
    let (remembered, unwritten) = (&memory.rows, &memory.unwritten);
    let rows = store
        .decide_notifications(&source, |rows| {
            let (mut rows, mut changed) = (rows.clone(), NotificationRows::new());
            // What was decided without the learner database, unless another daemon has decided it since.
            for row in unwritten.iter().filter_map(|cause| remembered.get(cause)) {
                if rows.get(&row.cause).is_none_or(|written| written.notified_at <= row.notified_at) {
                    rows.insert(row.cause, row.clone());
                    changed.insert(row.cause, row.clone());
                }
            }
            expired = rows.values().filter(|row| is_expired(row, now)).cloned().collect();
            for row in &expired {
                changed.insert(row.cause, NotificationRow { unsent: None, ..row.clone() });
            }
            if let Some(news) = news {
                changed.extend(decide_now(&rows, notifier, news, records, now));
            }
            changed.into_values().collect()
        })
        .await?;
    for NotificationRow { cause, unsent, .. } in expired {
        let channels = unsent.map(|unsent| unsent.channels).unwrap_or_default();
        let channels: Vec<&str> = channels.iter().map(|channel| channel.as_str()).collect();
        tracing::warn!(%cause, channels = channels.join(", "), "a message is given up: it was not accepted for a week");
    }
    (memory.rows, memory.source) = (rows, source);
    memory.unwritten.clear();
    Ok(Some(store))
}

/// Hides the names of users where the mapping hides them in the logs.
fn without_hidden_names(app: &App, mut records: NotifiableRecords) -> NotifiableRecords {
    if app.rules.mapping.redacted().contains(&Attribute::UserName) {
        let users = records.held.values_mut().chain(&mut records.failing).flat_map(|affected| &mut affected.first);
        for name in users.filter_map(|user| user.name.as_mut()) {
            REDACTED.clone_into(name);
        }
    }
    records
}

fn decide_now(
    rows: &NotificationRows,
    notifier: &Notifier,
    news: &CycleNews,
    records: Option<NotifiableRecords>,
    now: Timestamp,
) -> Vec<(NotificationCause, NotificationRow)> {
    let CycleNews { result, took_over, is_standby: _ } = news.clone();
    let facts = NotificationFacts { now, cycle: result, took_over, records };
    decide(rows, &facts, &notifier.policy()).into_iter().map(|row| (row.cause, row)).collect()
}

impl NotificationMemory {
    /// Forgets what belongs to another application or learner database, after a reload.
    fn forget_other_place(&mut self, app: &App) {
        let Config { entra, app: application, learners, .. } = &app.config;
        let place = (format!("{}/{}", entra.tenant_id, application.enterprise_app), learners.clone());
        if self.place.as_ref() != Some(&place) {
            *self = Self { place: Some(place), ..Self::default() };
        }
    }

    /// Drops the unsent messages of a configuration that has lost its channels: nothing would send them.
    async fn drop_unsent(&mut self, app: &App, has_news: bool) {
        // At its start the daemon leaves a learner database to the first cycle, which prepares it.
        if self.was_emptied || (self.source.is_empty() && !has_news) {
            return;
        }
        self.unwritten.clear();
        let dropped = async {
            let Some(store) = open_existing(app).await? else { return Ok(()) };
            let source = configured_source(&app.config, &store.state().await?);
            let has_unsent = store.notifications(&source).await?.values().any(|row| row.unsent.is_some());
            let own = daemon_place(&app.config);
            let has_others =
                store.daemons(&source).await?.iter().any(|other| other.is_alive == Some(true) && other.place != own);
            // Another daemon may have channels, and sends them.
            if has_unsent && !has_others {
                store.drop_unsent_notifications(&source).await?;
                tracing::warn!("unsent messages are dropped: no channel is configured");
            }
            store.close().await?;
            Ok::<_, StoreError>(())
        };
        match tokio::time::timeout(DATABASE_TIMEOUT, dropped).await {
            Ok(Ok(())) => (self.was_emptied, self.rows) = (true, NotificationRows::new()),
            Ok(Err(error)) => tracing::debug!("cannot drop unsent messages: {}", chain(&error)),
            Err(_) => tracing::debug!("cannot drop unsent messages: the learner database does not answer"),
        }
    }

    /// Decides without the learner database. A standby leaves that to the daemon that runs the cycles, unless its own
    /// cycles fail for so long that the other one may be lost together with the learner database.
    fn decide_alone(&mut self, app: &App, notifier: &Notifier, news: Option<&CycleNews>, now: Timestamp) {
        let longest = signed(app.config.schedule.max_interval);
        let lasts = self.failing_since.is_some_and(|since| now.duration_since(since) > longest);
        let Some(news) = news.filter(|news| !news.is_standby || lasts) else { return };
        if self.source.is_empty() {
            self.source = format!("{}/{}", app.config.entra.tenant_id, app.config.app.enterprise_app);
        }
        for (cause, row) in decide_now(&self.rows, notifier, news, None, now) {
            self.unwritten.insert(cause);
            self.rows.insert(cause, row);
        }
    }

    /// Tries the channels of this daemon that have not accepted the message of `row`.
    async fn attempt(
        &mut self,
        app: &App,
        notifier: &Notifier,
        store: Option<&Store>,
        row: NotificationRow,
        clock: &(dyn Fn() -> Timestamp + Sync),
    ) {
        let Some(mut unsent) = row.unsent.clone() else { return };
        let (cause, at) = (row.cause, unsent.notification.at);
        match store {
            Some(store) => match store.take_notification(&self.source, cause, &unsent, clock() + ATTEMPT_TIME).await {
                Ok(true) => {}
                // Another daemon sends it, and it is read again at the next look.
                Ok(false) => return self.forget(cause),
                Err(error) => {
                    tracing::debug!("cannot record an attempt at a message: {}", chain(&error));
                    self.was_written = false;
                    return;
                }
            },
            // Another daemon may have the message that this one remembers.
            None if !self.unwritten.contains(&cause) => return,
            None => {}
        }
        let origin = message_origin(&app.config, self.source.clone(), notifier.has_names());
        let message = Message::new(&unsent.notification, &origin);
        unsent.attempts = unsent.attempts.saturating_add(1);
        let mut errors = Vec::new();
        let own: Vec<NotificationChannel> = unsent.channels.intersection(&notifier.channels()).copied().collect();
        for channel in own {
            match notifier.send(channel, &message, clock()).await {
                Ok(()) => drop(unsent.channels.remove(&channel)),
                Err(error) => errors.push((channel, error.to_string())),
            }
        }
        let left = (!unsent.channels.is_empty()).then(|| {
            let errors = errors.iter().map(|(channel, error)| format!("{channel}: {error}")).collect::<Vec<_>>();
            let next_attempt_at = clock() + signed(wait_after(unsent.attempts));
            // Only another daemon has the channels that are left when none of this one has failed.
            let error = if errors.is_empty() { unsent.error.take() } else { Some(errors.join("; ")) };
            UnsentNotification { next_attempt_at, error, ..unsent }
        });
        match left.as_ref().filter(|_| !errors.is_empty()) {
            None => tracing::info!(event = cause.event().as_str(), "message sent"),
            Some(UnsentNotification { error, attempts, .. }) => tracing::warn!(
                event = cause.event().as_str(),
                attempts,
                "a message was not accepted, and is tried again: {}",
                error.as_deref().unwrap_or_default()
            ),
        }
        if let Some(store) = store
            && let Err(error) = store.record_attempt(&self.source, cause, at, left.as_ref()).await
        {
            tracing::warn!("cannot record an attempt at a message: {}", chain(&error));
            // What was accepted is not sent again: it is written at the next look.
            self.unwritten.insert(cause);
            self.was_written = false;
        }
        self.rows.insert(cause, NotificationRow { unsent: left, ..row });
    }

    fn forget(&mut self, cause: NotificationCause) {
        if let Some(row) = self.rows.get_mut(&cause) {
            row.unsent = None;
        }
    }

    fn next_look(&self, channels: &BTreeSet<NotificationChannel>, now: Timestamp) -> Option<Duration> {
        let waits = self.rows.values().filter_map(|row| {
            let next = row.unsent.as_ref().filter(|unsent| !unsent.channels.is_disjoint(channels))?.next_attempt_at;
            let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
            // The learner database may be unavailable, and the message in it due.
            Some(wait.clamp(Duration::from_secs(1), wait_after(u64::MAX)))
        });
        waits.min().map(|wait| if self.was_written { wait } else { wait.max(wait_after(1)) })
    }
}

/// Whether one of `channels` is to be tried now. Another daemon may have others.
fn is_row_due(row: &NotificationRow, channels: &BTreeSet<NotificationChannel>, now: Timestamp) -> bool {
    let is_due = |unsent: &UnsentNotification| is_due(unsent.next_attempt_at, now);
    row.unsent.as_ref().is_some_and(|unsent| !unsent.channels.is_disjoint(channels) && is_due(unsent))
}

fn is_expired(row: &NotificationRow, now: Timestamp) -> bool {
    row.unsent.as_ref().is_some_and(|unsent| is_too_old(unsent.notification.at, now))
}

/// Where the messages of this configuration come from.
pub fn message_origin(config: &Config, source: String, has_names: bool) -> MessageOrigin {
    MessageOrigin { source, options: config::command_options(&config.path), has_names }
}

/// The problems of the channels that can be found without a message.
pub fn channel_problems(app: &App) -> Vec<String> {
    let Some(notifier) = &app.notifier else { return Vec::new() };
    let problem = |channel: &NotificationChannel| Some(notifier.target(*channel)?.err()?.to_string());
    NotificationChannel::ALL.iter().filter_map(problem).collect()
}
