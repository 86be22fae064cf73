//! Connecting again in the middle of a cycle, after the connection to the server was lost.

use std::time::Duration;

use super::{Access, server};
use crate::model::{LockHolder, Table};
use crate::store::db::PostgresServer;
use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::location::{DatabaseLocation, LearnerDatabase};

/// The wait after the first attempt. It doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Why an attempt to connect again failed.
enum Obstacle {
    /// It may pass: the server restarts, a standby is not promoted yet, or the former session still has the lock.
    Passing,
    /// Waiting does not help.
    Lasting,
}

impl Store {
    /// Connects again after the connection was lost, and takes the cycle lock again if this store had it. Tries for as long
    /// as a server may be silent; returns whether it has succeeded. The database may then be another one than before, so
    /// nothing that was read from it holds any more.
    pub async fn reconnect(&self) -> bool {
        let Some(LearnerDatabase { place: DatabaseLocation::Server(server), table, used: _ }) = self.origin() else {
            return false;
        };
        let connected = tokio::time::timeout(server.response_timeout, async {
            let mut wait = FIRST_WAIT;
            loop {
                match self.connect_again(server, table.as_ref()).await {
                    Ok(()) => return true,
                    Err(Obstacle::Lasting) => return false,
                    Err(Obstacle::Passing) => tokio::time::sleep(wait).await,
                }
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        });
        connected.await.unwrap_or(false)
    }

    async fn connect_again(&self, server: &PostgresServer, external: Option<&Table>) -> Result<(), Obstacle> {
        let (connection, layout) = server::open(server, Access::ReadWrite, external).await?;
        // The statements of this store are made for its layout.
        if layout != self.layout {
            return Err(Obstacle::Lasting);
        }
        // The end of the former connection releases its lock, once the server notices it.
        self.replace_connection(connection).await;
        match self.take_cycle_lock_again().await? {
            None => Ok(()),
            // Often our former session.
            Some(LockHolder { .. }) => Err(Obstacle::Passing),
        }
    }
}

impl From<StoreError> for Obstacle {
    fn from(error: StoreError) -> Self {
        if error.passes() || error.is_lost_session() { Self::Passing } else { Self::Lasting }
    }
}
