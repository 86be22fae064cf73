//! What was import, as TOML.

use super::Import;
use crate::cli::output::shown;
use crate::mapping::{ApplyMode, MappingEntry};
use crate::scope::ClauseEntry;

/// `[mapping]` and the filters, ready to stand in a configuration.
pub(super) fn toml(import: &Import) -> String {
    let mut text = String::from("[mapping]\n");
    for (_, entry) in &import.entries {
        text.push_str(&line(entry));
    }
    if !import.filled_in.is_empty() {
        text.push_str("# Nothing was import for these, and they must be mapped:\n");
        import.filled_in.iter().for_each(|entry| text.push_str(&line(entry)));
    }
    if import.filters_left_out {
        text.push_str(
            "\n# The scoping filters of the schema could not be import. As this stands, everybody who is assigned is in scope:\n\
             # write [[scope.filter]] by hand before you use it.\n",
        );
    }
    for filter in &import.filters {
        text.push_str(&format!("\n[[scope.filter]]\nname = {}\nclauses = [\n", quoted(&filter.name)));
        filter.clauses.iter().for_each(|entry| text.push_str(&clause(entry)));
        text.push_str("]\n");
    }
    if let Some(attribute) = import.match_attribute {
        text.push_str(&format!(
            "\n# Existing learners were found by this attribute; under [learners]:\n# match_attribute = {}\n",
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

/// A text between quotes that leave it as it is, where it has none of them.
fn quoted(text: &str) -> String {
    if !text.contains('\'') && shown(text) == text {
        return format!("'{text}'");
    }
    // TOML knows the escapes of JSON, and wants DEL escaped as well.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_so_that_they_stay_what_they_are() {
        for (text, expected) in [
            (r#"Join(" ", [a])"#, r#"'Join(" ", [a])'"#),
            ("it's \"so\"", r#""it's \"so\"""#),
            ("a\nb\t\u{7f}\\", r#""a\nb\t\u007f\\""#),
            ("", "''"),
        ] {
            assert_eq!(quoted(text), expected);
        }
        assert_eq!(key("userName"), "userName");
        assert_eq!(key("name.givenName"), "'name.givenName'");
    }
}
