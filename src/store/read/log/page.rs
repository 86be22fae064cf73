//! A page of the provisioning log, in the order of its times. An index finds its rows, whatever the filter is and however
//! many rows there are.

use jiff::{SignedDuration, Timestamp};

use super::{LOG_ROWS, LogFilter, LogRow, RowPage, RowRange};
use crate::model::{Action, EntraId, Reason, Status};
use crate::store::cycles::{CycleId, CycleRow};
use crate::store::db::{Dialect, SqlValue, Statement};
use crate::store::error::StoreError;
use crate::store::handle::Store;

/// Which rows of a long list a page shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PagePosition {
    /// The newest ones.
    #[default]
    Newest,
    /// The last ones before the row with this id.
    Before(i64),
    /// The first ones after the row with this id.
    After(i64),
}

impl PagePosition {
    /// The rows of a page in the order of their ids, and one more, which says whether there are others.
    fn range(self, limit: u32) -> RowRange {
        let all = RowRange { limit: Some(limit.saturating_add(1)), ..RowRange::default() };
        match self {
            Self::Newest => all,
            Self::Before(id) => RowRange { before: Some(id), ..all },
            Self::After(id) => RowRange { after: Some(id), ..all },
        }
    }
}

/// The rows of a page.
#[derive(Debug, PartialEq, Eq)]
pub struct ListPage<R> {
    /// The readable rows, oldest first.
    pub rows: Vec<R>,
    /// The ids of the oldest and the newest row, which may be unreadable; none on an empty page.
    pub keys: Option<(i64, i64)>,
    /// Whether there are others beyond them, in the direction in which the page was read.
    pub has_more: bool,
}

impl<R> ListPage<R> {
    const fn empty() -> Self {
        Self { rows: Vec::new(), keys: None, has_more: false }
    }

    /// The first `limit` rows that a statement with one row more returned in the order of `position`. Rows that cannot be
    /// read count as well, because others may be beyond them.
    fn cut(page: RowPage<R>, position: PagePosition, limit: u32, id: impl Fn(&R) -> i64) -> Self {
        let RowPage { mut rows, mut ids } = page;
        let surplus = ids.get(limit as usize).copied();
        ids.truncate(limit as usize);
        rows.retain(|row| Some(id(row)) != surplus);
        if !matches!(position, PagePosition::After(_)) {
            ids.reverse();
            rows.reverse();
        }
        let keys = ids.first().copied().zip(ids.last().copied());
        Self { rows, keys, has_more: surplus.is_some() }
    }
}

/// The times and the place in the order that limit every row of the page.
struct PageBounds {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// The row after or before which the page begins.
    cursor: Option<(SqlValue<'static>, i64)>,
    is_ascending: bool,
    limit: i64,
    dialect: Dialect,
}

/// A part of the rows beyond the cursor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beyond {
    /// The rows with the time of the cursor.
    SameTime,
    /// The rows with a later or earlier time.
    OtherTimes,
    /// Both.
    Both,
}

impl Store {
    /// The rows of `filter` at `position`, at most `limit`. Of its range only the times count.
    pub async fn log_page(
        &self,
        filter: &LogFilter,
        position: PagePosition,
        limit: u32,
    ) -> Result<ListPage<LogRow>, StoreError> {
        let Some(statement) = self.page_statement(LOG_ROWS, filter, position, limit).await? else {
            return Ok(ListPage::empty());
        };
        Ok(ListPage::cut(self.log_rows(statement).await?, position, limit, |row| row.id))
    }

    /// The first `limit` rows of one user after the row with the id `after`.
    pub async fn user_page(&self, user: EntraId, after: i64, limit: u32) -> Result<ListPage<LogRow>, StoreError> {
        let mut statement = Statement::new(format!("{LOG_ROWS} WHERE entra_id = "));
        statement.push_bind(user);
        let position = PagePosition::After(after);
        position.range(limit).push(&mut statement, "at");
        Ok(ListPage::cut(self.log_rows(statement).await?, position, limit, |row| row.id))
    }

    /// The cycles of every source at `position`, at most `limit`.
    pub async fn cycles_page(&self, position: PagePosition, limit: u32) -> Result<ListPage<CycleRow>, StoreError> {
        let cycles = self.ordered_cycles(position.range(limit)).await?;
        Ok(ListPage::cut(cycles, position, limit, |row| row.id.0))
    }

    /// The statement for a page and one more row, which begins with `select`; none when no row can match.
    async fn page_statement(
        &self,
        select: &str,
        filter: &LogFilter,
        position: PagePosition,
        limit: u32,
    ) -> Result<Option<Statement<'static>>, StoreError> {
        let (is_ascending, id) = match position {
            PagePosition::Newest => (false, None),
            PagePosition::Before(id) => (false, Some(id)),
            PagePosition::After(id) => (true, Some(id)),
        };
        let mut cursor = None;
        if let Some(id) = id {
            cursor = self.time_of_row(id).await?.map(|at| (at, id));
            // No row is older; every row is newer.
            if cursor.is_none() && !is_ascending {
                return Ok(None);
            }
        }
        let (since, until) = (filter.range.since, filter.range.until);
        let (limit, dialect) = (i64::from(limit) + 1, self.connection().await.dialect());
        let mut bounds = PageBounds { since, until, cursor, is_ascending, limit, dialect };
        let mut statement = Statement::new(select);
        let kinds = kinds(filter);
        match (&filter.user, filter.cycle) {
            (Some(user), _) => {
                statement.push(" WHERE id > 0");
                self.push_user(&mut statement, user).await?;
                push_conditions(&mut statement, filter);
                bounds.push_bounds(&mut statement);
            }
            (None, Some(cycle)) if kinds.is_empty() => {
                bounds.push_selections(&mut statement, &[format!("cycle_id = {}", cycle.0)]);
            }
            (None, Some(cycle)) => {
                // A cycle writes its rows at one time, so that the index by kind finds them.
                let Some((first, last)) = self.times_of_cycle(cycle).await? else { return Ok(None) };
                bounds.since = bounds.since.max(Some(first));
                bounds.until = [bounds.until, last.checked_add(SECOND).ok()].into_iter().flatten().min();
                let kinds: Vec<String> =
                    kinds.iter().map(|kind| format!("{kind} AND cycle_id + 0 = {}", cycle.0)).collect();
                bounds.push_selections(&mut statement, &kinds);
            }
            (None, None) if kinds.is_empty() => bounds.push_selections(&mut statement, &["true".to_owned()]),
            (None, None) => bounds.push_selections(&mut statement, &kinds),
        }
        bounds.push_order(&mut statement);
        Ok(Some(statement))
    }

    /// The time of the row with this id, or of the last one before it.
    async fn time_of_row(&self, id: i64) -> Result<Option<SqlValue<'static>>, StoreError> {
        let statement = Statement::new("SELECT at FROM provisioning_log WHERE id <= $1 ORDER BY id DESC LIMIT 1");
        let mut connection = self.connection().await;
        let Some(row) = connection.optional_row(statement.bind(id)).await? else { return Ok(None) };
        if let Ok(at) = row.time(0, "provisioning_log.at") {
            return Ok(Some(at.into()));
        }
        // Also a text that is not a time has its place in the order of SQLite.
        let text = row.foreign_text(0)?.map(|text| text.into_owned());
        Ok(text.filter(|_| connection.dialect() == Dialect::Sqlite).map(SqlValue::from))
    }

    /// The first and the last time of the rows of a cycle.
    async fn times_of_cycle(&self, cycle: CycleId) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
        let statement = Statement::new(
            "SELECT (SELECT min(at) FROM provisioning_log WHERE cycle_id = $1),
                    (SELECT max(at) FROM provisioning_log WHERE cycle_id = $1)",
        );
        let row = self.connection().await.row(statement.bind(cycle.0)).await?;
        let time = |index| row.optional_time(index, "provisioning_log.at").ok().flatten();
        Ok(time(0).zip(time(1)))
    }
}

/// Times are stored to the second.
const SECOND: SignedDuration = SignedDuration::from_secs(1);

impl PageBounds {
    /// Adds the first rows of each of `selections`, which have no row in common.
    fn push_selections(&self, statement: &mut Statement<'_>, selections: &[String]) {
        let mut before = " WHERE id IN (";
        for selection in selections {
            for place in self.places() {
                statement
                    .push(before)
                    .push("SELECT id FROM (SELECT id, at FROM provisioning_log WHERE ")
                    .push(selection);
                self.push_times(statement);
                self.push_place(statement, *place);
                self.push_order(statement);
                statement.push(") AS part");
                before = " UNION ALL ";
            }
        }
        statement.push(")");
    }

    /// Adds the same limits to the condition of a few rows.
    fn push_bounds(&self, statement: &mut Statement<'_>) {
        self.push_times(statement);
        self.push_place(statement, Beyond::Both);
    }

    /// SQLite finds the place of the cursor by its time alone, and would read all rows of that time.
    fn places(&self) -> &'static [Beyond] {
        match (&self.cursor, self.dialect) {
            (Some(_), Dialect::Sqlite) => &[Beyond::SameTime, Beyond::OtherTimes],
            (Some(_), Dialect::Postgres) | (None, _) => &[Beyond::Both],
        }
    }

    fn push_times(&self, statement: &mut Statement<'_>) {
        if let Some(since) = self.since {
            statement.push(" AND at >= ").push_bind(since);
        }
        if let Some(until) = self.until {
            statement.push(" AND at < ").push_bind(until);
        }
    }

    fn push_place(&self, statement: &mut Statement<'_>, place: Beyond) {
        let Some((at, id)) = self.cursor.clone() else { return };
        let operator = if self.is_ascending { ">" } else { "<" };
        match place {
            Beyond::SameTime => {
                statement.push(" AND at = ").push_bind(at);
                statement.push(format_args!(" AND id {operator} ")).push_bind(id);
            }
            Beyond::OtherTimes => {
                statement.push(format_args!(" AND at {operator} ")).push_bind(at);
            }
            Beyond::Both => {
                statement.push(format_args!(" AND (at, id) {operator} (")).push_bind(at);
                statement.push(", ").push_bind(id).push(")");
            }
        }
    }

    fn push_order(&self, statement: &mut Statement<'_>) {
        let order = if self.is_ascending { "at, id" } else { "at DESC, id DESC" };
        statement.push(format_args!(" ORDER BY {order} LIMIT ")).push_bind(self.limit);
    }
}

/// The conditions for each combination of an action, a status and a reason that `filter` admits; none when it admits all.
/// One index has all three, so that a rare combination is found among a million rows.
fn kinds(filter: &LogFilter) -> Vec<String> {
    let LogFilter { action, status, reason, .. } = filter;
    if action.is_none() && status.is_none() && reason.is_none() {
        return Vec::new();
    }
    let actions = action.as_ref().map_or(Action::ALL, std::slice::from_ref);
    let statuses = status.as_ref().map_or(Status::ALL, std::slice::from_ref);
    let reasons = reason.as_ref().map_or(Reason::ALL, std::slice::from_ref);
    let mut kinds = Vec::with_capacity(actions.len() * statuses.len() * reasons.len());
    for action in actions {
        for status in statuses {
            for reason in reasons {
                kinds.push(format!("action = '{action}' AND status = '{status}' AND reason = '{reason}'"));
            }
        }
    }
    kinds
}

/// Adds conditions that use no index: the rows are few, or are read in another order.
pub(super) fn push_conditions(statement: &mut Statement<'_>, filter: &LogFilter) {
    let LogFilter { user: _, action, status, reason, cycle, id, range: _ } = filter;
    if let Some(action) = action {
        statement.push(" AND action || '' = ").push_bind(action.as_str());
    }
    if let Some(status) = status {
        statement.push(" AND status || '' = ").push_bind(status.as_str());
    }
    if let Some(reason) = reason {
        statement.push(" AND reason || '' = ").push_bind(reason.as_str());
    }
    if let Some(cycle) = cycle {
        statement.push(" AND cycle_id + 0 = ").push_bind(cycle.0);
    }
    if let Some(id) = id {
        statement.push(" AND id = ").push_bind(*id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::read::RowRange;

    /// The steps of SQLite for a page.
    async fn plan(store: &Store, filter: &LogFilter, position: PagePosition) -> Vec<String> {
        let select = format!("EXPLAIN QUERY PLAN {LOG_ROWS}");
        let statement = store.page_statement(&select, filter, position, 100).await.unwrap().unwrap();
        let rows = store.connection().await.rows(statement).await.unwrap();
        rows.iter().map(|row| row.text("detail", "detail").unwrap().to_owned()).collect()
    }

    #[test]
    fn a_row_that_cannot_be_read_counts_on_its_page() {
        let cut = |ids: &[i64], readable: &[i64], position| {
            ListPage::cut(RowPage { rows: readable.to_vec(), ids: ids.to_vec() }, position, 2, |id| *id)
        };
        for (ids, readable, position, rows, keys, has_more) in [
            (&[9, 8, 7][..], &[9, 8, 7][..], PagePosition::Newest, &[8, 9][..], Some((8, 9)), true),
            (&[9, 8, 7], &[9, 7], PagePosition::Newest, &[9], Some((8, 9)), true),
            (&[9, 8, 7], &[9, 8], PagePosition::Before(10), &[8, 9], Some((8, 9)), true),
            (&[9, 8, 7], &[], PagePosition::Newest, &[], Some((8, 9)), true),
            (&[7, 8, 9], &[8, 9], PagePosition::After(6), &[8], Some((7, 8)), true),
            (&[7, 8], &[8], PagePosition::After(6), &[8], Some((7, 8)), false),
            (&[], &[], PagePosition::Newest, &[], None, false),
        ] {
            let expected = ListPage { rows: rows.to_vec(), keys, has_more };
            assert_eq!(cut(ids, readable, position), expected, "{ids:?} {readable:?} {position:?}");
        }
    }

    #[tokio::test]
    async fn the_rows_before_one_without_a_time_are_found() {
        let store = Store::in_memory().await.unwrap();
        for (id, at) in [(1, "2026-03-02T08:00:00Z"), (2, "2026-03-02T08:00:00Z"), (3, "nonsense")] {
            let row = format!(
                "INSERT INTO provisioning_log (id, cycle_id, at, action, status, entra_id, reason)
                 VALUES ({id}, 1, '{at}', 'update', 'success', '00000000-0000-4000-8000-000000000001', 'drift')"
            );
            store.connection().await.script(&row).await.unwrap();
        }
        for (position, keys, readable, has_more) in [
            (PagePosition::Newest, (3, 3), 0, true),
            (PagePosition::Before(3), (2, 2), 1, true),
            (PagePosition::Before(2), (1, 1), 1, false),
            (PagePosition::After(2), (3, 3), 0, false),
        ] {
            let page = store.log_page(&LogFilter::default(), position, 1).await.unwrap();
            assert_eq!((page.keys, page.rows.len(), page.has_more), (Some(keys), readable, has_more), "{position:?}");
        }
    }

    #[tokio::test]
    async fn an_index_finds_the_rows_of_every_page() {
        let store = Store::in_memory().await.unwrap();
        let at: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
        {
            let row = "INSERT INTO provisioning_log (id, cycle_id, at, action, status, entra_id, reason)
                       VALUES (7, 1, '2026-03-02T08:00:00Z', 'update', 'success', 'a', 'drift')";
            store.connection().await.script(row).await.unwrap();
        }
        let times = RowRange { since: Some(at), until: Some(at), ..RowRange::default() };
        let all = LogFilter::default();
        let filters = [
            all.clone(),
            LogFilter { range: times, ..all.clone() },
            LogFilter { action: Some(Action::Update), ..all.clone() },
            LogFilter { status: Some(Status::Failure), range: times, ..all.clone() },
            LogFilter { reason: Some(Reason::Conflict), ..all.clone() },
            LogFilter { cycle: Some(CycleId(1)), ..all.clone() },
            LogFilter { cycle: Some(CycleId(1)), status: Some(Status::Held), ..all.clone() },
            LogFilter { user: Some("ada@example.org".to_owned()), action: Some(Action::Update), ..all },
        ];
        for filter in &filters {
            for position in [PagePosition::Newest, PagePosition::Before(8), PagePosition::After(7)] {
                let plan = plan(&store, filter, position).await;
                let scans = plan.iter().filter(|step| step.starts_with("SCAN provisioning_log"));
                // Without any limit the rows are read in the order of their times.
                let is_whole = position == PagePosition::Newest && *filter == LogFilter::default();
                for scan in scans {
                    assert!(
                        is_whole && scan.contains("USING COVERING INDEX provisioning_log_at"),
                        "{filter:?} {plan:#?}"
                    );
                }
                let sorts = plan.iter().filter(|step| step.contains("TEMP B-TREE FOR ORDER BY")).count();
                assert!(sorts <= 1, "{filter:?} {position:?} {plan:#?}");
            }
        }
    }
}
