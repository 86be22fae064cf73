//! SIGHUP: the daemon reloads the configuration, or keeps the old one.

use rustix::process::Signal;

use super::{EVERY_SECOND, daemon_in_cycle, reload, waiting_daemon, waiting_world};
use crate::database::{apply, on_both};
use crate::postgres::Server;
use crate::program::{eventually, users};
use crate::world::World;

/// A mapping with another source for the title.
const OTHER_MAPPING: &str = "[mapping]\nuserName = \"[userPrincipalName]\"\n\
     'emails[type eq \"work\"].value' = \"[mail]\"\n\
     active = 'Switch([IsSoftDeleted], , \"False\", \"True\", \"True\", \"False\")'\ntitle = '\"Sailor\"'";

#[apply(on_both)]
async fn a_valid_configuration_takes_effect_and_reschedules_the_next_cycle() {
    let world = World::start(users(2).0).await;
    let daemon = waiting_daemon(&world).await;
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE title IS NULL").await, "2");
    world.configure(OTHER_MAPPING);
    reload(&daemon, "configuration reloaded", 1).await;
    daemon.logged("waiting next_cycle.at=", 2).await;
    // A reload does not run a cycle.
    assert_eq!(world.cycles().await, ["startup success"]);
    daemon.signal(Signal::USR1);
    world.cycles_ended(2).await;
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE title = 'Sailor'").await, "2");
    let audit = world.query("SELECT actor, detail FROM audit_log WHERE action = 'reload'").await;
    assert_eq!(audit, [["SIGHUP", r#"{"outcome":"applied"}"#]]);
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_shorter_schedule_takes_effect_with_the_reload() {
    let (world, daemon) = waiting_world().await;
    world.configure(EVERY_SECOND);
    daemon.signal(Signal::HUP);
    assert_eq!(world.cycles_ended(2).await[..2], ["startup success", "schedule success"]);
    daemon.stop().await;
}

#[apply(on_both)]
async fn reloads_do_not_postpone_the_next_cycle() {
    let (world, daemon) = waiting_world().await;
    let next = world.value("SELECT next_cycle_at FROM sync_state").await;
    for number in 1..=5 {
        reload(&daemon, "waiting next_cycle.at=", number + 1).await;
        assert!(world.value("SELECT next_cycle_at FROM sync_state").await <= next);
    }
    daemon.stop().await;
}

#[apply(on_both)]
async fn an_invalid_configuration_is_reported_and_the_old_one_stays() {
    let world = World::start(users(2).0).await;
    world.configure(OTHER_MAPPING);
    let daemon = waiting_daemon(&world).await;
    world.configure("[safety]\nmax_deactivatoins = 5");
    reload(&daemon, "configuration not reloaded, the old one stays", 1).await;
    assert!(daemon.log().contains("safety.max_deactivatoins"), "{}", daemon.log());
    std::fs::remove_file(world.config_path()).unwrap();
    reload(&daemon, "configuration not reloaded, the old one stays", 2).await;
    world.configure("");
    std::fs::rename(world.path("secret"), world.path("secret.away")).unwrap();
    reload(&daemon, "configuration not reloaded, the old one stays", 3).await;

    let audit = eventually("the reloads are in the audit log", async || {
        let rows = world.query("SELECT actor, detail FROM audit_log WHERE action = 'reload' ORDER BY id").await;
        (rows.len() == 3).then_some(rows)
    })
    .await;
    for (row, why) in audit.iter().zip(["max_deactivatoins", "cannot read the file", "secret"]) {
        let detail: serde_json::Value = serde_json::from_str(&row[1]).unwrap();
        assert_eq!((&*row[0], &detail["outcome"]), ("SIGHUP", &serde_json::json!("rejected")));
        assert!(detail["error"].as_str().unwrap().contains(why), "{detail}");
    }

    // The mapping of the start still applies.
    world.sim.tenant(|tenant| drop(crate::program::add_assigned_user(tenant, "Grace", "Hopper")));
    daemon.signal(Signal::USR1);
    world.cycles_ended(2).await;
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE title = 'Sailor'").await, "3");
    daemon.stop().await;
}

/// An external table that cannot be used.
const UNUSABLE_TABLE: &str =
    "table = \"accounts\"\n[learners.columns]\nuser_name = \"login\"\nemail = \"mail\"\nactive = \"state\"";

#[apply(on_both)]
async fn an_unusable_learners_table_is_reported_and_the_old_configuration_stays() {
    let (world, daemon) = waiting_world().await;
    world.execute("CREATE TABLE accounts (id integer PRIMARY KEY, login text, state boolean)").await;
    world.configure(UNUSABLE_TABLE);
    reload(&daemon, "configuration not reloaded, the old one stays: the learners table cannot be used", 1).await;
    let log = daemon.log();
    assert!(log.contains("learner-sync.toml:17:") && log.contains("learners.columns.email"), "{log}");
    assert!(!log.contains("configuration reloaded"), "{log}");
    daemon.signal(Signal::USR1);
    assert_eq!(world.cycles_ended(2).await, ["startup success", "signal success"]);

    world.configure(&UNUSABLE_TABLE.replace("accounts", "nowhere"));
    reload(&daemon, "the table nowhere does not exist", 1).await;
    daemon.logged("configuration not reloaded, the old one stays", 2).await;
    world.configure(OTHER_MAPPING);
    reload(&daemon, "configuration reloaded", 1).await;
    assert!(!daemon.log().contains("cannot start a cycle"), "{}", daemon.log());
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_changed_table_is_reported_with_a_remedy() {
    let (world, daemon) = waiting_world().await;
    world.execute("ALTER TABLE learners RENAME COLUMN job_role TO role").await;
    reload(&daemon, "learners lacks the column job_role; nothing was written: add what is missing", 1).await;
    assert!(daemon.log().contains("configuration not reloaded, the old one stays"), "{}", daemon.log());
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_locked_database_does_not_prevent_a_reload() {
    let (world, daemon) = waiting_world().await;
    let alone = world.database.shut().await;
    world.configure(OTHER_MAPPING);
    reload(&daemon, "against the learner database right now: it is locked or does not answer", 1).await;
    daemon.logged("configuration reloaded", 1).await;
    drop(alone);
    daemon.signal(Signal::USR1);
    world.cycles_ended(2).await;
    assert_eq!(world.value("SELECT title FROM learners").await, "Sailor");
    daemon.stop().await;
}

#[tokio::test]
async fn a_missing_database_file_does_not_prevent_a_reload() {
    let (world, daemon) = waiting_world().await;
    std::fs::rename(world.path("learners.db"), world.path("unmounted.db")).unwrap();
    world.configure(UNUSABLE_TABLE);
    reload(&daemon, "configuration reloaded", 1).await;
    assert!(daemon.log().contains("is missing or empty, although cycles have completed in it"), "{}", daemon.log());
    // Only the file shows whether another daemon keeps an application.
    let (tenant, client, unknown) = world.sim.tenant(|tenant| {
        let unknown = tenant.new_id();
        (tenant.tenant_id.clone(), tenant.client_id.clone(), unknown)
    });
    world.configure_for(&tenant, &client, &unknown, UNUSABLE_TABLE);
    reload(&daemon, "cannot check whether another daemon provisions this application", 1).await;
    world.configure(UNUSABLE_TABLE);
    std::fs::rename(world.path("unmounted.db"), world.path("learners.db")).unwrap();
    reload(&daemon, "configuration not reloaded, the old one stays: the learners table cannot be used", 1).await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_unreachable_server_does_not_prevent_a_reload() {
    let Some(server) = Server::start() else { return };
    let world = World::start_on(server, users(1).0).await;
    let daemon = waiting_daemon(&world).await;
    server.kill();
    world.configure(OTHER_MAPPING);
    reload(&daemon, "right now: cannot connect to the learner database", 1).await;
    daemon.logged("configuration reloaded", 1).await;
    server.run();
    daemon.signal(Signal::USR1);
    world.cycles_ended(2).await;
    assert_eq!(world.value("SELECT title FROM learners").await, "Sailor");
    daemon.stop().await;
}

#[apply(on_both)]
async fn keys_that_need_a_restart_are_named_and_the_others_take_effect() {
    let (world, daemon) = waiting_world().await;
    world.configure(&format!("[log]\nlevel = \"debug\"\n{OTHER_MAPPING}"));
    let elsewhere = format!("sqlite://{}", world.path("elsewhere.db").display());
    world.reconfigure(|text| text.replace(&world.database.url(), &elsewhere));
    reload(&daemon, "configuration reloaded", 1).await;
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("after a restart")).unwrap();
    assert!(line.contains("learners.database_url") && line.contains("log.level"), "{line}");
    assert!(!line.contains("mapping") && !line.contains("state.directory"), "{line}");
    daemon.signal(Signal::USR1);
    world.cycles_ended(2).await;
    assert_eq!(world.value("SELECT title FROM learners").await, "Sailor");
    assert!(!world.path("elsewhere.db").exists());
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_reload_during_a_cycle_takes_effect_in_the_next_one() {
    let world = World::start(users(1).0).await;
    let (daemon, gate) = daemon_in_cycle(&world).await;
    world.configure(OTHER_MAPPING);
    reload(&daemon, "configuration reloaded", 1).await;
    gate.release();
    world.cycles_ended(1).await;
    assert_eq!(world.value("SELECT coalesce(title, '-') FROM learners").await, "-");
    daemon.logged("waiting next_cycle.at=", 1).await;
    daemon.signal(Signal::USR1);
    world.cycles_ended(2).await;
    assert_eq!(world.value("SELECT title FROM learners").await, "Sailor");
    daemon.stop().await;
}
