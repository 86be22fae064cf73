//! `log`: many rows, the last ones, and cells that a spreadsheet would run.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::database::{apply, on_both};
use crate::program::users;
use crate::world::World;

/// A world whose log has the row of one cycle and `count` copies of it.
async fn world_with_log(count: usize) -> World {
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    world
        .execute(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
             INSERT INTO provisioning_log (cycle_id, at, action, status, entra_id, learner_id, user_name, reason, detail, changes)
             SELECT cycle_id, at, action, status, entra_id, learner_id, '=row' || i, reason, '@' || user_name, changes
             FROM provisioning_log, n ORDER BY i"
        ))
        .await;
    world
}

#[apply(on_both)]
async fn many_rows_are_printed_page_by_page_in_order() {
    let world = world_with_log(1300).await;
    let csv = world.run_program(&["log", "--format", "csv"], 0).stdout;
    let names: Vec<&str> = csv.lines().skip(2).map(|line| line.split(',').nth(7).unwrap()).collect();
    let expected: Vec<String> = (1..=1300).map(|number| format!("'=row{number}")).collect();
    assert_eq!(names, expected);
    assert!(csv.lines().nth(2).unwrap().contains(",'@ada.number0@"), "{csv}");
    let rows = world.run_program(&["log", "--format", "json"], 0).json();
    assert_eq!((rows.as_array().unwrap().len(), &rows[1300]["user_name"]), (1301, &"=row1300".into()));
    let table = world.run_program(&["log"], 0).stdout;
    assert_eq!(table.lines().count(), 1302);
    assert_eq!(table.matches("reason").count(), 1);
    for (limit, first, count) in
        [("700", "=row601", 700), ("3", "=row1298", 3), ("1000000", "=row1", 1300), ("0", "", 0)]
    {
        let filters = ["log", "--format", "json", "--limit", limit, "--action", "create"];
        let rows = world.run_program(&filters, 0).json();
        let rows = rows.as_array().unwrap();
        let rows = if limit == "1000000" { &rows[1..] } else { rows };
        assert_eq!(rows.len(), count, "{limit}");
        assert!(rows.first().is_none_or(|row| row["user_name"] == first), "{limit}: {rows:?}");
    }
    for (format, nothing) in [("json", "[]"), ("csv", "id,cycle_id"), ("table", "No log entries.")] {
        let ran = world.run_program(&["log", "--format", format, "--user", "nobody"], 0);
        assert!(ran.stdout.starts_with(nothing) && ran.stdout.lines().count() == 1, "{ran:?}");
    }
}

#[apply(on_both)]
async fn a_reader_that_has_seen_enough_is_not_a_failure() {
    let world = world_with_log(3000).await;
    for format in ["json", "csv", "table"] {
        let mut command = world.program(&["log", "--format", format]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut complaints = String::new();
        child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
        assert_eq!((child.wait().unwrap().code(), &*complaints), (Some(0), ""), "{format}");
    }
}
