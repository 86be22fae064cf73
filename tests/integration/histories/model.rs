//! What learner-sync is to make of what Entra ID knows, written from the design: people and words, no ids, no SQL, no
//! order.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use learner_sync::plan::Counts;
use serde_json::{Value, json};

use super::entra::{ATTRIBUTES, Account, Entra, Group, MAIL, Person, UNIQUE, USER_NAME, Values};

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
    pub(super) protected: Option<Person>,
}

/// What a cycle sees: the first look, the second look a moment later, and whom the second look cannot read.
pub(super) struct Looks<'a> {
    pub(super) first: &'a Entra,
    pub(super) second: &'a Entra,
    pub(super) unreadable: Option<Person>,
}

/// The learner database.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    learners: BTreeMap<Person, Learner>,
    held: BTreeMap<Person, Held>,
    failing: BTreeMap<Person, Failing>,
    last_members: BTreeMap<Group, u64>,
    /// Every deactivation without an approval.
    switched_off: Vec<(Person, Timestamp)>,
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

/// What is done for one person, or is not.
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
    pub(super) candidates: BTreeSet<Person>,
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

    pub(super) fn active(&self) -> impl Iterator<Item = Person> {
        self.learners.iter().filter(|(_, learner)| learner.active).map(|(person, _)| *person)
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
        for (person, Learner { active, values, ways }) in &self.learners {
            let mut row = vec![json!(person.to_string()), json!(u8::from(*active)), json!(ways)];
            row.extend(values.iter().map(|value| json!(value)));
            rows.push(format!("learner {}", Value::from(row)));
        }
        for (person, Held { action, reason, since, approved }) in &self.held {
            let approved = approved.map(|approved| approved.to_string());
            rows.push(format!("held {}", json!([person.to_string(), action, reason, since.to_string(), approved])));
        }
        for (person, Failing { reason, since, nowhere: _ }) in &self.failing {
            rows.push(format!("failing {}", json!([person.to_string(), reason, since.to_string()])));
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
    standings: BTreeMap<Person, Standing<'a>>,
    /// Whom nothing is left to change for.
    settled: BTreeSet<Person>,
    lines: BTreeMap<Person, Line>,
    candidates: BTreeSet<Person>,
    nowhere: BTreeSet<Person>,
    read_again: bool,
}

impl<'a> Making<'a> {
    fn new(book: &'a Book, looks: &'a Looks<'a>, limits: Limits, now: Timestamp) -> Self {
        let standing = |person: Person| {
            let employee = &looks.first.people[&person];
            match employee.account {
                Account::Enabled if employee.values[MAIL].is_none() => Standing::NoMail(&employee.values),
                Account::Enabled => Standing::Wanted(&employee.values),
                Account::Disabled => Standing::Disabled,
                Account::Deleted | Account::Gone => Standing::NoAccount,
            }
        };
        let people = looks.first.people.keys().filter(|person| !looks.first.ways(**person).is_empty());
        Self {
            book,
            looks,
            limits,
            now,
            counts: Counts::default(),
            standings: people.map(|person| (*person, standing(*person))).collect(),
            settled: BTreeSet::new(),
            lines: BTreeMap::new(),
            candidates: BTreeSet::new(),
            nowhere: BTreeSet::new(),
            read_again: false,
        }
    }

    fn is_active(&self, person: Person) -> bool {
        self.book.learners.get(&person).is_some_and(|learner| learner.active)
    }

    /// The user name of the learner as it is.
    fn own_name(&self, person: Person) -> Option<String> {
        self.book.learners.get(&person).and_then(|learner| learner.values[USER_NAME].clone())
    }

    fn held(&self, person: Person, action: &str) -> Option<&'a Held> {
        self.book.held.get(&person).filter(|held| held.action == action)
    }

    /// Whether an approval releases this person, which it does for a day.
    fn approved(&self, person: Person, action: &str) -> bool {
        let at = self.held(person, action).and_then(|held| held.approved);
        at.is_some_and(|at| self.now.duration_since(at) <= DAY)
    }

    /// Who is on the application: new, changed or back; and who of them is left alone.
    fn arrivals(&mut self) {
        let mut drafts = BTreeMap::new();
        for (person, standing) in self.standings.clone() {
            let learner = self.book.learners.get(&person);
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
                        Some(line) => drop(drafts.insert(person, line)),
                        None => {
                            self.counts.unchanged += 1;
                            self.settled.insert(person);
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
                    self.lines.insert(person, reject(action, "missing-required", values[USER_NAME].clone()));
                }
                // Never a learner, and not to become one now.
                Standing::Disabled => self.counts.skipped += u64::from(learner.is_none()),
                Standing::NoAccount if learner.is_none() => {
                    self.lines.insert(person, reject("create", "not-readable-yet", None));
                }
                Standing::NoAccount => {}
            }
        }
        self.conflicts(&mut drafts, &BTreeSet::new());
        let held = self.held_updates(&drafts);
        // Who is held keeps its values, which may be in the way of others.
        self.conflicts(&mut drafts, &held.keys().copied().collect());
        for (person, line) in drafts {
            let line = match held.get(&person) {
                Some(reason) => Line { status: "held", reason, ..line },
                None => Line { approved: line.action == "update" && self.approved(person, "update"), ..line },
            };
            self.lines.insert(person, line);
        }
    }

    /// Takes those out of `drafts` who want a value that somebody else keeps, or wants as well; `staying` keep theirs.
    fn conflicts(&mut self, drafts: &mut BTreeMap<Person, Line>, staying: &BTreeSet<Person>) {
        let mut rejected: BTreeSet<Person> = BTreeSet::new();
        loop {
            // Who would have what, if all others got what they want.
            let mut having: BTreeMap<(usize, String), BTreeSet<Person>> = BTreeMap::new();
            let everybody: BTreeSet<Person> = self.book.learners.keys().chain(drafts.keys()).copied().collect();
            for person in everybody {
                let moves = drafts.get(&person).filter(|_| !rejected.contains(&person) && !staying.contains(&person));
                for attribute in UNIQUE {
                    let wanted = moves.and_then(|line| line.values.iter().find(|(changed, ..)| *changed == attribute));
                    let own = || self.book.learners.get(&person).and_then(|learner| learner.values[attribute].clone());
                    if let Some(value) = wanted.map_or_else(own, |(_, _, new)| new.clone()) {
                        having.entry((attribute, value.to_ascii_lowercase())).or_default().insert(person);
                    }
                }
            }
            let before = rejected.len();
            for ((attribute, _), people) in having.iter().filter(|(_, people)| people.len() > 1) {
                let wants = |person: &&Person| {
                    let line = drafts.get(*person).filter(|_| !staying.contains(*person));
                    line.is_some_and(|line| line.values.iter().any(|(changed, ..)| changed == attribute))
                };
                rejected.extend(people.iter().filter(wants));
            }
            if rejected.len() == before {
                break;
            }
        }
        for person in rejected {
            if let Some(line) = drafts.remove(&person) {
                self.lines.insert(person, Line { status: "failure", reason: "conflict", ..line });
            }
        }
    }

    /// Whose update waits for an approval: all, when too many would change or lose a value; and who waits already.
    fn held_updates(&self, drafts: &BTreeMap<Person, Line>) -> BTreeMap<Person, &'static str> {
        let active = self.book.learners.values().filter(|learner| learner.active);
        let counted = || drafts.iter().filter(|(person, _)| !self.approved(**person, "update"));
        let updates = counted().filter(|(_, line)| line.action == "update").count();
        let percent = self.limits.max_update_percent;
        let mut too_many = percent < 100 && more(updates, percent, active.clone().count());
        for attribute in 0..ATTRIBUTES.len() {
            let loses =
                |line: &Line| line.values.iter().any(|(changed, _, new)| *changed == attribute && new.is_none());
            let losing = counted().filter(|(_, line)| loses(line)).count();
            let joining = drafts.iter().filter(|(_, line)| line.action == "reactivate");
            let joining = joining.filter_map(|(person, _)| self.book.learners.get(person));
            let having = active.clone().chain(joining).filter(|learner| learner.values[attribute].is_some()).count();
            too_many |= losing > 10 && more(losing, 20, having);
        }
        let updates = drafts.iter().filter(|(_, line)| line.action == "update").map(|(person, _)| *person);
        let why = |person| match self.held(person, "update") {
            Some(_) if self.approved(person, "update") => None,
            Some(held) => Some(held.reason),
            None => too_many.then_some("threshold"),
        };
        updates.filter_map(|person| Some((person, why(person)?))).collect()
    }

    /// Learners who are not wanted any more.
    fn leavers(&mut self) {
        let mut leavers: BTreeMap<Person, Result<&'static str, ()>> = BTreeMap::new();
        for person in self.book.active() {
            let unassigned = match self.standings.get(&person) {
                Some(Standing::Wanted(_) | Standing::NoMail(_)) => continue,
                Some(Standing::Disabled) => {
                    leavers.insert(person, Ok("account-disabled"));
                    continue;
                }
                Some(Standing::NoAccount) => false,
                None => true,
            };
            self.candidates.insert(person);
            let evidence = match self.looks.second.account(person) {
                _ if self.looks.unreadable == Some(person) => Err(()),
                Account::Disabled => Ok("account-disabled"),
                Account::Deleted => Ok("account-deleted"),
                Account::Gone if unassigned => Ok("account-deleted"),
                Account::Gone => {
                    self.nowhere.insert(person);
                    let before = self.book.failing.get(&person).filter(|failing| failing.nowhere);
                    let same = before.is_some_and(|before| self.now.duration_since(before.since) >= MIN_INTERVAL);
                    if !same && self.limits.protected != Some(person) {
                        self.left_alone(person, "waiting");
                        continue;
                    }
                    Ok("account-deleted")
                }
                Account::Enabled if !unassigned => continue,
                Account::Enabled => {
                    self.read_again = true;
                    if self.looks.second.wants(person) {
                        self.counts.unchanged += 1;
                        continue;
                    }
                    Ok("unassigned")
                }
            };
            leavers.insert(person, evidence);
        }
        leavers.retain(|person, evidence| {
            if self.limits.protected == Some(*person) {
                self.left_alone(*person, "protected");
            } else if evidence.is_ok() && !self.has_waited(*person) {
                self.left_alone(*person, "waiting");
            } else {
                return true;
            }
            false
        });
        self.hold_or_switch_off(leavers);
    }

    fn left_alone(&mut self, person: Person, reason: &'static str) {
        let line = Line {
            action: "deactivate",
            status: "skipped",
            reason,
            user_name: self.own_name(person),
            approved: false,
            values: Vec::new(),
            switch: None,
        };
        self.lines.insert(person, line);
    }

    /// Whether this person has been gone for `safety.deactivate_after`, or is held and so had.
    fn has_waited(&self, person: Person) -> bool {
        let held = self.held(person, "deactivate").is_some_and(|held| held.reason != "unreadable");
        let waiting = self.book.failing.get(&person).filter(|failing| failing.reason == "waiting");
        let long =
            waiting.is_some_and(|waiting| self.now.duration_since(waiting.since) >= self.limits.deactivate_after);
        self.limits.deactivate_after.is_zero() || held || long
    }

    fn hold_or_switch_off(&mut self, leavers: BTreeMap<Person, Result<&'static str, ()>>) {
        let (members, nobody) = match self.looks {
            Looks { second, .. } if self.read_again => (second.members(), second.nobody_assigned()),
            Looks { first, .. } => (first.members(), first.nobody_assigned()),
        };
        let emptied = self.emptied(&members);
        let Looks { first, second, .. } = self.looks;
        let hiding = |look: &Entra| look.members().iter().any(|(group, now)| *now == 0 && look.hidden.contains(group));
        // Whoever is in such a group is assigned still, for all that can be seen.
        let unseen = hiding(first) || self.read_again && hiding(second);
        let candidates = leavers.keys().filter(|person| !self.approved(**person, "deactivate")).count();
        let off = |person: &Person| !self.is_active(*person);
        let recent =
            self.book.switched_off.iter().filter(|(person, at)| off(person) && self.now.duration_since(*at) <= DAY);
        let recent = recent.map(|(person, _)| person).collect::<BTreeSet<_>>().len();
        let count = candidates + recent;
        let learners = self.book.active().count() + recent;
        let too_many = count as u64 > self.limits.max_deactivations
            || count > 10 && more(count, self.limits.max_deactivation_percent, learners);
        for (person, evidence) in leavers {
            let approved = self.approved(person, "deactivate");
            let held = self.held(person, "deactivate").map(|held| held.reason).filter(|reason| *reason != "unreadable");
            let through_emptied = self.book.learners[&person].ways.iter().any(|way| emptied.contains(way));
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
                user_name: self.own_name(person),
                approved: hold.is_none() && approved,
                values: Vec::new(),
                switch: Some((Some(true), false)),
            };
            self.lines.insert(person, line);
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
        let changing: BTreeSet<Person> =
            self.lines.iter().filter(|(_, line)| line.status == "success").map(|(person, _)| *person).collect();
        self.note_failing(&mut noted, &changing);
        self.note_held(&mut noted, &changing);
        for (person, learner) in &mut noted.learners {
            if self.standings.contains_key(person) {
                learner.ways = self.looks.first.ways(*person);
            }
        }
        self.note_members(&mut noted);
        let mut done = noted.clone();
        for (person, line) in self.lines.iter().filter(|(person, _)| changing.contains(person)) {
            self.change(*person, line, &mut done);
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
    fn note_failing(&self, noted: &mut Book, changing: &BTreeSet<Person>) {
        let told = ["missing-required", "protected", "conflict"];
        for (person, line) in self.lines.iter().filter(|(_, line)| matches!(line.status, "skipped" | "failure")) {
            let before = self.book.failing.get(person).filter(|failing| failing.reason == line.reason);
            if before.is_none() && told.contains(&line.reason) {
                noted.log.push(self.logged(*person, line));
            }
            let nowhere = self.nowhere.contains(person);
            // Who is found nowhere has not been nowhere for as long as he has been gone.
            let since = before.filter(|failing| failing.nowhere || !nowhere || line.reason != "waiting");
            let since = since.map_or(self.now, |failing| failing.since);
            noted.failing.insert(*person, Failing { reason: line.reason, since, nowhere });
        }
        let lines = &self.lines;
        noted.failing.retain(|person, _| {
            let fails = lines.get(person).is_some_and(|line| matches!(line.status, "skipped" | "failure"));
            fails || changing.contains(person) || self.nowhere.contains(person)
        });
    }

    /// Once held, a person stays held until approved or desired again.
    fn note_held(&self, noted: &mut Book, changing: &BTreeSet<Person>) {
        for (person, line) in self.lines.iter().filter(|(_, line)| line.status == "held") {
            let before = self.book.held.get(person).filter(|held| held.action == line.action);
            let same = before.filter(|held| held.reason == line.reason);
            if same.is_none() {
                noted.log.push(self.logged(*person, line));
            }
            let since = same.map_or(self.now, |held| held.since);
            let approved = before.and_then(|held| held.approved);
            noted.held.insert(*person, Held { action: line.action, reason: line.reason, since, approved });
        }
        noted.held.retain(|person, held| {
            let line = self.lines.get(person);
            let reason = line.map_or("", |line| line.reason);
            let desired = matches!(self.standings.get(person), Some(Standing::Wanted(_)));
            let over = match held.action {
                "update" => self.settled.contains(person),
                _ => desired || reason == "protected" || held.reason == "unreadable" && reason == "waiting",
            };
            !over || changing.contains(person) || line.is_some_and(|line| line.status == "held")
        });
    }

    /// A group that ran empty keeps its count as long as somebody who was last seen in it is active and missing.
    fn note_members(&self, noted: &mut Book) {
        let looked = if self.read_again { self.looks.second } else { self.looks.first };
        let members = looked.members();
        let emptied = self.emptied(&members);
        let missing = |person: &Person| {
            matches!(self.standings.get(person), None | Some(Standing::NoAccount)) && self.is_active(*person)
        };
        for (group, now) in members {
            let name = group.to_string();
            let guards = |(person, learner): (&Person, &Learner)| missing(person) && learner.ways.contains(&name);
            if !emptied.contains(&name) || !self.book.learners.iter().any(guards) {
                noted.last_members.insert(group, now);
            }
        }
    }

    fn change(&self, person: Person, line: &Line, done: &mut Book) {
        done.log.push(self.logged(person, line));
        done.held.remove(&person);
        done.failing.remove(&person);
        if line.action == "deactivate" && !line.approved {
            done.switched_off.push((person, self.now));
        }
        let new = || Learner { active: true, values: Values::default(), ways: self.looks.first.ways(person) };
        let learner = done.learners.entry(person).or_insert_with(new);
        learner.active = line.action != "deactivate";
        for (attribute, _, new) in &line.values {
            learner.values[*attribute].clone_from(new);
        }
    }

    /// A row of the log.
    fn logged(&self, person: Person, line: &Line) -> Value {
        let Line { action, status, reason, user_name, approved, values, switch } = line;
        let value = |(attribute, old, new): &(usize, Option<String>, Option<String>)| json!({ "attribute": ATTRIBUTES[*attribute].0, "old": old, "new": new });
        let switch = switch.map(|(old, new)| json!({ "attribute": "active", "old": old, "new": new }));
        let changes: Vec<Value> = values.iter().map(value).chain(switch).collect();
        let learner = self.book.learners.contains_key(&person) || *status == "success";
        json!([
            self.now.to_string(),
            person.to_string(),
            action,
            status,
            reason,
            user_name,
            *approved,
            learner,
            changes
        ])
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
