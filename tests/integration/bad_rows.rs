//! One bad row, value or type: it concerns its user alone, or holds the users that it may hide. Everything else goes on.

use graph_sim::{Fault, Tenant, User};
use jiff::SignedDuration;
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;
use serde_json::{Value, json};

use crate::database::{apply, on_both};
use crate::world::{World, add_users, assigned, assigned_group};

const ASSIGNMENTS: &str = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
const MEMBERS: &str = "/v1.0/groups/{id}/members";
const NOBODY: &str = "0a1b2c3d-0000-4000-8000-000000000001";
const ROW: &str = "x7sBcD-the-id-of-a-row";

/// A world with seven learners: three members of a group and four users who are assigned directly.
async fn world_of_seven() -> (World, String, Vec<String>, Vec<String>) {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 3);
    let direct = assigned(&mut tenant, 4);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 7);
    (world, group, members, direct)
}

#[apply(on_both)]
async fn a_bad_row_holds_those_whom_it_may_hide() {
    let (mut world, group, members, direct) = world_of_seven().await;
    let row = |principal: Value, kind: Value| json!({"id": ROW, "principalId": principal, "principalType": kind});
    let rows = [
        (ASSIGNMENTS, Value::Null),
        (ASSIGNMENTS, json!(7)),
        (ASSIGNMENTS, json!([])),
        (ASSIGNMENTS, json!({})),
        (ASSIGNMENTS, row(Value::Null, json!("User"))),
        (ASSIGNMENTS, row(json!("ada"), json!("Group"))),
        (ASSIGNMENTS, row(json!({"id": NOBODY}), Value::Null)),
        (ASSIGNMENTS, json!({"id": ROW, "principalType": "User"})),
        (ASSIGNMENTS, json!({"id": ROW, "principalId": NOBODY, "principalType": "User", "resourceId": NOBODY})),
        (MEMBERS, Value::Null),
        (MEMBERS, json!("row")),
        (MEMBERS, json!({"@odata.type": "#microsoft.graph.user"})),
        (MEMBERS, json!({"@odata.type": "#microsoft.graph.user", "id": null})),
        (MEMBERS, json!({"@odata.type": "#microsoft.graph.user", "id": "ada"})),
    ];
    // Nobody leaves: the row is reported.
    for (list, row) in &rows {
        world.sim.inject(Fault::on("GET", list).always().add_row(row.clone()));
        let report = world.cycle().await;
        world.sim.clear_faults();
        let counts = Counts { in_scope: 7, unchanged: 7, failed: 1, ..Counts::default() };
        assert_eq!((report.outcome, report.counts), (Outcome::Partial, counts), "{list}: {row}");
    }
    world.settled().await;

    // Others leave, join and change. Only those who would leave as unassigned are held.
    world.sim.tenant(|tenant| {
        tenant.unassign(&direct[0]);
        tenant.remove_member(&group, &members[0]);
        tenant.user_mut(&members[1]).account_enabled = Some(false);
        tenant.user_mut(&direct[1]).job_title = Some("Diver".to_owned());
        assigned(tenant, 1);
    });
    for (number, (list, row)) in rows.iter().enumerate() {
        world.sim.inject(Fault::on("GET", list).always().add_row(row.clone()));
        let report = world.cycle().await;
        world.sim.clear_faults();
        let Counts { created, updated, deactivated, failed, held, .. } = report.counts;
        let first = u64::from(number == 0);
        let expected = (Outcome::Held, first, first, first, 1, 2);
        assert_eq!((report.outcome, created, updated, deactivated, failed, held), expected, "{list}: {row}");
        // An approval does not prove that they have left.
        world.approve().await;
    }
    for user in [&direct[0], &members[0]] {
        assert_eq!(world.log(user).await.last().unwrap(), "deactivate held unreadable");
    }
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.deactivated), (Outcome::Success, 2));
    assert_eq!(world.log(&direct[0]).await.last().unwrap(), "deactivate success unassigned");
    world.settled().await;
}

/// A count of a list with rows that name nobody is too low. The empty list after it must still be guarded.
#[apply(on_both)]
async fn a_list_with_bad_rows_does_not_lower_the_count_of_its_group() {
    let (mut world, _, members, _) = world_of_seven().await;
    let list = || Fault::on("GET", MEMBERS).always();
    world.sim.inject(list().set_key(&members[0], "id", Value::Null).set_key(&members[1], "id", Value::Null));
    let report = world.cycle().await;
    assert_eq!((report.counts.held, report.counts.deactivated), (2, 0));
    assert_eq!(world.value("SELECT last_members FROM sync_groups").await, "3");
    world.sim.clear_faults();
    world.sim.inject(list().empty_list());
    let report = world.cycle().await;
    assert_eq!((report.counts.held, report.counts.deactivated), (3, 0));
    for member in &members {
        assert_eq!(world.log(member).await.last().unwrap(), "deactivate held empty-group");
    }
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.counts.unchanged, 7);
    world.settled().await;
}

/// A thousand rows of one kind give one warning, which names the first ones.
#[tokio::test]
async fn bad_rows_of_a_kind_give_one_warning() {
    let (world, ..) = world_of_seven().await;
    for number in 0..12 {
        let row = json!({ "id": format!("row-{number}"), "principalId": null, "principalType": "User" });
        world.sim.inject(Fault::on("GET", ASSIGNMENTS).always().add_row(row));
    }
    for number in 0..2 {
        let id = NOBODY.replace("01", &format!("0{number}"));
        let row = json!({ "id": ROW, "principalId": id, "principalType": null });
        world.sim.inject(Fault::on("GET", ASSIGNMENTS).always().add_row(row));
    }
    world.sim.inject(Fault::on("GET", ASSIGNMENTS).always().add_row(json!(7)));
    let ran = world.run_program(&["sync"], 3);
    for (words, count) in [
        ("assignments name no principal; leavers are held", 12),
        ("rows of the assignments cannot be read; leavers are held", 1),
        ("assignments name objects that are not readable users, groups or service principals", 2),
    ] {
        let lines: Vec<&str> = ran.stderr.lines().filter(|line| line.contains(words)).collect();
        assert_eq!(lines.len(), 1, "{words}: {}", ran.stderr);
        assert!(lines[0].contains(&format!("count={count}")), "{}", lines[0]);
        assert!(!lines[0].contains("row-11") && !lines[0].contains("row-10"), "{}", lines[0]);
        assert_eq!(lines[0].contains("row-0, row-1,") && lines[0].contains("row-9, ..."), count == 12, "{}", lines[0]);
    }
}

#[apply(on_both)]
async fn the_principal_of_an_unknown_type_is_looked_up() {
    let (mut world, group, members, direct) = world_of_seven().await;
    let robot = world.sim.tenant(|tenant| tenant.assign_service_principal("Robot"));
    for kind in [Value::Null, json!(""), json!("Device"), json!(7), json!({})] {
        for principal in [&direct[0], &group, &robot] {
            world.sim.inject(Fault::on("GET", ASSIGNMENTS).always().set_key(principal, "principalType", kind.clone()));
        }
        let report = world.cycle().await;
        world.sim.clear_faults();
        let counts = Counts { in_scope: 7, unchanged: 7, ..Counts::default() };
        assert_eq!((report.outcome, report.counts), (Outcome::Success, counts), "{kind}");
    }
    // Rows that disagree about the type.
    for (principal, kind) in [(&direct[0], "Group"), (&group, "User"), (&direct[1], "ServicePrincipal")] {
        world.sim.inject(Fault::on("GET", ASSIGNMENTS).always().repeat_row(principal, "principalType", kind));
    }
    let report = world.settled().await;
    assert_eq!((report.outcome, report.counts.unchanged), (Outcome::Success, 7));
    world.sim.clear_faults();

    // A newcomer behind such a row becomes a learner.
    let newcomer = world.sim.tenant(|tenant| assigned(tenant, 1).remove(0));
    world.sim.inject(Fault::on("GET", ASSIGNMENTS).always().set_key(&newcomer, "principalType", Value::Null));
    assert_eq!(world.cycle().await.counts.created, 1);
    // A learner whose principal is unknown stays, and no user leaves.
    world.sim.inject(Fault::on("GET", &format!("/v1.0/users/{newcomer}")).always().answer(403));
    world.sim.tenant(|tenant| tenant.remove_member(&group, &members[0]));
    let report = world.cycle().await;
    assert_eq!((report.counts.failed, report.counts.held, report.counts.deactivated), (1, 1, 0));
    assert_eq!(world.log(&newcomer).await, ["create success assigned", "update failure unreadable"]);
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.settled().await;
}

#[apply(on_both)]
async fn a_principal_that_does_not_exist_is_ignored_after_two_cycles() {
    let (mut world, _, _, direct) = world_of_seven().await;
    let row = json!({"id": ROW, "principalId": NOBODY, "principalType": null});
    world.sim.inject(Fault::on("GET", ASSIGNMENTS).always().add_row(row));
    world.sim.tenant(|tenant| tenant.unassign(&direct[0]));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.failed, report.counts.held), (Outcome::Held, 1, 1));
    assert_eq!(world.log(NOBODY).await, ["create failure unreadable"]);
    let causes = "SELECT reason, cause FROM sync_failures";
    assert_eq!(world.query(causes).await, [["unreadable", "principal-missing"]]);
    // Too early.
    world.pass(SignedDuration::from_mins(-25));
    assert_eq!(world.cycle().await.counts.held, 1);
    // Another answer in between starts the wait again.
    world.sim.inject(Fault::on("GET", &format!("/v1.0/groups/{NOBODY}")).answer(403));
    assert_eq!(world.cycle().await.counts.held, 1);
    assert_eq!(world.query(causes).await, [["unreadable", "NULL"]]);
    assert_eq!(world.cycle().await.counts.held, 1);
    let report = world.cycle().await;
    let counts = Counts { in_scope: 6, unchanged: 6, skipped: 1, deactivated: 1, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Success, counts));
    assert_eq!(world.query(causes).await, [["not-readable-yet", "principal-missing"]]);
    world.settled().await;
    // The id is a user after all.
    world.sim.clear_faults();
    world.cycle().await;
    assert_eq!(world.query(causes).await, Vec::<Vec<String>>::new());

    // A learner behind such a row is still assigned, so it waits like one whose account is missing.
    let learner = &direct[1];
    world.sim.inject(Fault::on("GET", ASSIGNMENTS).always().set_key(learner, "principalType", Value::Null));
    world.sim.tenant(|tenant| tenant.vanish_user(learner));
    world.sim.tenant(|tenant| tenant.unassign(&direct[2]));
    let report = world.cycle().await;
    assert_eq!((report.counts.skipped, report.counts.deactivated), (1, 1));
    assert_eq!(world.query(causes).await, [["waiting", "account-missing"]]);
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    assert_eq!(world.log(learner).await.last().unwrap(), "deactivate success account-deleted");
}

#[apply(on_both)]
async fn an_app_role_that_cannot_be_read_is_one_bad_row() {
    let (mut world, group, members, direct) = world_of_seven().await;
    for role in [Value::Null, json!("nonsense"), json!(7), json!("")] {
        for principal in [&direct[0], &group] {
            world.sim.inject(Fault::on("GET", ASSIGNMENTS).always().set_key(principal, "appRoleId", role.clone()));
        }
        // Without a limit to some roles it does not matter.
        world.configure("");
        assert_eq!(world.cycle().await.counts.unchanged, 7, "{role}");
        world.configure("[scope]\napp_roles = [\"00000000-0000-0000-0000-000000000000\"]");
        // The learners of the group are held. The user is not judged.
        let report = world.cycle().await;
        let counts = Counts { in_scope: 3, unchanged: 3, failed: 2, held: 3, ..Counts::default() };
        assert_eq!((report.outcome, report.counts), (Outcome::Held, counts), "{role}");
        world.sim.clear_faults();
    }
    assert_eq!(world.log(&direct[0]).await.last().unwrap(), "update failure unreadable");
    assert_eq!(world.log(&members[0]).await.last().unwrap(), "deactivate held unreadable");
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.unchanged, report.counts.held), (Outcome::Success, 7, 0));
    world.settled().await;
}

/// The edits that break one value of a user, and what the detail says.
fn broken_values(user: &str) -> Vec<(Fault, &'static str)> {
    const MARK: &str = "the-test-replaces-this";
    let quoted = format!("\"{MARK}\"");
    let everywhere = || Fault::on("GET", "/v1.0/**").always();
    let marked = || everywhere().set_key(user, "jobTitle", MARK);
    let inside = |bytes: &[u8]| marked().replace_text(MARK, bytes);
    let instead = |text: &str| marked().replace_text(&quoted, text);
    vec![
        (everywhere().broken_text(user, "jobTitle"), "jobTitle cannot be decoded"),
        (inside(br"\udc00 Diver"), "jobTitle cannot be decoded"),
        (inside(b"Div\xe9r"), "jobTitle cannot be decoded"),
        (inside(b"\xf0\x9f\x98"), "jobTitle cannot be decoded"),
        (inside(b"Head\tof"), "jobTitle cannot be decoded"),
        (inside(b"Head\x00"), "jobTitle cannot be decoded"),
        (inside(br"Head \x of"), "jobTitle cannot be decoded"),
        (instead(&"9".repeat(400)), "jobTitle cannot be decoded"),
        (instead("1e999"), "jobTitle cannot be decoded"),
        (instead(&format!("[[{}]]", "7".repeat(400))), "jobTitle cannot be decoded"),
        (instead(&format!("{}{}", "[".repeat(300), "]".repeat(300))), "jobTitle cannot be decoded"),
        (instead("\"Diver\",\"jobTitle\":\"Baker\""), "jobTitle occurs twice"),
        (inside(&vec![b'x'; (1 << 20) + 1]), "jobTitle is larger than 1 MiB"),
        (instead(&format!("[{}1]", "1,".repeat(1 << 19))), "jobTitle is larger than 1 MiB"),
        (everywhere().set_key(user, "accountEnabled", "true"), "accountEnabled is neither true nor false"),
        (everywhere().set_key(user, "accountEnabled", 1), "accountEnabled is neither true nor false"),
        (everywhere().set_key(user, "userPrincipalName", 5), "userPrincipalName is not a text"),
        (everywhere().set_key(user, "userPrincipalName", json!(["a@example.org"])), "userPrincipalName is not a text"),
        (everywhere().set_key(user, "displayName", true), "displayName is not a text"),
    ]
}

#[apply(on_both)]
async fn one_bad_value_rejects_its_user_alone() {
    let (mut world, _, members, direct) = world_of_seven().await;
    for user in [&members[0], &direct[0]] {
        for (number, (fault, words)) in broken_values(user).into_iter().enumerate() {
            let title = format!("Diver {number}");
            world.sim.tenant(|tenant| tenant.user_mut(&direct[1]).job_title = Some(title.clone()));
            world.sim.inject(fault);
            let report = world.cycle().await;
            world.sim.clear_faults();
            let counts = Counts { in_scope: 6, updated: 1, unchanged: 5, failed: 1, ..Counts::default() };
            assert_eq!((report.outcome, report.counts), (Outcome::Partial, counts), "{words}");
            let detail = format!("SELECT detail FROM sync_failures WHERE entra_id = '{user}'");
            let detail = world.value(&detail).await;
            assert!(detail.starts_with(words) && detail.len() < 200, "{detail}");
            assert_eq!(world.learner(&direct[1], "title").await, [title]);
            assert_eq!(world.learner(user, "active").await, ["1"]);
        }
        assert_eq!(world.log(user).await, ["create success assigned", "update failure unreadable"]);
        assert_eq!(world.cycle().await.outcome, Outcome::Success);
    }
    world.settled().await;
}

#[apply(on_both)]
async fn rows_that_disagree_are_read_directly() {
    let (mut world, group, members, direct) = world_of_seven().await;
    let other = world.sim.tenant(|tenant| {
        let other = tenant.add_group("Other");
        tenant.add_member(&other, &members[0]);
        tenant.add_member(&other, &direct[0]);
        tenant.assign_group(&other);
        other
    });
    assert_eq!(world.cycle().await.counts.unchanged, 7);
    let list = |group: &str| Fault::on("GET", &format!("/v1.0/groups/{group}/members")).always();
    for (what, fault) in [
        ("disabled in the second row", list(&group).repeat_row(&members[1], "accountEnabled", false)),
        ("another title in the second row", list(&group).repeat_row(&members[1], "jobTitle", "Diver")),
        ("without a name in the second row", list(&group).repeat_row(&members[1], "displayName", Value::Null)),
        ("a device in the second row", list(&group).repeat_row(&members[1], "@odata.type", "#microsoft.graph.device")),
        (
            "an agent in the second row",
            list(&group).repeat_row(&members[1], "@odata.type", "#microsoft.graph.agentUser"),
        ),
        ("disabled in one group", list(&group).set_key(&members[0], "accountEnabled", false)),
        ("disabled in the other group", list(&other).set_key(&members[0], "accountEnabled", false)),
        ("an agent in the other group", list(&other).set_key(&members[0], "@odata.type", "#microsoft.graph.agentUser")),
    ] {
        world.sim.inject(fault);
        let report = world.settled().await;
        assert_eq!((report.outcome, report.counts.unchanged), (Outcome::Success, 7), "{what}");
        world.sim.clear_faults();
    }
    // The truth counts, whichever row says so.
    world.sim.tenant(|tenant| tenant.user_mut(&members[0]).account_enabled = Some(false));
    world.sim.inject(list(&other).set_key(&members[0], "accountEnabled", true));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    assert_eq!(world.log(&members[0]).await.last().unwrap(), "deactivate success account-disabled");
    world.settled().await;
}

#[apply(on_both)]
async fn agents_are_out_of_scope_on_every_route() {
    let mut tenant = Tenant::default();
    let (group, _) = assigned_group(&mut tenant, "Staff", 2);
    let agents: Vec<String> =
        ["One", "Two", "Three"].map(|name| tenant.add_user(User::named("Agent", name).as_agent())).into();
    tenant.assign_user(&agents[0]);
    tenant.add_member(&group, &agents[1]);
    tenant.assign_user(&agents[2]);
    tenant.add_member(&group, &agents[2]);
    let mut world = World::start(tenant).await;
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 2, created: 2, skipped: 3, ..Counts::default() });
    world.settled().await;
    world.configure("[scope]\nagent_users = true");
    assert_eq!(world.cycle().await.counts.created, 3);
    world.settled().await;
    // Those who are learners already are ordinary leavers.
    world.configure("");
    assert_eq!(world.cycle().await.counts.deactivated, 3);
    for agent in &agents {
        assert_eq!(world.log(agent).await.last().unwrap(), "deactivate success out-of-scope");
    }
    world.settled().await;
}

#[apply(on_both)]
async fn an_agent_that_the_configuration_names_stays() {
    let mut tenant = Tenant::default();
    let (group, _) = assigned_group(&mut tenant, "Staff", 2);
    let agents: Vec<String> = ["One", "Two"].map(|name| tenant.add_user(User::named("Agent", name).as_agent())).into();
    tenant.assign_user(&agents[0]);
    tenant.add_member(&group, &agents[1]);
    let mut world = World::start(tenant).await;
    world.configure("[scope]\nagent_users = true");
    assert_eq!(world.cycle().await.counts.created, 4);
    // Their rows have other names, so that only the names that Entra stores list them.
    world.execute("UPDATE learners SET user_name = 'agent-' || id WHERE first_name = 'Agent'").await;
    let names: Vec<String> = world.sim.tenant(|tenant| {
        agents.iter().map(|agent| tenant.user_mut(agent).user_principal_name.clone().unwrap()).collect()
    });
    for setting in [format!("[safety]\nprotected = {names:?}"), format!("[scope]\nignore = {names:?}")] {
        world.configure(&setting);
        let report = world.full_cycle().await;
        assert_eq!((report.counts.deactivated, report.counts.skipped), (0, 2), "{setting}");
    }
    world.configure(&format!("[scope]\nonly = [{:?}]", names[0]));
    assert_eq!(world.full_cycle().await.counts.deactivated, 1);
    assert_eq!(world.log(&agents[0]).await.last().unwrap(), "deactivate success out-of-scope");
}

#[apply(on_both)]
async fn a_member_of_unknown_type_is_read_as_a_user() {
    let (mut world, group, members, direct) = world_of_seven().await;
    let robot = world.sim.tenant(|tenant| {
        let robot = tenant.add_device("Robot");
        tenant.add_member(&group, &robot);
        robot
    });
    let list = || Fault::on("GET", MEMBERS).always();
    for kind in [json!("#microsoft.graph.robot"), json!(""), Value::Null, json!(7), json!("user")] {
        for id in [&members[0], &robot] {
            world.sim.inject(list().set_key(id, "@odata.type", kind.clone()));
        }
        let report = world.settled().await;
        let counts = Counts { in_scope: 7, unchanged: 7, ..Counts::default() };
        assert_eq!((report.outcome, report.counts), (Outcome::Success, counts), "{kind}");
        world.sim.clear_faults();
    }
    world.sim.inject(list().drop_key("@odata.type"));
    assert_eq!(world.settled().await.counts.unchanged, 7);
    assert_eq!(world.query("SELECT last_members FROM sync_groups").await, [["3"]]);
    // An answer that does not say whether it is a user concerns that id alone.
    world.sim.inject(Fault::on("GET", &format!("/v1.0/users/{robot}")).always().answer(403));
    world.sim.tenant(|tenant| tenant.unassign(&direct[0]));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.failed, report.counts.deactivated), (Outcome::Partial, 1, 1));
    assert_eq!(world.log(&robot).await, ["create failure unreadable"]);
    world.sim.clear_faults();
    world.cycle().await;
    // A group of such members only is not empty; one of devices is.
    world.sim.tenant(|tenant| members.iter().for_each(|member| tenant.remove_member(&group, member)));
    world.sim.inject(list().drop_key("@odata.type"));
    assert_eq!(world.cycle().await.counts.held, 3);
    world.sim.clear_faults();
    world.settled().await;
}

#[apply(on_both)]
async fn a_learner_in_a_row_of_unknown_type_waits_when_its_account_is_missing() {
    let (mut world, group, members, direct) = world_of_seven().await;
    let everybody = "[mapping]\nuserName = '[userPrincipalName]'\n'emails[type eq \"work\"].value' = '[mail]'\n\
                     active = '\"True\"'\ntitle = 'SingleAppRoleAssignment([appRoleAssignments])'";
    let ignored = format!("[scope]\nignore = [{group:?}]");
    let list = || Fault::on("GET", MEMBERS).always();
    // The rows, and whether the row of the group alone names the user.
    for (number, (user, fault)) in [
        (&members[0], list().set_key(&members[0], "@odata.type", Value::Null)),
        (&members[1], list().set_key(&members[1], "@odata.type", "#microsoft.graph.person")),
        (&members[2], list().drop_key("@odata.type")),
    ]
    .into_iter()
    .enumerate()
    {
        let mapping = if number == 1 { everybody } else { "" };
        world.configure(mapping);
        world.cycle().await;
        world.sim.inject(fault);
        world.sim.inject(Fault::missing_user(user));
        let report = world.cycle().await;
        assert_eq!((report.counts.skipped, report.counts.deactivated), (1, 0), "{number}");
        let failing = "SELECT entra_id, reason, cause FROM sync_failures";
        assert_eq!(world.query(failing).await, [[user, "waiting", "account-missing"]]);
        // A restriction to the group still names the user.
        world.configure(&format!("{ignored}\n{mapping}"));
        assert_eq!(world.cycle().await.counts.deactivated, 0, "{number}");
        world.configure(mapping);
        // Only a lag of one cycle.
        world.sim.clear_faults();
        let report = world.cycle().await;
        assert_eq!((report.outcome, report.counts.unchanged), (Outcome::Success, 7), "{number}");
        assert_eq!(world.log(user).await.iter().filter(|line| line.starts_with("deactivate")).count(), 0);
    }
    // In the end it counts as deleted.
    world.sim.inject(list().drop_key("@odata.type"));
    world.sim.inject(Fault::missing_user(&members[0]));
    assert_eq!(world.cycle().await.counts.skipped, 1);
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    assert_eq!(world.log(&members[0]).await.last().unwrap(), "deactivate success account-deleted");
    world.settled().await;
    assert_eq!(world.learner(&direct[0], "active").await, ["1"]);
}

#[apply(on_both)]
async fn a_principal_that_is_unclear_in_the_second_read_is_assigned() {
    let (mut world, group, members, direct) = world_of_seven().await;
    let all: Vec<&String> = members.iter().chain(&direct).collect();
    let list = || Fault::on("GET", ASSIGNMENTS).nth(2).always();
    let first = || Fault::on("GET", ASSIGNMENTS).times(1).hide_row(&direct[0]);
    for (what, fault) in [
        ("no type", list().set_key(&direct[0], "principalType", Value::Null)),
        ("rows that disagree", list().repeat_row(&direct[0], "principalType", "Group")),
    ] {
        // Missing in the first read.
        world.sim.inject(first());
        world.sim.inject(fault);
        // The account answers the confirmation, and not the question for its type.
        world.sim.inject(Fault::on("GET", &format!("/v1.0/groups/{}", direct[0])).always().answer(403));
        world.sim.inject(Fault::on("GET", &format!("/v1.0/users/{}", direct[0])).nth(2).always().answer(403));
        let report = world.cycle().await;
        assert_eq!((report.counts.deactivated, report.counts.held), (0, 0), "{what}: {}", report.summary());
        world.sim.clear_faults();
        assert_eq!(world.settled().await.counts.unchanged, all.len() as u64, "{what}");
    }
    assert_eq!(world.log(&direct[0]).await, ["create success assigned"]);
    assert_eq!(world.log(&group).await, Vec::<String>::new());
}

#[apply(on_both)]
async fn other_properties_of_graph_can_be_mapped() {
    let mut tenant = Tenant::default();
    let user = User::named("Room", "One").extra("isResourceAccount", true).extra("preferredDataLocation", "EUR");
    let room = tenant.add_user(user);
    tenant.assign_user(&room);
    add_users(&mut tenant, 1).iter().for_each(|user| tenant.assign_user(user));
    let mut world = World::start(tenant).await;
    world.configure(
        "[mapping]\nuserName = '[userPrincipalName]'\n'emails[type eq \"work\"].value' = '[mail]'\nactive = '\"True\"'\n\
         title = '[preferredDataLocation]'\n'name.givenName' = '[isResourceAccount]'",
    );
    assert_eq!(world.cycle().await.counts.created, 2);
    assert_eq!(world.learner(&room, "title, first_name").await, ["EUR", "True"]);
    world.settled().await;
}

#[tokio::test]
async fn check_reports_bad_assignments_but_no_bad_value() {
    let (world, _, _, direct) = world_of_seven().await;
    world.sim.inject(Fault::on("GET", "/v1.0/users").always().broken_text(&direct[0], "jobTitle"));
    world.run_program(&["check"], 0);
    world.sim.inject(Fault::on("GET", ASSIGNMENTS).always().add_row(Value::Null));
    let check = world.run_program(&["check"], 1).stdout;
    assert!(
        check.contains("FAIL assignments") && check.contains("1 assignment without a clear user or group"),
        "{check}"
    );
}
