//! Which changes must be carried out together, and which before which.
//!
//! A change that wants a `user_name` or e-mail address which another change gives up can only go after it; two users
//! who swap addresses can only go together. Only when a batch is taken apart, because a row in it was refused, does
//! this matter: then the others must not fail for having been separated.

use std::collections::BTreeMap;

use crate::model::{Attribute, UniqueKey};
use crate::plan::{AttributeChange, Change};

/// Cuts `batch` into the smallest sets of indices that can be carried out in order, one set after the other.
pub(super) fn units(batch: &[Change]) -> Vec<Vec<usize>> {
    let waits_for = dependencies(batch);
    let mut awaited_by = vec![Vec::new(); batch.len()];
    for (index, others) in waits_for.iter().enumerate() {
        for other in others {
            awaited_by[*other].push(index);
        }
    }
    // Strongly connected components after Kosaraju, without recursion: a batch can be one long chain. Taken in order
    // of finishing, a change comes after those it waits for; a second walk from the last one gathers the circles.
    let finished = postorder(0..batch.len(), &waits_for);
    let mut seen = vec![false; batch.len()];
    let mut units: Vec<Vec<usize>> = finished
        .into_iter()
        .rev()
        .map(|start| reachable(start, &awaited_by, &mut seen))
        .filter(|unit| !unit.is_empty())
        .collect();
    units.reverse();
    units
}

/// The values that `change` gives up (`old`) or wants (`new`).
pub(super) fn unique_values<'c>(
    change: &'c Change,
    side: impl Fn(&'c AttributeChange) -> Option<&'c str>,
) -> impl Iterator<Item = UniqueKey> {
    change
        .changes
        .iter()
        .filter(|changed| Attribute::UNIQUE.contains(&changed.attribute))
        .filter_map(move |changed| Some(UniqueKey::new(changed.attribute, side(changed)?)))
}

fn dependencies(batch: &[Change]) -> Vec<Vec<usize>> {
    let mut given_up = BTreeMap::new();
    for (index, change) in batch.iter().enumerate() {
        for key in unique_values(change, |changed| changed.old.as_deref()) {
            given_up.insert(key, index);
        }
    }
    let mut waits_for = vec![Vec::new(); batch.len()];
    if given_up.is_empty() {
        return waits_for;
    }
    for (index, change) in batch.iter().enumerate() {
        let others = unique_values(change, |changed| changed.new.as_deref())
            .filter_map(|key| given_up.get(&key).copied())
            .filter(|other| *other != index);
        waits_for[index].extend(others);
    }
    waits_for
}

fn postorder(starts: impl Iterator<Item = usize>, edges: &[Vec<usize>]) -> Vec<usize> {
    let mut finished = Vec::with_capacity(edges.len());
    let mut seen = vec![false; edges.len()];
    for start in starts {
        let mut path = vec![(start, 0)];
        while let Some((node, next)) = path.pop() {
            if next == 0 && std::mem::replace(&mut seen[node], true) {
                continue;
            }
            match edges[node].get(next) {
                Some(other) => path.extend([(node, next + 1), (*other, 0)]),
                None => finished.push(node),
            }
        }
    }
    finished
}

fn reachable(start: usize, edges: &[Vec<usize>], seen: &mut [bool]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut waiting = vec![start];
    while let Some(node) = waiting.pop() {
        if !std::mem::replace(&mut seen[node], true) {
            found.push(node);
            waiting.extend(&edges[node]);
        }
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::{update, user};
    use super::*;

    fn check(renames: &[(&str, &str)], expect: &[&[usize]]) {
        let batch: Vec<Change> = renames
            .iter()
            .zip(1..)
            .map(|((old, new), number)| {
                update(user(number), number.into(), &[(Attribute::UserName, Some(old), Some(new))])
            })
            .collect();
        assert_eq!(units(&batch), expect, "{renames:?}");
    }

    #[test]
    fn changes_that_have_nothing_to_do_with_each_other_stay_in_order() {
        check(&[("a", "b"), ("c", "d"), ("e", "f")], &[&[0], &[1], &[2]]);
        check(&[], &[]);
    }

    #[test]
    fn a_chain_begins_where_a_value_becomes_free() {
        check(&[("a", "B"), ("b", "c"), ("c", "d")], &[&[2], &[1], &[0]]);
    }

    #[test]
    fn circles_stay_together() {
        check(&[("x", "a"), ("a", "b"), ("q", "r"), ("b", "a")], &[&[1, 3], &[0], &[2]]);
        check(&[("a", "b"), ("b", "c"), ("c", "a")], &[&[0, 1, 2]]);
        check(&[("a", "A")], &[&[0]]);
    }
}
