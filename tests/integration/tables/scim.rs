//! A table that Entra's own provisioning filled over SCIM, taken over by learner-sync.

use graph_sim::{Tenant, User};
use learner_sync::plan::Counts;
use serde_json::Value;

use super::make;
use crate::world::World;

const PEOPLE: &str = "CREATE TABLE people (
    id INTEGER PRIMARY KEY, ext varchar(150) UNIQUE, user_name varchar(150) UNIQUE, email varchar(150) UNIQUE,
    active boolean, points integer)";
const COLUMNS: &str = "table = \"people\"\n[learners.columns]\nid = \"id\"\nexternal_id = \"ext\"\n\
                       user_name = \"user_name\"\nemail = \"email\"\nactive = \"active\"\n[mapping]\n\
                       \"userName\" = \"[userPrincipalName]\"\n'emails[type eq \"work\"].value' = \"[mail]\"\n\
                       \"active\" = \"\\\"true\\\"\"\n";
/// The rows of the platform. Entra's default for the external id is mailNickname.
const ROWS: &str = "INSERT INTO people VALUES
    (1, 'ada', 'ada.a@harbourworks.example', 'ada.a@harbourworks.example', true, 10),
    (2, 'Ben', 'Ben.B@HarbourWorks.example', 'BEN.B@HARBOURWORKS.EXAMPLE', true, 20),
    (3, 'cleo', ' cleo.c@harbourworks.example', 'cleo.c@harbourworks.example ', true, 30),
    (4, 'dan', 'dan.d@harbourworks.example', NULL, false, 40),
    (5, '0f0f0f0f-0000-4000-8000-000000000001', 'eve.e@harbourworks.example', NULL, true, 50),
    (6, 'finn', 'Finn.F@harbourworks.example', 'finn.f@harbourworks.example', true, 60),
    (7, 'gil', ' gone@harbourworks.example ', NULL, true, 70),
    (8, 'hal', 'away@harbourworks.example', NULL, false, 80)";
/// The rows of people who are disabled, not assigned, or not in Entra, and of a conflict.
const OTHERS: &str = "SELECT * FROM people WHERE id IN (5, 6, 7, 8) ORDER BY id";

#[tokio::test]
async fn learners_of_scim_provisioning_are_adopted_once() {
    let mut tenant = Tenant::default();
    let named = [("Ada", "A"), ("Ben", "B"), ("Cleo", "C"), ("Dan", "D"), ("Eve", "E"), ("Finn", "F"), ("Ina", "I")];
    let users = named.map(|(first, last)| tenant.add_user(User::named(first, last)));
    users.iter().for_each(|user| tenant.assign_user(user));
    tenant.user_mut(&users[5]).account_enabled = Some(false);
    let mut world = World::start(tenant).await;
    make(&world, PEOPLE).await;
    world.execute(ROWS).await;
    world.configure(COLUMNS);
    let others = world.query(OTHERS).await;

    // The plan, the rehearsal and the cycle count alike.
    let expected =
        Counts { in_scope: 6, created: 1, updated: 3, reactivated: 1, skipped: 1, failed: 1, ..Counts::default() };
    let counts = |document: &Value| {
        let count = |key: &str| document[key].as_u64().unwrap();
        Counts {
            in_scope: count("in_scope"),
            created: count("created"),
            updated: count("updated"),
            deactivated: count("deactivated"),
            reactivated: count("reactivated"),
            unchanged: count("unchanged"),
            skipped: count("skipped"),
            failed: count("failed"),
            held: count("held"),
        }
    };
    assert_eq!(counts(&world.run_program(&["plan", "--json"], 0).json()), expected);
    assert_eq!(counts(&world.run_program(&["sync", "--dry-run", "--json"], 3).json()), expected);
    let plan = world.run_program(&["plan"], 0).stdout;
    assert!(plan.contains("0 unchanged, 1 skipped, 1 failed"), "{plan}");
    assert!(plan.contains("\" cleo.c@harbourworks.example\" -> "), "{plan}");
    assert_eq!(world.cycle().await.counts, expected);

    let adopted =
        world.query("SELECT ext, user_name, email, active, points FROM people WHERE id < 5 ORDER BY id").await;
    for (number, row) in adopted.iter().enumerate() {
        let (first, last) = named[number];
        let name = format!("{first}.{last}@harbourworks.example").to_lowercase();
        let points = ((number + 1) * 10).to_string();
        assert_eq!(*row, [users[number].as_str(), &name, &name, "1", &points]);
    }
    assert_eq!(world.query(OTHERS).await, others);
    assert_eq!(world.log(&users[4]).await, ["create failure conflict"]);
    let people = "SELECT * FROM people ORDER BY id";
    let before = world.query(people).await;
    let report = world.cycle().await;
    assert_eq!(world.query(people).await, before);
    assert_eq!(report.counts, Counts { in_scope: 6, unchanged: 5, skipped: 1, failed: 1, ..Counts::default() });
}
