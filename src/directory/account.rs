//! One account: the answer about it, and what it says.

use std::sync::Arc;

use super::client::{Reply, with_request_id};
use super::wire::{self, InvalidRow, RowProblem, RowType, Texts, UserRow};
use crate::model::{APP_ROLE_ASSIGNMENTS, EntraId, RequestId, Selection, User, Value};

/// The result of reading one user.
#[derive(Clone, Debug)]
pub enum AccountRead {
    /// The account, with every selected property.
    User(User),
    /// The account exists, but a property that determines its state is missing.
    Unreadable {
        /// The user.
        user: EntraId,
        /// The missing property.
        detail: String,
    },
    /// Assigned, but the account does not exist.
    NotFound(EntraId),
}

/// The purpose for which accounts are read, on other threads.
pub trait AssessAccount<A>: Send + Sync {
    /// Assesses an account, given the id of the answer. `row` is its row in a list of members, if the account was read from
    /// there.
    fn assess(&self, read: &AccountRead, row: Option<&str>, request_id: &RequestId) -> A;

    /// The assessment of a user whose row in a list of members is, letter for letter, one that was assessed in an earlier
    /// cycle. Such a row is not decoded.
    fn recall(&self, _user: EntraId, _row: &str, _request_id: &RequestId) -> Option<A> {
        None
    }
}

/// A shared [`AssessAccount`].
pub type Assess<A> = Arc<dyn AssessAccount<A>>;

/// Assesses each account that is read, and recalls none.
pub fn assess_each<A>(assess: impl Fn(&AccountRead, &RequestId) -> A + Send + Sync + 'static) -> Assess<A> {
    Arc::new(AssessEach(assess))
}

struct AssessEach<F>(F);

impl<A, F: Fn(&AccountRead, &RequestId) -> A + Send + Sync> AssessAccount<A> for AssessEach<F> {
    fn assess(&self, read: &AccountRead, _row: Option<&str>, request_id: &RequestId) -> A {
        (self.0)(read, request_id)
    }
}

impl AccountRead {
    /// The user's id.
    pub fn user(&self) -> EntraId {
        match self {
            Self::User(user) => user.id,
            Self::Unreadable { user, .. } | Self::NotFound(user) => *user,
        }
    }
}

/// Decodes the answer about one user, or says why the user is unreadable.
pub(super) fn single_user(user: EntraId, reply: &Reply, selection: &Selection) -> Result<UserRow, String> {
    let Reply { body, request_id } = reply;
    match wire::user(body, selection, &mut Texts::default()) {
        Ok(row) if row.id == user => Ok(row),
        Ok(_) => Err(with_request_id("the answer is about another account", request_id)),
        Err(InvalidRow::Bad(why) | InvalidRow::Failed(why) | InvalidRow::NoObject(why)) => {
            Err(with_request_id(&format!("the answer of Graph cannot be read: {why}"), request_id))
        }
    }
}

/// Turns a row into an account. Without `accountEnabled`, or without any name, the account is unreadable, because a lost
/// permission looks the same.
pub(super) fn read_account(row: UserRow, selection: &Selection, request_id: &RequestId) -> AccountRead {
    let UserRow { kind, id, values, problem } = row;
    let unreadable = |detail: &str| AccountRead::Unreadable { user: id, detail: with_request_id(detail, request_id) };
    if let Some(RowProblem { detail, is_oversized: _ }) = problem {
        return unreadable(&format!("{detail} in the answer of Graph"));
    }
    let value = |property| selection.position(property).and_then(|slot| values.get(slot)).and_then(Option::as_ref);
    let enabled = match value("accountEnabled") {
        Some(Value::Boolean(enabled)) => *enabled,
        None | Some(Value::Null) => return unreadable("accountEnabled is missing in the answer of Graph"),
        Some(_) => return unreadable("accountEnabled is neither true nor false in the answer of Graph"),
    };
    let names = ["displayName", "userPrincipalName"];
    if let Some(name) = names.iter().find(|name| !matches!(value(name), None | Some(Value::Null | Value::Text(_)))) {
        return unreadable(&format!("{name} is not a text in the answer of Graph"));
    }
    let named = |property| matches!(value(property), Some(Value::Text(_)));
    if !named("displayName") && !named("userPrincipalName") {
        return unreadable("displayName and userPrincipalName are missing in the answer of Graph");
    }
    // Users who are not assigned have no roles.
    let is_missing =
        |(property, value): &(&String, &Option<Value>)| value.is_none() && *property != APP_ROLE_ASSIGNMENTS;
    if let Some((property, _)) = selection.properties().iter().zip(&values).find(is_missing) {
        return unreadable(&format!("{property} is missing in the answer of Graph"));
    }
    let values = values.into_iter().map(|value| value.unwrap_or_else(|| Value::List(Vec::new()))).collect();
    AccountRead::User(User { id, enabled, is_agent: kind == RowType::Agent, values })
}
