//! What the pages show: the words and numbers of the commands, and no text that a browser would run.

use graph_sim::{Fault, Gate, User};
use rustix::process::Signal;

use super::{page_with_token, paged, status};
use crate::database::{apply, on_both};
use crate::http::Served;
use crate::program::{add_assigned_user, eventually, users};
use crate::world::World;

/// The text of a page as a reader sees it.
fn text(body: &str) -> String {
    let mut text = String::new();
    let mut in_tag = false;
    for letter in body.chars() {
        match letter {
            '<' => in_tag = true,
            '>' => in_tag = false,
            _ if !in_tag => text.push(letter),
            _ => {}
        }
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

#[apply(on_both)]
async fn the_pages_show_what_the_commands_show() {
    let served = paged(World::start(users(3).0).await).await;
    let world = &served.world;
    let overview = served.page("/");
    assert_eq!(overview.status, 200);
    let seen = text(&overview.body);
    let status = status(world);
    for words in [
        format!("State: {}", status["state"].as_str().unwrap()),
        "3 active, 0 inactive, 3 linked to this application".to_owned(),
        format!("(cycle {}, startup)", status["last_cycle"]["cycle"]),
        "learners: 3 created, 0 updated, 0 deactivated, 0 reactivated".to_owned(),
        status["source"].as_str().unwrap().to_owned(),
        format!("pid {}", served.daemon.pid()),
        "Credential expires".to_owned(),
        "Next cycle".to_owned(),
        "Last success".to_owned(),
        "Active learners after each of the last 1 cycle".to_owned(),
        "3 created, 0 updated, 0 reactivated, 0 deactivated; at most 3 in one cycle.".to_owned(),
    ] {
        assert!(seen.contains(&words), "{words}\n{seen}");
    }

    let log = text(&served.page("/log").body);
    let cycles = text(&served.page("/cycles").body);
    for name in ["ada.number0@", "ada.number2@", "create", "assigned", "learner-sync log"] {
        assert!(log.to_lowercase().contains(name), "{name}\n{log}");
    }
    assert!(cycles.contains("3 in scope, 3 created"), "{cycles}");

    let mapping = text(&served.page("/mapping").body);
    let checked = world.run_program(&["mapping", "check", "--json"], 0).json();
    for attribute in checked["attributes"].as_array().unwrap() {
        for key in ["attribute", "column", "type", "expression"] {
            let word = attribute[key].as_str().unwrap();
            assert!(mapping.contains(word), "{word}\n{mapping}");
        }
    }
    assert!(mapping.contains("Match attributeuserName"), "{mapping}");

    let id = world.value("SELECT entra_id FROM sync_links ORDER BY entra_id LIMIT 1").await;
    let user = served.page(&format!("/users/{id}"));
    let seen = text(&user.body);
    for words in ["active", "Research", "department", "create: assigned", &id, "userName", "user_name"] {
        assert!(seen.contains(words), "{words}\n{seen}");
    }
    served.daemon.stop().await;
}

#[apply(on_both)]
async fn held_and_failing_users_are_counted_and_the_first_are_listed() {
    let (tenant, ids) = users(20);
    let served = paged(World::start(tenant).await).await;
    served.world.sim.tenant(|tenant| ids[..12].iter().for_each(|id| tenant.unassign(id)));
    served.daemon.signal(Signal::USR1);
    served.world.cycles_ended(2).await;
    served.daemon.logged("waiting next_cycle.at=", 2).await;
    let body = served.page("/").body;
    let seen = text(&body);
    for words in [
        "State: held",
        "Held (12); release with learner-sync approve",
        "12 threshold",
        "would deactivate",
        "and 7 more",
    ] {
        assert!(seen.contains(words), "{words}\n{seen}");
    }
    assert_eq!(body.matches("would deactivate").count(), 5);
    // The commands read the configuration of this daemon.
    let config = served.world.path("learner-sync.toml");
    for words in ["approve", "status --all"] {
        let command = format!("learner-sync {words} --config {}", config.display());
        assert!(text(&body).contains(&command), "{command}\n{body}");
    }
    let gate = Gate::new();
    served.world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").hold_until(&gate));
    served.daemon.signal(Signal::USR1);
    gate.reached().await;
    eventually("the progress is shown beside the state", async || {
        let seen = text(&served.page("/").body);
        (seen.contains("State: held") && seen.contains("Running cycle: reading users")).then_some(())
    })
    .await;
    gate.release();
    // Until then an answer may be a second old.
    served.daemon.logged("waiting next_cycle.at=", 3).await;
    served.world.run_program(&["pause"], 0);
    let seen = text(&served.page("/").body);
    assert!(seen.contains("State: paused") && seen.contains("learner-sync resume"), "{seen}");
    served.daemon.stop().await;
}

#[apply(on_both)]
async fn the_page_of_a_user_begins_with_what_waits_for_somebody() {
    let (mut tenant, ids) = users(20);
    let lost = add_assigned_user(&mut tenant, "Lost", "Address");
    tenant.user_mut(&lost).mail = None;
    let twin = add_assigned_user(&mut tenant, "Twin", "Address");
    tenant.user_mut(&twin).mail = tenant.user_mut(&ids[19]).mail.clone();
    let served = paged(World::start(tenant).await).await;
    served.world.sim.tenant(|tenant| ids[..12].iter().for_each(|id| tenant.unassign(id)));
    served.daemon.signal(Signal::USR1);
    served.world.cycles_ended(2).await;
    served.daemon.logged("waiting next_cycle.at=", 2).await;
    let config = served.world.path("learner-sync.toml");
    // The part before the learner.
    let top = |id: &str| {
        let body = served.page(&format!("/users/{id}")).body;
        let (before, _) = body.split_once("</section>").unwrap();
        text(before.split_once("<main").unwrap().1)
    };
    let rehearse = |id: &str| format!("learner-sync provision {id} --dry-run --config {}", config.display());
    let approve = format!("learner-sync approve --config {}", config.display());
    for (id, words) in [
        (&ids[0], &["Held since 20", "would deactivate (unassigned)", "threshold: would", "directly", &approve][..]),
        (&twin, &["Failing since 20", "conflict: ", "attempts: 2", &rehearse(&twin)]),
        (&lost, &["Skipped since 20", "missing-required: ", "attempts: 2", &rehearse(&lost)]),
    ] {
        let seen = top(id);
        for words in words {
            assert!(seen.contains(words), "{words}\n{seen}");
        }
    }
    let seen = top(&ids[18]);
    assert!(!["Held", "Failing", "Skipped"].iter().any(|word| seen.contains(word)), "{seen}");
    served.world.run_program(&["approve", "--yes", "--expect", "12"], 0);
    let seen = top(&ids[0]);
    assert!(seen.contains("Approved20") && seen.contains("the next cycle applies the change"), "{seen}");
    assert!(!seen.contains("learner-sync approve"), "{seen}");
    // Without an entry in the log, the record alone is shown.
    served.world.execute("DELETE FROM provisioning_log").await;
    let seen = top(&twin);
    assert!(seen.contains("Failing since 20"), "{seen}");
    served.daemon.stop().await;
}

/// A mapping that hides names, addresses and departments.
const HIDING: &str = r#"[mapping]
userName = "Redact([userPrincipalName])"
'emails[type eq "work"].value' = "Redact([mail])"
active = 'Switch([IsSoftDeleted], , "False", "True", "True", "False")'
"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department" = "Redact([department])"
"#;

#[tokio::test]
async fn values_that_the_mapping_hides_are_hidden_on_the_page_of_a_user() {
    let world = World::start(users(1).0).await;
    let configuration = page_with_token(&world);
    world.configure(&format!("{configuration}\n{HIDING}"));
    let served = Served::start_in(world).await;
    let id = served.world.value("SELECT entra_id FROM sync_links").await;
    let name = served.world.value("SELECT user_name FROM learners").await;
    // A row from before they were hidden.
    served.world.execute(&format!("UPDATE provisioning_log SET user_name = '{name}'")).await;
    let body = served.page(&format!("/users/{id}")).body;
    let (head, history) = body.split_once("id=\"history\"").unwrap();
    assert!(!head.contains(&name) && !head.contains("Research"), "{head}");
    assert!(head.contains(&format!("<h1>User {id}</h1>")) && head.contains("[Redact]"), "{head}");
    assert!(!history.contains("Research"), "{history}");
    served.daemon.stop().await;
}

#[apply(on_both)]
async fn texts_of_others_are_shown_and_do_nothing() {
    let (mut tenant, _) = users(1);
    let evil = "<img src=x onerror=alert(1)>\u{202e}\u{1b}[2J\"'&amp;<!--";
    let id = tenant.add_user(User::named("Eve", "Evil").department(evil));
    tenant.assign_user(&id);
    let served = paged(World::start(tenant).await).await;
    let long = "\u{e9}\u{202e}<b>".repeat(20_000);
    served
        .world
        .execute(&format!(
            "UPDATE provisioning_log SET user_name = '<script>alert(1)</script>', detail = '{long}' WHERE entra_id = '{id}'"
        ))
        .await;
    for path in ["/log".to_owned(), format!("/users/{id}"), format!("/log?user={id}")] {
        let answer = served.page(&path);
        assert_eq!(answer.status, 200, "{path}");
        for part in ["<img", "<script", "<b>", "<!--", "\u{202e}", "\u{1b}"] {
            assert!(!answer.body.contains(part), "{path}: {part:?}");
        }
        // A list cuts the changes behind such a detail.
        let is_whole = path.starts_with("/users/");
        let shown = "&lt;img src=x onerror=alert(1)&gt;\\u{202e}\\u{1b}[2J";
        assert!(!is_whole || answer.body.contains(shown), "{path}\n{}", answer.body);
        assert!(answer.body.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{path}");
        assert!(answer.body.contains("(cut; "), "{path}");
        assert!(answer.body.len() < 40_000, "{path}: {} bytes", answer.body.len());
    }
    served.daemon.stop().await;
}

#[apply(on_both)]
async fn a_database_that_cannot_be_read_is_a_503_with_the_reason() {
    let served = paged(World::start(users(1).0).await).await;
    let id = served.world.value("SELECT entra_id FROM sync_links").await;
    served.world.execute("ALTER TABLE sync_state RENAME TO moved_state").await;
    let user = format!("/users/{id}");
    for path in ["/", "/log", "/log.csv", "/cycles", &user] {
        let answer = served.page(path);
        assert_eq!(answer.status, 503, "{path}\n{}", answer.body);
        assert!(answer.body.contains("learner database"), "{path}\n{}", answer.body);
    }
    // The daemon still knows its own state and its mapping.
    let overview = text(&served.page("/").body);
    assert!(overview.contains("State: blocked") && overview.contains("1 active"), "{overview}");
    assert_eq!(served.page("/mapping").status, 200);
    served.world.execute("ALTER TABLE moved_state RENAME TO sync_state").await;
    assert_eq!(served.page("/log").status, 200);
    served.daemon.stop().await;
}
