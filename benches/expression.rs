//! The expressions of a mapping on one user. Each user whose row has changed is mapped once in a cycle.

#![expect(clippy::unwrap_used, reason = "a failure ends the measurement")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use learner_sync::expression::Steps;
use learner_sync::mapping::{Mapping, MappingEntry, default_entries};
use learner_sync::model::{EntraId, Selection, User, Value};

/// One attribute with an expression of each price, beside the default mapping of the others.
const EXPRESSIONS: &[(&str, &str)] = &[
    ("attribute", "[jobTitle]"),
    ("nested functions", "PCase(NormalizeDiacritics(StripSpaces([jobTitle])))"),
    ("condition", r#"IIF(IsPresent([jobTitle]), Left([jobTitle], 20), "none")"#),
    ("regular expression", r#"Replace([jobTitle], , "\\s*\\((?<grade>[^)]*)\\)$", , " ${grade}", , )"#),
];

fn user(selection: &Selection) -> User {
    let values = selection.properties().iter().map(|property| Value::Text(format!("{property} of Åsa (senior)")));
    User { id: EntraId::from_bytes([7; 16]), enabled: true, is_agent: false, values: values.collect() }
}

fn expressions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("expression");
    for (name, expression) in EXPRESSIONS {
        let mut entries = default_entries();
        entries.retain(|entry| entry.path != "title");
        entries.push(MappingEntry::new("title", *expression));
        let mut selection = Selection::default();
        let mapping = Mapping::compile(&entries, &mut selection).unwrap();
        let user = user(&selection);
        group.bench_function(*name, |bencher| {
            bencher.iter(|| mapping.apply(black_box(&user), jiff::Timestamp::UNIX_EPOCH, &Steps::for_one_user()));
        });
    }
    group.finish();
}

criterion_group!(benches, expressions);
criterion_main!(benches);
