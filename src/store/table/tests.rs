//! External tables on real databases: which are usable, and the reported problems of the others.

use super::external::read_external_layout;
use super::layout::{Key, Layout};
use crate::model::{Attribute, Column, ColumnConstant, StateLabels, Table};
use crate::store::StoreError;
use crate::store::tests::{Kind, on_both};

on_both! {
    a_table_with_other_names_and_types_fits,
    every_difference_is_reported_with_the_statement_that_fixes_it,
    a_unique_index_may_take_many_forms,
    a_table_without_configured_columns_has_our_form,
    a_typo_in_a_name_gets_a_suggestion,
    a_missing_table_and_a_view_are_reported,
    names_are_quoted_exactly,
}

/// A configured table `accounts` with these column names.
fn accounts(columns: &[(Column, &str)]) -> Table {
    let columns = columns.iter().map(|(column, name)| (*column, (*name).to_owned())).collect();
    Table {
        schema: None,
        name: "accounts".to_owned(),
        columns,
        mapped: vec![Attribute::UserName, Attribute::Email, Attribute::Active, Attribute::Title],
        state_labels: None,
        generate: None,
        constants: [].into(),
        limits: [].into(),
        positions: [("learners.table".to_owned(), "learner-sync.toml:7:9".to_owned())].into(),
    }
}

const NAMED: [(Column, &str); 5] = [
    (Column::Id, "uid"),
    (Column::Attribute(Attribute::UserName), "login"),
    (Column::Attribute(Attribute::Email), "mail"),
    (Column::Attribute(Attribute::Active), "enabled"),
    (Column::Attribute(Attribute::Title), "role"),
];

async fn read_layout(kind: Kind, sql: &str, described: &Table) -> Result<Layout, Vec<String>> {
    let store = kind.empty_store().await;
    let mut connection = store.connection().await;
    connection.script(sql).await.unwrap();
    match read_external_layout(&mut connection, described).await {
        Ok(layout) => Ok(layout),
        Err(StoreError::Table { faults }) => Err(faults.iter().map(ToString::to_string).collect()),
        Err(error) => panic!("{error:?}"),
    }
}

fn on_postgres(kind: Kind) -> bool {
    matches!(kind, Kind::Postgres(_))
}

async fn a_table_with_other_names_and_types_fits(kind: Kind) {
    let words = Some(StateLabels { on: "enabled".to_owned(), off: "it's over".to_owned() });
    let numbers = "CREATE TABLE accounts (uid INTEGER PRIMARY KEY, login TEXT UNIQUE, mail varchar(200) UNIQUE, enabled
        smallint NOT NULL, role TEXT, quota int NOT NULL, note text DEFAULT 'x', updated_at int)";
    let numbers = if on_postgres(kind) {
        numbers.replace("INTEGER PRIMARY KEY", "serial PRIMARY KEY")
    } else {
        numbers.to_owned()
    };
    let constants = [("quota".to_owned(), ColumnConstant::Number(5))].into();
    let layout = read_layout(kind, &numbers, &Table { constants, ..accounts(&NAMED) }).await.unwrap();
    assert_eq!(layout.key, Key::Number);
    assert_eq!(layout.active("r"), r#"coalesce((r."enabled" <> 0), false)"#);
    // The configuration does not name it.
    assert_eq!(layout.name(Column::UpdatedAt), None);
    assert_eq!(layout.deactivated("r", "l"), "l.switched_off_at IS NOT NULL");

    let (uuid, now) = if on_postgres(kind) {
        ("uuid PRIMARY KEY DEFAULT gen_random_uuid()", "timestamp")
    } else {
        ("TEXT PRIMARY KEY DEFAULT ('0a1b2c3d-0000-4000-8000-00000000000' || abs(random() % 10))", "DATETIME")
    };
    let uuids = format!(
        "CREATE TABLE accounts (uid {uuid}, login TEXT NOT NULL UNIQUE, mail TEXT UNIQUE, enabled varchar(20) NOT NULL,
             role TEXT, updated_at {now}, external_id text UNIQUE)"
    );
    let mut named = Table { state_labels: words, ..accounts(&NAMED) };
    named.columns.insert(Column::UpdatedAt, "updated_at".to_owned());
    let layout = read_layout(kind, &uuids, &named).await.unwrap();
    assert_eq!(layout.key, if on_postgres(kind) { Key::Uuid } else { Key::Text("TEXT".into()) });
    assert_eq!(layout.active("r"), r#"coalesce((r."enabled" = 'enabled'), false)"#);
    assert_eq!((layout.name(Column::UpdatedAt), layout.name(Column::CreatedAt)), (Some(r#""updated_at""#), None));
    assert_eq!(layout.external_id("r."), None, "the platform's own, called as one of ours");
}

async fn a_table_without_configured_columns_has_our_form(kind: Kind) {
    let (id, at) =
        if on_postgres(kind) { ("serial PRIMARY KEY", "timestamptz") } else { ("INTEGER PRIMARY KEY", "TEXT") };
    let sql = format!(
        "CREATE TABLE accounts (id {id}, external_id text UNIQUE, user_name text UNIQUE, email text UNIQUE, active boolean,
             title text, created_at {at}, updated_at int)"
    );
    let layout = read_layout(kind, &sql, &accounts(&[])).await.unwrap();
    assert_eq!(layout.external_id("r."), Some(r#"r."external_id""#.to_owned()));
    // It has another type, so it is a column of the platform.
    let [created, updated] = [Column::CreatedAt, Column::UpdatedAt].map(|column| layout.name(column));
    assert_eq!((created, updated), (Some(r#""created_at""#), None));
}

async fn a_typo_in_a_name_gets_a_suggestion(kind: Kind) {
    let id = if on_postgres(kind) { "serial PRIMARY KEY" } else { "INTEGER PRIMARY KEY" };
    let sql = format!(
        "CREATE TABLE accounts (uid {id}, login text UNIQUE, mail text UNIQUE, enabled boolean, rolle text, tenant text,
             external_id text NOT NULL)"
    );
    let mut described = accounts(&NAMED);
    described.constants.insert("tennant".to_owned(), ColumnConstant::Text("x".to_owned()));
    assert_eq!(
        read_layout(kind, &sql, &described).await.unwrap_err(),
        [
            r#"learner-sync.toml:7:9: learners.columns.title: the table accounts has no column "role"; did you mean `rolle`?"#,
            r#"learner-sync.toml:7:9: learners.constants.tennant: the table accounts has no column "tennant"; did you mean `tenant`?"#,
            r#"learner-sync.toml:7:9: learners.table: the column "external_id" requires a value and has no default: write external_id = "external_id" in [learners.columns], or give it a value in [learners.constants]"#,
        ]
    );
}

async fn every_difference_is_reported_with_the_statement_that_fixes_it(kind: Kind) {
    let computed = "role text GENERATED ALWAYS AS ('clerk') STORED";
    let sql = format!(
        "CREATE TABLE accounts (uid int, login varchar(20) UNIQUE, mail text, enabled text, {computed}, tenant text NOT NULL,
             quota int NOT NULL DEFAULT 3)"
    );
    let mut described = accounts(&NAMED[..4]);
    described.columns.insert(Column::Attribute(Attribute::Title), "role".to_owned());
    described.columns.insert(Column::Attribute(Attribute::Department), "unit".to_owned());
    described.positions.insert("learners.columns.department".to_owned(), "learner-sync.toml:9:14".to_owned());
    described.constants.insert("shoe_size".to_owned(), ColumnConstant::Number(43));
    let problems = read_layout(kind, &sql, &described).await.unwrap_err();
    let problems: Vec<String> = problems.into_iter().map(|line| line.replace("of type TEXT", "of type text")).collect();
    let to_mend = |statement: &str| {
        let anew = "; SQLite cannot change a column: create the table again".to_owned();
        if on_postgres(kind) { format!("; to fix it: {statement};") } else { anew }
    };
    let unique = |expression: &str| {
        if on_postgres(kind) {
            format!(r#"lower("{expression}" COLLATE "C")"#)
        } else {
            format!(r#""{expression}" COLLATE NOCASE"#)
        }
    };
    let expect = [
        r#"learner-sync.toml:7:9: learners.columns.id: the column "uid" has no default, so no row can be created"#.to_owned(),
        format!(
            r#"learner-sync.toml:7:9: learners.columns.user_name: the column "login" holds 20 characters, but needs 113{}"#,
            to_mend(r#"ALTER TABLE "accounts" ALTER COLUMN "login" TYPE varchar(113)"#)
        ),
        r#"learner-sync.toml:7:9: learners.columns.active: the column "enabled" is of type text, not boolean or a whole number; for a text column write active = { column = "enabled", true = "…", false = "…" }"#.to_owned(),
        r#"learner-sync.toml:7:9: learners.columns.title: the column "role" is computed by the database"#.to_owned(),
        r#"learner-sync.toml:9:14: learners.columns.department: the table accounts has no column "unit"; to fix it: ALTER TABLE "accounts" ADD COLUMN "unit" text;"#.to_owned(),
        r#"learner-sync.toml:7:9: learners.columns.id: the column "uid" has no unique index of its own, so two learners could have the same value; to fix it: CREATE UNIQUE INDEX "accounts_uid_key" ON "accounts" ("uid");"#.to_owned(),
        format!(
            r#"learner-sync.toml:7:9: learners.columns.email: the column "mail" has no unique index of its own, so two learners could have the same value; to fix it: CREATE UNIQUE INDEX "accounts_mail_key" ON "accounts" ({});"#,
            unique("mail")
        ),
        r#"learner-sync.toml:7:9: learners.constants.shoe_size: the table accounts has no column "shoe_size""#.to_owned(),
        r#"learner-sync.toml:7:9: learners.table: the column "tenant" requires a value and has no default: give it one in [learners.constants], or map an attribute to it"#.to_owned(),
    ];
    assert_eq!(problems, expect);
}

async fn a_unique_index_may_take_many_forms(kind: Kind) {
    let table = |login: &str| {
        let id = if on_postgres(kind) { "serial PRIMARY KEY" } else { "INTEGER PRIMARY KEY" };
        format!(
            "CREATE TABLE accounts (uid {id}, login varchar(200), tenant int, mail text UNIQUE, enabled boolean, role text);
             {login}"
        )
    };
    for good in [
        "ON accounts (login)",
        "ON accounts (lower(login))",
        "ON accounts (login) WHERE login IS NOT NULL",
        "ON accounts (lower(login)) WHERE login IS NOT NULL",
        "ON accounts (login DESC)",
        "ON accounts (lower(login) DESC)",
    ] {
        let sql = table(&format!("CREATE UNIQUE INDEX i {good}"));
        assert_eq!(read_layout(kind, &sql, &accounts(&NAMED)).await.map(drop), Ok(()), "{good}");
    }
    let by_letters = if on_postgres(kind) { r#"lower(login COLLATE "C")"# } else { "login COLLATE NOCASE" };
    let sql = table(&format!("CREATE UNIQUE INDEX i ON accounts ({by_letters})"));
    assert_eq!(read_layout(kind, &sql, &accounts(&NAMED)).await.map(drop), Ok(()));
    for bad in [
        "CREATE INDEX i ON accounts (login)",
        "CREATE UNIQUE INDEX i ON accounts (tenant, login)",
        "CREATE UNIQUE INDEX i ON accounts (login) WHERE tenant = 1",
        "CREATE UNIQUE INDEX i ON accounts (upper(login))",
        "ALTER TABLE accounts ADD COLUMN desclogin text; CREATE UNIQUE INDEX i ON accounts (desclogin)",
    ] {
        let problems = read_layout(kind, &table(bad), &accounts(&NAMED)).await.unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(r#""login" has no unique index"#), "{bad}: {problems:?}");
    }
}

async fn a_missing_table_and_a_view_are_reported(kind: Kind) {
    let problems = read_layout(kind, "SELECT 1", &accounts(&NAMED)).await.unwrap_err();
    assert_eq!(problems, ["learner-sync.toml:7:9: learners.table: the table accounts does not exist"]);
    let problems = read_layout(kind, "CREATE VIEW accounts AS SELECT 1 AS uid", &accounts(&NAMED)).await.unwrap_err();
    assert_eq!(problems, ["learner-sync.toml:7:9: learners.table: accounts is a view, not a table"]);
    let elsewhere = Table { schema: Some("app".to_owned()), ..accounts(&NAMED) };
    let problems = read_layout(kind, "SELECT 1", &elsewhere).await.unwrap_err();
    assert_eq!(problems, ["learner-sync.toml:7:9: learners.table: the table app.accounts does not exist"]);
}

async fn names_are_quoted_exactly(kind: Kind) {
    let name = r#"Us"er $1 'accounts'; --?"#;
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    let id = if on_postgres(kind) { "serial PRIMARY KEY" } else { "INTEGER PRIMARY KEY" };
    let sql = format!(
        r#"CREATE TABLE {quoted} (uid {id}, "log $2 in" text UNIQUE, "select" text UNIQUE, "Enabled?" boolean, role text)"#
    );
    let described = Table {
        name: name.to_owned(),
        ..accounts(&[
            NAMED[0],
            NAMED[4],
            (Column::Attribute(Attribute::UserName), "log $2 in"),
            (Column::Attribute(Attribute::Email), "select"),
            (Column::Attribute(Attribute::Active), "Enabled?"),
        ])
    };
    let layout = read_layout(kind, &sql, &described).await.unwrap();
    assert_eq!(layout.table, quoted);
    assert_eq!(layout.attribute(Attribute::UserName), r#""log $2 in""#);
}

#[tokio::test]
async fn postgres_types_are_classified() {
    let Some(server) = crate::store::tests::server::shared() else { return };
    let kind = Kind::Postgres(server);
    let words = Some(StateLabels { on: "on duty".to_owned(), off: "gone".to_owned() });
    let sql = "CREATE TYPE duty AS ENUM ('on duty', 'away'); CREATE DOMAIN login_name AS varchar(150) NOT NULL;
        CREATE TABLE accounts (uid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, login login_name UNIQUE, mail text UNIQUE,
            enabled duty, role char(20), external_id uuid UNIQUE, born date)";
    let described = Table {
        state_labels: words,
        constants: [("born".to_owned(), ColumnConstant::Text("never".to_owned()))].into(),
        ..accounts(&NAMED)
    };
    let mut described = described;
    described.columns.insert(Column::ExternalId, "external_id".to_owned());
    let problems = read_layout(kind, sql, &described).await.unwrap_err();
    assert_eq!(
        problems,
        [
            r#"learner-sync.toml:7:9: learners.columns.active: the type duty of the column "enabled" has no value "gone"; to fix it: ALTER TYPE duty ADD VALUE 'gone';"#,
            r#"learner-sync.toml:7:9: learners.columns.title: the column "role" is of type character(20), not text; to fix it: ALTER TABLE "accounts" ALTER COLUMN "role" TYPE text;"#,
            r#"learner-sync.toml:7:9: learners.constants.born: does not fit the column "born" of type date"#,
        ]
    );
    // A typo gets a suggestion, not a new label.
    let typo = Some(StateLabels { on: "on dutty".to_owned(), off: "away".to_owned() });
    let problems = read_layout(kind, sql, &Table { state_labels: typo, ..described.clone() }).await.unwrap_err();
    assert_eq!(
        problems[0],
        r#"learner-sync.toml:7:9: learners.columns.active: the type duty of the column "enabled" has no value "on dutty"; did you mean `on duty`?"#
    );
    let fixed = format!("{sql}; ALTER TYPE duty ADD VALUE 'gone'; ALTER TABLE accounts ALTER role TYPE text");
    let constants = [("born".to_owned(), ColumnConstant::Text("2000-01-01".to_owned()))].into();
    let layout = read_layout(kind, &fixed, &Table { constants, ..described }).await.unwrap();
    assert_eq!(layout.cast_of(Column::Attribute(Attribute::Active), "v.column3"), "v.column3::duty");
    assert_eq!(layout.external_id("r."), Some(r#"r."external_id"::text"#.to_owned()));
}

#[tokio::test]
async fn letter_case_and_partitions_matter_on_postgres() {
    let Some(server) = crate::store::tests::server::shared() else { return };
    let kind = Kind::Postgres(server);
    let table = |more: &str| {
        format!(
            r#"CREATE TABLE accounts (uid serial PRIMARY KEY, login text, "Login" text UNIQUE, mail text UNIQUE, enabled boolean,
                 role text) {more}"#
        )
    };
    let problems = read_layout(kind, &table(""), &accounts(&NAMED)).await.unwrap_err();
    assert!(problems.len() == 1 && problems[0].contains(r#""login" has no unique index"#), "{problems:?}");
    let partitioned =
        "CREATE TABLE accounts (uid int PRIMARY KEY DEFAULT 7, login text, mail text, enabled boolean, role text)
        PARTITION BY HASH (uid)";
    let problems = read_layout(kind, partitioned, &accounts(&NAMED)).await.unwrap_err();
    let expect = "has no unique index of its own, so two learners could have the same value; a partitioned table cannot have one: \
                  use a plain table for learners";
    assert!(problems.len() == 2 && problems.iter().all(|line| line.ends_with(expect)), "{problems:?}");
}
