//! A map by user for the data of all users.

use super::EntraId;

/// A sorted vector: it takes half the memory of a `BTreeMap` that grows, and is made once from all entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByUser<T> {
    entries: Vec<(EntraId, T)>,
}

impl<T> ByUser<T> {
    /// An empty map.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// The entry of a user.
    pub fn get(&self, user: &EntraId) -> Option<&T> {
        Some(&self.entries.get(self.position(user).ok()?)?.1)
    }

    /// The entry of a user.
    pub fn get_mut(&mut self, user: &EntraId) -> Option<&mut T> {
        let position = self.position(user).ok()?;
        Some(&mut self.entries.get_mut(position)?.1)
    }

    /// Whether the user has an entry.
    pub fn contains_key(&self, user: &EntraId) -> bool {
        self.position(user).is_ok()
    }

    /// The entries in the order of the users' ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&EntraId, &T)> + Clone {
        self.into_iter()
    }

    /// The users in the order of their ids.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &EntraId> + Clone {
        self.entries.iter().map(|(user, _)| user)
    }

    /// The values in the order of the users' ids.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &T> + Clone {
        self.entries.iter().map(|(_, value)| value)
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps the entries of which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&EntraId, &mut T) -> bool) {
        self.entries.retain_mut(|(user, value)| keep(user, value));
    }

    /// Adds or replaces the entry of one user. Moves all entries behind it: [`ByUser::extend`] is for many users.
    pub fn insert(&mut self, user: EntraId, value: T) {
        match self.position(&user) {
            Ok(position) => self.entries[position].1 = value,
            Err(position) => self.entries.insert(position, (user, value)),
        }
    }

    /// Removes the entry of one user. Moves all entries behind it.
    pub fn remove(&mut self, user: &EntraId) -> Option<T> {
        let position = self.position(user).ok()?;
        Some(self.entries.remove(position).1)
    }

    fn position(&self, user: &EntraId) -> Result<usize, usize> {
        self.entries.binary_search_by(|(other, _)| other.cmp(user))
    }

    /// Sorts entries that were added at the end. The last one of a user counts.
    fn settle(&mut self) {
        if self.entries.is_sorted_by(|(left, _), (right, _)| left < right) {
            return;
        }
        self.entries.sort_by_key(|(user, _)| *user);
        self.entries.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
    }
}

impl<T> Default for ByUser<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Extend<(EntraId, T)> for ByUser<T> {
    fn extend<I: IntoIterator<Item = (EntraId, T)>>(&mut self, entries: I) {
        self.entries.extend(entries);
        self.settle();
    }
}

impl<T> From<Vec<(EntraId, T)>> for ByUser<T> {
    fn from(entries: Vec<(EntraId, T)>) -> Self {
        let mut all = Self { entries };
        all.settle();
        all
    }
}

impl<T> FromIterator<(EntraId, T)> for ByUser<T> {
    fn from_iter<I: IntoIterator<Item = (EntraId, T)>>(entries: I) -> Self {
        entries.into_iter().collect::<Vec<_>>().into()
    }
}

impl<T, const N: usize> From<[(EntraId, T); N]> for ByUser<T> {
    fn from(entries: [(EntraId, T); N]) -> Self {
        Vec::from(entries).into()
    }
}

impl<T> IntoIterator for ByUser<T> {
    type Item = (EntraId, T);
    type IntoIter = std::vec::IntoIter<(EntraId, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a ByUser<T> {
    type Item = (&'a EntraId, &'a T);
    type IntoIter = std::iter::Map<std::slice::Iter<'a, (EntraId, T)>, fn(&'a (EntraId, T)) -> (&'a EntraId, &'a T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter().map(|(user, value)| (user, value))
    }
}

#[cfg(test)]
impl<T> std::ops::Index<&EntraId> for ByUser<T> {
    type Output = T;

    fn index(&self, user: &EntraId) -> &T {
        self.get(user).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u8) -> EntraId {
        EntraId::from_bytes([number; 16])
    }

    fn entries(map: &ByUser<char>) -> Vec<(EntraId, char)> {
        map.iter().map(|(user, value)| (*user, *value)).collect()
    }

    #[test]
    fn entries_are_sorted_and_the_last_one_of_a_user_counts() {
        let mut map: ByUser<char> = [(5, 'a'), (2, 'b'), (5, 'c'), (9, 'd'), (5, 'e'), (2, 'f')]
            .into_iter()
            .map(|(number, value)| (user(number), value))
            .collect();
        assert_eq!(entries(&map), [(user(2), 'f'), (user(5), 'e'), (user(9), 'd')]);
        map.extend([(user(7), 'g'), (user(9), 'h'), (user(1), 'i')]);
        assert_eq!(entries(&map), [(user(1), 'i'), (user(2), 'f'), (user(5), 'e'), (user(7), 'g'), (user(9), 'h')]);
        map.insert(user(3), 'j');
        map.insert(user(7), 'k');
        assert_eq!(map.remove(&user(1)), Some('i'));
        assert_eq!((map.remove(&user(1)), map.get(&user(4)), map.get(&user(7))), (None, None, Some(&'k')));
        assert_eq!(map.keys().copied().collect::<Vec<_>>(), [2, 3, 5, 7, 9].map(user));
        map.retain(|_, value| *value > 'h');
        assert_eq!(entries(&map), [(user(3), 'j'), (user(7), 'k')]);
    }
}
