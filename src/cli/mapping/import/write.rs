//! Writes an import as TOML.

use super::Import;
use crate::config::quoted;
use crate::mapping::{ApplyMode, MappingEntry};
use crate::scope::ClauseEntry;

/// `[mapping]` and the filters, as part of a configuration file.
pub(super) fn toml(import: &Import) -> String {
    let mut text = String::from("[mapping]\n");
    for (_, entry) in &import.entries {
        text.push_str(&line(entry));
    }
    if !import.added_defaults.is_empty() {
        text.push_str("# Required, but not in the schema; from the default mapping:\n");
        import.added_defaults.iter().for_each(|entry| text.push_str(&line(entry)));
    }
    if import.filters_left_out {
        text.push_str(
            "\n# Filters of the schema were not imported: without a [[scope.filter]] all assigned users are in scope.\n\
             # Write [[scope.filter]] by hand before you use this mapping.\n",
        );
    }
    if !import.filters.is_empty() {
        text.push_str("\n# Learners who pass none of these filters are deactivated. Run first: learner-sync plan\n");
    }
    for filter in &import.filters {
        text.push_str(&format!("\n[[scope.filter]]\nname = {}\nclauses = [\n", quoted(&filter.name)));
        filter.clauses.iter().for_each(|entry| text.push_str(&clause(entry)));
        text.push_str("]\n");
    }
    if let Some(attribute) = import.match_attribute {
        text.push_str(&format!(
            "\n# The schema matches existing users by this attribute; for [learners]:\n# match_attribute = {}\n",
            quoted(attribute.path())
        ));
    }
    text
}

fn line(entry: &MappingEntry) -> String {
    let MappingEntry { path, expression, default, apply, required: _ } = entry;
    let mut options = vec![format!("expression = {}", quoted(expression))];
    options.extend(default.as_ref().map(|default| format!("default = {}", quoted(default))));
    options.extend((*apply == ApplyMode::OnCreate).then(|| "apply = \"on-create\"".to_owned()));
    match options.as_slice() {
        [_] => format!("{} = {}\n", key(path), quoted(expression)),
        options => format!("{} = {{ {} }}\n", key(path), options.join(", ")),
    }
}

fn clause(entry: &ClauseEntry) -> String {
    let ClauseEntry { attribute, operator, value } = entry;
    let value = value.as_ref().map(|value| format!(", value = {}", quoted(value))).unwrap_or_default();
    format!("  {{ attribute = {}, operator = {}{value} }},\n", quoted(attribute), quoted(operator))
}

fn key(path: &str) -> String {
    let is_bare = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !path.is_empty() && path.chars().all(is_bare) { path.to_owned() } else { quoted(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_keys_stand_without_quotes() {
        assert_eq!(key("userName"), "userName");
        assert_eq!(key("name.givenName"), "\"name.givenName\"");
        assert_eq!(key(""), "\"\"");
    }
}
