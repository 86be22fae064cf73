//! A learner database on several hosts: servers with streaming replication, and unreachable hosts.
//!
//! Without the programs of PostgreSQL each scenario prints that it is skipped.

mod cluster;
mod hosts;
mod promotion;
mod readers;
mod rounds;
mod stopped;

use learner_sync::store::{Access, Store};

use crate::database::Database;
use crate::postgres::{OWNER, Server, configure_database_url};
use crate::program::eventually;
use crate::world::World;

/// A primary with a standby, and a world whose database is on both.
struct Pair {
    world: World,
    primary: &'static Server,
    standby: &'static Server,
}

impl Pair {
    async fn start(tenant: graph_sim::Tenant) -> Option<Self> {
        let primary = Server::start()?;
        let world = World::start_on(primary, tenant).await;
        let standby = Server::standby_of(primary);
        configure_database_url(&world, &url_of(&[&at(primary), &at(standby)], world.database.name()));
        Some(Self { world, primary, standby })
    }

    /// Makes each commit wait until the standby has it.
    async fn replicate_synchronously(&self) {
        self.primary.execute("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
        self.primary.execute("postgres", "SELECT pg_reload_conf()").await;
        let state = "SELECT sync_state FROM pg_stat_replication";
        eventually("the standby is synchronous", async || (self.world.value(state).await == "sync").then_some(()))
            .await;
    }

    /// Waits until the standby has everything.
    async fn caught_up(&self) {
        let behind = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()";
        eventually("the standby has caught up", async || (self.world.value(behind).await == "1").then_some(())).await;
    }

    /// Stops the replication, so that the standby lacks later commits.
    async fn cut(&self) {
        self.caught_up().await;
        self.standby.execute("postgres", "ALTER SYSTEM SET primary_conninfo = ''").await;
        self.standby.execute("postgres", "SELECT pg_reload_conf()").await;
        let senders = "SELECT count(*) FROM pg_stat_replication";
        eventually("the replication has stopped", async || (self.world.value(senders).await == "0").then_some(()))
            .await;
    }

    /// Kills the primary and promotes the standby.
    async fn fail_over(&mut self) {
        self.primary.kill();
        self.promote().await;
    }

    async fn promote(&mut self) {
        self.standby.execute("postgres", "SELECT pg_promote()").await;
        self.world.database = Database::Server(self.standby, self.world.database.name().to_owned());
    }
}

/// The address of a server in a URL.
fn at(server: &Server) -> String {
    format!("{}:{}", server.directory().display().to_string().replace('/', "%2F"), server.port())
}

fn url_of(hosts: &[&str], database: &str) -> String {
    format!("postgres://{OWNER}@{}/{database}", hosts.join(","))
}

/// Creates the tables of a world.
async fn create_tables(world: &World) {
    Store::open(&world.app().learners, Access::ReadWrite).await.unwrap().close().await.unwrap();
}
