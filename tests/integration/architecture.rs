//! Who may know what: the rules of `src/lib.rs` and the design, read from the sources themselves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A source file and its code lines, without comments.
struct Source {
    path: String,
    lines: Vec<String>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut waiting: Vec<PathBuf> = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = |line: &str| line.split("//").next().unwrap_or_default().trim().to_owned();
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            found.push(Source { path: name, lines: text.lines().map(code).collect() });
        }
    }
    assert!(found.len() > 40, "{} files in {}", found.len(), root.display());
    found
}

/// The module at the top level that a file belongs to.
fn module(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

fn is_identifier(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether `line` names `word` as a whole word.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_identifier) && !after.is_some_and(is_identifier)
    })
}

/// The modules of ours that a line names, whether as `crate::a` or within `crate::{a, b}`.
fn modules_named(line: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let name = |text: &str| text.trim().chars().take_while(|letter| is_identifier(*letter)).collect::<String>();
        match rest.strip_prefix('{') {
            Some(list) => found.extend(list.split(',').map(name)),
            None => drop(found.insert(name(rest))),
        }
    }
    found
}

#[test]
fn the_pure_modules_know_the_model_and_nothing_else_of_ours() {
    for source in sources() {
        let own = module(&source.path).to_owned();
        if !["expression", "scope", "mapping", "plan", "model", "nearest"].contains(&own.as_str()) {
            continue;
        }
        let mut allowed = BTreeSet::from([own.clone(), "model".to_owned()]);
        if ["expression", "scope", "mapping"].contains(&own.as_str()) {
            // The spelling of a suggestion; it names nothing of ours either.
            allowed.insert("nearest".to_owned());
        }
        if ["scope", "mapping"].contains(&own.as_str()) {
            // Both are written in its terms, and it is as pure as they are.
            allowed.insert("expression".to_owned());
        }
        for line in &source.lines {
            let named = modules_named(line);
            assert!(named.is_subset(&allowed), "{}: {line}", source.path);
            for word in ["async", "await", "std::fs", "std::net", "tokio"] {
                assert!(!names(line, word), "{}: {word} in {line}", source.path);
            }
        }
    }
}

#[test]
fn each_dependency_has_one_home() {
    let homes: [(&str, &[&str]); 7] = [
        ("reqwest", &["auth", "directory", "retry"]),
        ("oauth2", &["auth", "directory"]),
        ("sqlx", &["store"]),
        ("sled", &["cache"]),
        ("tokio_cron_scheduler", &["daemon"]),
        ("clap", &["cli", "main"]),
        ("toml", &["config"]),
    ];
    for (dependency, homes) in homes {
        let mut named_in = BTreeSet::new();
        for source in sources() {
            if source.lines.iter().any(|line| names(line, dependency) && line.contains(&format!("{dependency}::"))) {
                named_in.insert(module(&source.path).to_owned());
            }
        }
        assert!(!named_in.is_empty(), "{dependency} is named nowhere: does this test look at all?");
        let homes: BTreeSet<String> = homes.iter().map(|home| (*home).to_owned()).collect();
        assert!(named_in.is_subset(&homes), "{dependency} is named in {named_in:?}");
    }
}

#[test]
fn directory_store_and_cache_never_see_each_other() {
    let apart = ["directory", "store", "cache"];
    for source in sources().iter().filter(|source| apart.contains(&module(&source.path))) {
        for line in &source.lines {
            let named = modules_named(line);
            let others = apart.iter().filter(|other| **other != module(&source.path));
            for other in others {
                assert!(!named.contains(*other), "{}: {line}", source.path);
            }
        }
    }
}

#[test]
fn sql_stands_in_the_store_alone() {
    for source in sources().iter().filter(|source| module(&source.path) != "store") {
        for line in &source.lines {
            for statement in ["SELECT ", "INSERT INTO", "UPDATE ", "DELETE FROM", "CREATE TABLE"] {
                assert!(!line.contains(&format!("\"{statement}")), "{}: {line}", source.path);
            }
        }
    }
}
