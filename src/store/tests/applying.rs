//! Applying decisions: what is written, what is left unchanged, and refused rows.

use super::*;

on_both! {
    a_learner_is_created_with_its_link_and_log_row,
    only_the_named_columns_are_written,
    deactivating_and_reactivating_keeps_the_row_and_the_link,
    an_unlinked_learner_is_adopted_and_a_linked_one_is_not,
    one_duplicate_among_five_hundred_is_the_only_refusal,
    a_batch_of_refused_rows_writes_nothing,
    an_update_that_changes_no_row_is_explained,
    a_change_that_a_trigger_undoes_is_refused,
    a_trigger_may_delete_a_deactivated_row,
    a_state_that_another_program_changed_is_not_overwritten,
    a_new_row_that_a_trigger_deactivates_is_reported,
    rows_are_read_back_where_something_can_change_them,
    the_id_of_a_deleted_learner_is_not_used_again,
    a_learner_is_relinked_from_one_user_to_another,
    a_linked_user_gets_no_second_learner,
    addresses_are_swapped_and_passed_on_in_one_batch,
    a_change_that_needs_a_refused_one_is_refused_too,
    letter_case_does_not_make_names_different,
    any_text_is_stored_as_it_is,
    a_change_ends_the_failure_and_the_hold_of_its_user,
    a_rehearsal_reports_refusals_and_changes_nothing,
    a_dropped_transaction_leaves_no_change_and_no_lock,
}

#[tokio::test]
async fn a_trigger_of_the_log_keeps_its_own_conflict_clause() {
    let store = Kind::Sqlite.store_with(0).await;
    execute(
        &store,
        "CREATE TABLE seen (action TEXT UNIQUE);
         CREATE TRIGGER seen AFTER INSERT ON provisioning_log BEGIN INSERT OR IGNORE INTO seen VALUES (NEW.action); END",
    )
    .await;
    let newcomers: Vec<Decision> = (1..=20).map(|number| create(user(number), &format!("user{number}"))).collect();
    let applied = store.apply_now(&batch_of(&newcomers), &write_context()).await.unwrap();
    assert_eq!((applied.learners.len(), reasons(&applied.refused)), (20, vec![]));
    assert_eq!(select(&store, "SELECT action FROM seen").await, ["create"]);
}

async fn a_learner_is_created_with_its_link_and_log_row(kind: Kind) {
    let store = kind.store_with(0).await;
    let before = store.state().await.unwrap().generation;
    let mut ada = with_routes(create(user(7), "Ada@example.org"), &[Route::Group(user(9)), Route::Direct]);
    ada.detail = Some("first day".to_owned());
    ada.request_id = RequestId::new("a-request".to_owned());
    let applied = store.apply_now(&batch_of(&[ada]), &write_context()).await.unwrap();

    assert_eq!(applied.learners, [(user(7), LearnerId::Number(1))]);
    assert_eq!(reasons(&applied.refused), []);
    assert_ne!(applied.generation, before);
    assert_eq!(store.state().await.unwrap().generation, applied.generation);
    assert_eq!(
        select(&store, "SELECT * FROM learners ORDER BY id").await,
        [format!(
            "1|{}|Ada@example.org|Ada@example.org|Ada|-|-|-|-|-|-|-|-|-|-|1|2026-01-02T12:00:00Z|\
             2026-01-02T12:00:00Z|-",
            user(7)
        )]
    );
    assert_eq!(
        select(&store, "SELECT source, entra_id, learner_id, via, linked_at, switched_off_at FROM sync_links").await,
        [format!(r#"{SOURCE}|{}|1|["{}","direct"]|2026-01-02T12:00:00Z|-"#, user(7), user(9))]
    );
    let log = store.log(&LogFilter::default()).await.unwrap().rows;
    assert_eq!(
        log,
        [LogRow {
            id: 1,
            cycle: CycleId(1),
            at: noon(),
            action: Action::Create,
            status: crate::model::Status::Success,
            entra_id: user(7),
            learner: Some(LearnerId::Number(1)),
            user_name: Some("Ada@example.org".to_owned()),
            reason: Reason::Assigned,
            detail: Some("first day".to_owned()),
            changes: serde_json::json!([
                {"attribute": "userName", "old": null, "new": "Ada@example.org"},
                {"attribute": "emails[type eq \"work\"].value", "old": null, "new": "Ada@example.org"},
                {"attribute": "name.givenName", "old": null, "new": "Ada"},
                {"attribute": "active", "old": null, "new": true},
            ]),
            approved_by: None,
            request_id: Some("a-request".to_owned()),
            phase: None,
        }]
    );
}

async fn only_the_named_columns_are_written(kind: Kind) {
    let store = kind.store_with(2).await;
    execute(&store, "UPDATE learners SET title = 'by hand', updated_at = '2020-01-01T00:00:00Z'").await;
    let changes = [(Attribute::FirstName, Some("Ada"), None), (Attribute::SecurityChampion, None, Some("true"))];
    store.apply_now(&batch_of(&[update(user(1), 1, &changes)]), &write_context()).await.unwrap();
    assert_eq!(
        select(
            &store,
            "SELECT id, first_name, title, security_champion, active, updated_at, created_at FROM learners ORDER BY id"
        )
        .await,
        [
            "1|-|by hand|1|1|2026-01-02T12:00:00Z|2026-01-02T12:00:00Z",
            "2|Ada|by hand|-|1|2020-01-01T00:00:00Z|2026-01-02T12:00:00Z",
        ]
    );
}

async fn deactivating_and_reactivating_keeps_the_row_and_the_link(kind: Kind) {
    let store = kind.store_with(1).await;
    let leaver = with_routes(deactivate(user(1), 1), &[]);
    store.apply_now(&batch_of(&[leaver]), &write_context()).await.unwrap();
    let look = "SELECT active, deactivated_at, via FROM learners JOIN sync_links ON learner_id = learners.id";
    assert_eq!(select(&store, look).await, [r#"0|2026-01-02T12:00:00Z|["direct"]"#]);

    let back = decision(
        user(1),
        Action::Reactivate,
        Reason::Reassigned,
        TargetRow::Linked(LearnerId::Number(1)),
        &[(Attribute::Active, Some("false"), Some("true")), (Attribute::Title, None, Some("Dean"))],
    );
    store.apply_now(&batch_of(&[with_routes(back, &[Route::Group(user(5))])]), &write_context()).await.unwrap();
    assert_eq!(select(&store, look).await, [format!(r#"1|-|["{}"]"#, user(5))]);
    assert_eq!(
        select(&store, "SELECT action, reason, changes FROM provisioning_log WHERE id > 1 ORDER BY id").await,
        [
            r#"deactivate|unassigned|[{"attribute":"active","new":false,"old":true}]"#,
            r#"reactivate|reassigned|[{"attribute":"title","new":"Dean","old":null},{"attribute":"active","new":true,"old":false}]"#,
        ]
    );
}

async fn an_unlinked_learner_is_adopted_and_a_linked_one_is_not(kind: Kind) {
    let store = kind.store_with(1).await;
    execute(&store, "INSERT INTO learners (user_name, active) VALUES ('bea@example.org', false)").await;
    let adopt = |number, learner| {
        decision(
            user(number),
            Action::Reactivate,
            Reason::Adopted,
            Adoption::of(LearnerId::Number(learner), None),
            &[(Attribute::Active, Some("false"), Some("true"))],
        )
    };
    let applied =
        store.apply_now(&batch_of(&[adopt(2, 2), adopt(3, 1), adopt(4, 99)]), &write_context()).await.unwrap();
    assert_eq!(applied.learners, [(user(2), LearnerId::Number(2))]);
    let refused = reasons(&applied.refused);
    assert_eq!(refused[0], (1, "the learner is already linked to another user".to_owned()));
    assert!(refused.len() == 2 && refused[1].1.starts_with("the learner row no longer exists"), "{refused:?}");
    let adopted = select(&store, "SELECT external_id, active, deactivated_at FROM learners WHERE id = 2").await;
    assert_eq!(adopted, [format!("{}|1|-", user(2))]);
    assert_eq!(select(&store, "SELECT learner_id FROM sync_links ORDER BY 1").await, ["1", "2"]);
}

async fn one_duplicate_among_five_hundred_is_the_only_refusal(kind: Kind) {
    let store = kind.store_with(1).await;
    let mut batch: Vec<Decision> = (2..=501).map(|n| create(user(n), &format!("user{n}@example.org"))).collect();
    batch[321] = create_with(
        user(900),
        &[(Attribute::UserName, "new"), (Attribute::Email, "USER1@example.org"), (Attribute::Active, "true")],
    );
    let applied = store.apply_now(&batch_of(&batch), &write_context()).await.unwrap();
    assert_eq!(reasons(&applied.refused), [(321, "another learner has the same email".to_owned())]);
    assert_eq!(applied.learners.len(), 499);
    assert!(applied.learners.is_sorted_by_key(|(user, _)| *user));
    let counts = "SELECT (SELECT count(*) FROM learners), (SELECT count(*) FROM sync_links),
                         (SELECT count(*) FROM provisioning_log), (SELECT count(DISTINCT entra_id) FROM sync_links)";
    assert_eq!(select(&store, counts).await, ["500|500|500|500"]);
}

async fn a_batch_of_refused_rows_writes_nothing(kind: Kind) {
    let store = kind.store_with(1).await;
    let before = store.state().await.unwrap().generation;
    let batch = [
        update(user(1), 77, &[(Attribute::Title, None, Some("x"))]),
        // The learner of another user.
        update(user(2), 1, &[(Attribute::Title, None, Some("x"))]),
        create_with(user(3), &[(Attribute::Email, "no-name@example.org")]),
        create_with(user(4), &[(Attribute::UserName, "four"), (Attribute::SecurityChampion, "perhaps")]),
        create(user(1), "somebody-known@example.org"),
    ];
    let applied = store.apply_now(&batch_of(&batch), &write_context()).await.unwrap();
    assert_eq!(applied.learners, []);
    let why: Vec<&str> = applied.refused.iter().map(|(_, why)| why.reason.as_str()).collect();
    assert_eq!(
        why,
        [
            "the learner row no longer exists",
            "the user is not linked to a learner any more",
            "user_name must have a value",
            kind.either(
                "a check of the table fails: security_champion IN (0, 1)",
                "a value does not have the type of its column",
            ),
            "another learner has the same external_id",
        ]
    );
    assert_eq!(applied.generation, before);
    assert_eq!(select(&store, "SELECT count(*), max(title) FROM learners").await, ["1|-"]);
    assert_eq!(select(&store, "SELECT count(*) FROM provisioning_log").await, ["1"]);
}

async fn an_update_that_changes_no_row_is_explained(kind: Kind) {
    let store = kind.store_with(3).await;
    execute(
        &store,
        "DELETE FROM sync_links WHERE learner_id = 2; UPDATE sync_links SET learner_id = 2 WHERE learner_id = 1",
    )
    .await;
    let triggers = kind.either(
        "CREATE TRIGGER keep BEFORE UPDATE ON learners WHEN NEW.id = 3 BEGIN SELECT RAISE(IGNORE); END;
         CREATE TRIGGER no BEFORE INSERT ON learners BEGIN SELECT RAISE(IGNORE); END",
        "CREATE FUNCTION ignore() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER keep BEFORE UPDATE ON learners FOR EACH ROW WHEN (NEW.id = 3) EXECUTE FUNCTION ignore();
         CREATE TRIGGER no BEFORE INSERT ON learners FOR EACH ROW EXECUTE FUNCTION ignore()",
    );
    execute(&store, triggers).await;
    let title = [(Attribute::Title, None, Some("x"))];
    let batch = [update(user(1), 1, &title), update(user(3), 3, &title), create(user(9), "nine@example.org")];
    let refused = store.apply_now(&batch_of(&batch), &write_context()).await.unwrap().refused;
    let why: Vec<&str> = refused.iter().map(|(_, why)| why.reason.as_str()).collect();
    assert_eq!(
        why,
        [
            "the user is linked to another learner now",
            "the database did not change the row; a trigger of the table may have prevented it",
            "the database did not create the row; a trigger of the table may have prevented it",
        ]
    );
    assert_eq!(select(&store, "SELECT count(*) FROM provisioning_log").await, ["3"]);
}

async fn a_change_that_a_trigger_undoes_is_refused(kind: Kind) {
    let store = kind.store_with(3).await;
    let triggers = kind.either(
        "CREATE TRIGGER back AFTER UPDATE ON learners WHEN NEW.id = 1 AND NEW.active = 0 BEGIN
             UPDATE learners SET active = 1 WHERE id = 1;
         END;
         CREATE TRIGGER loud AFTER UPDATE OF title ON learners BEGIN
             UPDATE learners SET title = upper(title), email = upper(email) WHERE id = NEW.id;
         END",
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN NEW.active := NEW.active OR NEW.id = 1; NEW.title := upper(NEW.title);
                 NEW.email := upper(NEW.email); RETURN NEW; END';
         CREATE TRIGGER meddle BEFORE UPDATE ON learners FOR EACH ROW EXECUTE FUNCTION meddle()",
    );
    execute(&store, triggers).await;
    let title = [(Attribute::Title, None, Some("Clerk"))];
    let mut with_detail = update(user(3), 3, &title);
    with_detail.detail = Some("first day".to_owned());
    let batch = [update(user(2), 2, &title), with_detail, deactivate(user(1), 1)];
    let applied = store.apply_now(&batch_of(&batch), &write_context()).await.unwrap();
    let why = "the learner is still active after the change; a trigger of the table may have undone it";
    assert_eq!(reasons(&applied.refused), [(2, why.to_owned())]);
    assert_eq!(
        select(&store, "SELECT id, active, title FROM learners ORDER BY id").await,
        ["1|1|-", "2|1|CLERK", "3|1|CLERK"]
    );
    // Letter case of an address is not a discrepancy.
    let otherwise = "the table has another value in title; it may have a trigger";
    assert_eq!(
        select(&store, "SELECT action, status, detail FROM provisioning_log WHERE id > 3 ORDER BY id").await,
        [format!("update|success|{otherwise}"), format!("update|success|first day; {otherwise}")]
    );
}

async fn a_trigger_may_delete_a_deactivated_row(kind: Kind) {
    let store = kind.store_with(2).await;
    let trigger = kind.either(
        "CREATE TRIGGER away AFTER UPDATE ON learners WHEN NEW.title = 'x' OR NOT NEW.active BEGIN
             DELETE FROM learners WHERE id = NEW.id;
         END",
        "CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN DELETE FROM learners WHERE id = NEW.id; RETURN NULL; END';
         CREATE TRIGGER away AFTER UPDATE ON learners FOR EACH ROW WHEN (NEW.title = 'x' OR NOT NEW.active)
             EXECUTE FUNCTION away()",
    );
    execute(&store, trigger).await;
    let batch = [update(user(2), 2, &[(Attribute::Title, None, Some("x"))]), deactivate(user(1), 1)];
    let refused = store.apply_now(&batch_of(&batch), &write_context()).await.unwrap().refused;
    let why = "the row does not exist after the change; a trigger of the table may have undone it";
    assert_eq!(reasons(&refused), [(0, why.to_owned())]);
    assert_eq!(
        select(&store, "SELECT r.id, l.learner_id FROM learners r JOIN sync_links l ON l.learner_id = r.id").await,
        ["2|2"]
    );
    assert_eq!(
        select(&store, "SELECT action, status, detail FROM provisioning_log WHERE id > 2").await,
        ["deactivate|success|the row was deleted after the change; the table may have a trigger"]
    );
}

async fn a_state_that_another_program_changed_is_not_overwritten(kind: Kind) {
    let store = kind.store_with(2).await;
    execute(&store, "UPDATE learners SET active = false WHERE id = 1").await;
    let active = [(Attribute::Active, Some("false"), Some("true"))];
    let back = Decision { action: Action::Reactivate, ..update(user(2), 2, &active) };
    let refused = store.apply_now(&batch_of(&[deactivate(user(1), 1), back]), &write_context()).await.unwrap().refused;
    let why = "another program changed the state of the learner meanwhile; the next cycle checks it again";
    assert_eq!(reasons(&refused), [(0, why.to_owned()), (1, why.to_owned())]);
    assert_eq!(select(&store, "SELECT deactivated_at FROM learners ORDER BY id").await, ["-", "-"]);
}

async fn a_new_row_that_a_trigger_deactivates_is_reported(kind: Kind) {
    let store = kind.store_with(0).await;
    let trigger = kind.either(
        "CREATE TRIGGER off AFTER INSERT ON learners BEGIN UPDATE learners SET active = 0 WHERE id = NEW.id; END",
        "CREATE FUNCTION off() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.active := false; RETURN NEW; END';
         CREATE TRIGGER off BEFORE INSERT ON learners FOR EACH ROW EXECUTE FUNCTION off()",
    );
    execute(&store, trigger).await;
    assert_eq!(
        store.apply_now(&batch_of(&[create(user(1), "ada@example.org")]), &write_context()).await.unwrap().refused,
        []
    );
    let logged = "success|the table has another value in active; it may have a trigger";
    assert_eq!(select(&store, "SELECT status, detail FROM provisioning_log").await, [logged]);
}

async fn rows_are_read_back_where_something_can_change_them(kind: Kind) {
    let suspects: &[&str] = kind.either(
        &[
            "CREATE TRIGGER t AFTER UPDATE ON learners BEGIN SELECT 1; END",
            "CREATE TRIGGER t AFTER INSERT ON sync_links BEGIN SELECT 1; END",
            "CREATE TRIGGER t AFTER INSERT ON audit_log BEGIN UPDATE \"Learners\" SET active = 0; END",
        ],
        &[
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER t BEFORE UPDATE ON learners FOR EACH ROW EXECUTE FUNCTION f()",
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER t BEFORE INSERT ON sync_links FOR EACH ROW EXECUTE FUNCTION f()",
            "CREATE TABLE contractors () INHERITS (learners)",
            "CREATE RULE r AS ON DELETE TO learners DO ALSO SELECT 1",
            "ALTER TABLE learners ALTER title TYPE varchar(100)",
            "ALTER TABLE learners ALTER title TYPE char(100)",
        ],
    );
    for suspect in suspects {
        let store = kind.store_with(0).await;
        let applied =
            store.apply_now(&batch_of(&[create(user(1), "ada@example.org")]), &write_context()).await.unwrap();
        assert!(!applied.read_back, "before {suspect}");
        execute(&store, suspect).await;
        let applied =
            store.apply_now(&batch_of(&[create(user(2), "bob@example.org")]), &write_context()).await.unwrap();
        assert!(applied.read_back, "{suspect}");
        assert_eq!((applied.learners.len(), reasons(&applied.refused)), (1, vec![]), "{suspect}");
    }
}

async fn the_id_of_a_deleted_learner_is_not_used_again(kind: Kind) {
    let store = kind.store_with(2).await;
    execute(&store, "DELETE FROM learners WHERE id = 2").await;
    let applied = store.apply_now(&batch_of(&[create(user(7), "ada@example.org")]), &write_context()).await.unwrap();
    assert_eq!(applied.learners, [(user(7), LearnerId::Number(3))]);
    assert_eq!(select(&store, "SELECT id FROM learners WHERE user_name = 'ada@example.org'").await, ["3"]);
}

async fn a_learner_is_relinked_from_one_user_to_another(kind: Kind) {
    let store = kind.store_with(2).await;
    execute(
        &store,
        "INSERT INTO sync_failures (source, entra_id, reason, detail, first_at, last_at, attempts)
             VALUES ('contoso.example/aaaaaaaa-0000-4000-8000-000000000001',
        '00000000-0000-4000-8000-000000000001', 'waiting', NULL, '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z', 1)",
    )
    .await;
    let relink = |from| {
        let target = Adoption::of(LearnerId::Number(1), Some(user(from)));
        decision(user(7), Action::Update, Reason::Relinked, target, &[(Attribute::Title, None, Some("x"))])
    };
    let refused = store.apply_now(&batch_of(&[relink(2)]), &write_context()).await.unwrap().refused;
    assert_eq!(reasons(&refused), [(0, format!("the learner is not linked to {} any more", user(2)))]);
    let applied = store.apply_now(&batch_of(&[relink(1)]), &write_context()).await.unwrap();
    assert_eq!(applied.learners, [(user(7), LearnerId::Number(1))]);
    let links = select(&store, "SELECT entra_id, learner_id FROM sync_links ORDER BY learner_id").await;
    assert_eq!(links, [format!("{}|1", user(7)), format!("{}|2", user(2))]);
    assert_eq!(
        select(&store, "SELECT external_id, title FROM learners WHERE id = 1").await,
        [format!("{}|x", user(7))]
    );
    assert_eq!(select(&store, "SELECT count(*) FROM sync_failures").await, ["0"]);
}

async fn a_linked_user_gets_no_second_learner(kind: Kind) {
    let store = kind.store_with(1).await;
    execute(&store, "UPDATE learners SET external_id = NULL").await;
    let applied = store.apply_now(&batch_of(&[create(user(1), "again@example.org")]), &write_context()).await.unwrap();
    assert_eq!(reasons(&applied.refused), [(0, "the user is already linked to another learner".to_owned())]);
    assert_eq!(select(&store, "SELECT count(*) FROM learners").await, ["1"]);

    // A link whose learner was deleted without its foreign key does not count.
    let delete = kind.either(
        "PRAGMA foreign_keys = OFF; DELETE FROM learners; PRAGMA foreign_keys = ON",
        "SET session_replication_role = replica; DELETE FROM learners; RESET session_replication_role",
    );
    execute(&store, delete).await;
    let applied = store.apply_now(&batch_of(&[create(user(1), "again@example.org")]), &write_context()).await.unwrap();
    assert_eq!(reasons(&applied.refused), []);
    let linked = "SELECT entra_id, learner_id = (SELECT max(id) FROM learners) FROM sync_links";
    assert_eq!(select(&store, linked).await, [format!("{}|1", user(1))]);
}

async fn addresses_are_swapped_and_passed_on_in_one_batch(kind: Kind) {
    let store = kind.store_with(4).await;
    let rename = |number: u32, old: &str, new: &str| {
        let changes = [(Attribute::UserName, Some(old), Some(new)), (Attribute::Email, Some(old), Some(new))];
        update(user(number), number.into(), &changes)
    };
    let batch = [
        rename(1, "user1@example.org", "user2@example.org"),
        rename(2, "user2@example.org", "USER1@example.org"),
        create(user(9), "user3@example.org"),
        rename(3, "user3@example.org", "user4@example.org"),
        rename(4, "user4@example.org", "user5@example.org"),
    ];
    let applied = store.apply_now(&batch_of(&batch), &write_context()).await.unwrap();
    assert_eq!(reasons(&applied.refused), []);
    let look = "SELECT user_name, email FROM learners ORDER BY id";
    let expected = [
        "user2@example.org|user2@example.org",
        "USER1@example.org|USER1@example.org",
        "user4@example.org|user4@example.org",
        "user5@example.org|user5@example.org",
        "user3@example.org|user3@example.org",
    ];
    assert_eq!(select(&store, look).await, expected);

    // A refused row elsewhere in the batch does not separate them.
    let store = kind.store_with(4).await;
    let mut batch = batch.to_vec();
    batch.insert(1, update(user(1), 88, &[(Attribute::Title, None, Some("x"))]));
    let applied = store.apply_now(&batch_of(&batch), &write_context()).await.unwrap();
    assert_eq!(reasons(&applied.refused), [(5, "the learner row no longer exists".to_owned())]);
    assert_eq!(select(&store, look).await, expected);
}

async fn a_change_that_needs_a_refused_one_is_refused_too(kind: Kind) {
    let store = kind.store_with(2).await;
    let taken = create(user(3), "user3@example.org");
    store.apply_now(&batch_of(&[taken]), &write_context()).await.unwrap();
    let rename = |number: u32, old: &str, new: &str| {
        update(user(number), number.into(), &[(Attribute::UserName, Some(old), Some(new))])
    };
    let batch = [
        rename(1, "user1@example.org", "user2@example.org"),
        rename(2, "user2@example.org", "user3@example.org"),
        create(user(4), "user4@example.org"),
    ];
    let applied = store.apply_now(&batch_of(&batch), &write_context()).await.unwrap();
    let why = "another learner has the same user_name".to_owned();
    assert_eq!(reasons(&applied.refused), [(0, why.clone()), (1, why)]);
    assert_eq!(applied.learners.len(), 1);
    assert_eq!(
        select(&store, "SELECT user_name FROM learners WHERE id < 3 ORDER BY id").await,
        ["user1@example.org", "user2@example.org"]
    );
}

async fn letter_case_does_not_make_names_different(kind: Kind) {
    let store = kind.store_with(1).await;
    let batch = [
        create_with(user(2), &[(Attribute::UserName, "USER1@EXAMPLE.ORG")]),
        create_with(user(3), &[(Attribute::UserName, "ÅSA"), (Attribute::Email, "ÅSA")]),
        create_with(user(4), &[(Attribute::UserName, "åsa"), (Attribute::Email, "åsa")]),
        // Several learners may lack an e-mail address.
        create_with(user(5), &[(Attribute::UserName, "five")]),
        create_with(user(6), &[(Attribute::UserName, "six")]),
    ];
    let applied = store.apply_now(&batch_of(&batch), &write_context()).await.unwrap();
    assert_eq!(reasons(&applied.refused), [(0, "another learner has the same user_name".to_owned())]);
    let respelled = [(Attribute::UserName, Some("user1@example.org"), Some("User1@Example.org"))];
    assert_eq!(
        store.apply_now(&batch_of(&[update(user(1), 1, &respelled)]), &write_context()).await.unwrap().refused,
        []
    );
}

async fn any_text_is_stored_as_it_is(kind: Kind) {
    let store = kind.store_with(0).await;
    let long = "x".repeat(10_000);
    let texts =
        ["O'Brien \"; DROP TABLE learners; --", "a\u{1}\t\r\n\u{7f}b", &long, "Zoë 👩‍🚀 日本 \u{202e}", "", "$1 ? %s"];
    let batch: Vec<Decision> = texts
        .iter()
        .zip(1..)
        .map(|(text, n)| {
            let user_name = format!("user{n}");
            create_with(user(n), &[(Attribute::UserName, user_name.as_str()), (Attribute::LastName, *text)])
        })
        .collect();
    assert_eq!(store.apply_now(&batch_of(&batch), &write_context()).await.unwrap().refused, []);
    let users: Vec<EntraId> = (1..=6).map(user).collect();
    let rows = store.rows(SOURCE, &users, &[Attribute::LastName]).await.unwrap();
    let stored: Vec<Option<&str>> = rows.values().map(|row| row.values.text(Attribute::LastName)).collect();
    assert_eq!(stored, texts.map(Some));
    let log = store.log(&LogFilter::default()).await.unwrap().rows;
    assert!(log.iter().zip(texts).all(|(row, text)| row.changes[1]["new"] == text));
}

async fn a_change_ends_the_failure_and_the_hold_of_its_user(kind: Kind) {
    let store = kind.store_with(2).await;
    execute(
        &store,
        "INSERT INTO sync_held (source, entra_id, action, reason, since)
             SELECT source, entra_id, 'deactivate', 'threshold', '2026-01-01T00:00:00Z' FROM sync_links;
         INSERT INTO sync_failures (source, entra_id, reason, first_at, last_at, attempts)
             SELECT source, entra_id, 'conflict', since, since, 1 FROM sync_held",
    )
    .await;
    store.apply_now(&batch_of(&[deactivate(user(1), 1)]), &write_context()).await.unwrap();
    let left = user(2).to_string();
    assert_eq!(select(&store, "SELECT entra_id FROM sync_held").await, [left.as_str()]);
    assert_eq!(select(&store, "SELECT entra_id FROM sync_failures").await, [left.as_str()]);
}

async fn a_rehearsal_reports_refusals_and_changes_nothing(kind: Kind) {
    let store = kind.store_with(2).await;
    let before = (store.state().await.unwrap(), select(&store, "SELECT * FROM learners ORDER BY id").await);
    let batch = [create(user(3), "USER2@example.org"), create(user(4), "user4@example.org"), deactivate(user(1), 1)];
    let refused = store.rehearse(&batch_of(&batch), &write_context()).await.unwrap();
    assert_eq!(refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0]);
    assert_eq!((store.state().await.unwrap(), select(&store, "SELECT * FROM learners ORDER BY id").await), before);
    assert_eq!(select(&store, "SELECT count(*) FROM provisioning_log").await, ["2"]);
    assert_eq!(store.apply_now(&batch_of(&batch), &write_context()).await.unwrap().refused, refused);
}

#[tokio::test]
async fn a_full_disk_fails_the_whole_batch_and_the_store_stays_usable() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("learners.db"), Access::ReadWrite).await.unwrap();
    fill(&store, 10).await;
    execute(&store, "PRAGMA max_page_count = 1").await;
    let pages: i64 = select(&store, "PRAGMA max_page_count").await[0].parse().unwrap();
    let long = "x".repeat(100_000);
    let batch: Vec<Decision> = (11..=60)
        .map(|n| {
            let user_name = format!("user{n}");
            create_with(user(n), &[(Attribute::UserName, user_name.as_str()), (Attribute::Title, &long)])
        })
        .collect();
    assert!(matches!(
        store.apply_now(&batch_of(&batch), &write_context()).await,
        Err(StoreError::Database(DbError::Full { .. }))
    ));
    assert_eq!(select(&store, "SELECT count(*) FROM learners").await, ["10"]);
    assert!(pages > 1);
    execute(&store, "PRAGMA max_page_count = 100000").await;
    assert_eq!(store.apply_now(&batch_of(&batch), &write_context()).await.unwrap().learners.len(), 50);
}

async fn a_dropped_transaction_leaves_no_change_and_no_lock(kind: Kind) {
    let directory = tempfile::tempdir().unwrap();
    let place = match kind {
        Kind::Sqlite => DatabaseLocation::File(directory.path().join("learners.db")),
        Kind::Postgres(server) => DatabaseLocation::Server(at(server, &server.database().await)),
    };
    let store = Store::open(place.clone(), Access::ReadWrite).await.unwrap();
    let other = Store::open(place, Access::ReadWrite).await.unwrap();
    store.begin_cycle(SOURCE, Trigger::Command, noon()).await.unwrap();

    let (changed, is_changed) = tokio::sync::oneshot::channel();
    let endless = store.write(async |connection| {
        connection.script("UPDATE sync_state SET paused = true").await?;
        changed.send(()).unwrap();
        std::future::pending::<Result<(), StoreError>>().await
    });
    tokio::select! {
        _ = endless => panic!("the transaction never ends"),
        received = is_changed => received.unwrap(),
    }
    // The next use of the store rolls back.
    assert!(!store.state().await.unwrap().paused);
    other.set_paused(false, "root", noon()).await.unwrap();

    // Dropped at every point where `apply` waits: after one poll, after two, and so on. On a busy machine there are few.
    let batch: Vec<Decision> = (1..=10).map(|number| create(user(number), &format!("user{number}"))).collect();
    let batch = batch_of(&batch);
    for polls in 0.. {
        let context = write_context();
        let mut writing = Box::pin(store.apply_now(&batch, &context));
        let mut polled = 0;
        let ended = std::future::poll_fn(|context| {
            polled += 1;
            if polled > polls { std::task::Poll::Ready(None) } else { writing.as_mut().poll(context).map(Some) }
        })
        .await;
        drop(writing);
        let learners = select(&store, "SELECT count(*) FROM learners").await.concat();
        // The commit of a dropped transaction may have succeeded.
        assert!(["0", "10"].contains(&&*learners), "{learners} after {polls} polls");
        other.set_paused(false, "root", noon()).await.unwrap();
        if ended.is_some() || learners == "10" {
            break;
        }
    }
    assert_eq!(
        store.apply_now(&batch_of(&[create(user(11), "user11")]), &write_context()).await.unwrap().learners.len(),
        1
    );
    assert_eq!(select(&store, "SELECT count(*) FROM learners").await, ["11"]);
}
