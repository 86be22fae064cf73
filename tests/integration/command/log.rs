//! `log`: many rows, the last ones, and cells that a spreadsheet would run.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::database::{apply, on_both};
use crate::program::{keys, users};
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
        let ran = world.run_program(&["log", "--format", format, "--reason", "protected"], 0);
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

/// Five of six users leave, are held, and are approved by an administrator.
async fn world_with_an_approval() -> World {
    let (tenant, ids) = users(12);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    world.sim.tenant(|tenant| ids[..11].iter().for_each(|id| tenant.user_mut(id).account_enabled = Some(false)));
    world.run_program(&["sync"], 3);
    world.run_program(&["approve", "--yes", "--expect", "11"], 0);
    world.run_program(&["sync"], 0);
    world
}

#[apply(on_both)]
async fn entries_are_found_by_reason_cycle_and_time() {
    let world = world_with_an_approval().await;
    let count = |filters: &str| {
        let arguments: Vec<&str> = ["log", "--format", "json"].into_iter().chain(filters.split_whitespace()).collect();
        world.run_program(&arguments, 0).json().as_array().unwrap().len()
    };
    assert_eq!(count("--reason assigned"), 12);
    assert_eq!((count("--reason threshold"), count("--status held --action deactivate")), (22, 22));
    assert_eq!((count("--cycle 1"), count("--cycle 2"), count("--cycle 3"), count("--cycle 4")), (12, 11, 22, 0));
    assert_eq!((count("--until 2020-01-01"), count("--since 1h --until 2100-01-01")), (0, 45));
    let words = world.run_program(&["log"], 0).stdout;
    assert_eq!(words.matches("Z  would deactivate ").count(), 11, "{words}");
    assert_eq!(words.matches("Z  hold ended: deactivate ").count(), 11, "{words}");
    for wrong in ["--since 2026-11-30T10:00", "--until yesterday", "--since -2h", "--reason none", "--status done"] {
        let arguments: Vec<&str> = ["log"].into_iter().chain(wrong.split_whitespace()).collect();
        world.run_program(&arguments, 2);
    }
}

#[apply(on_both)]
async fn a_user_who_was_never_seen_is_not_an_empty_log() {
    let (tenant, ids) = users(2);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    let log = |user: &str| world.run_program(&["log", "--user", user], 0);
    let near = log("ada.numbre0@harbourworks.example").stdout;
    assert!(
        near.contains("No user or learner is known as") && near.contains("`ada.number0@harbourworks.example`"),
        "{near}"
    );
    for unknown in ["grace", "4711", "0a1b2c3d-0000-4000-8000-00000000ffff"] {
        let ran = log(unknown);
        assert!(ran.stdout.contains(&format!("known as `{unknown}`; use the object id")), "{ran:?}");
        let document = world.run_program(&["log", "--user", unknown, "--format", "json"], 0);
        assert_eq!(document.json(), serde_json::json!([]));
        assert!(document.stderr.contains("No user or learner is known as"), "{document:?}");
    }
    // Somebody whose rows have expired, or do not match, is known.
    let nothing = world.run_program(&["log", "--user", &ids[0], "--action", "deactivate"], 0).stdout;
    assert_eq!(nothing, "No log entries.\n");
    world.execute("DELETE FROM provisioning_log").await;
    let learner = world.learner(&ids[1], "id").await.remove(0);
    for known in ["Ada.Number0@harbourworks.example", &ids[0], &learner] {
        assert_eq!(log(known).stdout, "No log entries.\n", "{known}");
    }
}

#[tokio::test]
async fn a_range_that_ends_before_it_begins_is_a_usage_error() {
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    for kind in [&["log"][..], &["log", "audit"], &["log", "cycles"]] {
        let range = ["--since", "2026-02-01T00:00:00Z", "--until", "2026-01-01T00:00:00Z"];
        let ran = world.run_program(&[kind, &range].concat(), 2);
        assert!(ran.stderr.contains("--until 2026-01-01T00:00:00Z is before --since 2026-02-01T00:00:00Z"), "{ran:?}");
    }
    world.run_program(&["log", "--since", "2d", "--until", "1d"], 0);
}

#[apply(on_both)]
async fn one_entry_is_shown_in_full_with_its_approval() {
    let world = world_with_an_approval().await;
    let rows = world.run_program(&["log", "--cycle", "3", "--limit", "1", "--format", "json"], 0).json();
    let (id, by) = (rows[0]["id"].to_string(), rows[0]["approved_by"].as_str().unwrap().to_owned());
    let words = world.run_program(&["log", "show", &id], 0).stdout;
    for part in
        ["Action        deactivate", "Reason        account-disabled", "Cycle         3 (command", &by, " false"]
    {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert_eq!(world.run_program(&["log", "show", &id, "--format", "json"], 0).json(), rows[0]);
    let request_id = rows[0]["request_id"].as_str().unwrap();
    assert!(words.contains(&format!("Request id    {request_id}")), "{words}");
    assert_eq!(rows[0]["phase"], serde_json::Value::Null);
    let held = world.run_program(&["log", "--status", "held", "--format", "json"], 0).json();
    for (row, phase, action) in
        [(&held[0], "begun", "would deactivate"), (&held[21], "ended", "hold ended: deactivate")]
    {
        assert_eq!(row["phase"], phase);
        let words = world.run_program(&["log", "show", &row["id"].to_string()], 0).stdout;
        assert!(words.contains(&format!("Hold          {phase}")), "{words}");
        assert!(words.contains(&format!("Action        {action}\n")), "{words}");
    }
    let csv = world.run_program(&["log", "show", &id, "--format", "csv"], 0).stdout;
    assert_eq!((csv.lines().count(), csv.contains(&by)), (2, true), "{csv}");
    let unknown = world.run_program(&["log", "show", "999"], 1);
    assert!(unknown.stderr.contains("no entry 999"), "{unknown:?}");
    assert!(world.run_program(&["log", "show", "999", "--format", "json"], 1).json()["error"].is_string());
}

#[apply(on_both)]
async fn a_conflict_names_the_learner_that_has_the_value_now() {
    let (tenant, ids) = users(2);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    world.sim.tenant(|tenant| {
        let mail = tenant.user(&ids[0]).unwrap().mail.clone();
        tenant.user_mut(&ids[1]).mail = mail.map(|mail| mail.to_uppercase());
    });
    world.run_program(&["sync"], 3);
    let rows = world.run_program(&["log", "--reason", "conflict", "--format", "json"], 0).json();
    let words = world.run_program(&["log", "show", &rows[0]["id"].to_string()], 0).stdout;
    let held: Vec<&str> = words.lines().filter(|line| line.starts_with("Held now by")).collect();
    let [line] = held[..] else { panic!("{words}") };
    assert!(line.contains("emails[type eq \"work\"].value: learner "), "{words}");
    assert!(line.ends_with(", ada.number0@harbourworks.example"), "{words}");
}

#[apply(on_both)]
async fn before_the_first_cycle_log_says_that_the_database_is_missing() {
    let world = World::start(users(1).0).await;
    for arguments in [&["log"][..], &["log", "audit"], &["log", "cycles"]] {
        let ran = world.run_program(arguments, 0);
        assert_eq!(
            ran.stdout,
            "No cycle has run yet: the learner database does not exist, or has no tables of learner-sync.\n"
        );
    }
    assert_eq!(world.run_program(&["log", "--format", "json"], 0).json(), serde_json::json!([]));
    assert!(world.run_program(&["log", "--format", "csv"], 0).stdout.starts_with("id,cycle_id,"));
}

#[apply(on_both)]
async fn the_audit_log_and_the_cycles_are_listed() {
    let world = world_with_an_approval().await;
    world.run_program(&["pause"], 0);
    let audit = world.run_program(&["log", "audit", "--format", "json"], 0).json();
    let audit = audit.as_array().unwrap();
    let actions: Vec<_> = audit.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["sync", "sync", "approve", "sync", "pause"]);
    assert_eq!(keys(&audit[0]), BTreeSet::from(["at", "actor", "action", "detail"]));
    assert_eq!(audit[0]["detail"]["full"], false);
    let words = world.run_program(&["log", "audit", "--limit", "1"], 0).stdout;
    assert!(words.contains("pause") && !words.contains("approve"), "{words}");
    let words = world.run_program(&["log", "audit"], 0).stdout;
    assert!(words.contains("  released 11 held users of "), "{words}");
    assert!(!words.contains("people"), "{words}");
    let csv = world.run_program(&["log", "audit", "--format", "csv", "--until", "2020-01-01"], 0).stdout;
    assert_eq!(csv, "at,actor,action,detail\n");

    let cycles = world.run_program(&["log", "cycles", "--format", "json"], 0).json();
    let numbers: Vec<_> =
        cycles.as_array().unwrap().iter().map(|row| (row["cycle"].clone(), row["held"].clone())).collect();
    assert_eq!(numbers, [(1.into(), 0.into()), (2.into(), 11.into()), (3.into(), 0.into())]);
    let csv = world.run_program(&["log", "cycles", "--limit", "1", "--format", "csv"], 0).stdout;
    assert!(csv.starts_with("cycle,source,trigger,") && csv.lines().count() == 2, "{csv}");
    let words = world.run_program(&["log", "cycles"], 0).stdout;
    assert!(words.contains("12 in scope, 12 created"), "{words}");
    assert!(words.lines().nth(1).unwrap().contains("full comparison"), "{words}");
    assert_eq!(words.matches("full comparison").count(), 1, "{words}");
    world.run_program(&["resume"], 0);
    world.run_program(&["provision", "ada.number0@harbourworks.example"], 0);
    let words = world.run_program(&["log", "cycles", "--limit", "1"], 0).stdout;
    assert!(words.contains("run for one user, "), "{words}");
    assert!(!words.contains("full comparison"), "{words}");
    world.run_program(&["log", "audit", "--user", "x"], 2);
}

#[apply(on_both)]
async fn new_rows_are_followed_until_a_signal() {
    let world = World::start(users(2).0).await;
    world.run_program(&["sync"], 0);
    let mut command = world.program(&["log", "--follow", "--limit", "1", "--format", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["id"], 2);
    world.execute(
        "INSERT INTO provisioning_log (cycle_id, at, action, status, entra_id, learner_id, user_name, reason, detail, changes)
         SELECT cycle_id, at, action, status, entra_id, learner_id, user_name, reason, 'new', changes
         FROM provisioning_log WHERE id = 1",
    )
    .await;
    assert_eq!(next()["detail"], "new");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
