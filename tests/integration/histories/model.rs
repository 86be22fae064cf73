//! A model of the decisions of learner-sync, written from the design, without ids, SQL or order.

mod damage;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use learner_sync::plan::Counts;
use serde_json::{Value, json};

use self::damage::{DamagedRows, LinkDamage};
use super::entra::{ATTRIBUTES, AccountState, EntraModel, Group, MAIL, UNIQUE, USER_NAME, UserNumber, Values};

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// The default of `schedule.min_interval`.
const MIN_INTERVAL: SignedDuration = SignedDuration::from_mins(20);

/// The time of a cycle by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    local: Timestamp,
    /// None when it is unknown or doubted.
    graph: Option<Timestamp>,
    pub(super) recorded: Timestamp,
}

impl Clocks {
    /// `last` is the recorded time of the last complete cycle.
    pub(super) fn new(local: Timestamp, graph: Option<Timestamp>, last: Option<Timestamp>) -> Self {
        let latest = last.map_or(local, |last| last.max(local));
        match graph {
            Some(graph) if last.is_none_or(|last| graph >= last) => Self { local, graph: Some(graph), recorded: graph },
            Some(graph) if local == graph => Self { local, graph: None, recorded: graph },
            Some(_) | None => Self { local, graph: None, recorded: latest },
        }
    }

    pub(super) fn are_doubted(self) -> bool {
        self.graph.is_none()
    }

    fn both(self, at: Timestamp, is_right: impl Fn(SignedDuration) -> bool) -> bool {
        self.graph.is_some_and(|graph| is_right(graph.duration_since(at)) && is_right(self.local.duration_since(at)))
    }

    fn has_elapsed(self, at: Timestamp, span: SignedDuration) -> bool {
        self.both(at, |age| age >= span)
    }

    fn is_recent(self, at: Timestamp) -> bool {
        !self.both(at, |age| age > DAY)
    }

    fn is_approval(self, at: Timestamp) -> bool {
        let tolerance = SignedDuration::from_mins(5);
        self.both(at, |age| age >= -tolerance && age <= DAY + tolerance)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct SafetyLimits {
    pub(super) max_deactivations: u64,
    pub(super) max_deactivation_percent: u64,
    pub(super) max_update_percent: u64,
    pub(super) deactivate_after: SignedDuration,
    pub(super) protected: Option<UserNumber>,
}

/// The state of Entra at the snapshot and at the confirmation, and what they cannot read.
pub(super) struct Reads<'a> {
    pub(super) snapshot: &'a EntraModel,
    pub(super) confirmation: &'a EntraModel,
    pub(super) gap: Gap,
}

/// The one thing that cannot be read although everything else can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    None,
    /// The confirmation may not read this user.
    Refused(UserNumber),
    /// The confirmation can read no account.
    Accounts,
    /// The confirmation can read no deleted item.
    DeletedItems,
    /// The account of this user cannot be decoded.
    Broken(UserNumber),
    /// A row of the assignments or members has no id.
    Row,
}

/// The modelled content of the learner database.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelDatabase {
    learners: BTreeMap<UserNumber, ModelLearner>,
    held: BTreeMap<UserNumber, HeldEntry>,
    failing: BTreeMap<UserNumber, FailureEntry>,
    last_members: BTreeMap<Group, u64>,
    log: Vec<LogEntry>,
    damaged: DamagedRows,
}

#[derive(Clone, Debug)]
struct LogEntry {
    user: UserNumber,
    at: Timestamp,
    /// Whether it deactivated the learner without an approval.
    deactivates: bool,
    /// The attributes that it cleared without an approval.
    clears: Vec<usize>,
    row: Value,
    is_damaged: bool,
}

#[derive(Clone, Debug)]
struct ModelLearner {
    active: bool,
    values: Values,
    routes: BTreeSet<String>,
    damage: Option<LinkDamage>,
}

#[derive(Clone, Debug)]
struct HeldEntry {
    action: &'static str,
    reason: &'static str,
    since: Timestamp,
    approved: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct FailureEntry {
    reason: &'static str,
    since: Timestamp,
    /// Whether the user is assigned but not found.
    nowhere: bool,
}

#[derive(Clone, Debug)]
struct Decision {
    action: &'static str,
    status: &'static str,
    reason: &'static str,
    user_name: Option<String>,
    approved: bool,
    values: Vec<(usize, Option<String>, Option<String>)>,
    active_change: Option<(Option<bool>, bool)>,
}

impl Decision {
    /// Whether nothing but the letter case of unique values changes. No limit counts that.
    fn changes_letter_case_only(&self) -> bool {
        let folded = |value: &Option<String>| value.as_deref().map(str::to_ascii_lowercase);
        self.values.iter().all(|(attribute, old, new)| UNIQUE.contains(attribute) && folded(old) == folded(new))
    }
}

/// The expected result of a complete cycle.
pub(super) struct ExpectedCycle {
    /// The time that the cycle records.
    pub(super) recorded: Timestamp,
    pub(super) counts: Counts,
    /// The database after the bookkeeping.
    pub(super) after_bookkeeping: ModelDatabase,
    /// The database after the changes too.
    pub(super) after_changes: ModelDatabase,
    pub(super) candidates: BTreeSet<UserNumber>,
    /// Whether the confirmation reads the assignments again.
    pub(super) read_again: bool,
}

/// The state of an assigned user in the snapshot.
#[derive(Clone, Copy)]
enum UserState<'a> {
    Wanted(&'a Values),
    NoMail(&'a Values),
    Disabled,
    Unreadable,
    NoAccount,
}

impl ModelDatabase {
    pub(super) fn approve(&mut self, now: Timestamp) -> u64 {
        self.held.values_mut().for_each(|held| held.approved = Some(now));
        self.held.len() as u64
    }

    pub(super) fn active(&self) -> impl Iterator<Item = UserNumber> {
        self.learners.iter().filter(|(_, learner)| learner.active).map(|(user, _)| *user)
    }

    pub(super) fn cycle(&self, reads: &Reads<'_>, limits: SafetyLimits, clocks: Clocks) -> ExpectedCycle {
        let mut cycle = CycleModel::new(self, reads, limits, clocks);
        cycle.plan_joiners();
        cycle.plan_leavers();
        cycle.finish()
    }

    /// All rows, in the format of the rows read from the database.
    pub(super) fn rows(&self) -> Vec<String> {
        let mut rows: Vec<String> = Vec::new();
        for (user, ModelLearner { active, values, routes, damage }) in &self.learners {
            let via = damage.map_or_else(|| json!(routes), LinkDamage::via);
            let mut row = vec![json!(user.to_string()), json!(u8::from(*active)), via];
            row.extend(values.iter().map(|value| json!(value)));
            rows.push(format!("learner {}", Value::from(row)));
        }
        for (user, HeldEntry { action, reason, since, approved }) in &self.held {
            let approved = approved.map(|approved| approved.to_string());
            rows.push(format!("held {}", json!([user.to_string(), action, reason, since.to_string(), approved])));
        }
        for (user, FailureEntry { reason, since, nowhere: _ }) in &self.failing {
            rows.push(format!("failing {}", json!([user.to_string(), reason, since.to_string()])));
        }
        rows.extend(
            self.last_members.iter().map(|(group, last)| format!("group {}", json!([group.to_string(), last]))),
        );
        rows.extend(self.log.iter().map(|entry| format!("log {}", entry.row)));
        rows.extend(self.damaged.rows());
        rows
    }
}

struct CycleModel<'a> {
    model: &'a ModelDatabase,
    reads: &'a Reads<'a>,
    limits: SafetyLimits,
    clocks: Clocks,
    counts: Counts,
    states: BTreeMap<UserNumber, UserState<'a>>,
    unchanged: BTreeSet<UserNumber>,
    decisions: BTreeMap<UserNumber, Decision>,
    candidates: BTreeSet<UserNumber>,
    nowhere: BTreeSet<UserNumber>,
    /// Users whose bookkeeping cannot be read: nothing is decided about them.
    rejected: BTreeSet<UserNumber>,
    read_again: bool,
}

impl<'a> CycleModel<'a> {
    fn new(model: &'a ModelDatabase, reads: &'a Reads<'a>, limits: SafetyLimits, clocks: Clocks) -> Self {
        let state = |user: UserNumber| {
            let entry = &reads.snapshot.users[&user];
            match entry.account {
                AccountState::Enabled | AccountState::Disabled if reads.gap == Gap::Broken(user) => {
                    UserState::Unreadable
                }
                AccountState::Enabled if entry.values[MAIL].is_none() => UserState::NoMail(&entry.values),
                AccountState::Enabled => UserState::Wanted(&entry.values),
                AccountState::Disabled => UserState::Disabled,
                AccountState::Deleted | AccountState::Gone => UserState::NoAccount,
            }
        };
        let users = reads.snapshot.users.keys().filter(|user| !reads.snapshot.routes(**user).is_empty());
        Self {
            model,
            reads,
            limits,
            clocks,
            counts: Counts::default(),
            states: users.map(|user| (*user, state(*user))).collect(),
            unchanged: BTreeSet::new(),
            decisions: BTreeMap::new(),
            candidates: BTreeSet::new(),
            nowhere: BTreeSet::new(),
            rejected: model.rejected(),
            read_again: false,
        }
    }

    fn is_active(&self, user: UserNumber) -> bool {
        self.model.learners.get(&user).is_some_and(|learner| learner.active)
    }

    /// The learner, if its link can be read.
    fn linked(&self, user: UserNumber) -> Option<&'a ModelLearner> {
        self.model.learners.get(&user).filter(|learner| learner.damage.is_none())
    }

    fn linked_and_active(&self) -> BTreeSet<UserNumber> {
        self.model.active().filter(|user| self.linked(*user).is_some()).collect()
    }

    /// The present user name of the learner.
    fn own_name(&self, user: UserNumber) -> Option<String> {
        self.model.learners.get(&user).and_then(|learner| learner.values[USER_NAME].clone())
    }

    fn held(&self, user: UserNumber, action: &str) -> Option<&'a HeldEntry> {
        self.model.held.get(&user).filter(|held| held.action == action)
    }

    /// Whether an approval releases this user.
    fn approved(&self, user: UserNumber, action: &str) -> bool {
        let at = self.held(user, action).and_then(|held| held.approved);
        at.is_some_and(|at| self.clocks.is_approval(at))
    }

    /// Decides about assigned users: create, update, reactivate, skip or hold.
    fn plan_joiners(&mut self) {
        self.reject_unreadable();
        let mut drafts = BTreeMap::new();
        for (user, state) in self.states.clone() {
            if self.rejected.contains(&user) {
                self.counts.in_scope += u64::from(matches!(state, UserState::Wanted(_) | UserState::NoMail(_)));
                continue;
            }
            let learner = self.model.learners.get(&user);
            let present = match learner {
                None => "create",
                Some(learner) if learner.active => "update",
                Some(_) => "reactivate",
            };
            let reject = |action, status, reason, user_name| Decision {
                action,
                status,
                reason,
                user_name,
                approved: false,
                values: Vec::new(),
                active_change: None,
            };
            match state {
                UserState::Wanted(values) => {
                    self.counts.in_scope += 1;
                    match plan_change(learner, values) {
                        Some(decision) => drop(drafts.insert(user, decision)),
                        None => {
                            self.counts.unchanged += 1;
                            self.unchanged.insert(user);
                        }
                    }
                }
                UserState::NoMail(values) => {
                    self.counts.in_scope += 1;
                    let name = values[USER_NAME].clone();
                    self.decisions.insert(user, reject(present, "skipped", "missing-required", name));
                }
                UserState::Unreadable => {
                    let name = self.own_name(user).filter(|_| self.is_active(user));
                    self.decisions.insert(user, reject(present, "failure", "unreadable", name));
                }
                UserState::Disabled => self.counts.skipped += u64::from(learner.is_none()),
                UserState::NoAccount if learner.is_none() => {
                    self.decisions.insert(user, reject("create", "skipped", "not-readable-yet", None));
                }
                UserState::NoAccount => {}
            }
        }
        self.reject_conflicts(&mut drafts, &BTreeSet::new());
        let held = self.held_updates(&drafts);
        // Held users keep their values, which may conflict with those of others.
        self.reject_conflicts(&mut drafts, &held.keys().copied().collect());
        for (user, decision) in drafts {
            let decision = match held.get(&user) {
                Some(reason) => Decision { status: "held", reason, ..decision },
                None => Decision { approved: decision.action == "update" && self.approved(user, "update"), ..decision },
            };
            self.decisions.insert(user, decision);
        }
    }

    fn reject_unreadable(&mut self) {
        for user in self.rejected.clone() {
            let linked = self.linked(user);
            // Only the row of a learner that may change is read.
            let is_read = match self.states.get(&user) {
                Some(UserState::Wanted(values)) => plan_change(linked, values).is_some(),
                _ => self.is_active(user),
            };
            let decision = Decision {
                action: "update",
                status: "failure",
                reason: "database-error",
                user_name: linked.and_then(|learner| learner.values[USER_NAME].clone()).filter(|_| is_read),
                approved: false,
                values: Vec::new(),
                active_change: None,
            };
            self.decisions.insert(user, decision);
        }
    }

    /// Rejects the drafts with a unique value that another user keeps or also wants; users in `staying` keep theirs.
    fn reject_conflicts(&mut self, drafts: &mut BTreeMap<UserNumber, Decision>, staying: &BTreeSet<UserNumber>) {
        let mut rejected: BTreeSet<UserNumber> = BTreeSet::new();
        loop {
            // The owners of each value if all other drafts were applied.
            let mut having: BTreeMap<(usize, String), BTreeSet<UserNumber>> = BTreeMap::new();
            let all: BTreeSet<UserNumber> = self.model.learners.keys().chain(drafts.keys()).copied().collect();
            for user in all {
                let moves = drafts.get(&user).filter(|_| !rejected.contains(&user) && !staying.contains(&user));
                for attribute in UNIQUE {
                    let wanted =
                        moves.and_then(|decision| decision.values.iter().find(|(changed, ..)| *changed == attribute));
                    let own = || self.model.learners.get(&user).and_then(|learner| learner.values[attribute].clone());
                    if let Some(value) = wanted.map_or_else(own, |(_, _, new)| new.clone()) {
                        having.entry((attribute, value.to_ascii_lowercase())).or_default().insert(user);
                    }
                }
            }
            let before = rejected.len();
            for ((attribute, _), users) in having.iter().filter(|(_, users)| users.len() > 1) {
                let wants = |user: &&UserNumber| {
                    let decision = drafts.get(*user).filter(|_| !staying.contains(*user));
                    decision.is_some_and(|decision| decision.values.iter().any(|change| moves(*attribute, change)))
                };
                rejected.extend(users.iter().filter(wants));
            }
            if rejected.len() == before {
                break;
            }
        }
        for user in rejected {
            if let Some(decision) = drafts.remove(&user) {
                self.decisions.insert(user, Decision { status: "failure", reason: "conflict", ..decision });
            }
        }
    }

    /// The active users who lost this attribute in the last 24 hours and have not got it again.
    fn recently_cleared(&self, attribute: usize) -> impl Iterator<Item = UserNumber> {
        let log = self.model.log.iter();
        let recent = log.filter(move |entry| entry.clears.contains(&attribute) && self.clocks.is_recent(entry.at));
        let is_empty = move |user: &UserNumber| {
            self.model.learners.get(user).is_some_and(|learner| {
                learner.active && learner.values[attribute].is_none() && learner.damage != Some(LinkDamage::Id)
            })
        };
        recent.map(|entry| entry.user).filter(is_empty)
    }

    /// The updates that are held: those held before, and all when too many users would change or lose a value.
    fn held_updates(&self, drafts: &BTreeMap<UserNumber, Decision>) -> BTreeMap<UserNumber, &'static str> {
        let active = self.model.learners.values().filter(|learner| learner.active);
        let counted = || drafts.iter().filter(|(user, _)| !self.approved(**user, "update"));
        let updates =
            counted().filter(|(_, decision)| decision.action == "update" && !decision.changes_letter_case_only());
        let updates = updates.count();
        let percent = self.limits.max_update_percent;
        let mut too_many = self.model.damaged.hide_holds("update")
            || percent < 100 && exceeds(updates, percent, self.linked_and_active().len());
        for attribute in 0..ATTRIBUTES.len() {
            let loses = |decision: &Decision| {
                decision.values.iter().any(|(changed, _, new)| *changed == attribute && new.is_none())
            };
            let losing: BTreeSet<UserNumber> =
                counted().filter(|(_, decision)| loses(decision)).map(|(user, _)| *user).collect();
            let recent =
                self.recently_cleared(attribute).filter(|user| !losing.contains(user)).collect::<BTreeSet<_>>().len();
            let joining = drafts.iter().filter(|(_, decision)| decision.action == "reactivate");
            let joining = joining.filter_map(|(user, _)| self.model.learners.get(user));
            let having = active.clone().chain(joining).filter(|learner| learner.values[attribute].is_some()).count();
            let count = losing.len() + recent;
            too_many |= !losing.is_empty() && count > 10 && exceeds(count, 20, having + recent);
        }
        let updates = drafts.iter().filter(|(_, decision)| decision.action == "update").map(|(user, _)| *user);
        let why = |user| match self.held(user, "update") {
            Some(_) if self.approved(user, "update") => None,
            Some(held) => Some(held.reason),
            None => too_many.then_some("threshold"),
        };
        updates.filter_map(|user| Some((user, why(user)?))).collect()
    }

    /// Whether the confirmation finds the account neither among the users nor in the deleted items.
    fn is_found_nowhere(&self, user: UserNumber) -> bool {
        let gap = self.reads.gap;
        let is_read = gap != Gap::Refused(user) && gap != Gap::Accounts && gap != Gap::DeletedItems;
        is_read && self.reads.confirmation.account(user) == AccountState::Gone
    }

    /// Decides about active learners that are no longer desired.
    fn plan_leavers(&mut self) {
        let mut leavers: BTreeMap<UserNumber, Result<&'static str, ()>> = BTreeMap::new();
        for user in self.linked_and_active() {
            let unassigned = match self.states.get(&user) {
                Some(UserState::Wanted(_) | UserState::NoMail(_) | UserState::Unreadable) => continue,
                Some(UserState::Disabled) => {
                    if !self.rejected.contains(&user) {
                        leavers.insert(user, Ok("account-disabled"));
                    }
                    continue;
                }
                Some(UserState::NoAccount) => false,
                None => true,
            };
            self.candidates.insert(user);
            if self.rejected.contains(&user) {
                let account = self.reads.confirmation.account(user);
                let is_read = self.reads.gap != Gap::Refused(user) && self.reads.gap != Gap::Broken(user);
                self.read_again |= unassigned && is_read && account == AccountState::Enabled;
                self.read_again |= unassigned && self.is_found_nowhere(user);
                continue;
            }
            let evidence = match self.reads.confirmation.account(user) {
                _ if self.reads.gap == Gap::Refused(user) || self.reads.gap == Gap::Accounts => Err(()),
                AccountState::Deleted | AccountState::Gone if self.reads.gap == Gap::DeletedItems => Err(()),
                AccountState::Enabled | AccountState::Disabled if self.reads.gap == Gap::Broken(user) => Err(()),
                AccountState::Disabled => Ok("account-disabled"),
                AccountState::Deleted => Ok("account-deleted"),
                AccountState::Gone if unassigned => {
                    self.read_again = true;
                    // Assigned meanwhile: the next cycle waits for the account.
                    if !self.reads.confirmation.routes(user).is_empty() {
                        self.counts.unchanged += 1;
                        continue;
                    }
                    Ok("account-deleted")
                }
                AccountState::Gone => {
                    self.nowhere.insert(user);
                    let before = self.model.failing.get(&user).filter(|failing| failing.nowhere);
                    let same = before.is_some_and(|before| self.clocks.has_elapsed(before.since, MIN_INTERVAL));
                    if !same && self.limits.protected != Some(user) {
                        self.skip(user, "waiting");
                        continue;
                    }
                    Ok("account-deleted")
                }
                AccountState::Enabled if !unassigned => continue,
                AccountState::Enabled => {
                    self.read_again = true;
                    if self.reads.confirmation.wants(user) {
                        self.counts.unchanged += 1;
                        continue;
                    }
                    // The user may be in the row that cannot be read.
                    if self.reads.gap == Gap::Row { Err(()) } else { Ok("unassigned") }
                }
            };
            leavers.insert(user, evidence);
        }
        leavers.retain(|user, evidence| {
            if self.limits.protected == Some(*user) {
                self.skip(*user, "protected");
            } else if evidence.is_ok() && !self.has_waited(*user) {
                self.skip(*user, "waiting");
            } else {
                return true;
            }
            false
        });
        self.hold_or_deactivate(leavers);
    }

    fn skip(&mut self, user: UserNumber, reason: &'static str) {
        let decision = Decision {
            action: "deactivate",
            status: "skipped",
            reason,
            user_name: self.own_name(user),
            approved: false,
            values: Vec::new(),
            active_change: None,
        };
        self.decisions.insert(user, decision);
    }

    /// Whether this user has waited for `safety.deactivate_after`, or is held, which implies it.
    fn has_waited(&self, user: UserNumber) -> bool {
        let held = self.held(user, "deactivate").is_some_and(|held| held.reason != "unreadable");
        let waiting = self.model.failing.get(&user).filter(|failing| failing.reason == "waiting");
        let long = waiting.is_some_and(|waiting| self.clocks.has_elapsed(waiting.since, self.limits.deactivate_after));
        self.limits.deactivate_after.is_zero() || held || long || self.model.damaged.hide_holds("deactivate")
    }

    fn hold_or_deactivate(&mut self, leavers: BTreeMap<UserNumber, Result<&'static str, ()>>) {
        let (members, nothing_assigned) = match self.reads {
            Reads { confirmation, .. } if self.read_again => (confirmation.members(), confirmation.nobody_assigned()),
            Reads { snapshot, .. } => (snapshot.members(), snapshot.nobody_assigned()),
        };
        let emptied = self.emptied(&members);
        let Reads { snapshot, confirmation, .. } = self.reads;
        let hiding =
            |entra: &EntraModel| entra.members().iter().any(|(group, now)| *now == 0 && entra.hidden.contains(group));
        // A user in such a group may still be assigned.
        let unseen = hiding(snapshot) || self.read_again && hiding(confirmation);
        let candidates = leavers.keys().filter(|user| !self.approved(**user, "deactivate")).count();
        let is_inactive = |user: UserNumber| {
            let learner = self.model.learners.get(&user);
            learner.is_none_or(|learner| !learner.active)
        };
        let recent = self
            .model
            .log
            .iter()
            .filter(|entry| entry.deactivates && is_inactive(entry.user) && self.clocks.is_recent(entry.at));
        let recent = recent.map(|entry| entry.user).collect::<BTreeSet<_>>().len();
        let count = candidates + recent;
        let learners = self.linked_and_active().len() + recent;
        let too_many = self.model.damaged.hide_holds("deactivate")
            || count as u64 > self.limits.max_deactivations
            || count > 10 && exceeds(count, self.limits.max_deactivation_percent, learners);
        for (user, evidence) in leavers {
            let approved = self.approved(user, "deactivate");
            let held = self.held(user, "deactivate").map(|held| held.reason).filter(|reason| *reason != "unreadable");
            let routes = &self.model.learners[&user].routes;
            let through_emptied =
                routes.iter().any(|route| emptied.contains(route)) || routes.is_empty() && !emptied.is_empty();
            let hold = match evidence {
                Err(()) => Some(held.unwrap_or("unreadable")),
                Ok(_) if approved => None,
                Ok(_) if held.is_some() => held,
                Ok(_) if nothing_assigned => Some("empty-group"),
                Ok("unassigned") if through_emptied || unseen => Some("empty-group"),
                Ok(_) => too_many.then_some("threshold"),
            };
            let decision = Decision {
                action: "deactivate",
                status: if hold.is_some() { "held" } else { "success" },
                reason: hold.or(evidence.ok()).unwrap_or_default(),
                user_name: self.own_name(user),
                approved: hold.is_none() && approved,
                values: Vec::new(),
                active_change: Some((Some(true), false)),
            };
            self.decisions.insert(user, decision);
        }
    }

    /// The names of assigned groups that had three or more members and have none now.
    fn emptied(&self, members: &BTreeMap<Group, u64>) -> BTreeSet<String> {
        let hides = |group: &Group| {
            self.reads.snapshot.hidden.contains(group)
                || self.read_again && self.reads.confirmation.hidden.contains(group)
        };
        let had = |group: &Group| {
            let last = self.model.last_members.get(group);
            let is_lost = self.model.damaged.hide_members(*group, last.is_some());
            let name = group.to_string();
            let last_seen = |user: &UserNumber| self.model.learners[user].routes.contains(&name);
            // The learners last seen in it stand in for a lost or unset count.
            let is_unset = last.is_none_or(|last| *last == 0);
            let had_learners = is_unset && self.linked_and_active().into_iter().filter(last_seen).count() >= 3;
            last.is_some_and(|last| *last >= 3) || had_learners || is_lost || hides(group)
        };
        members.iter().filter(|(group, now)| **now == 0 && had(group)).map(|(group, _)| group.to_string()).collect()
    }

    /// The expected content of the database after the cycle.
    fn finish(mut self) -> ExpectedCycle {
        let mut after_bookkeeping = self.model.clone();
        let changing: BTreeSet<UserNumber> =
            self.decisions.iter().filter(|(_, decision)| decision.status == "success").map(|(user, _)| *user).collect();
        after_bookkeeping.damaged.delete_failing();
        let logged = after_bookkeeping.log.len();
        self.record_failures(&mut after_bookkeeping, &changing);
        // Each transaction logs the ends of holds first.
        let ended = self.record_held(&mut after_bookkeeping, &changing);
        after_bookkeeping.log.splice(logged..logged, ended);
        for (user, learner) in &mut after_bookkeeping.learners {
            if self.states.contains_key(user) && learner.damage.is_none() {
                learner.routes = self.reads.snapshot.routes(*user);
            }
        }
        self.record_members(&mut after_bookkeeping);
        let mut after_changes = after_bookkeeping.clone();
        for (user, decision) in self.decisions.iter().filter(|(user, _)| changing.contains(user)) {
            self.apply_change(*user, decision, &mut after_changes);
        }
        for decision in self.decisions.values() {
            match (decision.status, decision.action) {
                ("skipped", _) => self.counts.skipped += 1,
                ("failure", _) => self.counts.failed += 1,
                ("success", "create") => self.counts.created += 1,
                ("success", "update") => self.counts.updated += 1,
                ("success", "reactivate") => self.counts.reactivated += 1,
                ("success", _) => self.counts.deactivated += 1,
                _ => {}
            }
        }
        self.counts.failed += u64::from(self.reads.gap == Gap::Row) + self.model.damaged.count_unnamed();
        self.counts.held = after_changes.held.len() as u64;
        let Self { counts, candidates, read_again, clocks: Clocks { recorded, .. }, .. } = self;
        ExpectedCycle { recorded, counts, after_bookkeeping, after_changes, candidates, read_again }
    }

    /// A failing or skipped user is logged once per reason; the entry goes when the reason does.
    fn record_failures(&self, after_bookkeeping: &mut ModelDatabase, changing: &BTreeSet<UserNumber>) {
        let logged_reasons = ["missing-required", "protected", "conflict", "unreadable", "database-error"];
        for (user, decision) in
            self.decisions.iter().filter(|(_, decision)| matches!(decision.status, "skipped" | "failure"))
        {
            let before = self.model.failing.get(user).filter(|failing| failing.reason == decision.reason);
            if before.is_none() && logged_reasons.contains(&decision.reason) {
                after_bookkeeping.log.push(self.log_row(*user, decision));
            }
            let nowhere = self.nowhere.contains(user);
            // The time of `not found` does not include the time spent waiting for another cause.
            let since = before.filter(|failing| failing.nowhere || !nowhere || decision.reason != "waiting");
            let now = self.clocks.recorded;
            let since = since.map_or(now, |failing| failing.since.min(now));
            after_bookkeeping.failing.insert(*user, FailureEntry { reason: decision.reason, since, nowhere });
        }
        let decisions = &self.decisions;
        after_bookkeeping.failing.retain(|user, _| {
            let fails = decisions.get(user).is_some_and(|decision| matches!(decision.status, "skipped" | "failure"));
            fails || changing.contains(user) || self.nowhere.contains(user)
        });
    }

    /// Once held, a user stays held until approved or desired again. Returns the log rows of the holds that end.
    fn record_held(&self, after_bookkeeping: &mut ModelDatabase, changing: &BTreeSet<UserNumber>) -> Vec<LogEntry> {
        let mut ended_rows = Vec::new();
        for (user, decision) in self.decisions.iter().filter(|(_, decision)| decision.status == "held") {
            let before = self.model.held.get(user).filter(|held| held.action == decision.action);
            let same = before.filter(|held| held.reason == decision.reason);
            if same.is_none() {
                after_bookkeeping.log.push(self.log_row(*user, decision));
            }
            let replaced = self.model.held.get(user).filter(|held| held.action != decision.action);
            ended_rows.extend(replaced.map(|held| self.ended_row(*user, held, false)));
            let since = same.map_or(self.clocks.recorded, |held| held.since);
            let approved = before.and_then(|held| held.approved);
            after_bookkeeping
                .held
                .insert(*user, HeldEntry { action: decision.action, reason: decision.reason, since, approved });
        }
        after_bookkeeping.held.retain(|user, held| {
            let decision = self.decisions.get(user);
            let reason = decision.map_or("", |decision| decision.reason);
            // The repair of a row that a hand inserted leaves a hold of a user without an active learner.
            let is_inactive = self.linked(*user).is_none_or(|learner| !learner.active);
            let ended = match (held.action, self.states.get(user)) {
                ("update", Some(UserState::Wanted(_))) => self.unchanged.contains(user),
                ("update", Some(UserState::NoMail(_) | UserState::Unreadable)) => false,
                (_, Some(UserState::Wanted(_))) => true,
                ("update", _) => is_inactive,
                _ => is_inactive || reason == "protected" || held.reason == "unreadable" && reason == "waiting",
            };
            let lasts = !ended
                || self.rejected.contains(user)
                || changing.contains(user)
                || decision.is_some_and(|decision| decision.status == "held");
            if !lasts {
                ended_rows.push(self.ended_row(*user, held, false));
            }
            lasts
        });
        ended_rows
    }

    /// An emptied group keeps its count while an active learner last seen in it is missing.
    fn record_members(&self, after_bookkeeping: &mut ModelDatabase) {
        let list_read = if self.read_again { self.reads.confirmation } else { self.reads.snapshot };
        let members = list_read.members();
        let emptied = self.emptied(&members);
        let missing = |user: &UserNumber| matches!(self.states.get(user), None | Some(UserState::NoAccount));
        let learners = &self.model.learners;
        let unknown = |user: &UserNumber| match self.linked(*user) {
            None => self.rejected.contains(user),
            Some(learner) => learner.active && learner.routes.is_empty(),
        };
        let guards_all = learners.keys().chain(&self.rejected).any(|user| missing(user) && unknown(user));
        for (group, now) in members {
            let name = group.to_string();
            let guards = |user: UserNumber| missing(&user) && learners[&user].routes.contains(&name);
            let is_guarded = guards_all || self.linked_and_active().into_iter().any(guards);
            let last = self.model.last_members.get(&group).copied();
            // A row that names nobody may be a member of any group.
            let is_too_low = self.reads.gap == Gap::Row
                && (now <= last.unwrap_or_default() || self.model.damaged.hide_members(group, last.is_some()));
            if !is_too_low && (!emptied.contains(&name) || !is_guarded) {
                after_bookkeeping.last_members.insert(group, now);
                after_bookkeeping.damaged.counts.remove(&group);
            }
        }
    }

    fn apply_change(&self, user: UserNumber, decision: &Decision, after_changes: &mut ModelDatabase) {
        let held = after_changes.held.remove(&user);
        after_changes.log.extend(held.map(|held| self.ended_row(user, &held, decision.approved)));
        after_changes.log.push(self.log_row(user, decision));
        after_changes.failing.remove(&user);
        let new = || ModelLearner {
            active: true,
            values: Values::default(),
            routes: self.reads.snapshot.routes(user),
            damage: None,
        };
        let learner = after_changes.learners.entry(user).or_insert_with(new);
        learner.active = decision.action != "deactivate";
        for (attribute, _, new) in &decision.values {
            learner.values[*attribute].clone_from(new);
        }
    }

    fn log_row(&self, user: UserNumber, decision: &Decision) -> LogEntry {
        let Decision { action, status, reason, user_name, approved, values, active_change } = decision;
        let value = |(attribute, old, new): &(usize, Option<String>, Option<String>)| json!({ "attribute": ATTRIBUTES[*attribute].0, "old": old, "new": new });
        let active_change = active_change.map(|(old, new)| json!({ "attribute": "active", "old": old, "new": new }));
        let changes: Vec<Value> = values.iter().map(value).chain(active_change).collect();
        let learner = self.linked(user).is_some() || *status == "success";
        let at = self.clocks.recorded;
        let (at_text, name) = (at.to_string(), user.to_string());
        let phase = if *status == "held" { "begun" } else { "" };
        let row = json!([at_text, name, action, status, reason, user_name, *approved, learner, changes, phase]);
        let mut entry = LogEntry { user, at, deactivates: false, clears: Vec::new(), row, is_damaged: false };
        entry.judge();
        entry
    }

    /// The row for the end of a hold.
    fn ended_row(&self, user: UserNumber, held: &HeldEntry, approved: bool) -> LogEntry {
        let HeldEntry { action, reason, since: _, approved: _ } = held;
        let (at, learner) = (self.clocks.recorded, self.linked(user).is_some());
        let name = self.own_name(user);
        let row =
            json!([at.to_string(), user.to_string(), action, "held", reason, name, approved, learner, [], "ended"]);
        LogEntry { user, at, deactivates: false, clears: Vec::new(), row, is_damaged: false }
    }
}

/// The change that a learner needs, if any.
fn plan_change(learner: Option<&ModelLearner>, wanted: &Values) -> Option<Decision> {
    let none = Values::default();
    let own = learner.map_or(&none, |learner| &learner.values);
    let changed = |attribute: &usize| own[*attribute] != wanted[*attribute];
    let values: Vec<_> = (0..ATTRIBUTES.len())
        .filter(changed)
        .map(|attribute| (attribute, own[attribute].clone(), wanted[attribute].clone()))
        .collect();
    let (action, reason, active_change) = match learner {
        None => ("create", "assigned", Some((None, true))),
        Some(learner) if learner.active && values.is_empty() => return None,
        Some(learner) if learner.active => ("update", "attributes-changed", None),
        Some(_) => ("reactivate", "reassigned", Some((Some(false), true))),
    };
    let user_name = wanted[USER_NAME].clone();
    Some(Decision { action, status: "success", reason, user_name, approved: false, values, active_change })
}

/// Whether a change takes another value of a unique attribute, not only another letter case.
fn moves(attribute: usize, (changed, old, new): &(usize, Option<String>, Option<String>)) -> bool {
    let fold = |value: &Option<String>| value.as_deref().map(str::to_ascii_lowercase);
    *changed == attribute && fold(old) != fold(new)
}

/// Whether `count` exceeds a percentage.
fn exceeds(count: usize, percent: u64, of: usize) -> bool {
    count as u64 * 100 > percent * of as u64
}
