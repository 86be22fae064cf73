//! Reads typed settings from the environment and a TOML table with positions.
//!
//! The caller requests each setting by its full key, such as `safety.max_deactivations`. The environment has precedence
//! over the file. Keys that were not requested are reported as unknown.

mod unknown_keys;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::formats;
use super::problem::{ConfigPosition, ConfigProblem, Positions};

/// The prefix of environment variables that are settings.
pub(super) const PREFIX: &str = "LEARNER_SYNC_";

/// The settings, and the problems found so far.
pub(super) struct Reader<'a> {
    positions: Positions<'a>,
    table: Spanned<DeTable<'a>>,
    /// Name and value of the variables that are settings, by key.
    variables: BTreeMap<String, (&'a str, &'a str)>,
    /// The requested keys.
    pub(super) known: BTreeSet<&'static str>,
    problems: Vec<ConfigProblem>,
}

enum RawValue<'a> {
    File(&'a DeValue<'a>),
    Variable(&'a str),
}

/// An entry of a table with free keys.
pub(super) struct FreeEntry<'a> {
    pub(super) name: String,
    pub(super) value: DeValue<'a>,
    /// The start of the value.
    pub(super) position: ConfigPosition,
}

impl<'a> Reader<'a> {
    /// A reader for the TOML `text` and the settings in `environment`.
    pub(super) fn new(text: &'a str, environment: &'a BTreeMap<String, String>) -> Result<Self, Vec<ConfigProblem>> {
        let positions = Positions::new(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            // An incomplete table would cause more, misleading problems.
            return Err(errors.iter().map(|error| syntax_problem(&positions, error)).collect());
        }
        let variables = environment.iter().filter_map(|(name, value)| {
            let setting = name.strip_prefix(PREFIX)?;
            let key = setting.contains("__").then(|| setting.to_ascii_lowercase().replace("__", "."))?;
            Some((key, (name.as_str(), value.as_str())))
        });
        let variables = variables.collect();
        Ok(Self { positions, table, variables, known: BTreeSet::new(), problems: Vec::new() })
    }

    /// Records a problem of `key` at the position of its value.
    pub(super) fn refuse(&mut self, key: &str, message: impl Into<String>) {
        self.refuse_at(self.position(key), key, message);
    }

    /// Records a problem of `key` at another position.
    pub(super) fn refuse_at(&mut self, position: ConfigPosition, key: impl Into<String>, message: impl Into<String>) {
        self.problems.push(ConfigProblem { position, key: Some(key.into()), message: message.into() });
    }

    /// Whether `key`, a setting or a table, is in the file or the environment.
    pub(super) fn present(&mut self, key: &'static str) -> bool {
        self.known.insert(key);
        self.variable_in(key).is_some() || self.in_file(key).is_some()
    }

    /// A text, converted by `parse`, which returns a message for an invalid one.
    pub(super) fn text<T>(&mut self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        self.parse_setting(key, |raw| match raw {
            RawValue::File(DeValue::String(text)) => parse(text),
            RawValue::File(other) => Err(format!("must be a text in quotes, not {}", kind_of(other))),
            RawValue::Variable(text) => parse(text),
        })
    }

    /// A required text; `meaning` says where an administrator finds it.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        meaning: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !self.present(key) {
            self.refuse(key, format!("required, but missing; set it to {meaning}"));
            return None;
        }
        self.text(key, |text| {
            let placeholder = text.starts_with('<') && text.ends_with('>');
            if placeholder { Err(format!("replace the placeholder with {meaning}")) } else { parse(text) }
        })
    }

    /// One of `choices`; the first is the default.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> T {
        let chosen = self.text(key, |text| {
            let chosen = choices.iter().find(|(word, _)| *word == text);
            chosen.map(|(_, choice)| *choice).ok_or_else(|| {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                format!("must be one of {}", words.join(", "))
            })
        });
        chosen.unwrap_or(choices[0].1)
    }

    /// A whole number from 0 to `max`.
    pub(super) fn number(&mut self, key: &'static str, max: u64, default: u64) -> u64 {
        let number = self.parse_setting(key, |raw| {
            let number = match raw {
                RawValue::File(DeValue::Integer(digits)) => i128::from_str_radix(digits.as_str(), digits.radix()),
                RawValue::File(other) => return Err(format!("must be a whole number, not {}", kind_of(other))),
                RawValue::Variable(text) => text.trim().parse(),
            };
            let number = number.map_err(|_| "must be a whole number".to_owned())?;
            if number < 0 {
                return Err(format!("must not be negative, but is {number}"));
            }
            u64::try_from(number).ok().filter(|number| *number <= max).ok_or(format!("must be at most {max}"))
        });
        number.unwrap_or(default)
    }

    /// A boolean.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let flag = self.parse_setting(key, |raw| match raw {
            RawValue::File(DeValue::Boolean(flag)) => Ok(*flag),
            RawValue::File(other) => Err(format!("must be true or false without quotes, not {}", kind_of(other))),
            RawValue::Variable(text) => text.parse().map_err(|_| "must be true or false".to_owned()),
        });
        flag.unwrap_or(default)
    }

    /// A list of texts, separated by commas in the environment.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<String> {
        let list = self.parse_setting(key, |raw| match raw {
            RawValue::File(DeValue::Array(items)) => items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or_else(|| "must be a list of texts in quotes".to_owned()),
            RawValue::File(other) => Err(format!("must be a list such as [\"…\", \"…\"], not {}", kind_of(other))),
            RawValue::Variable(text) => {
                Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
            }
        });
        list.unwrap_or_default()
    }

    /// The absolute path of a file or directory. Messages do not show the value, which could be a secret.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.text(key, formats::absolute_path)
    }

    /// The entries of a table with free keys, in the order of the file.
    pub(super) fn free_table(&mut self, key: &'static str) -> Option<Vec<FreeEntry<'a>>> {
        self.known.insert(key);
        let found = self.in_file(key)?.get_ref().clone();
        let DeValue::Table(table) = found else {
            self.refuse(key, format!("must be a table, [{key}], not {}", kind_of(&found)));
            return None;
        };
        Some(self.entries(table))
    }

    /// The tables of an array `[[key]]`, each with its entries. The environment cannot set them.
    pub(super) fn free_tables(&mut self, key: &'static str) -> Vec<(ConfigPosition, Vec<FreeEntry<'a>>)> {
        self.known.insert(key);
        if self.variables.contains_key(key) {
            self.refuse(key, "cannot be set by the environment");
        }
        let Some(found) = self.in_file(key).map(|value| value.get_ref().clone()) else { return Vec::new() };
        let DeValue::Array(items) = found else {
            self.refuse(key, format!("must be written as [[{key}]] tables, not {}", kind_of(&found)));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items {
            let position = self.offset(&item);
            match item.into_inner() {
                DeValue::Table(table) => tables.push((position, self.entries(table))),
                other => self.refuse_at(position, key, format!("must be a table, [[{key}]], not {}", kind_of(&other))),
            }
        }
        tables
    }

    /// The entries of a table in the order of the file.
    pub(super) fn entries(&self, table: DeTable<'a>) -> Vec<FreeEntry<'a>> {
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let entry = |(name, value): (Spanned<_>, Spanned<_>)| FreeEntry {
            position: self.offset(&value),
            name: Cow::into_owned(name.into_inner()),
            value: value.into_inner(),
        };
        entries.into_iter().map(entry).collect()
    }

    /// All problems, including those of unknown keys and variables.
    pub(super) fn into_problems(mut self) -> Vec<ConfigProblem> {
        let mut unknown_keys = self.unknown_keys();
        self.problems.append(&mut unknown_keys);
        self.problems
    }

    fn parse_setting<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(RawValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        self.known.insert(key);
        let raw = match self.variables.get(key) {
            Some((_, text)) => RawValue::Variable(text),
            None => RawValue::File(self.in_file(key)?.get_ref()),
        };
        parse(raw).map_err(|message| self.refuse(key, message)).ok()
    }

    fn in_file(&self, key: &str) -> Option<&Spanned<DeValue<'a>>> {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        self.section(section)?.get(name)
    }

    fn section(&self, section: &str) -> Option<&DeTable<'a>> {
        let mut names = section.split('.').filter(|name| !name.is_empty());
        names.try_fold(self.table.get_ref(), |table, name| table.get(name)?.get_ref().as_table())
    }

    /// The name of the variable that sets `key` or something inside the table `key`.
    fn variable_in(&self, key: &str) -> Option<&'a str> {
        let (found, (name, _)) = self.variables.range(key.to_owned()..).next()?;
        let rest = found.strip_prefix(key)?;
        (rest.is_empty() || rest.starts_with('.')).then_some(name)
    }

    /// The position of `key`, or else of the innermost section that would contain it.
    pub(super) fn position(&self, key: &str) -> ConfigPosition {
        if let Some(name) = self.variable_in(key) {
            return ConfigPosition::Variable(name.to_owned());
        }
        let mut key = key;
        loop {
            if let Some(value) = self.in_file(key) {
                return self.offset(value);
            }
            match key.rsplit_once('.') {
                Some((section, _)) => key = section,
                None => return ConfigPosition::Whole,
            }
        }
    }

    /// The position of a value.
    pub(super) fn offset<T>(&self, value: &Spanned<T>) -> ConfigPosition {
        self.positions.at(value.span().start)
    }
}

fn syntax_problem(positions: &Positions<'_>, error: &toml::de::Error) -> ConfigProblem {
    let start = error.span().map(|span| span.start);
    let position = start.map_or(ConfigPosition::Whole, |start| positions.at(start));
    let is_unquoted = start.is_some_and(|start| has_unquoted_text(positions.line(start)));
    let message = if is_unquoted {
        "TOML syntax: the value is a text; put it in quotes".to_owned()
    } else {
        // `Display` of the error would print the line.
        format!("TOML syntax: {}", error.message().replace('\n', " "))
    };
    ConfigProblem { position, key: None, message }
}

/// Whether the line is `key = value` with a text, such as a GUID, that lacks its quotes.
fn has_unquoted_text(line: &str) -> bool {
    let Some((_, value)) = line.split_once('=') else { return false };
    let value = value.split('#').next().unwrap_or_default().trim();
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_.~:/@%+<>() ".contains(letter);
    value.starts_with(|first: char| first.is_alphanumeric() || first == '/' || first == '<')
        && value.chars().all(is_plain)
}

/// The kind of a value, for messages.
pub(super) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
