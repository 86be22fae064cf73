//! What the attribute mapping costs a user. It is evaluated for everybody in every cycle, so a hundred thousand users
//! should take no more than a fraction of a second.

use std::hint::black_box;

use criterion::Criterion;
use learner_sync::mapping::{Mapping, MappingEntry, default_entries};
use learner_sync::model::{EntraId, Selection, User, Value};

/// The default mapping, and some of what administrators add to it.
fn larger_entries() -> Vec<MappingEntry> {
    let mut entries = default_entries();
    entries.retain(|entry| entry.path != "title" && entry.path != "name.familyName");
    entries
        .push(MappingEntry::new("title", r#"Replace([jobTitle], , "\\s*\\((?<grade>[^)]*)\\)$", , " ${grade}", , )"#));
    entries.push(MappingEntry::new("name.familyName", "PCase(NormalizeDiacritics(StripSpaces([surname])))"));
    entries
}

/// A user with a text for every property.
fn user(selection: &Selection) -> User {
    let values = selection.properties().iter().map(|property| Value::Text(format!("{property} of Åsa (senior)")));
    User { id: EntraId::from_bytes([7; 16]), enabled: true, values: values.collect() }
}

fn measure(criterion: &mut Criterion, name: &str, entries: &[MappingEntry]) {
    let mut selection = Selection::default();
    let Ok(mapping) = Mapping::compile(entries, &mut selection) else { unreachable!("the mappings above compile") };
    let user = user(&selection);
    let now = jiff::Timestamp::UNIX_EPOCH;
    criterion.bench_function(name, |bencher| bencher.iter(|| mapping.apply(black_box(&user), now)));
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    measure(&mut criterion, "the default mapping, one user", &default_entries());
    measure(&mut criterion, "a larger mapping, one user", &larger_entries());
    criterion.final_summary();
}
