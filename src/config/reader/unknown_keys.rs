//! Unknown keys and variables, with suggestions.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::{PREFIX, Reader, kind_of};
use crate::config::problem::{ConfigPosition, ConfigProblem, MAX_LISTED};
use crate::nearest::nearest;

/// An unknown key of the file.
struct UnknownKey<'a, 't> {
    /// The offset of its name.
    start: usize,
    key: String,
    section: String,
    name: String,
    value: &'t DeValue<'a>,
    /// Whether there is a section of this name.
    is_section: bool,
}

impl<'a> Reader<'a> {
    /// A problem for each unknown key in the file and the environment.
    pub(super) fn unknown_keys(&self) -> Vec<ConfigProblem> {
        let mut in_file = Vec::new();
        self.unknown_keys_in(self.table.get_ref(), "", &mut in_file);
        in_file.sort_by_key(|unknown| unknown.start);
        let in_file = in_file.into_iter().enumerate();
        let mut unknown_keys: Vec<ConfigProblem> =
            in_file.map(|(index, unknown)| self.unknown_key_problem(unknown, index < MAX_LISTED)).collect();
        let faulty: BTreeSet<&ConfigPosition> = self.problems.iter().map(|problem| &problem.position).collect();
        for (key, (name, _)) in &self.variables {
            let position = ConfigPosition::Variable((*name).to_owned());
            if !self.known.contains(key.as_str()) && !faulty.contains(&position) {
                unknown_keys.push(ConfigProblem {
                    position,
                    key: Some(key.clone()),
                    message: self.unknown_variable(key),
                });
            }
        }
        unknown_keys
    }

    /// Warnings about variables that resemble a setting, such as one underscore instead of two.
    pub(in crate::config) fn near_misses<'n>(&self, names: impl Iterator<Item = &'n String>) -> Vec<String> {
        let near = |name: &String| {
            let setting = name.strip_prefix(PREFIX).filter(|setting| !setting.contains("__"))?;
            let key = self.known.iter().find(|key| key.replace('.', "_").eq_ignore_ascii_case(setting))?;
            Some(format!("{name} is ignored: the variable of {key} is {}", variable_name(key)))
        };
        names.filter_map(near).collect()
    }

    fn unknown_keys_in<'t>(&self, table: &'t DeTable<'a>, section: &str, unknown_keys: &mut Vec<UnknownKey<'a, 't>>) {
        let sections = self.names_in(section);
        for (name, value) in table {
            // A quoted name with a dot resembles a key of another section.
            let dotted = name.get_ref().contains('.');
            let name_text = if dotted { format!("{:?}", name.get_ref()) } else { name.get_ref().to_string() };
            let key = if section.is_empty() { name_text.clone() } else { format!("{section}.{name_text}") };
            if self.known.contains(key.as_str()) {
                continue;
            }
            let is_section = sections.contains(name_text.as_str()) && self.is_section(&key);
            match value.get_ref().as_table().filter(|_| is_section) {
                Some(table) => self.unknown_keys_in(table, &key, unknown_keys),
                None => {
                    let (section, name, start) = (section.to_owned(), name_text, name.span().start);
                    unknown_keys.push(UnknownKey { start, key, section, name, value: value.get_ref(), is_section });
                }
            }
        }
    }

    fn unknown_key_problem(&self, unknown: UnknownKey<'_, '_>, is_listed: bool) -> ConfigProblem {
        let UnknownKey { start, key, section, name, value, is_section } = unknown;
        let message = if is_section {
            format!("must be a table, [{key}], not {}", kind_of(value))
        } else if is_listed {
            self.unknown_key(&key, &section, &name)
        } else {
            // A suggestion takes time.
            "unknown key".to_owned()
        };
        ConfigProblem { position: self.positions.at(start), key: Some(key), message }
    }

    fn is_section(&self, key: &str) -> bool {
        self.known.iter().any(|known| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
    }

    fn unknown_key(&self, key: &str, section: &str, name: &str) -> String {
        if let Some(hint) = secret_hint(key) {
            return format!("unknown key; this file must not contain secrets: {hint}");
        }
        let names = self.names_in(section);
        let elsewhere = || self.known.iter().find(|known| known.rsplit('.').next() == Some(name)).copied();
        let nearest = nearest(name, names.iter().copied());
        let meant = nearest.or_else(elsewhere);
        let advice = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
        let position = if section.is_empty() { "the sections are".to_owned() } else { format!("[{section}] has") };
        format!("unknown key{advice} ({position} {})", names.into_iter().collect::<Vec<_>>().join(", "))
    }

    fn unknown_variable(&self, key: &str) -> String {
        if let Some(table) = self.known.iter().find(|known| key.starts_with(&format!("{known}."))) {
            return format!("[{table}] cannot be set by the environment");
        }
        if let Some(hint) = secret_hint(key) {
            return format!("unknown setting; {hint}");
        }
        match nearest(key, self.known.iter().copied()) {
            Some(meant) => format!("unknown setting; did you mean {}?", variable_name(meant)),
            None => "unknown setting; LEARNER_SYNC_SECTION__KEY sets section.key".to_owned(),
        }
    }

    /// The names of the keys directly in `section`, or of the sections if `section` is empty.
    fn names_in(&self, section: &str) -> BTreeSet<&'static str> {
        let inside = |known: &&'static str| {
            let rest = if section.is_empty() { Some(*known) } else { known.strip_prefix(section)?.strip_prefix('.') };
            rest?.split('.').next()
        };
        self.known.iter().filter_map(inside).collect()
    }
}

fn variable_name(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// Advice for a secret that the configuration seems to contain as `key`.
fn secret_hint(key: &str) -> Option<&'static str> {
    let has = |word: &str| key.to_ascii_lowercase().contains(word);
    if has("proxy_pass") {
        Some("write it to a file and set entra.proxy_password_file")
    } else if has("learners.") && has("password") {
        Some("write it to a file and set learners.password_file")
    } else if has("notify.") && has("password") {
        Some("write it to a file and set notify.smtp_password_file")
    } else if has("notify.") && (has("secret") || has("token")) {
        Some("write it to a file and set notify.webhook_secret_file")
    } else if has("webhook_url") {
        Some("write it to a file and set notify.webhook_url_file")
    } else if ["secret", "password", "private_key", "token"].into_iter().any(has) {
        Some("write it to a file and set entra.credential.secret_file, or set LEARNER_SYNC_CLIENT_SECRET")
    } else {
        None
    }
}
