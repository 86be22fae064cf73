//! A world with every kind of trouble, hostile texts, long values, hundreds of log rows and many cycles.

use graph_sim::{Tenant, User};
use jiff::SignedDuration;
use learner_sync::model::system_clock;
use serde_json::{Value, json};

use crate::program::{add_assigned_user, users};
use crate::world::{World, assigned_group};

/// A name that would be a script.
pub(super) const SCRIPT: &str = "<script>window.hacked=1</script>";
/// Another one, for attributes.
const IMAGE: &str = "\"'><img src=x onerror=window.hacked=1>";
/// Names in Hebrew and Arabic, between marks that reverse what follows or cannot be seen.
const REVERSED: &str = "\u{202e}nimda \u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{200b}\u{feff} \u{645}\u{631}\u{62d}\u{628}\u{627}";
/// Clears a screen, rings a bell, breaks lines.
const CONTROL: &str = "Crew\u{1b}[2J\u{7}\r\nof the \u{85}\u{2028}boat\u{e0041}";
/// A formula in a spreadsheet.
const FORMULA: &str = "=HYPERLINK(\"http://elsewhere.example/\",\"click\")";
/// A user name that is one.
const FORMULA_NAME: &str = "=cmd|'/c calc'!a1@harbourworks.example";

/// Ordinary users.
const USERS: usize = 320;
/// Older cycles, for several pages of them.
const OLD_CYCLES: usize = 240;

/// The world and the users that have pages to look at.
pub(super) struct Seeded {
    pub(super) world: World,
    /// A user with hostile names.
    pub(super) hostile: String,
    /// A user with long values.
    pub(super) long: String,
    /// A user that is held.
    pub(super) held: String,
    pub(super) name_of_held: String,
    /// A user in conflict.
    pub(super) failing: String,
    /// A user without an address.
    pub(super) skipped: String,
}

impl Seeded {
    pub(super) async fn start() -> Self {
        let (mut tenant, ids) = users(USERS);
        let (group, divers) = assigned_group(&mut tenant, "Divers", 5);
        let [hostile, long] = add_odd_users(&mut tenant);
        let [failing, skipped] = add_failing_users(&mut tenant, &ids);
        let mut world = World::start(tenant).await;
        world.now = system_clock() - SignedDuration::from_hours(24 * 8);
        world.cycle().await;
        insert_cycles(&world).await;

        world.now = system_clock() - SignedDuration::from_hours(5);
        world.sim.tenant(|tenant| {
            for (number, id) in ids[..180].iter().enumerate() {
                let user = tenant.user_mut(id);
                user.job_title = Some(format!("Engineer {number}"));
                user.department = if number % 3 == 0 { None } else { Some("Harbour".to_owned()) };
            }
            ids[180..190].iter().for_each(|id| tenant.user_mut(id).account_enabled = Some(false));
            let user = tenant.user_mut(&long);
            user.job_title = Some("Captain".to_owned());
            user.department = Some("word ".repeat(20_000));
            user.given_name = Some("z".repeat(100 << 10));
            tenant.user_mut(&hostile).job_title = Some(IMAGE.to_owned());
            divers.iter().for_each(|diver| tenant.remove_member(&group, diver));
        });
        world.cycle().await;
        world.sim.tenant(|tenant| {
            ids[180..183].iter().for_each(|id| tenant.user_mut(id).account_enabled = Some(true));
            ids[190..270].iter().for_each(|id| tenant.unassign(id));
        });
        world.cycle().await;
        let held = ids[200].clone();
        let name_of_held = world.learner(&held, "user_name").await.concat();
        Self { world, hostile, long, held, name_of_held, failing, skipped }
    }

    /// Results of a search, of a filter and of turning all pages. The cycle at the start of the daemon logs nothing.
    pub(super) async fn journeys(&self) -> Value {
        let count = async |table: &str, condition: &str| -> u64 {
            self.world.value(&format!("SELECT count(*) FROM {table} WHERE {condition}")).await.parse().unwrap()
        };
        let user = &self.name_of_held;
        json!({
            "user": user,
            "user_rows": count("provisioning_log", &format!("user_name = '{user}'")).await,
            "held_rows": count("provisioning_log", "status = 'held'").await,
            "rows": count("provisioning_log", "true").await,
            "cycles": count("sync_cycles", "true").await + 1,
            "formula": FORMULA_NAME,
        })
    }
}

/// Users with hostile texts and long values: returns one of each.
fn add_odd_users(tenant: &mut Tenant) -> [String; 2] {
    let texts = [(SCRIPT, IMAGE), (REVERSED, CONTROL), ("Zo\u{eb} \u{1f9ed}", "d'Arc & Söhne")];
    let odd = texts.map(|(given_name, surname)| {
        let user = User::named(given_name, surname).job_title(format!("{given_name} {surname}")).department(FORMULA);
        let id = tenant.add_user(user);
        tenant.assign_user(&id);
        id
    });
    tenant.user_mut(&odd[0]).user_principal_name = Some(format!("{SCRIPT}{IMAGE}@harbourworks.example"));
    tenant.user_mut(&odd[2]).user_principal_name = Some(FORMULA_NAME.to_owned());
    let long = add_assigned_user(tenant, "Long", "Values");
    let user = tenant.user_mut(&long);
    user.job_title = Some("x".repeat(100 << 10));
    user.department = Some("several words ".repeat(8_000));
    user.user_principal_name = Some(format!("{}@harbourworks.example", "long-name-without-end-".repeat(12)));
    let [hostile, ..] = odd;
    [hostile, long]
}

/// Users that fail or are skipped, for each reason that a tenant alone can cause: returns a user in conflict and one without
/// an address.
fn add_failing_users(tenant: &mut Tenant, ids: &[String]) -> [String; 2] {
    let taken = tenant.user_mut(&ids[0]).mail.clone();
    let [(failing, skipped), ..] = [0, 1, 2].map(|number| {
        let twin = add_assigned_user(tenant, "Twin", &format!("Number{number}"));
        tenant.user_mut(&twin).mail = taken.clone();
        let lost = add_assigned_user(tenant, "Lost", &format!("Address{number}"));
        tenant.user_mut(&lost).mail = None;
        (twin, lost)
    });
    let odd = add_assigned_user(tenant, SCRIPT, "Nul");
    tenant.user_mut(&odd).job_title = Some("Nul\0Nul".to_owned());
    let large = add_assigned_user(tenant, "Large", "Value");
    tenant.user_mut(&large).job_title = Some("x".repeat((1 << 20) + 1));
    let unreadable = add_assigned_user(tenant, "Un", "Readable");
    tenant.user_mut(&unreadable).account_enabled = None;
    [failing, skipped]
}

/// Inserts cycles of the last week, with every outcome and trigger.
async fn insert_cycles(world: &World) {
    let source = world.value("SELECT source FROM sync_cycles").await;
    let error = format!("cannot read the assignments: 503 {IMAGE} {}", "proxy ".repeat(60));
    let row = |number: usize| {
        let start = world.now + SignedDuration::from_mins(30 * i64::try_from(number).unwrap());
        let end = start + SignedDuration::from_secs(7 + i64::try_from(number % 5).unwrap() * 61);
        let outcome = ["success", "success", "partial", "held", "failed", "interrupted"][number % 6];
        let trigger = ["schedule", "schedule", "schedule", "signal", "command"][number % 5];
        let error = if outcome == "failed" { format!("'{}'", error.replace('\'', "''")) } else { "NULL".to_owned() };
        format!(
            "('{source}', '{trigger}', '{}', '{}', '{outcome}', 331, {}, {}, 0, 331, {error})",
            whole_seconds(start),
            whole_seconds(end),
            number % 7,
            number * 13 % 50,
        )
    };
    let rows: Vec<String> = (0..OLD_CYCLES).map(row).collect();
    let columns =
        "source, \"trigger\", started_at, finished_at, outcome, in_scope, created, updated, held, requests, error";
    world.execute(&format!("INSERT INTO sync_cycles ({columns}) VALUES {}", rows.join(", "))).await;
}

fn whole_seconds(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
