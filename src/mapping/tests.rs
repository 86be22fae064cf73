//! Whole mappings: the rules of the table, and mapped users.

use std::collections::BTreeMap;

use super::*;
use crate::expression::TimeDependence;
use crate::expression::tests::{now, user, value};
use crate::model::{Learner, Selection, Value, Values};

/// The default mapping with `changes`: entries with the same path are replaced, others are added.
fn with(changes: impl IntoIterator<Item = MappingEntry>) -> Vec<MappingEntry> {
    let mut entries = default_entries();
    for change in changes {
        entries.retain(|entry| entry.path != change.path);
        entries.push(change);
    }
    entries
}

/// Maps a user with these properties.
fn mapped(entries: &[MappingEntry], inputs: &[(&str, Value)]) -> MappedUser {
    let mut selection = Selection::default();
    let mapping = Mapping::compile(entries, &mut selection).unwrap();
    mapping.apply(&user(&selection, &inputs.iter().cloned().collect::<BTreeMap<_, _>>()), now(), &Steps::for_one_user())
}

fn ada() -> Vec<(&'static str, Value)> {
    vec![
        ("userPrincipalName", value("ada@example.org")),
        ("mail", value("Ada@Example.org")),
        ("givenName", value("Ada")),
        ("surname", value(" Núñez  ")),
        ("department", value("")),
    ]
}

/// Ada with `name` set to `value`.
fn ada_with(name: &'static str, value: Value) -> Vec<(&'static str, Value)> {
    let mut inputs = ada();
    inputs.retain(|(known, _)| *known != name);
    inputs.push((name, value));
    inputs
}

fn printed(values: &Values) -> Vec<(&'static str, &str)> {
    values.iter().map(|(attribute, value)| (attribute.column(), value.unwrap_or("null"))).collect()
}

fn learner(mapped: MappedUser) -> Learner {
    match mapped {
        MappedUser::Learner(learner) => learner,
        other => panic!("no learner: {other:?}"),
    }
}

fn rejected(mapped: MappedUser) -> String {
    match mapped {
        MappedUser::Rejected { reason, detail, .. } => format!("{reason}: {detail}"),
        other => panic!("not rejected: {other:?}"),
    }
}

#[test]
fn the_default_mapping() {
    let Learner { values, on_create, row: _ } = learner(mapped(&default_entries(), &ada()));
    assert_eq!(
        printed(&values),
        [
            ("user_name", "ada@example.org"),
            ("email", "Ada@Example.org"),
            ("first_name", "Ada"),
            ("last_name", " Núñez  "),
            ("title", "null"),
            ("country", "null"),
            ("employee_number", "null"),
            ("department", "null"),
        ]
    );
    assert_eq!(on_create, None);
}

#[test]
fn the_selection_starts_with_the_properties_of_every_user() {
    let mut selection = Selection::default();
    let mapping = Mapping::compile(&default_entries(), &mut selection).unwrap();
    assert_eq!(selection.properties()[..4], ["accountEnabled", "userPrincipalName", "displayName", "mail"]);
    let columns: Vec<_> = mapping.attributes().map(Attribute::column).collect();
    assert_eq!(columns[..4], ["user_name", "email", "active", "first_name"]);
    assert_eq!(columns.len(), 9);
}

#[test]
fn inactive_wins_over_rejections() {
    let mut inputs = ada_with("mail", Value::Null);
    inputs.push(("accountEnabled", Value::Boolean(false)));
    let user_name = Some("ada@example.org".to_owned());
    assert_eq!(mapped(&default_entries(), &inputs), MappedUser::Inactive { user_name });

    let by_department = with([MappingEntry::new("active", "IIF([department] = \"Alumni\", \"0\", 1)")]);
    let alumni = ada_with("department", value("Alumni"));
    assert!(matches!(mapped(&by_department, &alumni), MappedUser::Inactive { .. }));
    assert!(matches!(mapped(&by_department, &ada()), MappedUser::Learner(_)));
}

#[test]
fn active_needs_a_value() {
    let entry = MappingEntry::new("active", "Switch([department], , \"Research\", \"True\")");
    assert_eq!(
        rejected(mapped(&with([entry.clone()]), &ada())),
        "invalid-value: active: the mapping produced no value, but true or false is required"
    );
    let by_default = |word: &str| with([MappingEntry { default: Some(word.to_owned()), ..entry.clone() }]);
    assert!(matches!(mapped(&by_default("TRUE"), &ada()), MappedUser::Learner(_)));
    assert!(matches!(mapped(&by_default("0"), &ada()), MappedUser::Inactive { .. }));
    assert_eq!(
        rejected(mapped(&with([MappingEntry::new("active", "[givenName]")]), &ada())),
        "invalid-value: active: the value is neither true nor false"
    );
}

#[test]
fn rejections_name_the_attribute_and_the_rule() {
    let several = Value::List(vec![value("a"), value("b")]);
    let with_title = |expression| with([MappingEntry::new("title", expression)]);
    let champion = Attribute::SecurityChampion.path();
    for (entries, inputs, expected) in [
        (
            default_entries(),
            ada_with("mail", value("")),
            "missing-required: emails[type eq \"work\"].value: required, but the mapping produced no value",
        ),
        (
            default_entries(),
            ada_with("userPrincipalName", Value::Null),
            "missing-required: userName: required, but the mapping produced no value",
        ),
        (
            default_entries(),
            ada_with("surname", value("a\0")),
            "invalid-value: name.familyName: the text contains a NUL character",
        ),
        (
            with_title("[businessPhones]"),
            ada_with("businessPhones", several),
            "invalid-value: title: expected one value, found several",
        ),
        (
            with_title("IIF([givenName], , )"),
            ada(),
            "invalid-value: title: the condition of an IIF is neither true nor false",
        ),
        (
            with([MappingEntry {
                required: Some(true),
                ..MappingEntry::new("title", "IgnoreFlowIfNullOrEmpty([jobTitle])")
            }]),
            ada(),
            "missing-required: title: required, but the mapping produced no value",
        ),
        (
            with([MappingEntry::new(champion, "[givenName]")]),
            ada(),
            &format!("invalid-value: {champion}: the value is neither true nor false"),
        ),
    ] {
        assert_eq!(rejected(mapped(&entries, &inputs)), expected);
    }
    let no_mail =
        with([MappingEntry { required: Some(false), ..MappingEntry::new("emails[type eq \"work\"].value", "[mail]") }]);
    assert_eq!(learner(mapped(&no_mail, &ada_with("mail", Value::Null))).values.get(Attribute::Email), Some(None));
}

#[test]
fn defaults_and_on_create_entries() {
    let entries = with([
        MappingEntry {
            default: Some("Somewhere".to_owned()),
            ..MappingEntry::new("addresses[0].country", "[country]")
        },
        MappingEntry { default: Some("Ada".to_owned()), ..MappingEntry::new("name.givenName", "[givenName]") },
        MappingEntry { apply: ApplyMode::OnCreate, ..MappingEntry::new("name.familyName", "[surname]") },
        MappingEntry {
            apply: ApplyMode::OnCreate,
            default: Some("none".to_owned()),
            ..MappingEntry::new("title", "[jobTitle]")
        },
        MappingEntry { apply: ApplyMode::OnCreate, ..MappingEntry::new(Attribute::Department.path(), "[department]") },
        MappingEntry::new(Attribute::EmployeeNumber.path(), "IgnoreFlowIfNullOrEmpty([employeeId])"),
        MappingEntry {
            default: Some("1".to_owned()),
            ..MappingEntry::new(Attribute::SecurityChampion.path(), "[jobTitle]")
        },
    ]);
    let Learner { values, on_create, row: _ } = learner(mapped(&entries, &ada()));
    assert_eq!(
        printed(&values),
        [
            ("user_name", "ada@example.org"),
            ("email", "Ada@Example.org"),
            ("first_name", "Ada"),
            ("country", "null"),
            ("security_champion", "null"),
        ]
    );
    assert_eq!(
        printed(&on_create.unwrap()),
        [("last_name", " Núñez  "), ("title", "none"), ("country", "Somewhere"), ("security_champion", "true")]
    );
}

#[test]
fn every_problem_is_reported_at_once() {
    let entries = [
        MappingEntry { required: Some(false), ..MappingEntry::new("userName", "[userPrincipalName]") },
        MappingEntry { apply: ApplyMode::OnCreate, ..MappingEntry::new("active", "\"maybe\"") },
        MappingEntry::new("manager", "[manager]"),
        MappingEntry::new("addresses[0].country", "[contry]"),
        MappingEntry::new("addresses[type eq \"work\"].country", "[country]"),
        MappingEntry { default: Some("a\0".to_owned()), required: Some(true), ..MappingEntry::new("title", "\"\"") },
        MappingEntry {
            default: Some("x".to_owned()),
            ..MappingEntry::new(Attribute::SecurityChampion.path(), "\"no\"")
        },
        MappingEntry::new("familyName", "Join(\" \", [surname]"),
    ];
    let mut selection = Selection::default();
    let problems = Mapping::compile(&entries, &mut selection).unwrap_err();
    assert_eq!(selection, Selection::default(), "a refused mapping must not change the selection");
    let champion = Attribute::SecurityChampion.path();
    assert_eq!(
        problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "userName: cannot be optional: every learner has one",
            "active: cannot apply on creation only: every cycle decides who is active",
            "active: the constant must be \"true\" or \"false\"",
            "manager: `manager` is not supported: learners have no such column",
            "manager: `manager` refers to another user and is not supported (at character 1)",
            "addresses[0].country: unknown attribute `contry`; did you mean `country`? (at character 1)",
            "addresses[type eq \"work\"].country: mapped twice: `addresses[0].country` is the same attribute",
            "title: invalid default: the text contains a NUL character",
            "title: required, but the constant is empty",
            &format!("{champion}: the default must be \"true\" or \"false\""),
            &format!("{champion}: the constant must be \"true\" or \"false\""),
            "familyName: no learner attribute has this SCIM path; did you mean `name.familyName`?",
            "familyName: the closing `)` of this function is missing (at character 1)",
            "emails[type eq \"work\"].value: must be mapped",
        ]
    );
    assert_eq!(problems[4].entry, 2);
    assert_eq!(problems[13].entry, usize::MAX);

    let entries = with([MappingEntry::new("title", "[jobTitel]")]);
    let problems = Mapping::compile(&entries, &mut selection).unwrap_err();
    assert_eq!((problems.len(), problems[0].entry, problems[0].position), (1, 8, Some(1)));
}

#[test]
fn an_entry_is_checked_on_its_own() {
    let title = |expression| MappingEntry::new("title", expression);
    for (entry, expected) in [
        (title("[jobTitle]"), Ok(Attribute::Title)),
        (MappingEntry::new("USERNAME", "[mail]"), Ok(Attribute::UserName)),
        (title("[jobTitel]"), Err("unknown attribute `jobTitel`; did you mean `jobTitle`? (at character 1)")),
        (MappingEntry::new("titel", "[mail]"), Err("no learner attribute has this SCIM path; did you mean `title`?")),
        (MappingEntry { required: Some(true), ..title("\"\"") }, Err("required, but the constant is empty")),
        (MappingEntry { required: Some(false), ..title("\"\"") }, Ok(Attribute::Title)),
        (MappingEntry { required: Some(true), default: Some("x".to_owned()), ..title("\"\"") }, Ok(Attribute::Title)),
        (MappingEntry { required: Some(true), ..title("\"x\"") }, Ok(Attribute::Title)),
        (MappingEntry { required: Some(true), ..title("[jobTitle]") }, Ok(Attribute::Title)),
        (title("\"a\0\""), Err("invalid constant: the text contains a NUL character")),
        (MappingEntry { apply: ApplyMode::OnCreate, ..title("[jobTitle]") }, Ok(Attribute::Title)),
        (MappingEntry::new("active", "1"), Ok(Attribute::Active)),
        (MappingEntry::new("active", "7"), Err("the constant must be \"true\" or \"false\"")),
    ] {
        assert_eq!(
            entry.attribute().map_err(|problems| problems.join("; ")),
            expected.map_err(str::to_owned),
            "{entry:?}"
        );
    }
}

#[test]
fn each_entry_is_explained_independently() {
    let entries = with([
        MappingEntry::new("title", "IgnoreFlowIfNullOrEmpty([jobTitle])"),
        MappingEntry::new("name.givenName", "ToUpper([givenName])"),
        MappingEntry::new("addresses[0].country", "IIF([country] = \"\", IgnoreObjectFlow, [country])"),
        MappingEntry::new(Attribute::Department.path(), "CDate([givenName])"),
    ]);
    let mut selection = Selection::default();
    let mapping = Mapping::compile(&entries, &mut selection).unwrap();
    let user = user(&selection, &ada().into_iter().collect());
    let explained: Vec<_> = mapping.attributes().zip(mapping.explain(&user, now(), &Steps::for_one_user())).collect();
    let text = |text: &str| MappedValue::Value(Some(text.to_owned()));
    assert_eq!(
        explained,
        [
            (Attribute::UserName, text("ada@example.org")),
            (Attribute::Email, text("Ada@Example.org")),
            (Attribute::Active, text("true")),
            (Attribute::FirstName, text("ADA")),
            (Attribute::LastName, text(" Núñez  ")),
            (Attribute::Title, MappedValue::NoFlow),
            (Attribute::Country, MappedValue::NoFlowForUser),
            (Attribute::EmployeeNumber, MappedValue::Value(None)),
            (Attribute::Department, MappedValue::Invalid("argument 1 of CDate is not a date".to_owned())),
        ]
    );
    assert_eq!(
        mapping.describe().map(|entry| entry.attribute).collect::<Vec<_>>(),
        mapping.attributes().collect::<Vec<_>>()
    );
}

#[test]
fn a_rejection_names_the_user() {
    let named = |inputs: &[(&str, Value)]| match mapped(&default_entries(), inputs) {
        MappedUser::Rejected { user_name, .. } => user_name,
        other => panic!("not rejected: {other:?}"),
    };
    assert_eq!(named(&ada_with("mail", Value::Null)).as_deref(), Some("ada@example.org"));
    assert_eq!(named(&ada_with("userPrincipalName", Value::Null)), None);
}

#[test]
fn a_mapping_can_ignore_a_user() {
    let by_department = "IIF([department] = \"Guests\", IgnoreObjectFlow, [jobTitle])";
    let entries = with([MappingEntry::new("title", by_department)]);
    assert_eq!(
        rejected(mapped(&entries, &ada_with("department", value("Guests")))),
        "missing-required: title: the mapping ignores this user (IgnoreObjectFlow)"
    );
    assert!(matches!(mapped(&entries, &ada()), MappedUser::Learner(_)));
    let active = with([MappingEntry::new("active", "Switch([department], \"True\", \"\", IgnoreObjectFlow)")]);
    assert!(rejected(mapped(&active, &ada())).starts_with("missing-required: active"));
}

#[test]
fn redacted_values_flow() {
    let entries = with([
        MappingEntry::new("title", "ToUpper(Redact([jobTitle]) & \"!\")"),
        MappingEntry::new("name.givenName", "redact([givenName])"),
    ]);
    let mapping = Mapping::compile(&entries, &mut Selection::default()).unwrap();
    assert_eq!(mapping.redacted().iter().collect::<Vec<_>>(), [&Attribute::FirstName, &Attribute::Title]);
    let learner = learner(mapped(&entries, &ada_with("jobTitle", value("Diver"))));
    assert_eq!(learner.values.text(Attribute::Title), Some("DIVER!"));
}

#[test]
fn description() {
    let entries = with([
        MappingEntry::new("title", "Now( )"),
        MappingEntry::new(
            Attribute::Department.path(),
            "IIF(DateDiff(\"d\", now(), [employeeHireDate]) > 0, [department], [extensionAttribute1])",
        ),
    ]);
    let mapping = Mapping::compile(&entries, &mut Selection::default()).unwrap();
    let described: Vec<_> = mapping.describe().collect();
    let of = |attribute| described.iter().find(|line| line.attribute == attribute).unwrap();
    assert_eq!(of(Attribute::Title).time_dependence, TimeDependence::Always);
    assert_eq!(of(Attribute::Title).expression, "Now()");
    assert_eq!(of(Attribute::Department).time_dependence, TimeDependence::Sometimes);
    assert_eq!(
        of(Attribute::Department).properties,
        ["employeeHireDate", "department", "onPremisesExtensionAttributes"]
    );
    assert_eq!(of(Attribute::Email).time_dependence, TimeDependence::Never);
    assert_eq!((of(Attribute::Email).required, of(Attribute::Title).required), (true, false));
    assert!(of(Attribute::Email).required && described[0].attribute == Attribute::UserName);
}

#[test]
fn the_hash_changes_with_the_results() {
    let hash = |entries: &[MappingEntry]| {
        let mut selection = Selection::default();
        selection.slot("city");
        Mapping::compile(entries, &mut selection).unwrap().hash()
    };
    let plain = hash(&default_entries());
    let mut reordered = default_entries();
    reordered.reverse();
    assert_eq!(hash(&reordered), plain);
    let mut respelled = default_entries();
    respelled[0] = MappingEntry::new("USERNAME", " [UserPrincipalName] ");
    respelled[2].required = Some(false);
    respelled[6].path = "addresses[type eq \"work\"].country".to_owned();
    respelled[6].default = Some(String::new());
    assert_eq!(hash(&respelled), plain);

    let title = MappingEntry::new("title", "[jobTitle]");
    for change in [
        MappingEntry::new("title", "\"jobTitle\""),
        MappingEntry { default: Some("x".to_owned()), ..title.clone() },
        MappingEntry { apply: ApplyMode::OnCreate, ..title.clone() },
        MappingEntry { required: Some(true), ..title },
    ] {
        assert_ne!(hash(&with([change])), plain);
    }
}

#[test]
fn a_default_never_clears_what_is_required_or_does_not_flow() {
    let title = |expression: &str| MappingEntry {
        default: Some("Learner".to_owned()),
        ..MappingEntry::new("title", expression)
    };
    for entry in [
        MappingEntry { required: Some(true), ..title("[jobTitle]") },
        MappingEntry { apply: ApplyMode::OnCreate, ..title("[jobTitle]") },
        title("IgnoreFlowIfNullOrEmpty([jobTitle])"),
    ] {
        let Learner { values, on_create, row: _ } = learner(mapped(&with([entry]), &ada()));
        assert_eq!(values.get(Attribute::Title), None);
        assert_eq!(on_create.unwrap().text(Attribute::Title), Some("Learner"));
    }
}

#[test]
fn only_the_whole_expression_is_the_home_name_of_a_guest() {
    let stored = "ada.lovelace_partner.example#EXT#@tenant.example";
    for (expression, expected) in [
        ("[userPrincipalName]", "ada.lovelace@partner.example"),
        (" [USERPRINCIPALNAME] ", "ada.lovelace@partner.example"),
        ("[originalUserPrincipalName]", stored),
        ("Trim([userPrincipalName])", stored),
        ("IIF([userPrincipalName] = \"x\", , [userPrincipalName])", stored),
        ("[userPrincipalName] & \"\"", stored),
        ("Word([userPrincipalName], 1, \"#\")", "ada.lovelace_partner.example"),
    ] {
        for path in ["userName", "emails[type eq \"work\"].value"] {
            let entries = with([MappingEntry::new(path, expression)]);
            let values = learner(mapped(&entries, &ada_with("userPrincipalName", value(stored)))).values;
            let attribute = find_target(path).unwrap();
            assert_eq!(values.text(attribute), Some(expected), "{path}: {expression}");
        }
    }
}

#[test]
fn all_attributes_share_the_steps_of_a_user() {
    let slow = |path: &str| MappingEntry::new(path, r#"Replace([city], , "(?=z)z", , "", , )"#);
    let paths = ["title", "name.givenName", "name.familyName", "addresses[0].country"];
    let enterprise = |name| format!("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:{name}");
    let all = paths.map(str::to_owned).into_iter().chain(["employeeNumber", "department"].map(enterprise));
    let all: Vec<String> = all.collect();
    let user = |length| [ada(), vec![("city", value(&"a".repeat(length)))]].concat();
    // Each of them alone is accepted.
    for path in &all {
        let found = mapped(&with([slow(path)]), &user(2_500));
        assert!(matches!(found, MappedUser::Learner(_)), "{found:?}");
    }
    let found = mapped(&with(all.iter().map(|path| slow(path))), &user(1_000));
    assert!(matches!(found, MappedUser::Learner(_)), "{found:?}");
    let MappedUser::Rejected { reason: Reason::InvalidValue, detail, user_name } =
        mapped(&with(all.iter().map(|path| slow(path))), &user(2_500))
    else {
        panic!("the user is not rejected");
    };
    assert!(detail.ends_with(": the expressions take too many steps for this user"), "{detail}");
    assert!(all.iter().any(|path| detail.starts_with(&format!("{path}: "))), "{detail}");
    // The name is only copied.
    assert_eq!(user_name.as_deref(), Some("ada@example.org"));
}

#[test]
fn functions_without_a_pattern_are_limited_too() {
    let trimmed = |functions: usize| {
        let one = "NormalizeDiacritics([city])".to_owned();
        MappingEntry::new("title", format!("Left({}, 1)", vec![one; functions].join(" & ")))
    };
    let long = [ada(), vec![("city", value(&"é".repeat(500)))]].concat();
    assert!(matches!(mapped(&with([trimmed(200)]), &long), MappedUser::Learner(_)));
    let counted = |length: usize| {
        let many = vec!["Count(Split(ToLower([city]), \",\"))"; 200].join(" & ");
        let user = [ada(), vec![("city", value(&"é,".repeat(length)))]].concat();
        mapped(&with([MappingEntry::new("title", many)]), &user)
    };
    assert!(matches!(counted(500), MappedUser::Learner(_)));
    assert!(matches!(counted(50_000), MappedUser::Rejected { reason: Reason::InvalidValue, .. }));
}

#[test]
fn slow_patterns_are_found_without_a_user() {
    let slow_in = |expression: &str| {
        let entries = with([MappingEntry::new("title", expression)]);
        let mapping = Mapping::compile(&entries, &mut Selection::default()).unwrap();
        let found: Vec<_> = mapping.slow_patterns().collect();
        let warnings = mapping.warnings(Attribute::UserName);
        assert!(found.iter().all(|found| warnings.iter().any(|(_, warning)| found.ends_with(warning))), "{warnings:?}");
        found
    };
    for expression in [
        r#"Replace([jobTitle], , "\\s*\\((?<grade>[^)]*)\\)$", , " ${grade}", , )"#,
        r#"Replace([mail], , "^[a-z.+-]{1,64}@(?<host>[a-z.-]{1,253})$", "host", "x", , )"#,
        r#"Replace([mobilePhone], , "(?<area>\\d+)", "area", , [city], )"#,
        r#"Replace([city], , "(?<!\\d)[A-Z]{2}(?=\\d)", , "", , )"#,
        r#"Replace([city], , "^.{0,2048}$", , "", , )"#,
        // As slow as below, but on a short text.
        r#"Replace(Left([city], 10), , "^(?:a|aa|(?=b)b)+c", , "", , )"#,
    ] {
        assert_eq!(slow_in(expression), Vec::<String>::new(), "{expression}");
    }
    for (expression, sample) in [
        (r#"Replace([city], , "^(?:a|aa|(?=b)b)+c", , "", , )"#, "1,024 times `a`"),
        (r#"Replace([extensionAttribute3], , "^(?:\\d|\\d\\d|(?=b)b)+c", , "", , )"#, "1,024 digits"),
        (r#"Trim(Replace([telephoneNumber], , "^(?:\\d|\\d\\d|(?=b)b)+c", , "", , ))"#, "1,024 digits"),
        (r#"Replace([city], , "^Å(?:.|..|(?=b)b)+q", , "", , )"#, "1,024 mixed characters"),
        // Branches and groups that this user would not reach.
        (r#"IIF([city] = "x", Replace([mail], , "^(?:a|aa|(?=b)b)+c", , "", , ), [mail])"#, "1,024 times `a`"),
        (r#"Replace([mobilePhone], , "^(?<all>(?:a|aa|(?=b)b)+)c", "all", , [city], )"#, "1,024 times `a`"),
    ] {
        let found = slow_in(expression);
        assert!(found.len() == 1 && found[0].starts_with("title: "), "{expression}: {found:?}");
        assert!(found[0].contains(sample), "{expression}: {found:?}");
    }
}
