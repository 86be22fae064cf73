//! Exit codes and messages of failures.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::SUMMARY;
use crate::database::{apply, on_both};
use crate::machine::{Unprivileged, skipped};
use crate::program::{NO_FILES, PROGRAM, Ran, finish, keys, users};
use crate::world::World;

/// A failed cycle: exit code 1, a row in `sync_cycles`, no learner changed, cause and hint in the output.
async fn check_failed_cycle(world: &World, environment: &[(&str, &str)], cause: &str, hint: &str) {
    let before = world.query("SELECT id, user_name, active, updated_at FROM learners").await;
    let cycles = world.cycles().await.len();
    let Ran { stdout: _, stderr } = world.run_program_with(environment, &["sync"], 1);
    assert!(stderr.contains(cause) && stderr.contains(hint), "{stderr}");
    let ran = world.run_program_with(environment, &["sync", "--json"], 1);
    let document = ran.json();
    assert_eq!(keys(&document), BTreeSet::from(SUMMARY));
    assert_eq!((&document["outcome"], &document["cycle"]), (&json!("failed"), &json!(cycles + 2)));
    assert!(document["error"].as_str().unwrap().contains(cause), "{document}");
    assert_eq!(world.cycles().await[cycles..], ["command failed", "command failed"]);
    assert!(world.value("SELECT error FROM sync_cycles ORDER BY id DESC LIMIT 1").await.contains(cause));
    assert_eq!(world.query("SELECT id, user_name, active, updated_at FROM learners").await, before);
    assert_eq!(world.value("SELECT count(*) FROM provisioning_log").await, "3");
}

#[tokio::test]
async fn a_wrong_secret_fails_the_cycle() {
    let world = World::start(users(3).0).await;
    world.run_program(&["sync"], 0);
    std::fs::write(world.path("secret"), "not-the-secret").unwrap();
    check_failed_cycle(&world, &[], "AADSTS7000215", "the client secret is wrong").await;
}

#[tokio::test]
async fn a_wrong_application_fails_the_cycle() {
    let world = World::start(users(3).0).await;
    world.run_program(&["sync"], 0);
    let nobody = world.sim.tenant(|tenant| tenant.new_id());
    check_failed_cycle(
        &world,
        &[("LEARNER_SYNC_APP__ENTERPRISE_APP", &nobody)],
        &nobody,
        "Enterprise applications > Properties",
    )
    .await;
}

#[tokio::test]
async fn an_unreachable_network_fails_the_cycle() {
    let world = World::start(users(3).0).await;
    world.run_program(&["sync"], 0);
    // Nothing listens on port 1.
    let down = [("LEARNER_SYNC_ENTRA__AUTHORITY_URL", "http://127.0.0.1:1")];
    check_failed_cycle(&world, &down, "http://127.0.0.1:1", "check the network").await;
}

#[tokio::test]
async fn a_mistake_in_the_arguments_exits_2() {
    let world = World::start(users(1).0).await;
    let before = world.files();
    for arguments in [&["sync", "--fulll"][..], &["sink"], &["approve", "--yes"], &["log", "--action", "delete"]] {
        let ran = world.run_program(arguments, 2);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(world.changed_since(&before), NO_FILES);
    let mut alone = std::process::Command::new(PROGRAM);
    alone.env_clear();
    finish(alone, 2);
}

/// An invalid configuration: exit code 78, one line with the reason, nothing written.
#[track_caller]
fn check_configuration(world: &World, expected: &[&str]) {
    let before = world.files();
    for arguments in [&["sync"][..], &["run"], &["plan"]] {
        let Ran { stdout, stderr } = world.run_program(arguments, 78);
        assert_eq!(stdout, "", "{arguments:?}");
        assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
        assert!(expected.iter().all(|words| stderr.contains(words)), "{arguments:?}: {stderr}");
        assert_eq!(world.changed_since(&before), NO_FILES, "{arguments:?}");
    }
    let document = world.run_program(&["sync", "--json"], 78).json();
    assert_eq!(keys(&document), BTreeSet::from(SUMMARY));
    assert_eq!((&document["outcome"], &document["cycle"]), (&json!("failed"), &json!(null)));
    let error = document["error"].as_str().unwrap();
    assert!(expected.iter().all(|words| error.contains(words)), "{error}");
}

async fn world_configured(more: &str) -> World {
    let world = World::start(users(1).0).await;
    world.configure(more);
    world
}

#[tokio::test]
async fn an_unknown_key_exits_78() {
    let world = world_configured("[safety]\nmax_deactivatoins = 5").await;
    check_configuration(&world, &["learner-sync.toml:15:", "safety.max_deactivatoins"]);
}

#[tokio::test]
async fn a_missing_tenant_id_exits_78() {
    let world = world_configured("").await;
    world.reconfigure(|text| {
        text.lines().filter(|line| !line.starts_with("tenant_id")).map(|line| format!("{line}\n")).collect()
    });
    check_configuration(&world, &["entra.tenant_id", "required, but missing", "Directory (tenant) ID"]);
}

#[tokio::test]
async fn an_unreadable_secret_exits_78() {
    let world = world_configured("").await;
    std::fs::remove_file(world.path("secret")).unwrap();
    check_configuration(&world, &["entra.credential.secret_file", "No such file"]);
}

#[tokio::test]
async fn a_malformed_expression_exits_78_with_its_place() {
    let world = world_configured(
        "[mapping]\nuserName = \"[userPrincipalName]\"\n'emails[type eq \"work\"].value' = \"[mail]\"\n\
         active = 'Switch([IsSoftDeleted], , \"False\", \"True\", \"True\", \"False\")'\ntitle = \"Join([jobTitle\"",
    )
    .await;
    check_configuration(&world, &["learner-sync.toml:18:", "title", "character 6 of the expression"]);
}

#[tokio::test]
async fn a_mapped_manager_exits_78() {
    let world = world_configured(
        "[mapping]\nuserName = \"[userPrincipalName]\"\n'emails[type eq \"work\"].value' = \"[mail]\"\n\
         active = 'Switch([IsSoftDeleted], , \"False\", \"True\", \"True\", \"False\")'\n\
         \"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager\" = \"[department]\"",
    )
    .await;
    check_configuration(&world, &["manager", "not supported"]);
}

#[tokio::test]
async fn provisioning_groups_exits_78() {
    let world = world_configured("[provisioning]\ngroups = true").await;
    check_configuration(&world, &["provisioning.groups", "not provisioned"]);
}

#[tokio::test]
async fn plain_http_to_another_machine_exits_78() {
    let world = world_configured("").await;
    world.reconfigure(|text| {
        let graph = format!("graph_url = \"{}\"", world.sim.url());
        text.replace(&graph, "graph_url = \"http://graph.example\"")
    });
    check_configuration(&world, &["entra.graph_url", "https"]);
}

#[tokio::test]
async fn an_unwritable_database_path_exits_78_and_writes_nothing() {
    let world = world_configured("").await;
    // A file instead of a directory: even root cannot write there.
    let database = world.path("secret").join("learners.db");
    let environment = [("LEARNER_SYNC_LEARNERS__DATABASE_URL", &*format!("sqlite://{}", database.display()))];
    let before = world.files();
    for arguments in [&["sync"][..], &["run"], &["pause"]] {
        let ran = world.run_program_with(&environment, arguments, 78);
        assert!(ran.stderr.contains(&*world.path("secret").to_string_lossy()), "{arguments:?}: {ran:?}");
        assert_eq!(world.changed_since(&before), NO_FILES, "{arguments:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_a_database_exits_78_and_stays_unchanged() {
    let world = world_configured("").await;
    std::fs::write(world.path("learners.db"), "Dear diary, today I was taken for a database.".repeat(100)).unwrap();
    let before = std::fs::read(world.path("learners.db")).unwrap();
    for arguments in [&["sync"][..], &["run"], &["plan"], &["status"], &["log"]] {
        let ran = world.run_program(arguments, 78);
        assert!(ran.stderr.contains("is not an SQLite database"), "{arguments:?}: {ran:?}");
    }
    assert_eq!(std::fs::read(world.path("learners.db")).unwrap(), before);
}

#[tokio::test]
async fn a_database_of_another_user_exits_78_with_the_sudo_line() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a file away");
        return;
    }
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    std::os::unix::fs::chown(world.path("learners.db"), Some(65534), None).unwrap();
    for arguments in [&["sync", "--full"][..], &["run"], &["plan"], &["status"], &["log"], &["pause"], &["approve"]] {
        let Ran { stdout, stderr } = world.run_program(arguments, 78);
        let line = format!("sudo -u nobody learner-sync {}", arguments.join(" "));
        assert!(stderr.contains(&line) && stderr.lines().count() == 1, "{stderr}");
        assert_eq!(stdout, "");
    }
}

#[tokio::test]
async fn a_state_directory_of_another_user_exits_78_with_the_sudo_line() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root can give a directory away");
    }
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    // The first command must not create files of root.
    std::os::unix::fs::chown(world.path("state"), Some(65534), None).unwrap();
    let ran = world.run_program(&["sync"], 78);
    assert!(
        ran.stderr.contains(&*world.path("state").to_string_lossy()) && ran.stderr.contains("sudo -u nobody"),
        "{ran:?}"
    );
    let checks = world.run_program(&["check", "--json"], 1).json();
    assert_eq!(checks["checks"][1]["name"], json!("database"));
    assert!(checks["checks"][1]["detail"].as_str().unwrap().contains("sudo -u nobody"), "{checks}");
    assert_eq!(world.cycles().await, ["command success"]);
}

/// The commands exit 78, `check` fails, and both print all of `expected` and do not suggest `chown`.
#[track_caller]
fn expect_no_chown(world: &World, user: &Unprivileged, expected: &[&str]) {
    for arguments in [&["status"][..], &["plan"], &["sync"], &["run"], &["schema", "apply"]] {
        let Ran { stdout, stderr } = user.run(world, arguments, 78);
        assert!(expected.iter().all(|words| stderr.contains(words)), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("chown") && !stderr.contains("sudo"), "{arguments:?}: {stderr}");
        assert_eq!(stdout, "", "{arguments:?}");
    }
    let document = user.run(world, &["check", "--json"], 1).json();
    let line = document["checks"].as_array().unwrap().iter().find(|check| check["name"] == "database").unwrap();
    let said = format!("{}; {}", line["detail"].as_str().unwrap(), line["hint"].as_str().unwrap_or_default());
    assert!(expected.iter().all(|words| said.contains(words)) && !said.contains("chown"), "{said}");
}

#[tokio::test]
async fn a_mistyped_system_path_exits_78_without_suggesting_chown() {
    let world = World::start(users(1).0).await;
    let Some(user) = Unprivileged::owning(&world) else {
        return skipped("there is no other user to run the program as");
    };
    let configuration = std::fs::read_to_string(world.config_path()).unwrap();
    for (path, message) in [
        ("/etc/passwd", "/etc/passwd is not an SQLite database"),
        ("/etc", "cannot open the learner database /etc: it is a directory"),
        ("/dev/null", "cannot open the learner database /dev/null: it is a device, not a regular file"),
        ("/etc/learners.db", "cannot create it: /etc belongs to root"),
    ] {
        std::fs::write(world.config_path(), configuration.replace(&world.database.url(), &format!("sqlite://{path}")))
            .unwrap();
        expect_no_chown(&world, &user, &[message, "learners.database_url"]);
    }
    let state = format!("{:?}", world.path("state"));
    std::fs::write(world.config_path(), configuration.replace(&state, "\"/etc\"")).unwrap();
    expect_no_chown(&world, &user, &["/etc belongs to root", "check state.directory: the path must belong to"]);
}

#[tokio::test]
async fn chown_is_suggested_only_for_a_learner_database() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root leaves something of its own behind");
    }
    let world = World::start(users(1).0).await;
    let Some(user) = Unprivileged::owning(&world) else {
        return skipped("there is no other user to run the program as");
    };
    let advice =
        format!("learners.db belongs to root; change its owner: chown nobody: {}", world.path("learners.db").display());
    let given_back = || {
        let Ran { stdout: _, stderr } = user.run(&world, &["status"], 78);
        assert!(stderr.contains(&advice), "{stderr}");
    };
    let ours = |name: &str| std::os::unix::fs::chown(world.path(name), Some(65534), None).unwrap();
    std::fs::write(world.path("learners.db"), "").unwrap();
    given_back();
    ours("learners.db");
    user.run(&world, &["sync"], 0);
    std::os::unix::fs::chown(world.path("learners.db"), Some(0), None).unwrap();
    std::fs::set_permissions(world.path("learners.db"), std::fs::Permissions::from_mode(0o644)).unwrap();
    given_back();
    std::fs::set_permissions(world.path("learners.db"), std::fs::Permissions::from_mode(0o600)).unwrap();
    expect_no_chown(&world, &user, &["belongs to root, and nobody cannot read it", "learners.database_url"]);

    std::fs::remove_file(world.path("learners.db")).unwrap();
    std::fs::write(world.path("learners.db"), "").unwrap();
    world.execute("CREATE TABLE packages (name TEXT)").await;
    expect_no_chown(&world, &user, &["belongs to another program", "packages", "learners.database_url"]);
    std::fs::remove_file(world.path("learners.db")).unwrap();
    assert!(user.run(&world, &["status"], 1).stderr.contains("is missing or empty, although cycles have completed"));

    // A state directory created by hand.
    std::fs::remove_dir_all(world.path("state")).unwrap();
    std::fs::create_dir(world.path("state")).unwrap();
    let Ran { stdout: _, stderr } = user.run(&world, &["status"], 78);
    assert!(stderr.contains("state belongs to root; change its owner: chown nobody: "), "{stderr}");
}

#[tokio::test]
async fn an_unreadable_secret_is_reported_with_its_owner_and_mode() {
    use std::os::unix::fs::PermissionsExt;
    if !rustix::process::geteuid().is_root() {
        return skipped("root itself reads every file");
    }
    let world = World::start(users(1).0).await;
    let Some(user) = Unprivileged::owning(&world) else {
        return skipped("there is no other user to run the program as");
    };
    let mode = |name: &str, mode| {
        std::fs::set_permissions(world.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let failed = |expected: &str| {
        let ran = user.run(&world, &["check"], 78);
        let line = ran.stdout.lines().find(|line| line.starts_with("FAIL configuration")).unwrap();
        assert!(line.contains(expected), "{expected}: {ran:?}");
    };
    std::os::unix::fs::chown(world.path("secret"), Some(0), Some(0)).unwrap();
    mode("secret", 0o600);
    let secret = world.path("secret").display().to_string();
    failed(&format!(
        "cannot read {secret}: permission denied: owner root, group root, mode 0600; this process runs as nobody"
    ));
    std::fs::create_dir(world.path("closed")).unwrap();
    std::fs::rename(world.path("secret"), world.path("closed/secret")).unwrap();
    failed("No such file or directory");
    world.reconfigure(|text| text.replace(&secret, &world.path("closed/secret").display().to_string()));
    mode("closed", 0o700);
    failed(&format!(
        "permission denied: the directory {}: owner root, group root, mode 0700",
        world.path("closed").display()
    ));
}

#[tokio::test]
async fn a_secret_of_two_lines_exits_78_and_is_not_shown() {
    let world = world_configured("").await;
    let secret = std::fs::read_to_string(world.path("secret")).unwrap();
    std::fs::write(world.path("secret"), format!("{secret}\n\n")).unwrap();
    world.run_program(&["sync"], 0);
    std::fs::write(world.path("secret"), format!("{secret}\nletmein\n")).unwrap();
    check_configuration(&world, &["entra.credential.secret_file", "secret has more than one line"]);
    let output = world.run_program(&["check"], 78);
    assert!(![&secret, "letmein"].iter().any(|secret| format!("{output:?}").contains(*secret)), "{output:?}");

    std::fs::write(world.path("secret"), &secret).unwrap();
    let password = world.path("password");
    std::fs::write(&password, "letmein\r\nplease\r\n").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let configuration = std::fs::read_to_string(world.config_path()).unwrap();
    let proxy = format!("[entra]\nproxy = \"http://sync@127.0.0.1:1\"\nproxy_password_file = {password:?}\n");
    std::fs::write(world.config_path(), configuration.replace("[entra]\n", &proxy)).unwrap();
    check_configuration(&world, &["entra.proxy_password_file", "password has more than one line"]);
    // Nothing listens there: the command never connects.
    let server = format!("postgres://sync@127.0.0.1:1/learners\"\npassword_file = {password:?}");
    std::fs::write(world.config_path(), configuration.replace(&format!("{}\"", world.database.url()), &server))
        .unwrap();
    check_configuration(&world, &["learners.password_file", "password has more than one line"]);
    let output = world.run_program(&["status"], 78);
    assert!(!output.stderr.contains("letmein") && !output.stderr.contains("please"), "{output:?}");
}

#[tokio::test]
async fn the_configuration_path_comes_from_the_argument_or_the_environment() {
    let world = World::start(users(2).0).await;
    let path = world.config_path().display().to_string();
    let bare = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = std::process::Command::new(PROGRAM);
        command.env_clear().envs(environment.iter().copied()).args(arguments);
        command
    };
    finish(bare(&["--config", &path, "sync"], &[]), 0);
    finish(bare(&["sync", "--config", &path, "--json"], &[]), 0);
    let ran = finish(bare(&["sync"], &[("LEARNER_SYNC_CONFIG", &path)]), 0);
    assert!(!ran.stderr.contains("WARN"), "{ran:?}");
    // The argument has priority.
    finish(bare(&["sync", "--config", &path], &[("LEARNER_SYNC_CONFIG", "/nowhere")]), 0);
    assert_eq!(world.cycles().await.len(), 4);
    let ran = finish(bare(&["status"], &[("LEARNER_SYNC_CONFIG", "/nowhere/learner-sync.toml")]), 78);
    assert!(ran.stderr.contains("/nowhere/learner-sync.toml"), "{ran:?}");
}

#[tokio::test]
async fn the_environment_overrides_the_file() {
    let (tenant, ids) = users(5);
    let world = World::start(tenant).await;
    world.configure("[safety]\nmax_deactivations = 100");
    world.run_program(&["sync"], 0);
    world.sim.tenant(|tenant| ids[..2].iter().for_each(|id| tenant.unassign(id)));
    let environment = [("LEARNER_SYNC_SAFETY__MAX_DEACTIVATIONS", "1")];
    let document = world.run_program_with(&environment, &["sync", "--json"], 3).json();
    assert_eq!((&document["held"], &document["deactivated"]), (&json!(2), &json!(0)));
    let ran = world.run_program_with(&[("LEARNER_SYNC_SAFETY__MAX_DEACTIVATONS", "1")], &["sync"], 78);
    assert!(ran.stderr.contains("LEARNER_SYNC_SAFETY__MAX_DEACTIVATONS"), "{ran:?}");
}

#[apply(on_both)]
async fn the_log_contains_no_secret_and_no_personal_data() {
    let (mut tenant, ids) = users(3);
    let twin = tenant.user(&ids[0]).unwrap().mail.clone();
    tenant.user_mut(&ids[1]).mail = twin;
    tenant.user_mut(&ids[2]).mail = Some("not an address".to_owned());
    let lonely = tenant.add_user(graph_sim::User::named("Grace", "Hopper").without_mail());
    tenant.assign_user(&lonely);
    let world = World::start(tenant).await;
    let (secret, client) = world.sim.tenant(|tenant| (tenant.client_secret.clone(), tenant.client_id.clone()));
    let mut stderr = String::new();
    for level in ["debug", "trace"] {
        let environment = [("LEARNER_SYNC_LOG__LEVEL", level)];
        stderr += &world.run_program_with(&environment, &["sync", "--full"], 3).stderr;
        stderr += &world.run_program_with(&environment, &["plan"], 0).stderr;
        stderr += &world.run_program_with(&environment, &["check"], 0).stderr;
        stderr += &world.run_program_with(&environment, &["status"], 0).stderr;
    }
    world.database.refuse("UPDATE", "true").await;
    world.sim.tenant(|tenant| tenant.user_mut(&ids[2]).mail = Some("fine@harbourworks.example".to_owned()));
    std::fs::write(world.path("secret"), "wrong-secret-words").unwrap();
    stderr += &world.run_program_with(&[("LEARNER_SYNC_LOG__LEVEL", "trace")], &["sync"], 1).stderr;
    assert!(stderr.contains("DEBUG") && stderr.contains(&client), "the log is on");
    for private in [
        &secret,
        "sim8Q",
        "wrong-secret-words",
        // The prefix of all tokens of the simulator.
        "eyJ0eXAiOiJKV1Qi",
        "Bearer ",
        "Basic ",
        "@harbourworks",
        "not an address",
        "Number0",
        "number1",
        "Hopper",
        "hopper",
    ] {
        let lines: Vec<_> = stderr.lines().filter(|line| line.contains(private)).take(3).collect();
        assert!(lines.is_empty(), "{private}: {lines:#?}");
    }
}

#[tokio::test]
async fn the_log_format_can_be_json() {
    let world = World::start(users(1).0).await;
    let ran = world.run_program_with(&[("LEARNER_SYNC_LOG__FORMAT", "json")], &["sync"], 0);
    let lines: Vec<serde_json::Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"] == "cycle ended" && line["cycle.outcome"] == "success"), "{ran:?}");
}

#[tokio::test]
async fn a_failure_has_its_priority_when_standard_error_is_the_journal() {
    let world = World::start(users(1).0).await;
    let path = world.path("standard-error");
    let file = std::fs::File::create(&path).unwrap();
    let stream = rustix::fs::fstat(&file).map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino)).unwrap();
    for (stream, is_journal) in [(&*stream, true), ("8:1", false)] {
        std::fs::write(&path, "").unwrap();
        let mut command = world.program(&["sync"]);
        let file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        let ran = command.env("JOURNAL_STREAM", stream).env("LEARNER_SYNC_ENTRA__TENANT_ID", "x").stderr(file).status();
        assert_eq!(ran.unwrap().code(), Some(78));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("TENANT_ID"), "{text}");
        assert_eq!(text.lines().all(|line| line.starts_with("<3>")), is_journal, "{text}");
    }
}

#[tokio::test]
async fn without_a_file_the_secret_comes_from_systemd_or_the_environment() {
    let world = World::start(users(1).0).await;
    world.reconfigure(|text| {
        text.lines().filter(|line| !line.starts_with("secret_file")).map(|line| format!("{line}\n")).collect()
    });
    let ran = world.run_program(&["sync"], 78);
    assert!(ran.stderr.contains("LoadCredential=client-secret"), "{ran:?}");
    let line = format!(
        "sudo systemd-run --pipe --wait --collect --quiet --property=User=learner-sync \
         --property=LoadCredential=client-secret:/etc/learner-sync/client-secret learner-sync sync --config {}",
        world.config_path().display()
    );
    assert!(ran.stderr.contains(&line), "{ran:?}");
    let checked = world.run_program(&["check"], 78);
    assert!(checked.stdout.contains(&line.replace("learner-sync sync", "learner-sync check")), "{checked:?}");
    let secret = world.sim.tenant(|tenant| tenant.client_secret.clone());
    world.run_program_with(&[("LEARNER_SYNC_CLIENT_SECRET", &secret)], &["sync"], 0);
    std::fs::create_dir(world.path("credentials")).unwrap();
    std::fs::write(world.path("credentials/client-secret"), format!("{secret}\n")).unwrap();
    let directory = world.path("credentials").display().to_string();
    // systemd has priority over the environment.
    let both = [("CREDENTIALS_DIRECTORY", &*directory), ("LEARNER_SYNC_CLIENT_SECRET", "wrong")];
    world.run_program_with(&both, &["sync"], 0);
    assert_eq!(world.cycles().await, ["command success", "command success"]);
}
