//! What the learner database has to hold and its log has to say, told from the tenant and the log alone: the learners
//! are what the logged changes have made of them, and what is logged is what the tenant asks for.

use std::collections::{BTreeMap, BTreeSet};

use graph_sim::{Tenant, User};
use learner_sync::model::Attribute;
use serde_json::{Value, json};

use crate::database::Database;

/// What an attribute is mapped from.
type Source = fn(&User) -> &Option<String>;

/// The mapping that holds without a configured one.
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

/// The mapped values in the order of the mapping.
pub(crate) type Values = [Option<String>; MAPPING.len()];

/// One learner of this source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Learner {
    pub(crate) active: bool,
    pub(crate) values: Values,
    /// The ways of the assignment, as the link has them.
    via: String,
}

impl Learner {
    /// Whether it is switched on, with these values.
    pub(crate) fn is(&self, values: &[Option<&str>]) -> bool {
        self.active && self.values.iter().map(Option::as_deref).eq(values.iter().copied())
    }
}

/// A row of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) action: String,
    status: String,
    reason: String,
    user_name: Option<String>,
    /// Before and after by attribute path, as JSON.
    changes: BTreeMap<String, (Value, Value)>,
}

impl Entry {
    /// Whether a learner was changed.
    pub(crate) fn is_change(&self) -> bool {
        self.status == "success"
    }
}

/// How somebody stands in the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing<'t> {
    /// To be a learner with these values.
    Wanted([Option<&'t str>; MAPPING.len()]),
    /// To be left as it is, because there is no address.
    WithoutAddress,
    /// No learner, or no longer one.
    Gone(&'static str),
}

/// The learners and those who are passed over, as far as the log has told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) learners: BTreeMap<String, Learner>,
    /// Who is skipped, and has been noted.
    skipped: BTreeSet<String>,
    /// The last row of the log that is known.
    logged: i64,
}

/// What stands in the database.
pub(crate) struct Found {
    learners: BTreeMap<String, Learner>,
    skipped: BTreeSet<String>,
    /// The rows that came since the last look.
    log: Vec<(String, Entry)>,
    last_logged: i64,
    /// `sync_cycles`: whether each has ended, oldest first.
    pub(crate) cycles: Vec<bool>,
}

impl Found {
    /// Looks at a database, which may be missing or still without tables. Whatever belongs together must be together.
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
        // All kinds of NULL beside a learner are one kind of error.
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
            let learner = Learner { active: active == "1", values: values.try_into().unwrap(), via };
            assert!(found.learners.insert(user.clone(), learner).is_none(), "{user} has two learners");
        }
        let links = database.query("SELECT count(*) FROM sync_links").await;
        assert_eq!(links, [[found.learners.len().to_string()]], "one link each");

        let sql = format!(
            "SELECT p.id, p.entra_id, p.action, p.status, p.reason, p.user_name, p.changes,
                    p.learner_id IS NOT DISTINCT FROM l.learner_id, c.id IS NOT NULL
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
            let told = changes.len();
            let changes: BTreeMap<_, _> = changes.iter().map(change).collect();
            assert_eq!(changes.len(), told, "an attribute twice in log row {id} of {user}");
            found.last_logged = id.parse().unwrap();
            found.log.push((user, Entry { action, status, reason, user_name, changes }));
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

    /// How many changes came since the last look.
    pub(crate) fn changes(&self) -> usize {
        self.log.iter().filter(|(_, entry)| entry.is_change()).count()
    }
}

impl Model {
    /// What a cycle has to log, by user: the changes it has to make, and whom it has to note as skipped.
    pub(crate) fn expected(&self, sight: &Sight<'_>) -> BTreeMap<String, Entry> {
        let gone = self.learners.keys().map(String::as_str).filter(|user| !exists(sight.tenant, user));
        let users = sight.tenant.users().map(|user| user.id.as_str()).chain(gone);
        users.filter_map(|user| Some((user.to_owned(), self.due(sight, user)?))).collect()
    }

    fn due(&self, sight: &Sight<'_>, user: &str) -> Option<Entry> {
        let learner = self.learners.get(user);
        let active = learner.is_some_and(|learner| learner.active);
        let entry = |action: &str, reason: &str, user_name: Option<&str>, changes| Entry {
            action: action.to_owned(),
            status: "success".to_owned(),
            reason: reason.to_owned(),
            user_name: user_name.map(str::to_owned),
            changes,
        };
        let switch = |old: Value, new: bool| (Attribute::Active.path().to_owned(), (old, json!(new)));
        match (sight.standing(user), learner) {
            (Standing::Wanted(values), None) => {
                let mut changes = differences(&Values::default(), &values);
                changes.extend([switch(Value::Null, true)]);
                Some(entry("create", "assigned", values[0], changes))
            }
            (Standing::Wanted(values), Some(learner)) if learner.is(&values) => None,
            (Standing::Wanted(values), Some(learner)) if active => {
                let changes = differences(&learner.values, &values);
                Some(entry("update", "attributes-changed", values[0], changes))
            }
            (Standing::Wanted(values), Some(learner)) => {
                let mut changes = differences(&learner.values, &values);
                changes.extend([switch(json!(false), true)]);
                Some(entry("reactivate", "reassigned", values[0], changes))
            }
            (Standing::Gone(reason), Some(learner)) if active => {
                let changes = BTreeMap::from([switch(json!(true), false)]);
                Some(entry("deactivate", reason, learner.values[0].as_deref(), changes))
            }
            (Standing::WithoutAddress, learner) if !self.skipped.contains(user) => {
                let action = match learner {
                    None => "create",
                    Some(_) if active => "update",
                    Some(_) => "reactivate",
                };
                let user_name = sight.tenant.user(user)?.user_principal_name.as_deref();
                let skipped = entry(action, "missing-required", user_name, BTreeMap::new());
                Some(Entry { status: "skipped".to_owned(), ..skipped })
            }
            (Standing::Gone(_) | Standing::WithoutAddress, _) => None,
        }
    }

    /// Takes over what was found: every new row of the log was to be expected, and came once; every learner is what
    /// its log rows have made of it. Whether all of it has come is another question.
    pub(crate) fn catch_up(&mut self, found: &Found, sight: &Sight<'_>) {
        let mut expected = self.expected(sight);
        // Who is assigned in another way than the link says: all of that is written at once.
        let moved: Vec<(String, String)> = self
            .learners
            .iter()
            .filter_map(|(user, learner)| Some((user.clone(), sight.via(user).filter(|via| *via != learner.via)?)))
            .collect();
        for (user, entry) in &found.log {
            assert_eq!(Some(entry), expected.remove(user).as_ref(), "what is logged of {user}");
            self.absorb(user, entry, sight);
        }
        let written = |(user, via): &&(String, String)| found.learners[user].via == *via;
        let (new, old): (Vec<_>, Vec<_>) = moved.iter().partition(written);
        assert!(new.is_empty() || old.is_empty(), "new ways of {new:?}, but not of {old:?}");
        for (user, via) in new {
            self.learners.get_mut(user).unwrap().via.clone_from(via);
        }
        for (user, learner) in &self.learners {
            assert_eq!(found.learners.get(user), Some(learner), "the learner of {user}");
        }
        assert_eq!(found.learners.len(), self.learners.len());
        let came: Vec<_> = found.skipped.difference(&self.skipped).collect();
        assert_eq!(came, [""; 0], "skipped, and not in the log");
        let ended = self.skipped.difference(&found.skipped);
        let too_early: Vec<_> = ended.filter(|user| sight.standing(user) == Standing::WithoutAddress).collect();
        assert_eq!(too_early, [""; 0], "skipped still, and forgotten");
        self.skipped.clone_from(&found.skipped);
        self.logged = found.last_logged;
    }

    /// A row of the log comes true.
    fn absorb(&mut self, user: &str, entry: &Entry, sight: &Sight<'_>) {
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
        // Who is assigned no longer keeps the ways of the last sight.
        learner.via = sight.via(user).unwrap_or_else(|| std::mem::take(&mut learner.via));
    }

    /// Nothing is left to do: the learners are what the tenant says, and so are their links.
    pub(crate) fn agrees_with(&self, sight: &Sight<'_>) {
        assert_eq!(self.expected(sight), BTreeMap::new(), "left undone");
        for user in &self.skipped {
            assert_eq!(sight.standing(user), Standing::WithoutAddress, "{user} in sync_failures");
        }
        for (user, learner) in &self.learners {
            assert_eq!(sight.via(user).as_ref().unwrap_or(&learner.via), &learner.via, "the ways of {user}");
        }
    }
}

/// What a cycle sees of a tenant.
pub(crate) struct Sight<'t> {
    pub(crate) tenant: &'t Tenant,
    /// How each assigned user is assigned.
    routes: BTreeMap<&'t str, BTreeSet<&'t str>>,
}

impl<'t> Sight<'t> {
    pub(crate) fn of(tenant: &'t Tenant) -> Self {
        let mut routes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (principal, _) in tenant.application.assignments() {
            if let Some(group) = tenant.group(principal) {
                // A deleted account is in no list of members, but in that of the assignments.
                for user in group.members().map(|(member, _)| member).filter(|member| exists(tenant, member)) {
                    routes.entry(user).or_default().insert(principal);
                }
            } else if tenant.user(principal).is_some() {
                routes.entry(principal).or_default().insert("direct");
            }
        }
        Self { tenant, routes }
    }

    /// How somebody who is assigned is assigned, as the link tells it.
    fn via(&self, user: &str) -> Option<String> {
        self.routes.get(user).map(|routes| json!(routes).to_string())
    }

    /// How somebody stands.
    pub(crate) fn standing(&self, user: &str) -> Standing<'t> {
        let Some(account) = self.tenant.user(user).filter(|_| exists(self.tenant, user)) else {
            return Standing::Gone("account-deleted");
        };
        match (account.account_enabled, self.routes.contains_key(user), &account.mail) {
            (Some(true), true, Some(_)) => Standing::Wanted(MAPPING.map(|(_, read)| read(account).as_deref())),
            (Some(true), true, None) => Standing::WithoutAddress,
            (Some(true), false, _) => Standing::Gone("unassigned"),
            (Some(false) | None, _, _) => Standing::Gone("account-disabled"),
        }
    }
}

fn exists(tenant: &Tenant, user: &str) -> bool {
    tenant.user(user).is_some_and(|user| user.deleted_date_time.is_none())
}

/// The values that differ.
fn differences(old: &Values, new: &[Option<&str>]) -> BTreeMap<String, (Value, Value)> {
    let pairs = MAPPING.iter().zip(old.iter().zip(new));
    let differing = pairs.filter(|(_, (old, new))| old.as_deref() != **new);
    differing.map(|((attribute, _), (old, new))| (attribute.path().to_owned(), (json!(old), json!(new)))).collect()
}
