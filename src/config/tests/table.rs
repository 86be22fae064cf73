//! An external learners table.

use super::*;
use crate::model::{Column, ColumnConstant, StateLabels, Table};

fn table(text: &str) -> Table {
    load_text(&format!("{REQUIRED}\n{text}"), &[]).unwrap().learners.table.unwrap()
}

#[test]
fn a_table_is_described_with_its_columns_and_constants() {
    let described = table(
        r#"
[learners]
table = 'app."User Accounts"'
[learners.columns]
id = "uid"
user_name = "login"
active = { column = "status", true = "enabled", false = "disabled" }
[learners.constants]
tenant = "acme"
quota = 5
"created_at" = "2026-01-01"
trial = false
"#,
    );
    assert_eq!((described.schema.as_deref(), described.name.as_str()), (Some("app"), "User Accounts"));
    let columns = [Column::Id, Column::Attribute(Attribute::UserName), Column::Attribute(Attribute::Active)];
    assert_eq!(columns.map(|column| described.column(column)), ["uid", "login", "status"]);
    assert_eq!(described.column(Column::Attribute(Attribute::Title)), "title");
    assert_eq!(described.state_labels, Some(StateLabels { on: "enabled".to_owned(), off: "disabled".to_owned() }));
    let constants = [
        ("created_at", ColumnConstant::Text("2026-01-01".to_owned())),
        ("quota", ColumnConstant::Number(5)),
        ("tenant", ColumnConstant::Text("acme".to_owned())),
        ("trial", ColumnConstant::Boolean(false)),
    ];
    assert_eq!(described.constants, constants.map(|(name, constant)| (name.to_owned(), constant)).into());
    assert!(described.mapped.contains(&Attribute::Department) && !described.mapped.contains(&Attribute::JobRole));
    // A column without a key has the position of the table name.
    let positions =
        ["learners.columns.user_name", "learners.columns.title"].map(|key| described.position_of(key).unwrap());
    assert_eq!(positions, ["/etc/learner-sync/learner-sync.toml:13:13", "/etc/learner-sync/learner-sync.toml:10:9"]);

    assert_eq!(table("[learners.constants]\ntenant = 1").name, "learners");
    assert_eq!(load_text(REQUIRED, &[]).unwrap().learners.table, None);
    let named = [("LEARNER_SYNC_LEARNERS__TABLE", "app.people")];
    assert_eq!(load_text(REQUIRED, &named).unwrap().learners.table.unwrap().name, "people");
}

#[test]
fn every_problem_of_a_table_has_its_line() {
    assert_snapshot!(problems(
        r#"
[entra.credential]
[learners]
table = "a.b.c"
[learners.columns]
nickname = "nick"
usr_name = "login"
title = "role"
department = "role"
first_name = 7
last_name = ""
active = { column = "status", true = "on" }
external_id = "email"
[learners.constants]
department = "none"
role = "none"
note = 1.5
id = 3
"#
    ), @r#"
    /etc/learner-sync/learner-sync.toml:10:9: learners.table: must be a name or schema.name; write a name with a dot in quotation marks
    /etc/learner-sync/learner-sync.toml:12:12: learners.columns.nickname: unknown column, not one of id, external_id, created_at, updated_at, deactivated_at, user_name, email, active, first_name, last_name, title, country, employee_number, department, job_role, company, business_unit, team_name, security_champion
    /etc/learner-sync/learner-sync.toml:13:12: learners.columns.usr_name: unknown column, not one of id, external_id, created_at, updated_at, deactivated_at, user_name, email, active, first_name, last_name, title, country, employee_number, department, job_role, company, business_unit, team_name, security_champion; did you mean `user_name`?
    /etc/learner-sync/learner-sync.toml:15:14: learners.columns.department: the column "role" is already used by learners.columns.title
    /etc/learner-sync/learner-sync.toml:16:14: learners.columns.first_name: must be the name of a column in quotes, not a number
    /etc/learner-sync/learner-sync.toml:17:13: learners.columns.last_name: must not be empty
    /etc/learner-sync/learner-sync.toml:18:10: learners.columns.active: set both true and false, or neither for a column of booleans or numbers
    /etc/learner-sync/learner-sync.toml:19:15: learners.columns.external_id: the column "email" is already used by email; set learners.columns.email as well
    /etc/learner-sync/learner-sync.toml:21:14: learners.constants.department: the column "department" is already used by department
    /etc/learner-sync/learner-sync.toml:22:8: learners.constants.role: the column "role" is already used by learners.columns.title
    /etc/learner-sync/learner-sync.toml:23:8: learners.constants.note: write a decimal number in quotes
    /etc/learner-sync/learner-sync.toml:24:6: learners.constants.id: the column "id" is already used by id
    "#);
    assert_snapshot!(problems(
        r#"
[entra.credential]
[learners]
table = ""
[learners.columns]
active = { column = "status", true = "on", false = "on" }
user_name = { column = "login" }
[learners.constants]
"" = 1
"#
    ), @r#"
    /etc/learner-sync/learner-sync.toml:10:9: learners.table: must not be empty
    /etc/learner-sync/learner-sync.toml:12:10: learners.columns.active: true and false must be different texts
    /etc/learner-sync/learner-sync.toml:13:13: learners.columns.user_name: must be the name of a column in quotes, not a table
    /etc/learner-sync/learner-sync.toml:15:6: learners.constants.: must not be empty
    "#);
}

#[test]
fn a_constant_can_limit_the_table() {
    let described = table(
        "[learners.constants]\ntenant = { value = \"a\", limit = true }\nregion = { value = 5 }\n[learners.constants.own]\n\
         value = true\nlimit = true",
    );
    let constants = [
        ("own", ColumnConstant::Boolean(true)),
        ("region", ColumnConstant::Number(5)),
        ("tenant", ColumnConstant::Text("a".to_owned())),
    ];
    assert_eq!(described.constants, constants.map(|(name, constant)| (name.to_owned(), constant)).into());
    assert_eq!(described.limits, ["own", "tenant"].map(str::to_owned).into());
    for (value, expected) in [
        ("{ limit = true }", "the key value is missing"),
        ("{ value = \"a\", limit = \"yes\" }", "limit must be true or false, not a text"),
        ("{ value = \"a\", limits = true }", "unknown key limits"),
        ("{ value = { a = 1 }, limit = true }", "value must be a text"),
        ("{ value = 1.5, limit = true }", "value: write a decimal number in quotes"),
    ] {
        let found = problems(&format!("[learners.constants]\ntenant = {value}"));
        assert!(found.contains(expected), "{value}: {found}");
    }
    for column in ["id", "email", "active", "title"] {
        let found = problems(&format!("[learners.constants]\n{column} = {{ value = \"a\", limit = true }}"));
        assert!(found.contains(&format!("the column {column:?} is already used by {column}")), "{found}");
    }
}
