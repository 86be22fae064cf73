//! A lost, damaged or outdated cache changes no outcome.

use std::path::{Path, PathBuf};

use graph_sim::Tenant;
use learner_sync::cycle::Report;
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;

use crate::database::{apply, is_on_postgres, on_both};
use crate::program::eventually;
use crate::world::{World, assigned, assigned_group};

/// A world with forty learners and their cache.
async fn world_of_forty() -> (World, String, Vec<String>, Vec<String>) {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 20);
    let direct = assigned(&mut tenant, 20);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 40);
    (world, group, members, direct)
}

/// Changes of each kind happen, and the next cycle applies exactly these.
async fn apply_changes(world: &mut World, (group, members, direct): (&str, &[String], &[String])) -> Report {
    world.sim.tenant(|tenant| {
        tenant.remove_member(group, &members[0]);
        tenant.user_mut(&members[1]).account_enabled = Some(false);
        tenant.user_mut(&direct[0]).job_title = Some("Diver".to_owned());
        assigned(tenant, 1);
    });
    let report = world.cycle().await;
    let counts = Counts { in_scope: 39, created: 1, updated: 1, deactivated: 2, unchanged: 37, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Success, counts));
    assert_eq!(world.log(&members[0]).await, ["create success assigned", "deactivate success unassigned"]);
    assert_eq!(world.log(&members[1]).await, ["create success assigned", "deactivate success account-disabled"]);
    assert_eq!(world.log(&direct[0]).await, ["create success assigned", "update success attributes-changed"]);
    assert_eq!(world.value("SELECT count(*) FROM provisioning_log").await, "44");
    world.settled().await;
    report
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// A damaged cache causes no change, and does not disturb the changes after it.
async fn survives(damage: impl Fn(&Path)) {
    let (mut world, group, members, direct) = world_of_forty().await;
    let cache = world.path("state/cache");
    damage(&cache);
    let report = world.settled().await;
    assert_eq!(report.counts, Counts { in_scope: 40, unchanged: 40, ..Counts::default() });
    damage(&cache);
    apply_changes(&mut world, (&group, &members, &direct)).await;
}

#[tokio::test]
async fn an_intact_cache_and_a_missing_one() {
    survives(|_| {}).await;
    survives(|cache| std::fs::remove_dir_all(cache).unwrap()).await;
    survives(|cache| {
        std::fs::remove_dir_all(cache).unwrap();
        std::fs::create_dir(cache).unwrap();
    })
    .await;
    survives(|cache| {
        std::fs::remove_dir_all(cache).unwrap();
        std::fs::write(cache, "not a directory").unwrap();
    })
    .await;
}

#[tokio::test]
async fn truncated_files() {
    for keep in [0, 1, 2, 3] {
        survives(|cache| {
            for path in files(cache) {
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(&path, &bytes[..bytes.len() * keep / 4]).unwrap();
            }
        })
        .await;
    }
}

#[tokio::test]
async fn flipped_bits() {
    for stride in [7, 101, 1009, 65_537] {
        survives(|cache| {
            for path in files(cache) {
                let mut bytes = std::fs::read(&path).unwrap();
                bytes.iter_mut().skip(stride / 2).step_by(stride).for_each(|byte| *byte ^= 0x10);
                std::fs::write(&path, bytes).unwrap();
            }
        })
        .await;
    }
}

#[tokio::test]
async fn missing_files() {
    let (world, ..) = world_of_forty().await;
    let count = files(&world.path("state/cache")).len();
    assert!(count > 1);
    for index in 0..count {
        survives(|cache| {
            if let Some(path) = files(cache).get(index) {
                std::fs::remove_file(path).unwrap();
            }
        })
        .await;
    }
}

fn entries(cache: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let db = sled::open(cache).unwrap();
    db.iter().map(|entry| entry.unwrap()).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

#[tokio::test]
async fn old_entries_under_a_current_manifest() {
    let (mut world, _, _, direct) = world_of_forty().await;
    let cache = world.path("state/cache");
    world.sim.tenant(|tenant| tenant.unassign(&direct[0]));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    let earlier = entries(&cache);
    world.sim.tenant(|tenant| tenant.assign_user(&direct[0]));
    assert_eq!(world.cycle().await.counts.reactivated, 1);
    // A lost write: in the cache an active learner is inactive.
    let db = sled::open(&cache).unwrap();
    for (key, value) in earlier.into_iter().filter(|(key, _)| key != b"manifest") {
        db.insert(key, value).unwrap();
    }
    drop(db);
    world.sim.tenant(|tenant| tenant.unassign(&direct[0]));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.settled().await;
}

#[tokio::test]
async fn a_damaged_cache_is_set_aside_and_rebuilt() {
    let (mut world, ..) = world_of_forty().await;
    for path in files(&world.path("state/cache")) {
        std::fs::write(path, "damaged").unwrap();
    }
    world.settled().await;
    let names = std::fs::read_dir(world.path("state")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names.iter().filter(|name| *name == "cache").count(), 1, "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("cache") && name.contains("2026-03-02")), "{names:?}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

#[apply(on_both)]
async fn the_cache_of_another_database() {
    let (mut world, group, members, direct) = world_of_forty().await;
    // The same tenant, but another database.
    let (mut other, ..) = world_of_forty().await;
    other.sim.tenant(|tenant| tenant.unassign(&direct[1]));
    other.cycle().await;
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
    copy(&other.path("state/cache"), &world.path("state/cache"));
    apply_changes(&mut world, (&group, &members, &direct)).await;
}

#[tokio::test]
async fn an_outdated_cache() {
    let (mut world, group, members, direct) = world_of_forty().await;
    copy(&world.path("state/cache"), &world.path("earlier"));
    apply_changes(&mut world, (&group, &members, &direct)).await;
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
    std::fs::rename(world.path("earlier"), world.path("state/cache")).unwrap();
    world.settled().await;
}

#[apply(on_both)]
async fn a_database_restored_from_a_backup_is_noticed() {
    let (mut world, group, members, direct) = world_of_forty().await;
    let backup = world.database.backup().await;
    let first = apply_changes(&mut world, (&group, &members, &direct)).await;
    let after = world.query("SELECT external_id, title, active FROM learners ORDER BY external_id").await;

    world.database.restore(&backup).await;
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "40");
    // The cycle repeats the changes, although the cache contains them.
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts), (first.outcome, first.counts));
    assert_eq!(world.query("SELECT external_id, title, active FROM learners ORDER BY external_id").await, after);
    world.settled().await;
}

#[apply(on_both)]
async fn a_lost_database_is_filled_again() {
    let (mut world, ..) = world_of_forty().await;
    world.database.clear().await;
    assert_eq!(world.cycle().await.counts.created, 40);
    world.settled().await;
}

#[apply(on_both)]
async fn a_deleted_learner_or_link_is_created_again() {
    let (mut world, _, members, direct) = world_of_forty().await;
    world.execute(&format!("DELETE FROM learners WHERE external_id = '{}'", members[0])).await;
    world.execute(&format!("DELETE FROM sync_links WHERE entra_id = '{}'", direct[0])).await;
    let report = world.full_cycle().await;
    assert_eq!(report.outcome, Outcome::Success);
    assert_eq!(world.log(&members[0]).await, ["create success assigned", "create success assigned"]);
    // The learner without a link is adopted by its own user.
    assert_eq!(world.log(&direct[0]).await.len(), 2);
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "40");
    assert_eq!(world.value("SELECT count(*) FROM sync_links").await, "40");
    world.settled().await;
}

#[tokio::test]
async fn a_learner_deleted_without_foreign_keys_is_created_again() {
    let (mut world, _, members, _) = world_of_forty().await;
    let delete = format!("DELETE FROM learners WHERE external_id = '{}'", members[0]);
    world.execute(&format!("PRAGMA foreign_keys = OFF; {delete}")).await;
    assert_eq!(world.value("SELECT count(*) FROM sync_links").await, "39");
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.created, report.counts.unchanged), (Outcome::Success, 1, 39));
    world.settled().await;
}

#[tokio::test]
async fn a_changed_mapping_invalidates_the_cache() {
    let (mut world, ..) = world_of_forty().await;
    let mapping = "[mapping]\nuserName = \"[userPrincipalName]\"\n'emails[type eq \"work\"].value' = \"[mail]\"\n\
                   active = '\"True\"'\ntitle = \"[department]\"\n";
    world.configure(mapping);
    assert_eq!(world.cycle().await.counts.updated, 40);
    world.settled().await;
    world.configure("");
    assert_eq!(world.cycle().await.counts.held, 40);
    assert_eq!(world.approve().await, 40);
    assert_eq!(world.cycle().await.counts.updated, 40);
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE title IS NULL").await, "40");
    world.settled().await;
}

#[tokio::test]
async fn the_cache_contains_no_personal_data() {
    let (world, _, members, _) = world_of_forty().await;
    let (name, secret) = world.sim.tenant(|tenant| {
        (tenant.user(&members[0]).unwrap().user_principal_name.clone().unwrap(), tenant.client_secret.clone())
    });
    let contains = |text: &str| {
        let holds =
            |path: &PathBuf| std::fs::read(path).unwrap().windows(text.len()).any(|part| part == text.as_bytes());
        files(&world.path("state")).iter().any(holds)
    };
    for personal in [name.as_str(), "harbourworks.example", "Number", "Research", secret.as_str()] {
        assert!(!contains(personal), "{personal}");
    }
    // Shows that the search works.
    assert!(contains(graph_sim::TENANT_ID));
}

#[apply(on_both)]
async fn a_link_to_a_missing_learner_is_replaced() {
    let (mut world, _, members, _) = world_of_forty().await;
    // As in a restored copy.
    let unguarded = if is_on_postgres() {
        "SET session_replication_role = replica"
    } else {
        "PRAGMA foreign_keys = OFF; DROP TRIGGER sync_links_row"
    };
    world.execute(&format!("{unguarded}; DELETE FROM learners WHERE external_id = '{}'", members[0])).await;
    assert_eq!(world.value("SELECT count(*) FROM sync_links").await, "40");
    assert_eq!(
        world.full_cycle().await.counts,
        Counts { in_scope: 40, created: 1, unchanged: 39, ..Counts::default() }
    );
    assert_eq!(world.value("SELECT count(*) FROM sync_links").await, "40");
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "40");
    world.settled().await;
}

/// The threads that wait for the disk wait for ever.
#[apply(on_both)]
async fn a_disk_of_the_cache_that_hangs_costs_only_time() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, 10);
    let mut world = World::start(tenant).await;
    world.now = learner_sync::model::system_clock();
    world.run_program(&["sync"], 0);
    for (step, silent) in [
        ("CacheReading", "the disk of the cache does not answer; comparing with the learner database"),
        ("CacheOpened", "the disk does not answer; the next cycle compares with the learner database"),
    ] {
        world.sim.tenant(|tenant| assigned(tenant, 1));
        let failpoints = format!("DiskAnswer=return(200);{step}=pause");
        let ran = world.run_program_with(&[("FAILPOINTS", &failpoints)], &["sync", "--json"], 0);
        assert_eq!(ran.json()["created"], 1, "{ran:?}");
        assert!(ran.stderr.contains(silent), "{step}: {}", ran.stderr);
    }
    // Nothing else answers there either: no cycle begins, and none keeps the lock.
    let failpoints = "DiskAnswer=return(200);StateReading=1*off->pause";
    let ran = world.run_program_with(&[("FAILPOINTS", failpoints)], &["sync"], 1);
    assert!(ran.stderr.contains("the disk does not answer"), "{}", ran.stderr);
    // The locks are free after each cycle of the daemon.
    let daemon = world.daemon_with(&[("FAILPOINTS", "DiskAnswer=return(200);CacheReading=pause")]).await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    daemon.signal(rustix::process::Signal::USR1);
    daemon.logged("waiting next_cycle.at=", 2).await;
    world.run_program(&["sync"], 0);
    let ended = ["command success", "command success", "command success", "startup success", "signal success"];
    eventually("the cycles succeed", async || {
        let cycles = world.cycles().await;
        (cycles[..5] == ended && cycles[5..] == ["command success"]).then_some(())
    })
    .await;
    daemon.stop().await;
    assert_eq!(world.value("SELECT count(*) FROM provisioning_log").await, "12");
    world.settled().await;
}
