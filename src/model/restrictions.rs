//! Users that the configuration names: `scope.only`, `scope.ignore`, `safety.protected`.

use std::collections::BTreeSet;

use super::blanks::fold;
use super::{EntraId, home_name};

/// Users, named by object id, user name or group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserList {
    /// Object ids of users or groups.
    pub ids: BTreeSet<EntraId>,
    /// User names, folded for comparison. The stored name of a guest stands beside the name in the home tenant.
    pub user_names: BTreeSet<String>,
}

impl UserList {
    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        let Self { ids, user_names } = self;
        ids.is_empty() && user_names.is_empty()
    }

    /// Whether the list contains this user name, or the name in the home tenant of this guest, ignoring ASCII case and
    /// blanks at the ends.
    pub fn has_user_name(&self, user_name: &str) -> bool {
        let contains = |name: &str| self.user_names.contains(&*fold(name));
        !self.user_names.is_empty() && (contains(user_name) || home_name(user_name).is_some_and(|home| contains(&home)))
    }
}

/// A GUID is an object id; any other text is a user name.
impl<'a> FromIterator<&'a str> for UserList {
    fn from_iter<I: IntoIterator<Item = &'a str>>(texts: I) -> Self {
        let mut named = Self::default();
        for text in texts {
            match text.parse() {
                Ok(id) => drop(named.ids.insert(id)),
                Err(_) => {
                    let names = [Some(text.to_owned()), home_name(text)];
                    named.user_names.extend(names.into_iter().flatten().map(|name| fold(&name).into_owned()));
                }
            }
        }
        named
    }
}

/// Users that a cycle must not change: `scope.only` and `scope.ignore`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// If not empty, only these users may change.
    pub only: UserList,
    /// These users never change.
    pub ignore: UserList,
}

impl Restrictions {
    /// The ids in both lists. The id of a group stands for its members.
    pub fn ids(&self) -> impl Iterator<Item = EntraId> + '_ {
        let Self { only, ignore } = self;
        only.ids.iter().chain(&ignore.ids).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_named_by_either_name() {
        let (stored, home) = ("Ada_partner.example#EXT#@tenant.example", "ada@Partner.example");
        for text in [stored, home] {
            let list = UserList::from_iter([text]);
            assert!(list.has_user_name(&stored.to_uppercase()) && list.has_user_name(home), "{text}");
            assert!(!list.has_user_name("grace@partner.example"));
        }
    }
}
