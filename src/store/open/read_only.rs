//! Whether a server lets this role write at all.

use super::{Access, server};
use crate::store::db::Statement;
use crate::store::error::{ReadOnlyCause, StoreError};
use crate::store::handle::Store;
use crate::store::location::DatabaseLocation;

/// The setting as a new session has it, and the statement that resets it where it is set.
const SETTING: &str = "SELECT pg_is_in_recovery(), setting = 'on', CASE source
        WHEN 'user' THEN format('ALTER ROLE %I RESET default_transaction_read_only', session_user)
        WHEN 'database' THEN format('ALTER DATABASE %I RESET default_transaction_read_only', current_database())
        WHEN 'database user' THEN format('ALTER ROLE %I IN DATABASE %I RESET default_transaction_read_only',
            session_user, current_database())
        ELSE 'turn default_transaction_read_only off, which is set by: ' || source END
    FROM pg_settings WHERE name = 'default_transaction_read_only'";

impl Store {
    /// Checks that the server at `place` accepts writes. The rights of the role are not checked; a file always passes.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`], or there is no connection.
    pub async fn check_accepts_writes(place: &DatabaseLocation) -> Result<(), StoreError> {
        let DatabaseLocation::Server(server) = place else { return Ok(()) };
        // A session that only reads has the setting on.
        let mut connection = server::connect(server, Access::ReadWrite).await?;
        let row = connection.row(Statement::new(SETTING)).await?;
        let (is_standby, is_on, change): (bool, bool, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let database = connection.server_name().to_owned();
        connection.close().await?;
        match (is_standby, is_on) {
            (true, _) => Err(StoreError::ReadOnly { database, why: ReadOnlyCause::Standby }),
            (false, true) => Err(StoreError::ReadOnly { database, why: ReadOnlyCause::Setting(change) }),
            (false, false) => Ok(()),
        }
    }
}
