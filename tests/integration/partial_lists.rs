//! A list, page or answer that may not be whole: the cycle fails and changes nothing, or the user concerned stays.

use graph_sim::{Fault, Tenant};
use learner_sync::model::Outcome;
use serde_json::{Value, json};

use crate::world::{World, add_users, assigned, assigned_group};

const ASSIGNMENTS: &str = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
const MEMBERS: &str = "/v1.0/groups/{id}/members";
const USERS: &str = "/v1.0/users";
const APPLICATION: &str = "/v1.0/servicePrincipals/{id}";
const BATCH: &str = "/v1.0/$batch";

/// A world with 24 learners on pages of five, a user who left and another who is new.
async fn world_of_many_pages(more: &str) -> World {
    let mut tenant = Tenant::default();
    tenant.page_cap = Some(5);
    let (group, members) = assigned_group(&mut tenant, "Staff", 12);
    assigned(&mut tenant, 12);
    let mut world = World::start(tenant).await;
    world.configure(more);
    assert_eq!(world.cycle().await.counts.created, 24);
    world.sim.tenant(|tenant| {
        tenant.remove_member(&group, &members[0]);
        assigned(tenant, 1);
    });
    world
}

/// Under the fault, the cycle fails and changes nothing.
async fn expect_failed(world: &mut World, what: &str, fault: Fault) {
    let before = world.lasting().await;
    world.sim.inject(fault);
    let report = world.cycle().await;
    world.sim.clear_faults();
    let error = report.error.clone().unwrap_or_default();
    assert_eq!((report.outcome, report.refused), (Outcome::Failed, false), "{what}: {}", report.summary());
    assert!(!error.contains("network") && error.len() < 600, "{what}: {error}");
    world.unchanged_since(&before).await;
}

/// Without the fault, one cycle does what is due.
async fn expect_recovery(world: &mut World) {
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.created, report.counts.deactivated), (Outcome::Success, 1, 1));
    world.settled().await;
}

type EditFault = fn(Fault) -> Fault;

/// The edits of a true page that leave it doubtful.
fn doubtful_pages() -> Vec<(&'static str, EditFault)> {
    vec![
        ("an error beside the rows", |fault| fault.page_key("error", json!({"code": "InternalServerError"}))),
        ("an empty error", |fault| fault.page_key("error", Value::Null)),
        ("an error under another name", |fault| fault.page_key("@odata.error", json!({"code": "x"}))),
        ("an error in place of a row", |fault| fault.add_row(json!({"error": {"code": "InternalServerError"}}))),
        ("an error in a row", |fault| {
            fault.add_row(json!({"id": "0a1b2c3d-0000-4000-8000-000000000001", "error": {}}))
        }),
        ("no value", |fault| fault.replace_text("\"value\"", "\"values\"")),
        ("a null value", |fault| fault.page_key("value", Value::Null)),
        ("a value that is an object", |fault| fault.page_key("value", json!({}))),
        ("a value that is a text", |fault| fault.page_key("value", "[]")),
        ("two values", |fault| fault.replace_text("\"value\":[", "\"value\":[],\"value\":[")),
        ("two values, the last empty", |fault| fault.replace_text("}]", "}],\"value\":[]")),
        ("an empty link", |fault| fault.page_key("@odata.nextLink", "")),
        ("a null link", |fault| fault.page_key("@odata.nextLink", Value::Null)),
        ("a link that is a number", |fault| fault.page_key("@odata.nextLink", 7)),
        ("a link that is a list", |fault| fault.page_key("@odata.nextLink", json!(["/v1.0/users"]))),
        ("two links", |fault| {
            let first = "{\"@odata.nextLink\":\"/v1.0/b\",\"@odata.context\"";
            fault.page_key("@odata.nextLink", "/v1.0/a").replace_text("{\"@odata.context\"", first)
        }),
        ("a count that is not a number", |fault| fault.page_key("@odata.count", "many")),
        ("rows after the end", |fault| fault.replace_text("}]}", "}]},{\"value\":[]}")),
        ("text after the end", |fault| fault.replace_text("}]}", "}]} trailing")),
        ("a list that is not closed", |fault| fault.replace_text("}]}", "}]")),
        ("a row that is not closed", |fault| fault.replace_text("}]}", "]}")),
        ("a text that is not closed", |fault| fault.replace_text("\"}]}", "}]}")),
        ("a byte between the rows", |fault| fault.replace_text("},{", &b"},\xff{"[..])),
        ("half an answer", Fault::truncated),
    ]
}

/// Like [`doubtful_pages`], where only the whole list shows the doubt.
fn doubtful_lists() -> Vec<(&'static str, EditFault)> {
    vec![
        ("a link to the root", |fault| fault.page_key("@odata.nextLink", "/")),
        ("a link to another list", |fault| fault.page_key("@odata.nextLink", "/v1.0/users?$top=999&$skiptoken=x")),
        ("a link to the list of another object", |fault| {
            fault.page_key("@odata.nextLink", "/v1.0/groups/0a1b2c3d-0000-4000-8000-000000000001/members?$skiptoken=x")
        }),
        ("a count of more rows", |fault| fault.page_key("@odata.count", 1000)),
        ("a count of fewer rows", |fault| fault.page_key("@odata.count", "1")),
        ("a page of another object", |fault| {
            let context = "https://graph.example/v1.0/$metadata#groups('0a1b2c3d-0000-4000-8000-000000000001')/members";
            fault.page_key("@odata.context", context)
        }),
    ]
}

/// Bodies of status 200 in place of a page.
const BODIES: [&str; 9] =
    ["", " ", "null", "[]", "\"value\"", "7", "<html>Sign in</html>", "{}", "{\"value\":[]}{\"value\":[]}"];

#[tokio::test]
async fn a_doubtful_page_fails_the_cycle() {
    let mut world = world_of_many_pages("").await;
    // The first pages, the last ones, those of the confirmation, and the parts of a batch.
    let places = [
        (ASSIGNMENTS, 1, 1),
        (ASSIGNMENTS, 3, 1),
        (MEMBERS, 1, 1),
        (MEMBERS, 3, 1),
        (ASSIGNMENTS, 1, 2),
        (MEMBERS, 3, 2),
    ];
    for (number, (what, edit)) in doubtful_pages().into_iter().chain(doubtful_lists()).enumerate() {
        // Each doubt at two of the places, so that every place sees every third doubt.
        for (path, page, nth) in [places[number % 6], places[(number + 3) % 6]] {
            let fault = edit(Fault::on("GET", path).page(page).nth(nth));
            expect_failed(&mut world, &format!("{what} in page {page} of {path}, read {nth}"), fault).await;
        }
    }
    for (number, body) in BODIES.into_iter().enumerate() {
        let (path, page, nth) = places[number % 6];
        let fault = Fault::on("GET", path).page(page).nth(nth).body(body);
        expect_failed(&mut world, &format!("{body:?} as page {page} of {path}, read {nth}"), fault).await;
        expect_failed(&mut world, &format!("{body:?} as a part"), Fault::on("GET", USERS).body(body)).await;
        expect_failed(&mut world, &format!("{body:?} as a batch"), Fault::on("POST", BATCH).body(body)).await;
        expect_failed(&mut world, &format!("{body:?} as application"), Fault::on("GET", APPLICATION).body(body)).await;
    }
    for status in [201, 202, 203, 204, 206, 226, 300, 304] {
        for path in [ASSIGNMENTS, MEMBERS, USERS, APPLICATION] {
            let fault = Fault::on("GET", path).answer(status).body("{\"value\":[]}");
            expect_failed(&mut world, &format!("{status} of {path}"), fault).await;
        }
    }
    expect_recovery(&mut world).await;
}

#[tokio::test]
async fn a_doubtful_part_of_a_batch_fails_the_cycle() {
    let mut world = world_of_many_pages("").await;
    for (what, edit) in doubtful_pages() {
        expect_failed(&mut world, &format!("{what} in a part"), edit(Fault::on("GET", USERS))).await;
    }
    let ids = |text: &str| Fault::on("POST", BATCH).body(text);
    for (what, fault) in [
        ("no responses", ids("{}")),
        ("null responses", ids("{\"responses\":null}")),
        ("no parts", ids("{\"responses\":[]}")),
        ("two lists", ids("{\"responses\":[],\"responses\":[]}")),
        ("an error beside the responses", ids("{\"responses\":[],\"error\":{}}")),
        ("a part without a status", ids("{\"responses\":[{\"id\":\"0\",\"body\":{\"value\":[]}}]}")),
        ("a status as text", ids("{\"responses\":[{\"id\":\"0\",\"status\":\"200\",\"body\":{\"value\":[]}}]}")),
        ("an id as number", ids("{\"responses\":[{\"id\":0,\"status\":200,\"body\":{\"value\":[]}}]}")),
        ("a part without a body", ids("{\"responses\":[{\"id\":\"0\",\"status\":200}]}")),
        ("a null body", ids("{\"responses\":[{\"id\":\"0\",\"status\":200,\"body\":null}]}")),
        ("a body as text", ids("{\"responses\":[{\"id\":\"0\",\"status\":200,\"body\":\"e30=\"}]}")),
        ("a part with 206", ids("{\"responses\":[{\"id\":\"0\",\"status\":206,\"body\":{\"value\":[]}}]}")),
        ("an unknown part", Fault::on("POST", BATCH).missing_part(1).extra_part()),
        ("a part twice", Fault::on("POST", BATCH).doubled_part(1)),
        ("a missing part", Fault::on("POST", BATCH).missing_part(1)),
    ] {
        expect_failed(&mut world, what, fault).await;
    }
    expect_recovery(&mut world).await;
}

#[tokio::test]
async fn every_list_of_members_must_be_whole() {
    let mut tenant = Tenant::default();
    tenant.page_cap = Some(5);
    let (group, members) = assigned_group(&mut tenant, "Staff", 12);
    let ignored = tenant.add_group("Ignored");
    tenant.add_member(&ignored, &members[3]);
    add_users(&mut tenant, 8).iter().for_each(|user| tenant.add_member(&ignored, user));
    let mut world = World::start(tenant).await;
    world.configure(&format!("[scope]\ngroup_members = \"transitive\"\nignore = [\"{ignored}\"]"));
    assert_eq!(world.cycle().await.counts.created, 11);
    world.sim.tenant(|tenant| tenant.remove_member(&group, &members[0]));
    let places = [(&group, 1), (&group, 3), (&ignored, 1), (&ignored, 2)];
    for (number, (what, edit)) in doubtful_pages().into_iter().chain(doubtful_lists()).enumerate() {
        let (group, page) = places[number % 4];
        let fault = edit(Fault::on("GET", &format!("/v1.0/groups/{group}/transitiveMembers")).page(page));
        expect_failed(&mut world, &format!("{what} in page {page}"), fault).await;
    }
    // A restriction with a bad row may name any user.
    let path = format!("/v1.0/groups/{ignored}/transitiveMembers");
    for row in [Value::Null, json!({}), json!({"id": null}), json!("text")] {
        expect_failed(&mut world, &format!("{row} in a named group"), Fault::on("GET", &path).add_row(row)).await;
    }
    expect_failed(&mut world, "404 on page 2", Fault::on("GET", &path).page(2).always().answer(404)).await;
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.settled().await;
}

#[tokio::test]
async fn a_404_after_the_first_page_is_not_an_empty_group() {
    let mut tenant = Tenant::default();
    tenant.page_cap = Some(1);
    // Too small for the guard of emptied groups.
    let (group, members) = assigned_group(&mut tenant, "Pair", 2);
    let direct = assigned(&mut tenant, 3);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 5);
    for (what, faults) in [
        ("page 2 is missing", vec![Fault::on("GET", MEMBERS).page(2).always().answer(404)]),
        ("page 2 is missing once", vec![Fault::on("GET", MEMBERS).page(2).answer(404)]),
        (
            "page 1 is missing once, then page 2",
            vec![Fault::on("GET", MEMBERS).page(1).answer(404), Fault::on("GET", MEMBERS).page(2).answer(404)],
        ),
        (
            "the token expired, then the group is missing",
            vec![
                Fault::on("GET", MEMBERS).page(2).expired_page_token(),
                Fault::on("GET", MEMBERS).page(1).nth(2).always().answer(404),
            ],
        ),
        (
            "the second page of the assignments is missing",
            vec![Fault::on("GET", ASSIGNMENTS).page(2).always().answer(404)],
        ),
        ("the assignments are missing", vec![Fault::on("GET", ASSIGNMENTS).always().answer(404)]),
    ] {
        faults.into_iter().for_each(|fault| world.sim.inject(fault));
        // An empty edit: only the faults above count.
        expect_failed(&mut world, what, Fault::on("GET", "/nowhere")).await;
    }
    // In place of the first page, twice, it is an empty group. Its leavers are held although it was small.
    world.sim.tenant(|tenant| tenant.soft_delete_group(&group));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.held, report.counts.deactivated), (Outcome::Held, 2, 0));
    assert_eq!(world.log(&members[0]).await.last().unwrap(), "deactivate held empty-group");
    assert!(world.last_detail(&members[0]).await.contains("no longer exists"));
    world.settled().await;
    // It can also disappear between its empty list and the question whether it hides its members.
    world.sim.tenant(|tenant| tenant.restore_group(&group));
    assert_eq!(world.cycle().await.outcome, Outcome::Success);
    world.sim.inject(Fault::on("GET", MEMBERS).always().empty_list());
    world.sim.inject(Fault::on("GET", "/v1.0/groups/{id}").always().answer(404));
    assert_eq!(world.cycle().await.counts.held, 2);
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.outcome, Outcome::Success);
    assert_eq!(world.learner(&direct[0], "active").await, ["1"]);
    world.settled().await;
}

#[tokio::test]
async fn an_unclear_answer_about_a_group_or_application_fails_the_cycle() {
    let mut tenant = Tenant::default();
    assigned_group(&mut tenant, "Empty", 0);
    assigned(&mut tenant, 2);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 2);
    const OTHER: &str = "0a1b2c3d-0000-4000-8000-000000000001";
    const GROUP: &str = "/v1.0/groups/{id}";
    for (what, fault) in [
        ("another group", Fault::on("GET", GROUP).page_key("id", OTHER)),
        ("no visibility", Fault::on("GET", GROUP).drop_key("visibility")),
        ("an error in the group", Fault::on("GET", GROUP).page_key("error", json!({"code": "x"}))),
        ("a visibility that is a number", Fault::on("GET", GROUP).page_key("visibility", 3)),
        ("another application", Fault::on("GET", APPLICATION).page_key("id", OTHER)),
        ("an error in the application", Fault::on("GET", APPLICATION).page_key("error", json!({}))),
        (
            "assignments to another application",
            Fault::on("GET", ASSIGNMENTS).replace_text("\"resourceId\":\"d1b7e5a3", "\"resourceId\":\"d1b7e5a4"),
        ),
    ] {
        expect_failed(&mut world, what, fault).await;
    }
    world.settled().await;
}

#[tokio::test]
async fn an_unclear_answer_about_one_user_concerns_that_user_alone() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 6);
    let direct = assigned(&mut tenant, 4);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 10);
    world.sim.tenant(|tenant| {
        tenant.remove_member(&group, &members[0]);
        tenant.delete_user(&direct[0]);
    });
    let deleted = format!("/v1.0/directory/deletedItems/{}", direct[0]);
    let left = format!("/v1.0/users/{}", members[0]);
    for edit in [
        (|fault| fault.page_key("id", "0a1b2c3d-0000-4000-8000-000000000001")) as EditFault,
        |fault| fault.page_key("id", Value::Null),
        |fault| fault.page_key("id", "\u{feff}"),
        |fault| fault.page_key("id", 7),
    ] {
        for path in [&deleted, &left] {
            world.sim.inject(edit(Fault::on("GET", path).always()));
        }
        let report = world.cycle().await;
        assert_eq!((report.outcome, report.counts.held, report.counts.deactivated), (Outcome::Held, 2, 0));
        world.sim.clear_faults();
        assert_eq!(world.log(&members[0]).await.last().unwrap(), "deactivate held unreadable");
        assert_eq!(world.log(&direct[0]).await.last().unwrap(), "deactivate held unreadable");
    }
    // An answer that is not an object with an id, or reports an error, proves nothing either.
    for body in ["null", "[]", "\"text\"", "<html>", "{}", "{\"error\":{}}"] {
        for path in [&deleted, &left] {
            world.sim.inject(Fault::on("GET", path).body(body));
        }
        assert_eq!(world.settled().await.counts.held, 2, "{body}");
    }
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.deactivated), (Outcome::Success, 2));
    world.settled().await;
}

#[tokio::test]
async fn a_part_that_is_cut_off_is_completed_by_single_reads() {
    let mut tenant = Tenant::default();
    let direct = assigned(&mut tenant, 15);
    let mut world = World::start(tenant).await;
    for (what, fault) in [
        ("a page of ten", None),
        (
            "a row that nobody asked for",
            Some(Fault::on("GET", USERS).set_key(&direct[0], "id", "0a1b2c3d-0000-4000-8000-000000000001")),
        ),
        ("a row without an id", Some(Fault::on("GET", USERS).set_key(&direct[1], "id", Value::Null))),
        ("a row that is null", Some(Fault::on("GET", USERS).add_row(Value::Null))),
        (
            "a user twice, disabled in the second row",
            Some(Fault::on("GET", USERS).repeat_row(&direct[2], "accountEnabled", false)),
        ),
        ("no rows", Some(Fault::on("GET", USERS).empty_list())),
    ] {
        world.sim.tenant(|tenant| tenant.page_cap = fault.is_none().then_some(10));
        fault.into_iter().for_each(|fault| world.sim.inject(fault.always()));
        let report = world.cycle().await;
        world.sim.clear_faults();
        assert_eq!((report.outcome, report.counts.in_scope), (Outcome::Success, 15), "{what}: {}", report.summary());
        assert_eq!(report.counts.created + report.counts.unchanged, 15, "{what}");
    }
    world.settled().await;
}

#[tokio::test]
async fn a_batch_with_424_is_retried_like_a_throttled_one() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, 20);
    let mut world = World::start(tenant).await;
    world.sim.inject(Fault::on("POST", BATCH).outer_status(424));
    world.sim.inject(Fault::on("GET", USERS).nth(3).answer(424));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.created), (Outcome::Success, 20));
    // Elsewhere, 424 is final.
    expect_failed(&mut world, "424 of a list", Fault::on("GET", ASSIGNMENTS).answer(424)).await;
    world.settled().await;
}

#[tokio::test]
async fn an_answer_with_a_byte_order_mark_is_read() {
    let mut tenant = Tenant::default();
    let (_, members) = assigned_group(&mut tenant, "Staff", 3);
    assigned(&mut tenant, 3);
    let mut world = World::start(tenant).await;
    world.sim.inject(Fault::on("*", "/v1.0/**").always().byte_order_mark());
    assert_eq!(world.cycle().await.counts.created, 6);
    world.settled().await;
    for (status, words) in [(403, "GroupMember.Read.All"), (400, "Request_BadRequest")] {
        world.sim.clear_faults();
        world.sim.inject(Fault::on("GET", MEMBERS).answer(status).byte_order_mark());
        let error = world.cycle().await.error.unwrap();
        assert!(error.contains(words) && !error.contains("does not come from Graph"), "{error}");
    }
    // A group that Graph does not find is not an answer of a proxy.
    world.sim.clear_faults();
    world.sim.inject(Fault::on("GET", MEMBERS).always().answer(404).byte_order_mark());
    assert_eq!(world.cycle().await.counts.held, 3);
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.outcome, Outcome::Success);
    assert_eq!(world.learner(&members[0], "active").await, ["1"]);
    world.settled().await;
}

#[tokio::test]
async fn an_unexpected_redirect_is_reported_at_once_with_its_cause() {
    let mut tenant = Tenant::default();
    assigned_group(&mut tenant, "Staff", 1);
    let mut world = World::start(tenant).await;
    let here = world.sim.url();
    for (what, fault, words) in [
        ("304", Fault::on("GET", MEMBERS).answer(304).body(""), "Graph answered 304"),
        ("300 without a location", Fault::on("GET", MEMBERS).answer(300).body(""), "Graph answered 300"),
        (
            "same origin",
            Fault::on("GET", MEMBERS).redirect(302, &format!("{here}/login")),
            "redirect (302) on the Graph origin itself",
        ),
        ("a path", Fault::on("GET", ASSIGNMENTS).redirect(308, "/login"), "redirect (308) on the Graph origin itself"),
        (
            "a relative path",
            Fault::on("GET", APPLICATION).redirect(307, "login?x=1"),
            "redirect (307) on the Graph origin itself",
        ),
        (
            "another origin",
            Fault::on("GET", MEMBERS).redirect(302, "https://login.example/x"),
            "another origin, https://login.example",
        ),
        ("no URL", Fault::on("GET", MEMBERS).redirect(302, "https://"), "another origin, an unknown one"),
    ] {
        world.sim.clear_journal();
        world.sim.inject(fault);
        let error = world.cycle().await.error.unwrap_or_default();
        assert!(error.contains(words), "{what}: {error}");
        assert!(error.contains("another origin") == words.contains("another origin"), "{what}: {error}");
        // Nothing was tried again.
        let last = world.sim.journal().pop().unwrap();
        assert!((300..400).contains(&last.status), "{what}: {last:?}");
    }
    assert_eq!(world.cycle().await.counts.created, 1);
}
