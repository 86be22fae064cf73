//! The order in which decisions are applied, and which of them need each other.
//!
//! A user who wants a `user_name` or e-mail address that another user gives up can only be written after that user;
//! two users who swap addresses can only be written together. A [`Batch`] is one transaction made of such units.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use super::{AttributeChange, Decision, Decisions, EndedHolds};
use crate::model::{Action, Attribute, EntraId, UniqueKey};

/// Decisions that one transaction applies, in order, as units that need each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    decisions: Decisions,
    /// Where each unit ends.
    ends: Vec<usize>,
    ended_holds: EndedHolds,
}

impl Batch {
    /// The decisions in the order in which they are applied.
    pub fn decisions(&self) -> &[Box<Decision>] {
        &self.decisions
    }

    /// The units, each a range of [`Batch::decisions`]. A unit needs no later one; it is applied whole or not at all.
    pub fn units(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        (0..self.ends.len()).map(|unit| {
            let start = unit.checked_sub(1).map_or(0, |before| self.ends[before]);
            start..self.ends[unit]
        })
    }

    /// The holds that end with the decisions of this batch.
    pub fn ended_holds(&self) -> &EndedHolds {
        &self.ended_holds
    }

    /// Takes the holds that end with its decisions.
    pub(super) fn take_ended_holds(&mut self, all: &mut EndedHolds) {
        if all.is_empty() {
            return;
        }
        let users = self.decisions.iter().flat_map(|decision| [Some(decision.user), decision.former_user()]);
        self.ended_holds = users.flatten().filter_map(|user| all.remove_entry(&user)).collect();
    }

    /// Decisions that need no other.
    pub(super) fn with_single_units(decisions: impl Iterator<Item = Decision>) -> Self {
        let decisions: Decisions = decisions.map(Box::new).collect();
        Self { ends: (1..=decisions.len()).collect(), decisions, ended_holds: EndedHolds::new() }
    }

    fn push_unit(&mut self, unit: impl IntoIterator<Item = Box<Decision>>) {
        self.decisions.extend(unit);
        self.ends.push(self.decisions.len());
    }

    pub(super) fn append(&mut self, other: Self) {
        let before = self.decisions.len();
        self.ends.extend(other.ends.into_iter().map(|end| before + end));
        self.decisions.extend(other.decisions);
        self.ended_holds.extend(other.ended_holds);
    }

    pub(super) fn redact(&mut self, redacted: &BTreeSet<Attribute>) {
        self.decisions.iter_mut().for_each(|decision| decision.redact(redacted));
        self.ended_holds.values_mut().for_each(|ended| ended.held.redact(redacted));
    }
}

/// All decisions in one batch.
impl From<Vec<Decision>> for Batch {
    fn from(decisions: Vec<Decision>) -> Self {
        arrange(decisions.into_iter().map(Box::new).collect(), usize::MAX).pop_back().unwrap_or_default()
    }
}

/// Cuts `decisions` into transactions of about `size`. Decisions that hand values to each other stay in one
/// transaction. Deactivations come last, so an interrupted apply leaves
/// learners active.
pub(super) fn arrange(decisions: Decisions, size: usize) -> VecDeque<Batch> {
    let edges = Edges::new(decisions.iter().map(|decision| &**decision));
    let is_last = |index: usize| decisions[index].action == Action::Deactivate;
    let coupled: Vec<(bool, usize, Vec<usize>)> =
        edges.units().into_iter().map(|(group, unit)| (is_last(unit[0]), group, unit)).collect();
    let alone = (0..decisions.len()).filter(|index| !edges.has(*index));
    let (last_alone, first_alone): (Vec<usize>, Vec<usize>) = alone.partition(|index| is_last(*index));
    let mut decisions: Vec<Option<Box<Decision>>> = decisions.into_iter().map(Some).collect();
    let mut batches: VecDeque<Batch> = VecDeque::new();
    let mut group_before = None;
    for (is_last, alone) in [(false, first_alone), (true, last_alone)] {
        let coupled = coupled.iter().filter(|(unit_is_last, ..)| *unit_is_last == is_last);
        // A group is named by its first decision.
        let mut coupled: Vec<(Option<usize>, &[usize])> =
            coupled.map(|(_, group, unit)| (Some(*group), &unit[..])).collect();
        // Stable: within a group the order of the units stays.
        coupled.sort_by_key(|(group, _)| *group);
        let alone = alone.iter().map(|index| (None, std::slice::from_ref(index)));
        for (group, unit) in coupled.into_iter().chain(alone) {
            let continues = group.is_some() && group == group_before;
            group_before = group;
            let unit = unit.iter().filter_map(|index| decisions[*index].take());
            match batches.back_mut() {
                Some(batch) if batch.decisions.len() < size || continues => batch.push_unit(unit),
                _ => {
                    let mut batch = Batch::default();
                    batch.push_unit(unit);
                    batches.push_back(batch);
                }
            }
        }
    }
    batches
}

/// `user`, and every user in `decisions` that hands a value to one of them or gets one.
pub(super) fn coupled_with(decisions: &[&Decision], user: EntraId) -> BTreeSet<EntraId> {
    let groups = Edges::new(decisions.iter().copied()).groups();
    let own = decisions.iter().position(|decision| decision.user == user).and_then(|index| groups.get(&index));
    let together = groups.iter().filter(|(_, group)| Some(*group) == own);
    together.map(|(index, _)| decisions[*index].user).chain([user]).collect()
}

/// The unique values that a decision gives up (`old`) or takes (`new`). A value whose letter case alone changes is kept.
pub fn unique_values<'d>(
    decision: &'d Decision,
    side: impl Fn(AttributeChange<'d>) -> Option<&'d str> + 'd,
) -> impl Iterator<Item = UniqueKey<'d>> + 'd {
    decision
        .changes
        .iter()
        .filter(|change| Attribute::UNIQUE.contains(&change.attribute))
        .filter(|change| !change.is_same())
        .filter_map(move |change| Some(UniqueKey::new(change.attribute, side(change)?)))
}

/// The decisions that take values of others or give values to them: few of all.
struct Edges {
    /// By index, sorted.
    decisions: Vec<usize>,
    /// For each of `decisions`, those whose values it takes, by their place in `decisions`; and the reverse.
    waits_for: Vec<Vec<usize>>,
    awaited_by: Vec<Vec<usize>>,
}

impl Edges {
    fn new<'d>(decisions: impl Iterator<Item = &'d Decision> + Clone) -> Self {
        let mut givers: BTreeMap<UniqueKey<'_>, usize> = BTreeMap::new();
        for (index, decision) in decisions.clone().enumerate() {
            givers.extend(unique_values(decision, |change| change.old).map(|key| (key, index)));
        }
        let mut edges = Vec::new();
        for (index, decision) in decisions.enumerate().filter(|_| !givers.is_empty()) {
            let wanted = unique_values(decision, |change| change.new);
            let givers = wanted.filter_map(|key| givers.get(&key).copied()).filter(|giver| *giver != index);
            edges.extend(givers.map(|giver| (index, giver)));
        }
        let decisions: BTreeSet<usize> = edges.iter().flat_map(|(taker, giver)| [*taker, *giver]).collect();
        let decisions: Vec<usize> = decisions.into_iter().collect();
        let place = |index: usize| decisions.partition_point(|other| *other < index);
        let mut waits_for = vec![Vec::new(); decisions.len()];
        let mut awaited_by = waits_for.clone();
        for (taker, giver) in edges {
            let (taker, giver) = (place(taker), place(giver));
            waits_for[taker].push(giver);
            awaited_by[giver].push(taker);
        }
        Self { decisions, waits_for, awaited_by }
    }

    /// Whether a decision takes values of others or gives values to them.
    fn has(&self, index: usize) -> bool {
        self.decisions.binary_search(&index).is_ok()
    }

    /// The set of connected decisions that each belongs to, named by its first index.
    fn groups(&self) -> BTreeMap<usize, usize> {
        let both = self.waits_for.iter().zip(&self.awaited_by);
        let neighbours: Vec<Vec<usize>> =
            both.map(|(waits_for, awaited_by)| [&waits_for[..], awaited_by].concat()).collect();
        let mut seen = vec![false; neighbours.len()];
        let mut groups = BTreeMap::new();
        for (start, name) in self.decisions.iter().enumerate() {
            let group = reachable(start, &neighbours, &mut seen);
            groups.extend(group.into_iter().map(|place| (self.decisions[place], *name)));
        }
        groups
    }

    /// The smallest sets of indices that can be applied one after the other, each with its group.
    fn units(&self) -> Vec<(usize, Vec<usize>)> {
        // Strongly connected components by Kosaraju's algorithm, without recursion: a batch can be one long chain.
        let finished = postorder(&self.waits_for);
        let mut seen = vec![false; finished.len()];
        let components = finished.into_iter().rev().map(|start| reachable(start, &self.awaited_by, &mut seen));
        let groups = self.groups();
        let units = components.filter(|unit| !unit.is_empty()).map(|unit| {
            let unit: Vec<usize> = unit.into_iter().map(|place| self.decisions[place]).collect();
            (groups[&unit[0]], unit)
        });
        let mut units: Vec<_> = units.collect();
        units.reverse();
        units
    }
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
