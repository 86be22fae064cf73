//! Unique values: who holds them, who wants them, and who can have them.
//!
//! Values may move in one cycle: two users who swap addresses, and chains of renames, are no conflict. What moves
//! together is applied together, see [`arrange`].

use std::collections::{BTreeMap, BTreeSet};

use super::joiners::newly_wanted;
use super::restrictions;
use super::{Assessment, AttributeChange, Change, LearnerRow, PlanInput, Target};
use crate::model::{Action, Attribute, EntraId, Fingerprint, LearnerId, Reason, Reissued, UniqueKey, Values};

/// Who holds what, among all learners.
pub(super) struct Holders<'a> {
    by_key: BTreeMap<UniqueKey, &'a LearnerRow>,
    by_external_id: BTreeMap<String, &'a LearnerRow>,
    match_attribute: Attribute,
    /// By the value as it is compared.
    unlinked_by_match: BTreeMap<String, Vec<&'a LearnerRow>>,
}

pub(super) enum Match<'a> {
    None,
    LearnerRow(&'a LearnerRow, String),
    Conflict(String),
}

impl<'a> Holders<'a> {
    pub(super) fn of(rows: &'a [LearnerRow], match_attribute: Attribute) -> Self {
        let mut unlinked_by_match: BTreeMap<String, Vec<&LearnerRow>> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.link.is_none()) {
            if let Some(value) = row.values.get(&match_attribute).and_then(Option::as_deref) {
                unlinked_by_match.entry(compared(match_attribute, value)).or_default().push(row);
            }
        }
        let mut by_key = BTreeMap::new();
        let mut by_external_id = BTreeMap::new();
        for row in rows {
            for key in newly_wanted(&row.values, None) {
                by_key.insert(key, row);
            }
            if let Some(external_id) = &row.external_id {
                by_external_id.insert(external_id.to_ascii_lowercase(), row);
            }
        }
        Self { by_key, by_external_id, match_attribute, unlinked_by_match }
    }

    /// The unlinked learner that is this user: the one that names it in `external_id`, else the one with the
    /// same match attribute.
    pub(super) fn unlinked_match(&self, id: EntraId, values: &Values) -> Match<'a> {
        let match_attribute = self.match_attribute;
        if let Some(row) = self.by_external_id.get(&id.to_string()) {
            return match &row.link {
                None if row.other_state => Match::Conflict(format!("external_id is held by {}", describe(row))),
                None => Match::LearnerRow(row, "matched by external_id".to_owned()),
                Some(_) => Match::Conflict(format!("external_id is held by {}", describe(row))),
            };
        }
        let Some(wanted) = values.get(&match_attribute).and_then(Option::as_deref) else { return Match::None };
        // A table of somebody else may have names that differ in letter case alone.
        let matching = self.unlinked_by_match.get(&compared(match_attribute, wanted));
        match matching.map_or(&[][..], Vec::as_slice) {
            [] => Match::None,
            [row] if row.external_id.is_some() => Match::Conflict(format!(
                "{} matches {}, whose external_id names somebody else",
                match_attribute.path(),
                describe(row)
            )),
            [row] if row.other_state => {
                Match::Conflict(format!("{} matches {}", match_attribute.path(), describe(row)))
            }
            [row] => Match::LearnerRow(row, format!("matched by {}", match_attribute.path())),
            several => Match::Conflict(format!(
                "{} matches {} unlinked learners: {}",
                match_attribute.path(),
                several.len(),
                several.iter().map(|row| row.learner.to_string()).collect::<Vec<_>>().join(", ")
            )),
        }
    }
}

/// A value of an attribute in the form in which two of them are the same.
fn compared(attribute: Attribute, value: &str) -> String {
    if Attribute::UNIQUE.contains(&attribute) { value.to_ascii_lowercase() } else { value.to_owned() }
}

/// The holder as a conflict names it: by learner and Entra id, not by name.
fn describe(row: &LearnerRow) -> String {
    let whose = match (&row.link, &row.external_id) {
        (Some((source, user)), _) => format!("Entra id {user} of {source}"),
        (None, Some(external_id)) => format!("external_id {external_id}, not linked"),
        (None, None) => "not linked".to_owned(),
    };
    let state = match (row.active, row.other_state) {
        (true, _) => "active",
        (false, false) => "inactive",
        (false, true) => "in a state of the platform's own",
    };
    format!("learner {} ({whose}, {state})", row.learner)
}

/// What an administrator can do for a newcomer when the holder is a former learner.
fn way_out(input: PlanInput<'_>, draft: &Change, row: &LearnerRow) -> String {
    let former = row.link.as_ref().and_then(|(_, user)| input.known.get(user));
    let ours = former.is_some_and(|known| known.learner == row.learner);
    if draft.target == Target::New && ours && !row.active {
        format!("; if both are one person: learner-sync provision {} --relink {}", draft.user, row.learner)
    } else {
        String::new()
    }
}

/// Who cannot have what they want, and why. The holder of a value keeps it, unless it is about to get another one;
/// `staying` are held back and keep what they have. When two users newly want the same value, neither gets it,
/// since nothing says whose it is.
pub(super) fn conflicts(
    input: PlanInput<'_>,
    drafts: &[Change],
    holders: &Holders<'_>,
    staying: &BTreeSet<EntraId>,
) -> BTreeMap<EntraId, String> {
    let mut conflicts = BTreeMap::new();
    let mut adoptions: BTreeMap<LearnerId, Vec<EntraId>> = BTreeMap::new();
    for draft in drafts {
        if let Target::Adopt { learner, .. } = draft.target {
            adoptions.entry(learner).or_default().push(draft.user);
        }
    }
    for (learner, users) in adoptions.iter().filter(|(_, users)| users.len() > 1) {
        for user in users {
            conflicts.insert(*user, format!("{} people match learner {learner}", users.len()));
        }
    }
    let claims = claims(drafts);
    for (key, claimants) in claims.iter().filter(|(_, claimants)| claimants.len() > 1) {
        for draft in claimants {
            let others: BTreeSet<String> =
                claimants.iter().filter(|other| other.user != draft.user).map(|other| other.user.to_string()).collect();
            let others = others.into_iter().collect::<Vec<_>>().join(", ");
            conflicts.insert(draft.user, format!("{} is also wanted by {others}", key.attribute.path()));
        }
    }
    let drafts_by_learner: BTreeMap<LearnerId, &Change> =
        drafts.iter().filter_map(|draft| Some((draft.target.learner()?, draft))).collect();
    // Who cannot move keeps its value, and so those who wait for it cannot move either. A holder says more than
    // another claimant does.
    let mut settled: BTreeSet<EntraId> = adoptions.into_values().filter(|users| users.len() > 1).flatten().collect();
    loop {
        let mut found = BTreeMap::new();
        for (key, claimants) in &claims {
            let Some(row) = holders.by_key.get(key) else { continue };
            let moves = drafts_by_learner.get(&row.learner).is_some_and(|holder| {
                gives_up(holder, key) && !conflicts.contains_key(&holder.user) && !staying.contains(&holder.user)
            });
            let moves = moves || former(input, row).is_some();
            for draft in claimants.iter().filter(|draft| !moves && Some(row.learner) != draft.target.learner()) {
                if !settled.contains(&draft.user) {
                    let held = format!("{} is held by {}", key.attribute.path(), describe(row));
                    found.insert(draft.user, format!("{held}{}", way_out(input, draft, row)));
                }
            }
        }
        if found.is_empty() {
            return conflicts;
        }
        settled.extend(found.keys());
        conflicts.extend(found);
    }
}

/// Whose values may be moved aside: a former learner of this source, with `learners.reissued = "free"`.
fn former(input: PlanInput<'_>, row: &LearnerRow) -> Option<EntraId> {
    let (_, user) = row.link.as_ref()?;
    let ours = input.known.get(user).is_some_and(|known| known.learner == row.learner);
    let assessment = input.desired.users.get(user).map(|user| &user.assessment);
    let stays = matches!(assessment, Some(Assessment::Unchanged | Assessment::Wanted(_) | Assessment::Rejected(_)))
        || restrictions::left_alone(input, *user, Some(row)).is_some();
    (input.limits.reissued == Reissued::Free && ours && !row.active && !row.other_state && !stays).then_some(*user)
}

/// The changes that put an Entra id in front of what former learners hold and somebody in `changes` wants, as Entra
/// does itself with the names of deleted users.
pub(super) fn move_aside(input: PlanInput<'_>, changes: &[Change], holders: &Holders<'_>) -> Vec<Change> {
    let moving: BTreeSet<LearnerId> = changes.iter().filter_map(|change| change.target.learner()).collect();
    let mut aside = BTreeMap::new();
    for (key, claimants) in claims(changes) {
        let Some(row) = holders.by_key.get(&key).filter(|row| !moving.contains(&row.learner)) else { continue };
        if let (Some(user), Some(claimant)) = (former(input, row), claimants.first()) {
            aside.entry(user).or_insert((*row, key.attribute, claimant.user));
        }
    }
    aside.into_iter().filter_map(|(user, (row, wanted, by))| moved_aside(input, user, row, wanted, by)).collect()
}

fn moved_aside(
    input: PlanInput<'_>,
    user: EntraId,
    row: &LearnerRow,
    wanted: Attribute,
    by: EntraId,
) -> Option<Change> {
    // Of the last sight, which for somebody who is assigned still is this one.
    let routes = input.desired.users.get(&user).map_or(&input.known.get(&user)?.routes, |user| &user.routes).clone();
    let mut values = row.values.clone();
    let mut changes = Vec::new();
    for attribute in Attribute::UNIQUE {
        if let Some(value) = values.get_mut(&attribute).and_then(Option::as_mut) {
            let old = std::mem::replace(value, format!("{user}{value}"));
            changes.push(AttributeChange::new(attribute, Some(old), Some(value.clone())));
        }
    }
    Some(Change {
        user,
        action: Action::Update,
        reason: Reason::AttributesChanged,
        target: Target::Linked(row.learner),
        user_name: row.values.get(&Attribute::UserName).cloned().flatten(),
        changes,
        active: row.active,
        routes,
        fingerprint: Fingerprint::of(&values),
        detail: Some(format!("moved aside: {} is wanted by Entra id {by}", wanted.path())),
    })
}

/// Who newly wants which value.
fn claims(drafts: &[Change]) -> BTreeMap<UniqueKey, Vec<&Change>> {
    let mut claims: BTreeMap<UniqueKey, Vec<&Change>> = BTreeMap::new();
    for draft in drafts {
        for key in moved(draft, |change| change.new.as_deref()) {
            claims.entry(key).or_default().push(draft);
        }
    }
    claims
}

fn gives_up(draft: &Change, key: &UniqueKey) -> bool {
    moved(draft, |change| change.old.as_deref()).any(|old| old == *key)
}

/// The unique values that a change takes, or gives up.
fn moved<'a>(
    draft: &'a Change,
    side: impl Fn(&'a AttributeChange) -> Option<&'a str> + 'a,
) -> impl Iterator<Item = UniqueKey> + 'a {
    draft
        .changes
        .iter()
        .filter(|change| Attribute::UNIQUE.contains(&change.attribute))
        .filter_map(move |change| Some(UniqueKey::new(change.attribute, side(change)?)))
}

/// Puts the changes in the order in which they are applied, and says where one transaction may end. Changes that
/// hand values to each other stay in one, because the database refuses every state in between; switching off comes
/// last, so that whatever stops the apply half-way has kept everybody.
pub(super) fn arrange(changes: Vec<Change>, batch: usize) -> (Vec<Change>, Vec<usize>) {
    let (groups, coupled) = groups(&changes);
    let order = |index: usize, change: &Change| {
        let last = change.action == Action::Deactivate;
        (last, !coupled.contains(&index), if coupled.contains(&index) { groups.of(index) } else { 0 }, index)
    };
    let mut arranged: Vec<_> = changes.into_iter().enumerate().map(|(index, c)| (order(index, &c), c)).collect();
    arranged.sort_by_key(|(order, _)| *order);

    let (mut cuts, mut start) = (Vec::new(), 0);
    for index in 1..arranged.len() {
        let ((_, alone, group, _), (_, before_alone, before, _)) = (arranged[index].0, arranged[index - 1].0);
        let together = !alone && !before_alone && group == before;
        if index - start >= batch && !together {
            cuts.push(index);
            start = index;
        }
    }
    (arranged.into_iter().map(|(_, change)| change).collect(), cuts)
}

/// `user` and everybody in `changes` who hands a value to somebody of them, or gets one.
pub(super) fn coupled_with(changes: &[Change], user: EntraId) -> BTreeSet<EntraId> {
    let (groups, _) = groups(changes);
    let own = changes.iter().position(|change| change.user == user).map(|index| groups.of(index));
    let together = changes.iter().enumerate().filter(|(index, _)| Some(groups.of(*index)) == own);
    together.map(|(_, change)| change.user).collect()
}

/// Which changes hand values to each other, as sets, and the indices of all that do.
fn groups(changes: &[Change]) -> (Groups, BTreeSet<usize>) {
    let givers: BTreeMap<UniqueKey, usize> = changes
        .iter()
        .enumerate()
        .flat_map(|(index, change)| moved(change, |change| change.old.as_deref()).map(move |key| (key, index)))
        .collect();
    let mut groups = Groups((0..changes.len()).collect());
    let mut coupled = BTreeSet::new();
    for (index, change) in changes.iter().enumerate() {
        for giver in moved(change, |change| change.new.as_deref()).filter_map(|key| givers.get(&key)) {
            groups.join(index, *giver);
            coupled.extend([index, *giver]);
        }
    }
    (groups, coupled)
}

/// Sets of indices that are joined bit by bit.
struct Groups(Vec<usize>);

impl Groups {
    fn of(&self, mut index: usize) -> usize {
        while self.0[index] != index {
            index = self.0[index];
        }
        index
    }

    fn join(&mut self, left: usize, right: usize) {
        let (left, right) = (self.of(left), self.of(right));
        self.0[left.max(right)] = left.min(right);
    }
}
