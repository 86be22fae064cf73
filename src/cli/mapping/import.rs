//! `learner-sync mapping import`: from the provisioning schema of an Entra application to `[mapping]` and
//! `[[scope.filter]]`, on standard output. What cannot be taken is told on standard error, with the reason.

mod filters;
mod schema;
mod write;

use std::io::Write;
use std::path::PathBuf;

use super::input::Input;
use crate::cli::output::{DONE, Failure, PARTLY, print, shown};
use crate::mapping::{ApplyMode, MappingEntry, default_entries};
use crate::model::Attribute;
use crate::scope::FilterEntry;
use schema::{AttributeMapping, ObjectMapping, SchemaSource};

#[derive(Debug, clap::Args)]
pub(in super::super) struct MappingImportArguments {
    /// The schema as Microsoft Graph or the portal exports it, or one object mapping of it. `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What was taken, and why the rest was not.
#[derive(Debug, Default)]
struct Import {
    entries: Vec<(Attribute, MappingEntry)>,
    /// Mapped by the default, as the schema has nothing for it.
    filled_in: Vec<MappingEntry>,
    match_attribute: Option<Attribute>,
    filters: Vec<FilterEntry>,
    /// Whether there are filters that could not be taken.
    filters_left_out: bool,
    /// What it is about, and why it is left out.
    left_out: Vec<(String, String)>,
}

pub(in super::super) fn run(arguments: &MappingImportArguments) -> Result<u8, Failure> {
    let mut input = Input::open(&arguments.file)?;
    let mappings = schema::object_mappings(input.document()?).map_err(|fault| match fault {
        schema::SchemaError::Other => input
            .failure("is no synchronization schema: neither `synchronizationRules` nor `attributeMappings` are in it"),
        schema::SchemaError::Malformed(reason) => input.failure(&reason),
    })?;
    let mut taken = Import::default();
    if let Some(users) = choose(mappings, &mut taken) {
        take(&users, &mut taken);
    }
    if taken.entries.is_empty() {
        report(&taken.left_out);
        return Err(input.failure("there is no attribute mapping of users in it that can be taken"));
    }
    fill_in(&mut taken);
    print(write::toml(&taken).trim_end())?;
    report(&taken.left_out);
    Ok(if taken.left_out.is_empty() { DONE } else { PARTLY })
}

/// The object mapping of users.
fn choose(mappings: Vec<ObjectMapping>, taken: &mut Import) -> Option<ObjectMapping> {
    let mut chosen = None;
    for mapping in mappings {
        let reason = if !mapping.is_of_users() {
            "only users are provisioned"
        } else if !mapping.enabled {
            "it is switched off"
        } else if chosen.is_some() {
            "another object mapping of users stands before it"
        } else {
            chosen = Some(mapping);
            continue;
        };
        taken.leave_out(&format!("object mapping {:?}", mapping.title()), reason);
    }
    chosen
}

fn take(users: &ObjectMapping, taken: &mut Import) {
    let mut matching = Vec::new();
    for mapping in users.attribute_mappings() {
        let mapping = match mapping {
            Ok(mapping) => mapping,
            Err((target, reason)) => {
                taken.leave_out(&target, &reason);
                continue;
            }
        };
        let path = mapping.target_attribute_name.clone();
        let priority = mapping.matching_priority;
        match taken.admit(mapping) {
            Ok((attribute, entry)) => {
                taken.entries.push((attribute, entry));
                matching.extend((priority > 0).then_some((priority, attribute)));
            }
            Err(reasons) => reasons.iter().for_each(|reason| taken.leave_out(&path, reason)),
        }
    }
    matching.sort_by_key(|(priority, _)| *priority);
    let mut matching = matching.into_iter().map(|(_, attribute)| attribute);
    taken.match_attribute = matching.next();
    for other in matching {
        taken.leave_out(other.path(), "it is mapped, but existing learners are found by one attribute only");
    }
    for flow_type in users.disabled_actions() {
        let reason = "it is switched off there; here people are created, updated and deactivated, or nothing is done";
        taken.leave_out(&format!("target object action {flow_type:?}"), reason);
    }
    match users.scope().map_err(|reason| vec![reason]).and_then(filters::filters) {
        Ok(filters) => taken.filters = filters,
        Err(reasons) => {
            reasons.iter().for_each(|reason| taken.leave_out("scoping filter", reason));
            taken.leave_out("scoping filter", "no filter is taken, since the others alone would mean something else");
            taken.filters_left_out = true;
        }
    }
}

impl Import {
    fn leave_out(&mut self, what: &str, reason: &str) {
        self.left_out.push((what.to_owned(), reason.to_owned()));
    }

    /// The line of the mapping, or everything that speaks against it.
    fn admit(&self, mapping: AttributeMapping) -> Result<(Attribute, MappingEntry), Vec<String>> {
        let AttributeMapping { default_value, flow_type, matching_priority: _, source, target_attribute_name } =
            mapping;
        let default = default_value.filter(|value| !value.is_empty());
        let apply = match flow_type.as_deref() {
            None | Some("Always") => ApplyMode::Always,
            Some("ObjectAddOnly") => ApplyMode::OnCreate,
            Some(other) => {
                return Err(vec![format!("its flow type `{other}` is for values of which there are several")]);
            }
        };
        let expression = match source {
            // The default would stand for the values that it has.
            Some(SchemaSource { expression }) if expression.trim().is_empty() => {
                return Err(vec!["its source has no expression".to_owned()]);
            }
            source => source.map(|source| source.expression),
        };
        let entry = match (expression, default) {
            (Some(expression), default) => {
                MappingEntry { default, apply, ..MappingEntry::new(target_attribute_name, expression) }
            }
            // Without a source the default is the value for everybody.
            (None, Some(constant)) => {
                let constant = constant.replace('\\', r"\\").replace('"', "\\\"");
                MappingEntry { apply, ..MappingEntry::new(target_attribute_name, format!("\"{constant}\"")) }
            }
            (None, None) => return Err(vec!["it has neither a source nor a default".to_owned()]),
        };
        let attribute = entry.attribute()?;
        match self.entries.iter().find(|(known, _)| *known == attribute) {
            Some((_, first)) => Err(vec![format!("`{}` is the same attribute and stands before it", first.path)]),
            None => Ok((attribute, entry)),
        }
    }
}

/// What must be mapped and is not.
fn fill_in(taken: &mut Import) {
    for entry in default_entries() {
        let Ok(attribute) = entry.attribute() else {
            continue;
        };
        let is_there = taken.entries.iter().any(|(known, _)| *known == attribute);
        if !is_there && [Attribute::UserName, Attribute::Email, Attribute::Active].contains(&attribute) {
            taken.leave_out(&entry.path, "nothing was taken for it, and it must be mapped: the default stands there");
            taken.filled_in.push(entry);
        }
    }
}

fn report(left_out: &[(String, String)]) {
    let mut error = std::io::stderr().lock();
    for (what, reason) in left_out {
        // A reader that is gone is no reason for another exit code.
        let _ = writeln!(error, "learner-sync: not taken: {}: {}", shown(what), shown(reason));
    }
}
