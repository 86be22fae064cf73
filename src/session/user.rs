//! Who is meant by a command about one user, and whether an administrator may give that user a learner.

use super::SessionError;
use crate::app::{App, source};
use crate::cycle::SingleUser;
use crate::model::{EntraId, LearnerId};
use crate::plan::Relink;
use crate::store::Store;

/// What a command about one user names.
#[derive(Clone, Copy, Debug)]
pub struct UserArgument<'a> {
    /// An object id or a userPrincipalName.
    pub user: &'a str,
    /// The learner that the user is to have.
    pub relink: Option<LearnerId>,
}

/// The user that is meant.
#[derive(Debug)]
pub struct FoundUser {
    /// Who.
    pub user: EntraId,
    /// The learner that the user is to have.
    pub relink: Option<Relink>,
}

impl FoundUser {
    /// What a cycle is asked for.
    pub fn only(&self) -> SingleUser<'_> {
        SingleUser { user: self.user, relink: self.relink.as_ref() }
    }
}

/// Finds the user in Entra ID, else among the linked learners: the account may be deleted.
///
/// # Errors
/// When there is nobody of that name, when the learner cannot be given, or when nobody can be asked.
pub async fn find(app: &App, store: &Store, named: UserArgument<'_>) -> Result<FoundUser, SessionError> {
    let UserArgument { user: name, relink } = named;
    let source = source(&app.config, &store.state().await?);
    let user = match name.parse() {
        Ok(user) => {
            let known = !store.rows(&source, &[user], &[]).await?.is_empty();
            // A mistyped id looks just like somebody who is not assigned.
            if known { Some(user) } else { app.directory.user_named(name).await? }
        }
        Err(_) => match app.directory.user_named(name).await? {
            Some(user) => Some(user),
            None => store.linked_user(&source, name).await?,
        },
    };
    let user = user.ok_or_else(|| SessionError::NoSuchUser(name.to_owned()))?;
    let Some(learner) = relink else { return Ok(FoundUser { user, relink: None }) };
    let own = store.rows(&source, &[user], &[]).await?.remove(&user).map(|row| row.learner);
    let row = store.learner(learner, &app.rules.mapped()).await?;
    let relink = Relink { source, user, own, learner, row };
    match relink.refusal() {
        Some(why) => Err(SessionError::NotRelinked(why)),
        None => Ok(FoundUser { user, relink: Some(relink) }),
    }
}
