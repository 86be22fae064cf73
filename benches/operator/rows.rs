//! The rows of the database: as a cycle would write them, but made by a few statements.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};

pub(crate) const TENANT: &str = "6f1c2a52-91d4-4b0e-8a37-d5e0c4b7f913";
pub(crate) const APPLICATION: &str = "d1b7e5a3-48c6-4f92-80da-3e9c65b0f721";

pub(crate) fn user_name(user: u32) -> String {
    format!("user{user}@example.org")
}

pub(crate) fn entra_id(user: u32) -> String {
    format!("00000000-0000-4000-8000-{user:012x}")
}

/// Makes learners, their links, cycles and log rows.
pub(crate) fn make(url: &str, learners: u32, log: u32) -> anyhow::Result<()> {
    let Sql { id, is_true, at, numbers } = Sql::of(url);
    let of_row = id.replace("{n}", &format!("n % {learners}"));
    let id = id.replace("{n}", "n");
    execute(
        url,
        &[
            format!(
                "INSERT INTO learners (id, external_id, user_name, email, first_name, last_name, active)
                 SELECT n + 1, {id}, 'user' || n || '@example.org', 'user' || n || '@example.org', 'Given', 'Family',
                        n % 10 > 0 FROM {}",
                numbers(learners)
            ),
            format!(
                "INSERT INTO sync_links (source, entra_id, learner_id, via, linked_at)
                 SELECT '{TENANT}/{APPLICATION}', {id}, n + 1, '[\"direct\"]', '{BEGIN}' FROM {}",
                numbers(learners)
            ),
            // As after a cycle that has read all links.
            format!("UPDATE sync_state SET links_inspected = {is_true}"),
            format!(
                "INSERT INTO sync_cycles (source, \"trigger\", started_at, finished_at, outcome, in_scope, updated)
                 SELECT '{TENANT}/{APPLICATION}', 'schedule', '{BEGIN}', '{END}', 'success', {learners}, {PER_CYCLE}
                 FROM {}",
                numbers(log / PER_CYCLE)
            ),
            format!(
                "INSERT INTO provisioning_log
                     (cycle_id, at, action, status, entra_id, learner_id, user_name, reason, changes)
                 SELECT 1 + n / {PER_CYCLE}, {at}, CASE n % 5000 WHEN 7 THEN 'deactivate' ELSE 'update' END,
                        CASE n % 5000 WHEN 7 THEN 'held' WHEN 11 THEN 'failure' ELSE 'success' END,
                        {of_row}, n % {learners} + 1, 'user' || n % {learners} || '@example.org',
                        CASE n % 5000 WHEN 7 THEN 'threshold' WHEN 11 THEN 'conflict' ELSE 'attributes-changed' END,
                        '[{{\"attribute\": \"title\", \"old\": \"Engineer\", \"new\": \"Architect\"}}]' FROM {}",
                numbers(log)
            ),
        ],
    )
}

/// Makes failing users.
pub(crate) fn make_failing(url: &str, users: u32) -> anyhow::Result<()> {
    let Sql { id, numbers, .. } = Sql::of(url);
    let id = id.replace("{n}", "n");
    let failures = format!(
        "INSERT INTO sync_failures (source, entra_id, reason, detail, first_at, last_at, attempts)
         SELECT '{TENANT}/{APPLICATION}', {id},
                CASE n % 3 WHEN 0 THEN 'conflict' WHEN 1 THEN 'missing-required' ELSE 'invalid-value' END,
                'a sentence about the value of user ' || n, '{BEGIN}', '{END}', 5 FROM {}",
        numbers(users)
    );
    execute(url, &[failures])
}

/// The log rows of a cycle.
pub(crate) const PER_CYCLE: u32 = 100;
const BEGIN: &str = "2026-11-01T00:00:00Z";
const END: &str = "2026-11-01T00:01:00Z";

/// The parts that differ between the databases.
struct Sql {
    /// The object id of the user whose number is `{n}`.
    id: &'static str,
    is_true: &'static str,
    /// The time of log row `n`.
    at: String,
    /// The numbers `n` from 0 below a limit.
    numbers: fn(u32) -> String,
}

impl Sql {
    fn of(url: &str) -> Self {
        if is_server(url) {
            Self {
                id: "'00000000-0000-4000-8000-' || lpad(to_hex({n}), 12, '0')",
                is_true: "true",
                at: format!("timestamptz '{BEGIN}' + n * interval '1 second'"),
                numbers: |limit| format!("generate_series(0, {limit} - 1) AS numbers (n)"),
            }
        } else {
            Self {
                id: "'00000000-0000-4000-8000-' || printf('%012x', {n})",
                is_true: "1",
                at: format!("strftime('%Y-%m-%dT%H:%M:%SZ', '{BEGIN}', n || ' seconds')"),
                numbers: |limit| {
                    format!(
                        "(WITH RECURSIVE numbers (n) AS
                              (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {limit})
                          SELECT n FROM numbers)"
                    )
                },
            }
        }
    }
}

fn is_server(url: &str) -> bool {
    url.starts_with("postgres:")
}

fn execute(url: &str, statements: &[String]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if is_server(url) {
            let mut connection = PgConnection::connect(url).await?;
            for statement in statements {
                connection.execute(AssertSqlSafe(statement.as_str())).await?;
            }
            // A server does that by itself, after a while.
            connection.execute("VACUUM ANALYZE").await?;
            connection.close().await?;
        } else {
            let mut connection = SqliteConnection::connect(url).await?;
            for statement in statements {
                connection.execute(AssertSqlSafe(statement.as_str())).await?;
            }
            connection.close().await?;
        }
        Ok(())
    })
}
