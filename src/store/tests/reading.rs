//! The reads of the plan, `status` and `log`.

use std::collections::BTreeMap;

use super::*;
use crate::model::{Status, UniqueKey};
use crate::plan::LearnerRow;

const MAPPED: [Attribute; 4] = [Attribute::UserName, Attribute::Email, Attribute::Active, Attribute::SecurityChampion];

on_both! {
    known_learners_have_the_fingerprint_of_the_mapped_values,
    rows_are_found_once_by_name_email_match_value_or_external_id,
    values_are_counted_among_the_active_and_linked,
    a_new_source_sees_the_other_sources,
    the_state_records_applications,
    the_log_is_filtered,
    every_link_that_cannot_be_read_is_noticed,
}

async fn known_learners_have_the_fingerprint_of_the_mapped_values(kind: Kind) {
    let store = kind.store_with(3).await;
    execute(&store, "UPDATE learners SET security_champion = true, active = false WHERE id = 2").await;
    execute(&store, "UPDATE sync_links SET source = 'another' WHERE learner_id = 3").await;
    let known = store.linked_learners(SOURCE, None, &MAPPED).await.unwrap();
    assert_eq!(known.keys().copied().collect::<Vec<_>>(), [user(1), user(2)]);
    let expected = values(&[
        (Attribute::UserName, Some("user2@example.org")),
        (Attribute::Email, Some("user2@example.org")),
        (Attribute::SecurityChampion, Some("true")),
    ]);
    let second = &known[&user(2)];
    assert_eq!(second.fingerprint, Fingerprint::compute(&expected));
    assert_eq!((second.learner.clone(), second.active), (LearnerId::Number(2), false));
    assert_eq!(second.routes, routes(&[Route::Direct]));
    let rows = store.rows(SOURCE, &[user(1), user(2), user(3)], &MAPPED).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|(user, row)| Fingerprint::compute(&row.values) == known[user].fingerprint));
}

async fn rows_are_found_once_by_name_email_match_value_or_external_id(kind: Kind) {
    let store = kind.store_with(1500).await;
    execute(
        &store,
        "INSERT INTO learners (id, user_name, email, employee_number, external_id)
             VALUES (5001, 'By-Hand', 'hand@example.org', 'E7', '0A1B2C3D-0000-4000-8000-00000000ABCD')",
    )
    .await;
    let find = async |keys: &[(Attribute, &str)], matched: (Attribute, &[&str]), ids: &[EntraId]| {
        let keys: Vec<UniqueKey<'_>> = keys.iter().map(|(a, value)| UniqueKey::new(*a, value)).collect();
        let rows = store.holders(&keys, matched.0, matched.1, ids, &MAPPED).await.unwrap();
        rows.into_iter().map(|row| row.learner.to_string().parse().unwrap()).collect::<Vec<i64>>()
    };
    let number = Attribute::EmployeeNumber;
    assert_eq!(find(&[(Attribute::UserName, "BY-hand")], (number, &["E7"]), &[]).await, [5001]);
    assert_eq!(find(&[(Attribute::UserName, "hand@example.org")], (number, &["e7"]), &[]).await, [0_i64; 0]);
    assert_eq!(find(&[(Attribute::Email, "HAND@example.org")], (number, &[]), &[]).await, [5001]);
    assert_eq!(find(&[], (Attribute::UserName, &["BY-HAND"]), &[user(3)]).await, [3, 5001]);
    let upper = "0a1b2c3d-0000-4000-8000-00000000abcd".parse().unwrap();
    assert_eq!(find(&[], (number, &[]), &[upper]).await, [5001]);

    let names: Vec<String> = (1..=1500).map(|n| format!("USER{n}@example.org")).collect();
    let keys: Vec<(Attribute, &str)> = names.iter().map(|name| (Attribute::UserName, name.as_str())).collect();
    assert_eq!(find(&keys, (number, &[]), &[]).await, (1..=1500).collect::<Vec<i64>>());

    let rows = store.holders(&[], number, &["E7"], &[], &[]).await.unwrap();
    let expected = LearnerRow {
        learner: LearnerId::Number(5001),
        external_id: Some("0A1B2C3D-0000-4000-8000-00000000ABCD".to_owned()),
        link: None,
        unreadable_link: false,
        outside: false,
        active: true,
        deactivated: false,
        other_state: false,
        spelling: None,
        values: values(&[(Attribute::UserName, Some("By-Hand")), (Attribute::Email, Some("hand@example.org"))]),
    };
    assert_eq!(rows, [expected]);
}

async fn values_are_counted_among_the_active_and_linked(kind: Kind) {
    let store = kind.store_with(3).await;
    execute(&store, "UPDATE learners SET title = 'x'; UPDATE learners SET active = false WHERE id = 2").await;
    execute(&store, "INSERT INTO learners (user_name, title) VALUES ('unlinked', 'x')").await;
    let present = store.present(SOURCE, &[Attribute::Title, Attribute::Company]).await.unwrap();
    assert_eq!(present, BTreeMap::from([(Attribute::Title, 2), (Attribute::Company, 0)]));
    let counts = store.learner_counts(SOURCE).await.unwrap();
    assert_eq!(counts, LearnerCounts { active: 3, inactive: 1, linked: 3, active_unlinked: 1 });
}

async fn a_new_source_sees_the_other_sources(kind: Kind) {
    let store = kind.store_with(1).await;
    assert_eq!(store.other_sources(SOURCE).await.unwrap(), [""; 0]);
    assert_eq!(store.other_sources("mistyped").await.unwrap(), [SOURCE]);
    store.admit_source("mistyped", "root", noon()).await.unwrap();
    assert_eq!(store.other_sources("mistyped").await.unwrap(), [""; 0]);
    assert_eq!(kind.empty_store().await.other_sources("first").await.unwrap(), [""; 0]);
}

async fn the_state_records_applications(kind: Kind) {
    let store = kind.store_with(0).await;
    store.remember_application("client", "object").await.unwrap();
    store.remember_application("client", "object").await.unwrap();
    let state = store.state().await.unwrap();
    assert_eq!(state.applications, BTreeMap::from([("client".to_owned(), "object".to_owned())]));
}

async fn the_log_is_filtered(kind: Kind) {
    let store = kind.store_with(3).await;
    let later = WriteContext { at: time("2026-01-03T00:00:00Z"), ..write_context() };
    let renamed = [(Attribute::UserName, Some("user2@example.org"), Some("bea@example.org"))];
    store.apply_now(&batch_of(&[update(user(2), 2, &renamed), deactivate(user(1), 1)]), &later).await.unwrap();
    let ids = async |filter: LogFilter| {
        store.log(&filter).await.unwrap().rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let of = |user: &str| LogFilter { user: Some(user.to_owned()), ..LogFilter::default() };
    let within = |range| LogFilter { range, ..LogFilter::default() };
    assert_eq!(ids(LogFilter::default()).await, [1, 2, 3, 4, 5]);
    assert_eq!(ids(within(RowRange { limit: Some(2), ..RowRange::default() })).await, [4, 5]);
    assert_eq!(ids(within(RowRange { since: Some(later.at), ..RowRange::default() })).await, [4, 5]);
    assert_eq!(ids(within(RowRange { until: Some(later.at), ..RowRange::default() })).await, [1, 2, 3]);
    let reason = Some(Reason::AttributesChanged);
    assert_eq!(ids(LogFilter { reason, ..LogFilter::default() }).await, [4]);
    assert_eq!(ids(LogFilter { id: Some(2), ..LogFilter::default() }).await, [2]);
    assert_eq!(ids(LogFilter { cycle: Some(CycleId(9)), ..LogFilter::default() }).await, [0_i64; 0]);
    assert_eq!(ids(LogFilter { action: Some(Action::Deactivate), ..LogFilter::default() }).await, [5]);
    assert_eq!(ids(LogFilter { status: Some(Status::Held), ..LogFilter::default() }).await, [0_i64; 0]);
    assert_eq!(ids(of("USER3@example.org")).await, [3]);
    assert_eq!(ids(of(&user(1).to_string().to_uppercase())).await, [1, 5]);
    assert_eq!(ids(of("1")).await, [1, 5]);
    // The current name also finds rows with an earlier one.
    assert_eq!(ids(of("bea@example.org")).await, [2, 4]);
    assert_eq!(ids(LogFilter { action: Some(Action::Create), ..of("bea@example.org") }).await, [2]);
}

/// The trigger, the SQL that checks all links, and the code that reads them agree on what a link may contain.
async fn every_link_that_cannot_be_read_is_noticed(kind: Kind) {
    const ID: &str = "0a1b2c3d-0000-4000-8000-00000000abcd";
    let store = kind.store_with(1).await;
    let upper = ID.to_uppercase();
    // Column and value, and whether it can be read.
    let mut edits: Vec<(&str, String, bool)> = Vec::new();
    for (text, readable) in [
        (ID, true),
        ("00000000-0000-0000-0000-000000000000", true),
        (&upper, false),
        (&ID.replace('-', ""), false),
        (&format!("{{{ID}}}"), false),
        (&format!("{ID} "), false),
        (&format!(" {ID}"), false),
        (&format!("{ID}\n"), false),
        (&format!("{ID}0"), false),
        (&ID.replace('c', "é"), false),
        ("", false),
        ("7", false),
        ("soon", false),
    ] {
        edits.push(("entra_id", format!("'{text}'"), readable));
    }
    for (text, readable) in [
        ("[]", true),
        (" [ ]\n", true),
        (r#"["direct", "direct"]"#, true),
        (r#"["\u0064irect"]"#, true),
        (&format!(r#"["{ID}","direct"]"#), true),
        (&format!(r#"["{upper}"]"#), true),
        (&format!(r#"["{ID} "]"#), false),
        (&format!(r#"["{ID}\n"]"#), false),
        (&format!(r#"["{ID}", {{"id": "{ID}"}}]"#), false),
        (r#"["Direct"]"#, false),
        (r#"["direct", 7]"#, false),
        (r#"["direct", null]"#, false),
        (r#"[""]"#, false),
        ("[[]]", false),
        ("{}", false),
        ("null", false),
        ("7", false),
        (r#""direct""#, false),
    ] {
        edits.push(("via", format!("'{text}'"), readable));
    }
    if matches!(kind, Kind::Sqlite) {
        for (column, value) in [
            ("entra_id", "x'80'"),
            ("entra_id", "7"),
            ("entra_id", &format!("CAST('{ID}' AS BLOB)")),
            ("entra_id", &format!("'{ID}' || char(0)")),
            ("entra_id", &format!("'{ID}' || char(0) || 'x'")),
            ("via", "7"),
            ("via", "''"),
            ("via", "'['"),
            ("via", "'[],'"),
            ("via", r#"'["direct",]'"#),
            ("via", "'[''direct'']'"),
            ("via", "'[]' || char(0)"),
            ("via", "'[]' || char(0) || 'x'"),
            ("via", "char(65279) || '[]'"),
            ("via", "char(12) || '[]'"),
            ("via", r#"'["\ud800"]'"#),
            ("via", r#"'["direct\u0000"]'"#),
            ("via", &format!(r#"'["{ID}\u0000"]'"#)),
            ("via", &format!(r#"'["{ID}\u0000x"]'"#)),
            ("via", "CAST(x'5b22ff225d' AS TEXT)"),
        ] {
            edits.push((column, value.to_owned(), false));
        }
    }
    let run = async |sql: String| store.connection().await.execute(Statement::new(sql)).await.unwrap();
    let inspected = async |is_inspected| run(format!("UPDATE sync_state SET links_inspected = {is_inspected}")).await;
    for (column, value, readable) in edits {
        run(format!("UPDATE sync_links SET via = '[]', entra_id = '{}'", user(1))).await;
        inspected(true).await;
        run(format!("UPDATE sync_links SET {column} = {value}")).await;
        let is_noticed = !store.state().await.unwrap().links_inspected;
        inspected(false).await;
        let by_sql = store.links_are_readable(SOURCE).await.unwrap();
        let by_code = store.linked_learners(SOURCE, None, &MAPPED).await.unwrap().len() == 1;
        assert_eq!((by_sql, by_code), (readable, readable), "{column} = {value}");
        assert!(readable || is_noticed, "{column} = {value}");
    }
    // The trigger may notice more, but nothing that a cycle writes.
    inspected(true).await;
    for routes in ["[]".to_owned(), r#"["direct"]"#.to_owned(), format!(r#"["direct","{ID}"]"#)] {
        run(format!("UPDATE sync_links SET entra_id = '{ID}', via = '{routes}'")).await;
        assert!(store.state().await.unwrap().links_inspected, "{routes}");
    }
}
