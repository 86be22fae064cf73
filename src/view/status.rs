//! The facts of `learner-sync status`, which the status page shows as well.

use std::path::PathBuf;

use jiff::Timestamp;

use super::words::{local_time, shown};
use crate::config::Config;
use crate::cycle::ends_soon;
use crate::model::{
    ClockFinding, DaemonPlace, Finding, LockHolder, ProvisioningState, Route, Routes, StateReport, UnreadableRow,
};
use crate::plan::Counts;
use crate::runtime::daemon_place;
use crate::runtime::status::{
    CycleNumbers, DiskObservation, KnownDaemon, LearnerNumbers, Situation, StatusRecord, StatusSummary, UnsentMessage,
    by_reason, total,
};
use crate::store::{FailingUser, HeldUser, SourceOverview, host_name};

/// What is added to a daemon of several.
const RAN_LAST: &str = "; ran the last cycle";

/// Everything that is shown of the state of provisioning.
pub(crate) struct StatusView {
    pub(crate) report: StateReport,
    pub(crate) now: Timestamp,
    /// `None` when nothing is known of the learner database.
    pub(crate) summary: Option<StatusSummary>,
    /// `None` when the learner database cannot be read.
    pub(crate) overview: Option<SourceOverview>,
    /// The record of the present daemon, or of the last one.
    pub(crate) record: Option<StatusRecord>,
    pub(crate) daemon: Option<LockHolder>,
    /// The daemons on all machines, the one of this configuration included.
    pub(crate) daemons: Vec<KnownDaemon>,
    place: DaemonPlace,
    pub(crate) cycle: Option<LockHolder>,
    pub(crate) database: String,
    pub(crate) database_error: Option<String>,
    pub(crate) config: PathBuf,
    pub(crate) config_error: Option<String>,
    /// Whether `provisioning.users` is true.
    pub(crate) enabled: bool,
    pub(crate) disk: Vec<String>,
    pub(crate) is_last_cycle_in_the_future: bool,
}

/// The users who need attention: all of them, or the first.
#[derive(Default)]
pub(crate) struct ListedUsers<'v> {
    pub(crate) held: Vec<&'v HeldUser>,
    pub(crate) failing: Vec<&'v FailingUser>,
    pub(crate) skipped: Vec<&'v FailingUser>,
}

impl StatusView {
    /// The view with what was observed in the learner database.
    pub(crate) fn live(
        config: &Config,
        database: String,
        record: Option<StatusRecord>,
        (summary, overview, cycle): (StatusSummary, SourceOverview, Option<LockHolder>),
        disk: DiskObservation,
        now: Timestamp,
    ) -> Self {
        let DiskObservation { daemon, problem, warnings } = disk;
        let own = |record: &&StatusRecord| daemon.as_ref().is_some_and(|daemon| record.is_of(daemon));
        let alive = record.as_ref().filter(own);
        let known = record.as_ref().map(|record| record.situation(daemon.is_some()));
        let mut situation = match &known {
            Some(known) if alive.is_some() => known.clone(),
            _ => Situation::new(config),
        };
        if let Some(known) = &known {
            situation.daemon = known.daemon.clone();
        }
        situation.daemon.runs = daemon.is_some();
        let (place, daemons) = (daemon_place(config), summary.daemons.clone());
        let daemons = daemons_here_and_elsewhere(daemons, &place, daemon.is_some());
        situation.daemon.runs_elsewhere = runs_elsewhere(&daemons, &place);
        if let Some(reason) = problem {
            let since = situation.trouble.as_ref().and_then(|trouble| trouble.since);
            situation.trouble = Some(Finding::new(since, reason));
        }
        situation.is_cycle_running = summary.runs_elsewhere;
        situation.summary = Some(summary.clone());
        let facts = situation.facts(now);
        Self {
            report: facts.report(),
            now,
            summary: Some(summary),
            overview: Some(overview),
            daemon,
            daemons,
            place,
            cycle,
            database,
            database_error: None,
            config: config.path.clone(),
            config_error: None,
            enabled: situation.enabled,
            disk: warnings,
            is_last_cycle_in_the_future: facts.is_last_cycle_in_the_future(),
            record,
        }
    }

    /// The view of what the daemon recorded.
    pub(crate) fn recorded(
        record: StatusRecord,
        database_error: Option<String>,
        config_error: Option<String>,
        now: Timestamp,
    ) -> Self {
        let daemon = record.holder();
        let mut situation = record.situation(daemon.is_some());
        if let Some(reason) = &database_error {
            let since = situation.trouble.as_ref().and_then(|trouble| trouble.since);
            situation.trouble = Some(Finding::new(since, reason.clone()));
        }
        let facts = situation.facts(now);
        let state_directory = record.lock.parent().map(|path| path.display().to_string()).unwrap_or_default();
        Self {
            report: facts.report(),
            now,
            // What was known of them may be old.
            daemons: Vec::new(),
            place: DaemonPlace { host: host_name(), state_directory },
            summary: situation.summary,
            overview: None,
            cycle: daemon.clone().filter(|_| record.is_cycle_running),
            daemon,
            database: record.database.clone(),
            database_error,
            config: record.config.clone(),
            config_error,
            enabled: situation.enabled,
            disk: Vec::new(),
            is_last_cycle_in_the_future: facts.is_last_cycle_in_the_future(),
            record: Some(record),
        }
    }

    /// Adds the disks with little room.
    pub(crate) fn with_disk(self, disk: DiskObservation) -> Self {
        Self { disk: disk.warnings, ..self }
    }

    /// The record of the running daemon.
    pub(crate) fn alive(&self) -> Option<&StatusRecord> {
        let daemon = self.daemon.as_ref()?;
        self.record.as_ref().filter(|record| record.is_of(daemon))
    }

    /// How far the running cycle of the daemon is.
    pub(crate) fn progress(&self) -> Option<&str> {
        self.alive()?.progress.as_deref()
    }

    /// Without a daemon, or while provisioning is paused, no cycle will start then; during a cycle the next time is not
    /// drawn yet.
    pub(crate) fn next_cycle_at(&self) -> Option<Timestamp> {
        let next = match self.alive() {
            Some(record) => record.next_cycle_at,
            None => self.summary.as_ref().and_then(|summary| summary.next_cycle_at),
        };
        let may_start = self.enabled && !self.summary.as_ref().is_some_and(|summary| summary.paused);
        next.filter(|_| may_start && self.runs_somewhere() && (self.cycle.is_none() || self.cycle != self.daemon))
    }

    /// The time of the pause and the system user, as far as they are known; none while provisioning is not paused.
    pub(crate) fn pause(&self) -> Option<(Option<Timestamp>, Option<&str>)> {
        let summary = self.summary.as_ref().filter(|summary| summary.paused)?;
        // What the daemon recorded has no names.
        let by = self.overview.as_ref().and_then(|overview| overview.pauses.paused_by.as_deref());
        Some((summary.paused_at, by))
    }

    pub(crate) fn clock(&self) -> Option<ClockFinding> {
        self.summary.as_ref().and_then(|summary| ClockFinding::from_text(summary.clock.as_deref()?))
    }

    /// Whether a daemon runs, here or on another machine.
    fn runs_somewhere(&self) -> bool {
        self.daemon.is_some() || runs_elsewhere(&self.daemons, &self.place)
    }

    /// The users who need attention.
    pub(crate) fn users(&self) -> ListedUsers<'_> {
        let Some(overview) = &self.overview else { return ListedUsers::default() };
        let (failing, skipped) = overview.failing.users.iter().partition(|user| user.reason.is_failure());
        ListedUsers { held: overview.held.users.iter().collect(), failing, skipped }
    }
}

/// The facts in words.
impl StatusView {
    /// `ok since 2026-01-02T03:04:05Z`
    pub(crate) fn state_in_words(&self) -> String {
        let StateReport { state, since, reason: _ } = &self.report;
        let since = since.map(|since| format!(" since {}", local_time(since))).unwrap_or_default();
        format!("{state}{since}")
    }

    /// What the state leaves out: cycles fail. The word of the first state that applies hides that.
    pub(crate) fn hidden_failure(&self) -> Option<String> {
        let since = self.summary.as_ref().and_then(|summary| summary.failing_since)?;
        let is_hidden = self.report.state != ProvisioningState::Failing;
        is_hidden.then(|| format!("failing since {}", local_time(since)))
    }

    /// The daemon of this configuration.
    pub(crate) fn daemon_in_words(&self) -> String {
        let daemon = match (&self.daemon, self.alive()) {
            (Some(daemon), Some(StatusRecord { started_at, program, .. })) => {
                let pid = daemon.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
                format!("running since {}{pid}, version {program}", local_time(*started_at))
            }
            (Some(daemon), None) => format!("running: {daemon}"),
            (None, _) => match self.record.as_ref().map(|record| record.stopped_at) {
                Some(Some(at)) => format!("not running; stopped at {}", local_time(at)),
                Some(None) => "not running; it ended without a stop".to_owned(),
                None => "not running".to_owned(),
            },
        };
        let has_others = self.daemons.iter().any(|other| !other.is_at(&self.place));
        let ran_last = self.daemons.iter().any(|known| known.is_at(&self.place) && known.ran_last_cycle);
        let ran_last = if ran_last && has_others { RAN_LAST } else { "" };
        format!("{daemon}{ran_last}")
    }

    /// The configuration file, and why the daemon or a command cannot use it as it is.
    pub(crate) fn configuration_in_words(&self) -> Vec<String> {
        let path = self.config.display();
        let mut lines = Vec::new();
        match self.alive() {
            Some(StatusRecord { loaded_at, rejected, .. }) => {
                lines.push(format!("{path}, loaded at {}", local_time(*loaded_at)));
                if let Some(rejected) = rejected {
                    let at = rejected.since.map(|at| format!(" at {}", local_time(at))).unwrap_or_default();
                    // The state already says why.
                    let why = Some(&rejected.reason).filter(|reason| **reason != self.report.reason);
                    let why = why.map_or_else(String::new, |reason| format!(": {reason}"));
                    lines.push(format!("a reload was rejected{at}{why}"));
                }
            }
            None => lines.push(path.to_string()),
        }
        lines
    }

    /// The other daemons of the source.
    pub(crate) fn other_daemons(&self) -> impl Iterator<Item = String> {
        self.daemons.iter().filter(|other| !other.is_at(&self.place)).map(known_daemon)
    }

    /// The last success, unless it is the last cycle.
    pub(crate) fn earlier_success(&self) -> Option<&CycleNumbers> {
        let summary = self.summary.as_ref()?;
        let is_success = |last: &CycleNumbers| last.outcome.as_deref() == Some("success");
        summary.last_success.as_ref().filter(|_| !summary.last_cycle.as_ref().is_some_and(is_success))
    }

    /// The next cycle, or why there is none.
    pub(crate) fn next_cycle_in_words(&self, summary: &StatusSummary) -> String {
        match (self.next_cycle_at(), self.runs_somewhere()) {
            (_, false) => "no daemon is running".to_owned(),
            (_, true) if !self.enabled => "none, because provisioning is disabled".to_owned(),
            (_, true) if summary.paused => "none, because provisioning is paused".to_owned(),
            (None, true) => "not scheduled yet".to_owned(),
            (Some(at), true) => local_time(at),
        }
    }

    /// The warnings with their labels.
    pub(crate) fn warnings(&self) -> Vec<(&'static str, String)> {
        let mut warnings: Vec<(&str, String)> = self.disk.iter().map(|warning| ("Disk", warning.clone())).collect();
        let of_daemons = crate::runtime::status::daemon_warnings(&self.daemons);
        warnings.extend(of_daemons.into_iter().map(|warning| ("Warning", warning)));
        if !self.enabled {
            let text = "Provisioning is disabled: no cycle runs while provisioning.users = false.";
            warnings.push(("", text.to_owned()));
        }
        if let Some((since, by)) = self.pause() {
            let since = since.map(|since| format!(" since {}", local_time(since))).unwrap_or_default();
            let by = by.map(|by| format!(" by {}", shown(by))).unwrap_or_default();
            let paused = format!("{since}{by}");
            if !paused.is_empty() {
                warnings.push(("Paused", paused.trim_start().to_owned()));
            }
            warnings.push(("", "Provisioning is paused; resume it with `learner-sync resume`.".to_owned()));
        }
        let ends_at = self.summary.as_ref().and_then(|summary| summary.credential_ends_at);
        if let Some(warning) = ends_at.and_then(|end| ends_soon(end, self.now)) {
            warnings.push(("Credential", warning));
        }
        let unsent = self.summary.iter().flat_map(|summary| &summary.unsent_messages);
        warnings.extend(unsent.map(|message| ("Message", unsent_in_words(message))));
        if let Some(warning) = self.clock().and_then(ClockFinding::warning) {
            warnings.push(("Clock", warning));
        }
        if self.is_last_cycle_in_the_future {
            let text = "the last cycle lies in the future: the clock of this machine was or is wrong";
            warnings.push(("Clock", text.to_owned()));
        }
        warnings
    }

    /// The headings of the held, failing and skipped users, each with its number; none without such users.
    pub(crate) fn held_heading(summary: &StatusSummary) -> Option<(u64, String)> {
        let users = total(&summary.held);
        let advice = match summary.approved == users {
            true => "all approved; the next cycle applies the changes",
            false => "release with `learner-sync approve`",
        };
        (users > 0).then(|| (users, format!("Held ({users}); {advice}: {}", by_reason(&summary.held))))
    }

    pub(crate) fn failing_heading(summary: &StatusSummary) -> Option<(u64, String)> {
        let users = total(&summary.failing);
        (users > 0).then(|| (users, format!("Failing ({users}): {}", by_reason(&summary.failing))))
    }

    pub(crate) fn skipped_heading(summary: &StatusSummary) -> Option<(u64, String)> {
        let users = total(&summary.skipped);
        (users > 0).then(|| (users, format!("Skipped ({users}): {}", by_reason(&summary.skipped))))
    }

    /// The skipped users of the last cycle that have no record of their own.
    pub(crate) fn other_skipped(summary: &StatusSummary) -> Option<String> {
        let ended = summary.last_cycle.as_ref().filter(|last| last.outcome.is_some());
        let all = ended.map_or(0, |last| last.counts.skipped);
        let others = all.checked_sub(total(&summary.skipped)).filter(|others| *others > 0)?;
        Some(format!(
            "The last cycle skipped {others} more: disabled accounts and users out of scope, without learners."
        ))
    }
}

/// The learners: all, and those without a link.
pub(crate) fn learners_in_words(numbers: LearnerNumbers) -> (String, Option<String>) {
    let LearnerNumbers { active, inactive, linked, active_unlinked } = numbers;
    let unlinked =
        (active_unlinked > 0).then(|| format!("{active_unlinked} active but not linked to this application"));
    (format!("{active} active, {inactive} inactive, {linked} linked to this application"), unlinked)
}

/// The first rows, one line each.
pub(crate) fn unreadable_in_words(rows: &[UnreadableRow]) -> Vec<String> {
    const SHOWN: usize = 10;
    let shown = rows.iter().take(SHOWN).map(|row| shown(&row.to_string()));
    let others = rows.len().checked_sub(SHOWN).filter(|others| *others > 0);
    shown.chain(others.map(|others| format!("and {others} more"))).collect()
}

/// Points to the command that keeps these users from losing their learners.
pub(crate) fn recreated_in_words(users: u64) -> [String; 2] {
    [
        format!("Users in conflict who may have new accounts and deleted former ones: {users}"),
        "Look at them with `learner-sync approve --relink` before you approve deactivations.".to_owned(),
    ]
}

fn known_daemon(KnownDaemon { host, pid, version, seen_at, alive, ran_last_cycle, .. }: &KnownDaemon) -> String {
    let seen = match alive {
        Some(false) => format!("not seen since {}", local_time(*seen_at)),
        Some(true) | None => format!("last seen at {}", local_time(*seen_at)),
    };
    let ran_last = if *ran_last_cycle { RAN_LAST } else { "" };
    format!("on {host}, pid {pid}, version {version}, {seen}{ran_last}")
}

/// The outcome and the time of a cycle.
pub(crate) fn cycle_in_words(numbers: &CycleNumbers) -> String {
    let CycleNumbers { cycle, trigger, started_at, finished_at, outcome, .. } = numbers;
    match (outcome, finished_at) {
        (Some(outcome), Some(finished)) => {
            let took = finished.duration_since(*started_at).as_secs();
            format!("{outcome} at {}, after {took} s (cycle {cycle}, {trigger})", local_time(*finished))
        }
        _ => format!("started at {} (cycle {cycle}, {trigger}), not ended", local_time(*started_at)),
    }
}

/// The numbers of a cycle that has ended, and why it ended early.
pub(crate) fn cycle_numbers_in_words(last: &CycleNumbers) -> Vec<String> {
    let CycleNumbers { outcome, error, counts, requests, .. } = last;
    if outcome.is_none() {
        return Vec::new();
    }
    let Counts { in_scope, created, updated, deactivated, reactivated, unchanged, skipped, failed, held } = counts;
    let numbers = [
        format!("users in scope: {in_scope}; requests to Graph: {requests}"),
        format!("learners: {created} created, {updated} updated, {deactivated} deactivated, {reactivated} reactivated"),
        format!("other users: {unchanged} unchanged, {skipped} skipped, {failed} failed, {held} held"),
    ];
    numbers.into_iter().chain(error.clone()).collect()
}

/// `directly, through the group 0a1b…`
pub(crate) fn routes_in_words(routes: &Routes) -> String {
    let route = |route: &Route| match route {
        Route::Direct => "directly".to_owned(),
        Route::Group(group) => format!("through the group {group}"),
    };
    routes.as_slice().iter().map(route).collect::<Vec<_>>().join(", ")
}

/// The daemons; the lock shows whether the one of this configuration `runs`.
fn daemons_here_and_elsewhere(daemons: Vec<KnownDaemon>, place: &DaemonPlace, runs: bool) -> Vec<KnownDaemon> {
    let judged = daemons.into_iter().map(|daemon| match daemon.is_at(place) {
        true => KnownDaemon { alive: Some(runs), ..daemon },
        false => daemon,
    });
    judged.collect()
}

/// Whether a daemon lives that is not the one of this configuration.
fn runs_elsewhere(daemons: &[KnownDaemon], place: &DaemonPlace) -> bool {
    daemons.iter().any(|daemon| daemon.alive == Some(true) && !daemon.is_at(place))
}

fn unsent_in_words(UnsentMessage { event, at, attempts, next_attempt_at, error }: &UnsentMessage) -> String {
    let tries = if *attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") };
    let (at, next) = (local_time(*at), local_time(*next_attempt_at));
    let error = shown(error.as_deref().unwrap_or_default());
    format!("{event} of {at} is not accepted after {tries}; next attempt at {next}:\n{error}")
}
