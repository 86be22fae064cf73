//! `plan` and `sync --dry-run` show what a cycle would do, and write nothing.

use std::collections::BTreeSet;

use graph_sim::{Fault, Gate};
use serde_json::{Value, json};

use super::SUMMARY;
use crate::database::{apply, is_on_postgres, on_both};
use crate::program::{Daemon, NO_FILES, add_assigned_user, keys, users};
use crate::world::World;

/// The lines of a plan: `action status reason user_name`, in the order of the document.
fn lines(document: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let changes = document["changes"].as_array().unwrap().iter();
    changes
        .map(|line| ["action", "status", "reason", "user_name"].map(|key| text(&line[key])).join(" "))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

#[track_caller]
fn check_shape(document: &Value) {
    assert_eq!(keys(document), SUMMARY.into_iter().chain(["changes", "full_comparison"]).collect());
    assert_eq!(document["cycle"], json!(null));
    for line in document["changes"].as_array().unwrap() {
        let expected = ["action", "changes", "detail", "entra_id", "reason", "status", "user_name"];
        assert_eq!(keys(line), BTreeSet::from(expected));
        for change in line["changes"].as_array().unwrap() {
            assert_eq!(keys(change), BTreeSet::from(["attribute", "new", "old"]));
        }
    }
}

#[apply(on_both)]
async fn plan_before_the_first_cycle_shows_everything_and_writes_nothing() {
    let (tenant, ids) = users(2);
    let world = World::start(tenant).await;
    let before = world.files();
    let document = world.run_program(&["plan", "--json"], 0).json();
    check_shape(&document);
    assert_eq!((&document["created"], &document["outcome"]), (&json!(2), &json!("success")));
    assert_eq!(
        lines(&document),
        [
            "create success assigned ada.number0@harbourworks.example",
            "create success assigned ada.number1@harbourworks.example"
        ]
    );
    let of_ada: Vec<_> =
        document["changes"].as_array().unwrap().iter().filter(|line| line["entra_id"] == ids[0].as_str()).collect();
    let email = json!({
        "attribute": "emails[type eq \"work\"].value", "old": null, "new": "ada.number0@harbourworks.example"
    });
    assert!(of_ada[0]["changes"].as_array().unwrap().contains(&email), "{document}");
    assert!(
        of_ada[0]["changes"].as_array().unwrap().contains(&json!({ "attribute": "active", "old": null, "new": true }))
    );
    let words = world.run_program(&["plan"], 0).stdout;
    assert!(words.contains("ada.number1@harbourworks.example") && words.contains("2 created"), "{words}");
    assert_eq!(world.changed_since(&before), NO_FILES);
}

#[apply(on_both)]
async fn plan_beside_a_running_cycle_leaves_every_file_as_it_is() {
    let (tenant, ids) = users(3);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    world.sim.tenant(|tenant| {
        tenant.user_mut(&ids[0]).department = Some("Sales".to_owned());
        tenant.unassign(&ids[1]);
        add_assigned_user(tenant, "Grace", "Hopper");
    });
    let before = world.files();
    let planned = world.run_program(&["plan", "--json"], 0).json();
    check_shape(&planned);
    assert_eq!(
        lines(&planned),
        [
            "create success assigned grace.hopper@harbourworks.example",
            "deactivate success unassigned ada.number1@harbourworks.example",
            "update success attributes-changed ada.number0@harbourworks.example",
        ]
    );
    // SQLite creates the index of its write-ahead log even for a reader; the data is unchanged.
    let changed = world.changed_since(&before);
    assert!(changed.iter().all(|name| name.ends_with("-shm") || name.ends_with("-wal")), "{changed:?}");

    let gate = Gate::new();
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").hold_until(&gate));
    let mut first = Daemon::spawn(world.program(&["sync"]), &world.path("first.log"));
    gate.reached().await;
    let (files, rows) = (world.files(), content(&world).await);
    assert_eq!(lines(&world.run_program(&["plan", "--json"], 0).json()), lines(&planned));
    assert_eq!(content(&world).await, rows);
    let changed = world.changed_since(&files);
    assert!(changed.iter().all(|name| name.ends_with("-shm") || name.ends_with("-wal")), "{changed:?}");
    gate.release();
    assert_eq!(first.ended().await, Some(0));
    // The cycle does what was planned.
    assert_eq!(
        world.query("SELECT created, updated, deactivated FROM sync_cycles WHERE id = 2").await,
        [["1", "1", "1"]]
    );
}

#[tokio::test]
async fn plan_that_cannot_read_everything_exits_1_with_its_document() {
    let world = World::start(users(1).0).await;
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").always().answer(403));
    let before = world.files();
    let ran = world.run_program(&["plan", "--json"], 1);
    check_shape(&ran.json());
    assert_eq!(ran.json()["outcome"], json!("failed"));
    assert!(ran.stderr.contains("Application.Read.All"), "{ran:?}");
    assert_eq!(world.changed_since(&before), NO_FILES);
}

/// All rows of all tables.
async fn content(world: &World) -> Vec<Vec<Vec<String>>> {
    let mut content = Vec::new();
    for table in world.database.tables().await {
        content.push(world.query(&format!("SELECT * FROM {table} ORDER BY 1, 2")).await);
    }
    content
}

#[apply(on_both)]
async fn a_dry_run_shows_what_the_database_would_refuse_and_writes_nothing() {
    let (tenant, ids) = users(4);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    world.database.refuse("UPDATE", "NEW.department = 'Sales'").await;
    world.execute("CREATE UNIQUE INDEX learners_title ON learners (title)").await;
    world.sim.tenant(|tenant| {
        tenant.user_mut(&ids[0]).department = Some("Sales".to_owned());
        tenant.user_mut(&ids[1]).department = Some("Support".to_owned());
        for id in &ids[2..] {
            tenant.user_mut(id).job_title = Some("Captain".to_owned());
        }
    });
    let (before, files) = (content(&world).await, world.files());
    let document = world.run_program(&["sync", "--dry-run", "--json"], 3).json();
    check_shape(&document);
    assert_eq!(
        (&document["outcome"], &document["updated"], &document["failed"]),
        (&json!("partial"), &json!(2), &json!(2))
    );
    let shown = lines(&document);
    assert!(shown.contains(&"update failure database-error ada.number0@harbourworks.example".to_owned()), "{shown:?}");
    assert!(
        shown.contains(&"update success attributes-changed ada.number1@harbourworks.example".to_owned()),
        "{shown:?}"
    );
    let refused: Vec<_> =
        document["changes"].as_array().unwrap().iter().filter(|line| line["status"] == "failure").collect();
    assert_eq!(refused.len(), 2, "{document}");
    assert!(refused.iter().any(|line| line["detail"].as_str().is_some_and(|why| why.contains("title"))), "{document}");
    assert_eq!(content(&world).await, before);
    let names = |files: &std::collections::BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&world.files()), names(&files));

    let words = world.run_program(&["sync", "--dry-run"], 3).stdout;
    assert!(words.contains("Rehearsed and rolled back; nothing was written."), "{words}");
    assert_eq!(content(&world).await, before);
    // The cycle does the same.
    let real = world.run_program(&["sync", "--json"], 3).json();
    assert_eq!((&real["updated"], &real["failed"]), (&document["updated"], &document["failed"]));
}

#[tokio::test]
async fn a_missing_file_is_rehearsed_in_memory() {
    let world = World::start(users(2).0).await;
    let before = world.files();
    let document = world.run_program(&["sync", "--dry-run", "--json"], 0).json();
    check_shape(&document);
    assert_eq!((&document["created"], &document["outcome"]), (&json!(2), &json!("success")));
    assert_eq!(world.changed_since(&before), NO_FILES);
}

/// A database with a complete learners table of the platform that contains Ada, and no other table of learner-sync.
async fn world_of_the_platform() -> World {
    let world = World::start(users(2).0).await;
    world.run_program(&["sync"], 0);
    let triggers =
        if is_on_postgres() { "" } else { "DROP TRIGGER sync_links_row; DROP TRIGGER learners_active_edited; " };
    world.execute(&format!("{triggers}DROP TABLE sync_links; DELETE FROM learners")).await;
    for table in world.database.tables().await.iter().filter(|table| *table != "learners") {
        world.execute(&format!("DROP TABLE {table}")).await;
    }
    let folded = if is_on_postgres() { "_folded" } else { "" };
    for column in ["external_id", "user_name", "email"] {
        world.execute(&format!("DROP INDEX learners_{column}{folded}")).await;
    }
    world
        .execute(
            "INSERT INTO learners (user_name, email)
             VALUES ('ADA.number0@harbourworks.example', 'ada.number0@harbourworks.example')",
        )
        .await;
    world
}

#[apply(on_both)]
async fn read_only_commands_create_no_tables_in_a_database_of_the_platform() {
    let world = world_of_the_platform().await;
    let before = content(&world).await;
    for arguments in [&["sync", "--dry-run"][..], &["plan"], &["check"], &["status"], &["log"]] {
        world.run_program(arguments, 0);
        assert_eq!(content(&world).await, before, "{arguments:?}");
    }
}

#[apply(on_both)]
async fn a_plan_for_a_database_of_the_platform_shows_adoptions() {
    let world = world_of_the_platform().await;
    let planned = world.run_program(&["plan", "--json"], 0).json();
    let rehearsed = world.run_program(&["sync", "--dry-run", "--json"], 0).json();
    let real = world.run_program(&["sync", "--json"], 0).json();
    for key in ["created", "updated"] {
        assert_eq!((&real[key], &rehearsed[key], &planned[key]), (&json!(1), &json!(1), &json!(1)), "{key}");
    }
}

/// Drift that only a full comparison finds is not in a plan that was made with the cache, and the plan says so.
#[apply(on_both)]
async fn a_plan_says_when_the_database_is_compared_in_full() {
    let world = World::start(users(2).0).await;
    let sentence = "was last compared in full at";
    let (plan, dry_run, full) = (["plan"].as_slice(), ["sync", "--dry-run"], ["sync", "--dry-run", "--full"]);
    let of = |command: &[&str]| {
        let json = world.run_program(&[command, &["--json"]].concat(), 0).json()["full_comparison"].clone();
        let words = world.run_program(command, 0).stdout;
        assert_eq!(words.matches(sentence).count(), usize::from(!json.is_null()), "{words}");
        (json, words)
    };
    for command in [plan, &dry_run, &full] {
        assert_eq!(of(command).0, json!(null), "{command:?}");
    }
    world.run_program(&["sync"], 0);
    assert_eq!(of(&full).0, json!(null));
    for command in [plan, &dry_run] {
        let (json, words) = of(command);
        let time = |key: &str| json[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert_eq!(time("next").duration_since(time("last")), jiff::SignedDuration::from_hours(24));
        for key in ["last", "next"] {
            assert!(words.contains(json[key].as_str().unwrap()), "{key}: {words}");
        }
    }
}

#[apply(on_both)]
async fn a_dry_run_does_not_wait_long_for_another_writer() {
    let world = World::start(users(2).0).await;
    world.run_program(&["sync"], 0);
    world.sim.tenant(|tenant| drop(add_assigned_user(tenant, "Grace", "Hopper")));
    let writer = world.database.lock().await;
    let begun = std::time::Instant::now();
    let ran = world.run_program(&["sync", "--dry-run"], 1);
    assert!(ran.stderr.contains("locked by another process"), "{ran:?}");
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    // A plan does not wait at all.
    assert_eq!(world.run_program(&["plan", "--json"], 0).json()["created"], json!(1));
    world.run_program(&["status"], 0);
    drop(writer);
}

#[apply(on_both)]
async fn a_dry_run_beside_a_cycle_and_while_paused_is_allowed() {
    let world = World::start(users(2).0).await;
    world.run_program(&["pause"], 0);
    assert_eq!(world.run_program(&["sync", "--dry-run", "--json"], 0).json()["created"], json!(2));
    world.run_program(&["resume"], 0);
    let gate = Gate::new();
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").hold_until(&gate));
    let mut first = Daemon::spawn(world.program(&["sync"]), &world.path("first.log"));
    gate.reached().await;
    // The gate holds one call, so that the dry run can read.
    assert_eq!(world.run_program(&["sync", "--dry-run", "--json"], 0).json()["created"], json!(2));
    gate.release();
    assert_eq!(first.ended().await, Some(0));
    assert_eq!(world.cycles().await, ["command success"]);
}

/// A world in which two users join, one changes, one leaves and one lacks an address.
async fn world_with_every_action() -> World {
    let (tenant, ids) = users(5);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    world.sim.tenant(|tenant| {
        tenant.user_mut(&ids[0]).department = Some("=Sales".to_owned());
        tenant.unassign(&ids[1]);
        tenant.user_mut(&ids[2]).mail = None;
        add_assigned_user(tenant, "Grace", "Hopper");
        add_assigned_user(tenant, "Mary", "Somerville");
    });
    world
}

#[apply(on_both)]
async fn a_plan_is_grouped_by_action_below_its_totals_and_a_rehearsal_uses_the_same_words() {
    let world = world_with_every_action().await;
    let words = world.run_program(&["plan"], 0).stdout;
    let headings: Vec<&str> = words.lines().filter(|line| line.ends_with("):")).collect();
    assert_eq!(headings, ["create (2):", "update (1):", "deactivate (1):", "update (skipped) (1):"], "{words}");
    let total = "Expected result: success, 6 in scope, 2 created, 1 updated, 1 deactivated,";
    assert!(words.starts_with(total), "{words}");
    assert!(words.contains("department: Research -> =Sales"), "{words}");
    assert!(words.contains("name.givenName: Grace"), "{words}");
    let rehearsed = world.run_program(&["sync", "--dry-run"], 0).stdout;
    let sentence = "Rehearsed and rolled back; nothing was written.\n";
    let (before, after) = rehearsed.split_once(sentence).unwrap();
    assert_eq!(format!("{before}{after}"), words);
}

#[apply(on_both)]
async fn a_limit_cuts_the_list_and_never_the_totals() {
    let world = world_with_every_action().await;
    let words = world.run_program(&["plan", "--limit", "1"], 0).stdout;
    for part in ["2 created, 1 updated, 1 deactivated", "create (2):", "and 1 more", "deactivate (1):\n not listed"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(words.contains("grace.hopper@") != words.contains("mary.somerville@"), "{words}");
    assert!(!words.contains("department: Research ->"), "{words}");
    let whole = world.run_program(&["plan", "--json"], 0).json();
    assert_eq!(whole["changes"].as_array().unwrap().len(), 5);
    for (limit, count) in [("0", 0), ("3", 3), ("99", 5)] {
        let cut = world.run_program(&["plan", "--format", "json", "--limit", limit], 0).json();
        check_shape(&cut);
        assert_eq!(cut["changes"].as_array().unwrap()[..], whole["changes"].as_array().unwrap()[..count]);
        assert_eq!((&cut["created"], &cut["skipped"]), (&json!(2), &json!(1)));
    }
    world.run_program(&["plan", "--limit", "-1"], 2);
    world.run_program(&["plan", "--json", "--format", "csv"], 2);
}

#[apply(on_both)]
async fn a_plan_as_csv_holds_no_formula() {
    let world = world_with_every_action().await;
    let id = world.sim.tenant(|tenant| {
        let id = add_assigned_user(tenant, "Ada", "Byron");
        tenant.user_mut(&id).user_principal_name = Some("=cmd|calc@harbourworks.example".to_owned());
        id
    });
    let csv = world.run_program(&["plan", "--format", "csv"], 0).stdout;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = ["action", "status", "entra_id", "user_name", "reason", "detail", "changes"];
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), header);
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.unwrap()).collect();
    assert_eq!(rows.len(), 6);
    let row = rows.iter().find(|row| row[2] == *id).unwrap();
    assert_eq!((&row[0], &row[1], &row[3]), ("create", "success", "'=cmd|calc@harbourworks.example"));
    let changes: Value = serde_json::from_str(&row[6]).unwrap();
    assert_eq!(changes[0]["attribute"], "userName");
    assert!(rows.iter().all(|row| row.iter().all(|cell| !cell.starts_with('='))), "{csv}");
}
