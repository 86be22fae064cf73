//! The floor of writing: inserts the rows that a first load wrote into new tables of the same schema, and decides nothing.
//! Reading the rows is not measured.

use std::time::Instant;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use rustix::time::{ClockId, clock_gettime};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Executor as _, PgConnection,
    Row as _, SqliteConnection, TypeInfo as _, ValueRef as _,
};

use crate::child::Cost;

const TABLES: [&str; 3] = ["learners", "sync_links", "provisioning_log"];
/// The rows of each table in one transaction.
const BATCH: usize = 10_000;
/// The rows in one statement for SQLite, because each statement is sent to its thread.
const ROWS: usize = 100;

pub(crate) fn run(from: &str, to: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let cost = runtime.block_on(async {
        if from.starts_with("postgres:") { copy_postgres(from, to).await } else { copy_sqlite(from, to).await }
    })?;
    println!("{}", serde_json::to_string(&cost)?);
    Ok(())
}

struct Watch {
    start: Instant,
    cpu: f64,
}

impl Watch {
    fn start() -> Self {
        Self { start: Instant::now(), cpu: cpu() }
    }

    fn cost(&self) -> Cost {
        Cost { wall: self.start.elapsed().as_secs_f64(), cpu: cpu() - self.cpu, ..Cost::default() }
    }
}

fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// `COPY` is the fastest way into PostgreSQL.
async fn copy_postgres(from: &str, to: &str) -> anyhow::Result<Cost> {
    let mut source = PgConnection::connect(from).await?;
    let mut tables = Vec::new();
    for table in TABLES {
        let sql = format!(
            "SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position)
             FROM information_schema.columns WHERE table_name = '{table}' AND is_generated = 'NEVER'"
        );
        let columns: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut source).await?;
        let order = if table == "sync_links" { "learner_id" } else { "id" };
        let sql = format!("COPY (SELECT {columns} FROM {table} ORDER BY {order}) TO STDOUT");
        let mut rows = Vec::new();
        let mut chunks = source.copy_out_raw(&sql).await?;
        while let Some(chunk) = chunks.try_next().await? {
            rows.extend_from_slice(&chunk);
        }
        drop(chunks);
        let lines: Vec<Vec<u8>> = rows.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let batches: Vec<Vec<u8>> = lines.chunks(BATCH).map(<[Vec<u8>]>::concat).collect();
        tables.push((format!("COPY {table} ({columns}) FROM STDIN"), batches));
    }
    let mut target = PgConnection::connect(to).await?;
    let watch = Watch::start();
    for batch in 0..tables.iter().map(|(_, batches)| batches.len()).max().unwrap_or_default() {
        target.execute("BEGIN").await?;
        for (sql, batches) in &tables {
            let Some(rows) = batches.get(batch) else { continue };
            let mut copy = target.copy_in_raw(sql).await?;
            copy.send(rows.as_slice()).await?;
            copy.finish().await?;
        }
        target.execute("COMMIT").await?;
    }
    let cost = watch.cost();
    target.close().await?;
    Ok(cost)
}

enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

struct Rows {
    table: &'static str,
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

async fn copy_sqlite(from: &str, to: &str) -> anyhow::Result<Cost> {
    let mut source = SqliteConnection::connect(from).await?;
    let mut tables = Vec::new();
    for table in TABLES {
        let order = if table == "sync_links" { "learner_id" } else { "id" };
        let sql = format!("SELECT * FROM {table} ORDER BY {order}");
        let mut found = sqlx::query(AssertSqlSafe(sql)).fetch(&mut source);
        let (mut columns, mut rows) = (Vec::new(), Vec::new());
        while let Some(row) = found.try_next().await? {
            columns = row.columns().iter().map(|column| column.name().to_owned()).collect();
            let cells = (0..row.len()).map(|index| {
                let value = row.try_get_raw(index)?;
                Ok::<_, sqlx::Error>(match value.type_info().name() {
                    "NULL" => Cell::Null,
                    "INTEGER" | "BOOLEAN" => row.try_get_unchecked(index).map(Cell::Integer)?,
                    "BLOB" => row.try_get_unchecked(index).map(Cell::Bytes)?,
                    _ => row.try_get_unchecked(index).map(Cell::Text)?,
                })
            });
            rows.push(cells.collect::<Result<_, _>>()?);
        }
        tables.push(Rows { table, columns, rows });
    }
    let options: SqliteConnectOptions = to.parse()?;
    let mut target = options.foreign_keys(true).disable_statement_logging().connect().await?;
    // As in the program, for up to 147,000 learners.
    let settings = "PRAGMA synchronous = FULL; PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 30000;
                    PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY";
    target.execute(sqlx::raw_sql(settings)).await?;
    let watch = Watch::start();
    for batch in 0..tables.iter().map(|table| table.rows.len().div_ceil(BATCH)).max().unwrap_or_default() {
        target.execute("BEGIN IMMEDIATE").await?;
        for Rows { table, columns, rows } in &tables {
            let start = (batch * BATCH).min(rows.len());
            for rows in rows[start..(start + BATCH).min(rows.len())].chunks(ROWS) {
                insert(&mut target, table, columns, rows).await?;
            }
        }
        target.execute("COMMIT").await?;
    }
    let cost = watch.cost();
    target.close().await?;
    Ok(cost)
}

async fn insert(
    target: &mut SqliteConnection,
    table: &str,
    columns: &[String],
    rows: &[Vec<Cell>],
) -> anyhow::Result<()> {
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    let values = vec![row; rows.len()].join(", ");
    let sql = format!("INSERT INTO {table} ({}) VALUES {values}", columns.join(", "));
    let mut arguments = SqliteArguments::default();
    for cell in rows.iter().flatten() {
        let added = match cell {
            Cell::Null => arguments.add(None::<i64>),
            Cell::Integer(number) => arguments.add(*number),
            Cell::Text(text) => arguments.add(text.as_str()),
            Cell::Bytes(bytes) => arguments.add(bytes.as_slice()),
        };
        added.map_err(anyhow::Error::from_boxed).context("binding a value")?;
    }
    sqlx::query_with(AssertSqlSafe(sql), arguments).execute(target).await?;
    Ok(())
}
