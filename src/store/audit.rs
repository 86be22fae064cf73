//! The table `audit_log`: what administrators did.

use jiff::Timestamp;

use super::db::{Connection, Statement};
use super::error::StoreError;

/// Adds a row in the transaction of the action.
pub(super) async fn write_audit(
    connection: &mut Connection,
    actor: &str,
    action: &str,
    detail: Option<&str>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let statement = Statement::new("INSERT INTO audit_log (at, actor, action, detail) VALUES ($1, $2, $3, $4)");
    connection.execute(statement.bind(at).bind(actor).bind(action).bind(detail)).await?;
    Ok(())
}
