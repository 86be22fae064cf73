//! The screen of `status`.

use std::fmt::Write as _;

use jiff::Timestamp;
use rustix::termios::Winsize;
use unicode_width::UnicodeWidthStr as _;

use super::{View, WATCH_EVERY, runs_elsewhere};
use crate::cli::narrow::{ListColumns, ListRow, labelled};
use crate::cli::output::{Failure, action_in_words, line_width, local_time, print_sentences, shown, visible_lines};
use crate::cycle::ends_soon;
use crate::model::{
    Action, ClockFinding, ProvisioningState, Reason, Route, Routes, StateReport, Status, UnreadableRow,
};
use crate::plan::Counts;
use crate::runtime::status::{
    CycleNumbers, KnownDaemon, LearnerNumbers, StatusRecord, StatusSummary, by_reason, daemon_warnings, total,
};
use crate::store::{FailingUser, HeldUser};

/// How many users of a list are shown without `--all`.
const FIRST: usize = 5;
/// The width of the labels.
const LABEL: usize = 14;
/// What is added to a daemon of several.
const RAN_LAST: &str = "; ran the last cycle";
const ALL: &str = "learner-sync status --all";

impl View {
    pub(super) fn screen(&self) -> String {
        let mut screen = Screen { text: String::new(), width: line_width() };
        self.add_state(&mut screen);
        self.add_daemon(&mut screen);
        match &self.summary {
            Some(summary) => self.add_summary(&mut screen, summary),
            None => screen.line("Last cycle", "unknown, because the learner database cannot be read"),
        }
        self.add_warnings(&mut screen);
        self.add_users(&mut screen);
        screen.text
    }

    fn add_state(&self, screen: &mut Screen) {
        let StateReport { state, since, reason } = &self.report;
        let since = since.map(|since| format!(" since {}", local_time(since))).unwrap_or_default();
        screen.line("State", &format!("{state}{since}"));
        if *state != ProvisioningState::Ok {
            screen.line("", reason);
        }
        // The word of the first state that applies hides that.
        if let Some(since) = self.summary.as_ref().and_then(|summary| summary.failing_since)
            && *state != ProvisioningState::Failing
        {
            screen.line("", &format!("failing since {}", local_time(since)));
        }
    }

    fn add_daemon(&self, screen: &mut Screen) {
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
        let others: Vec<&KnownDaemon> = self.daemons.iter().filter(|other| !other.is_at(&self.place)).collect();
        let ran_last = self.daemons.iter().any(|known| known.is_at(&self.place) && known.ran_last_cycle);
        let ran_last = if ran_last && !others.is_empty() { RAN_LAST } else { "" };
        screen.line("Daemon", &format!("{daemon}{ran_last}"));
        for other in others {
            screen.line("Other daemon", &known_daemon(other));
        }
        let path = self.config.display();
        match self.alive() {
            Some(StatusRecord { loaded_at, rejected, http, .. }) => {
                screen.line("Configuration", &format!("{path}, loaded at {}", local_time(*loaded_at)));
                if let Some(rejected) = rejected {
                    let at = rejected.since.map(|at| format!(" at {}", local_time(at))).unwrap_or_default();
                    // The state already says why.
                    let why = Some(&rejected.reason).filter(|reason| **reason != self.report.reason);
                    let why = why.map_or_else(String::new, |reason| format!(": {reason}"));
                    screen.line("", &format!("a reload was rejected{at}{why}"));
                }
                if let Some(http) = http {
                    screen.line("HTTP", &http.reason);
                }
            }
            None => screen.line("Configuration", &path.to_string()),
        }
        if let Some(error) = &self.config_error {
            let rejected = self.alive().and_then(|record| record.rejected.as_ref());
            if rejected.is_some_and(|rejected| rejected.reason == *error) {
                screen.line("", "the file cannot be used as it is now");
            } else {
                screen.line("", "the file cannot be used as it is now:");
                error.lines().for_each(|line| screen.line("", line));
            }
        }
    }

    fn add_summary(&self, screen: &mut Screen, summary: &StatusSummary) {
        screen.line("Source", &summary.source);
        match &summary.last_cycle {
            None => screen.line("Last cycle", "none yet"),
            Some(last) => add_cycle(screen, "Last cycle", last),
        }
        if let Some(progress) = self.progress() {
            screen.line("", progress);
        }
        let is_success = |last: &CycleNumbers| last.outcome.as_deref() == Some("success");
        if let Some(success) =
            summary.last_success.as_ref().filter(|_| !summary.last_cycle.as_ref().is_some_and(is_success))
        {
            screen.line("Last success", &in_words(success));
        }
        let runs = self.daemon.is_some() || runs_elsewhere(&self.daemons, &self.place);
        let next = match (self.next_cycle_at(), runs) {
            (_, false) => "no daemon is running".to_owned(),
            (_, true) if !self.enabled => "none, because provisioning is disabled".to_owned(),
            (_, true) if summary.paused => "none, because provisioning is paused".to_owned(),
            (None, true) => "not scheduled yet".to_owned(),
            (Some(at), true) => local_time(at),
        };
        screen.line("Next cycle", &next);
        let LearnerNumbers { active, inactive, linked, active_unlinked } = summary.learners;
        screen.line("Learners", &format!("{active} active, {inactive} inactive, {linked} linked to this application"));
        if active_unlinked > 0 {
            screen.line("", &format!("{active_unlinked} active but not linked to this application"));
        }
        screen.line("Database", &format!("{}, schema version {}", self.database, summary.schema_version));
    }

    fn add_warnings(&self, screen: &mut Screen) {
        if self.summary.is_none() {
            screen.line("Database", &self.database);
        }
        if let Some(error) = &self.database_error {
            screen.line("", error);
        }
        self.disk.iter().for_each(|warning| screen.line("Disk", warning));
        daemon_warnings(&self.daemons).iter().for_each(|warning| screen.line("Warning", warning));
        if !self.enabled {
            screen.text("Provisioning is disabled: no cycle runs while provisioning.users = false.");
        }
        if let Some((since, by)) = self.pause() {
            let since = since.map(|since| format!(" since {}", local_time(since))).unwrap_or_default();
            let by = by.map(|by| format!(" by {}", shown(by))).unwrap_or_default();
            let paused = format!("{since}{by}");
            if !paused.is_empty() {
                screen.line("Paused", paused.trim_start());
            }
            screen.text("Provisioning is paused; resume it with `learner-sync resume`.");
        }
        let ends_at = self.summary.as_ref().and_then(|summary| summary.credential_ends_at);
        if let Some(warning) = ends_at.and_then(|end| ends_soon(end, self.now)) {
            screen.line("Credential", &warning);
        }
        if let Some(warning) = self.clock().and_then(ClockFinding::warning) {
            screen.line("Clock", &warning);
        }
        if self.is_last_cycle_in_the_future {
            screen.line("Clock", "the last cycle lies in the future: the clock of this machine was or is wrong");
        }
    }

    fn add_users(&self, screen: &mut Screen) {
        let Some(summary) = &self.summary else { return };
        let (mut held, mut failing, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(overview) = &self.overview {
            if !overview.unreadable.is_empty() {
                screen.heading(&format!("Rows that cannot be read ({}):", overview.unreadable.len()));
                screen.text(&list_unreadable(&overview.unreadable));
            }
            held = overview.held.users.clone();
            (failing, skipped) = overview.failing.users.iter().partition(|user| user.reason.is_failure());
        }
        // What the daemon recorded has no users, and `--all` does not change that.
        let lists = self.overview.is_some();
        let shown = |users: usize| if self.all { users } else { users.min(FIRST) };
        let (shown_held, shown_failing, shown_skipped) =
            (shown(held.len()), shown(failing.len()), shown(skipped.len()));
        let users = total(&summary.held);
        if users > 0 {
            let reasons = by_reason(&summary.held);
            let advice = match summary.approved == users {
                true => "all approved; the next cycle applies the changes",
                false => "release with `learner-sync approve`",
            };
            screen.heading(&format!("Held ({users}); {advice}: {reasons}"));
            if shown_held > 0 {
                screen.list(&held_list(&held[..shown_held]));
            }
            screen.others(users.saturating_sub(shown_held as u64), lists);
        }
        let users = total(&summary.failing);
        if users > 0 {
            screen.heading(&format!("Failing ({users}): {}", by_reason(&summary.failing)));
            screen.failing(&failing[..shown_failing], self.all);
            screen.others(users.saturating_sub(shown_failing as u64), lists);
        }
        let users = total(&summary.skipped);
        if users > 0 {
            screen.heading(&format!("Skipped ({users}): {}", by_reason(&summary.skipped)));
            screen.failing(&skipped[..shown_skipped], self.all);
            screen.others(users.saturating_sub(shown_skipped as u64), lists);
        }
        if !lists && total(&summary.held) + total(&summary.failing) + total(&summary.skipped) > 0 {
            let what = if self.config_error.is_some() { "configuration" } else { "learner database" };
            screen.text(&format!("These users are listed when the {what} can be read again."));
        }
        // Those have no record of their own.
        let all =
            summary.last_cycle.as_ref().filter(|last| last.outcome.is_some()).map_or(0, |last| last.counts.skipped);
        if let Some(others) = all.checked_sub(users).filter(|others| *others > 0) {
            screen.text(&format!(
                "The last cycle skipped {others} more: disabled accounts and users out of scope, without learners."
            ));
        }
        if summary.recreated > 0 {
            screen.text(&recreated_text(summary.recreated));
        }
    }
}

/// The first line with `--watch`.
pub(super) fn as_of(now: Timestamp) -> String {
    format!("{:LABEL$}{}, refreshed every {} seconds\n", "As of", local_time(now), WATCH_EVERY.as_secs())
}

/// The first lines of a screen that fit a terminal, above the number of the others.
pub(super) fn cut(screen: &str, Winsize { ws_row, ws_col, .. }: Winsize) -> String {
    let lines: Vec<&str> = screen.trim_end().lines().collect();
    // The cursor is in the last row. A terminal that does not know its size reports 0.
    let (rows, columns) = (usize::from(ws_row).saturating_sub(1), usize::from(ws_col).max(1));
    let fitting = |rows: usize| {
        let mut used = 0;
        let fits = |line: &&&str| {
            used += line.width().div_ceil(columns).max(1);
            used <= rows
        };
        lines.iter().take_while(fits).count()
    };
    if ws_row == 0 || ws_col == 0 || fitting(rows) == lines.len() {
        return lines.join("\n");
    }
    let (shown, others) = lines.split_at(fitting(rows.saturating_sub(1)));
    format!("{}\n… and {} more lines; `learner-sync status` shows all", shown.join("\n"), others.len())
}

/// The lines of the screen.
struct Screen {
    text: String,
    /// The width of the terminal. A file or a pipe gets each text as one line.
    width: Option<usize>,
}

impl Screen {
    fn line(&mut self, label: &str, text: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{}", labelled(&format!("{label:LABEL$}"), &visible_lines(text), self.width));
    }

    fn text(&mut self, text: &str) {
        let _ = writeln!(self.text, "{}", labelled("", &visible_lines(text), self.width));
    }

    fn heading(&mut self, text: &str) {
        self.text.push('\n');
        self.text(text);
    }

    fn list(&mut self, list: &str) {
        let _ = writeln!(self.text, "{list}");
    }

    fn others(&mut self, others: u64, lists: bool) {
        if others > 0 && lists {
            self.text(&format!("and {others} more; to list them: {ALL}"));
        }
    }

    fn failing(&mut self, users: &[&FailingUser], whole: bool) {
        if users.is_empty() {
            return;
        }
        let rows = users.iter().map(|user| {
            let FailingUser { entra_id, reason, detail, first_at, last_at, attempts, user_name, routes } = user;
            let user = user_name.as_deref().map_or_else(|| entra_id.to_string(), shown);
            let detail = detail.as_deref().map(shown).unwrap_or_default();
            let mut detail = if whole { detail } else { shortened(&detail, MAX_DETAIL) };
            if let Some(routes) = routes.as_ref().filter(|_| *reason == Reason::Waiting) {
                detail.push_str(&format!("; last assigned {}", routes_in_words(routes)));
            }
            let narrow = [reason.to_string(), format!("{user}\n{detail}")];
            let (first, last, attempts) = (local_time(*first_at), local_time(*last_at), attempts.to_string());
            ListRow { cells: vec![reason.to_string(), user, first, last, attempts, detail], narrow }
        });
        self.list(&FAILING.list(rows.collect()));
    }
}

const FAILING: ListColumns = ListColumns(&["reason", "user", "since", "last tried", "attempts", "detail"]);
/// A longer detail is shortened on the one screen of the summary.
const MAX_DETAIL: usize = 110;

/// The text up to the last word end within `length` letters, with an ellipsis if something is missing.
fn shortened(text: &str, length: usize) -> String {
    let Some((cut, _)) = text.char_indices().nth(length) else { return text.to_owned() };
    let whole = &text[..cut];
    let end = whole.rfind(' ').unwrap_or(cut);
    format!("{} …", &whole[..end])
}

/// The first rows, one line each.
fn list_unreadable(rows: &[UnreadableRow]) -> String {
    const SHOWN: usize = 10;
    let shown = rows.iter().take(SHOWN).map(|row| shown(&row.to_string()));
    let others = rows.len().checked_sub(SHOWN).filter(|others| *others > 0);
    shown.chain(others.map(|others| format!("and {others} more"))).collect::<Vec<_>>().join("\n")
}

fn recreated_text(users: u64) -> String {
    format!(
        "\nUsers in conflict who may have new accounts and deleted former ones: {users}\nLook at them with \
         `learner-sync approve --relink` before you approve deactivations."
    )
}

/// Points to the command that keeps these users from losing their learners.
pub(in crate::cli) fn print_recreated(users: u64) -> Result<(), Failure> {
    if users > 0 {
        print_sentences(&recreated_text(users))?;
    }
    Ok(())
}

fn known_daemon(KnownDaemon { host, pid, version, seen_at, alive, ran_last_cycle, .. }: &KnownDaemon) -> String {
    let seen = match alive {
        Some(false) => format!("not seen since {}", local_time(*seen_at)),
        Some(true) | None => format!("last seen at {}", local_time(*seen_at)),
    };
    let ran_last = if *ran_last_cycle { RAN_LAST } else { "" };
    format!("on {host}, pid {pid}, version {version}, {seen}{ran_last}")
}

fn add_cycle(screen: &mut Screen, label: &str, last: &CycleNumbers) {
    screen.line(label, &in_words(last));
    let CycleNumbers { outcome, error, .. } = last;
    if outcome.is_none() {
        return;
    }
    let Counts { in_scope, created, updated, deactivated, reactivated, unchanged, skipped, failed, held } = last.counts;
    screen.line("", &format!("users in scope: {in_scope}; requests to Graph: {}", last.requests));
    let changed = format!("{created} created, {updated} updated, {deactivated} deactivated, {reactivated} reactivated");
    screen.line("", &format!("learners: {changed}"));
    screen.line("", &format!("other users: {unchanged} unchanged, {skipped} skipped, {failed} failed, {held} held"));
    if let Some(error) = error {
        screen.line("", error);
    }
}

fn in_words(numbers: &CycleNumbers) -> String {
    let CycleNumbers { cycle, trigger, started_at, finished_at, outcome, .. } = numbers;
    match (outcome, finished_at) {
        (Some(outcome), Some(finished)) => {
            let took = finished.duration_since(*started_at).as_secs();
            format!("{outcome} at {}, after {took} s (cycle {cycle}, {trigger})", local_time(*finished))
        }
        _ => format!("started at {} (cycle {cycle}, {trigger}), not ended", local_time(*started_at)),
    }
}

/// The held users as a list.
pub(in crate::cli) fn held_list(held: &[HeldUser]) -> String {
    let rows = held.iter().map(|user| {
        let HeldUser { entra_id, action, reason, since, approved, learner, user_name, routes } = user;
        let user = user_name.as_deref().map_or_else(|| entra_id.to_string(), shown);
        let learner = learner.as_ref().map(|learner| shown(&learner.to_string())).unwrap_or_default();
        let approved =
            approved.as_ref().map(|(at, by)| format!("{} by {}", local_time(*at), shown(by))).unwrap_or_default();
        let lost = routes.as_ref().filter(|_| *action == Action::Deactivate).map(routes_in_words).unwrap_or_default();
        let action = action_in_words(*action, Status::Held, None);
        let more = [("approved at", &approved), ("last assigned", &lost)];
        let more = more.into_iter().filter(|(_, text)| !text.is_empty());
        let more: String = more.map(|(label, text)| format!("; {label} {text}")).collect();
        let narrow = [action.clone(), format!("{user}\n{reason}{more}")];
        ListRow { cells: vec![action, reason.to_string(), user, learner, local_time(*since), approved, lost], narrow }
    });
    HELD.list(rows.collect())
}

const HELD: ListColumns = ListColumns(&["action", "reason", "user", "learner", "since", "approved", "last assigned"]);

/// `directly, through the group 0a1b…`
fn routes_in_words(routes: &Routes) -> String {
    let route = |route: &Route| match route {
        Route::Direct => "directly".to_owned(),
        Route::Group(group) => format!("through the group {group}"),
    };
    routes.as_slice().iter().map(route).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_cut_to_the_rows_of_the_terminal() {
        let size = |ws_row, ws_col| Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        let screen = "one\ntwo\n\nfour, which is long\nfive\n";
        for (rows, columns) in [(6, 80), (7, 18), (0, 0), (0, 80)] {
            assert_eq!(cut(screen, size(rows, columns)), screen.trim_end(), "{rows} rows");
        }
        let others =
            |lines: &str, number| format!("{lines}\n… and {number} more lines; `learner-sync status` shows all");
        assert_eq!(cut(screen, size(5, 80)), others("one\ntwo\n", 2));
        assert_eq!(cut(screen, size(6, 18)), others("one\ntwo\n", 2));
        assert_eq!(cut(screen, size(1, 80)), others("", 5));
    }

    #[test]
    fn a_text_is_shortened_at_a_word_end() {
        assert_eq!(shortened("one two three", 13), "one two three");
        assert_eq!(shortened("one two three", 9), "one two …");
        assert_eq!(shortened("ähnlich", 3), "ähn …");
    }
}
