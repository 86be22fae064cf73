//! SIGHUP: the configuration is read again, or stays as it was.

use rustix::process::Signal;

use crate::database::{apply, on_both};
use crate::postgres::Server;
use crate::program::{Daemon, users};
use crate::world::World;

/// The mapping of the contract with another source for the title.
const OTHER_MAPPING: &str = "[mapping]\nuserName = \"[userPrincipalName]\"\n\
     'emails[type eq \"work\"].value' = \"[mail]\"\n\
     active = 'Switch([IsSoftDeleted], , \"False\", \"True\", \"True\", \"False\")'\ntitle = '\"Sailor\"'";

async fn waiting_daemon(world: &World) -> Daemon {
    let daemon = world.daemon().await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    daemon
}

#[apply(on_both)]
async fn a_good_configuration_is_taken_over_and_a_time_drawn_anew() {
    let world = World::start(users(2).0).await;
    let daemon = waiting_daemon(&world).await;
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE title IS NULL").await, "2");
    world.configure(OTHER_MAPPING);
    daemon.signal(Signal::HUP);
    daemon.logged("the configuration is read again", 1).await;
    daemon.logged("waiting next_cycle.at=", 2).await;
    // It is no cycle.
    assert_eq!(world.cycles().await, ["startup success"]);
    daemon.signal(Signal::USR1);
    world.cycles_ended(2).await;
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE title = 'Sailor'").await, "2");
    assert_eq!(world.value("SELECT count(*) FROM audit_log WHERE action = 'reload'").await, "1");
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_shorter_schedule_takes_effect_with_the_reload() {
    let world = World::start(users(1).0).await;
    let daemon = waiting_daemon(&world).await;
    world.configure("[schedule]\nmin_interval = \"1s\"\nmax_interval = \"1s\"");
    daemon.signal(Signal::HUP);
    assert_eq!(world.cycles_ended(2).await[..2], ["startup success", "schedule success"]);
    daemon.stop().await;
}

#[apply(on_both)]
async fn reloads_do_not_put_the_next_cycle_off() {
    let world = World::start(users(1).0).await;
    let daemon = waiting_daemon(&world).await;
    let next = world.value("SELECT next_cycle_at FROM sync_state").await;
    for reload in 1..=5 {
        daemon.signal(Signal::HUP);
        daemon.logged("waiting next_cycle.at=", reload + 1).await;
        assert!(world.value("SELECT next_cycle_at FROM sync_state").await <= next);
    }
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_bad_configuration_is_reported_and_the_old_one_stays() {
    let world = World::start(users(2).0).await;
    world.configure(OTHER_MAPPING);
    let daemon = waiting_daemon(&world).await;
    world.configure("[safety]\nmax_deactivatoins = 5");
    daemon.signal(Signal::HUP);
    daemon.logged("the configuration stays as it was", 1).await;
    assert!(daemon.log().contains("safety.max_deactivatoins"), "{}", daemon.log());
    std::fs::remove_file(world.config_path()).unwrap();
    daemon.signal(Signal::HUP);
    daemon.logged("the configuration stays as it was", 2).await;
    world.configure("");
    std::fs::rename(world.path("secret"), world.path("secret.away")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.logged("the configuration stays as it was", 3).await;

    // Still the mapping it started with.
    world.sim.tenant(|tenant| drop(crate::program::hire(tenant, "Grace", "Hopper")));
    daemon.signal(Signal::USR1);
    world.cycles_ended(2).await;
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE title = 'Sailor'").await, "3");
    daemon.stop().await;
}

/// Learners in a table of somebody else, in which nothing could be written.
const UNFIT: &str =
    "table = \"accounts\"\n[learners.columns]\nuser_name = \"login\"\nemail = \"mail\"\nactive = \"state\"";

#[apply(on_both)]
async fn a_learners_table_that_does_not_fit_is_reported_and_the_old_configuration_stays() {
    let world = World::start(users(1).0).await;
    let daemon = waiting_daemon(&world).await;
    world.execute("CREATE TABLE accounts (id integer PRIMARY KEY, login text, state boolean)").await;
    world.configure(UNFIT);
    daemon.signal(Signal::HUP);
    daemon.logged("the configuration stays as it was: the learners table cannot be used", 1).await;
    let log = daemon.log();
    assert!(log.contains("learner-sync.toml:17:") && log.contains("learners.columns.email"), "{log}");
    assert!(!log.contains("the configuration is read again"), "{log}");
    daemon.signal(Signal::USR1);
    assert_eq!(world.cycles_ended(2).await, ["startup success", "signal success"]);

    world.configure(&UNFIT.replace("accounts", "nowhere"));
    daemon.signal(Signal::HUP);
    daemon.logged("there is no table nowhere", 1).await;
    daemon.logged("the configuration stays as it was", 2).await;
    world.configure(OTHER_MAPPING);
    daemon.signal(Signal::HUP);
    daemon.logged("the configuration is read again", 1).await;
    assert!(!daemon.log().contains("no cycle"), "{}", daemon.log());
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_table_that_is_not_ours_any_more_is_reported_with_what_can_be_done() {
    let world = World::start(users(1).0).await;
    let daemon = waiting_daemon(&world).await;
    world.execute("ALTER TABLE learners RENAME COLUMN job_role TO role").await;
    daemon.signal(Signal::HUP);
    daemon.logged("learners lacks the column job_role; nothing was written to it: add what is missing", 1).await;
    assert!(daemon.log().contains("the configuration stays as it was"), "{}", daemon.log());
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_database_that_nobody_may_read_now_is_no_reason_to_keep_the_old_configuration() {
    let world = World::start(users(1).0).await;
    let daemon = waiting_daemon(&world).await;
    let alone = world.database.shut().await;
    world.configure(OTHER_MAPPING);
    daemon.signal(Signal::HUP);
    daemon.logged("fits the learner database cannot be seen now: it is locked, or does not answer", 1).await;
    daemon.logged("the configuration is read again", 1).await;
    drop(alone);
    daemon.signal(Signal::USR1);
    world.cycles_ended(2).await;
    assert_eq!(world.value("SELECT title FROM learners").await, "Sailor");
    daemon.stop().await;
}

#[tokio::test]
async fn a_file_that_is_away_is_no_reason_to_keep_the_old_configuration() {
    let world = World::start(users(1).0).await;
    let daemon = waiting_daemon(&world).await;
    std::fs::rename(world.path("learners.db"), world.path("unmounted.db")).unwrap();
    world.configure(UNFIT);
    daemon.signal(Signal::HUP);
    daemon.logged("the configuration is read again", 1).await;
    assert!(daemon.log().contains("there is no database"), "{}", daemon.log());
    // Who keeps another application is to be seen in the file alone.
    let (tenant, client, nobody) = world.sim.tenant(|tenant| {
        let nobody = tenant.new_id();
        (tenant.tenant_id.clone(), tenant.client_id.clone(), nobody)
    });
    world.configure_for(&tenant, &client, &nobody, UNFIT);
    daemon.signal(Signal::HUP);
    daemon.logged("whether another daemon keeps this application cannot be seen", 1).await;
    world.configure(UNFIT);
    std::fs::rename(world.path("unmounted.db"), world.path("learners.db")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.logged("the configuration stays as it was: the learners table cannot be used", 1).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_no_reason_to_keep_the_old_configuration() {
    let Some(server) = Server::start() else { return };
    let server: &'static Server = Box::leak(Box::new(server));
    let world = World::start_on(server, users(1).0).await;
    let daemon = waiting_daemon(&world).await;
    server.kill();
    world.configure(OTHER_MAPPING);
    daemon.signal(Signal::HUP);
    daemon.logged("cannot be seen now: cannot connect to the learner database", 1).await;
    daemon.logged("the configuration is read again", 1).await;
    server.run();
    daemon.signal(Signal::USR1);
    world.cycles_ended(2).await;
    assert_eq!(world.value("SELECT title FROM learners").await, "Sailor");
    daemon.stop().await;
}

#[apply(on_both)]
async fn keys_that_need_a_restart_are_named_and_the_rest_is_taken_over() {
    let world = World::start(users(1).0).await;
    let daemon = waiting_daemon(&world).await;
    world.configure(&format!("[log]\nlevel = \"debug\"\n{OTHER_MAPPING}"));
    let elsewhere = format!("sqlite://{}", world.path("elsewhere.db").display());
    world.reconfigure(|text| text.replace(&world.database.url(), &elsewhere));
    daemon.signal(Signal::HUP);
    daemon.logged("the configuration is read again", 1).await;
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
async fn a_reload_during_a_cycle_counts_from_the_next_one_on() {
    let world = World::start(users(1).0).await;
    let gate = super::hold_next_cycle(&world);
    let daemon = world.daemon().await;
    gate.reached().await;
    world.configure(OTHER_MAPPING);
    daemon.signal(Signal::HUP);
    daemon.logged("the configuration is read again", 1).await;
    gate.release();
    world.cycles_ended(1).await;
    assert_eq!(world.value("SELECT coalesce(title, '-') FROM learners").await, "-");
    daemon.logged("waiting next_cycle.at=", 1).await;
    daemon.signal(Signal::USR1);
    world.cycles_ended(2).await;
    assert_eq!(world.value("SELECT title FROM learners").await, "Sailor");
    daemon.stop().await;
}
