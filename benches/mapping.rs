//! The cost of the attribute mapping for one user. Each cycle maps every user, so a hundred thousand users should take no
//! more than a fraction of a second. `cargo bench` prints the median and the fastest of many samples.

#![expect(clippy::print_stdout, reason = "the results are for the terminal")]

use std::hint::black_box;
use std::time::Instant;

use learner_sync::expression::Steps;
use learner_sync::mapping::{Mapping, MappingEntry, default_entries};
use learner_sync::model::{EntraId, Selection, User, Value};

/// Evaluations in one sample, which make it much longer than the resolution of the clock.
const EVALUATIONS: u32 = 1000;
const SAMPLES: usize = 200;

/// The default mapping with typical additions of administrators.
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
    User { id: EntraId::from_bytes([7; 16]), enabled: true, is_agent: false, values: values.collect() }
}

fn measure(name: &str, entries: &[MappingEntry]) {
    let mut selection = Selection::default();
    let Ok(mapping) = Mapping::compile(entries, &mut selection) else { unreachable!("the mappings above compile") };
    let user = user(&selection);
    let now = jiff::Timestamp::UNIX_EPOCH;
    let sample = || {
        let start = Instant::now();
        for _ in 0..EVALUATIONS {
            black_box(mapping.apply(black_box(&user), now, &Steps::for_one_user()));
        }
        start.elapsed() / EVALUATIONS
    };
    // The first sample only warms up.
    sample();
    let mut samples: Vec<_> = (0..SAMPLES).map(|_| sample()).collect();
    samples.sort();
    println!("{name}: median {:?}, fastest {:?}", samples[SAMPLES / 2], samples[0]);
}

fn main() {
    measure("default mapping, one user", &default_entries());
    measure("larger mapping, one user", &larger_entries());
}
