//! Unique values: which learner holds them, which users want them, and which of these can have them.
//!
//! Values may move within one cycle: swaps and chains of renames are not conflicts. Such
//! decisions are applied together, see [`Batch`](super::Batch).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

use super::joiners::{creation_value, newly_wanted};
use super::leavers::account_is_deleted;
use super::restrictions::excluded_by;
use super::units::unique_values;
use super::{Assessment, AttributeChange, Decision, Effect, LearnerRow, PlanInput, RowAfter, TargetRow};
use crate::model::{
    Action, Attribute, Cause, EntraId, Fingerprint, Learner, LearnerId, Reason, Reissued, RequestId, UniqueKey, Values,
    shell_word,
};

/// The learners by the values they hold, linked or not.
pub(super) struct Holders<'a> {
    /// More than one row where the database keeps two spellings of a value.
    by_key: BTreeMap<UniqueKey<'a>, Vec<&'a LearnerRow>>,
    by_external_id: BTreeMap<EntraId, &'a LearnerRow>,
    match_attribute: Attribute,
    /// By the folded value of the match attribute.
    unlinked_by_match: BTreeMap<Cow<'a, str>, Vec<&'a LearnerRow>>,
}

/// The unlinked learner that a newcomer adopts.
pub(super) enum Match<'a> {
    None,
    /// The row, and how it was found.
    Row(&'a LearnerRow, String),
    Conflict(String),
}

impl<'a> Holders<'a> {
    pub(super) fn new(rows: &'a [LearnerRow], match_attribute: Attribute) -> Self {
        let mut holders = Self {
            by_key: BTreeMap::new(),
            by_external_id: BTreeMap::new(),
            match_attribute,
            unlinked_by_match: BTreeMap::new(),
        };
        for row in rows {
            for key in newly_wanted(|attribute| row.value(attribute), None) {
                holders.by_key.entry(key).or_default().push(row);
            }
            if let Some(named) = named_user(row) {
                holders.by_external_id.insert(named, row);
            }
            if let (None, Some(value)) = (&row.link, row.value(match_attribute)) {
                holders.unlinked_by_match.entry(match_attribute.matched(value)).or_default().push(row);
            }
        }
        holders
    }

    /// A row that has this value.
    fn holder(&self, key: &UniqueKey<'_>) -> Option<&'a LearnerRow> {
        self.by_key.get(key)?.last().copied()
    }

    /// Every row that has one of the unique `values`, or that this user would adopt.
    pub(super) fn similar(&self, id: EntraId, values: &Values) -> impl Iterator<Item = &'a LearnerRow> {
        let wanted = values.text(self.match_attribute);
        let matching = wanted.and_then(|wanted| self.unlinked_by_match.get(&*self.match_attribute.matched(wanted)));
        let holding = newly_wanted(|attribute| values.text(attribute), None)
            .filter_map(|key| self.by_key.get(&key))
            .flatten()
            .copied();
        let rows: Vec<&LearnerRow> = holding.chain(self.by_external_id.get(&id).copied()).collect();
        rows.into_iter().chain(matching.into_iter().flatten().copied())
    }

    /// The unlinked learner of this user: the one that names it in `external_id`, else the only one with the same match
    /// attribute.
    pub(super) fn unlinked_match<'v>(&self, id: EntraId, value: impl Fn(Attribute) -> Option<&'v str>) -> Match<'a> {
        if let Some(row) = self.by_external_id.get(&id) {
            return if row.link.is_none() && !row.unreadable_link && !row.other_state {
                Match::Row(row, "matched by external_id".to_owned())
            } else {
                Match::Conflict(format!("external_id is held by {}", describe(row)))
            };
        }
        let path = self.match_attribute.path();
        let Some(wanted) = value(self.match_attribute) else { return Match::None };
        // An external table may have several names that differ in letter case alone.
        let matching = self.unlinked_by_match.get(&*self.match_attribute.matched(wanted));
        match matching.map_or(&[][..], Vec::as_slice) {
            [] => Match::None,
            // Any other text, such as a mailNickname, is left by Entra's own provisioning and names no user.
            [row] if named_user(row).is_some() => {
                Match::Conflict(format!("{path} matches {}, whose external_id names another user", describe(row)))
            }
            [row] if row.other_state || row.unreadable_link => {
                Match::Conflict(format!("{path} matches {}", describe(row)))
            }
            [row] => Match::Row(row, format!("matched by {path}")),
            several => {
                let learners: Vec<String> = several.iter().map(|row| row.learner.to_string()).collect();
                let (count, learners) = (several.len(), learners.join(", "));
                Match::Conflict(format!("{path} matches {count} unlinked learners: {learners}"))
            }
        }
    }
}

/// Why a user cannot have what it wants.
#[derive(Clone)]
pub(super) struct Conflict {
    pub(super) detail: String,
    /// Whether its account may have been created again.
    pub(super) cause: Option<Cause>,
}

impl From<String> for Conflict {
    fn from(detail: String) -> Self {
        Self { detail, cause: None }
    }
}

/// The user that `external_id` names, even if learner-sync did not write it.
fn named_user(row: &LearnerRow) -> Option<EntraId> {
    row.external_id.as_deref().and_then(EntraId::from_any_notation)
}

/// The holder as a conflict names it: by ids, never by name.
fn describe(row: &LearnerRow) -> String {
    let link = match (&row.link, named_user(row)) {
        (Some((source, user)), _) => format!("Entra id {user} of {source}"),
        (None, _) if row.unreadable_link => "linked, but the link cannot be read".to_owned(),
        (None, Some(named)) => format!("external_id {named}, not linked"),
        (None, None) => "not linked".to_owned(),
    };
    let state = match (row.active, row.other_state) {
        (true, _) => "active",
        (false, false) => "inactive",
        (false, true) => "in a state that only the platform may change",
    };
    format!("learner {} ({link}, {state})", row.learner)
}

/// Whether a newcomer wants a value of a learner of this source whose account may have been created again as this one.
fn may_be_recreated(input: PlanInput<'_>, decision: &Decision, row: &LearnerRow) -> bool {
    decision.row == TargetRow::New
        && linked_user(input, row).is_some_and(|former| !row.active || account_is_deleted(input, former))
}

/// The command for such a newcomer. A learner that is still active can only be relinked by proof.
fn relink_command(user: EntraId, row: &LearnerRow, several: bool) -> String {
    if several || row.active {
        return "; if the account was deleted and created again, run: learner-sync approve --relink".to_owned();
    }
    let learner = shell_word(&row.learner.to_string());
    format!("; if both accounts belong to one person, run: learner-sync provision {user} --relink {learner}")
}

/// The user that this row is linked to by this source.
pub(super) fn linked_user(input: PlanInput<'_>, row: &LearnerRow) -> Option<EntraId> {
    let (_, user) = row.link.as_ref()?;
    input.linked.get(user).is_some_and(|linked| linked.learner == row.learner).then_some(*user)
}

/// The users who cannot have what they want, and why. A holder keeps its value unless it gets another one in this
/// plan. `staying` users are held and keep their values. If two users newly want one value, neither gets it.
pub(super) fn conflicts<'d>(
    input: PlanInput<'_>,
    decisions: impl Iterator<Item = &'d Decision> + Clone,
    holders: &Holders<'_>,
    staying: &BTreeSet<EntraId>,
) -> BTreeMap<EntraId, Conflict> {
    let mut conflicts: BTreeMap<EntraId, Conflict> = BTreeMap::new();
    let mut adoptions: BTreeMap<&LearnerId, Vec<EntraId>> = BTreeMap::new();
    for decision in decisions.clone() {
        if let TargetRow::Adopt(adoption) = &decision.row {
            adoptions.entry(&adoption.learner).or_default().push(decision.user);
        }
    }
    adoptions.retain(|_, users| users.len() > 1);
    for (learner, users) in &adoptions {
        let detail = format!("{} users match learner {learner}", users.len());
        conflicts.extend(users.iter().map(|user| (*user, detail.clone().into())));
    }
    let wanted = Wanted::new(decisions.clone(), holders);
    for (key, claimants) in wanted.iter().filter(|(_, claimants)| claimants.len() > 1) {
        for decision in claimants.clone() {
            let others = claimants.clone().filter(|other| other.user != decision.user);
            let others: BTreeSet<String> = others.map(|other| other.user.to_string()).collect();
            let others = others.into_iter().collect::<Vec<_>>().join(", ");
            conflicts.insert(decision.user, format!("{} is also wanted by {others}", key.attribute.path()).into());
        }
    }
    let by_learner: BTreeMap<&LearnerId, &Decision> =
        decisions.filter_map(|decision| Some((decision.row.learner()?, decision))).collect();
    let recreated = wanted.iter().filter_map(|(key, claimants)| Some((holders.holder(key)?, claimants)));
    let recreated = recreated.flat_map(|(row, claimants)| {
        claimants.filter(move |claimant| may_be_recreated(input, claimant, row)).map(|claimant| claimant.user)
    });
    let recreated: BTreeSet<EntraId> = recreated.collect();
    // A user in conflict keeps its value, which puts those who wait for the value in conflict as well. The name of a
    // holder replaces that of another claimant, because it says more.
    let mut settled: BTreeSet<EntraId> = adoptions.into_values().flatten().collect();
    loop {
        let mut found = BTreeMap::new();
        for (key, claimants) in wanted.iter() {
            let Some(row) = holders.holder(key) else { continue };
            let becomes_free = former_user(input, row).is_some()
                || by_learner.get(&row.learner).is_some_and(|holder| {
                    gives_up(holder, key) && !conflicts.contains_key(&holder.user) && !staying.contains(&holder.user)
                });
            if becomes_free {
                continue;
            }
            let others = claimants.filter(|claimant| claimant.row.learner() != Some(&row.learner));
            for decision in others.filter(|claimant| !settled.contains(&claimant.user)) {
                let mut conflict = Conflict::from(format!("{} is held by {}", key.attribute.path(), describe(row)));
                if may_be_recreated(input, decision, row) {
                    conflict.detail += &relink_command(decision.user, row, recreated.len() > 1);
                    conflict.cause = Some(Cause::Recreated);
                }
                found.insert(decision.user, conflict);
            }
        }
        if found.is_empty() {
            return conflicts;
        }
        settled.extend(found.keys());
        conflicts.extend(found);
    }
}

/// The user of a former learner of this source whose values may be freed, with `learners.reissued = "free"`.
fn former_user(input: PlanInput<'_>, row: &LearnerRow) -> Option<EntraId> {
    let user = linked_user(input, row)?;
    let stays = input.unreadable(user).is_some()
        || input.desired.assessment(user).is_some_and(Assessment::keeps_learner)
        || excluded_by(input, user, Some(row)).is_some();
    (input.limits.reissued == Reissued::Free && !row.active && !row.other_state && !stays).then_some(user)
}

/// Frees the values that former learners hold and `decisions` want, by putting the Entra id in front of them. Entra
/// does the same with the names of deleted users.
pub(super) fn free_reissued<'d>(
    input: PlanInput<'_>,
    decisions: impl Iterator<Item = &'d Decision> + Clone,
    holders: &Holders<'_>,
) -> Vec<Decision> {
    if input.limits.reissued != Reissued::Free || holders.by_key.is_empty() {
        return Vec::new();
    }
    let written: BTreeSet<&LearnerId> = decisions.clone().filter_map(|decision| decision.row.learner()).collect();
    let mut freed = BTreeMap::new();
    for (key, mut claimants) in Wanted::new(decisions, holders).iter() {
        let Some(row) = holders.holder(key).filter(|row| !written.contains(&row.learner)) else { continue };
        if let (Some(user), Some(claimant)) = (former_user(input, row), claimants.next()) {
            freed.entry(user).or_insert((row, key.attribute, claimant.user));
        }
    }
    freed.into_iter().filter_map(|(user, (row, wanted, by))| free_values(input, user, row, wanted, by)).collect()
}

fn free_values(
    input: PlanInput<'_>,
    user: EntraId,
    row: &LearnerRow,
    wanted: Attribute,
    by: EntraId,
) -> Option<Decision> {
    let routes = input.routes(user)?.clone();
    let mut values = row.values.clone();
    for attribute in Attribute::UNIQUE {
        if let Some(old) = row.value(attribute) {
            let new = format!("{user}{old}");
            values.insert(attribute, Some(&new));
        }
    }
    let of = |attribute| AttributeChange::new(attribute, row.value(attribute), values.text(attribute));
    let changes = Attribute::UNIQUE.into_iter().filter(|attribute| row.value(*attribute).is_some()).map(of).collect();
    Some(Decision {
        user,
        action: Action::Update,
        reason: Reason::AttributesChanged,
        detail: Some(format!("freed {} for Entra id {by}", wanted.path())),
        row: TargetRow::Linked(row.learner.clone()),
        known_name: row.value(Attribute::UserName).map(Box::from),
        changes,
        request_id: RequestId::default(),
        effect: Effect::Apply(RowAfter {
            active: row.active,
            routes,
            fingerprint: Fingerprint::compute(&values),
            row: None,
            spelling: None,
            approved_by: None,
            keeps_hold: false,
        }),
    })
}

/// The unique values that a learner has or that several users want. Only a decision that wants one of them can be in conflict.
pub(super) struct SharedValues<'a> {
    pub(super) holders: &'a Holders<'a>,
    repeated: RepeatedKeys,
}

impl<'a> SharedValues<'a> {
    /// Those of every user that is wanted. Some of these users may turn out to want nothing.
    pub(super) fn new(input: PlanInput<'_>, holders: &'a Holders<'a>) -> Self {
        let wanted = input.desired.users.iter().filter_map(|(id, user)| match &user.assessment {
            Assessment::Wanted(learner) => Some((*id, &**learner)),
            _ => None,
        });
        let hashes = wanted.flat_map(|(id, learner): (EntraId, &Learner)| {
            let is_linked = input.linked.contains_key(&id);
            let created = (!is_linked).then(|| newly_wanted(move |attribute| creation_value(learner, attribute), None));
            // A newcomer may adopt a row, which gets no values for a new one.
            let updated = (is_linked || learner.on_create.is_some())
                .then(|| newly_wanted(move |attribute| learner.values.text(attribute), input.row(id)));
            created.into_iter().flatten().chain(updated.into_iter().flatten()).map(|key| hash(&key))
        });
        Self { holders, repeated: RepeatedKeys::among(hashes) }
    }

    pub(super) fn contains(&self, key: &UniqueKey<'_>) -> bool {
        self.holders.holder(key).is_some() || self.repeated.contains(key)
    }
}

/// The unique values that occur more than once, by their hashes: a first load has two values for each user, and nearly all
/// of them once.
struct RepeatedKeys(Vec<u64>);

impl RepeatedKeys {
    fn among(hashes: impl Iterator<Item = u64>) -> Self {
        let mut hashes: Vec<u64> = hashes.collect();
        hashes.sort_unstable();
        Self(hashes.chunk_by(|left, right| left == right).filter(|same| same.len() > 1).map(|same| same[0]).collect())
    }

    /// Whether the value occurs more than once; seldom also when it does not.
    fn contains(&self, key: &UniqueKey<'_>) -> bool {
        self.0.binary_search(&hash(key)).is_ok()
    }
}

fn hash(key: &UniqueKey<'_>) -> u64 {
    FixedState::default().hash_one(key)
}

/// The decisions that newly want a value which another learner has or another decision wants, in the order of the values.
struct Wanted<'d>(Vec<(UniqueKey<'d>, &'d Decision)>);

impl<'d> Wanted<'d> {
    fn new(decisions: impl Iterator<Item = &'d Decision> + Clone, holders: &Holders<'_>) -> Self {
        let keys = |decision: &'d Decision| unique_values(decision, |change| change.new);
        let repeated = RepeatedKeys::among(decisions.clone().flat_map(keys).map(|key| hash(&key)));
        if holders.by_key.is_empty() && repeated.0.is_empty() {
            return Self(Vec::new());
        }
        let shared = SharedValues { holders, repeated };
        let shared = |decision| keys(decision).filter(|key| shared.contains(key)).map(move |key| (key, decision));
        let mut wanted: Vec<(UniqueKey<'_>, &Decision)> = decisions.flat_map(shared).collect();
        // Stable: the first of several claimants stays the first.
        wanted.sort_by(|(left, _), (right, _)| left.cmp(right));
        Self(wanted)
    }

    /// Each value with its claimants, at least one.
    fn iter(&self) -> impl Iterator<Item = (&UniqueKey<'d>, impl ExactSizeIterator<Item = &'d Decision> + Clone)> {
        let values = self.0.chunk_by(|(left, _), (right, _)| left == right);
        values.map(|claims| (&claims[0].0, claims.iter().map(|(_, decision)| *decision)))
    }
}

fn gives_up(decision: &Decision, key: &UniqueKey<'_>) -> bool {
    unique_values(decision, |change| change.old).any(|old| old == *key)
}
