//! `learner-sync log`: the provisioning log, the audit log, and the cycles.

mod records;
mod show;

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::{Timestamp, tz::TimeZone};

use self::records::Printer;
use super::Context;
use super::output::{DONE, Failure, OutputFormat, USAGE, local_time, print_sentences};
use crate::model::{Action, Reason, Status, visible};
use crate::nearest::nearest;

use crate::store::{Access, CycleId, LearnerDatabase, LogFilter, RowRange, Store, StoreError};
use crate::view::{Audit, Cycles, Entries, GivenTime, Records};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    /// Only this user: user name, Entra object id, or learner id.
    #[arg(long)]
    user: Option<String>,
    /// Only this action.
    #[arg(long, value_parser = words(Action::ALL, Action::as_str))]
    action: Option<Action>,
    /// Only this status.
    #[arg(long, value_parser = words(Status::ALL, Status::as_str))]
    status: Option<Status>,
    /// Only this reason.
    #[arg(long, value_parser = words(Reason::ALL, Reason::as_str))]
    reason: Option<Reason>,
    /// Only this cycle; `learner-sync log cycles` lists them.
    #[arg(long, value_name = "NUMBER")]
    cycle: Option<i64>,
    #[command(flatten)]
    part: Part,
}

/// The rows to print and their form.
#[derive(Debug, clap::Args)]
struct Part {
    /// Only since this time: 2026-01-02 or 2026-01-02 03:04 in local time, 2026-01-02T03:04:05Z, or an age such as 2h or 7d.
    #[arg(long, value_name = "TIME")]
    since: Option<GivenTime>,
    /// Only before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<GivenTime>,
    /// Only the last ROWS rows; without it a terminal shows the last 100, and a file or pipe gets all of them. 0 shows none,
    /// and with --follow only new rows.
    #[arg(long, value_name = "ROWS")]
    limit: Option<u32>,
    /// Go on with new rows until Ctrl-C; as JSON, one document per line.
    #[arg(long, conflicts_with = "until")]
    follow: bool,
    /// The output format.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    format: OutputFormat,
}

#[derive(Debug, clap::Subcommand)]
enum Other {
    /// Print one entry in full: each attribute, the cycle, and who approved it.
    Show(show::Arguments),
    /// Print who ran, approved, paused, relinked and reloaded.
    Audit(Part),
    /// Print the cycles with their numbers.
    Cycles(Part),
}

impl Arguments {
    pub(super) fn is_json(&self) -> bool {
        let format = match &self.other {
            None => self.part.format,
            Some(Other::Audit(part) | Other::Cycles(part)) => part.format,
            Some(Other::Show(arguments)) => arguments.format,
        };
        format == OutputFormat::Json
    }
}

/// The rows of a page: enough to be quick, and few enough to be held in memory.
const PAGE: u32 = 500;
/// The rows that a terminal shows without `--limit`.
const TERMINAL_ROWS: u32 = 100;
/// How often `--follow` looks for new rows.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// The words of an enumeration, which help and completions list.
fn words<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    word: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|one| word(*one)))
        .try_map(move |text| all.iter().copied().find(|one| word(*one) == text).ok_or("unknown"))
}

pub(super) async fn run(context: Context, arguments: Arguments, now: Timestamp) -> Result<u8, Failure> {
    let Arguments { other, user, action, status, reason, cycle, part } = arguments;
    let database = context.learners()?;
    match other {
        Some(Other::Show(arguments)) => show::run(database, arguments).await,
        Some(Other::Audit(part)) => print_rows(database, part, None, &Audit, now).await,
        Some(Other::Cycles(part)) => print_rows(database, part, None, &Cycles, now).await,
        None => {
            let cycle = cycle.map(CycleId);
            let filter = LogFilter { user, action, status, reason, cycle, id: None, range: RowRange::default() };
            let user = filter.user.clone();
            print_rows(database, part, user.as_deref(), &Entries(filter), now).await
        }
    }
}

/// The database, unless it has no tables yet.
async fn open(database: LearnerDatabase) -> Result<Option<Store>, Failure> {
    match Store::open(database, Access::ReadAnyHost).await {
        Err(StoreError::Missing { .. } | StoreError::Older { found: 0, .. }) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

async fn print_rows(
    database: LearnerDatabase,
    part: Part,
    user: Option<&str>,
    records: &impl Records,
    now: Timestamp,
) -> Result<u8, Failure> {
    let Part { since, until, limit, follow, format } = part;
    let usage = |message| Failure::new(USAGE, message);
    let at = |time: Option<GivenTime>| time.map(|time| time.at(now, &TimeZone::system()).map_err(usage)).transpose();
    let range = RowRange { since: at(since)?, until: at(until)?, ..RowRange::default() };
    if let (Some(since), Some(until)) = (range.since, range.until)
        && until < since
    {
        let (since, until) = (local_time(since), local_time(until));
        return Err(usage(format!("--until {until} is before --since {since}: no row can match")));
    }
    let by_default = limit.is_none() && std::io::stdout().is_terminal();
    let limit = if by_default { Some(TERMINAL_ROWS) } else { limit };
    let store = open(database).await?;
    if store.is_none() && format == OutputFormat::Table {
        super::output::print(
            "No cycle has run yet: the learner database does not exist, or has no tables of learner-sync.",
        )?;
        return Ok(DONE);
    }
    if let (Some(store), Some(user), false) = (&store, user, follow)
        && !store.is_known_user(user).await?
    {
        let note = unknown_user(user, &store.known_names().await?);
        if format == OutputFormat::Table {
            print_sentences(&note)?;
            return Ok(DONE);
        }
        let _ = writeln!(std::io::stderr(), "{}", visible(&note));
    }
    let mut printer = Printer::new(format, follow);
    let printed = async {
        let (rows, last) = print_pages(store.as_ref(), records, range, limit, &mut printer).await?;
        if by_default && rows == TERMINAL_ROWS {
            let _ = writeln!(std::io::stderr(), "These are the last {rows} rows; --limit ROWS shows more.");
        }
        match &store {
            Some(store) if follow => {
                follow_rows(store, records, RowRange { after: Some(last), ..range }, &mut printer).await
            }
            Some(_) | None => Ok(()),
        }
    };
    let printed = printed.await;
    store.iter().flat_map(Store::unreadable_rows).for_each(|row| tracing::warn!("{row}"));
    match printed {
        // A reader that closes standard output early, such as `head`, has seen enough.
        Err(LogError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(DONE),
        Err(LogError::Output(error)) => Err(error.into()),
        Err(LogError::Store(error)) => Err(error.into()),
        Ok(()) => Ok(DONE),
    }
}

/// What to try instead of a user that no learner and no row has.
fn unknown_user(user: &str, names: &[String]) -> String {
    let advice = match nearest(user, names.iter().map(String::as_str)) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "use the object id of the user in Entra, or the learner id".to_owned(),
    };
    format!("No user or learner is known as `{user}`; {advice}")
}

enum LogError {
    Store(StoreError),
    Output(std::io::Error),
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<std::io::Error> for LogError {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

/// Prints the last `limit` rows page by page, oldest first. Returns their number and the key of the last one.
async fn print_pages<R: Records>(
    store: Option<&Store>,
    records: &R,
    range: RowRange,
    limit: Option<u32>,
    printer: &mut Printer<R>,
) -> Result<(u32, i64), LogError> {
    let (mut rows, mut last) = (0_u32, 0);
    if let Some(store) = store {
        last = match limit {
            None => 0,
            Some(0) => {
                records.read(store, RowRange { limit: Some(1), ..range }).await?.ids.first().copied().unwrap_or(0)
            }
            Some(limit) => {
                let first = RowRange { limit: Some(1), skip: limit - 1, ..range };
                records.read(store, first).await?.ids.first().map_or(0, |id| id - 1)
            }
        };
        while limit.is_none_or(|limit| rows < limit) {
            let left = limit.map_or(PAGE, |limit| PAGE.min(limit - rows));
            let page = records.read(store, RowRange { after: Some(last), limit: Some(left), ..range }).await?;
            let Some(id) = page.ids.last() else { break };
            last = *id;
            rows = rows.saturating_add(u32::try_from(page.ids.len()).unwrap_or(u32::MAX));
            printer.print(&page.rows)?;
        }
    }
    printer.finish()?;
    Ok((rows, last))
}

/// Prints new rows until Ctrl-C or SIGTERM.
async fn follow_rows<R: Records>(
    store: &Store,
    records: &R,
    mut range: RowRange,
    printer: &mut Printer<R>,
) -> Result<(), LogError> {
    let mut stop = super::sync::stop_on_signal().map_err(|failure| std::io::Error::other(failure.message))?;
    while tokio::time::timeout(FOLLOW_EVERY, stop.wait_for(|stop| *stop)).await.is_err() {
        // A first load writes more in a second than fits in a page.
        while !*stop.borrow() {
            let page = records.read(store, RowRange { limit: Some(PAGE), ..range }).await?;
            let Some(last) = page.ids.last() else { break };
            range.after = Some(*last);
            printer.print(&page.rows)?;
        }
    }
    Ok(())
}
