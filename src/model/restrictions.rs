//! Users that the configuration names: `scope.only`, `scope.ignore`, `safety.protected`.

use std::collections::BTreeSet;

use super::EntraId;

/// Users, named by object id, user name or group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserList {
    /// Object ids of users or groups.
    pub ids: BTreeSet<EntraId>,
    /// User names, in ASCII lower case.
    pub user_names: BTreeSet<String>,
}

impl UserList {
    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        let Self { ids, user_names } = self;
        ids.is_empty() && user_names.is_empty()
    }

    /// Whether the list contains this user name, ignoring ASCII case.
    pub fn has_user_name(&self, user_name: &str) -> bool {
        !self.user_names.is_empty() && self.user_names.contains(&user_name.to_ascii_lowercase())
    }
}

/// A GUID is an object id; any other text is a user name.
impl<'a> FromIterator<&'a str> for UserList {
    fn from_iter<I: IntoIterator<Item = &'a str>>(texts: I) -> Self {
        let mut named = Self::default();
        for text in texts {
            match text.parse() {
                Ok(id) => drop(named.ids.insert(id)),
                Err(_) => drop(named.user_names.insert(text.to_ascii_lowercase())),
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
