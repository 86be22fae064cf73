//! What the learner database records about one user who waits for somebody.

use std::borrow::Cow;

use super::status::{FailingUser, HeldUser};
use crate::model::{EntraId, Phase, Status};
use crate::store::db::Statement;
use crate::store::error::StoreError;
use crate::store::handle::Store;

/// The records of one user; none when nothing waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserRecords {
    /// The hold.
    pub held: Option<HeldUser>,
    /// The reason of the hold as a sentence, if the log still has it.
    pub held_detail: Option<String>,
    /// The failure, or the reason why the user is skipped.
    pub failing: Option<FailingUser>,
}

impl Store {
    /// The records of `user`.
    pub async fn user_records(&self, source: &str, user: EntraId) -> Result<UserRecords, StoreError> {
        let held = self.held_users_in("sync_held", source, Some(user)).await?.pop();
        let held_detail = match held {
            Some(_) => self.held_detail(source, user).await?,
            None => None,
        };
        let failing = self.failing_users_in("sync_failures", source, Some(user)).await?.pop();
        Ok(UserRecords { held, held_detail, failing })
    }

    /// The detail of the row that the beginning of the hold has in the log.
    async fn held_detail(&self, source: &str, user: EntraId) -> Result<Option<String>, StoreError> {
        // Another application may hold the same user for another reason.
        let statement = Statement::new(
            "SELECT p.detail FROM provisioning_log p JOIN sync_cycles c ON c.id = p.cycle_id
             WHERE c.source = $1 AND p.entra_id = $2 AND p.status = $3 AND (p.phase IS NULL OR p.phase <> $4)
             ORDER BY p.id DESC LIMIT 1",
        );
        let statement = statement.bind(source).bind(user).bind(Status::Held.as_str()).bind(Phase::Ended.as_str());
        let row = self.connection().await.optional_row(statement).await?;
        // A detail that cannot be read is a reason less, and no reason to show nothing.
        Ok(row.and_then(|row| row.foreign_text(0).ok().flatten().map(Cow::into_owned)))
    }
}
