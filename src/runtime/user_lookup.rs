//! Finds the user that a command names, and decides whether that user may be linked to the named learner.

use super::app::{App, configured_source};
use crate::cycle::SingleUser;
use crate::directory::DirectoryError;
use crate::model::home_name;
use crate::plan::Relink;
use crate::store::{Store, StoreError};

/// The user as named on the command line.
#[derive(Clone, Copy, Debug)]
pub struct UserArgument<'a> {
    /// An object id or a userPrincipalName; of a guest also the name in the home tenant.
    pub user: &'a str,
    /// The learner to link the user to.
    pub relink: Option<&'a str>,
}

/// The user was not found, or cannot be linked.
#[derive(Debug, thiserror::Error)]
pub enum UserLookupError {
    /// The learner database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Graph could not be asked.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Neither Entra ID nor the learner database has such a user.
    #[error("Entra ID has no user {0:?}, and no learner of this application has that user name")]
    NoSuchUser(String),
    /// The learner cannot be linked to the user.
    #[error("not relinked: {0}")]
    NotRelinked(String),
}

/// Finds the user in Entra ID, or among the linked learners when the account is deleted.
///
/// # Errors
/// When no such user exists, the learner cannot be linked, or a lookup fails.
pub async fn find_user(app: &App, store: &Store, argument: UserArgument<'_>) -> Result<SingleUser, UserLookupError> {
    let UserArgument { user: name, relink } = argument;
    let source = configured_source(&app.config, &store.state().await?);
    let user = match name.parse() {
        Ok(user) => {
            let linked = !store.rows(&source, &[user], &[]).await?.is_empty();
            // Without asking Graph, a mistyped id would look like a user who is not assigned.
            if linked { Some(user) } else { app.directory.find_user(name).await? }
        }
        Err(_) => match app.directory.find_user(name).await? {
            Some(user) => Some(user),
            None => match store.linked_user(&source, name).await? {
                Some(user) => Some(user),
                None => match home_name(name) {
                    Some(home) => store.linked_user(&source, &home).await?,
                    None => None,
                },
            },
        },
    };
    let user = user.ok_or_else(|| UserLookupError::NoSuchUser(name.to_owned()))?;
    let Some(learner) = relink else { return Ok(SingleUser { user, relink: None, audit: None }) };
    let own = store.rows(&source, &[user], &[]).await?.remove(&user).map(|row| row.learner);
    let (learner, row) = store.learner(learner, &app.rules.mapped()).await?;
    let relink = Relink { source, user, own, learner, row, recreated: false };
    match relink.refusal() {
        Some(reason) => Err(UserLookupError::NotRelinked(reason)),
        None => Ok(SingleUser { user, relink: Some(relink), audit: None }),
    }
}
