//! The cache decides nothing: lost, damaged or of another time, every outcome is the same.

use std::path::{Path, PathBuf};

use graph_sim::Tenant;
use learner_sync::cycle::Report;
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;

use crate::database::{apply, is_on_postgres, on_both};
use crate::world::{World, assigned, assigned_group};

/// A world with forty learners and a cache of them.
async fn forty() -> (World, String, Vec<String>, Vec<String>) {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 20);
    let direct = assigned(&mut tenant, 20);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 40);
    (world, group, members, direct)
}

/// Something of every kind changes, and the next cycle does all of it and nothing else.
async fn all_goes_on(world: &mut World, (group, members, direct): (&str, &[String], &[String])) -> Report {
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

/// The cache is damaged while nothing runs: nothing happens to nobody, and then all goes on.
async fn survives(damage: impl Fn(&Path)) {
    let (mut world, group, members, direct) = forty().await;
    let cache = world.path("state/cache");
    damage(&cache);
    let report = world.settled().await;
    assert_eq!(report.counts, Counts { in_scope: 40, unchanged: 40, ..Counts::default() });
    damage(&cache);
    all_goes_on(&mut world, (&group, &members, &direct)).await;
}

#[tokio::test]
async fn a_whole_cache_and_none_at_all() {
    survives(|_| {}).await;
    survives(|cache| std::fs::remove_dir_all(cache).unwrap()).await;
    survives(|cache| {
        std::fs::remove_dir_all(cache).unwrap();
        std::fs::create_dir(cache).unwrap();
    })
    .await;
    survives(|cache| {
        std::fs::remove_dir_all(cache).unwrap();
        std::fs::write(cache, "this is no directory").unwrap();
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
async fn files_that_are_gone() {
    let (world, ..) = forty().await;
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

/// Everything in the cache, by key.
fn entries(cache: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let db = sled::open(cache).unwrap();
    db.iter().map(|entry| entry.unwrap()).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

#[tokio::test]
async fn entries_of_an_earlier_time_under_a_manifest_of_today() {
    let (mut world, _, _, direct) = forty().await;
    let cache = world.path("state/cache");
    world.sim.tenant(|tenant| tenant.unassign(&direct[0]));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    let earlier = entries(&cache);
    world.sim.tenant(|tenant| tenant.assign_user(&direct[0]));
    assert_eq!(world.cycle().await.counts.reactivated, 1);
    // A write that was lost: the cache takes somebody for inactive who is not.
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
async fn a_damaged_cache_is_set_aside_and_a_new_one_made() {
    let (mut world, ..) = forty().await;
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
    let (mut world, group, members, direct) = forty().await;
    // The same users in the same tenant, but another database, from before one of them was hired.
    let (mut other, ..) = forty().await;
    other.sim.tenant(|tenant| tenant.unassign(&direct[1]));
    other.cycle().await;
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
    copy(&other.path("state/cache"), &world.path("state/cache"));
    all_goes_on(&mut world, (&group, &members, &direct)).await;
}

#[tokio::test]
async fn the_cache_of_an_earlier_time() {
    let (mut world, group, members, direct) = forty().await;
    copy(&world.path("state/cache"), &world.path("earlier"));
    all_goes_on(&mut world, (&group, &members, &direct)).await;
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
    std::fs::rename(world.path("earlier"), world.path("state/cache")).unwrap();
    world.settled().await;
}

#[apply(on_both)]
async fn a_database_restored_from_a_backup_is_noticed() {
    let (mut world, group, members, direct) = forty().await;
    let backup = world.database.backup().await;
    let first = all_goes_on(&mut world, (&group, &members, &direct)).await;
    let after = world.query("SELECT external_id, title, active FROM learners ORDER BY external_id").await;

    world.database.restore(&backup).await;
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "40");
    // All of it once more, though the cache knows it done.
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts), (first.outcome, first.counts));
    assert_eq!(world.query("SELECT external_id, title, active FROM learners ORDER BY external_id").await, after);
    world.settled().await;
}

#[apply(on_both)]
async fn a_database_that_is_gone_is_filled_again() {
    let (mut world, ..) = forty().await;
    world.database.clear().await;
    assert_eq!(world.cycle().await.counts.created, 40);
    world.settled().await;
}

#[apply(on_both)]
async fn a_learner_or_a_link_that_somebody_removed_is_made_again() {
    let (mut world, _, members, direct) = forty().await;
    world.execute(&format!("DELETE FROM learners WHERE external_id = '{}'", members[0])).await;
    world.execute(&format!("DELETE FROM sync_links WHERE entra_id = '{}'", direct[0])).await;
    let report = world.full_cycle().await;
    assert_eq!(report.outcome, Outcome::Success);
    assert_eq!(world.log(&members[0]).await, ["create success assigned", "create success assigned"]);
    // Without its link the learner is nobody's, and its own user finds it again.
    assert_eq!(world.log(&direct[0]).await.len(), 2);
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "40");
    assert_eq!(world.value("SELECT count(*) FROM sync_links").await, "40");
    world.settled().await;
}

#[tokio::test]
async fn another_mapping_makes_the_cache_worthless() {
    let (mut world, ..) = forty().await;
    let mapping = "[mapping]\nuserName = \"[userPrincipalName]\"\n'emails[type eq \"work\"].value' = \"[mail]\"\n\
                   active = '\"True\"'\ntitle = \"[department]\"\n";
    world.configure(mapping);
    assert_eq!(world.cycle().await.counts.updated, 40);
    world.settled().await;
    // And back again.
    world.configure("");
    assert_eq!(world.cycle().await.counts.held, 40);
    assert_eq!(world.approve().await, 40);
    assert_eq!(world.cycle().await.counts.updated, 40);
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE title IS NULL").await, "40");
    world.settled().await;
}

#[tokio::test]
async fn no_personal_data_stands_in_the_cache() {
    let (world, _, members, _) = forty().await;
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
    // The search finds what is there: the source, which is two ids.
    assert!(contains(graph_sim::TENANT_ID));
}

#[apply(on_both)]
async fn a_link_to_a_learner_that_is_gone_is_as_good_as_none() {
    let (mut world, _, members, _) = forty().await;
    // As sqlite3 does, which does not enforce foreign keys, and as copies of a server come to be.
    let unguarded =
        if is_on_postgres() { "SET session_replication_role = replica" } else { "PRAGMA foreign_keys = OFF" };
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
