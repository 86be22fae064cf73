//! Who is meant by a command about one person, and whether an administrator may give that person a learner.

use super::SessionError;
use crate::assembly::{Assembly, source};
use crate::cycle::Only;
use crate::model::{EntraId, LearnerId};
use crate::plan::Relink;
use crate::store::Store;

/// What a command about one person names.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// An object id or a userPrincipalName.
    pub user: &'a str,
    /// The learner that the person is to have.
    pub relink: Option<LearnerId>,
}

/// The person that is meant.
#[derive(Debug)]
pub struct Found {
    /// Who.
    pub person: EntraId,
    /// The learner that the person is to have.
    pub relink: Option<Relink>,
}

impl Found {
    /// What a cycle is asked for.
    pub fn only(&self) -> Only<'_> {
        Only { person: self.person, relink: self.relink.as_ref() }
    }
}

/// Finds the person in Entra ID, else among the linked learners: the account may be deleted.
///
/// # Errors
/// When there is nobody of that name, when the learner cannot be given, or when nobody can be asked.
pub async fn find(assembly: &Assembly, store: &Store, named: Named<'_>) -> Result<Found, SessionError> {
    let Named { user, relink } = named;
    let source = source(&assembly.config, &store.state().await?);
    let person = match user.parse() {
        Ok(person) => {
            let known = !store.rows(&source, &[person], &[]).await?.is_empty();
            // A mistyped id looks just like somebody who is not assigned.
            if known { Some(person) } else { assembly.directory.user_named(user).await? }
        }
        Err(_) => match assembly.directory.user_named(user).await? {
            Some(person) => Some(person),
            None => store.linked_person(&source, user).await?,
        },
    };
    let person = person.ok_or_else(|| SessionError::NoSuchUser(user.to_owned()))?;
    let Some(learner) = relink else { return Ok(Found { person, relink: None }) };
    let own = store.rows(&source, &[person], &[]).await?.remove(&person).map(|row| row.learner);
    let row = store.learner(learner, &assembly.rules.mapped()).await?;
    let relink = Relink { source, person, own, learner, row };
    match relink.refusal() {
        Some(why) => Err(SessionError::NotRelinked(why)),
        None => Ok(Found { person, relink: Some(relink) }),
    }
}
