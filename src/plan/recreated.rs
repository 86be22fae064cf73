//! Users whose account was deleted and created again: each wants the user name or the e-mail address that the learner of
//! the former account still has.
//!
//! The same address alone proves nothing, because an address can be given to another person.

use std::collections::{BTreeMap, BTreeSet};

use super::joiners::creation_values;
use super::leavers::account_is_deleted;
use super::restrictions::excluded_by;
use super::uniqueness::{Holders, linked_user};
use super::{Assessment, Candidates, Counts, Decision, LearnerRow, Plan, PlanInput, Relink};
use crate::model::{Attribute, EntraId, LearnerId, Reason, Values};

/// The newcomers that want a value of a learner of this source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recreated {
    /// Those that are the same person beyond doubt.
    pub pairs: Vec<RecreatedUser>,
    /// The others. Nothing is done about them.
    pub doubts: Vec<Doubt>,
}

/// A user that gets the learner of its former account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecreatedUser {
    /// The user and the learner.
    pub relink: Relink,
    /// The user name of the new account.
    pub user_name: Option<String>,
    /// The proof that both accounts belong to one person.
    pub proof: IdentityProof,
}

/// The values that two accounts have in common besides the user name or the e-mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityProof {
    /// The employee number.
    EmployeeNumber,
    /// The given and the family name.
    Names,
}

/// A newcomer that may be another person than the one whose learner has its user name or e-mail address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The user.
    pub user: EntraId,
    /// Its user name.
    pub user_name: Option<String>,
    /// The learner.
    pub learner: LearnerId,
    /// Why the learner is not relinked.
    pub reason: String,
}

/// A newcomer, and every row that it could be.
struct Newcomer<'a> {
    user: EntraId,
    values: Values,
    rows: BTreeMap<&'a LearnerId, &'a LearnerRow>,
}

/// The newcomers that could be the user of a learner of this source.
fn newcomers<'a>(input: PlanInput<'a>, holders: &Holders<'a>) -> Vec<Newcomer<'a>> {
    let mut newcomers = Vec::new();
    for (user, assigned) in &input.desired.users {
        let Assessment::Wanted(learner) = &assigned.assessment else { continue };
        if input.linked.contains_key(user) || excluded_by(input, *user, None).is_some() {
            continue;
        }
        let values = creation_values(learner);
        let rows: BTreeMap<_, _> = holders.similar(*user, &values).map(|row| (&row.learner, row)).collect();
        if rows.values().any(|row| linked_user(input, row).is_some()) {
            newcomers.push(Newcomer { user: *user, values, rows });
        }
    }
    newcomers
}

/// The former accounts that the confirmation has not read yet: it reads those of active learners only.
pub fn former_accounts(input: PlanInput<'_>) -> Candidates {
    let holders = Holders::new(&input.facts.holders, input.limits.match_attribute);
    let mut former: BTreeSet<EntraId> = BTreeSet::new();
    for newcomer in newcomers(input, &holders) {
        former.extend(newcomer.rows.values().filter_map(|row| linked_user(input, row)));
    }
    let mut candidates = Candidates::default();
    for user in former.into_iter().filter(|user| !input.confirmed.contains_key(user)) {
        match input.desired.assessment(user) {
            None => candidates.absent.push(user),
            Some(Assessment::NotFound) => candidates.unread.push(user),
            Some(_) => {}
        }
    }
    candidates
}

/// Finds the users of `source` that were created again.
pub fn recreated(input: PlanInput<'_>, source: &str) -> Recreated {
    let holders = Holders::new(&input.facts.holders, input.limits.match_attribute);
    let newcomers = newcomers(input, &holders);
    let mut users: BTreeMap<&LearnerId, BTreeSet<EntraId>> = BTreeMap::new();
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    for Newcomer { user, values, rows } in &newcomers {
        for learner in rows.keys() {
            users.entry(learner).or_default().insert(*user);
        }
        if let Some(number) = folded(values, Attribute::EmployeeNumber) {
            *numbers.entry(number).or_default() += 1;
        }
    }
    // Something like "n/a" or "000", or a number of several users, identifies nobody.
    let is_shared = |number: &String| {
        !number.contains(|digit| matches!(digit, '1'..='9')) || numbers.get(number).is_some_and(|users| *users > 1)
    };
    let mut recreated = Recreated::default();
    for Newcomer { user, values, rows } in &newcomers {
        let user_name = values.text(Attribute::UserName).map(str::to_owned);
        for row in rows.values() {
            let Some(former) = linked_user(input, row) else { continue };
            let others =
                rows.keys().filter(|learner| **learner != &row.learner).map(|learner| format!("learner {learner}"));
            let others =
                others.chain(users[&row.learner].iter().filter(|other| *other != user).map(ToString::to_string));
            let judged = match others.collect::<Vec<_>>() {
                others if !others.is_empty() => Err(format!("also fits {}", others.join(", "))),
                _ => judge(input, former, row, values, is_shared),
            };
            match judged {
                Ok(proof) => recreated.pairs.push(RecreatedUser {
                    relink: Relink {
                        source: source.to_owned(),
                        user: *user,
                        own: None,
                        learner: row.learner.clone(),
                        row: Some((*row).clone()),
                        recreated: true,
                    },
                    user_name: user_name.clone(),
                    proof,
                }),
                Err(reason) => recreated.doubts.push(Doubt {
                    user: *user,
                    user_name: user_name.clone(),
                    learner: row.learner.clone(),
                    reason,
                }),
            }
        }
    }
    recreated
}

/// Whether the account `former` of `row` was deleted, and the new account has the same person's `values`.
fn judge(
    input: PlanInput<'_>,
    former: EntraId,
    row: &LearnerRow,
    values: &Values,
    is_shared: impl Fn(&String) -> bool,
) -> Result<IdentityProof, String> {
    if let Some(setting) = excluded_by(input, former, Some(row)) {
        return Err(format!("excluded by {setting}"));
    }
    if row.other_state {
        return Err("in a state that only the platform may change".to_owned());
    }
    if !row.active && row.active_changed_outside() {
        return Err("deactivated outside learner-sync".to_owned());
    }
    if !account_is_deleted(input, former) {
        return Err(format!("its account {former} is not confirmed deleted"));
    }
    let both = |attribute: Attribute| {
        folded(values, attribute).filter(|new| folded(&row.values, attribute).as_ref() == Some(new))
    };
    if both(Attribute::EmployeeNumber).is_some_and(|number| !is_shared(&number)) {
        Ok(IdentityProof::EmployeeNumber)
    } else if both(Attribute::FirstName).and(both(Attribute::LastName)).is_some() {
        Ok(IdentityProof::Names)
    } else {
        Err("neither the employee number nor the names are equal".to_owned())
    }
}

/// A value for comparison, without letter case and superfluous blanks; `None` when nothing is left.
fn folded(values: &Values, attribute: Attribute) -> Option<String> {
    let value = values.text(attribute)?.to_lowercase();
    let words: Vec<&str> = value.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

impl Recreated {
    /// Takes out the pairs that `plan`, which was made with them, does not relink: other users stand in the way.
    pub fn drop_refused(&mut self, plan: &Plan) {
        let relinked: BTreeSet<EntraId> = plan
            .applied()
            .filter(|decision| decision.reason == Reason::Relinked)
            .map(|decision| decision.user)
            .collect();
        let (pairs, refused) =
            std::mem::take(&mut self.pairs).into_iter().partition(|pair| relinked.contains(&pair.relink.user));
        self.pairs = pairs;
        for RecreatedUser { relink, user_name, proof: _ } in refused {
            let detail = plan.decisions_on(relink.user).find_map(|decision| decision.detail.clone());
            let reason = detail.unwrap_or_else(|| "the plan decides otherwise".to_owned());
            self.doubts.push(Doubt { user: relink.user, user_name, learner: relink.learner, reason });
        }
    }
}

impl Plan {
    /// Keeps the relinks alone, in one transaction.
    pub fn relinks_only(mut self) -> Self {
        let relinks = self.arranged().filter(|decision| decision.reason == Reason::Relinked);
        let relinks: Vec<Decision> = relinks.cloned().collect();
        let mut counts = Counts { in_scope: relinks.len() as u64, ..Counts::default() };
        relinks.iter().for_each(|decision| counts.add(decision.action));
        self.keep_arranged(relinks);
        Self { batches: self.batches, counts, ..Self::default() }
    }
}
