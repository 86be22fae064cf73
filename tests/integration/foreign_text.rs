//! Text of Entra, Graph and the configuration file in output, logs and records: visible, short, on one line.

use graph_sim::Fault;

use crate::program::{Ran, users};
use crate::world::{World, assigned_group};

/// Clears a screen, sets a title, reverses letters, breaks lines, and hides.
const HOSTILE: &str =
    "Crew\u{1b}[2J\u{9b}1A\u{1b}]0;x\u{7}\u{202e}nimda\u{feff}\u{200b}\u{2028}\r\nlearner-sync: all is well\u{e0041}";

/// Nothing but line breaks and visible characters.
#[track_caller]
fn expect_visible(text: &str) {
    let hidden = text.chars().find(|letter| {
        let format =
            matches!(*letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        (letter.is_control() && *letter != '\n') || format || *letter >= '\u{e0000}'
    });
    assert_eq!(hidden, None, "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("learner-sync: all is well")), "{text}");
}

#[track_caller]
fn expect_visible_output(Ran { stdout, stderr }: &Ran) {
    expect_visible(stdout);
    expect_visible(stderr);
    assert!(!stderr.lines().chain(stdout.lines()).any(|line| line.chars().count() > 4_000), "{stderr}");
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[tokio::test]
async fn names_and_errors_of_graph_and_entra_are_made_visible() {
    let (mut tenant, _) = users(1);
    tenant.application.display_name = HOSTILE.to_owned();
    assigned_group(&mut tenant, HOSTILE, 0);
    let world = World::start(tenant).await;
    expect_visible_output(&world.run_program(&["check"], 0));
    let checked = world.run_program(&["check", "--json"], 0);
    expect_visible_output(&checked);
    assert!(checked.json().to_string().contains("nimda"), "{checked:?}");

    let hostile = json_text(HOSTILE);
    let long = json_text(&format!("{HOSTILE}{}", "long ".repeat(2_000)));
    let token = "/*/oauth2/v2.0/token";
    for fault in [
        Fault::on("GET", "/v1.0/groups/*/members").answer(403),
        Fault::on("GET", "/v1.0/servicePrincipals/**").answer_error(400, HOSTILE).message(HOSTILE),
        Fault::on("GET", "/v1.0/servicePrincipals/**")
            .answer(403)
            .body(&format!("{{\"error\":{{\"code\":{long},\"message\":{long}}}}}")),
        Fault::on("GET", "/v1.0/servicePrincipals/**").answer(400).header("request-id", &"r".repeat(5_000)),
        Fault::on("POST", token).answer(401).body(&format!("{{\"error\":{hostile},\"error_description\":{hostile}}}")),
        Fault::on("POST", token).answer(400).body(&format!("{{\"error\":{long},\"error_description\":{long}}}")),
    ] {
        world.sim.inject(fault.always());
        for command in [&["sync"][..], &["check"], &["plan"]] {
            expect_visible_output(&world.run_program(command, 1));
        }
        expect_visible_output(&world.run_program(&["status"], 0));
        let error = world.value("SELECT error FROM sync_cycles ORDER BY id DESC LIMIT 1").await;
        expect_visible(&error);
        assert!(error.chars().count() < 2_000 && !error.contains('\n'), "{error}");
        world.sim.clear_faults();
    }
}

#[tokio::test]
async fn texts_of_the_configuration_are_made_visible() {
    let world = World::start(users(1).0).await;
    let hostile = json_text(HOSTILE).replace('\u{feff}', "\\uFEFF").replace("\u{e0041}", "\\U000E0041");
    let hostile = hostile.replace('\u{9b}', "\\u009B");
    let long = "x".repeat(100_000);
    for more in [
        format!("[{hostile}]\n"),
        format!("[safety]\n{hostile} = 1\n"),
        format!("[log]\nlevel = {hostile}\n"),
        format!("[learners.columns]\nuser_name = {hostile}\n{hostile} = \"a\"\n"),
        format!("[mapping]\n{hostile} = \"[mail]\"\nuserName = {hostile}\n"),
        format!("[schedule]\ncron = {hostile}\n"),
        format!(
            "[[scope.filter]]\nname = {hostile}\nclauses = [{{ attribute = {hostile}, operator = {hostile}, value = {hostile} }}]\n"
        ),
        format!("[log]\nformat = \"{long}\"\n{long} = 1\n"),
        format!("[mapping]\nuserName = 'Replace([mail], , \"({long}\", , , , )'\n"),
        // Not TOML at all.
        "a = \u{202e}\u{1b}[2J\n".to_owned(),
    ] {
        world.configure("");
        world.reconfigure(|text| {
            if more.starts_with("[learners") {
                text.replace("[learners]", &format!("{more}[learners]"))
            } else {
                text + &more
            }
        });
        expect_visible_output(&world.run_program(&["sync"], 78));
        expect_visible_output(&world.run_program(&["check", "--json"], 78));
    }
}
