//! The progress of `sync` and `plan` on standard error: on a terminal a line that changes, else a log line every ten
//! seconds.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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
                let words = state.in_words(now, clock());
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
