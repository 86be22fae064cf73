//! The screen of `status`.

use std::fmt::Write as _;

use jiff::Timestamp;
use rustix::termios::Winsize;
use unicode_width::UnicodeWidthStr as _;

use super::WATCH_EVERY;
use crate::cli::narrow::{ListColumns, ListRow, labelled};
use crate::cli::output::{Failure, action_in_words, line_width, local_time, print_sentences, visible_lines};
use crate::model::{ProvisioningState, StateReport, Status};
use crate::runtime::status::{CycleNumbers, StatusRecord, StatusSummary, total};
use crate::store::{FailingUser, HeldUser};
use crate::view::{
    FAILING_HEADERS, HELD_HEADERS, ListedUsers, StatusView, cycle_in_words, cycle_numbers_in_words, failing_cells,
    held_cells, learners_in_words, recreated_in_words, unreadable_in_words,
};

/// How many users of a list are shown without `--all`.
const FIRST: usize = 5;
/// The width of the labels.
const LABEL: usize = 14;
const ALL: &str = "learner-sync status --all";

impl StatusView {
    /// The lines; with `all`, every user.
    pub(in crate::cli) fn screen(&self, all: bool) -> String {
        let StatusScreen { head, lists } = self.screen_parts(all);
        head + &lists
    }

    /// The lines about the whole, and the lists of users.
    pub(in crate::cli) fn screen_parts(&self, all: bool) -> StatusScreen {
        let mut screen = Screen { text: String::new(), width: line_width() };
        self.add_state(&mut screen);
        self.add_daemon(&mut screen);
        match &self.summary {
            Some(summary) => self.add_summary(&mut screen, summary),
            None => screen.line("Last cycle", "unknown, because the learner database cannot be read"),
        }
        self.add_warnings(&mut screen);
        let head = std::mem::take(&mut screen.text);
        self.add_users(&mut screen, all);
        StatusScreen { head, lists: screen.text }
    }

    fn add_state(&self, screen: &mut Screen) {
        let StateReport { state, since: _, reason } = &self.report;
        screen.line("State", &self.state_in_words());
        if *state != ProvisioningState::Ok {
            screen.line("", reason);
        }
        if let Some(failure) = self.hidden_failure() {
            screen.line("", &failure);
        }
    }

    fn add_daemon(&self, screen: &mut Screen) {
        screen.line("Daemon", &self.daemon_in_words());
        for other in self.other_daemons() {
            screen.line("Other daemon", &other);
        }
        for (number, line) in self.configuration_in_words().iter().enumerate() {
            screen.line(if number == 0 { "Configuration" } else { "" }, line);
        }
        if let Some(StatusRecord { http: Some(http), .. }) = self.alive() {
            screen.line("HTTP", &http.reason);
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
        if let Some(success) = self.earlier_success() {
            screen.line("Last success", &cycle_in_words(success));
        }
        screen.line("Next cycle", &self.next_cycle_in_words(summary));
        let (learners, unlinked) = learners_in_words(summary.learners);
        screen.line("Learners", &learners);
        if let Some(unlinked) = unlinked {
            screen.line("", &unlinked);
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
        for (label, warning) in self.warnings() {
            match label {
                "" => screen.text(&warning),
                label => screen.line(label, &warning),
            }
        }
    }

    fn add_users(&self, screen: &mut Screen, all: bool) {
        let Some(summary) = &self.summary else { return };
        if let Some(overview) = self.overview.as_ref().filter(|overview| !overview.unreadable.is_empty()) {
            screen.heading(&format!("Rows that cannot be read ({}):", overview.unreadable.len()));
            screen.text(&unreadable_in_words(&overview.unreadable).join("\n"));
        }
        let ListedUsers { held, failing, skipped } = self.users();
        // What the daemon recorded has no users, and `--all` does not change that.
        let lists = self.overview.is_some();
        let shown = |users: usize| if all { users } else { users.min(FIRST) };
        let (shown_held, shown_failing, shown_skipped) =
            (shown(held.len()), shown(failing.len()), shown(skipped.len()));
        if let Some((users, heading)) = Self::held_heading(summary) {
            screen.heading(&heading);
            if shown_held > 0 {
                screen.list(&held_list(held[..shown_held].iter().copied()));
            }
            screen.others(users.saturating_sub(shown_held as u64), lists);
        }
        if let Some((users, heading)) = Self::failing_heading(summary) {
            screen.heading(&heading);
            screen.failing(&failing[..shown_failing], all);
            screen.others(users.saturating_sub(shown_failing as u64), lists);
        }
        if let Some((users, heading)) = Self::skipped_heading(summary) {
            screen.heading(&heading);
            screen.failing(&skipped[..shown_skipped], all);
            screen.others(users.saturating_sub(shown_skipped as u64), lists);
        }
        if !lists && total(&summary.held) + total(&summary.failing) + total(&summary.skipped) > 0 {
            let what = if self.config_error.is_some() { "configuration" } else { "learner database" };
            screen.text(&format!("These users are listed when the {what} can be read again."));
        }
        if let Some(others) = Self::other_skipped(summary) {
            screen.text(&others);
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

/// The two parts of the screen.
pub(in crate::cli) struct StatusScreen {
    /// The lines about the whole.
    pub(in crate::cli) head: String,
    /// The lists of users.
    pub(in crate::cli) lists: String,
}

/// The lines that fit a terminal, above the number of the others. The lists have up to half of the rows, because the lines
/// about the whole change less.
pub(super) fn cut(StatusScreen { head, lists }: &StatusScreen, Winsize { ws_row, ws_col, .. }: Winsize) -> String {
    let head: Vec<&str> = head.trim_end().lines().collect();
    let lists: Vec<&str> = lists.trim_end().lines().collect();
    // The cursor is in the last row. A terminal that does not know its size reports 0.
    let (rows, columns) = (usize::from(ws_row).saturating_sub(1), usize::from(ws_col).max(1));
    let height = |line: &&str| line.width().div_ceil(columns).max(1);
    let heights = |lines: &[&str]| lines.iter().map(height).sum::<usize>();
    if ws_row == 0 || ws_col == 0 || heights(&head) + heights(&lists) <= rows {
        return [head, lists].concat().join("\n");
    }
    let fitting = |lines: &[&str], rows: usize| {
        let mut used = 0;
        let fits = |line: &&&str| {
            used += height(line);
            used <= rows
        };
        lines.iter().take_while(fits).count()
    };
    let rows = rows.saturating_sub(1);
    let (shown_head, hidden_head) = head.split_at(fitting(&head, rows.saturating_sub(heights(&lists)).max(rows / 2)));
    let (shown_lists, hidden_lists) = lists.split_at(fitting(&lists, rows.saturating_sub(heights(shown_head))));
    let mut shown = shown_head.to_vec();
    match shown_lists {
        // An ellipsis in place of the empty line says where lines are missing.
        ["", rest @ ..] if !hidden_head.is_empty() => {
            shown.push("…");
            shown.extend(rest);
        }
        all => shown.extend(all),
    }
    let others = hidden_head.len() + hidden_lists.len();
    shown.push("");
    let shown = shown.join("\n");
    format!("{shown}… and {others} more lines; `learner-sync status` shows all")
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
            let cells = failing_cells(user);
            let [reason, user, .., detail] = &cells;
            let narrow = [reason.clone(), format!("{user}\n{detail}")];
            ListRow { cells: cells.into(), narrow }
        });
        let rows = rows.collect();
        self.list(&if whole { FAILING.list(rows) } else { FAILING.list_within(rows, DETAIL_LINES) });
    }
}

const FAILING: ListColumns = ListColumns(&FAILING_HEADERS);
/// How many lines of the one screen a detail may take.
const DETAIL_LINES: usize = 3;

fn recreated_text(users: u64) -> String {
    format!("\n{}", recreated_in_words(users).join("\n"))
}

/// Points to the command that keeps these users from losing their learners.
pub(in crate::cli) fn print_recreated(users: u64) -> Result<(), Failure> {
    if users > 0 {
        print_sentences(&recreated_text(users))?;
    }
    Ok(())
}

fn add_cycle(screen: &mut Screen, label: &str, last: &CycleNumbers) {
    screen.line(label, &cycle_in_words(last));
    cycle_numbers_in_words(last).iter().for_each(|line| screen.line("", line));
}

/// The held users as a list.
pub(in crate::cli) fn held_list<'h>(held: impl Iterator<Item = &'h HeldUser>) -> String {
    let rows = held.map(|user| {
        let cells = held_cells(user);
        let [_, reason, name, _, _, approved, lost] = &cells;
        let more = [("approved at", approved), ("last assigned", lost)];
        let more = more.into_iter().filter(|(_, text)| !text.is_empty());
        let more: String = more.map(|(label, text)| format!("; {label} {text}")).collect();
        let why = match &user.change_reason {
            Some(change) => format!("{name}\n{change}; held: {reason}{more}"),
            None => format!("{name}\n{reason}{more}"),
        };
        let narrow = [action_in_words(user.action, Status::Held, None), why];
        ListRow { cells: cells.into(), narrow }
    });
    HELD.list(rows.collect())
}

const HELD: ListColumns = ListColumns(&HELD_HEADERS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_cut_to_the_rows_of_the_terminal_and_its_lists_keep_half_of_them() {
        let size = |ws_row, ws_col| Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        let screen = |head: &str, lists: &str| StatusScreen { head: head.to_owned(), lists: lists.to_owned() };
        let others =
            |lines: &str, number| format!("{lines}\n… and {number} more lines; `learner-sync status` shows all");
        let one = screen("one\ntwo\n\nfour, which is long\nfive\n", "");
        for (rows, columns) in [(6, 80), (7, 18), (0, 0), (0, 80)] {
            assert_eq!(cut(&one, size(rows, columns)), one.head.trim_end(), "{rows} rows");
        }
        assert_eq!(cut(&one, size(5, 80)), others("one\ntwo\n", 2));
        assert_eq!(cut(&one, size(6, 18)), others("one\ntwo\n", 2));
        assert!(cut(&one, size(1, 80)).ends_with("… and 5 more lines; `learner-sync status` shows all"));

        let long = screen("1\n2\n3\n4\n5\n6\n", "\nHeld\na\nb\nc\n\nFailing\nd\n");
        assert_eq!(cut(&long, size(10, 80)), others("1\n2\n3\n4\n…\nHeld\na\nb", 6));
        // What one part leaves is for the other.
        assert_eq!(cut(&screen("1\n", &long.lists), size(8, 80)), others("1\n\nHeld\na\nb\nc", 3));
        assert_eq!(cut(&screen(&long.head, "\nHeld\na\n"), size(8, 80)), others("1\n2\n3\n…\nHeld\na", 3));
    }
}
