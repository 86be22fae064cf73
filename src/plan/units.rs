//! The order in which decisions are applied, and which of them need each other.
//!
//! A user who wants a `user_name` or e-mail address that another user gives up can only be written after that user;
//! two users who swap addresses can only be written together. A [`Batch`] is one transaction made of such units.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::{AttributeChange, Decision};
use crate::model::{Action, Attribute, EntraId, UniqueKey};

/// Decisions that one transaction applies, in order, as units that need each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    decisions: Vec<Decision>,
    /// Where each unit ends.
    ends: Vec<usize>,
}

impl Batch {
    /// The decisions in the order in which they are applied.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// The units, each a range of [`Batch::decisions`]. A unit needs no later one; it is applied whole or not at all.
    pub fn units(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        (0..self.ends.len()).map(|unit| {
            let start = unit.checked_sub(1).map_or(0, |before| self.ends[before]);
            start..self.ends[unit]
        })
    }

    fn push_unit(&mut self, unit: impl IntoIterator<Item = Decision>) {
        self.decisions.extend(unit);
        self.ends.push(self.decisions.len());
    }

    pub(super) fn redact(&mut self, redacted: &BTreeSet<Attribute>) {
        self.decisions.iter_mut().for_each(|decision| decision.redact(redacted));
    }
}

/// All decisions in one batch.
impl From<Vec<Decision>> for Batch {
    fn from(decisions: Vec<Decision>) -> Self {
        arrange(decisions, usize::MAX).pop().unwrap_or_default()
    }
}

/// Cuts `decisions` into transactions of about `size`. Decisions that hand values to each other stay in one
/// transaction. Deactivations come last: whatever stops the apply half-way has kept everybody active.
pub(super) fn arrange(decisions: Vec<Decision>, size: usize) -> Vec<Batch> {
    let groups = Coupled::of(&decisions);
    let mut order: Vec<Vec<usize>> = units(&decisions);
    let key = |unit: &Vec<usize>| {
        let first = unit[0];
        let group = groups.is_coupled(first).then(|| groups.root(first));
        (decisions[first].action == Action::Deactivate, group.is_none(), group)
    };
    // Stable: within a group the order of the units stays.
    order.sort_by_key(key);
    let keys: Vec<_> = order.iter().map(key).collect();

    let mut decisions: Vec<Option<Decision>> = decisions.into_iter().map(Some).collect();
    let mut batches: Vec<Batch> = Vec::new();
    for (position, unit) in order.into_iter().enumerate() {
        let (_, _, group) = keys[position];
        let continues = group.is_some() && position > 0 && keys[position - 1].2 == group;
        let unit = unit.into_iter().filter_map(|index| decisions[index].take());
        match batches.last_mut() {
            Some(batch) if batch.decisions.len() < size || continues => batch.push_unit(unit),
            _ => {
                let mut batch = Batch::default();
                batch.push_unit(unit);
                batches.push(batch);
            }
        }
    }
    batches
}

/// `user`, and every user in `decisions` that hands a value to one of them or gets one.
pub(super) fn coupled_with(decisions: &[&Decision], user: EntraId) -> BTreeSet<EntraId> {
    let groups = Coupled::of(decisions.iter().copied());
    let own = decisions.iter().position(|decision| decision.user == user).map(|index| groups.root(index));
    let together = decisions.iter().enumerate().filter(|(index, _)| Some(groups.root(*index)) == own);
    together.map(|(_, decision)| decision.user).collect()
}

/// The unique values that a decision gives up (`old`) or takes (`new`).
pub fn unique_values<'d>(
    decision: &'d Decision,
    side: impl Fn(&'d AttributeChange) -> Option<&'d str> + 'd,
) -> impl Iterator<Item = UniqueKey> + 'd {
    decision
        .changes
        .iter()
        .filter(|change| Attribute::UNIQUE.contains(&change.attribute))
        .filter_map(move |change| Some(UniqueKey::new(change.attribute, side(change)?)))
}

/// Who gives up which value, by index.
fn givers<'d>(decisions: impl IntoIterator<Item = &'d Decision>) -> BTreeMap<UniqueKey, usize> {
    let all = decisions.into_iter().enumerate();
    all.flat_map(|(index, decision)| {
        unique_values(decision, |change| change.old.as_deref()).map(move |key| (key, index))
    })
    .collect()
}

/// Sets of decisions that are connected by handed-over values.
struct Coupled {
    parents: Vec<usize>,
    coupled: BTreeSet<usize>,
}

impl Coupled {
    fn of<'d>(decisions: impl IntoIterator<Item = &'d Decision, IntoIter: Clone>) -> Self {
        let decisions = decisions.into_iter();
        let givers = givers(decisions.clone());
        let mut sets = Self { parents: (0..decisions.clone().count()).collect(), coupled: BTreeSet::new() };
        if givers.is_empty() {
            return sets;
        }
        for (index, decision) in decisions.enumerate() {
            for giver in unique_values(decision, |change| change.new.as_deref()).filter_map(|key| givers.get(&key)) {
                let (left, right) = (sets.root(index), sets.root(*giver));
                sets.parents[left.max(right)] = left.min(right);
                sets.coupled.extend([index, *giver]);
            }
        }
        sets
    }

    fn is_coupled(&self, index: usize) -> bool {
        self.coupled.contains(&index)
    }

    fn root(&self, mut index: usize) -> usize {
        while self.parents[index] != index {
            index = self.parents[index];
        }
        index
    }
}

/// The smallest sets of indices that can be applied one after the other.
fn units(decisions: &[Decision]) -> Vec<Vec<usize>> {
    let waits_for = dependencies(decisions);
    let mut awaited_by = vec![Vec::new(); decisions.len()];
    for (index, others) in waits_for.iter().enumerate() {
        for other in others {
            awaited_by[*other].push(index);
        }
    }
    // Strongly connected components by Kosaraju's algorithm, without recursion because a batch can be one long chain.
    let finished = postorder(&waits_for);
    let mut seen = vec![false; decisions.len()];
    let components = finished.into_iter().rev().map(|start| reachable(start, &awaited_by, &mut seen));
    let mut units: Vec<Vec<usize>> = components.filter(|unit| !unit.is_empty()).collect();
    units.reverse();
    units
}

/// For each decision, those whose values it takes.
fn dependencies(decisions: &[Decision]) -> Vec<Vec<usize>> {
    let givers = givers(decisions);
    let mut waits_for = vec![Vec::new(); decisions.len()];
    if givers.is_empty() {
        return waits_for;
    }
    for (index, decision) in decisions.iter().enumerate() {
        let wanted = unique_values(decision, |change| change.new.as_deref());
        waits_for[index].extend(wanted.filter_map(|key| givers.get(&key).copied()).filter(|other| *other != index));
    }
    waits_for
}

fn postorder(edges: &[Vec<usize>]) -> Vec<usize> {
    let mut finished = Vec::with_capacity(edges.len());
    let mut seen = vec![false; edges.len()];
    for start in 0..edges.len() {
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
