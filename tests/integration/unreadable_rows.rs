//! Rows of the bookkeeping that a hand has changed so that they cannot be read.

use graph_sim::Tenant;
use jiff::SignedDuration;
use learner_sync::model::{DAY, Outcome};
use learner_sync::plan::Counts;
use learner_sync::store::{Access, Store};
use serde_json::{Value, json};

use crate::database::{apply, is_on_postgres, on_both};
use crate::world::{World, assigned, assigned_group};

/// The statement that a problem names.
fn repair(problem: &str) -> String {
    let (_, statement) = problem.split_once("run: ").unwrap_or_else(|| panic!("no statement in {problem:?}"));
    statement.trim_end().to_owned()
}

/// Damages that concern one user, whose id replaces `{id}`: the table, and the statement.
fn damages() -> Vec<&'static str> {
    let mut damages = vec![
        "UPDATE sync_links SET via = '[\"no id\"]' WHERE entra_id = '{id}'",
        "UPDATE sync_links SET via = '{}' WHERE entra_id = '{id}'",
        "UPDATE sync_links SET via = '[\"direct\", 7]' WHERE entra_id = '{id}'",
        "UPDATE sync_links SET entra_id = upper(entra_id) WHERE entra_id = '{id}'",
        "UPDATE sync_links SET entra_id = 'o''clock' WHERE entra_id = '{id}'",
        "UPDATE sync_links SET entra_id = '' WHERE entra_id = '{id}'",
        "INSERT INTO sync_held (source, entra_id, action, reason, since)
             SELECT source, '{id}', 'explode', 'threshold', linked_at FROM sync_links WHERE entra_id = '{id}'",
        "INSERT INTO sync_held (source, entra_id, action, reason, since)
             SELECT source, upper('{id}'), 'deactivate', 'threshold', linked_at FROM sync_links WHERE entra_id = '{id}'",
    ];
    if !is_on_postgres() {
        damages.extend([
            "UPDATE sync_links SET via = '{' WHERE entra_id = '{id}'",
            "UPDATE sync_links SET via = x'ff00' WHERE entra_id = '{id}'",
            "UPDATE sync_links SET via = 5 WHERE entra_id = '{id}'",
            "UPDATE sync_links SET entra_id = x'80' WHERE entra_id = '{id}'",
            "INSERT INTO sync_held (source, entra_id, action, reason, since)
                 SELECT source, '{id}', 'update', 'threshold', 'yesterday' FROM sync_links WHERE entra_id = '{id}'",
            "INSERT INTO sync_held (source, entra_id, action, reason, since, approved_at)
                 SELECT source, '{id}', 'update', x'00', linked_at, 7 FROM sync_links WHERE entra_id = '{id}'",
        ]);
    } else {
        damages.push(
            "INSERT INTO sync_held (source, entra_id, action, reason, since)
                 SELECT source, '{id}', 'update', 'threshold', 'infinity' FROM sync_links WHERE entra_id = '{id}'",
        );
    }
    damages
}

/// The links are read one by one only after an edit that may have damaged one.
#[apply(on_both)]
async fn an_edit_that_damages_a_link_is_noticed() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 2);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    let inspected = async |world: &World| {
        let value = world.value("SELECT CASE WHEN links_inspected THEN 'yes' ELSE 'no' END FROM sync_state").await;
        assert!(["yes", "no"].contains(&value.as_str()));
        value == "yes"
    };
    for damage in damages().into_iter().filter(|damage| damage.starts_with("UPDATE sync_links")) {
        world.execute("UPDATE sync_links SET via = '[]'; UPDATE sync_links SET entra_id = entra_id").await;
        world.cycle().await;
        assert!(inspected(&world).await, "{damage}");
        world.execute(&damage.replace("{id}", &users[0])).await;
        assert!(!inspected(&world).await, "{damage}");
        world.cycle().await;
        assert!(!inspected(&world).await, "{damage}");
        let status = world.run_program(&["status", "--json"], 0).json();
        let problem = status["unreadable_rows"][0].as_str().unwrap().to_owned();
        world.execute(&repair(&problem)).await;
    }
    world.cycle().await;
    assert!(inspected(&world).await);
    world.settled().await;

    // A copy may lack the trigger.
    let drop =
        if is_on_postgres() { "ALTER TABLE sync_links DISABLE TRIGGER ALL" } else { "DROP TRIGGER sync_links_edited" };
    world.execute(drop).await;
    world.execute(&damages()[0].replace("{id}", &users[0])).await;
    assert!(inspected(&world).await);
    assert_eq!(world.cycle().await.counts.failed, 1);
}

#[apply(on_both)]
async fn a_row_that_cannot_be_read_rejects_its_user_alone() {
    for damage in damages() {
        let mut tenant = Tenant::default();
        let users = assigned(&mut tenant, 3);
        let mut world = World::start(tenant).await;
        world.cycle().await;
        world.execute(&damage.replace("{id}", &users[0])).await;
        // The damaged user leaves, another changes, and a newcomer joins.
        world.sim.tenant(|tenant| {
            tenant.unassign(&users[0]);
            tenant.user_mut(&users[1]).set("jobTitle", json!("Clerk")).unwrap();
        });
        world.sim.tenant(|tenant| assigned(tenant, 1));

        let rehearsed = world.run_program(&["sync", "--dry-run", "--json"], 3).json();
        let planned = world.run_program(&["plan", "--json"], 0).json();
        assert_eq!(planned["changes"], rehearsed["changes"], "{damage}");
        let report = world.cycle().await;
        let expected = Counts { in_scope: 3, created: 1, updated: 1, unchanged: 1, failed: 1, ..Counts::default() };
        assert_eq!((report.counts, report.outcome), (expected, Outcome::Partial), "{damage}");
        let counts =
            ["in_scope", "created", "updated", "unchanged", "failed", "deactivated"].map(|key| &rehearsed[key]);
        assert_eq!(counts.map(Value::as_u64), [3, 1, 1, 1, 1, 0].map(Some), "{damage}");
        assert_eq!(["created", "updated", "failed"].map(|key| planned[key].as_u64()), [1, 1, 1].map(Some), "{damage}");
        assert_eq!(world.log(&users[0]).await.last().unwrap(), "update failure database-error", "{damage}");

        // Each command shows the rest and names the row.
        let status = world.run_program(&["status", "--json"], 0).json();
        assert_eq!(status["state"], "partial", "{damage}");
        assert_eq!(status["unreadable_rows"].as_array().map(Vec::len), Some(1), "{damage}: {status}");
        let approve = world.run_program(&["approve"], 0);
        assert_eq!(approve.stderr.contains("cannot read sync_held"), damage.contains("sync_held"), "{approve:?}");
        let entries = world.run_program(&["log", "--user", &users[0], "--format", "json"], 0).json();
        let detail = entries.as_array().unwrap().last().unwrap()["detail"].as_str().unwrap();

        world.execute(&repair(detail)).await;
        let report = world.cycle().await;
        // A hold outlasts its repair.
        let is_held = damage.contains("'explode'") || damage.contains("'deactivate'");
        let (deactivated, held) = if is_held { (0, 1) } else { (1, 0) };
        let expected = Counts { in_scope: 3, deactivated, unchanged: 3, held, ..Counts::default() };
        let outcome = if is_held { Outcome::Held } else { Outcome::Success };
        assert_eq!((report.counts, report.outcome), (expected, outcome), "{damage}: {detail}");
        world.settled().await;
    }
}

/// A failure decides nothing: the cycle deletes the row, and the user goes on.
#[apply(on_both)]
async fn a_failure_that_cannot_be_read_blocks_nobody() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 3);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    for (id, reason, time) in [
        (users[0].to_uppercase(), "conflict", "linked_at"),
        (users[0].clone(), "of a later version", "linked_at"),
        ("ada@harbourworks.example\u{1b}[2J\u{202e}".to_owned(), "conflict", "linked_at"),
        (String::new(), "", if is_on_postgres() { "'infinity'" } else { "'soon'" }),
    ] {
        let row = format!(
            "INSERT INTO sync_failures (source, entra_id, reason, first_at, last_at, attempts)
             SELECT source, '{id}', '{reason}', {time}, linked_at, 1 FROM sync_links WHERE entra_id = '{}'",
            users[1]
        );
        world.execute(&row).await;
        let status = world.run_program(&["status", "--json"], 0).json();
        let problem = status["unreadable_rows"][0].as_str().unwrap();
        assert!(!problem.contains("ada@"), "{problem}");
        // The statement does what the cycle does.
        world.execute(&repair(problem)).await;
        assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "0", "{problem}");
        world.execute(&row).await;
        let ran = world.run_program(&["sync"], 0);
        assert!(ran.stderr.contains("cannot read sync_failures."), "{ran:?}");
        assert!(!ran.stderr.contains("ada@"), "{ran:?}");
        assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "0", "{ran:?}");
    }
}

/// A statement that was printed some time ago hits no row that was written since.
#[apply(on_both)]
async fn a_repair_never_hits_another_row() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 3);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    let held = |id: &str, reason: &str| {
        format!(
            "INSERT INTO sync_held (source, entra_id, action, reason, since)
             SELECT source, '{id}', 'update', '{reason}', linked_at FROM sync_links WHERE entra_id = '{}'",
            users[1]
        )
    };
    for id in [users[0].clone(), users[0].to_uppercase(), "o''clock".to_owned()] {
        world.execute(&held(&id, "of a later version")).await;
        let status = world.run_program(&["status", "--json"], 0).json();
        let problem = status["unreadable_rows"][0].as_str().unwrap();
        world.execute("DELETE FROM sync_held").await;
        world.execute(&held(&users[2], "threshold")).await;
        world.execute(&repair(problem)).await;
        assert_eq!(world.value("SELECT entra_id FROM sync_held").await, users[2], "{problem}");
        world.execute("DELETE FROM sync_held").await;
    }
}

/// Two links of one user: the second is deleted, because the first has its place.
#[apply(on_both)]
async fn a_second_link_of_a_user_is_repaired_by_deletion() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 3);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    let (first, second) = (&users[0], &users[1]);
    for damage in [
        format!("UPDATE sync_links SET entra_id = upper('{first}') WHERE entra_id = '{second}'"),
        format!("UPDATE sync_links SET entra_id = upper('{first}'), via = '{{}}' WHERE entra_id = '{second}'"),
    ] {
        world.execute(&damage).await;
        let status = world.run_program(&["status", "--json"], 0).json();
        for problem in status["unreadable_rows"].as_array().unwrap() {
            world.execute(&repair(problem.as_str().unwrap())).await;
        }
        // The learner that lost its link is found by its external id.
        let report = world.cycle().await;
        assert_eq!((report.counts.failed, report.counts.unchanged, report.counts.updated), (0, 2, 1), "{damage}");
        world.settled().await;
    }
}

/// An unreadable row of an excluded user changes nothing.
#[apply(on_both)]
async fn an_excluded_user_is_not_rejected() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 2);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world.execute(&format!("UPDATE sync_links SET via = '{{}}' WHERE entra_id = '{}'", users[0])).await;
    world.configure(&format!("[scope]\nignore = [{:?}]", users[0]));
    let report = world.cycle().await;
    assert_eq!((report.counts.failed, report.outcome), (0, Outcome::Success));
}

/// A user whose link cannot be read is known: it gets no second learner, and nobody else gets its learner.
#[apply(on_both)]
async fn a_learner_with_an_unreadable_link_is_given_to_nobody() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 2);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world
        .execute("UPDATE sync_links SET entra_id = 'junk' || learner_id; UPDATE learners SET external_id = NULL")
        .await;
    let rows = world.query("SELECT * FROM learners ORDER BY id").await;
    // A newcomer with the address of the first.
    let name = world.value("SELECT user_name FROM learners WHERE id = 1").await;
    let id = world.sim.tenant(|tenant| {
        tenant.delete_user(&users[0]);
        let id = assigned(tenant, 1).remove(0);
        tenant.user_mut(&id).set("userPrincipalName", json!(name)).unwrap();
        id
    });
    let report = world.cycle().await;
    assert_eq!((report.counts.created, report.counts.updated, report.counts.deactivated), (0, 0, 0), "{name}");
    assert_eq!(report.outcome, Outcome::Partial);
    assert_eq!(world.log(&id).await, ["create failure conflict"]);
    assert!(world.last_detail(&id).await.contains("linked, but the link cannot be read"));
    assert_eq!(world.query("SELECT * FROM learners ORDER BY id").await, rows);
    let refused = world.run_program(&["provision", &id, "--relink", "1"], 1);
    assert!(refused.stderr.contains("the link of learner 1 cannot be read"), "{refused:?}");
    let checked = world.run_program(&["check"], 1);
    assert!(checked.stdout.contains("2 rows of the bookkeeping cannot be read, such as: cannot read"), "{checked:?}");
}

/// Rows that name no user: they count, and everything goes on.
#[apply(on_both)]
async fn rows_that_name_nobody_are_reported() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 4);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    for (damage, healed) in [
        ("UPDATE sync_groups SET last_members = -3", true),
        ("UPDATE sync_groups SET group_id = 'Staff'", false),
        (
            "INSERT INTO sync_held (source, entra_id, action, reason, since)
              SELECT source, 'nobody', 'deactivate', 'threshold', linked_at FROM sync_links LIMIT 1",
            false,
        ),
    ] {
        world.execute(damage).await;
        let report = world.cycle().await;
        assert_eq!((report.counts.failed, report.outcome), (1, Outcome::Partial), "{damage}");
        let status = world.run_program(&["status", "--json"], 0).json();
        if !healed {
            world.execute(&repair(status["unreadable_rows"][0].as_str().unwrap())).await;
        }
        assert_eq!(world.cycle().await.outcome, Outcome::Success, "{damage}");
    }
    // A lost count never lets an emptied group deactivate its members.
    world.execute("UPDATE sync_groups SET last_members = -1").await;
    world.sim.tenant(|tenant| members.iter().for_each(|user| tenant.remove_member(&group, user)));
    let report = world.cycle().await;
    assert_eq!((report.counts.deactivated, report.counts.held), (0, 4));
}

/// Only a lost row of `sync_groups` guards a small group, and the hold names the row.
#[apply(on_both)]
async fn a_small_group_is_guarded_by_a_lost_count_alone() {
    for (damage, guarded) in [
        ("UPDATE sync_groups SET group_id = 'Staff' WHERE last_members = 2", true),
        ("UPDATE sync_groups SET group_id = upper(group_id) WHERE last_members = 2", true),
        ("UPDATE sync_groups SET group_id = upper(group_id) WHERE last_members = 1", false),
    ] {
        let mut tenant = Tenant::default();
        let (group, members) = assigned_group(&mut tenant, "Staff", 2);
        assigned_group(&mut tenant, "Board", 1);
        let mut world = World::start(tenant).await;
        world.cycle().await;
        world.execute(damage).await;
        world.sim.tenant(|tenant| members.iter().for_each(|user| tenant.remove_member(&group, user)));
        let report = world.cycle().await;
        let expected = if guarded { (0, 2) } else { (2, 0) };
        assert_eq!((report.counts.deactivated, report.counts.held), expected, "{damage}");
        if guarded {
            let detail = world.last_detail(&members[0]).await;
            assert!(detail.contains("cannot read sync_groups.group_id"), "{detail}");
        }
    }
}

/// Nobody knows how such a user was assigned, so every group that seems empty may be the one.
#[apply(on_both)]
async fn a_link_that_lost_its_routes_is_guarded_by_every_emptied_group() {
    for damage in ["SET via = '{}'", "SET entra_id = upper(entra_id)", "SET via = '[]'"] {
        let mut tenant = Tenant::default();
        let (group, members) = assigned_group(&mut tenant, "Staff", 4);
        assigned(&mut tenant, 1);
        let mut world = World::start(tenant).await;
        world.cycle().await;
        let is_lost = damage.contains("via");
        world.execute(&format!("UPDATE sync_links {damage} WHERE entra_id = '{}'", members[0])).await;
        // The others leave on their own, and nobody else guards the group.
        world.sim.tenant(|tenant| {
            members[1..].iter().for_each(|user| tenant.user_mut(user).account_enabled = Some(false));
        });
        world.cycle().await;
        world.sim.tenant(|tenant| members.iter().for_each(|user| tenant.remove_member(&group, user)));
        world.cycle().await;
        let status = world.run_program(&["status", "--json"], 0).json();
        for problem in status["unreadable_rows"].as_array().unwrap() {
            world.execute(&repair(problem.as_str().unwrap())).await;
        }
        if is_lost {
            world.execute(&format!("UPDATE sync_links SET via = '[]' WHERE entra_id = '{}'", members[0])).await;
            std::fs::remove_dir_all(world.path("state/cache")).unwrap();
        }
        let report = world.cycle().await;
        assert_eq!((report.counts.deactivated, report.counts.held), (0, 1), "{damage}");
        assert_eq!(world.log(&members[0]).await.last().unwrap(), "deactivate held empty-group", "{damage}");
        world.settled().await;
    }
}

/// A hold lasts although the link cannot be read.
#[apply(on_both)]
async fn a_hold_outlives_a_link_that_cannot_be_read() {
    for damage in ["SET via = '{}'", "SET entra_id = upper(entra_id)"] {
        let mut tenant = Tenant::default();
        let users = assigned(&mut tenant, 4);
        let mut world = World::start(tenant).await;
        world.configure("[safety]\nmax_deactivations = 1");
        world.cycle().await;
        world.sim.tenant(|tenant| users[..2].iter().for_each(|user| tenant.unassign(user)));
        assert_eq!(world.cycle().await.counts.held, 2);
        world.execute(&format!("UPDATE sync_links {damage} WHERE entra_id = '{}'", users[0])).await;
        // Only the other comes back, so that one deactivation is left.
        world.sim.tenant(|tenant| tenant.assign_user(&users[1]));
        let report = world.cycle().await;
        assert_eq!((report.counts.failed, report.counts.held), (1, 1), "{damage}");
        let status = world.run_program(&["status", "--json"], 0).json();
        world.execute(&repair(status["unreadable_rows"][0].as_str().unwrap())).await;
        let report = world.cycle().await;
        assert_eq!((report.counts.deactivated, report.counts.held), (0, 1), "{damage}");
        assert_eq!(world.approve().await, 1);
        assert_eq!(world.cycle().await.counts.deactivated, 1, "{damage}");
    }
}

/// A hold that names no user may be that of any user, so the action of everybody waits for an approval: the repair
/// deletes the row.
#[apply(on_both)]
async fn a_hold_that_names_no_user_holds_its_action() {
    for (damage, held, applied) in [
        ("entra_id = 'junk'", "deactivate", "update"),
        ("entra_id = '', approved_at = since, approved_by = 'root'", "deactivate", "update"),
        ("entra_id = 'junk', action = 'update'", "update", "deactivate"),
        ("entra_id = 'junk', action = 'explode'", "deactivate, update", ""),
    ] {
        let mut tenant = Tenant::default();
        let users = assigned(&mut tenant, 5);
        let mut world = World::start(tenant).await;
        world.configure("[safety]\nmax_deactivations = 1\ndeactivate_after = \"2h\"");
        world.cycle().await;
        world.sim.tenant(|tenant| users[..2].iter().for_each(|user| tenant.unassign(user)));
        assert_eq!(world.cycle().await.counts.skipped, 2, "{damage}");
        world.pass(SignedDuration::from_hours(2));
        assert_eq!(world.cycle().await.counts.held, 2, "{damage}");
        // One comes back, so that the other is below the limit.
        world.sim.tenant(|tenant| tenant.assign_user(&users[1]));
        assert_eq!(world.cycle().await.counts.held, 1, "{damage}");
        world.execute(&format!("UPDATE sync_held SET {damage}")).await;
        world.execute("DELETE FROM sync_failures").await;
        set_titles(&world, &users[2..3], json!("Clerk"));
        let waits = !held.contains("deactivate");
        for repaired in [false, true] {
            let report = world.cycle().await;
            let count = held.split(", ").count() as u64;
            assert_eq!((report.counts.held, report.counts.failed), (count, u64::from(!repaired)), "{damage}");
            assert_eq!((report.counts.deactivated, report.counts.skipped), (0, u64::from(waits)), "{damage}");
            let actions = world.query("SELECT DISTINCT action FROM sync_held WHERE length(entra_id) = 36").await;
            let mut actions = actions.concat();
            actions.sort();
            assert_eq!(actions.join(", "), held, "{damage}");
            assert_eq!(applied == "update", world.learner(&users[2], "title").await == ["Clerk"], "{damage}");
            if !repaired {
                let status = world.run_program(&["status", "--json"], 0).json();
                world.execute(&repair(status["unreadable_rows"][0].as_str().unwrap())).await;
            }
        }
    }
}

fn set_titles(world: &World, users: &[String], title: Value) {
    world.sim.tenant(|tenant| {
        users.iter().for_each(|user| tenant.user_mut(user).set("jobTitle", title.clone()).unwrap());
    });
}

/// A change that the log does not describe any more may be a recent deactivation, or a recent loss of values.
#[apply(on_both)]
async fn a_change_that_cannot_be_read_counts_as_recent() {
    let times: &[&str] = match is_on_postgres() {
        true => &["at = 'infinity'", "at = '-infinity'"],
        false => &[
            "at = 'soon'",
            "at = ''",
            "at = 7",
            "at = x'00'",
            "at = '02.03.2026 08:00'",
            "at = '20.11.2026'",
            "at = ' 2026-03-02T08:00:00Z'",
            "action = x'00'",
            "entra_id = x'80'",
        ],
    };
    let texts = [
        "action = 'explode'",
        "action = 'DEACTIVATE'",
        "action = ''",
        "status = 'done'",
        "status = ''",
        "entra_id = 'junk'",
        "entra_id = upper(entra_id)",
        "action = 'explode', status = 'done', entra_id = ''",
    ];
    for damage in times.iter().chain(&texts) {
        let mut tenant = Tenant::default();
        let users = assigned(&mut tenant, 24);
        let mut world = World::start(tenant).await;
        world.configure("[safety]\nmax_deactivations = 1");
        set_titles(&world, &users, json!("Clerk"));
        world.cycle().await;
        world.sim.tenant(|tenant| tenant.unassign(&users[0]));
        set_titles(&world, &users[1..9], Value::Null);
        let report = world.cycle().await;
        assert_eq!((report.counts.deactivated, report.counts.updated, report.counts.held), (1, 8, 0), "{damage}");
        world.execute(&format!("UPDATE provisioning_log SET {damage}")).await;
        world.sim.tenant(|tenant| tenant.unassign(&users[23]));
        set_titles(&world, &users[9..12], Value::Null);
        let report = world.cycle().await;
        assert_eq!((report.counts.deactivated, report.counts.updated, report.counts.held), (0, 0, 4), "{damage}");
        if !damage.starts_with("at") {
            continue;
        }
        let store = Store::open(&world.app().learners, Access::ReadWrite).await.unwrap();
        assert_eq!(store.expire(world.now - DAY).await.unwrap(), 0, "{damage}");
        // `status` lists them with the statement that repairs each.
        let status = world.run_program(&["status", "--json"], 0).json();
        let rows = status["unreadable_rows"].as_array().unwrap();
        assert!(!rows.is_empty(), "{damage}");
        for row in rows {
            let statement = repair(row.as_str().unwrap());
            assert!(statement.starts_with("DELETE FROM provisioning_log WHERE id = "), "{damage}: {statement}");
            world.execute(&statement).await;
        }
        let repaired = world.run_program(&["status", "--json"], 0).json();
        assert_eq!(repaired["unreadable_rows"], json!([]), "{damage}");
    }
}

/// A recent deactivation counts although the link of its learner cannot be read.
#[apply(on_both)]
async fn a_deactivation_counts_without_its_link() {
    for damage in ["entra_id = upper(entra_id)", "entra_id = 'junk'", "via = '{}'"] {
        let mut tenant = Tenant::default();
        let users = assigned(&mut tenant, 4);
        let mut world = World::start(tenant).await;
        world.configure("[safety]\nmax_deactivations = 1");
        world.cycle().await;
        world.sim.tenant(|tenant| tenant.unassign(&users[0]));
        assert_eq!(world.cycle().await.counts.deactivated, 1, "{damage}");
        world.execute(&format!("UPDATE sync_links SET {damage} WHERE entra_id = '{}'", users[0])).await;
        world.sim.tenant(|tenant| tenant.unassign(&users[1]));
        let report = world.cycle().await;
        assert_eq!((report.counts.deactivated, report.counts.held, report.counts.failed), (0, 1, 1), "{damage}");
    }
}

/// Rows that no decision depends on.
#[apply(on_both)]
async fn log_and_status_leave_out_what_they_cannot_read() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 3);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world.cycle().await;
    let (log, cycle) = if is_on_postgres() {
        (
            "UPDATE provisioning_log SET reason = 'because', at = 'infinity' WHERE id = 2",
            "UPDATE sync_cycles SET failed = -1 WHERE id = 2",
        )
    } else {
        (
            "UPDATE provisioning_log SET changes = x'ff', at = 'soon' WHERE id = 2",
            "UPDATE sync_cycles SET outcome = x'00' WHERE id = 2",
        )
    };
    world.execute(log).await;
    world.execute(cycle).await;
    let shown = world.run_program(&["log", "--format", "json"], 0);
    assert_eq!(shown.json().as_array().unwrap().len(), 2);
    assert!(shown.stderr.contains("DELETE FROM provisioning_log WHERE id = 2;"), "{shown:?}");
    let status = world.run_program(&["status", "--json"], 0).json();
    assert_eq!(status["last_cycle"]["cycle"], json!(1));
    let rows: Vec<&str> =
        status["unreadable_rows"].as_array().unwrap().iter().map(|row| row.as_str().unwrap()).collect();
    let repairs = ["DELETE FROM provisioning_log WHERE id = 2", "DELETE FROM sync_cycles WHERE id = 2"];
    assert!(rows.len() == 2 && rows.iter().zip(repairs).all(|(row, repair)| row.contains(repair)), "{rows:?}");
    // Not even a cycle with deactivations reads them.
    world.sim.tenant(|tenant| tenant.unassign(&users[1]));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
}

/// Every cycle depends on this row.
#[apply(on_both)]
async fn an_unreadable_state_is_refused_with_the_statement() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, 1);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    let mut damages = vec![
        "UPDATE sync_state SET generation = 'g'",
        "UPDATE sync_state SET admitted_sources = '{'",
        "UPDATE sync_state SET applications = '[1]'",
    ];
    if !is_on_postgres() {
        damages.push("PRAGMA ignore_check_constraints = ON; UPDATE sync_state SET paused = x'00'");
    }
    for damage in damages {
        world.execute(damage).await;
        let refused = world.run_program(&["sync"], 1);
        assert!(refused.stderr.contains("cannot read sync_state."), "{damage}: {refused:?}");
        world.execute(&repair(&refused.stderr)).await;
        world.run_program(&["resume"], 0);
        world.run_program(&["sync"], 0);
    }
    if !is_on_postgres() {
        world.execute("UPDATE sync_state SET next_cycle_at = 'never', credential_ends_at = x'00'").await;
        world.run_program(&["status"], 0);
        world.run_program(&["sync"], 0);
    }
}

/// Values that another program wrote into the learners table.
#[tokio::test]
async fn learner_rows_of_odd_types_concern_their_own_user_alone() {
    for damage in [
        "UPDATE learners SET title = x'ff00ff' WHERE id = 1",
        "UPDATE learners SET first_name = x'80' WHERE id = 1",
        "UPDATE learners SET external_id = x'80' WHERE id = 1",
        "UPDATE learners SET user_name = x'80' WHERE id = 1",
        "UPDATE learners SET created_at = x'80', updated_at = 'soon' WHERE id = 1",
    ] {
        let mut tenant = Tenant::default();
        let users = assigned(&mut tenant, 3);
        let mut world = World::start(tenant).await;
        world.cycle().await;
        world.execute(damage).await;
        world.sim.tenant(|tenant| tenant.user_mut(&users[1]).set("jobTitle", json!("Clerk")).unwrap());
        world.sim.tenant(|tenant| assigned(tenant, 1));
        let report = world.full_cycle().await;
        assert_eq!((report.error.as_deref(), report.counts.created), (None, 1), "{damage}");
        assert_eq!(world.learner(&users[1], "title").await, ["Clerk"], "{damage}");
        world.run_program(&["status"], 0);
        world.run_program(&["plan"], 0);
        world.run_program(&["log"], 0);
    }
}

/// A state that is not a boolean: nobody can say whether the learner must be deactivated.
#[tokio::test]
async fn a_state_that_cannot_be_read_rejects_its_user_alone() {
    for (state, full) in [("'perhaps'", true), ("'true'", false), ("x'01'", false), ("''", true)] {
        let mut tenant = Tenant::default();
        let users = assigned(&mut tenant, 3);
        let mut world = World::start(tenant).await;
        world.cycle().await;
        let id = world.value(&format!("SELECT learner_id FROM sync_links WHERE entra_id = '{}'", users[0])).await;
        let damage = format!("UPDATE learners SET active = {state} WHERE id = {id}");
        world.execute(&format!("PRAGMA ignore_check_constraints = ON; {damage}")).await;
        for turn in 0..2 {
            let report = if full { world.full_cycle().await } else { world.cycle().await };
            let expected = Counts { in_scope: 3 - turn, unchanged: 2, failed: 1, ..Counts::default() };
            assert_eq!((report.counts, report.outcome), (expected, Outcome::Partial), "{damage}");
            world.sim.tenant(|tenant| tenant.unassign(&users[0]));
        }
        assert_eq!(world.log(&users[0]).await.last().unwrap(), "update failure database-error", "{damage}");
        let status = world.run_program(&["status", "--json"], 0).json();
        let problem = status["unreadable_rows"][0].as_str().unwrap();
        assert!(problem.contains("cannot read learners.active"), "{problem}");
        world.execute(&repair(problem)).await;
        let report = world.cycle().await;
        assert_eq!((report.counts.deactivated, report.outcome), (1, Outcome::Success), "{damage}");
    }
}

/// Another program's row with such a state is nobody's.
#[tokio::test]
async fn a_row_whose_state_cannot_be_read_is_not_adopted() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 1);
    let name = tenant.user_mut(&users[0]).user_principal_name.clone().unwrap();
    let mut world = World::start(tenant).await;
    world.run_program(&["schema", "apply"], 0);
    let row = format!("INSERT INTO learners (user_name, email, active) VALUES ('{name}', 'old@x', 'perhaps')");
    world.execute(&format!("PRAGMA ignore_check_constraints = ON; {row}")).await;
    let report = world.cycle().await;
    assert_eq!((report.counts.failed, report.counts.created), (1, 0));
    assert_eq!(world.log(&users[0]).await, ["create failure conflict"]);
    assert_eq!(world.value("SELECT active FROM learners").await, "perhaps");
}

/// Entries of the log are printed page by page, and a page may have nothing to show.
#[apply(on_both)]
async fn pages_of_the_log_that_cannot_be_read_do_not_end_it() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, 1001);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world.execute("UPDATE provisioning_log SET reason = 'because' WHERE id <= 500 OR id = 1000").await;
    for (arguments, expected) in
        [(&["log", "--format", "json"][..], 500), (&["log", "--format", "json", "--limit", "2"], 1)]
    {
        let shown = world.run_program(arguments, 0);
        let rows = shown.json();
        let rows = rows.as_array().unwrap();
        assert_eq!(rows.len(), expected);
        assert!(rows.is_sorted_by_key(|row| row["id"].as_i64()), "{arguments:?}");
        assert!(shown.stderr.contains("WHERE id = 1000;"), "{arguments:?}");
    }
}
