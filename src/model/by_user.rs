//! A map by user for the data of all users.

use super::EntraId;

/// How many entries share a prefix at most on average: each step of a search among more of them would wait for memory.
const WITH_PREFIX: usize = 2;

/// A sorted vector: it takes half the memory of a `BTreeMap` that grows, and is made once from all entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByUser<T> {
    entries: Vec<(EntraId, T)>,
    /// The first position of each prefix. Ids are random, so prefixes occur equally often.
    starts: Vec<u32>,
}

impl<T> ByUser<T> {
    /// An empty map.
    pub const fn new() -> Self {
        Self { entries: Vec::new(), starts: Vec::new() }
    }

    /// A map of entries of which no two have one user; else any of them counts. Takes half the time of the stable sort.
    pub fn from_unique(mut entries: Vec<(EntraId, T)>) -> Self {
        entries.sort_unstable_by_key(|(user, _)| *user);
        entries.into()
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
        self.set_starts();
    }

    /// Adds or replaces the entry of one user. Moves all entries behind it: [`ByUser::extend`] is for many users.
    pub fn insert(&mut self, user: EntraId, value: T) {
        match self.position(&user) {
            Ok(position) => self.entries[position].1 = value,
            Err(position) => {
                self.entries.insert(position, (user, value));
                self.set_starts();
            }
        }
    }

    /// Removes the entry of one user. Moves all entries behind it.
    pub fn remove(&mut self, user: &EntraId) -> Option<T> {
        let position = self.position(user).ok()?;
        let (_, removed) = self.entries.remove(position);
        self.set_starts();
        Some(removed)
    }

    fn position(&self, user: &EntraId) -> Result<usize, usize> {
        let prefix = prefix(user, self.starts.len());
        let bound = |index| self.starts.get(index).map_or(self.entries.len(), |start| *start as usize);
        let (start, end) = (bound(prefix), bound(prefix + 1));
        let found = self.entries[start..end].binary_search_by(|(other, _)| other.cmp(user));
        found.map(|position| start + position).map_err(|position| start + position)
    }

    /// Follows a change of the entries.
    fn set_starts(&mut self) {
        let prefixes = (self.entries.len() / WITH_PREFIX + 1).next_power_of_two();
        self.starts.clear();
        self.starts.reserve_exact(prefixes);
        for (position, (user, _)) in self.entries.iter().enumerate() {
            // There are fewer users than a u32 counts.
            self.starts.resize(self.starts.len().max(prefix(user, prefixes) + 1), position as u32);
        }
        self.starts.resize(prefixes, self.entries.len() as u32);
    }

    /// Sorts entries that were added at the end. The last one of a user counts.
    fn settle(&mut self) {
        if !self.entries.is_sorted_by(|(left, _), (right, _)| left < right) {
            self.entries.sort_by_key(|(user, _)| *user);
            self.entries.dedup_by(|later, earlier| {
                let is_same = later.0 == earlier.0;
                if is_same {
                    std::mem::swap(later, earlier);
                }
                is_same
            });
        }
        self.set_starts();
    }
}

/// The first bits of an id, of which there are `prefixes`, a power of two.
fn prefix(user: &EntraId, prefixes: usize) -> usize {
    let [first, second, third, fourth, ..] = *user.as_bytes();
    let bits = u32::from_be_bytes([first, second, third, fourth]);
    ((u64::from(bits) * prefixes as u64) >> u32::BITS) as usize
}

impl<T> Default for ByUser<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Extend<(EntraId, T)> for ByUser<T> {
    fn extend<I: IntoIterator<Item = (EntraId, T)>>(&mut self, entries: I) {
        // Collected in place: a vector of all users is not copied.
        let entries: Vec<_> = entries.into_iter().collect();
        if self.entries.is_empty() {
            self.entries = entries;
        } else {
            self.entries.extend(entries);
        }
        self.settle();
    }
}

impl<T> From<Vec<(EntraId, T)>> for ByUser<T> {
    fn from(entries: Vec<(EntraId, T)>) -> Self {
        let mut all = Self { entries, starts: Vec::new() };
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
    use std::collections::BTreeMap;

    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn each_change_keeps_it_a_map(
            first in proptest::collection::vec((any::<u8>(), any::<char>()), 0..200),
            changes in proptest::collection::vec((any::<u8>(), 0..4, any::<char>()), 0..20),
        ) {
            let mut map: ByUser<char> = first.iter().map(|(number, value)| (user(*number), *value)).collect();
            let mut model: BTreeMap<EntraId, char> = first.into_iter().map(|(n, value)| (user(n), value)).collect();
            for (number, change, value) in changes {
                let user = user(number);
                match change {
                    0 => drop((map.insert(user, value), model.insert(user, value))),
                    1 => prop_assert_eq!(map.remove(&user), model.remove(&user)),
                    2 => {
                        map.retain(|other, _| *other >= user);
                        model.retain(|other, _| *other >= user);
                    }
                    _ => {
                        map.extend([(user, value)]);
                        model.extend([(user, value)]);
                    }
                }
                for number in 0..=u8::MAX {
                    let user = EntraId::from_bytes([number; 16]);
                    prop_assert_eq!(map.get(&user), model.get(&user));
                }
            }
            prop_assert_eq!(entries(&map), model.into_iter().collect::<Vec<_>>());
        }
    }
}
