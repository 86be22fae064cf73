//! Predicts the learner database and its log from the tenant and the log alone: each learner is the result of its logged
//! changes, and each logged change is required by the tenant.

use std::collections::{BTreeMap, BTreeSet};

use graph_sim::{Tenant, User};
use learner_sync::model::Attribute;
use serde_json::{Value, json};

use crate::database::Database;

type Source = fn(&User) -> &Option<String>;

const MAPPING: [(Attribute, Source); 8] = [
    (Attribute::UserName, |user| &user.user_principal_name),
    (Attribute::Email, |user| &user.mail),
    (Attribute::FirstName, |user| &user.given_name),
    (Attribute::LastName, |user| &user.surname),
    (Attribute::Title, |user| &user.job_title),
    (Attribute::Country, |user| &user.country),
    (Attribute::EmployeeNumber, |user| &user.employee_id),
    (Attribute::Department, |user| &user.department),
];

/// One value for each entry of the mapping.
pub(crate) type MappedValues = [Option<String>; MAPPING.len()];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoggedLearner {
    pub(crate) active: bool,
    pub(crate) values: MappedValues,
    /// The assignment routes in the link.
    via: String,
}

impl LoggedLearner {
    /// Whether the learner is active with these values.
    pub(crate) fn is(&self, values: &[Option<&str>]) -> bool {
        self.active && self.values.iter().map(Option::as_deref).eq(values.iter().copied())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogEntry {
    pub(crate) action: String,
    status: String,
    reason: String,
    user_name: Option<String>,
    /// Old and new value by attribute path.
    changes: BTreeMap<String, (Value, Value)>,
}

impl LogEntry {
    pub(crate) fn is_change(&self) -> bool {
        self.status == "success"
    }
}

/// The learner that the tenant requires of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequiredLearner<'t> {
    /// An active learner with these values.
    Wanted([Option<&'t str>; MAPPING.len()]),
    /// No change, because a mail address is required.
    WithoutAddress,
    /// No active learner, for a reason.
    Gone(&'static str),
}

/// The learners and the skipped users according to the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) learners: BTreeMap<String, LoggedLearner>,
    /// Users logged as skipped.
    skipped: BTreeSet<String>,
    /// Id of the last known log row.
    logged: i64,
}

pub(crate) struct DatabaseContent {
    learners: BTreeMap<String, LoggedLearner>,
    skipped: BTreeSet<String>,
    /// The log rows since the last read.
    log: Vec<(String, LogEntry)>,
    last_logged: i64,
    /// For each row of `sync_cycles`, oldest first, whether the cycle has ended.
    pub(crate) cycles: Vec<bool>,
}

impl DatabaseContent {
    /// Reads a database, which may be missing or without tables, and checks that related rows exist together.
    pub(crate) async fn read(database: &Database, since: &Model) -> Self {
        let mut found = Self {
            learners: BTreeMap::new(),
            skipped: BTreeSet::new(),
            log: Vec::new(),
            last_logged: since.logged,
            cycles: Vec::new(),
        };
        if !database.tables().await.iter().any(|table| table == "sync_state") {
            return found;
        }
        let columns: Vec<_> = MAPPING.iter().map(|(attribute, _)| format!("r.{}", attribute.column())).collect();
        let sql = format!(
            "SELECT coalesce(r.external_id, ''), coalesce(l.entra_id, ''), l.via, r.active,
                    r.active = (r.deactivated_at IS NULL), {}
             FROM learners r LEFT JOIN sync_links l ON l.learner_id = r.id",
            columns.join(", ")
        );
        for mut row in database.query(&sql).await {
            let values: Vec<_> = row.split_off(5).into_iter().map(|text| (text != "NULL").then_some(text)).collect();
            let [user, linked, via, active, consistent] = <[String; 5]>::try_from(row).unwrap();
            assert_eq!((&linked, consistent.as_str()), (&user, "1"), "a learner and its link");
            let learner = LoggedLearner { active: active == "1", values: values.try_into().unwrap(), via };
            assert!(found.learners.insert(user.clone(), learner).is_none(), "{user} has two learners");
        }
        let links = database.query("SELECT count(*) FROM sync_links").await;
        assert_eq!(links, [[found.learners.len().to_string()]], "one link each");

        let sql = format!(
            "SELECT p.id, p.entra_id, p.action, p.status, p.reason, p.user_name, p.changes,
                    p.learner_id IS NOT DISTINCT FROM l.learner_id OR (p.learner_id IS NULL AND p.status = 'skipped'),
                    c.id IS NOT NULL
             FROM provisioning_log p
             LEFT JOIN sync_cycles c ON c.id = p.cycle_id
             LEFT JOIN sync_links l ON l.source = c.source AND l.entra_id = p.entra_id
             WHERE p.id > {} ORDER BY p.id",
            since.logged
        );
        for row in database.query(&sql).await {
            let [id, user, action, status, reason, user_name, changes, learner, cycle] =
                <[String; 9]>::try_from(row).unwrap();
            assert_eq!([learner.as_str(), cycle.as_str()], ["1", "1"], "learner and cycle of log row {id} of {user}");
            let changes: Vec<Value> = serde_json::from_str(&changes).unwrap();
            let change = |change: &Value| {
                (change["attribute"].as_str().unwrap().to_owned(), (change["old"].clone(), change["new"].clone()))
            };
            let user_name = (user_name != "NULL").then_some(user_name);
            let count = changes.len();
            let changes: BTreeMap<_, _> = changes.iter().map(change).collect();
            assert_eq!(changes.len(), count, "an attribute twice in log row {id} of {user}");
            found.last_logged = id.parse().unwrap();
            found.log.push((user, LogEntry { action, status, reason, user_name, changes }));
        }
        let skipped = database.query("SELECT entra_id, reason FROM sync_failures").await;
        for row in skipped {
            assert_eq!(row[1], "missing-required", "{row:?}");
            found.skipped.insert(row[0].clone());
        }
        let cycles = database.query("SELECT finished_at IS NOT NULL FROM sync_cycles ORDER BY id").await;
        found.cycles = cycles.into_iter().flatten().map(|ended| ended == "1").collect();
        found
    }

    /// The log rows since the last read, with their users.
    pub(crate) fn into_log(self) -> Vec<(String, LogEntry)> {
        self.log
    }

    pub(crate) fn changes(&self) -> usize {
        self.log.iter().filter(|(_, entry)| entry.is_change()).count()
    }
}

impl Model {
    /// The model of a database with all of its log, whatever the tenant was: each log row continues the one before, and
    /// each learner is the result of its log rows.
    pub(crate) fn replay(found: &DatabaseContent) -> Self {
        let mut model = Self { skipped: found.skipped.clone(), logged: found.last_logged, ..Self::default() };
        for (user, entry) in found.log.iter().filter(|(_, entry)| entry.is_change()) {
            let is_new = !model.learners.contains_key(user);
            assert_eq!(entry.action == "create", is_new, "{} of {user}", entry.action);
            let learner = model.learners.entry(user.clone()).or_default();
            for (path, (old, new)) in &entry.changes {
                if let Some(index) = MAPPING.iter().position(|(attribute, _)| attribute.path() == path) {
                    assert_eq!(&json!(learner.values[index]), old, "{path} of {user}");
                    learner.values[index] = new.as_str().map(str::to_owned);
                } else {
                    assert!(is_new || old == &json!(learner.active), "{path} of {user}");
                    learner.active = new == &json!(true);
                }
            }
        }
        for (user, learner) in &mut model.learners {
            // The log does not name the routes.
            learner.via = found.learners.get(user).map(|stored| stored.via.clone()).unwrap_or_default();
            assert_eq!(found.learners.get(user), Some(&*learner), "the learner of {user}");
        }
        assert_eq!(found.learners.len(), model.learners.len());
        model
    }

    /// The log rows that a cycle must write, by user: pending changes and newly skipped users.
    pub(crate) fn expected(&self, view: &TenantView<'_>) -> BTreeMap<String, LogEntry> {
        let gone = self.learners.keys().map(String::as_str).filter(|user| !exists(view.tenant, user));
        let users = view.tenant.users().map(|user| user.id.as_str()).chain(gone);
        users.filter_map(|user| Some((user.to_owned(), self.due(view, user)?))).collect()
    }

    fn due(&self, view: &TenantView<'_>, user: &str) -> Option<LogEntry> {
        let learner = self.learners.get(user);
        let active = learner.is_some_and(|learner| learner.active);
        let entry = |action: &str, reason: &str, user_name: Option<&str>, changes| LogEntry {
            action: action.to_owned(),
            status: "success".to_owned(),
            reason: reason.to_owned(),
            user_name: user_name.map(str::to_owned),
            changes,
        };
        let switch = |old: Value, new: bool| (Attribute::Active.path().to_owned(), (old, json!(new)));
        match (view.required_learner(user), learner) {
            (RequiredLearner::Wanted(values), None) => {
                let mut changes = differences(&MappedValues::default(), &values);
                changes.extend([switch(Value::Null, true)]);
                Some(entry("create", "assigned", values[0], changes))
            }
            (RequiredLearner::Wanted(values), Some(learner)) if learner.is(&values) => None,
            (RequiredLearner::Wanted(values), Some(learner)) if active => {
                let changes = differences(&learner.values, &values);
                Some(entry("update", "attributes-changed", values[0], changes))
            }
            (RequiredLearner::Wanted(values), Some(learner)) => {
                let mut changes = differences(&learner.values, &values);
                changes.extend([switch(json!(false), true)]);
                Some(entry("reactivate", "reassigned", values[0], changes))
            }
            (RequiredLearner::Gone(reason), Some(learner)) if active => {
                let changes = BTreeMap::from([switch(json!(true), false)]);
                Some(entry("deactivate", reason, learner.values[0].as_deref(), changes))
            }
            (RequiredLearner::WithoutAddress, learner) if !self.skipped.contains(user) => {
                let action = match learner {
                    None => "create",
                    Some(_) if active => "update",
                    Some(_) => "reactivate",
                };
                let user_name = view.tenant.user(user)?.user_principal_name.as_deref();
                let skipped = entry(action, "missing-required", user_name, BTreeMap::new());
                Some(LogEntry { status: "skipped".to_owned(), ..skipped })
            }
            (RequiredLearner::Gone(_) | RequiredLearner::WithoutAddress, _) => None,
        }
    }

    /// Updates the model from the database. Each new log row must be expected and occur once, and each learner must be
    /// the result of its log rows; expected rows may be missing.
    pub(crate) fn catch_up(&mut self, found: &DatabaseContent, view: &TenantView<'_>) {
        let mut expected = self.expected(view);
        // Users whose routes differ from their link; all of these links are written in one transaction.
        let moved: Vec<(String, String)> = self
            .learners
            .iter()
            .filter_map(|(user, learner)| Some((user.clone(), view.via(user).filter(|via| *via != learner.via)?)))
            .collect();
        for (user, entry) in &found.log {
            assert_eq!(Some(entry), expected.remove(user).as_ref(), "log row of {user}");
            self.apply_entry(user, entry, view);
        }
        let written = |(user, via): &&(String, String)| found.learners[user].via == *via;
        let (new, old): (Vec<_>, Vec<_>) = moved.iter().partition(written);
        assert!(new.is_empty() || old.is_empty(), "new routes of {new:?}, but not of {old:?}");
        for (user, via) in new {
            self.learners.get_mut(user).unwrap().via.clone_from(via);
        }
        for (user, learner) in &self.learners {
            assert_eq!(found.learners.get(user), Some(learner), "the learner of {user}");
        }
        assert_eq!(found.learners.len(), self.learners.len());
        let came: Vec<_> = found.skipped.difference(&self.skipped).collect();
        assert_eq!(came, [""; 0], "skipped but not logged");
        let ended = self.skipped.difference(&found.skipped);
        let too_early: Vec<_> =
            ended.filter(|user| view.required_learner(user) == RequiredLearner::WithoutAddress).collect();
        assert_eq!(too_early, [""; 0], "still skipped but not in sync_failures");
        self.skipped.clone_from(&found.skipped);
        self.logged = found.last_logged;
    }

    /// Applies a log row to the model.
    fn apply_entry(&mut self, user: &str, entry: &LogEntry, view: &TenantView<'_>) {
        if entry.status == "skipped" {
            self.skipped.insert(user.to_owned());
            return;
        }
        self.skipped.remove(user);
        let learner = self.learners.entry(user.to_owned()).or_default();
        for (path, (_, new)) in &entry.changes {
            match MAPPING.iter().position(|(attribute, _)| attribute.path() == path) {
                Some(index) => learner.values[index] = new.as_str().map(str::to_owned),
                None => learner.active = new == &json!(true),
            }
        }
        // A user that is not assigned any more keeps the last routes.
        learner.via = view.via(user).unwrap_or_else(|| std::mem::take(&mut learner.via));
    }

    /// Checks that nothing is pending: learners and links match the tenant.
    pub(crate) fn assert_complete(&self, view: &TenantView<'_>) {
        assert_eq!(self.expected(view), BTreeMap::new(), "pending changes");
        for user in &self.skipped {
            assert_eq!(view.required_learner(user), RequiredLearner::WithoutAddress, "{user} in sync_failures");
        }
        for (user, learner) in &self.learners {
            assert_eq!(view.via(user).as_ref().unwrap_or(&learner.via), &learner.via, "the routes of {user}");
        }
    }
}

/// A tenant as a cycle reads it.
pub(crate) struct TenantView<'t> {
    pub(crate) tenant: &'t Tenant,
    /// The assignment routes of each assigned user.
    routes: BTreeMap<&'t str, BTreeSet<&'t str>>,
}

impl<'t> TenantView<'t> {
    pub(crate) fn of(tenant: &'t Tenant) -> Self {
        let mut routes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (principal, _) in tenant.application.assignments() {
            if let Some(group) = tenant.group(principal) {
                // A deleted user leaves member lists but keeps its direct assignment.
                for user in group.members().map(|(member, _)| member).filter(|member| exists(tenant, member)) {
                    routes.entry(user).or_default().insert(principal);
                }
            } else if tenant.user(principal).is_some() {
                routes.entry(principal).or_default().insert("direct");
            }
        }
        Self { tenant, routes }
    }

    /// The routes of an assigned user in the format of the link.
    fn via(&self, user: &str) -> Option<String> {
        self.routes.get(user).map(|routes| json!(routes).to_string())
    }

    /// The learner that the tenant requires of a user.
    pub(crate) fn required_learner(&self, user: &str) -> RequiredLearner<'t> {
        let Some(account) = self.tenant.user(user).filter(|_| exists(self.tenant, user)) else {
            return RequiredLearner::Gone("account-deleted");
        };
        match (account.account_enabled, self.routes.contains_key(user), &account.mail) {
            (Some(true), true, Some(_)) => RequiredLearner::Wanted(MAPPING.map(|(_, read)| read(account).as_deref())),
            (Some(true), true, None) => RequiredLearner::WithoutAddress,
            (Some(true), false, _) => RequiredLearner::Gone("unassigned"),
            (Some(false) | None, _, _) => RequiredLearner::Gone("account-disabled"),
        }
    }
}

fn exists(tenant: &Tenant, user: &str) -> bool {
    tenant.user(user).is_some_and(|user| user.deleted_date_time.is_none())
}

fn differences(old: &MappedValues, new: &[Option<&str>]) -> BTreeMap<String, (Value, Value)> {
    let pairs = MAPPING.iter().zip(old.iter().zip(new));
    let differing = pairs.filter(|(_, (old, new))| old.as_deref() != **new);
    differing.map(|((attribute, _), (old, new))| (attribute.path().to_owned(), (json!(old), json!(new)))).collect()
}
