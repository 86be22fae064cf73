//! Values by attribute, packed into one text: a cycle may hold those of a million users.

use std::fmt;

use super::Attribute;

/// A digit of a length has six bits, so that the packed form is text. This bit says that another digit follows.
const MORE: u8 = 0x40;

/// Mapped values in the order of [`Attribute::ALL`]. An attribute that is not there stays unchanged; `None` clears it.
/// Booleans are `"true"` or `"false"`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Values {
    /// For each attribute: its index, its length plus one or a zero for `None`, and its text.
    packed: String,
    last: Option<Attribute>,
}

impl Values {
    /// No values, with space for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { packed: String::with_capacity(bytes), last: None }
    }

    /// The value of `attribute`; `None` when it is not there.
    pub fn get(&self, attribute: Attribute) -> Option<Option<&str>> {
        self.iter().find(|(known, _)| *known == attribute).map(|(_, value)| value)
    }

    /// The text of `attribute`, if it is there and not cleared.
    pub fn text(&self, attribute: Attribute) -> Option<&str> {
        self.get(attribute).flatten()
    }

    /// Sets the value of `attribute`.
    pub fn insert(&mut self, attribute: Attribute, value: Option<&str>) {
        if self.last.is_none_or(|last| last < attribute) {
            self.push(attribute, value);
            return;
        }
        let all = std::mem::take(self);
        all.iter().take_while(|(known, _)| *known < attribute).for_each(|(known, value)| self.push(known, value));
        self.push(attribute, value);
        all.iter().skip_while(|(known, _)| *known <= attribute).for_each(|(known, value)| self.push(known, value));
    }

    /// Removes the attributes that `keep` does not accept.
    pub fn retain(&mut self, keep: impl Fn(Attribute) -> bool) {
        let all = std::mem::take(self);
        all.iter().filter(|(known, _)| keep(*known)).for_each(|(known, value)| self.push(known, value));
    }

    /// Removes every value and keeps the space.
    pub fn clear(&mut self) {
        self.packed.clear();
        self.last = None;
    }

    /// Gives unused space back.
    pub fn shrink_to_fit(&mut self) {
        self.packed.shrink_to_fit();
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// All values, in the order of [`Attribute::ALL`].
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.packed }
    }

    /// Appends a value. `attribute` comes after all others.
    fn push(&mut self, attribute: Attribute, value: Option<&str>) {
        self.packed.push(char::from(attribute as u8));
        let mut number = value.map_or(0, |text| text.len() + 1);
        while number >= usize::from(MORE) {
            self.packed.push(char::from((number % usize::from(MORE)) as u8 | MORE));
            number /= usize::from(MORE);
        }
        self.packed.push(char::from(number as u8));
        self.packed.push_str(value.unwrap_or_default());
        self.last = Some(attribute);
    }
}

/// Iterates over [`Values`].
#[derive(Clone, Debug)]
pub struct Iter<'v> {
    rest: &'v str,
}

impl<'v> Iterator for Iter<'v> {
    type Item = (Attribute, Option<&'v str>);

    fn next(&mut self) -> Option<Self::Item> {
        let (index, mut digits) = self.rest.as_bytes().split_first()?;
        let (mut number, mut shift) = (0, 0);
        loop {
            let (digit, rest) = digits.split_first()?;
            digits = rest;
            number |= usize::from(digit % MORE) << shift;
            shift += MORE.trailing_zeros();
            if digit & MORE == 0 {
                break;
            }
        }
        let text = &self.rest[self.rest.len() - digits.len()..];
        let (value, rest) = text.split_at(number.saturating_sub(1));
        self.rest = rest;
        Some((Attribute::ALL[usize::from(*index)], (number > 0).then_some(value)))
    }
}

impl<'v> IntoIterator for &'v Values {
    type Item = (Attribute, Option<&'v str>);
    type IntoIter = Iter<'v>;

    fn into_iter(self) -> Iter<'v> {
        self.iter()
    }
}

impl<T: AsRef<str>> Extend<(Attribute, Option<T>)> for Values {
    fn extend<I: IntoIterator<Item = (Attribute, Option<T>)>>(&mut self, values: I) {
        for (attribute, value) in values {
            self.insert(attribute, value.as_ref().map(AsRef::as_ref));
        }
    }
}

impl<T: AsRef<str>> FromIterator<(Attribute, Option<T>)> for Values {
    fn from_iter<I: IntoIterator<Item = (Attribute, Option<T>)>>(values: I) -> Self {
        let mut all = Self::default();
        all.extend(values);
        all
    }
}

impl<T: AsRef<str>, const N: usize> From<[(Attribute, Option<T>); N]> for Values {
    fn from(values: [(Attribute, Option<T>); N]) -> Self {
        values.into_iter().collect()
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = Option<String>> {
        let length = prop_oneof![0_usize..4, 60_usize..70, 4090_usize..4100];
        proptest::option::of((length, "[aé\u{1f600}\0@]").prop_map(|(length, unit)| unit.repeat(length)))
    }

    proptest! {
        #[test]
        fn values_are_a_map_by_attribute(
            inserted in proptest::collection::vec((0..Attribute::ALL.len(), text()), 0..20),
        ) {
            let inserted = inserted.into_iter().map(|(index, text)| (Attribute::ALL[index], text));
            let map: BTreeMap<Attribute, Option<String>> = inserted.clone().collect();
            let values: Values = inserted.collect();
            let expected: Vec<_> = map.iter().map(|(attribute, text)| (*attribute, text.as_deref())).collect();
            prop_assert_eq!(values.iter().collect::<Vec<_>>(), expected);
            for attribute in Attribute::ALL {
                prop_assert_eq!(values.get(*attribute), map.get(attribute).map(Option::as_deref));
            }
            prop_assert_eq!(map.into_iter().collect::<Values>(), values);
        }
    }
}
