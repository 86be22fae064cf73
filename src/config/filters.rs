//! Reads and compiles `[[scope.filter]]`, so that mistakes are found when the configuration is loaded.

use toml::de::DeValue;

use super::problem::ConfigPosition;
use super::reader::{FreeEntry, Reader, kind_of};
use crate::model::Selection;
use crate::scope::{ClauseEntry, FilterEntry, FilterProblem, Scope};

const KEY: &str = "scope.filter";

/// Every filter may be tried for every user.
const MAX_FILTERS: usize = 10_000;

/// Reads the filters and reports their problems.
pub(super) fn read(reader: &mut Reader<'_>) -> Vec<FilterEntry> {
    let (mut filters, mut places, mut whole) = (Vec::new(), Vec::new(), true);
    let mut tables = reader.free_tables(KEY);
    if tables.len() > MAX_FILTERS {
        whole = false;
        reader.refuse(KEY, format!("there are {} filters; at most {MAX_FILTERS} are allowed", tables.len()));
        tables.truncate(MAX_FILTERS);
    }
    for (number, (place, entries)) in (1..).zip(tables) {
        let mut filter = FilterEntry { name: format!("filter {number}"), clauses: Vec::new() };
        let mut clauses = Vec::new();
        for entry in entries {
            for (at, message) in read_key(reader, entry, &mut filter, &mut clauses) {
                whole = false;
                reader.refuse_at(at, KEY, message);
            }
        }
        filters.push(filter);
        places.push((place, clauses));
    }
    // If a clause could not be read, further problems could be misleading.
    if whole && let Err(problems) = Scope::compile(&filters, false, &mut Selection::default()) {
        for FilterProblem { filter, clause, message } in problems {
            let (place, clauses) = &places[filter];
            let place = clause.and_then(|clause| clauses.get(clause)).unwrap_or(place).clone();
            reader.refuse_at(place, KEY, format!("{:?}: {message}", filters[filter].name));
        }
    }
    filters
}

type RefusedKey = (ConfigPosition, String);

/// Reads one key of a filter, adds the places of its clauses to `places`, and returns its problems.
fn read_key(
    reader: &Reader<'_>,
    entry: FreeEntry<'_>,
    filter: &mut FilterEntry,
    places: &mut Vec<ConfigPosition>,
) -> Vec<RefusedKey> {
    const FORM: &str = "{ attribute = \"…\", operator = \"…\", value = \"…\" }";
    let FreeEntry { name, value, position: place } = entry;
    let refusal = match (name.as_str(), value) {
        ("name", DeValue::String(text)) => {
            filter.name = text.into_owned();
            return Vec::new();
        }
        ("clauses", DeValue::Array(items)) => {
            let mut refusals = Vec::new();
            for item in items {
                let place = reader.offset(&item);
                match item.into_inner() {
                    DeValue::Table(table) => match read_clause(reader.entries(table), &place) {
                        Ok(clause) => filter.clauses.push(clause),
                        Err(refusal) => refusals.push(refusal),
                    },
                    other => refusals.push((place.clone(), format!("a clause is {FORM}, not {}", kind_of(&other)))),
                }
                places.push(place);
            }
            return refusals;
        }
        ("name", other) => format!("name must be a text in quotes, not {}", kind_of(&other)),
        ("clauses", other) => format!("clauses must be a list of clauses, not {}", kind_of(&other)),
        (unknown, _) => format!("{unknown} is not a key of a filter, which has name and clauses"),
    };
    vec![(place, refusal)]
}

fn read_clause(entries: Vec<FreeEntry<'_>>, place: &ConfigPosition) -> Result<ClauseEntry, RefusedKey> {
    let (mut attribute, mut operator, mut value) = (None, None, None);
    for FreeEntry { name, value: found, position: place } in entries {
        let text = match found {
            DeValue::String(text) => text.into_owned(),
            // The value may be a number without quotes.
            DeValue::Integer(number) if name == "value" && number.radix() == 10 => number.as_str().to_owned(),
            other => return Err((place, format!("{name} must be a text in quotes, not {}", kind_of(&other)))),
        };
        match name.as_str() {
            "attribute" => attribute = Some(text),
            "operator" => operator = Some(text),
            "value" => value = Some(text),
            unknown => {
                let keys = "attribute, operator and value";
                return Err((place, format!("{unknown} is not a key of a clause, which has {keys}")));
            }
        }
    }
    let missing = |key| (place.clone(), format!("the clause has no {key}"));
    Ok(ClauseEntry {
        attribute: attribute.ok_or_else(|| missing("attribute"))?,
        operator: operator.ok_or_else(|| missing("operator"))?,
        value,
    })
}
