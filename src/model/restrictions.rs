//! People as an administrator names them in the configuration.

use std::collections::BTreeSet;

use super::EntraId;

/// People, one by one or by their group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserList {
    /// Object ids, of users or of groups.
    pub ids: BTreeSet<EntraId>,
    /// User names, in ASCII lower case.
    pub user_names: BTreeSet<String>,
}

impl UserList {
    /// Whether nobody is named.
    pub fn is_empty(&self) -> bool {
        let Self { ids, user_names } = self;
        ids.is_empty() && user_names.is_empty()
    }

    /// Whether this user name is named; letter case does not count.
    pub fn has_user_name(&self, user_name: &str) -> bool {
        !self.user_names.is_empty() && self.user_names.contains(&user_name.to_ascii_lowercase())
    }
}

/// A text that is an object id means one; everything else is a user name.
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

/// Who is left exactly as they are, whatever Entra says of them: `scope.only` and `scope.ignore`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// When somebody is named, everybody else.
    pub only: UserList,
    /// Whoever is named.
    pub ignore: UserList,
}

impl Restrictions {
    /// Every id that is named: users, or groups whose members are meant.
    pub fn ids(&self) -> impl Iterator<Item = EntraId> + '_ {
        let Self { only, ignore } = self;
        only.ids.iter().chain(&ignore.ids).copied()
    }
}
