//! Runs a history through learner-sync and through the model, and compares the databases after each cycle.

use std::collections::BTreeSet;
use std::sync::Arc;

use graph_sim::{DateHeader, Fault, Gate, Tenant};
use jiff::{SignedDuration, Timestamp, Unit};
use learner_sync::cycle::Report;
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;
use learner_sync::runtime::configured_source;
use learner_sync::store::{Access, LogFilter, Store};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::damage::RowDamage;
use super::entra::{AccountState, EntraModel, Event, GROUPS, Group, ObjectIds, TenantAndModel, UserNumber};
use super::history::{
    CacheDamage, ClockSkew, CycleVariant, History, Oddity, PermanentError, Representation, Request, Round,
    TransientError, add_user_event,
};
use super::model::{Clocks, ExpectedCycle, Gap, ModelDatabase, Reads, SafetyLimits};
use crate::interruptions::poll_at_most;
use crate::world::World;

const ASSIGNMENTS: &str = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
const ACCOUNT: &str = "/v1.0/users/{id}";
const RIGHT: ClockSkew = ClockSkew { local: 0, graph: Some(0) };

/// The rows that the model predicts: kind, JSON columns, query.
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
                CASE WHEN learner_id IS NULL THEN 'false' ELSE 'true' END, changes, coalesce(phase, '')
         FROM provisioning_log",
    ),
];

pub(super) struct HistoryRun {
    world: World,
    representation: Representation,
    entra: EntraModel,
    ids: ObjectIds,
    model: ModelDatabase,
    limits: SafetyLimits,
    clock: ClockSkew,
    /// The recorded time of the last complete cycle.
    last: Option<Timestamp>,
    /// Whether no complete cycle has seen the last damage yet.
    unseen_damage: bool,
}

/// The error describes the difference from the model.
type Checked<T> = Result<T, String>;

impl HistoryRun {
    async fn start(history: &History) -> Self {
        let History { representation, limits, placements, rounds: _ } = history;
        let mut tenant = Tenant::with_seed(representation.seed);
        tenant.members_omit_nulls = representation.sparse;
        let mut ids = ObjectIds::default();
        for group in (0..GROUPS).map(Group) {
            let id = tenant.add_group(&group.to_string());
            ids.groups.insert(group, id);
        }
        let entra = EntraModel::empty();
        entra.assigned.iter().for_each(|group| tenant.assign_group(&ids.groups[group]));
        let world = World::start(tenant).await;
        // Create the tables, because rows are read even when the first cycle fails.
        Store::open(&world.app().learners, Access::ReadWrite).await.unwrap().close().await.unwrap();
        let (representation, limits) = (*representation, *limits);
        let mut run = Self {
            world,
            representation,
            entra,
            ids,
            model: ModelDatabase::default(),
            limits,
            clock: RIGHT,
            last: None,
            unseen_damage: false,
        };
        (0..).zip(placements).for_each(|(number, placement)| run.apply_event(add_user_event(number, *placement)));
        run
    }

    fn configure(&self) {
        let SafetyLimits {
            max_deactivations,
            max_deactivation_percent,
            max_update_percent,
            deactivate_after,
            protected,
        } = self.limits;
        let protected = protected.and_then(|user| self.ids.users.get(&user));
        self.world.configure(&format!(
            "[safety]\nmax_deactivations = {max_deactivations}\nmax_deactivation_percent = {max_deactivation_percent}\n\
             max_update_percent = {max_update_percent}\ndeactivate_after = \"{}s\"\nprotected = {:?}\n",
            deactivate_after.as_secs(),
            protected.into_iter().collect::<Vec<_>>()
        ));
    }

    fn apply_event(&mut self, event: Event) {
        TenantAndModel { entra: &mut self.entra, sim: &self.world.sim, ids: &mut self.ids }.apply_event(event);
    }

    async fn round(&mut self, round: &Round) -> Checked<()> {
        let Round { early, approve, hours, events, cache, damage, repair, clock, cycle, repeat } = round;
        // Cycles take seconds longer under load, so no rule of elapsed time may end exactly at one.
        self.world.pass(SignedDuration::from_mins(if *early { -19 } else { 0 }));
        if *approve {
            let released = self.world.approve().await;
            let held = self.model.approve(self.world.now);
            expect("released users", held, released)?;
        }
        self.world.pass(SignedDuration::from_hours(*hours) + SignedDuration::from_mins(7 * hours.signum()));
        events.iter().for_each(|event| self.apply_event(*event));
        self.configure();
        cache.iter().for_each(|damage| self.damage(*damage));
        if *repair {
            self.repair_rows().await?;
        }
        for damage in damage {
            self.damage_row(*damage).await;
        }
        self.set_clocks(*clock);
        match cycle {
            CycleVariant::Normal => {
                self.expect_cycle(self.entra.clone(), false).await?;
            }
            CycleVariant::Full => {
                self.expect_cycle(self.entra.clone(), true).await?;
            }
            CycleVariant::Dropped(polls) => self.drop_cycle(*polls).await?,
            CycleVariant::Fails(at, error) => self.fail_cycle(*at, *error).await?,
            CycleVariant::Retries(at, error) => {
                let fault = self.fault(*at);
                self.world.sim.inject(match error {
                    TransientError::Unavailable => fault.answer(503),
                    TransientError::Reset => fault.reset(),
                    TransientError::FailedDependency => match at {
                        Request::Users | Request::Accounts | Request::DeletedItems => fault.answer(424),
                        _ => fault.answer(503),
                    },
                });
                self.expect_cycle(self.entra.clone(), false).await?;
            }
            CycleVariant::Meanwhile(events) => self.change_during_cycle(events).await?,
            CycleVariant::Stale(list) => {
                let snapshot = self.empty_snapshot_list(*list);
                self.expect_cycle(snapshot, false).await?;
            }
            CycleVariant::Unreadable(user) => self.unreadable(*user).await?,
            CycleVariant::Odd(oddity) => self.odd_rows(*oddity).await?,
        }
        self.world.sim.clear_faults();
        self.set_clocks(RIGHT);
        if *repeat { self.repeat_until_stable().await } else { Ok(()) }
    }

    /// Moves the clocks; the time that passes meanwhile is the same for both.
    fn set_clocks(&mut self, clock: ClockSkew) {
        self.world.pass(SignedDuration::from_hours(clock.local - self.clock.local));
        self.clock = clock;
        self.world.date = match self.graph_clock() {
            None => Some(DateHeader::Missing),
            Some(graph) => Some(DateHeader::clock(graph)),
        };
    }

    fn graph_clock(&self) -> Option<Timestamp> {
        let ClockSkew { local, graph } = self.clock;
        graph.map(|graph| self.world.now + SignedDuration::from_hours(graph - local))
    }

    fn clocks(&self) -> Clocks {
        Clocks::new(self.world.now, self.graph_clock(), self.last)
    }

    fn damage(&self, damage: CacheDamage) {
        let cache = self.world.path("state/cache");
        let Ok(mut bytes) = std::fs::read(cache.join("db")) else { return };
        match damage {
            CacheDamage::Lost => return std::fs::remove_dir_all(cache).unwrap(),
            CacheDamage::Truncated => bytes.truncate(bytes.len() / 3),
            CacheDamage::Garbled => bytes.iter_mut().skip(100).step_by(97).for_each(|byte| *byte ^= 0xff),
        }
        std::fs::write(cache.join("db"), bytes).unwrap();
    }

    async fn damage_row(&mut self, damage: RowDamage) {
        let (tenant, application) =
            self.world.sim.tenant(|tenant| (tenant.tenant_id.clone(), tenant.application.object_id.clone()));
        let statement = damage.statement(&self.ids, &format!("{tenant}/{application}"));
        if let Some(statement) = statement
            && self.model.damage(damage)
        {
            self.world.execute(&statement).await;
            self.unseen_damage = true;
        }
    }

    /// Runs the statements that learner-sync prints.
    async fn repair_rows(&mut self) -> Checked<()> {
        for row in self.unreadable_rows().await {
            let (_, statement) = row.split_once("run: ").unwrap();
            self.world.execute(statement).await;
        }
        // A cache that knows the routes would be right, but the row would show it only after a full comparison.
        if self.model.repair() && self.unseen_damage {
            self.damage(CacheDamage::Lost);
        }
        expect("unreadable rows", Vec::new(), self.unreadable_rows().await)?;
        compare(&self.model, &self.rows().await)
    }

    async fn unreadable_rows(&self) -> Vec<String> {
        let app = self.world.app();
        let store = Store::open(&app.learners, Access::ReadWrite).await.unwrap();
        let source = configured_source(&app.config, &store.state().await.unwrap());
        store.inspect_bookkeeping(&source).await.unwrap();
        store.log(&LogFilter::default()).await.unwrap();
        let rows = store.unreadable_rows();
        store.close().await.unwrap();
        rows.iter().map(ToString::to_string).collect()
    }

    /// The expected result of a cycle that sees `snapshot` in the snapshot and the present state in the confirmation.
    fn expected_cycle(&self, snapshot: &EntraModel, gap: Gap) -> ExpectedCycle {
        let reads = Reads { snapshot, confirmation: &self.entra, gap };
        self.model.cycle(&reads, self.limits, self.clocks())
    }

    async fn expect_cycle(&mut self, snapshot: EntraModel, full: bool) -> Checked<()> {
        let expected = self.expected_cycle(&snapshot, Gap::None);
        let report = if full { self.world.full_cycle().await } else { self.world.cycle().await };
        self.check_ended(&snapshot, expected, &report).await
    }

    async fn check_ended(&mut self, snapshot: &EntraModel, expected: ExpectedCycle, report: &Report) -> Checked<()> {
        expect("error", None, report.error.clone())?;
        expect("counts", expected.counts, report.counts)?;
        self.last = Some(expected.recorded);
        self.unseen_damage = false;
        let Counts { held, failed, .. } = expected.counts;
        let outcome = match (held, failed) {
            (0, 0) => Outcome::Success,
            (0, _) => Outcome::Partial,
            _ => Outcome::Held,
        };
        expect("outcome", outcome, report.outcome)?;
        let rows = self.rows().await;
        self.check_no_wrong_deactivation(snapshot, &rows)?;
        self.model = expected.after_changes;
        compare(&self.model, &rows)
    }

    /// Whatever the model says, no assigned and enabled user is deactivated.
    fn check_no_wrong_deactivation(&self, snapshot: &EntraModel, rows: &BTreeSet<String>) -> Checked<()> {
        for user in self.model.active() {
            let off = rows.iter().any(|row| row.starts_with(&format!("learner [\"{user}\",0,")));
            let disabled = snapshot.account(user) == AccountState::Disabled && !snapshot.routes(user).is_empty();
            if off && (snapshot.wants(user) || !disabled && self.entra.wants(user)) {
                return Err(format!("{user} was deactivated although assigned and enabled"));
            }
        }
        Ok(())
    }

    /// Repeats the cycle without a pause until nothing changes, and once more to check that nothing does.
    async fn repeat_until_stable(&mut self) -> Checked<()> {
        let (mut before, mut doubted) = (None, false);
        // After a cycle that doubts the clocks, the next one may find that time has elapsed.
        while doubted || before.as_ref() != Some(&self.model.rows()) {
            before = Some(self.model.rows());
            self.world.pass(SignedDuration::from_mins(-30));
            self.set_clocks(RIGHT);
            doubted = self.clocks().are_doubted();
            self.expect_cycle(self.entra.clone(), false).await?;
        }
        self.world.pass(SignedDuration::from_mins(-30));
        self.set_clocks(RIGHT);
        self.last = Some(self.clocks().recorded);
        self.world.settled().await;
        Ok(())
    }

    /// A dropped cycle has written nothing, only the bookkeeping, or everything.
    async fn drop_cycle(&mut self, polls: usize) -> Checked<()> {
        let expected = self.expected_cycle(&self.entra, Gap::None);
        let (_sender, stop) = watch::channel(false);
        let report = poll_at_most(polls, self.world.run_until(false, stop)).await;
        if let Some(report) = report {
            self.world.pass(SignedDuration::from_mins(30));
            let entra = self.entra.clone();
            return self.check_ended(&entra, expected, &report).await;
        }
        // A commit that has started completes even when the cycle is dropped.
        self.world.database.wait_for_dropped_connections().await;
        self.world.pass(SignedDuration::from_mins(30));
        let rows = self.rows().await;
        self.check_no_wrong_deactivation(&self.entra, &rows)?;
        let ExpectedCycle { after_bookkeeping, after_changes, .. } = expected;
        if compare(&self.model, &rows).is_err() {
            self.model = if compare(&after_bookkeeping, &rows).is_ok() { after_bookkeeping } else { after_changes };
        }
        compare(&self.model, &rows).map_err(|why| format!("the cycle was applied partly: {why}"))
    }

    /// A cycle that cannot read everything writes nothing. An answer about a single leaver concerns this leaver, unless it is
    /// the same failure of the service for several leavers and all of them.
    async fn fail_cycle(&mut self, at: Request, error: PermanentError) -> Checked<()> {
        let gap = match at {
            Request::Accounts => Gap::Accounts,
            Request::DeletedItems => Gap::DeletedItems,
            _ => Gap::None,
        };
        let expected = self.expected_cycle(&self.entra, gap);
        let fails = match at {
            Request::Accounts | Request::DeletedItems => {
                let asked = |user: &&UserNumber| {
                    let account = self.entra.account(**user);
                    gap == Gap::Accounts || matches!(account, AccountState::Deleted | AccountState::Gone)
                };
                let (all, asked) = (expected.candidates.len(), expected.candidates.iter().filter(asked).count());
                matches!(error, PermanentError::InternalError) && all > 1 && asked == all
            }
            _ => self.reaches(&expected, at),
        };
        let fault = self.fault(at).always();
        self.world.sim.inject(match (error, at) {
            (PermanentError::Refused(status), _) => fault.answer(status),
            (PermanentError::InternalError, _) => fault.answer(500),
            (PermanentError::Html, _) => fault.body("<html>Please log in</html>"),
            (PermanentError::HalfAList, _) => fault.body("{\"value\":[{"),
            // An answer about one user is not a list.
            (PermanentError::ErrorBesideRows, Request::Accounts | Request::DeletedItems) => {
                fault.body("{\"error\":{}}")
            }
            (PermanentError::NullLink | PermanentError::NoNextPage, Request::Accounts | Request::DeletedItems) => {
                fault.body("null")
            }
            (PermanentError::NoNextPage, Request::Users) => fault.answer(400),
            (PermanentError::NullLink | PermanentError::NoNextPage, Request::Token | Request::Application) => {
                fault.body("{}")
            }
            (PermanentError::NoNextPage, _) => {
                let next = "$skiptoken=next";
                self.world.sim.inject(self.fault(at).nth(1).always().query_contains(next).answer(404));
                fault.next_link(&format!("{}{}?{next}", self.world.sim.url(), self.list_path(at)))
            }
            (PermanentError::ErrorBesideRows, Request::Token) => fault.body("{}"),
            (PermanentError::ErrorBesideRows, _) => fault.page_key("error", json!({"code": "InternalServerError"})),
            (PermanentError::NullLink, _) => fault.page_key("@odata.nextLink", Value::Null),
        });
        let before = self.rows().await;
        let report = self.world.cycle().await;
        if !fails {
            let entra = self.entra.clone();
            return self.check_ended(&entra, expected, &report).await;
        }
        expect("outcome", Outcome::Failed, report.outcome)?;
        expect("counts", Counts::default(), report.counts)?;
        expect("rows", before, self.rows().await)
    }

    /// The path of a list.
    fn list_path(&self, at: Request) -> String {
        match at {
            Request::Members(group) | Request::MembersAgain(group) => {
                format!("/v1.0/groups/{}/members", self.ids.groups[&group])
            }
            _ => {
                let application = self.world.sim.tenant(|tenant| tenant.application.object_id.clone());
                format!("/v1.0/servicePrincipals/{application}/appRoleAssignedTo")
            }
        }
    }

    /// A fault of a request that applies to one call.
    fn fault(&self, at: Request) -> Fault {
        let members = |group: &Group| {
            let path = format!("/v1.0/groups/{}/members", self.ids.groups[group]);
            Fault::on("GET", &path)
        };
        match at {
            Request::Token => Fault::on("POST", "/{tenant}/oauth2/v2.0/token"),
            Request::Application => Fault::on("GET", "/v1.0/servicePrincipals/{id}"),
            Request::Assignments => Fault::on("GET", ASSIGNMENTS),
            Request::Members(group) => members(&group),
            Request::Users => Fault::on("GET", "/v1.0/users"),
            Request::Accounts => self.confirmation_fault(&self.entra),
            Request::DeletedItems => Fault::on("GET", "/v1.0/directory/deletedItems/{id}"),
            Request::AssignmentsAgain => Fault::on("GET", ASSIGNMENTS).nth(2),
            Request::MembersAgain(group) => members(&group).nth(2),
        }
    }

    /// A fault of the first user read by the confirmation; the snapshot reads the assigned users not found before it.
    fn confirmation_fault(&self, snapshot: &EntraModel) -> Fault {
        let users = snapshot.users.keys().filter(|user| !snapshot.routes(**user).is_empty());
        let alone =
            users.filter(|user| matches!(snapshot.account(**user), AccountState::Deleted | AccountState::Gone)).count();
        Fault::on("GET", ACCOUNT).nth(alone + 1)
    }

    fn reaches(&self, expected: &ExpectedCycle, at: Request) -> bool {
        let entra = &self.entra;
        match at {
            Request::Token | Request::Application | Request::Assignments => true,
            Request::Members(group) => entra.assigned.contains(&group),
            Request::Users => entra.users.iter().any(|(user, entry)| {
                let routes = entra.routes(*user);
                let lacking = self.representation.sparse && entry.values.iter().any(Option::is_none);
                !routes.is_empty() && (lacking || routes.iter().all(|route| route == "direct"))
            }),
            // Answers about single users.
            Request::Accounts | Request::DeletedItems => false,
            Request::AssignmentsAgain => expected.read_again,
            Request::MembersAgain(group) => expected.read_again && entra.assigned.contains(&group),
        }
    }

    /// Runs a cycle with events between snapshot and confirmation.
    async fn change_during_cycle(&mut self, events: &[Event]) -> Checked<()> {
        let snapshot = self.entra.clone();
        let expect_confirmation = !self.expected_cycle(&snapshot, Gap::None).candidates.is_empty();
        let gate = Gate::new();
        self.world.sim.inject(self.confirmation_fault(&snapshot).hold_until(&gate));
        let clocks = self.clocks();
        let (entra, ids, sim) = (&mut self.entra, &mut self.ids, Arc::clone(&self.world.sim));
        let mut confirmed = false;
        let events_at_gate = async {
            gate.reached().await;
            confirmed = true;
            events.iter().for_each(|event| TenantAndModel { entra, sim: &sim, ids }.apply_event(*event));
            gate.release();
            std::future::pending::<Report>().await
        };
        let report = tokio::select! {
            report = self.world.cycle() => report,
            report = events_at_gate => report,
        };
        expect("whether there was a confirmation", expect_confirmation, confirmed)?;
        let reads = Reads { snapshot: &snapshot, confirmation: &self.entra, gap: Gap::None };
        let expected = self.model.cycle(&reads, self.limits, clocks);
        self.check_ended(&snapshot, expected, &report).await?;
        if !confirmed {
            events.iter().for_each(|event| self.apply_event(*event));
        }
        Ok(())
    }

    /// Injects an empty list into the snapshot and returns the state of Entra that the snapshot sees.
    fn empty_snapshot_list(&self, list: Option<Group>) -> EntraModel {
        let mut snapshot = self.entra.clone();
        match list {
            None => {
                snapshot.assigned.clear();
                snapshot.users.values_mut().for_each(|entry| entry.direct = false);
                self.world.sim.inject(self.fault(Request::Assignments).empty_list());
            }
            Some(group) => {
                snapshot.wrongly_empty.insert(group);
                self.world.sim.inject(self.fault(Request::Members(group)).empty_list());
            }
        }
        snapshot
    }

    async fn unreadable(&mut self, user: UserNumber) -> Checked<()> {
        let expected = self.expected_cycle(&self.entra, Gap::Refused(user));
        if let Some(id) = self.ids.users.get(&user) {
            let account = matches!(self.entra.account(user), AccountState::Enabled | AccountState::Disabled);
            let read_alone = !account && !self.entra.routes(user).is_empty();
            let fault = Fault::on("GET", &format!("/v1.0/users/{id}")).nth(1 + usize::from(read_alone));
            self.world.sim.inject(fault.answer(403));
        }
        let report = self.world.cycle().await;
        let entra = self.entra.clone();
        self.check_ended(&entra, expected, &report).await
    }

    /// A cycle whose answers are complete, but with rows that need another look.
    async fn odd_rows(&mut self, oddity: Oddity) -> Checked<()> {
        let user_id = |user: UserNumber| self.ids.users.get(&user).filter(|_| self.entra.account(user).exists());
        let (mut gap, mut faults) = (Gap::None, Vec::new());
        let members = |group| self.fault(Request::Members(group)).always();
        let assignments = || self.fault(Request::Assignments).always();
        match oddity {
            Oddity::NoRow(None) => {
                gap = Gap::Row;
                faults.push(assignments().add_row(Value::Null));
            }
            Oddity::NoRow(Some(group)) => {
                if self.entra.assigned.contains(&group) {
                    gap = Gap::Row;
                }
                faults.push(members(group).add_row(json!({"@odata.type": "#microsoft.graph.user"})));
            }
            Oddity::Broken(user) => {
                if let Some(id) = user_id(user) {
                    gap = Gap::Broken(user);
                    let paths = ["/v1.0/users/**", "/v1.0/groups/{id}/members"];
                    faults.extend(paths.map(|path| Fault::on("GET", path).always().broken_text(id, "displayName")));
                }
            }
            Oddity::Untyped(user) => {
                faults.extend(user_id(user).map(|id| assignments().set_key(id, "principalType", Value::Null)));
            }
            Oddity::UntypedGroup(group) => {
                faults.push(assignments().set_key(&self.ids.groups[&group], "principalType", "Team"));
            }
            Oddity::Twice(group, user, key) => {
                let value = if key == "accountEnabled" { json!(false) } else { json!("#microsoft.graph.agentUser") };
                faults.extend(user_id(user).map(|id| members(group).repeat_row(id, key, value)));
            }
        }
        let expected = self.expected_cycle(&self.entra, gap);
        faults.into_iter().for_each(|fault| self.world.sim.inject(fault));
        let report = self.world.cycle().await;
        let entra = self.entra.clone();
        self.check_ended(&entra, expected, &report).await
    }

    /// All rows, with names in place of ids.
    async fn rows(&self) -> BTreeSet<String> {
        let row = |json: &[usize], row: Vec<String>| -> Value {
            let value = |(column, text): (usize, String)| match text {
                text if text == "NULL" => Value::Null,
                text if json.contains(&column) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
                text => Value::String(to_the_minute(&text).unwrap_or(text)),
            };
            row.into_iter().map(|text| self.ids.with_names(text)).enumerate().map(value).collect()
        };
        let tables = self.world.database.query_all(ROWS.map(|(_, _, sql)| sql)).await;
        mark_duplicates(ROWS.iter().zip(tables).flat_map(|((kind, json, _), rows)| {
            rows.into_iter().map(move |cells| {
                let mut value = row(json, cells);
                if *kind == "learner" {
                    // The database orders them by id, the model by name.
                    value[2].as_array_mut().into_iter().for_each(|via| via.sort_by_key(Value::to_string));
                }
                format!("{kind} {value}")
            })
        }))
    }
}

/// A time without the seconds that a cycle takes under load: all times of the model are whole minutes.
fn to_the_minute(text: &str) -> Option<String> {
    let at: Timestamp = text.parse().ok()?;
    Some(at.round(Unit::Minute).ok()?.to_string())
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, found: T) -> Checked<()> {
    if expected == found { Ok(()) } else { Err(format!("expected {what}: {expected:?}\nbut found: {found:?}")) }
}

/// Marks duplicate rows, so that a set keeps them.
fn mark_duplicates(rows: impl Iterator<Item = String>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for mut row in rows {
        while !all.insert(row.clone()) {
            row.push_str(" again");
        }
    }
    all
}

fn compare(model: &ModelDatabase, rows: &BTreeSet<String>) -> Checked<()> {
    let expected: BTreeSet<String> = mark_duplicates(model.rows().into_iter());
    let lines = |word: &str, rows: Vec<&String>| rows.iter().map(|row| format!("\n{word}: {row}")).collect::<String>();
    let missing = lines("missing", expected.difference(rows).collect());
    let surplus = lines("unexpected", rows.difference(&expected).collect());
    if missing.is_empty() && surplus.is_empty() { Ok(()) } else { Err(format!("{missing}{surplus}")) }
}

/// Runs a history and returns the final rows, or an error with the number of its round.
pub(super) async fn run_history(history: &History) -> Checked<BTreeSet<String>> {
    let mut run = HistoryRun::start(history).await;
    for (number, round) in history.rounds.iter().enumerate() {
        run.round(round).await.map_err(|why| format!("in round {number}: {why}"))?;
    }
    run.repeat_until_stable().await.map_err(|why| format!("after the last round: {why}"))?;
    if run.model.is_damaged() {
        run.repair_rows().await.map_err(|why| format!("at the repair: {why}"))?;
        run.repeat_until_stable().await.map_err(|why| format!("after the repair: {why}"))?;
    }
    Ok(run.rows().await)
}
