//! `learner-sync mapping import`: converts the provisioning schema of an Entra application to `[mapping]` and
//! `[[scope.filter]]` on standard output. Everything that cannot be imported is listed on standard error, with the reason.

mod document;
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
    /// The schema as exported by Microsoft Graph or the portal, or one object mapping of it. `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// The imported configuration, and the reasons for what is left out.
#[derive(Debug, Default)]
struct Import {
    entries: Vec<(Attribute, MappingEntry)>,
    /// Required entries that the schema lacks, from the default mapping.
    added_defaults: Vec<MappingEntry>,
    match_attribute: Option<Attribute>,
    filters: Vec<FilterEntry>,
    /// Whether filters of the schema were not imported.
    filters_left_out: bool,
    /// The parts that are left out, and why.
    left_out: Vec<(String, String)>,
    /// The parts that are imported and work differently, and how.
    different: Vec<(String, String)>,
}

pub(in super::super) fn run(arguments: &MappingImportArguments) -> Result<u8, Failure> {
    let mut input = Input::open(&arguments.file)?;
    let document = input.document()?;
    let mut import = Import::default();
    if schema::skips_deletions(&document) {
        let how = "learner-sync always deactivates learners who leave the scope";
        import.different.push(("SkipOutOfScopeDeletions".to_owned(), how.to_owned()));
    }
    let mappings = schema::object_mappings(document).map_err(|reason| input.failure(&reason))?;
    if let Some(users) = choose(mappings, &mut import) {
        import_users(&users, &mut import);
    }
    if import.entries.is_empty() {
        import.report();
        return Err(input.failure("it contains no attribute mapping for users that can be imported"));
    }
    add_defaults(&mut import);
    print(write::toml(&import).trim_end())?;
    import.report();
    Ok(if import.left_out.is_empty() && import.different.is_empty() { DONE } else { PARTLY })
}

/// Chooses the object mapping for users.
fn choose(mappings: Vec<ObjectMapping>, import: &mut Import) -> Option<ObjectMapping> {
    let mut chosen = None;
    for mapping in mappings {
        let reason = if !mapping.is_of_users() {
            "only users are provisioned"
        } else if !mapping.enabled {
            "it is disabled"
        } else if chosen.is_some() {
            "it follows another object mapping for users"
        } else {
            chosen = Some(mapping);
            continue;
        };
        import.leave_out(&format!("object mapping {:?}", mapping.title()), reason);
    }
    chosen
}

fn import_users(users: &ObjectMapping, import: &mut Import) {
    let mut matching = Vec::new();
    for mapping in users.attribute_mappings() {
        let mapping = match mapping {
            Ok(mapping) => mapping,
            Err((target, reason)) => {
                import.leave_out(&target, &reason);
                continue;
            }
        };
        let path = mapping.target_attribute_name.clone();
        let priority = mapping.matching_priority;
        match import.convert(mapping) {
            Ok((attribute, entry)) => {
                if attribute != Attribute::Active && entry.reads_account_state() {
                    let how = "it depends on the state of the account, but a deactivated learner gets no other change";
                    import.different.push((path, how.to_owned()));
                }
                import.entries.push((attribute, entry));
                matching.extend((priority > 0).then_some((priority, attribute)));
            }
            Err(reasons) => reasons.iter().for_each(|reason| import.leave_out(&path, reason)),
        }
    }
    matching.sort_by_key(|(priority, _)| *priority);
    let mut matching = matching.into_iter().map(|(_, attribute)| attribute);
    import.match_attribute = matching.next();
    for other in matching {
        import.leave_out(other.path(), "it is mapped, but only one attribute can match existing learners");
    }
    if let Some(attribute) = import.match_attribute.filter(|attribute| *attribute != Attribute::UserName) {
        let how = "the schema matches existing users by it; set learners.match_attribute, or userName is used";
        import.different.push((attribute.path().to_owned(), how.to_owned()));
    }
    for flow_type in users.disabled_actions() {
        let reason = "disabled in Entra, but learner-sync always creates, updates and deactivates";
        import.leave_out(&format!("target object action {flow_type:?}"), reason);
    }
    import_scope(users, import);
}

/// A filter deactivates the learners that it leaves out. So only the filters that the portal shows are imported.
fn import_scope(users: &ObjectMapping, import: &mut Import) {
    let mut reasons = Vec::new();
    match users.scope() {
        Ok(scope) => {
            for set in scope.hidden_sets() {
                import.leave_out(
                    &format!("scope.{set}"),
                    "the template sets it and the portal does not show it; as a filter it would deactivate the learners \
                     that it leaves out; write it as [[scope.filter]] if you want that",
                );
                import.filters_left_out = true;
            }
            match filters::convert_filters(scope.groups.unwrap_or_default()) {
                Ok(filters) => import.filters = filters,
                Err(found) => reasons = found,
            }
        }
        Err(reason) => reasons.push(reason),
    }
    if !reasons.is_empty() {
        reasons.iter().for_each(|reason| import.leave_out("scoping filter", reason));
        import.leave_out("scoping filter", "no filter is imported: the remaining filters would have another meaning");
        import.filters_left_out = true;
    }
}

impl Import {
    fn report(&self) {
        let mut error = std::io::stderr().lock();
        for (words, found) in [("not imported", &self.left_out), ("works differently", &self.different)] {
            for (what, reason) in found {
                // A closed standard error must not change the exit code.
                let _ = writeln!(error, "learner-sync: {words}: {}: {}", shown(what), shown(reason));
            }
        }
    }

    fn leave_out(&mut self, what: &str, reason: &str) {
        self.left_out.push((what.to_owned(), reason.to_owned()));
    }

    /// Converts an attribute mapping.
    ///
    /// # Errors
    /// Every reason why it cannot be imported.
    fn convert(&self, mapping: AttributeMapping) -> Result<(Attribute, MappingEntry), Vec<String>> {
        let AttributeMapping { default_value, flow_type, matching_priority: _, source, target_attribute_name } =
            mapping;
        let default = default_value.filter(|value| !value.is_empty());
        let apply = match flow_type.as_deref() {
            None => ApplyMode::Always,
            Some(word) if word.eq_ignore_ascii_case("Always") => ApplyMode::Always,
            Some(word) if word.eq_ignore_ascii_case("ObjectAddOnly") => ApplyMode::OnCreate,
            Some(other) => return Err(vec![format!("its flow type `{other}` is for multi-valued attributes")]),
        };
        let expression = match source {
            // Importing only the default would discard the values of the source.
            Some(SchemaSource { expression }) if expression.trim().is_empty() => {
                return Err(vec!["its source has no expression".to_owned()]);
            }
            source => source.map(|source| source.expression),
        };
        let entry = match (expression, default) {
            (Some(expression), default) => {
                MappingEntry { default, apply, ..MappingEntry::new(target_attribute_name, expression) }
            }
            // Without a source, the default is the value for all users.
            (None, Some(constant)) => {
                let constant = constant.replace('\\', r"\\").replace('"', "\\\"");
                MappingEntry { apply, ..MappingEntry::new(target_attribute_name, format!("\"{constant}\"")) }
            }
            (None, None) => return Err(vec!["it has neither a source nor a default".to_owned()]),
        };
        let attribute = entry.attribute()?;
        if attribute == Attribute::Active && !entry.keeps_enabled_active() {
            let reason = "it would deactivate learners whose account is enabled; write it by hand if you want that";
            return Err(vec![reason.to_owned()]);
        }
        match self.entries.iter().find(|(known, _)| *known == attribute) {
            Some((_, first)) => Err(vec![format!("`{}` is the same attribute and comes first", first.path)]),
            None => Ok((attribute, entry)),
        }
    }
}

/// Adds required entries that are missing.
fn add_defaults(import: &mut Import) {
    for entry in default_entries() {
        let Ok(attribute) = entry.attribute() else { continue };
        let is_mapped = import.entries.iter().any(|(known, _)| *known == attribute);
        if !is_mapped && [Attribute::UserName, Attribute::Email, Attribute::Active].contains(&attribute) {
            import.leave_out(&entry.path, "it must be mapped, but nothing was imported: the default mapping is used");
            import.added_defaults.push(entry);
        }
    }
}
