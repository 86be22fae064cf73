//! What learner-sync is to make of what Entra ID knows, written from the design: users and words, no ids, no SQL, no
//! order.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use learner_sync::plan::Counts;
use serde_json::{Value, json};

use super::entra::{ATTRIBUTES, Account, AssignedUser, Entra, Group, MAIL, UNIQUE, USER_NAME, Values};

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// `schedule.min_interval`, unless configured.
const MIN_INTERVAL: SignedDuration = SignedDuration::from_mins(20);

/// The safety limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_deactivations: u64,
    pub(super) max_deactivation_percent: u64,
    pub(super) max_update_percent: u64,
    pub(super) deactivate_after: SignedDuration,
    pub(super) protected: Option<AssignedUser>,
}

/// What a cycle sees: the first look, the second look a moment later, and whom the second look cannot read.
pub(super) struct Looks<'a> {
    pub(super) first: &'a Entra,
    pub(super) second: &'a Entra,
    pub(super) unreadable: Option<AssignedUser>,
}

/// The learner database.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    learners: BTreeMap<AssignedUser, Learner>,
    held: BTreeMap<AssignedUser, Held>,
    failing: BTreeMap<AssignedUser, Failing>,
    last_members: BTreeMap<Group, u64>,
    /// Every deactivation without an approval.
    switched_off: Vec<(AssignedUser, Timestamp)>,
    log: Vec<Value>,
}

#[derive(Clone, Debug)]
struct Learner {
    active: bool,
    values: Values,
    ways: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Held {
    action: &'static str,
    reason: &'static str,
    since: Timestamp,
    approved: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Failing {
    reason: &'static str,
    since: Timestamp,
    /// Whether that is for an assignment to which there is no account.
    nowhere: bool,
}

/// What is done for one user, or is not.
#[derive(Clone, Debug)]
struct Line {
    action: &'static str,
    status: &'static str,
    reason: &'static str,
    user_name: Option<String>,
    approved: bool,
    values: Vec<(usize, Option<String>, Option<String>)>,
    switch: Option<(Option<bool>, bool)>,
}

/// What a complete cycle comes to.
pub(super) struct Cycle {
    pub(super) counts: Counts,
    /// When what is no change is written down.
    pub(super) noted: Book,
    /// And when all is done.
    pub(super) done: Book,
    /// Who gets a second look.
    pub(super) candidates: BTreeSet<AssignedUser>,
    /// Whether the assignments are read again for them.
    pub(super) read_again: bool,
}

/// How somebody on the application stands at the first look.
#[derive(Clone, Copy)]
enum Standing<'a> {
    Wanted(&'a Values),
    NoMail(&'a Values),
    Disabled,
    NoAccount,
}

impl Book {
    /// An administrator releases everybody who is held. Answers how many.
    pub(super) fn approve(&mut self, now: Timestamp) -> u64 {
        self.held.values_mut().for_each(|held| held.approved = Some(now));
        self.held.len() as u64
    }

    pub(super) fn active(&self) -> impl Iterator<Item = AssignedUser> {
        self.learners.iter().filter(|(_, learner)| learner.active).map(|(user, _)| *user)
    }

    pub(super) fn cycle(&self, looks: &Looks<'_>, limits: Limits, now: Timestamp) -> Cycle {
        let mut making = Making::new(self, looks, limits, now);
        making.arrivals();
        making.leavers();
        making.written()
    }

    /// Every row, as it is read from the database.
    pub(super) fn rows(&self) -> Vec<String> {
        let mut rows: Vec<String> = Vec::new();
        for (user, Learner { active, values, ways }) in &self.learners {
            let mut row = vec![json!(user.to_string()), json!(u8::from(*active)), json!(ways)];
            row.extend(values.iter().map(|value| json!(value)));
            rows.push(format!("learner {}", Value::from(row)));
        }
        for (user, Held { action, reason, since, approved }) in &self.held {
            let approved = approved.map(|approved| approved.to_string());
            rows.push(format!("held {}", json!([user.to_string(), action, reason, since.to_string(), approved])));
        }
        for (user, Failing { reason, since, nowhere: _ }) in &self.failing {
            rows.push(format!("failing {}", json!([user.to_string(), reason, since.to_string()])));
        }
        rows.extend(
            self.last_members.iter().map(|(group, last)| format!("group {}", json!([group.to_string(), last]))),
        );
        rows.extend(self.log.iter().map(|row| format!("log {row}")));
        rows
    }
}

struct Making<'a> {
    book: &'a Book,
    looks: &'a Looks<'a>,
    limits: Limits,
    now: Timestamp,
    counts: Counts,
    standings: BTreeMap<AssignedUser, Standing<'a>>,
    /// Whom nothing is left to change for.
    settled: BTreeSet<AssignedUser>,
    lines: BTreeMap<AssignedUser, Line>,
    candidates: BTreeSet<AssignedUser>,
    nowhere: BTreeSet<AssignedUser>,
    read_again: bool,
}

impl<'a> Making<'a> {
    fn new(book: &'a Book, looks: &'a Looks<'a>, limits: Limits, now: Timestamp) -> Self {
        let standing = |user: AssignedUser| {
            let employee = &looks.first.users[&user];
            match employee.account {
                Account::Enabled if employee.values[MAIL].is_none() => Standing::NoMail(&employee.values),
                Account::Enabled => Standing::Wanted(&employee.values),
                Account::Disabled => Standing::Disabled,
                Account::Deleted | Account::Gone => Standing::NoAccount,
            }
        };
        let users = looks.first.users.keys().filter(|user| !looks.first.ways(**user).is_empty());
        Self {
            book,
            looks,
            limits,
            now,
            counts: Counts::default(),
            standings: users.map(|user| (*user, standing(*user))).collect(),
            settled: BTreeSet::new(),
            lines: BTreeMap::new(),
            candidates: BTreeSet::new(),
            nowhere: BTreeSet::new(),
            read_again: false,
        }
    }

    fn is_active(&self, user: AssignedUser) -> bool {
        self.book.learners.get(&user).is_some_and(|learner| learner.active)
    }

    /// The user name of the learner as it is.
    fn own_name(&self, user: AssignedUser) -> Option<String> {
        self.book.learners.get(&user).and_then(|learner| learner.values[USER_NAME].clone())
    }

    fn held(&self, user: AssignedUser, action: &str) -> Option<&'a Held> {
        self.book.held.get(&user).filter(|held| held.action == action)
    }

    /// Whether an approval releases this user, which it does for a day.
    fn approved(&self, user: AssignedUser, action: &str) -> bool {
        let at = self.held(user, action).and_then(|held| held.approved);
        at.is_some_and(|at| self.now.duration_since(at) <= DAY)
    }

    /// Who is on the application: new, changed or back; and who of them is left alone.
    fn arrivals(&mut self) {
        let mut drafts = BTreeMap::new();
        for (user, standing) in self.standings.clone() {
            let learner = self.book.learners.get(&user);
            let reject = |action, reason, user_name| Line {
                action,
                status: "skipped",
                reason,
                user_name,
                approved: false,
                values: Vec::new(),
                switch: None,
            };
            match standing {
                Standing::Wanted(values) => {
                    self.counts.in_scope += 1;
                    match draft(learner, values) {
                        Some(line) => drop(drafts.insert(user, line)),
                        None => {
                            self.counts.unchanged += 1;
                            self.settled.insert(user);
                        }
                    }
                }
                Standing::NoMail(values) => {
                    self.counts.in_scope += 1;
                    let action = match learner {
                        None => "create",
                        Some(learner) if learner.active => "update",
                        Some(_) => "reactivate",
                    };
                    self.lines.insert(user, reject(action, "missing-required", values[USER_NAME].clone()));
                }
                // Never a learner, and not to become one now.
                Standing::Disabled => self.counts.skipped += u64::from(learner.is_none()),
                Standing::NoAccount if learner.is_none() => {
                    self.lines.insert(user, reject("create", "not-readable-yet", None));
                }
                Standing::NoAccount => {}
            }
        }
        self.conflicts(&mut drafts, &BTreeSet::new());
        let held = self.held_updates(&drafts);
        // Who is held keeps its values, which may be in the way of others.
        self.conflicts(&mut drafts, &held.keys().copied().collect());
        for (user, line) in drafts {
            let line = match held.get(&user) {
                Some(reason) => Line { status: "held", reason, ..line },
                None => Line { approved: line.action == "update" && self.approved(user, "update"), ..line },
            };
            self.lines.insert(user, line);
        }
    }

    /// Takes those out of `drafts` who want a value that somebody else keeps, or wants as well; `staying` keep theirs.
    fn conflicts(&mut self, drafts: &mut BTreeMap<AssignedUser, Line>, staying: &BTreeSet<AssignedUser>) {
        let mut rejected: BTreeSet<AssignedUser> = BTreeSet::new();
        loop {
            // Who would have what, if all others got what they want.
            let mut having: BTreeMap<(usize, String), BTreeSet<AssignedUser>> = BTreeMap::new();
            let everybody: BTreeSet<AssignedUser> = self.book.learners.keys().chain(drafts.keys()).copied().collect();
            for user in everybody {
                let moves = drafts.get(&user).filter(|_| !rejected.contains(&user) && !staying.contains(&user));
                for attribute in UNIQUE {
                    let wanted = moves.and_then(|line| line.values.iter().find(|(changed, ..)| *changed == attribute));
                    let own = || self.book.learners.get(&user).and_then(|learner| learner.values[attribute].clone());
                    if let Some(value) = wanted.map_or_else(own, |(_, _, new)| new.clone()) {
                        having.entry((attribute, value.to_ascii_lowercase())).or_default().insert(user);
                    }
                }
            }
            let before = rejected.len();
            for ((attribute, _), users) in having.iter().filter(|(_, users)| users.len() > 1) {
                let wants = |user: &&AssignedUser| {
                    let line = drafts.get(*user).filter(|_| !staying.contains(*user));
                    line.is_some_and(|line| line.values.iter().any(|(changed, ..)| changed == attribute))
                };
                rejected.extend(users.iter().filter(wants));
            }
            if rejected.len() == before {
                break;
            }
        }
        for user in rejected {
            if let Some(line) = drafts.remove(&user) {
                self.lines.insert(user, Line { status: "failure", reason: "conflict", ..line });
            }
        }
    }

    /// Whose update waits for an approval: all, when too many would change or lose a value; and who waits already.
    fn held_updates(&self, drafts: &BTreeMap<AssignedUser, Line>) -> BTreeMap<AssignedUser, &'static str> {
        let active = self.book.learners.values().filter(|learner| learner.active);
        let counted = || drafts.iter().filter(|(user, _)| !self.approved(**user, "update"));
        let updates = counted().filter(|(_, line)| line.action == "update").count();
        let percent = self.limits.max_update_percent;
        let mut too_many = percent < 100 && more(updates, percent, active.clone().count());
        for attribute in 0..ATTRIBUTES.len() {
            let loses =
                |line: &Line| line.values.iter().any(|(changed, _, new)| *changed == attribute && new.is_none());
            let losing = counted().filter(|(_, line)| loses(line)).count();
            let joining = drafts.iter().filter(|(_, line)| line.action == "reactivate");
            let joining = joining.filter_map(|(user, _)| self.book.learners.get(user));
            let having = active.clone().chain(joining).filter(|learner| learner.values[attribute].is_some()).count();
            too_many |= losing > 10 && more(losing, 20, having);
        }
        let updates = drafts.iter().filter(|(_, line)| line.action == "update").map(|(user, _)| *user);
        let why = |user| match self.held(user, "update") {
            Some(_) if self.approved(user, "update") => None,
            Some(held) => Some(held.reason),
            None => too_many.then_some("threshold"),
        };
        updates.filter_map(|user| Some((user, why(user)?))).collect()
    }

    /// Learners who are not wanted any more.
    fn leavers(&mut self) {
        let mut leavers: BTreeMap<AssignedUser, Result<&'static str, ()>> = BTreeMap::new();
        for user in self.book.active() {
            let unassigned = match self.standings.get(&user) {
                Some(Standing::Wanted(_) | Standing::NoMail(_)) => continue,
                Some(Standing::Disabled) => {
                    leavers.insert(user, Ok("account-disabled"));
                    continue;
                }
                Some(Standing::NoAccount) => false,
                None => true,
            };
            self.candidates.insert(user);
            let evidence = match self.looks.second.account(user) {
                _ if self.looks.unreadable == Some(user) => Err(()),
                Account::Disabled => Ok("account-disabled"),
                Account::Deleted => Ok("account-deleted"),
                Account::Gone if unassigned => Ok("account-deleted"),
                Account::Gone => {
                    self.nowhere.insert(user);
                    let before = self.book.failing.get(&user).filter(|failing| failing.nowhere);
                    let same = before.is_some_and(|before| self.now.duration_since(before.since) >= MIN_INTERVAL);
                    if !same && self.limits.protected != Some(user) {
                        self.left_alone(user, "waiting");
                        continue;
                    }
                    Ok("account-deleted")
                }
                Account::Enabled if !unassigned => continue,
                Account::Enabled => {
                    self.read_again = true;
                    if self.looks.second.wants(user) {
                        self.counts.unchanged += 1;
                        continue;
                    }
                    Ok("unassigned")
                }
            };
            leavers.insert(user, evidence);
        }
        leavers.retain(|user, evidence| {
            if self.limits.protected == Some(*user) {
                self.left_alone(*user, "protected");
            } else if evidence.is_ok() && !self.has_waited(*user) {
                self.left_alone(*user, "waiting");
            } else {
                return true;
            }
            false
        });
        self.hold_or_switch_off(leavers);
    }

    fn left_alone(&mut self, user: AssignedUser, reason: &'static str) {
        let line = Line {
            action: "deactivate",
            status: "skipped",
            reason,
            user_name: self.own_name(user),
            approved: false,
            values: Vec::new(),
            switch: None,
        };
        self.lines.insert(user, line);
    }

    /// Whether this user has been gone for `safety.deactivate_after`, or is held and so had.
    fn has_waited(&self, user: AssignedUser) -> bool {
        let held = self.held(user, "deactivate").is_some_and(|held| held.reason != "unreadable");
        let waiting = self.book.failing.get(&user).filter(|failing| failing.reason == "waiting");
        let long =
            waiting.is_some_and(|waiting| self.now.duration_since(waiting.since) >= self.limits.deactivate_after);
        self.limits.deactivate_after.is_zero() || held || long
    }

    fn hold_or_switch_off(&mut self, leavers: BTreeMap<AssignedUser, Result<&'static str, ()>>) {
        let (members, nobody) = match self.looks {
            Looks { second, .. } if self.read_again => (second.members(), second.nobody_assigned()),
            Looks { first, .. } => (first.members(), first.nobody_assigned()),
        };
        let emptied = self.emptied(&members);
        let Looks { first, second, .. } = self.looks;
        let hiding = |look: &Entra| look.members().iter().any(|(group, now)| *now == 0 && look.hidden.contains(group));
        // Whoever is in such a group is assigned still, for all that can be seen.
        let unseen = hiding(first) || self.read_again && hiding(second);
        let candidates = leavers.keys().filter(|user| !self.approved(**user, "deactivate")).count();
        let off = |user: &AssignedUser| !self.is_active(*user);
        let recent =
            self.book.switched_off.iter().filter(|(user, at)| off(user) && self.now.duration_since(*at) <= DAY);
        let recent = recent.map(|(user, _)| user).collect::<BTreeSet<_>>().len();
        let count = candidates + recent;
        let learners = self.book.active().count() + recent;
        let too_many = count as u64 > self.limits.max_deactivations
            || count > 10 && more(count, self.limits.max_deactivation_percent, learners);
        for (user, evidence) in leavers {
            let approved = self.approved(user, "deactivate");
            let held = self.held(user, "deactivate").map(|held| held.reason).filter(|reason| *reason != "unreadable");
            let through_emptied = self.book.learners[&user].ways.iter().any(|way| emptied.contains(way));
            let hold = match evidence {
                Err(()) => Some(held.unwrap_or("unreadable")),
                Ok(_) if approved => None,
                Ok(_) if held.is_some() => held,
                Ok(_) if nobody => Some("empty-group"),
                Ok("unassigned") if through_emptied || unseen => Some("empty-group"),
                Ok(_) => too_many.then_some("threshold"),
            };
            let line = Line {
                action: "deactivate",
                status: if hold.is_some() { "held" } else { "success" },
                reason: hold.or(evidence.ok()).unwrap_or_default(),
                user_name: self.own_name(user),
                approved: hold.is_none() && approved,
                values: Vec::new(),
                switch: Some((Some(true), false)),
            };
            self.lines.insert(user, line);
        }
    }

    /// Assigned groups that last had three members or more and have none now, by their names.
    fn emptied(&self, members: &BTreeMap<Group, u64>) -> BTreeSet<String> {
        let hides = |group: &Group| {
            self.looks.first.hidden.contains(group) || self.read_again && self.looks.second.hidden.contains(group)
        };
        let had = |group: &Group| self.book.last_members.get(group).is_some_and(|last| *last >= 3) || hides(group);
        members.iter().filter(|(group, now)| **now == 0 && had(group)).map(|(group, _)| group.to_string()).collect()
    }

    /// What stands in the database afterwards.
    fn written(mut self) -> Cycle {
        let mut noted = self.book.clone();
        let changing: BTreeSet<AssignedUser> =
            self.lines.iter().filter(|(_, line)| line.status == "success").map(|(user, _)| *user).collect();
        self.note_failing(&mut noted, &changing);
        self.note_held(&mut noted, &changing);
        for (user, learner) in &mut noted.learners {
            if self.standings.contains_key(user) {
                learner.ways = self.looks.first.ways(*user);
            }
        }
        self.note_members(&mut noted);
        let mut done = noted.clone();
        for (user, line) in self.lines.iter().filter(|(user, _)| changing.contains(user)) {
            self.change(*user, line, &mut done);
        }
        for line in self.lines.values() {
            match (line.status, line.action) {
                ("skipped", _) => self.counts.skipped += 1,
                ("failure", _) => self.counts.failed += 1,
                ("success", "create") => self.counts.created += 1,
                ("success", "update") => self.counts.updated += 1,
                ("success", "reactivate") => self.counts.reactivated += 1,
                ("success", _) => self.counts.deactivated += 1,
                _ => {}
            }
        }
        self.counts.held = done.held.len() as u64;
        let Self { counts, candidates, read_again, .. } = self;
        Cycle { counts, noted, done, candidates, read_again }
    }

    /// Who fails or is left alone is told once for each reason, and forgotten when it is over.
    fn note_failing(&self, noted: &mut Book, changing: &BTreeSet<AssignedUser>) {
        let told = ["missing-required", "protected", "conflict"];
        for (user, line) in self.lines.iter().filter(|(_, line)| matches!(line.status, "skipped" | "failure")) {
            let before = self.book.failing.get(user).filter(|failing| failing.reason == line.reason);
            if before.is_none() && told.contains(&line.reason) {
                noted.log.push(self.logged(*user, line));
            }
            let nowhere = self.nowhere.contains(user);
            // Who is found nowhere has not been nowhere for as long as he has been gone.
            let since = before.filter(|failing| failing.nowhere || !nowhere || line.reason != "waiting");
            let since = since.map_or(self.now, |failing| failing.since);
            noted.failing.insert(*user, Failing { reason: line.reason, since, nowhere });
        }
        let lines = &self.lines;
        noted.failing.retain(|user, _| {
            let fails = lines.get(user).is_some_and(|line| matches!(line.status, "skipped" | "failure"));
            fails || changing.contains(user) || self.nowhere.contains(user)
        });
    }

    /// Once held, a user stays held until approved or desired again.
    fn note_held(&self, noted: &mut Book, changing: &BTreeSet<AssignedUser>) {
        for (user, line) in self.lines.iter().filter(|(_, line)| line.status == "held") {
            let before = self.book.held.get(user).filter(|held| held.action == line.action);
            let same = before.filter(|held| held.reason == line.reason);
            if same.is_none() {
                noted.log.push(self.logged(*user, line));
            }
            let since = same.map_or(self.now, |held| held.since);
            let approved = before.and_then(|held| held.approved);
            noted.held.insert(*user, Held { action: line.action, reason: line.reason, since, approved });
        }
        noted.held.retain(|user, held| {
            let line = self.lines.get(user);
            let reason = line.map_or("", |line| line.reason);
            let desired = matches!(self.standings.get(user), Some(Standing::Wanted(_)));
            let over = match held.action {
                "update" => self.settled.contains(user),
                _ => desired || reason == "protected" || held.reason == "unreadable" && reason == "waiting",
            };
            !over || changing.contains(user) || line.is_some_and(|line| line.status == "held")
        });
    }

    /// A group that ran empty keeps its count as long as somebody who was last seen in it is active and missing.
    fn note_members(&self, noted: &mut Book) {
        let looked = if self.read_again { self.looks.second } else { self.looks.first };
        let members = looked.members();
        let emptied = self.emptied(&members);
        let missing = |user: &AssignedUser| {
            matches!(self.standings.get(user), None | Some(Standing::NoAccount)) && self.is_active(*user)
        };
        for (group, now) in members {
            let name = group.to_string();
            let guards = |(user, learner): (&AssignedUser, &Learner)| missing(user) && learner.ways.contains(&name);
            if !emptied.contains(&name) || !self.book.learners.iter().any(guards) {
                noted.last_members.insert(group, now);
            }
        }
    }

    fn change(&self, user: AssignedUser, line: &Line, done: &mut Book) {
        done.log.push(self.logged(user, line));
        done.held.remove(&user);
        done.failing.remove(&user);
        if line.action == "deactivate" && !line.approved {
            done.switched_off.push((user, self.now));
        }
        let new = || Learner { active: true, values: Values::default(), ways: self.looks.first.ways(user) };
        let learner = done.learners.entry(user).or_insert_with(new);
        learner.active = line.action != "deactivate";
        for (attribute, _, new) in &line.values {
            learner.values[*attribute].clone_from(new);
        }
    }

    /// A row of the log.
    fn logged(&self, user: AssignedUser, line: &Line) -> Value {
        let Line { action, status, reason, user_name, approved, values, switch } = line;
        let value = |(attribute, old, new): &(usize, Option<String>, Option<String>)| json!({ "attribute": ATTRIBUTES[*attribute].0, "old": old, "new": new });
        let switch = switch.map(|(old, new)| json!({ "attribute": "active", "old": old, "new": new }));
        let changes: Vec<Value> = values.iter().map(value).chain(switch).collect();
        let learner = self.book.learners.contains_key(&user) || *status == "success";
        json!([self.now.to_string(), user.to_string(), action, status, reason, user_name, *approved, learner, changes])
    }
}

/// What makes a learner as it should be, if anything has to be done.
fn draft(learner: Option<&Learner>, wanted: &Values) -> Option<Line> {
    let none = Values::default();
    let own = learner.map_or(&none, |learner| &learner.values);
    let changed = |attribute: &usize| !same(*attribute, own[*attribute].as_deref(), wanted[*attribute].as_deref());
    let values: Vec<_> = (0..ATTRIBUTES.len())
        .filter(changed)
        .map(|attribute| (attribute, own[attribute].clone(), wanted[attribute].clone()))
        .collect();
    let (action, reason, switch) = match learner {
        None => ("create", "assigned", Some((None, true))),
        Some(learner) if learner.active && values.is_empty() => return None,
        Some(learner) if learner.active => ("update", "attributes-changed", None),
        Some(_) => ("reactivate", "reassigned", Some((Some(false), true))),
    };
    let user_name = wanted[USER_NAME].clone();
    Some(Line { action, status: "success", reason, user_name, approved: false, values, switch })
}

fn same(attribute: usize, left: Option<&str>, right: Option<&str>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) if UNIQUE.contains(&attribute) => left.eq_ignore_ascii_case(right),
        _ => left == right,
    }
}

/// Whether so many are more than this share.
fn more(count: usize, percent: u64, of: usize) -> bool {
    count as u64 * 100 > percent * of as u64
}
