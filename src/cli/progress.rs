//! The progress of `sync` and `plan` on standard error: on a terminal a line that changes, else a log line every ten
//! seconds.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::output::{counted, seconds};
use crate::progress::{ProgressState, Stage};
use crate::runtime::App;

const REDRAW_EVERY: Duration = Duration::from_millis(100);
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The line on the terminal, which makes room for log lines.
static LINE: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Shows the progress until it is dropped.
pub(super) struct ProgressDisplay {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ProgressDisplay {
    /// Shows the progress of `app`. A program that reads the output gets no log lines.
    pub(super) fn start(app: &App, environment: &BTreeMap<String, String>, for_program: bool) -> Self {
        let (progress, clock) = (Arc::clone(app.directory.progress()), app.clock);
        let moves_cursor = environment.get("TERM").is_some_and(|terminal| terminal != "dumb");
        let on_terminal = moves_cursor && std::io::stderr().is_terminal();
        if !on_terminal && for_program {
            return Self { end: None, thread: None };
        }
        let (end, ended) = channel::<()>();
        let every = if on_terminal { REDRAW_EVERY } else { LOG_EVERY };
        let line = on_terminal.then(show_line);
        let show = move || {
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let (state, now) = (progress.state(), Instant::now());
                let words = in_words(&state, now, clock());
                match &line {
                    Some(line) => draw(line, &state, words),
                    None => tracing::info!("{words}"),
                }
            }
        };
        // Without a thread for it there is no progress to see.
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(show).ok();
        Self { end: Some(end), thread }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(line) = shown_line().take() {
            line.finish_and_clear();
        }
    }
}

fn shown_line() -> std::sync::MutexGuard<'static, Option<ProgressBar>> {
    LINE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn show_line() -> ProgressBar {
    let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    *shown_line() = Some(line.clone());
    line
}

fn draw(line: &ProgressBar, state: &ProgressState, words: String) {
    let template = if state.stage == Stage::Writing { "{bar:20} {msg}" } else { "{spinner} {msg}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        line.set_style(style);
    }
    line.set_length(state.to_write.max(1));
    line.set_position(state.written);
    line.set_message(words);
    line.tick();
}

/// Standard error for log lines, which the line of the progress does not garble.
pub(super) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let line = shown_line().clone();
        let write = || std::io::stderr().lock().write(bytes);
        match line {
            Some(line) => line.suspend(write),
            None => write(),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}

/// `reading users: 12000 read, 1200 per second`
fn in_words(state: &ProgressState, now: Instant, wall: Timestamp) -> String {
    let ProgressState { stage, since, users_read, written, to_write, throttled_until } = *state;
    let took = now.saturating_duration_since(since).as_secs_f64();
    let per_second = |count: u64| (took >= 1.0).then(|| count as f64 / took);
    let rate = |rate: f64| format!("{rate:.0} per second");
    let mut parts = vec![stage.to_string()];
    match stage {
        Stage::ReadingUsers if users_read > 0 => {
            parts[0].push_str(&format!(": {users_read} read"));
            parts.extend(per_second(users_read).map(rate));
        }
        Stage::Writing => {
            parts[0].push_str(&format!(": {written} of {to_write}"));
            let speed = per_second(written).filter(|speed| *speed > 0.0);
            parts.extend(speed.map(rate));
            parts.extend(speed.map(|speed| time_left(to_write.saturating_sub(written) as f64 / speed)));
        }
        _ => {}
    }
    let pause = throttled_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero());
    let resumes = pause.and_then(|pause| wall.checked_add(jiff::SignedDuration::try_from(pause).ok()?).ok());
    parts.extend(resumes.map(|at| format!("throttled by Graph until {}", seconds(at))));
    parts.join(", ")
}

fn time_left(left: f64) -> String {
    let left = left.ceil() as u64;
    if left < 120 { format!("{} left", counted(left, "second")) } else { format!("{} minutes left", left.div_ceil(60)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_says_what_is_known() {
        let (since, wall) = (Instant::now(), "2026-01-02T03:04:05Z".parse().unwrap());
        let state =
            |stage| ProgressState { stage, since, users_read: 0, written: 0, to_write: 0, throttled_until: None };
        let words = |state: ProgressState, after: u64| in_words(&state, since + Duration::from_secs(after), wall);
        assert_eq!(words(state(Stage::Planning), 1), "planning");
        assert_eq!(words(state(Stage::ReadingUsers), 1), "reading users");
        let reading = ProgressState { users_read: 12_000, ..state(Stage::ReadingUsers) };
        assert_eq!(words(reading, 0), "reading users: 12000 read");
        assert_eq!(words(reading, 10), "reading users: 12000 read, 1200 per second");
        let throttled = ProgressState { throttled_until: Some(since + Duration::from_secs(40)), ..reading };
        let until = "reading users: 12000 read, 1200 per second, throttled by Graph until 2026-01-02T03:04:35Z";
        assert_eq!(words(throttled, 10), until);
        assert_eq!(words(throttled, 40), "reading users: 12000 read, 300 per second");
        let writing = ProgressState { written: 4000, to_write: 12_000, ..state(Stage::Writing) };
        assert_eq!(words(writing, 4), "writing learners: 4000 of 12000, 1000 per second, 8 seconds left");
        let slow = ProgressState { written: 40, ..writing };
        assert_eq!(words(slow, 4), "writing learners: 40 of 12000, 10 per second, 20 minutes left");
        let begun = ProgressState { written: 0, ..writing };
        assert_eq!(words(begun, 4), "writing learners: 0 of 12000");
    }
}
