//! Where a history is played: a tenant, its picture, learner-sync and the model, side by side.

use std::collections::BTreeSet;
use std::sync::Arc;

use graph_sim::{Fault, Gate, Tenant};
use jiff::SignedDuration;
use learner_sync::cycle::Report;
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;
use learner_sync::store::{Access, Store};
use serde_json::Value;
use tokio::sync::watch;

use super::entra::{Account, AssignedUser, Entra, Event, GROUPS, Group, Ids, Scene};
use super::history::{Answer, At, Damage, History, Hitch, How, Round, Telling, hire};
use super::model::{Book, Cycle, Limits, Looks};
use crate::interruptions::for_so_long;
use crate::world::World;

const ASSIGNMENTS: &str = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
const ACCOUNT: &str = "/v1.0/users/{id}";

/// Every row that the model knows of, with ids, and which of its columns are JSON.
const ROWS: [(&str, &[usize], &str); 5] = [
    (
        "learner",
        &[1, 2],
        "SELECT r.external_id, r.active, l.via, r.user_name, r.email, r.first_name, r.last_name, r.title, r.country,
                r.employee_number, r.department
         FROM learners r LEFT JOIN sync_links l ON l.learner_id = r.id AND l.entra_id = r.external_id",
    ),
    ("held", &[], "SELECT entra_id, action, reason, since, approved_at FROM sync_held"),
    ("failing", &[], "SELECT entra_id, reason, first_at FROM sync_failures"),
    ("group", &[1], "SELECT group_id, last_members FROM sync_groups"),
    (
        "log",
        &[6, 7, 8],
        "SELECT at, entra_id, action, status, reason, user_name,
                CASE WHEN detail LIKE 'approved by %' THEN 'true' ELSE 'false' END,
                CASE WHEN learner_id IS NULL THEN 'false' ELSE 'true' END, changes
         FROM provisioning_log",
    ),
];

pub(super) struct Stage {
    world: World,
    telling: Telling,
    entra: Entra,
    ids: Ids,
    book: Book,
    limits: Limits,
}

/// What is other than it should be.
type Played<T> = Result<T, String>;

impl Stage {
    async fn open(history: &History) -> Self {
        let History { telling, limits, staff, rounds: _ } = history;
        let mut tenant = Tenant::with_seed(telling.seed);
        tenant.members_omit_nulls = telling.sparse;
        let mut ids = Ids::default();
        for group in (0..GROUPS).map(Group) {
            let id = tenant.add_group(&group.to_string());
            ids.groups.insert(group, id);
        }
        let entra = Entra::empty();
        entra.assigned.iter().for_each(|group| tenant.assign_group(&ids.groups[group]));
        let world = World::start(tenant).await;
        // Rows are read from the beginning, when the first cycle may fail.
        Store::open(&world.app().learners, Access::ReadWrite).await.unwrap().close().await.unwrap();
        let (telling, limits) = (*telling, *limits);
        let mut stage = Self { world, telling, entra, ids, book: Book::default(), limits };
        (0..).zip(staff).for_each(|(number, place)| stage.happens(hire(number, *place)));
        stage
    }

    fn configure(&self) {
        let Limits { max_deactivations, max_deactivation_percent, max_update_percent, deactivate_after, protected } =
            self.limits;
        let protected = protected.and_then(|user| self.ids.users.get(&user));
        self.world.configure(&format!(
            "[safety]\nmax_deactivations = {max_deactivations}\nmax_deactivation_percent = {max_deactivation_percent}\n\
             max_update_percent = {max_update_percent}\ndeactivate_after = \"{}s\"\nprotected = {:?}\n",
            deactivate_after.as_secs(),
            protected.into_iter().collect::<Vec<_>>()
        ));
    }

    fn happens(&mut self, event: Event) {
        Scene { entra: &mut self.entra, sim: &self.world.sim, ids: &mut self.ids }.happens(event);
    }

    async fn round(&mut self, round: &Round) -> Played<()> {
        let Round { early, approve, hours, events, cache, cycle, again } = round;
        self.world.pass(SignedDuration::from_mins(if *early { -20 } else { 0 }));
        if *approve {
            let released = self.world.approve().await;
            let held = self.book.approve(self.world.now);
            expect("people released", held, released)?;
        }
        self.world.pass(SignedDuration::from_hours(*hours));
        events.iter().for_each(|event| self.happens(*event));
        self.configure();
        cache.iter().for_each(|damage| self.damage(*damage));
        match cycle {
            How::Plainly => {
                self.expect_cycle(self.entra.clone(), false).await?;
            }
            How::InFull => {
                self.expect_cycle(self.entra.clone(), true).await?;
            }
            How::GivenUp(turns) => self.give_up(*turns).await?,
            How::Fails(at, answer) => self.fail(*at, *answer).await?,
            How::Retries(at, hitch) => {
                let fault = self.fault(*at);
                self.world.sim.inject(match hitch {
                    Hitch::Unavailable => fault.answer(503),
                    Hitch::Reset => fault.reset(),
                });
                self.expect_cycle(self.entra.clone(), false).await?;
            }
            How::Meanwhile(events) => self.meanwhile(events).await?,
            How::Stale(list) => {
                let first = self.stale(*list);
                self.expect_cycle(first, false).await?;
            }
            How::Unreadable(user) => self.unreadable(*user).await?,
        }
        self.world.sim.clear_faults();
        if *again { self.once_more().await } else { Ok(()) }
    }

    fn damage(&self, damage: Damage) {
        let cache = self.world.path("state/cache");
        let Ok(mut bytes) = std::fs::read(cache.join("db")) else { return };
        match damage {
            Damage::Lost => return std::fs::remove_dir_all(cache).unwrap(),
            Damage::Truncated => bytes.truncate(bytes.len() / 3),
            Damage::Garbled => bytes.iter_mut().skip(100).step_by(97).for_each(|byte| *byte ^= 0xff),
        }
        std::fs::write(cache.join("db"), bytes).unwrap();
    }

    /// What a cycle comes to that sees `first`, and what is there now at its second look.
    fn expected(&self, first: &Entra, unreadable: Option<AssignedUser>) -> Cycle {
        let looks = Looks { first, second: &self.entra, unreadable };
        self.book.cycle(&looks, self.limits, self.world.now)
    }

    async fn expect_cycle(&mut self, first: Entra, full: bool) -> Played<()> {
        let expected = self.expected(&first, None);
        let report = if full { self.world.full_cycle().await } else { self.world.cycle().await };
        self.ended(&first, expected, &report).await
    }

    /// A cycle came to its end.
    async fn ended(&mut self, first: &Entra, expected: Cycle, report: &Report) -> Played<()> {
        expect("error", None, report.error.clone())?;
        expect("counts", expected.counts, report.counts)?;
        let Counts { held, failed, .. } = expected.counts;
        let outcome = match (held, failed) {
            (0, 0) => Outcome::Success,
            (0, _) => Outcome::Partial,
            _ => Outcome::Held,
        };
        expect("outcome", outcome, report.outcome)?;
        let rows = self.rows().await;
        self.nobody_is_lost(first, &rows)?;
        self.book = expected.done;
        compare(&self.book, &rows)
    }

    /// Whatever the model says: nobody is switched off who is assigned and enabled.
    fn nobody_is_lost(&self, first: &Entra, rows: &BTreeSet<String>) -> Played<()> {
        for user in self.book.active() {
            let off = rows.iter().any(|row| row.starts_with(&format!("learner [\"{user}\",0,")));
            let told = first.account(user) == Account::Disabled && !first.ways(user).is_empty();
            if off && (first.wants(user) || !told && self.entra.wants(user)) {
                return Err(format!("{user} was switched off, who is assigned and enabled"));
            }
        }
        Ok(())
    }

    /// The same cycle at once, for what the last one was kept from, until there is nothing to do; and then one more.
    async fn once_more(&mut self) -> Played<()> {
        let mut before = None;
        while before.as_ref() != Some(&self.book.rows()) {
            before = Some(self.book.rows());
            self.world.pass(SignedDuration::from_mins(-30));
            self.expect_cycle(self.entra.clone(), false).await?;
        }
        self.world.pass(SignedDuration::from_mins(-30));
        self.world.settled().await;
        Ok(())
    }

    /// A cycle that is dropped on its way has done nothing, has written down what is no change, or has done it all.
    async fn give_up(&mut self, turns: usize) -> Played<()> {
        let expected = self.expected(&self.entra, None);
        let (_sender, stop) = watch::channel(false);
        let report = for_so_long(turns, self.world.run_until(false, stop)).await;
        if let Some(report) = report {
            self.world.pass(SignedDuration::from_mins(30));
            let entra = self.entra.clone();
            return self.ended(&entra, expected, &report).await;
        }
        // A commit on its way comes to its end, dropped or not.
        self.world.database.comes_to_rest().await;
        self.world.pass(SignedDuration::from_mins(30));
        let rows = self.rows().await;
        self.nobody_is_lost(&self.entra, &rows)?;
        let Cycle { noted, done, .. } = expected;
        if compare(&self.book, &rows).is_err() {
            self.book = if compare(&noted, &rows).is_ok() { noted } else { done };
        }
        compare(&self.book, &rows).map_err(|why| format!("neither nothing nor all was done: {why}"))
    }

    /// A cycle that cannot read everything does nothing at all.
    async fn fail(&mut self, at: At, answer: Answer) -> Played<()> {
        let expected = self.expected(&self.entra, None);
        let reached = self.reaches(&expected, at);
        let fault = self.fault(at).always();
        self.world.sim.inject(match (answer, at) {
            // One account that may not be seen is another story.
            (Answer::Refused(_), At::Accounts | At::DeletedItems) => fault.answer(400),
            (Answer::Refused(status), _) => fault.answer(status),
            (Answer::InternalError, _) => fault.answer(500),
            (Answer::Html, _) => fault.body("<html>Please log in</html>"),
            (Answer::HalfAList, _) => fault.body("{\"value\":[{"),
        });
        let before = self.rows().await;
        let report = self.world.cycle().await;
        if !reached {
            let entra = self.entra.clone();
            return self.ended(&entra, expected, &report).await;
        }
        expect("outcome", Outcome::Failed, report.outcome)?;
        expect("counts", Counts::default(), report.counts)?;
        expect("rows", before, self.rows().await)
    }

    /// A fault at this request that applies to one call.
    fn fault(&self, at: At) -> Fault {
        let members = |group: &Group| {
            let path = format!("/v1.0/groups/{}/members", self.ids.groups[group]);
            Fault::on("GET", &path)
        };
        match at {
            At::Token => Fault::on("POST", "/{tenant}/oauth2/v2.0/token"),
            At::Application => Fault::on("GET", "/v1.0/servicePrincipals/{id}"),
            At::Assignments => Fault::on("GET", ASSIGNMENTS),
            At::Members(group) => members(&group),
            At::Users => Fault::on("GET", "/v1.0/users"),
            At::Accounts => self.second_look(&self.entra),
            At::DeletedItems => Fault::on("GET", "/v1.0/directory/deletedItems/{id}"),
            At::AssignmentsAgain => Fault::on("GET", ASSIGNMENTS).nth(2),
            At::MembersAgain(group) => members(&group).nth(2),
        }
    }

    /// A fault at the first account of the second look; before it, those without one were read alone.
    fn second_look(&self, first: &Entra) -> Fault {
        let users = first.users.keys().filter(|user| !first.ways(**user).is_empty());
        let alone = users.filter(|user| matches!(first.account(**user), Account::Deleted | Account::Gone)).count();
        Fault::on("GET", ACCOUNT).nth(alone + 1)
    }

    /// Whether such a cycle comes to this request.
    fn reaches(&self, expected: &Cycle, at: At) -> bool {
        let entra = &self.entra;
        match at {
            At::Token | At::Application | At::Assignments => true,
            At::Members(group) => entra.assigned.contains(&group),
            At::Users => entra.users.iter().any(|(user, employee)| {
                let ways = entra.ways(*user);
                let lacking = self.telling.sparse && employee.values.iter().any(Option::is_none);
                !ways.is_empty() && (lacking || ways.iter().all(|way| way == "direct"))
            }),
            At::Accounts => !expected.candidates.is_empty(),
            At::DeletedItems => {
                let account = |user: &AssignedUser| entra.account(*user);
                expected
                    .candidates
                    .iter()
                    .map(account)
                    .any(|account| matches!(account, Account::Deleted | Account::Gone))
            }
            At::AssignmentsAgain => expected.read_again,
            At::MembersAgain(group) => expected.read_again && entra.assigned.contains(&group),
        }
    }

    /// Things happen after the first look, before the second.
    async fn meanwhile(&mut self, events: &[Event]) -> Played<()> {
        let first = self.entra.clone();
        let looks = !self.expected(&first, None).candidates.is_empty();
        let gate = Gate::new();
        self.world.sim.inject(self.second_look(&first).hold_until(&gate));
        let (entra, ids, sim) = (&mut self.entra, &mut self.ids, Arc::clone(&self.world.sim));
        let now = self.world.now;
        let mut looked = false;
        let meanwhile = async {
            gate.reached().await;
            looked = true;
            events.iter().for_each(|event| Scene { entra, sim: &sim, ids }.happens(*event));
            gate.release();
            std::future::pending::<Report>().await
        };
        let report = tokio::select! {
            report = self.world.cycle() => report,
            report = meanwhile => report,
        };
        expect("whether there was a second look", looks, looked)?;
        let looks = Looks { first: &first, second: &self.entra, unreadable: None };
        let expected = self.book.cycle(&looks, self.limits, now);
        self.ended(&first, expected, &report).await?;
        if !looked {
            events.iter().for_each(|event| self.happens(*event));
        }
        Ok(())
    }

    /// What the first look sees when it finds a list empty.
    fn stale(&self, list: Option<Group>) -> Entra {
        let mut first = self.entra.clone();
        match list {
            None => {
                first.assigned.clear();
                first.users.values_mut().for_each(|employee| employee.direct = false);
                self.world.sim.inject(self.fault(At::Assignments).empty_list());
            }
            Some(group) => {
                first.silent.insert(group);
                self.world.sim.inject(self.fault(At::Members(group)).empty_list());
            }
        }
        first
    }

    async fn unreadable(&mut self, user: AssignedUser) -> Played<()> {
        let expected = self.expected(&self.entra, Some(user));
        if let Some(id) = self.ids.users.get(&user) {
            let account = matches!(self.entra.account(user), Account::Enabled | Account::Disabled);
            let read_alone = !account && !self.entra.ways(user).is_empty();
            let fault = Fault::on("GET", &format!("/v1.0/users/{id}")).nth(1 + usize::from(read_alone));
            self.world.sim.inject(fault.answer(403));
        }
        let report = self.world.cycle().await;
        let entra = self.entra.clone();
        self.ended(&entra, expected, &report).await
    }

    /// Every row, with names in place of ids.
    async fn rows(&self) -> BTreeSet<String> {
        let row = |json: &[usize], row: Vec<String>| -> Value {
            let value = |(column, text): (usize, String)| match text {
                text if text == "NULL" => Value::Null,
                text if json.contains(&column) => serde_json::from_str(&text).unwrap(),
                text => Value::String(text),
            };
            row.into_iter().map(|text| self.ids.named(text)).enumerate().map(value).collect()
        };
        let tables = self.world.database.query_all(ROWS.map(|(_, _, sql)| sql)).await;
        told_apart(ROWS.iter().zip(tables).flat_map(|((kind, json, _), rows)| {
            rows.into_iter().map(move |cells| {
                let mut value = row(json, cells);
                if *kind == "learner" {
                    // In the order of the ids until here.
                    value[2].as_array_mut().unwrap().sort_by_key(Value::to_string);
                }
                format!("{kind} {value}")
            })
        }))
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, found: T) -> Played<()> {
    if expected == found { Ok(()) } else { Err(format!("expected {what}: {expected:?}\nbut found: {found:?}")) }
}

/// A row that comes twice is another row.
fn told_apart(rows: impl Iterator<Item = String>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for mut row in rows {
        while !all.insert(row.clone()) {
            row.push_str(" again");
        }
    }
    all
}

/// The database and the model say the same.
fn compare(book: &Book, rows: &BTreeSet<String>) -> Played<()> {
    let expected: BTreeSet<String> = told_apart(book.rows().into_iter());
    let told = |word: &str, rows: Vec<&String>| rows.iter().map(|row| format!("\n{word}: {row}")).collect::<String>();
    let missing = told("missing", expected.difference(rows).collect());
    let surplus = told("not expected", rows.difference(&expected).collect());
    if missing.is_empty() && surplus.is_empty() { Ok(()) } else { Err(format!("{missing}{surplus}")) }
}

/// Plays `history`, and answers the rows in which it ends; what goes wrong comes with the number of its round.
pub(super) async fn play(history: &History) -> Played<BTreeSet<String>> {
    let mut stage = Stage::open(history).await;
    for (number, round) in history.rounds.iter().enumerate() {
        stage.round(round).await.map_err(|why| format!("in round {number}: {why}"))?;
    }
    stage.once_more().await.map_err(|why| format!("in the end: {why}"))?;
    Ok(stage.rows().await)
}
