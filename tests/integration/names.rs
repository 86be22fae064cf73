//! Letter case and white space of user names and addresses.

use graph_sim::{Tenant, User};
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;
use serde_json::json;

use crate::database::{apply, is_on_postgres, on_both};
use crate::learners::{EMAIL, ada, add_user, change};
use crate::world::{World, assigned};

const ADA: &str = "ada.lovelace@harbourworks.example";
const SHOUTED: &str = "Ada.LOVELACE@harbourworks.example";

#[apply(on_both)]
async fn a_change_of_letter_case_is_an_update() {
    let (mut world, ada) = ada().await;
    change(&world, &ada, |user| user.mail = Some(SHOUTED.to_owned()));
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 1, updated: 1, ..Counts::default() });
    assert_eq!(world.learner(&ada, "user_name, email").await, [ADA, SHOUTED]);
    assert_eq!(world.last_changes(&ada).await, json!([{ "attribute": EMAIL, "old": ADA, "new": SHOUTED }]));
    world.settled().await;

    // A change by hand is not drift, with and without the cache.
    world.execute(&format!("UPDATE learners SET email = '{ADA}', user_name = upper(user_name)")).await;
    assert_eq!(world.full_cycle().await.counts.unchanged, 1);
    std::fs::remove_dir_all(world.path("state")).unwrap();
    assert_eq!(world.cycle().await.counts.unchanged, 1);
    assert_eq!(world.learner(&ada, "email").await, [ADA]);
    assert_eq!(world.log(&ada).await, ["create success assigned", "update success attributes-changed"]);
    // Back to the first form.
    change(&world, &ada, |user| user.mail = Some(ADA.to_owned()));
    assert_eq!(world.cycle().await.counts.updated, 1);
    assert_eq!(world.learner(&ada, "user_name, email").await, [ADA, ADA]);
    world.settled().await;
}

#[apply(on_both)]
async fn a_database_that_keeps_its_own_letter_case_gets_each_change_once() {
    let (mut world, ada) = ada().await;
    let lower_case = if is_on_postgres() {
        "CREATE FUNCTION keep_lower() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN NEW.email := lower(NEW.email); RETURN NEW; END $$;
         CREATE TRIGGER keep_lower BEFORE INSERT OR UPDATE ON learners FOR EACH ROW EXECUTE FUNCTION keep_lower();"
    } else {
        "CREATE TRIGGER keep_lower_1 AFTER UPDATE OF email ON learners
             BEGIN UPDATE learners SET email = lower(email) WHERE id = NEW.id; END;
         CREATE TRIGGER keep_lower_2 AFTER INSERT ON learners
             BEGIN UPDATE learners SET email = lower(email) WHERE id = NEW.id; END;"
    };
    world.execute(lower_case).await;
    let ben = add_user(&world, User::named("Ben", "Carter").mail("BEN.Carter@harbourworks.example"));
    change(&world, &ada, |user| user.mail = Some(SHOUTED.to_owned()));
    let report = world.cycle().await;
    let counts = Counts { in_scope: 2, created: 1, updated: 1, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Success, counts));
    assert_eq!(world.learner(&ada, "email").await, [ADA]);
    assert_eq!(world.learner(&ben, "email").await, ["ben.carter@harbourworks.example"]);
    assert_eq!(world.last_detail(&ada).await, "NULL");

    world.settled().await;
    assert_eq!(world.full_cycle().await.counts.unchanged, 2);
    std::fs::remove_dir_all(world.path("state")).unwrap();
    world.settled().await;
    // Other changes do not repeat it.
    change(&world, &ada, |user| user.job_title = Some("Diver".to_owned()));
    assert_eq!(world.cycle().await.counts.updated, 1);
    assert_eq!(world.last_changes(&ada).await, json!([{ "attribute": "title", "old": "Engineer", "new": "Diver" }]));
    world.execute("UPDATE learners SET title = 'by hand'").await;
    assert_eq!(world.full_cycle().await.counts.updated, 2);
    assert_eq!(world.last_changes(&ada).await, json!([{ "attribute": "title", "old": "by hand", "new": "Diver" }]));
    world.settled().await;
}

#[apply(on_both)]
async fn letters_beyond_ascii_keep_their_case() {
    let mut tenant = Tenant::default();
    let mut world = World::start(tenant.clone()).await;
    world.cycle().await;
    if is_on_postgres() {
        world.execute("CREATE UNIQUE INDEX folded ON learners (lower(email COLLATE \"und-x-icu\"))").await;
    }
    let addresses =
        ["åsa@x.example", "ÅSA@x.example", "İpek@x.example", "ipek@x.example", "straße@x.example", "STRASSE@x.example"];
    let users: Vec<String> =
        addresses.iter().map(|mail| tenant.add_user(User::named("Name", mail).mail(*mail))).collect();
    users.iter().for_each(|user| tenant.assign_user(user));
    world.sim.tenant(|served| *served = tenant);
    // A database that folds more letters refuses one of two users, and nobody else.
    let failed = u64::from(is_on_postgres());
    let report = world.cycle().await;
    let counts = Counts { in_scope: 6, created: 6 - failed, failed, ..Counts::default() };
    assert_eq!(report.counts, counts, "{}", report.summary());
    if failed > 0 {
        let refused = "SELECT reason, detail FROM sync_failures";
        assert_eq!(world.query(refused).await, [["database-error", "another learner has the same folded"]]);
    }
    world.settled().await;
}

#[apply(on_both)]
async fn values_without_ink_are_missing() {
    let mut tenant = Tenant::default();
    let blanks = [
        " ",
        "\t",
        "\u{A0}",
        "\u{200B}",
        "\u{200C}\u{200D}",
        "\u{2060}\u{FEFF}",
        "\u{3000}",
        "\u{AD}",
        "\u{202F}\u{2800}",
    ];
    let users: Vec<String> =
        blanks.iter().map(|blank| tenant.add_user(User::named("Ada", "Blank").mail(*blank))).collect();
    for (number, user) in users.iter().enumerate() {
        tenant.user_mut(user).user_principal_name = Some(format!("ada{number}@harbourworks.example"));
        tenant.assign_user(user);
    }
    let padded = User::named("Ben", "Carter").mail("\u{FEFF} ben@x.example\u{A0}\u{200B}").job_title("\u{2003}");
    let padded = tenant.add_user(padded);
    let odd = tenant.add_user(User::named("Eve", "Moss").mail("eve\u{200B}@x.example"));
    tenant.assign_user(&padded);
    tenant.assign_user(&odd);
    let mut world = World::start(tenant).await;
    let count = blanks.len() as u64;
    let counts = Counts { in_scope: count + 2, created: 1, skipped: count, failed: 1, ..Counts::default() };
    assert_eq!(world.cycle().await.counts, counts);
    for user in &users {
        assert_eq!(world.log(user).await, ["create skipped missing-required"]);
    }
    assert_eq!(world.learner(&padded, "email, title").await, ["ben@x.example", "NULL"]);
    assert_eq!(world.log(&odd).await, ["create failure invalid-value"]);
    assert_eq!(world.last_detail(&odd).await, format!("{EMAIL}: the text contains an invisible character, U+200B"));
    world.settled().await;
}

#[apply(on_both)]
async fn rows_with_blanks_around_their_names_match() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 4);
    let newcomer = tenant.add_user(User::named("Late", "Comer").mail("taken@x.example"));
    tenant.assign_user(&newcomer);
    let mut world = World::start(Tenant::default()).await;
    world.cycle().await;
    let name = |number: u8| format!("NUMBER.000{number}@harbourworks.example");
    let rows = [
        (format!(" {}", name(1)), "one@x.example"),
        (format!("{}\u{A0}\t", name(2)), "two@x.example"),
        (format!("\u{200B}{}\u{3000}", name(3)), "three@x.example"),
        // Two rows for one user.
        (format!("{} ", name(4)), "four@x.example"),
        (name(4), "\u{FEFF}TAKEN@x.example"),
        ("Åke".to_owned(), "ake@x.example"),
    ];
    for (user_name, email) in rows {
        world.execute(&format!("INSERT INTO learners (user_name, email) VALUES ('{user_name}', '{email}')")).await;
    }
    world.sim.tenant(|served| *served = tenant);
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 5, updated: 3, failed: 2, ..Counts::default() });
    for (user, number) in users[..3].iter().zip(1..) {
        let address = name(number).to_lowercase();
        assert_eq!(world.learner(user, "user_name, email").await, [address.as_str(), &address]);
    }
    assert!(world.last_detail(&users[3]).await.ends_with("matches 2 unlinked learners: 4, 5"));
    assert!(world.last_detail(&newcomer).await.contains("is held by learner 5 (not linked"));
    world.settled().await;
}
