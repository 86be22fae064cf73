//! Large mixed batches: each user must get its own values, whichever statement wrote them.

use super::*;

on_both! {
    seven_hundred_mixed_changes_are_written_exactly,
    a_statement_is_prepared_again_for_other_types,
    a_character_that_the_encoding_lacks_is_the_only_refusal,
}

const LATER: &str = "2026-01-03T08:30:00Z";

/// The value of `sync_links.via`.
fn via(routes: &Routes) -> String {
    let routes: BTreeSet<String> = routes.as_slice().iter().map(ToString::to_string).collect();
    serde_json::json!(routes).to_string()
}

/// The compared columns of a learner.
const COMPARED: [&str; 10] = [
    "user_name",
    "email",
    "first_name",
    "title",
    "department",
    "security_champion",
    "active",
    "created_at",
    "updated_at",
    "deactivated_at",
];

/// A learner as [`COMPARED`] shows it.
type Shown = BTreeMap<&'static str, String>;

/// A row without a value.
fn nobody() -> Shown {
    COMPARED.map(|column| (column, "-".to_owned())).into()
}

/// A learner as `fill` creates it.
fn filled(number: u32) -> Shown {
    let name = format!("user{number}@example.org");
    let mut shown = nobody();
    let at = || noon().to_string();
    shown.extend([("user_name", name.clone()), ("email", name), ("first_name", "Ada".to_owned())]);
    shown.extend([("active", "1".to_owned()), ("created_at", at()), ("updated_at", at())]);
    shown
}

/// `shown` after a change.
fn changed(mut shown: Shown, change: &Decision) -> Shown {
    for AttributeChange { attribute, new, .. } in change.changes.iter() {
        let value = match new {
            None => "-",
            Some("true") => "1",
            Some("false") => "0",
            Some(text) => text,
        };
        shown.insert(attribute.column(), value.to_owned());
    }
    shown.insert("updated_at", LATER.to_owned());
    match change.action {
        Action::Create => shown.insert("created_at", LATER.to_owned()),
        Action::Deactivate => shown.insert("deactivated_at", LATER.to_owned()),
        Action::Reactivate => shown.insert("deactivated_at", "-".to_owned()),
        Action::Update => None,
    };
    shown
}

fn newcomer(number: u32) -> Decision {
    let name = format!("new{number}@example.org");
    let mut values = vec![(Attribute::UserName, name.as_str()), (Attribute::Active, "true")];
    match number % 3 {
        0 => values.extend([(Attribute::Title, name.as_str()), (Attribute::Department, "Zoology")]),
        1 => values.push((Attribute::SecurityChampion, if number.is_multiple_of(2) { "true" } else { "false" })),
        _ => {}
    }
    create_with(user(number), &values)
}

fn mover(number: u32) -> Decision {
    let (old, new) = (format!("user{number}@example.org"), format!("moved{number}@example.org"));
    let changes: &[Changed<'_>] = match number % 4 {
        0 => &[(Attribute::Title, None, Some(&new))],
        1 => &[(Attribute::FirstName, Some("Ada"), None), (Attribute::Department, None, Some(&new))],
        2 => &[(Attribute::SecurityChampion, None, Some("true"))],
        _ => &[(Attribute::Email, Some(&old), Some(&new))],
    };
    with_routes(update(user(number), number.into(), changes), &[Route::Group(user(number % 5))])
}

fn returner(number: u32) -> Decision {
    let changes = [(Attribute::Active, Some("false"), Some("true")), (Attribute::Title, None, Some("back"))];
    let target = TargetRow::Linked(LearnerId::Number(number.into()));
    decision(user(number), Action::Reactivate, Reason::Reassigned, target, &changes)
}

fn renamed(number: u32, to: u32) -> Decision {
    let (old, new) = (format!("user{number}@example.org"), format!("user{to}@example.org"));
    update(user(number), number.into(), &[(Attribute::UserName, Some(&old), Some(&new))])
}

async fn seven_hundred_mixed_changes_are_written_exactly(kind: Kind) {
    let store = kind.store_with(450).await;
    execute(
        &store,
        "UPDATE learners SET active = false, deactivated_at = '2026-01-01T00:00:00Z' WHERE id BETWEEN 301 AND 350;
         INSERT INTO learners (user_name, first_name, created_at) VALUES ('platform', 'Bea', '2020-01-01T00:00:00Z')",
    )
    .await;
    let id: i64 = select(&store, "SELECT max(id) FROM learners").await[0].parse().unwrap();
    let adopted = Adoption::of(LearnerId::Number(id), None);
    let adoption =
        decision(user(2000), Action::Update, Reason::Adopted, adopted, &[(Attribute::Title, None, Some("ours"))]);
    let offenders = [
        create_with(user(3000), &[(Attribute::UserName, "USER400@example.org")]),
        update(user(360), 360, &[(Attribute::SecurityChampion, None, Some("perhaps"))]),
    ];
    let circle = [renamed(201, 202), renamed(202, 203), renamed(203, 201)];
    let inorder: Vec<Decision> = (1001..=1347)
        .map(newcomer)
        .chain((1..=200).map(mover))
        .chain(circle)
        .chain((204..=300).map(|number| deactivate(user(number), number.into())))
        .chain((301..=350).map(returner))
        .chain([adoption])
        .chain(offenders)
        .collect();
    // Shuffled in the same way each time.
    let batch: Vec<Decision> = (0..inorder.len()).map(|index| inorder[index * 271 % inorder.len()].clone()).collect();
    assert_eq!(batch.len(), 700);

    let mut learners: BTreeMap<EntraId, Shown> = (1..=450).map(|number| (user(number), filled(number))).collect();
    let platform =
        [("user_name", "platform"), ("first_name", "Bea"), ("active", "1"), ("created_at", "2020-01-01T00:00:00Z")];
    let mut adopted = nobody();
    adopted.extend(platform.map(|(column, value)| (column, value.to_owned())));
    learners.insert(user(2000), adopted);
    let direct = via(&routes(&[Route::Direct]));
    let mut ways: BTreeMap<EntraId, String> = learners.keys().map(|user| (*user, direct.clone())).collect();
    let mut logged = BTreeSet::new();
    let batch = batch_of(&batch);
    let accepted: Vec<&Decision> = batch
        .decisions()
        .iter()
        .map(|change| &**change)
        .filter(|change| ![user(3000), user(360)].contains(&change.user))
        .collect();
    for change in &accepted {
        let before = learners.remove(&change.user).unwrap_or_else(nobody);
        learners.insert(change.user, changed(before, change));
        ways.insert(change.user, via(&change.row_after().unwrap().routes));
        logged.insert(format!("{}|{}|1", change.user, change.action.as_str()));
    }

    let context = WriteContext { cycle: CycleId(2), source: SOURCE, at: time(LATER) };
    let applied = store.apply_now(&batch, &context).await.unwrap();
    let mut why: Vec<(EntraId, &str)> =
        applied.refused.iter().map(|(index, why)| (batch.decisions()[*index].user, why.reason.as_str())).collect();
    why.sort_unstable();
    let no_boolean = kind.either(
        "a check of the table fails: security_champion IN (0, 1)",
        "a value does not have the type of its column",
    );
    assert_eq!(why, [(user(360), no_boolean), (user(3000), "another learner has the same user_name")]);
    let written: Vec<EntraId> = applied.learners.iter().map(|(user, _)| *user).collect();
    assert_eq!(written, accepted.iter().map(|change| change.user).collect::<Vec<_>>());

    let found = select(
        &store,
        "SELECT external_id, user_name, email, first_name, title, department, security_champion, active, created_at,
                updated_at, deactivated_at
         FROM learners ORDER BY external_id",
    )
    .await;
    let expected: Vec<String> = learners
        .iter()
        .map(|(user, shown)| format!("{user}|{}", COMPARED.map(|column| shown[column].as_str()).join("|")))
        .collect();
    assert_eq!(found, expected);
    let found = select(&store, "SELECT entra_id, via FROM sync_links ORDER BY entra_id").await;
    assert_eq!(found, ways.iter().map(|(user, way)| format!("{user}|{way}")).collect::<Vec<_>>());
    let found = select(
        &store,
        "SELECT p.entra_id, p.action, p.learner_id = r.id FROM provisioning_log p
         JOIN learners r ON r.external_id = p.entra_id WHERE p.cycle_id = 2 AND p.status = 'success'",
    )
    .await;
    assert_eq!(found.len(), 698);
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), logged);
}

async fn a_statement_is_prepared_again_for_other_types(kind: Kind) {
    let store = kind.store_with(0).await;
    let champion = |number: u32, value: &str| {
        let user_name = format!("user{number}");
        create_with(user(number), &[(Attribute::UserName, &user_name), (Attribute::SecurityChampion, value)])
    };
    assert_eq!(store.apply_now(&batch_of(&[champion(1, "true")]), &write_context()).await.unwrap().refused, []);
    // One letter has the size of a boolean.
    assert_eq!(store.apply_now(&batch_of(&[champion(2, "y")]), &write_context()).await.unwrap().refused.len(), 1);
    assert_eq!(store.apply_now(&batch_of(&[champion(3, "false")]), &write_context()).await.unwrap().refused, []);
    let found = select(&store, "SELECT user_name, security_champion FROM learners ORDER BY 1").await;
    assert_eq!(found, ["user1|1", "user3|0"]);
}

async fn a_character_that_the_encoding_lacks_is_the_only_refusal(kind: Kind) {
    let store = kind.store_with(0).await;
    let batch: Vec<Decision> = (1..=50)
        .map(|number| {
            let (user_name, title) = (format!("user{number}"), if number == 37 { "a\0b" } else { "ab" });
            create_with(user(number), &[(Attribute::UserName, user_name.as_str()), (Attribute::Title, title)])
        })
        .collect();
    let applied = store.apply_now(&batch_of(&batch), &write_context()).await.unwrap();
    let why = "a value contains a character that the encoding of the database lacks".to_owned();
    assert_eq!(reasons(&applied.refused), kind.either(vec![], vec![(36, why)]));
    let count = kind.either("50", "49");
    assert_eq!(select(&store, "SELECT count(*) FROM learners WHERE substr(title, 1, 1) = 'a'").await, [count]);
}
