//! The dependency rules of `src/lib.rs`, checked on the source text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A source file. `code` has neither comments nor string contents, `text` has no comments; neither has the inline test
/// modules.
struct Source {
    path: String,
    code: String,
    text: String,
}

impl Source {
    /// `store` of `store/db/row.rs`.
    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or(&self.path).trim_end_matches(".rs")
    }

    /// `["store", "db", "row"]` of `store/db/row.rs`.
    fn module_path(&self) -> Vec<String> {
        let path = self.path.trim_end_matches(".rs");
        if ["lib", "main"].contains(&path) { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
    }

    fn is_test(&self) -> bool {
        self.module_path().iter().any(|module| module == "tests")
    }

    /// Every path into this crate, from its root: `["store", "db", "Statement"]`.
    fn paths(&self) -> BTreeSet<Vec<String>> {
        let module = self.module_path();
        let mut found = BTreeSet::new();
        for (at, word) in words(&self.code) {
            let rest = &self.code[at..];
            let is_path = ["crate", "super", "self"].contains(&word) && rest[word.len()..].starts_with("::");
            if is_path && !self.code[..at].trim_end().ends_with("::") {
                let mut paths = Vec::new();
                read_paths(rest, &[], &mut paths);
                found.extend(paths.iter().map(|path| resolve(&module, path)));
            }
        }
        found
    }

    /// The top-level modules of this crate that the file names.
    fn modules(&self) -> BTreeSet<String> {
        self.paths().into_iter().filter_map(|path| path.into_iter().next()).collect()
    }

    fn names(&self, word: &str) -> bool {
        let mut positions = self.code.match_indices(word);
        positions.any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + word.len()..].chars().next();
            !before.is_some_and(is_identifier) && !after.is_some_and(is_identifier)
        })
    }
}

fn is_identifier(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The identifiers and keywords of `text`, with their positions.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text[rest..].find(is_identifier)?;
        let length = text[start..].find(|letter| !is_identifier(letter)).unwrap_or(text.len() - start);
        rest = start + length;
        Some((start, &text[start..rest]))
    })
}

/// Reads `a::b`, or each path of `a::{b, c::d}`, at the start of `text`. Returns the rest.
fn read_paths<'t>(text: &'t str, prefix: &[String], found: &mut Vec<Vec<String>>) -> &'t str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|letter: char| letter.is_whitespace() || letter == ',');
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            let after = read_paths(rest, prefix, found);
            // The new name of `a as b` is irrelevant.
            rest = after.find([',', '}']).map_or("", |end| &after[end..]);
        }
    }
    let end = text.find(|letter| !is_identifier(letter)).unwrap_or(text.len());
    let path = [prefix, &[text[..end].to_owned()]].concat();
    match text[end..].strip_prefix("::") {
        Some(rest) => read_paths(rest, &path, found),
        None => {
            found.push(path);
            &text[end..]
        }
    }
}

/// The path from the root of the crate.
fn resolve(module: &[String], path: &[String]) -> Vec<String> {
    let mut resolved = module.to_vec();
    for part in path {
        match part.as_str() {
            "crate" => resolved.clear(),
            "super" => drop(resolved.pop()),
            "self" => {}
            part => resolved.push(part.to_owned()),
        }
    }
    resolved
}

/// Removes comments, and the contents of strings unless `keep_strings`.
fn strip(text: &str, keep_strings: bool) -> String {
    let mut stripped = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let raw = rest.strip_prefix('r').map(|after| after.trim_start_matches('#'));
        let (skipped, kept) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), false)
        } else if let Some(after) = raw.filter(|after| after.starts_with('"') && !stripped.ends_with(is_identifier)) {
            let hashes = rest.len() - after.len() - 1;
            let end = format!("\"{}", "#".repeat(hashes));
            let start = hashes + 2;
            (rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len()), keep_strings)
        } else if letter == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|letter| {
                let is_end = letter == '"' && !escaped;
                escaped = letter == '\\' && !escaped;
                is_end
            });
            (end.map_or(rest.len(), |end| end + 2), keep_strings)
        } else if rest.starts_with("'\"'") {
            (3, false)
        } else {
            (letter.len_utf8(), true)
        };
        stripped.push_str(if kept { &rest[..skipped] } else { " " });
        rest = &rest[skipped..];
    }
    stripped
}

/// Removes the inline modules for tests.
fn without_tests(mut text: String) -> String {
    const START: &str = "#[cfg(test)]\nmod tests {";
    while let Some(start) = text.find(START) {
        let end = text[start..].find("\n}").map_or(text.len(), |end| start + end + 2);
        text.replace_range(start..end, "");
    }
    text
}

/// The files below `src` with this extension: their paths below `src`, and their texts.
fn files(extension: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut waiting: Vec<PathBuf> = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|other| other == extension) {
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

fn sources() -> Vec<Source> {
    let source = |(path, text)| {
        let text = without_tests(text);
        Source { path, code: strip(&text, false), text: strip(&text, true) }
    };
    let found: Vec<Source> = files("rs").into_iter().map(source).collect();
    assert!(found.len() > 40, "{} files", found.len());
    found
}

#[test]
fn paths_are_read_from_imports_and_expressions() {
    let text = r##"
        use super::{row::{self, SqlRow}, Statement as S}; // crate::comment
        fn f() -> crate::model::Table { let x = "crate::string"; let y = r#"crate::"raw"#; super::super::super::plan::plan() }
    "##;
    let source = Source { path: "store/db/value.rs".to_owned(), code: strip(text, false), text: strip(text, true) };
    let paths: Vec<String> = source.paths().iter().map(|path| path.join("::")).collect();
    assert_eq!(
        paths,
        ["model::Table", "plan::plan", "store::db::Statement", "store::db::row", "store::db::row::SqlRow"]
    );
    assert!(source.text.contains("string") && !source.text.contains("comment"), "{}", source.text);
}

#[test]
fn pure_modules_use_only_the_model_and_do_no_io() {
    let may_use: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("model", &[][..]),
        // Spelling suggestions.
        ("nearest", &[]),
        ("expression", &["model", "nearest"]),
        ("scope", &["model", "nearest", "expression"]),
        ("mapping", &["model", "nearest", "expression"]),
        ("plan", &["model"]),
    ]);
    let sources = sources();
    for module in may_use.keys() {
        assert!(sources.iter().any(|source| source.module() == *module), "there is no module {module}");
    }
    for source in sources.iter().filter(|source| !source.is_test()) {
        let Some(allowed) = may_use.get(source.module()) else { continue };
        for module in source.modules() {
            assert!(module == source.module() || allowed.contains(&&*module), "{} uses {module}", source.path);
        }
        let is_clock = source.module() == "model" && source.path == "model.rs";
        for word in
            ["async", "await", "std::fs", "std::net", "std::env", "std::process", "tokio", "Instant", "SystemTime"]
        {
            assert!(!source.names(word), "{} uses {word}", source.path);
        }
        for word in ["Timestamp::now", "Zoned::now"] {
            assert!(is_clock || !source.names(word), "{} uses {word}", source.path);
        }
    }
}

#[test]
fn each_dependency_has_one_home() {
    let homes: [(&str, &[&str]); 13] = [
        ("reqwest", &["auth", "directory", "retry", "notify"]),
        ("lettre", &["config", "notify"]),
        ("oauth2", &["auth", "directory"]),
        ("sqlx", &["store"]),
        ("sled", &["cache"]),
        ("tokio_cron_scheduler", &["daemon"]),
        ("clap", &["cli", "main"]),
        ("toml", &["config"]),
        ("axum", &["http"]),
        ("hyper", &["http"]),
        ("hyper_util", &["http"]),
        ("maud", &["http"]),
        ("prometheus_client", &["http"]),
    ];
    let sources = sources();
    for (dependency, homes) in homes {
        let path = format!("{dependency}::");
        let users = sources.iter().filter(|source| source.names(dependency) && source.code.contains(&path));
        let modules: BTreeSet<&str> = users.map(Source::module).collect();
        assert!(!modules.is_empty(), "no module uses {dependency}");
        assert!(modules.is_subset(&homes.iter().copied().collect()), "{modules:?} use {dependency}");
    }
}

#[test]
fn only_the_files_module_opens_files() {
    for source in sources().iter().filter(|source| source.module() != "files" && !source.is_test()) {
        for word in
            ["fs::read(", "read_to_string(path", "File::open", "File::create", "OpenOptions", "fs::write", "fs::copy"]
        {
            assert!(!source.code.contains(word), "{} uses {word}", source.path);
        }
    }
}

#[test]
fn directory_store_and_cache_never_use_each_other() {
    let apart = ["directory", "store", "cache"];
    for source in sources().iter().filter(|source| apart.contains(&source.module())) {
        for module in source.modules() {
            assert!(module == source.module() || !apart.contains(&&*module), "{} uses {module}", source.path);
        }
    }
}

#[test]
fn only_the_store_contains_sql() {
    for source in sources().iter().filter(|source| source.module() != "store") {
        for statement in ["SELECT ", "INSERT INTO", "UPDATE ", "DELETE FROM", "CREATE TABLE"] {
            assert!(!source.text.contains(&format!("\"{statement}")), "{}: {statement}", source.path);
        }
    }
}

#[test]
fn the_store_uses_only_what_is_below_it() {
    let allowed = ["store", "plan", "model", "nearest", "files", "failpoint"];
    for source in sources().iter().filter(|source| source.module() == "store" && !source.is_test()) {
        for module in source.modules() {
            assert!(allowed.contains(&&*module), "{} uses {module}", source.path);
        }
    }
}

#[test]
fn each_public_type_has_its_own_name() {
    let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for line in source.code.lines() {
            let Some(rest) = line.trim_start().strip_prefix("pub ") else { continue };
            let mut parts = rest.split(|letter| !is_identifier(letter));
            if ["struct", "enum", "type", "trait"].contains(&parts.next().unwrap_or_default()) {
                homes.entry(parts.next().unwrap_or_default().to_owned()).or_default().push(source.path.clone());
            }
        }
    }
    assert!(homes.len() > 100, "{} types", homes.len());
    homes.retain(|_, homes| homes.len() > 1);
    assert!(homes.is_empty(), "{homes:#?}");
}

/// The floors of the store, lowest first.
const FLOORS: [&str; 19] = [
    "db",
    "error",
    "table",
    "schema",
    "used_databases",
    "location",
    "handle",
    "state",
    "audit",
    "cycles",
    "cycle_lock",
    "daemons",
    "schedule",
    "notifications",
    "read",
    "write",
    "administration",
    "take_over",
    "open",
];

#[test]
fn floors_of_the_store_use_only_lower_floors() {
    let level = |floor: &str| FLOORS.iter().position(|other| *other == floor);
    let mut seen = BTreeSet::new();
    for source in sources().iter().filter(|source| source.module() == "store" && !source.is_test()) {
        let Some(floor) = source.module_path().get(1).cloned() else { continue };
        let own = level(&floor).unwrap_or_else(|| panic!("{} belongs to no floor", source.path));
        for path in source.paths().iter().filter(|path| path[0] == "store") {
            let other = path.get(1).map_or("", String::as_str);
            // A name that `store.rs` exports could come from any floor.
            let other_level = level(other).unwrap_or_else(|| panic!("{} uses {}", source.path, path.join("::")));
            assert!(other_level <= own, "{} uses {}", source.path, path.join("::"));
        }
        seen.insert(floor);
    }
    assert_eq!(seen.len(), FLOORS.len(), "{seen:?}");
}

#[test]
fn the_lowest_floor_of_the_store_knows_no_table() {
    let sources = sources();
    let files = [files("rs"), files("sql")].concat();
    let schema = files.iter().filter(|(path, _)| path.starts_with("store/schema/"));
    let created = schema.flat_map(|(_, text)| text.split("CREATE TABLE ").skip(1)).filter_map(|after| {
        let name = after.trim_start_matches("IF NOT EXISTS ").split(|letter| !is_identifier(letter)).next();
        name.filter(|name| !name.is_empty())
    });
    let tables: BTreeSet<&str> = created.collect();
    assert!(tables.contains("learners") && tables.contains("sync_state"), "{tables:?}");
    for source in sources.iter().filter(|source| source.path.starts_with("store/db")) {
        for path in source.paths() {
            let is_allowed = path[0] == "files" || path.starts_with(&["store".to_owned(), "db".to_owned()]);
            assert!(is_allowed, "{} uses {}", source.path, path.join("::"));
        }
        for (_, word) in words(&source.text) {
            assert!(!tables.contains(word), "{} names the table {word}", source.path);
        }
    }
}
