//! The guide and the README: what they show exists, parses and runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use graph_sim::Tenant;
use learner_sync::config;
use learner_sync::model::{Action, Outcome, Reason, Status, UnknownWord};

use crate::database::{Database, apply, is_on_postgres, on_both};
use crate::postgres::shared;
use crate::program::{PROGRAM, Ran, add_assigned_user, finish, users};
use crate::world::{World, assigned};

/// The tables of the configuration.
const SECTIONS: [&str; 12] = [
    "app",
    "entra",
    "http",
    "learners",
    "log",
    "mapping",
    "provisioning",
    "safety",
    "schedule",
    "scope",
    "state",
    "notify",
];
/// A file and a table whose names begin like keys.
const NO_KEYS: [&str; 2] = ["learners.db", "app.accounts"];
/// The commands that can be named without `learner-sync`.
const COMMANDS: [&str; 17] = [
    "approve",
    "check",
    "completions",
    "guide",
    "init",
    "log",
    "mapping",
    "pause",
    "plan",
    "provision",
    "resume",
    "resync",
    "run",
    "schema",
    "status",
    "sync",
    "version",
];
/// The keys that every configuration needs.
const REQUIRED: &str = r#"
    [entra]
    tenant_id = "6f1c2a52-91d4-4b0e-8a37-d5e0c4b7f913"
    client_id = "b84d6e0f-2c59-47a1-9e63-70f5a1d8c246"
    [app]
    enterprise_app = "d1b7e5a3-48c6-4f92-80da-3e9c65b0f721"
"#;
/// The entries that every mapping needs.
const REQUIRED_MAPPING: &str = r#"
    [mapping]
    userName = "[userPrincipalName]"
    'emails[type eq "work"].value' = "[mail]"
    active = 'Switch([IsSoftDeleted], , "False", "True", "True", "False")'
"#;

/// A schema as Entra exports it, without what the import does not need.
const EXPORTED: &str = r#"{"attributeMappings": [
    {"targetAttributeName": "userName", "source": {"expression": "[userPrincipalName]"}},
    {"targetAttributeName": "emails[type eq \"work\"].value", "source": {"expression": "[mail]"}},
    {"targetAttributeName": "active", "source": {"expression": "Not([IsSoftDeleted])"}}
]}"#;

/// One file of the documentation.
struct Page {
    name: String,
    text: String,
}

/// A fenced block.
struct Block {
    language: String,
    text: String,
}

impl Page {
    fn read(path: &Path) -> Self {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        Self { name, text: std::fs::read_to_string(path).unwrap() }
    }

    fn blocks(&self) -> Vec<Block> {
        let (mut blocks, mut open) = (Vec::new(), None::<Block>);
        for line in self.text.lines().map(str::trim) {
            match (line.strip_prefix("```"), &mut open) {
                (Some(language), None) => open = Some(Block { language: language.to_owned(), text: String::new() }),
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => block.text.push_str(&format!("{line}\n")),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block is not closed", self.name);
        blocks
    }

    fn blocks_of(&self, language: &str) -> Vec<String> {
        let blocks = self.blocks().into_iter().filter(|block| block.language == language);
        blocks.map(|block| block.text).collect()
    }

    /// The commands in shell blocks, one line each.
    fn commands(&self) -> Vec<String> {
        let joined = self.blocks_of("sh").concat().replace("\\\n", "");
        joined.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    /// The commands of this program in shell blocks, as the service user would type them.
    fn own_commands(&self) -> Vec<String> {
        let commands = self.commands().into_iter();
        let plain = commands.map(|line| line.strip_prefix("sudo -u learner-sync ").unwrap_or(&line).to_owned());
        plain.filter(|line| line.starts_with("learner-sync ") || line.contains(" learner-sync schema ")).collect()
    }

    /// The code between backticks in the prose.
    fn inline_code(&self) -> Vec<String> {
        let mut inside = false;
        let prose = self.text.lines().filter(|line| {
            let fence = line.trim().starts_with("```");
            inside ^= fence;
            !inside && !fence
        });
        let prose = prose.collect::<Vec<_>>().join(" ");
        let code = prose.split('`').skip(1).step_by(2);
        code.map(|code| code.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn topics() -> Vec<Page> {
    let files = std::fs::read_dir(root().join("src/cli/guide")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    // A topic may have a picture beside it.
    let texts = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut pages: Vec<_> = texts.map(|path| Page::read(&path)).collect();
    pages.sort_by(|one, other| one.name.cmp(&other.name));
    pages
}

fn readme() -> Page {
    Page::read(&root().join("README.md"))
}

fn pages() -> Vec<Page> {
    topics().into_iter().chain([readme()]).collect()
}

/// The program without a configuration.
fn alone(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().env("LEARNER_SYNC_CONFIG", "/nonexistent/learner-sync.toml").args(arguments);
    command.stdin(Stdio::null());
    command
}

/// Runs a line in a shell that finds the program, where `config` is its configuration.
#[track_caller]
fn shell(line: &str, directory: &Path, config: &Path, code: i32) -> Ran {
    let programs = directory.join("bin");
    if !programs.exists() {
        std::fs::create_dir(&programs).unwrap();
        std::os::unix::fs::symlink(PROGRAM, programs.join("learner-sync")).unwrap();
    }
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display());
    let mut command = Command::new("bash");
    command.env_clear().env("PATH", path).env("LEARNER_SYNC_CONFIG", config).current_dir(directory);
    command.args(["-c", line]).stdin(Stdio::null());
    finish(command, code)
}

#[test]
fn the_guide_lists_its_topics_and_prints_each() {
    let listed = finish(alone(&["guide"]), 0);
    let mut names: Vec<&str> =
        listed.stdout.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    names.sort_unstable();
    let topics = topics();
    assert_eq!(names, topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>());
    for Page { name, text } in &topics {
        let printed = finish(alone(&["guide", name]), 0);
        assert_eq!((printed.stdout.trim_end(), printed.stderr.as_str()), (text.trim_end(), ""));
    }
}

#[test]
fn an_unknown_topic_is_a_usage_error_that_lists_the_topics() {
    let ran = finish(alone(&["guide", "instaling"]), 2);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("did you mean `installing`?"), "{}", ran.stderr);
    for topic in topics() {
        assert!(ran.stderr.contains(&topic.name), "{}", ran.stderr);
    }
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = alone(&["guide", "operations"]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_guide_fits_a_terminal_of_80_columns() {
    let list = Page { name: "list".to_owned(), text: finish(alone(&["guide"]), 0).stdout };
    for Page { name, text } in topics().into_iter().chain([list]) {
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
        assert!(!text.contains("</") && !text.contains("<br"), "{name}: HTML");
    }
}

#[test]
fn the_readme_is_short_and_links_to_every_topic() {
    let readme = readme();
    assert!(readme.text.lines().count() <= 250);
    let links: Vec<&str> = readme.text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    for link in links.iter().filter(|link| !link.starts_with("http")) {
        assert!(root().join(link).exists(), "{link}");
    }
    for topic in topics() {
        assert!(links.contains(&format!("src/cli/guide/{}.md", topic.name).as_str()), "{}", topic.name);
    }
}

fn words<T: std::str::FromStr<Err = UnknownWord>>() -> &'static [&'static str] {
    "".parse::<T>().err().unwrap().expected
}

#[test]
fn operations_explains_every_word_of_the_program() {
    let operations = topics().into_iter().find(|topic| topic.name == "operations").unwrap();
    for word in [words::<Reason>(), words::<Outcome>()].concat() {
        assert!(operations.text.contains(&format!("\n- `{word}`: ")), "{word} is not explained");
    }
    for word in [words::<Status>(), words::<Action>()].concat() {
        assert!(operations.text.contains(word), "{word} is not named");
    }
    for code in [0, 1, 2, 3, 75, 78] {
        assert!(operations.text.contains(&format!("\n| {code:<4} |")), "exit code {code}");
    }
    for signal in ["SIGUSR1", "SIGUSR2", "SIGHUP", "SIGTERM", "SIGINT"] {
        assert!(operations.text.contains(&format!("`{signal}`")), "{signal}");
    }
}

/// Puts the tables of `more` into `into`.
fn merge(into: &mut toml::Table, more: toml::Table) {
    for (key, value) in more {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(known)), toml::Value::Table(table)) => merge(known, table),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

/// The problems of a configuration with `block` in it; nothing when it is good.
fn complaint(block: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("learner-sync.toml");
    let block: toml::Table = block.parse().unwrap_or_else(|error| panic!("{error}:\n{block}"));
    let mut table: toml::Table = REQUIRED.parse().unwrap();
    if block.contains_key("mapping") {
        merge(&mut table, REQUIRED_MAPPING.parse().unwrap());
    }
    merge(&mut table, block);
    std::fs::write(&path, table.to_string()).unwrap();
    config::load(&path, &BTreeMap::new()).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn every_configuration_in_the_guide_is_accepted() {
    for page in pages() {
        for block in page.blocks_of("toml") {
            assert_eq!(complaint(&block), "", "{}:\n{block}", page.name);
        }
        for code in page.inline_code() {
            let (key, value) = code.split_once(" = ").map_or((&*code, None), |(key, value)| (key, Some(value)));
            let words: Vec<&str> = key.split('.').collect();
            let in_section = words.len() > 1 && SECTIONS.contains(&words[0]);
            match value {
                Some(_) if in_section => assert_eq!(complaint(&code), "", "{}: {code}", page.name),
                // A value of the wrong type, which is refused in other words than an unknown key.
                None if in_section
                    && !key.contains(['/', ' '])
                    && !NO_KEYS.iter().any(|name| key.starts_with(name)) =>
                {
                    let complaint = complaint(&format!("{key} = 1.5"));
                    assert!(!complaint.contains("unknown key"), "{}: {code}: {complaint}", page.name);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn every_expression_in_the_guide_compiles() {
    for page in pages() {
        for code in page.inline_code().iter().filter(|code| code.starts_with('[') || code.starts_with("Switch(")) {
            let name = code.trim_matches(['[', ']']).split('.').next().unwrap();
            if !SECTIONS.contains(&name) && !code.contains("APPID") {
                assert_eq!(complaint(&format!("[mapping]\ntitle = '{code}'")), "", "{}: {code}", page.name);
            }
        }
    }
}

#[test]
fn every_command_in_the_guide_parses() {
    let directory = tempfile::tempdir().unwrap();
    let topics: Vec<String> = topics().into_iter().map(|topic| topic.name).collect();
    for page in pages() {
        for code in page.inline_code() {
            let arguments = code.strip_prefix("learner-sync ").unwrap_or(&code);
            let named = code.starts_with("learner-sync ");
            let is_command = arguments.split(' ').next().is_some_and(|word| COMMANDS.contains(&word));
            assert!(is_command || !named, "{}: {code}", page.name);
            if is_command {
                // Unknown commands and flags are refused before the help is printed; missing arguments are not.
                let arguments: Vec<&str> = arguments.split(' ').chain(["--help"]).collect();
                finish(alone(&arguments), 0);
            }
            if let Some(topic) = code.strip_prefix("learner-sync guide ") {
                assert!(topic == "TOPIC" || topics.iter().any(|known| known == topic), "{}: {code}", page.name);
            }
        }
        for line in page.own_commands() {
            // Without a configuration: 78 is what follows when the arguments are good, 2 when they are not.
            let line = format!("{line}; test $? -ne 2");
            let config = Path::new("/nonexistent/learner-sync.toml");
            shell(&line, directory.path(), config, 0);
        }
    }
}

/// Commands that need a server, an owner or a former learner; others have tests for them.
fn needs_more(line: &str) -> bool {
    line.contains(" --writer ") || line.contains(" --relink ")
}

/// The exit code that a command ends with in the world of the tests.
fn exit_code(topic: &str, line: &str) -> i32 {
    match (topic, line) {
        // Without a terminal, it cannot ask.
        ("holds", "learner-sync approve") => 2,
        ("holds", "learner-sync resync --wait") => 3,
        // There is no section for it.
        (_, "learner-sync notify test") => 78,
        _ => 0,
    }
}

/// Two learners, or 25 held ones for the topic that is about them.
async fn world_for(topic: &str) -> World {
    let mut tenant = Tenant::default();
    for (given_name, surname) in [("Ada", "Lovelace"), ("Grace", "Hopper")] {
        add_assigned_user(&mut tenant, given_name, surname);
    }
    let leavers = if topic == "holds" { assigned(&mut tenant, 25) } else { Vec::new() };
    let world = World::start(tenant).await;
    if !["installing", "going-live", "README"].contains(&topic) {
        world.run_program(&["sync"], 0);
    }
    if !leavers.is_empty() {
        world.sim.tenant(|tenant| leavers.iter().for_each(|user| tenant.unassign(user)));
        world.run_program(&["sync"], 3);
    }
    std::fs::write(world.path("schema.json"), EXPORTED).unwrap();
    world
}

#[tokio::test]
async fn the_commands_in_the_guide_run() {
    for page in pages() {
        let lines: Vec<String> = page.own_commands().into_iter().filter(|line| !needs_more(line)).collect();
        if lines.is_empty() {
            continue;
        }
        let world = world_for(&page.name).await;
        for line in lines {
            let daemon = match line.contains(" resync") {
                true => {
                    let ended = world.cycles().await.len();
                    let daemon = world.daemon().await;
                    world.cycles_ended(ended + 1).await;
                    Some(daemon)
                }
                false => None,
            };
            shell(&line, &world.path(""), &world.config_path(), exit_code(&page.name, &line));
            if let Some(daemon) = daemon {
                daemon.stop().await;
            }
            if line.ends_with(" pause") {
                world.run_program(&["resume"], 0);
            }
        }
    }
}

#[tokio::test]
async fn the_example_of_an_existing_table_works() {
    let Some(server) = shared() else { return };
    let page = topics().into_iter().find(|topic| topic.name == "existing-table").unwrap();
    let world = World::start_on(server, users(3).0).await;
    world.execute(&page.blocks_of("sql")[0]).await;
    world.reconfigure(|text| {
        let mut table: toml::Table = text.parse().unwrap();
        let database_url = table["learners"]["database_url"].clone();
        merge(&mut table, page.blocks_of("toml")[0].parse().unwrap());
        table["learners"]["database_url"] = database_url;
        table.to_string()
    });
    world.run_program(&["check"], 0);
    world.run_program(&["sync"], 0);
    let learners = "SELECT DISTINCT status, tenant, language FROM app.accounts";
    assert_eq!(world.query(learners).await, [["enabled", "harbourworks", "en"]]);
    assert_eq!(world.value("SELECT count(*) FROM app.accounts").await, "3");
}

#[apply(on_both)]
async fn the_tables_can_be_removed_from_the_database_of_the_platform() {
    let page = topics().into_iter().find(|topic| topic.name == "uninstalling").unwrap();
    let blocks = page.blocks_of("sql");
    let (key, removal) = match is_on_postgres() {
        true => ("bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", &blocks[1]),
        false => ("INTEGER PRIMARY KEY AUTOINCREMENT", &blocks[0]),
    };
    let world = World::start(users(3).0).await;
    let table = format!(
        "CREATE TABLE accounts (uid {key}, user_name text NOT NULL UNIQUE, email text UNIQUE, first_name text,
             last_name text, title text, employee_number text, department text, country text, active smallint NOT NULL)"
    );
    if let Database::File(path) = &world.database {
        std::fs::File::create(path).unwrap();
    }
    world.execute(&table).await;
    world.configure("table = \"accounts\"\n[learners.columns]\nid = \"uid\"");
    world.run_program(&["sync"], 0);
    world.execute(removal).await;
    assert_eq!(world.database.tables().await, ["accounts"]);
    world.execute("DELETE FROM accounts WHERE user_name LIKE '%'").await;
    assert_eq!(world.value("SELECT count(*) FROM accounts").await, "0");
    // The same table can be used again.
    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["created"], 3);

    // The table that learner-sync created stays usable as well.
    let world = World::start(users(3).0).await;
    world.run_program(&["sync"], 0);
    world.execute(removal).await;
    let active = if is_on_postgres() { "false" } else { "0" };
    world.execute(&format!("UPDATE learners SET active = {active}; DELETE FROM learners")).await;
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "0");
}
